"""What is left of a repository whose storage was lost or is older than it was, for `restore`.

Two heads may be left, that of the mirror and that of the storage, each under one of the roots that
lead to the newest. What was ever seen is known from them, from this home, and from what
subscribers tell.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tuf.api.metadata import Root

from blocklist.core.errors import InputError, StoreError
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from blocklist.store.port import Store
from blocklist.store.prefixed import Prefixed
from signing import names, policy, verify
from signing.errors import Malformed, TrustError
from signing.head import Head, head_under, walk_roots
from signing.roles import RoleFile, delegated_names
from signing.trust import TrustState

MARGIN = 1_000  # releases that others may have made since the highest number known
ONLINE_MARGIN = 100_000  # the same for timestamps and snapshot metadata: a year, every five minutes


@dataclass(frozen=True, slots=True)
class Remains:
    """What is left of a repository.

    Attributes:
        trust: What this home has seen, with the newest root that is left.
        backup: The head of the backup.
        storage: That of the storage; None when there is none that verifies.
        token: Of the storage's timestamp, whatever that is; None when there is none.
        seen: Highest number by role that was live, as far as anybody knows.
        highest: The same, with those of files that may never have been.
    """

    trust: TrustState
    backup: Head
    storage: Head | None
    token: str | None
    seen: Mapping[str, int]
    highest: Mapping[str, int]

    @property
    def head(self) -> Head:
        """The newest of the two."""
        both = [self.backup] if self.storage is None else [self.storage, self.backup]
        return max(both, key=lambda head: head.timestamp.version)

    @property
    def behind(self) -> bool:
        """Whether anybody may have seen more than the storage has to offer."""
        if self.head is not self.storage:
            return True
        return any(self.seen.get(role.name, 0) > role.version for role in self.head.everything())

    @property
    def floors(self) -> dict[str, int]:
        """Numbers that the next ones have to be above, by role."""
        found = {}
        for role, version in self.highest.items():
            online = role in (names.TIMESTAMP, names.SNAPSHOT)
            found[role] = version + (ONLINE_MARGIN if online else MARGIN)
        if self.seen.get(names.TARGETS, 0) <= self.head.targets.version:
            found.pop(names.TARGETS, None)  # nothing says that it was ever higher
        return found


def survey(repository: Repository, backup: Store, seen: Mapping[str, int], folder: Path) -> Remains:
    """Find out what there is, and which numbers were ever seen.

    Args:
        repository: The storage, and the home with its trust.
        backup: The mirror.
        seen: Versions that somebody reports to have seen, by role.
        folder: What people call the mirror.

    Raises:
        InputError: No mirror, or an unknown role in `seen`.
        TrustError: The head of the mirror does not verify.
    """
    store = repository.store
    if backup.get(layout.TIMESTAMP, limit=policy.MAX_TIMESTAMP_BYTES) is None:
        raise InputError(f"expected a mirror in {folder}, found no timestamp.json")
    trust = repository.home.trust()
    places = [_metadata(place) for place in (store, backup)]
    trust = replace(trust, root=walk_roots(trust.root, reader(*places)))
    roots = _roots(trust.root, places)
    of_backup = _head(places[1], roots)
    try:
        of_storage = _head(places[0], roots)
    except TrustError:
        of_storage = None
    found = store.get(layout.TIMESTAMP)
    heads = [of_backup] if of_storage is None else [of_backup, of_storage]
    live = _seen(trust, heads, seen)
    highest = _highest(live, places)
    return Remains(trust, of_backup, of_storage, found.token if found else None, live, highest)


def _seen(trust: TrustState, heads: Iterable[Head], told: Mapping[str, int]) -> dict[str, int]:
    """Return the highest number of each role that is known to have been live.

    Raises:
        InputError: Somebody tells of a role that nobody knows.
    """
    live = {name: version for name, (version, _) in trust.seen.items()}
    known = {names.TARGETS, names.SNAPSHOT, names.TIMESTAMP, *live}
    for head in heads:
        known |= set(delegated_names(head.targets.signed))
        for role in head.everything():
            live[role.name] = max(live.get(role.name, 0), role.version)
    for name, version in told.items():
        if name not in known:
            raise InputError(f"expected timestamp, snapshot, targets or a list, got {name!r}")
        live[name] = max(live.get(name, 0), version)
    return live


def _highest(live: Mapping[str, int], places: Iterable[Prefixed]) -> dict[str, int]:
    """Return the highest number of each role, those of files counted that may be leftovers."""
    highest = dict(live)
    for place in places:
        for listed in place.list(""):
            parsed = names.parse_file_name(listed.key)
            if parsed is not None and parsed[0] in highest:
                highest[parsed[0]] = max(highest[parsed[0]], parsed[1])
    return highest


def _roots(newest: RoleFile[Root], places: list[Prefixed]) -> list[RoleFile[Root]]:
    """Return the roots under which a head may verify, newest first: all that lead to this one."""
    read = reader(*places)
    found: list[RoleFile[Root]] = []
    try:
        for version in range(1, newest.version + 1):
            data = read(names.file_name(names.ROOT, version))
            if data is None:
                data = newest.data
            found.append(
                verify.next_root(found[-1], data) if found else verify.self_signed_root(data)
            )
    except TrustError:
        return [newest]
    return found[::-1] if found[-1].data == newest.data else [newest]


def _head(place: Prefixed, roots: list[RoleFile[Root]]) -> Head:
    """Return a verified head under the newest of these roots under which there is one.

    Raises:
        TrustError: Under none.
    """
    first: TrustError | None = None
    for root in roots:
        try:
            return head_under(place, root, None)
        except TrustError as error:
            first = first or error
    raise first or Malformed("expected a root, found none")


def _metadata(store: Store) -> Prefixed:
    return Prefixed(store, layout.METADATA)


def reader(*places: Prefixed) -> Callable[[str], bytes | None]:
    """Return what reads a root from the first place that has it."""

    def read(name: str) -> bytes | None:
        for place in places:
            try:
                found = place.get(name, limit=policy.MAX_ROOT_BYTES)
            except StoreError as error:
                if error.retryable:
                    raise
                continue
            if found is not None:
                return found.data
        return None

    return read
