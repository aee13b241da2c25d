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

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tuf.api.metadata import Targets

from blocklist.publisher.keeping import copying
from blocklist.publisher.keeping.copying import Copied
from blocklist.publisher.keeping.remains import MARGIN, Remains, reader, survey
from blocklist.publisher.publish import publish
from blocklist.publisher.racing import before_commit
from blocklist.publisher.repository import Repository
from blocklist.publisher.request import Options, Request
from blocklist.store import layout
from blocklist.store.directory import DirectoryStore
from signing import commit, names, proposals, verify
from signing.errors import LostRace, SignaturesMissing, Stale
from signing.head import Head, head_under, walk_roots
from signing.roles import RoleFile, delegated_names
from signing.trust import TrustState

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
        left = survey(repository, DirectoryStore(folder), seen, folder)
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
        root = walk_roots(trust.root, reader(repository.metadata))
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


def _begun(left: Remains) -> Restored:
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


def _make_live(repository: Repository, left: Remains, done: Restored) -> None:
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
    repository: Repository, head: Head, left: Remains, done: Restored
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


def _below(trust: TrustState, left: Remains) -> list[str]:
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
