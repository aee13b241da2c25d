"""The chain of releases, newest first: each role file names the one before it, with its digest.

What a verified role file names by digest is proven, also after the keys that signed it were rotated
away. A chain is read one after the other; so that a storage with slow answers does not make that
slow, several threads read the next numbers before they are asked for. Most of them are right;
missing and burned numbers are read in vain.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, Self

from tuf.api.metadata import Targets

from blocklist.core.entries import Feed
from blocklist.core.errors import DigestMismatch, MalformedFeed
from blocklist.core.release import Facts, FeedRelease, read_release
from blocklist.publisher import records
from blocklist.publisher.records import Record
from blocklist.store import layout
from blocklist.store.port import DEFAULT_OBJECT_LIMIT, Listed, Object
from signing import names, policy, verify
from signing.roles import RoleFile, targets_of

READERS = 16  # threads
AHEAD = 32  # objects read before they are asked for


class Readable(Protocol):
    """Where objects can be read: a storage, or a bundle of objects from one."""

    def get(self, key: str, *, limit: int = DEFAULT_OBJECT_LIMIT) -> Object | None:
        """Return an object, or None; see `Store.get`."""

    def list(self, prefix: str) -> Iterator[Listed]:
        """Iterate over the objects whose key begins so; see `Store.list`."""


class Reads:
    """Objects that are read by several threads, ahead of being taken; a context manager."""

    def __init__(self, store: Readable) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="read-ahead")
        self._asked: dict[str, Future[Object | None]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def ask(self, key: str, limit: int = DEFAULT_OBJECT_LIMIT) -> None:
        """Begin to read an object."""
        if key not in self._asked:
            self._asked[key] = self._threads.submit(self._store.get, key, limit=limit)

    def take(self, key: str, limit: int = DEFAULT_OBJECT_LIMIT) -> bytes | None:
        """Return the bytes of an object, once; None when there is none.

        Raises:
            StoreError: As `Store.get`.
        """
        self.ask(key, limit)
        found = self._asked.pop(key).result()
        return found.data if found is not None else None

    def drop(self, key: str) -> None:
        """Forget an object that nobody will take."""
        asked = self._asked.pop(key, None)
        if asked is not None:
            asked.cancel()


@dataclass(frozen=True, slots=True)
class Link:
    """One release in the chain.

    Attributes:
        role: Its role file.
        clear: What that says of the clear feed.
    """

    role: RoleFile[Targets]
    clear: FeedRelease

    @classmethod
    def of(cls, role: RoleFile[Targets]) -> Self:
        """Return the link that a verified role file is.

        Raises:
            MalformedFeed, UnknownFormat: It has another shape than a release.
        """
        targets = targets_of(role.signed)
        return cls(role, read_release(role.name, Feed.CLEAR, role.version, targets))

    @property
    def version(self) -> int:
        """The version."""
        return self.role.version

    @property
    def facts(self) -> Facts:
        """The signed facts."""
        return self.clear.facts


def role_key(name: str, version: int) -> str:
    """Return the object key of a list's role file."""
    return layout.METADATA + names.file_name(name, version)


def walk(reads: Reads, newest: RoleFile[Targets]) -> Iterator[Link]:
    """Walk from a verified release back to the first.

    Raises:
        MalformedFeed: A role file is missing, or not a release.
        DigestMismatch: A role file is not the one that its successor was made on.
    """
    link = Link.of(newest)
    asked = link.version
    while True:
        until = max(link.version - AHEAD, 1)
        for version in range(min(asked, link.version) - 1, until - 1, -1):
            reads.ask(role_key(newest.name, version), policy.MAX_TARGETS_BYTES)
        asked = min(asked, until)
        yield link
        if link.facts.prev is None:
            return
        for version in range(link.facts.prev[0] + 1, link.version):
            reads.drop(role_key(newest.name, version))
        link = before(reads, link)


def before(reads: Reads, link: Link) -> Link:
    """Return the release that one names as the one before it.

    Raises:
        MalformedFeed, DigestMismatch: As `walk`.
    """
    name = link.role.name
    if link.facts.prev is None:
        raise MalformedFeed(f"expected version {link.version} of {name} to name one before it")
    version, digest = link.facts.prev
    if not 0 < version < link.version:
        raise MalformedFeed(f"expected version {link.version} of {name} to name an older one")
    data = reads.take(role_key(name, version), policy.MAX_TARGETS_BYTES)
    if data is None:
        file = names.file_name(name, version)
        raise MalformedFeed(f"expected {file} in the storage, it is missing")
    if hashlib.sha256(data).hexdigest() != digest:
        raise DigestMismatch(f"version {version} is not the one that its successor names")
    role = verify.parse(name, data, Targets)
    if role.version != version:
        raise MalformedFeed(f"expected {name} version {version}, got {role.version}")
    return Link.of(role)


def with_records(
    reads: Reads, name: str, releases: Iterable[tuple[int, str]]
) -> Iterator[tuple[int, Record]]:
    """Give the record of each release; see `record_bytes`."""
    for version, data in record_bytes(reads, name, releases):
        yield version, Record.from_bytes(data)


def record_bytes(
    reads: Reads, name: str, releases: Iterable[tuple[int, str]]
) -> Iterator[tuple[int, bytes]]:
    """Give the stored record of each release, in the order of the releases.

    Args:
        reads: Where to read.
        name: The list.
        releases: Version and digest of the record of each.

    Raises:
        MalformedFeed: A record is missing or altered.
    """
    waiting: deque[tuple[int, str]] = deque()
    for version, digest in releases:
        reads.ask(layout.record_key(name, digest))
        waiting.append((version, digest))
        if len(waiting) > AHEAD:
            yield _taken(reads, name, *waiting.popleft())
    while waiting:
        yield _taken(reads, name, *waiting.popleft())


def _taken(reads: Reads, name: str, version: int, digest: str) -> tuple[int, bytes]:
    data = reads.take(layout.record_key(name, digest))
    return version, records.unaltered(name, digest, data)
