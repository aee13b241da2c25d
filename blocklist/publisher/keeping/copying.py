"""Copy a repository from one store to another, each object proven as far as anything proves it.

| objects | proven by |
|---|---|
| the head's role files | signatures and versions, from the trusted root |
| roots | the way from the first to the trusted one |
| role files of lists | the chain of `prev` from the head |
| `feed/targets/`, records, candidates | the digest in their name |
| secrets of lists, enrolments | their shape; the newer of two takes the place of the older |
| all else | nothing: copied as it is |

Nothing that is there is overwritten, but secrets and enrolments by newer ones. What is not proven where
something should prove it is *damaged*: named, not copied. Marks of `gc` and scraps of probes stay behind.
The timestamp is for the caller: it is what makes a copy live.
"""  # noqa: E501 - a table

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from blocklist.core.errors import FeedError
from blocklist.core.private import ListSecret, Subscription
from blocklist.publisher.chain import Link, Reads, walk
from blocklist.store import layout
from blocklist.store.port import DEFAULT_OBJECT_LIMIT, Listed, Object, Store
from signing import names, policy, verify
from signing.errors import TrustError
from signing.head import Head

WINDOW_OBJECTS = 32  # read ahead
WINDOW_BYTES = 64 << 20
LEFT_BEHIND = (layout.GC, layout.PROBES)
MUTABLE = (layout.LIST_SECRETS, layout.ENROLMENTS)
NAMED_BY_DIGEST = (layout.RECORDS, layout.CANDIDATES)


@dataclass(slots=True)
class Copied:
    """What a copy did.

    Attributes:
        copied: Number of objects that were written.
        bytes: Their bytes.
        present: Objects that were there.
        damaged: What is wrong, a line each: with the source, or with what is there already.
    """

    copied: int = 0
    bytes: int = 0
    present: int = 0
    damaged: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Proof:
    """Digests of metadata files, as the head proves them.

    Attributes:
        digests: By object key.
        broken: What could not be proven, a line each.
    """

    digests: Mapping[str, str]
    broken: tuple[str, ...]

    def refutes(self, key: str, data: bytes) -> bool:
        """Tell whether bytes are not what they have to be at that key."""
        expected = self.digests.get(key) or _digest_in(key)
        return expected is not None and _sha256(data) != expected


def prove(store: Store, head: Head) -> Proof:
    """Return what a verified head proves of the metadata in a store.

    Raises:
        StoreError: It cannot be read.
    """
    found = {_key(role.name, role.version): role.digest for role in head.everything()}
    del found[_key(names.TIMESTAMP, head.timestamp.version)]
    broken: list[str] = []
    found |= roots(store, head, broken)
    with Reads(store) as reads:
        for name, role in head.roles.items():
            try:
                for link in walk(reads, role):
                    found |= _before(name, link)
            except (FeedError, TrustError) as error:
                broken.append(f"history of {name}: {error}")
    return Proof(found, tuple(broken))


def _before(name: str, link: Link) -> dict[str, str]:
    """Return what a release proves of the one before it, also when that is damaged."""
    prev = link.facts.prev
    return {_key(name, prev[0]): prev[1]} if prev is not None else {}


def roots(store: Store, head: Head, broken: list[str]) -> dict[str, str]:
    """Return the digests of the roots that lead from the first to the trusted one, by key.

    Args:
        store: Where they lie.
        head: Has the trusted one.
        broken: Gets what is wrong; then only the trusted one is returned.
    """
    trusted = {_key(names.ROOT, head.root.version): head.root.digest}
    found = dict(trusted)
    try:
        root = None
        for version in range(1, head.root.version + 1):
            key = _key(names.ROOT, version)
            stored = store.get(key, limit=policy.MAX_ROOT_BYTES)
            if stored is None:
                raise FeedError(f"{key} is missing")
            data = stored.data
            root = verify.next_root(root, data) if root else verify.self_signed_root(data)
            found[key] = root.digest
    except (FeedError, TrustError) as error:
        broken.append(f"the first root does not lead to the trusted one: {error}")
        return trusted
    if root is None or root.data != head.root.data:
        broken.append("the first root does not lead to the trusted one")
        return trusted
    return found


