"""`restore DIR`: a repository again, after the bucket was lost or came back older than it was.

Clients refuse every number below one that they have seen, and nobody knows for sure what they have
seen: others may have released since the backup. So the content of the newest head that is left is
signed again under numbers far above the highest that anybody knows of:

    1. objects     whatever is missing is copied from DIR; nothing that is there is overwritten
    2. floors      the highest numbers known, and a margin: this home remembers them first
    3. the head    snapshot metadata and timestamp above the floors: the repository is live again
    4. lists       those that this home signs alone, as new versions above their floor

Lists of several people are released above their floor by them. Until then clients that have seen
more than the backup keep what they have, and say *rollback*. A run that was interrupted is run
again: each step begins at what it finds.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tuf.api.metadata import Root, Targets

from blocklist.core.errors import InputError, StoreError
from blocklist.publisher import copying
from blocklist.publisher.copying import Copied
from blocklist.publisher.publish import publish
from blocklist.publisher.racing import before_commit
from blocklist.publisher.repository import Repository
from blocklist.publisher.request import Options, Request
from blocklist.store import layout
from blocklist.store.directory import DirectoryStore
from blocklist.store.port import Store
from blocklist.store.prefixed import Prefixed
from signing import commit, names, policy, proposals, verify
from signing.errors import LostRace, Malformed, SignaturesMissing, Stale, TrustError
from signing.head import Head, head_under, walk_roots
from signing.roles import RoleFile, delegated_names
from signing.trust import TrustState

MARGIN = 1_000  # releases that others may have made since the highest number known
ONLINE_MARGIN = 100_000  # the same for timestamps and snapshot metadata: a year, every five minutes
REASON = "restored from a backup"


@dataclass(slots=True)
class Restored:
    """What a restore did, or would do.

    Attributes:
        report: Counts, and what is damaged or differs.
        origin: Whose head is the newest one left: `backup` or `storage`.
        behind: Whether numbers had to jump.
        floors: Numbers that the next ones are above, by role.
        lists: New version of each list that was signed again.
        waiting: Lists that others have to sign.
        notes: What is left to do, in words.
    """

    report: Copied
    origin: str
    behind: bool
    floors: dict[str, int]
    lists: dict[str, int] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Left:
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


def restore(
    repository: Repository, folder: Path, seen: Mapping[str, int], *, dry: bool = False
) -> Restored:
    """Make a repository live again from a mirror of it.

    Args:
        repository: Where; its home has the online key, or only finds out with `dry`.
        folder: The mirror.
        seen: Versions that somebody reports to have seen, by role.
        dry: Change nothing.

    Raises:
        InputError: The folder is no mirror of this repository, or an unknown role in `seen`.
        SignaturesMissing: This home has not the online key.
        TrustError: Neither the backup nor the storage verifies.
        LostRace: Somebody else writes to the storage.
        StoreError, LocalError: Running it again goes on.
    """
    with repository.home.lock(repository.settings.lock_seconds):
        left = _left(repository, DirectoryStore(folder), seen, folder)
        done = _begun(left)
        backup = DirectoryStore(folder)
        proof = copying.prove(backup, left.backup)
        copying.copy(backup, repository.store, proof, done.report, dry=dry, thorough=True)
        if left.behind and not dry:
            _make_live(repository, left, done)
        lists = _below(left.trust if dry or not left.behind else repository.home.trust(), left)
    for name in lists:
        if dry:
            done.waiting.append(name)
        else:
            _sign(repository, name, done)
    return done


def accept(repository: Repository) -> TrustState:
    """Believe the head of the storage although this home has seen newer: it was restored.

    Raises:
        Stale: It has expired: nobody signs it any more.
        TrustError: It does not verify.
    """
    home = repository.home
    with home.lock(repository.settings.lock_seconds):
        trust = home.trust()
        root = walk_roots(trust.root, _reader(repository.metadata))
        head = head_under(repository.metadata, root, None)
        if verify.expired([head.timestamp], repository.clock()):
            raise Stale("expected a timestamp that is signed regularly, got one that has expired")
        live = {role.name: role.version for role in head.everything()}
        floors = {
            name: version + MARGIN
            for name, (version, _) in trust.seen.items()
            if version > live.get(name, 0)
        }
        accepted = TrustState(root, trust.seen, trust.floors).restored(head.everything(), floors)
        home.replace_trust(accepted)
    return accepted


def _begun(left: _Left) -> Restored:
    head = left.head
    done = Restored(
        Copied(),
        "storage" if head is left.storage else "backup",
        left.behind,
        left.floors if left.behind else {},
    )
    known = {names.TARGETS, names.SNAPSHOT, names.TIMESTAMP, *delegated_names(head.targets.signed)}
    done.notes += [
        f"list {name} was made after the backup and is lost: make it anew with `blocklist list "
        f"create {name}`; its versions begin above those that were seen"
        for name in sorted(set(left.seen) - known)
    ]
    return done


def _left(
    repository: Repository, backup: DirectoryStore, seen: Mapping[str, int], folder: Path
) -> _Left:
    """Find out what there is, and which numbers were ever seen."""
    store = repository.store
    if backup.get(layout.TIMESTAMP, limit=policy.MAX_TIMESTAMP_BYTES) is None:
        raise InputError(f"expected a mirror in {folder}, found no timestamp.json")
    trust = repository.home.trust()
    places = [_metadata(place) for place in (store, backup)]
    trust = replace(trust, root=walk_roots(trust.root, _reader(*places)))
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
    return _Left(trust, of_backup, of_storage, found.token if found else None, live, highest)


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
    read = _reader(*places)
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


def _make_live(repository: Repository, left: _Left, done: Restored) -> None:
    """Sign the newest head that is left under numbers above the floors."""
    metadata, home = repository.metadata, repository.home
    root = left.trust.root
    with before_commit():
        repository.store.put_new(
            layout.METADATA + names.file_name(names.ROOT, root.version), root.data
        )
    head = replace(left.head, root=root, token=left.token or "")
    online, now = repository.online_signer(head), repository.signing_time(head)
    targets = _targets(repository, head, left, done)
    plan = commit.plan(metadata, head, online, now, targets=targets, taken=left.floors)
    home.save_trust(replace(left.trust, floors={**left.trust.floors, **left.floors}))
    with before_commit():
        plan.write_roles(metadata)
        plan.write_snapshot(metadata)
    if left.token is not None:
        plan.commit(metadata)
    elif not metadata.put_new(names.TIMESTAMP_FILE, plan.after.timestamp.data):
        raise LostRace("somebody else writes to the storage; nothing was changed")
    home.replace_trust(left.trust.restored(plan.after.everything(), left.floors))


def _targets(
    repository: Repository, head: Head, left: _Left, done: Restored
) -> RoleFile[Targets] | None:
    """Sign the targets role again when a newer one was seen; None when it need not or cannot."""
    floor = left.floors.get(names.TARGETS)
    if floor is None:
        return None
    version = commit.free_version(repository.metadata, names.TARGETS, floor)
    signed = proposals.next_targets(head.targets.signed, version, None, repository.clock())
    try:
        return repository.sign_targets(head, signed)
    except SignaturesMissing:
        done.notes.append(
            "a newer targets role was seen than is left: hold a ceremony for the next one, which "
            "takes a number above it; clients that have seen it refuse the repository until then"
        )
        return None


def _below(trust: TrustState, left: _Left) -> list[str]:
    """Return the lists whose live version is below what was seen."""
    floors = left.floors if left.behind else trust.floors
    return [
        name
        for name, role in sorted(left.head.roles.items())
        if max(trust.above(name, 0), floors.get(name, 0)) > role.version
    ]


def _sign(repository: Repository, name: str, done: Restored) -> None:
    """Release a list as it is, above its floor; when others have to do it, say so."""
    facts: dict[str, Any] = {"files": []}
    request = Request(name, None, (), (), Options(reason=REASON), facts, renew=True)
    try:
        version = publish(repository, request).version
    except SignaturesMissing:
        done.waiting.append(name)
        return
    if version is not None:
        done.lists[name] = version


def _metadata(store: Store) -> Prefixed:
    return Prefixed(store, layout.METADATA)


def _reader(*places: Prefixed) -> Callable[[str], bytes | None]:
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
