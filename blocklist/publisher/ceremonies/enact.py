"""Commit a signed draft: all thresholds, preflight, then the writes, in an order that crashes obey.

Everything is idempotent: a commit that died is run again and goes on where it was. What people have
signed has its numbers; when something else took one, the change must be proposed again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from securesystemslib.signer import Signer
from tuf.api.metadata import Root, Targets

from blocklist.core.errors import InputError
from blocklist.publisher.ceremonies import examine
from blocklist.publisher.racing import until_committed
from blocklist.publisher.repository import Repository
from blocklist.publisher.start import make_secret
from signing import commit as committing
from signing import create, drafts, names, policy, proposals, rotate, standing, verify
from signing.drafts import Base, Draft
from signing.errors import LostRace, Malformed, SignaturesMissing
from signing.head import Head
from signing.roles import RoleFile, next_snapshot, next_timestamp, seal
from signing.rotate import Rotation
from signing.trust import TrustState


@dataclass(frozen=True, slots=True)
class Enacted:
    """What a commit did.

    Attributes:
        kind: Of the draft.
        versions: Number by role that is now live.
        fingerprint: SHA-256 of the newest root file.
        unchanged: All of it was live already.
    """

    kind: str
    versions: Mapping[str, int]
    fingerprint: str
    unchanged: bool


def enact(
    repository: Repository,
    copies: Sequence[Draft],
    *,
    key_lost: bool = False,
    replace_invalid_root: bool = False,
) -> Enacted:
    """Make a draft live.

    Args:
        repository: Where; the home has the online keys that are needed.
        copies: One draft, or copies of it that were signed apart.
        key_lost: An old online or targets key is not there to bridge with.
        replace_invalid_root: Remove something at the new root's place that is no root.

    Raises:
        SignaturesMissing: A threshold is not met, or a key that is needed is not here.
        LostRace: The draft follows something that is not live any more.
        Unsafe, Tampered, Malformed: As `examine.examine`, and preflight.
    """
    home, draft = repository.home, drafts.merged(copies)
    with home.lock(repository.settings.lock_seconds):
        base = examine.examine(home, draft, repository.clock())
        repository.writable()
        if draft.kind == drafts.INIT:
            return _start(repository, draft)
        if draft.kind == drafts.TARGETS:
            return _targets(repository, draft)
        return _root(repository, draft, base, key_lost, replace_invalid_root)


def _start(repository: Repository, draft: Draft) -> Enacted:
    """Write the first files, or those that an interrupted attempt has journaled."""
    root, top = _root_of(draft), _targets_of(draft)
    verify.enough_signatures(root, root)
    verify.enough_signatures(root, top)
    home, now = repository.home, repository.clock()
    if home.has_trust():
        return Enacted(draft.kind, {names.ROOT: 1, names.TARGETS: 1}, root.digest, True)
    online = _online(repository, root)
    if not online:
        raise SignaturesMissing("expected the online key here: run this on the machine that has it")

    def first() -> create.Files:
        snap = seal(names.SNAPSHOT, next_snapshot(None, 1, [top], now), online)
        stamp = seal(names.TIMESTAMP, next_timestamp(1, snap, now), online)
        verify.snapshot(root, verify.timestamp(root, stamp.data), snap.data)
        files = {names.file_name(role.name, 1): role.data for role in (root, top, snap)}
        return {**files, names.TIMESTAMP_FILE: stamp.data}

    files = home.journaled(first)
    written = verify.parse(names.ROOT, files[names.file_name(names.ROOT, 1)], Root)
    if written.signed != root.signed:
        raise InputError(f"{home.directory} began another repository; use an empty home")
    try:
        create.write(repository.metadata, files)
    except LostRace as error:
        raise InputError(str(error)) from error
    home.save_trust(TrustState.pin(written.data))
    return Enacted(draft.kind, {names.ROOT: 1, names.TARGETS: 1}, written.digest, False)


def _targets(repository: Repository, draft: Draft) -> Enacted:
    """Commit a targets role; the secrets of new lists are made before."""
    top = _targets_of(draft)

    def attempt(taken: Mapping[str, int]) -> tuple[Head, bool]:
        head = repository.head(None)
        examine.refuse_stale(draft, head)
        if head.targets.signed == top.signed:
            return head, True
        verify.enough_signatures(head.root, top)
        examine.refuse_orphans(repository.metadata, head, top.signed)
        online, now = repository.online_signer(head), repository.signing_time(head)
        plan = committing.plan(repository.metadata, head, online, now, targets=top, taken=taken)
        for name, host in draft.unsigned.items():
            make_secret(repository, name, host)
        rotate.put_same(repository.metadata, top)
        plan.write_snapshot(repository.metadata)
        return plan.commit(repository.metadata), False

    head, unchanged = until_committed(attempt, repository.settings.race_seconds)
    repository.remember(head)
    versions = {names.TARGETS: head.targets.version}
    return Enacted(draft.kind, versions, head.root.digest, unchanged)


def _root(
    repository: Repository, draft: Draft, base: Base, key_lost: bool, replace_invalid: bool
) -> Enacted:
    """Commit a root, and with it what its new keys have to sign (`signing.rotate`)."""
    turn = _turn(repository, draft, base, key_lost)
    newest, problem = standing.walk_valid(repository.metadata, repository.home.trust().root)
    placed = newest.version >= turn.new.version
    if not placed:
        if newest.signed != turn.old.signed:
            raise LostRace(f"root version {newest.version} came first: propose the change again")
        _bridge(repository, draft, turn)
        if problem is not None and replace_invalid:
            repository.metadata.delete(names.file_name(names.ROOT, turn.new.version))
        turn.put_root()
    stored = _stored_root(repository, turn.new.version)
    if stored.signed != turn.new.signed:
        raise LostRace(f"another root of version {stored.version} came first: propose again")
    unchanged = placed
    if newest.version <= turn.new.version:
        head, changed = until_committed(
            lambda taken: turn.finish(repository.clock(), taken), repository.settings.race_seconds
        )
        unchanged = placed and not changed
        seen = repository.home.trust().advance(stored, head.everything())
        repository.home.save_trust(seen)
    versions = {name: part.signed.version for name, part in draft.parts.items()}
    return Enacted(draft.kind, versions, stored.digest, unchanged)


def _turn(repository: Repository, draft: Draft, base: Base, key_lost: bool) -> Rotation:
    """Return the change of root, its thresholds verified and our online keys loaded if needed."""
    if base.root is None:
        raise Malformed("expected a draft with the root that it follows")
    new = _root_of(draft)
    verify.enough_signatures(base.root, new)
    verify.enough_signatures(new, new)
    top = _targets_of(draft) if draft.targets is not None else None
    if top is not None:
        verify.enough_signatures(new, top)
    turn = Rotation(repository.metadata, repository.home.trust(), base.root, new, top, {}, key_lost)
    if not turn.needs_online:
        return turn
    loaded = [*_online(repository, base.root), *_online(repository, new)]
    return replace(turn, signers={signer.public_key.keyid: signer for signer in loaded})


def _bridge(repository: Repository, draft: Draft, turn: Rotation) -> None:
    """Do step 1 until nobody undoes it before step 2."""

    def attempt(taken: Mapping[str, int]) -> None:
        head = turn.live()
        if draft.targets is not None:  # somebody may have changed it after the draft was made
            examine.refuse_stale(draft, replace(head, root=turn.old))
        proposals.refuse_shared_online(turn.new.signed, head.targets.signed)
        turn.bridge(repository.clock(), taken)
        if not turn.ready():
            raise LostRace("somebody with the old online key keeps refreshing: stop its timer")

    until_committed(attempt, repository.settings.race_seconds)


def _root_of(draft: Draft) -> RoleFile[Root]:
    if draft.root is None:
        raise Malformed("expected a draft with a root")
    return drafts.sealed(names.ROOT, draft.root)


def _targets_of(draft: Draft) -> RoleFile[Targets]:
    if draft.targets is None:
        raise Malformed("expected a draft with a targets role")
    return drafts.sealed(names.TARGETS, draft.targets)


def _online(repository: Repository, root: RoleFile[Root]) -> list[Signer]:
    """Load those of our keys that this root takes for online."""
    keyids = root.signed.roles[names.TIMESTAMP].keyids
    ours = [key for key in repository.home.key_files() if key.public.keyid in keyids]
    return [key.signer(repository.home.passphrase) for key in ours]


def _stored_root(repository: Repository, version: int) -> RoleFile[Root]:
    file = names.file_name(names.ROOT, version)
    stored = repository.metadata.get(file, limit=policy.MAX_ROOT_BYTES)
    if stored is None:
        raise Malformed(f"expected {file} in the repository, it is missing")
    return verify.parse(names.ROOT, stored.data, Root)