def copy(
    source: Store,
    to: Store,
    proof: Proof,
    report: Copied,
    *,
    dry: bool = False,
    thorough: bool = False,
) -> None:
    """Copy everything but the timestamp that is not there yet.

    Args:
        source: What is copied.
        to: Where.
        proof: Of the source.
        report: Counts, and what is damaged.
        dry: Write nothing; count what would be.
        thorough: Compare also metadata that is there with the same size.

    Raises:
        StoreError, LocalError: Copying again goes on.
    """
    report.damaged += proof.broken
    with Reads(source) as reads:
        for listed, data in fetched(reads, _wanted(source, to, report, thorough)):
            if data is None:  # gone meanwhile: `gc` collects also while we copy
                continue
            if proof.refutes(listed.key, data):
                report.damaged.append(f"{listed.key} is damaged: it was not copied")
            elif listed.key.startswith(MUTABLE):
                _renew(to, listed.key, data, report, dry=dry)
            else:
                _put(to, listed.key, data, report, dry=dry)


def _wanted(source: Store, to: Store, report: Copied, thorough: bool) -> Iterator[Listed]:
    """Yield what may have to be copied: what is not there, or has another size, or may change."""
    there = _Sizes(to)
    compared = (*MUTABLE, layout.METADATA) if thorough else MUTABLE
    for listed in source.list(""):
        if listed.key == layout.TIMESTAMP or listed.key.startswith(LEFT_BEHIND):
            continue
        if listed.size > DEFAULT_OBJECT_LIMIT:
            report.damaged.append(f"{listed.key} has no business there: it was not copied")
        elif there.of(listed.key) == listed.size and not listed.key.startswith(compared):
            report.present += 1
        else:
            yield listed


class _Sizes:
    """The sizes of what lies in a store, for keys that are asked for in order."""

    def __init__(self, store: Store) -> None:
        self._listing = store.list("")
        self._next = next(self._listing, None)

    def of(self, key: str) -> int | None:
        while self._next is not None and self._next.key < key:
            self._next = next(self._listing, None)
        there = self._next is not None and self._next.key == key
        return self._next.size if self._next is not None and there else None


def fetched(reads: Reads, listing: Iterable[Listed]) -> Iterator[tuple[Listed, bytes | None]]:
    """Read objects ahead, within bounds, and yield them in order; None: it is gone."""
    waiting: deque[Listed] = deque()
    size = 0
    for listed in listing:
        while waiting and (len(waiting) >= WINDOW_OBJECTS or size + listed.size > WINDOW_BYTES):
            first = waiting.popleft()
            size -= first.size
            yield first, reads.take(first.key)
        reads.ask(listed.key)
        waiting.append(listed)
        size += listed.size
    for listed in waiting:
        yield listed, reads.take(listed.key)


def _put(to: Store, key: str, data: bytes, report: Copied, *, dry: bool) -> None:
    """Create an object; one that is there must be the same."""
    there = to.get(key) if dry else None
    if there is None and (dry or to.put_new(key, data)):
        report.copied += 1
        report.bytes += len(data)
        return
    there = there or to.get(key)
    if there is not None and there.data == data:
        report.present += 1
    else:
        report.damaged.append(f"{key} is there with other bytes: it was left")


def _renew(to: Store, key: str, data: bytes, report: Copied, *, dry: bool) -> None:
    """Create or replace a document that changes; the newer one stays."""
    there = to.get(key)
    try:
        newer = there is None or _is_newer(key, there.data, data)
    except FeedError as error:
        report.damaged.append(f"{key} is damaged: {error}")
        return
    if not newer:
        report.present += 1
        return
    if dry or _replaced(to, key, data, there):
        report.copied += 1
        report.bytes += len(data)


def _replaced(to: Store, key: str, data: bytes, there: Object | None) -> bool:
    if there is None:
        return to.put_new(key, data)
    return to.replace_if(key, data, there.token) is not None


def _is_newer(key: str, old: bytes, new: bytes) -> bool:
    """Tell whether a document takes the place of another one.

    Raises:
        MalformedFeed: One of them is damaged, or they are not two states of one document.
    """
    if old == new:
        return False
    if key.startswith(layout.ENROLMENTS):
        one, other = Subscription.from_bytes(old), Subscription.from_bytes(new)
        if one.token_digest == other.token_digest and one.revision != other.revision:
            return other.revision > one.revision
    else:
        keys, others = ListSecret.from_bytes(old), ListSecret.from_bytes(new)
        known, found = ({key.id for key in secret.hash_keys} for secret in (keys, others))
        if keys.test_host == others.test_host and (known < found or found <= known):
            return known < found
    raise FeedError("two documents of the same age")


def _digest_in(key: str) -> str | None:
    """Return the digest that a key names, None for keys that name none."""
    parsed = layout.parse_target_key(key)
    if parsed is not None:
        return parsed[1]
    return key.rpartition("/")[2].partition(".")[0] if key.startswith(NAMED_BY_DIGEST) else None


def _key(role: str, version: int) -> str:
    return layout.METADATA + names.file_name(role, version)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
