"""Make a new root live so that no client breaks, whenever the machine that does it dies.

A new root with the same online and targets keys is one write. When one of these keys is replaced:

    1. targets (if its key is replaced), snapshot metadata and timestamp, signed by old and new
       keys: clients on the old root and clients on the new one accept them
    2. N+1.root.json
    3. snapshot metadata and timestamp again, by the new key alone

Each step looks at what is live first, so that running it again continues wherever it died. Without
an old key, 1 is left out: between 2 and 3 clients then see an error and keep their lists.

A machine with the old key may refresh meanwhile. Before 2 that sends us back to 1; after 2 its
timestamp no longer counts for anybody, and 3 replaces it, on what the old key honestly vouched for,
or, where it lies (a thief has it), on what this publisher has seen itself.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from signing import commit, names, policy, roles, verify
from signing.commit import Plan
from signing.errors import LostRace, Malformed, SignaturesMissing, Tampered, TrustError
from signing.head import Head, head_under, root_reader
from signing.port import MetadataStore
from signing.proposals import ONLINE
from signing.roles import RoleFile, delegated_names
from signing.trust import TrustState

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)

MAX_STEPS_BACK = 1_000  # versions of a list looked at for one that the new keys vouch for


@dataclass(frozen=True, slots=True)
class Rotation:
    """A change of root that has all its signatures.

    Attributes:
        store: Where.
        trust: What this publisher has seen.
        old, new: The root in force and the next one.
        targets: A targets role that comes with it, because the old one would not verify.
        signers: Our online keys by key id, of both roots.
        key_lost: There is no old key to bridge with; clients may see an error for a moment.
    """

    store: MetadataStore
    trust: TrustState
    old: RoleFile[Root]
    new: RoleFile[Root]
    targets: RoleFile[Targets] | None
    signers: Mapping[str, Signer]
    key_lost: bool = False

    def bridge(self, now: datetime, taken: Mapping[str, int]) -> None:
        """Step 1: see to it that what is live verifies under both roots.

        Raises:
            SignaturesMissing: A key that this needs is not here; the message says what to do.
            LostRace: The head moved; call again.
        """
        head = self.live()
        if self._ready(head):
            return
        self._refuse_unsigned()
        if self.key_lost:
            return
        top = self._pending(head)
        if top is not None and _short_of(self.old, top):
            raise SignaturesMissing(
                "expected a signature of an old targets key as well, so that no subscriber breaks; "
                "if there is none left, commit with --old-key-lost"
            )
        based = _with_lists(self.store, replace(head, root=self.old), top, self._may_go_back)
        plan = commit.plan(
            self.store,
            based,
            self._signer(self.old),
            now,
            targets=top,
            taken=taken,
            also=[self._signer(self.new)] if self._online_replaced else [],
        )
        self._verify_under_new(plan)
        self._write(plan)

    def put_root(self) -> None:
        """Step 2.

        Raises:
            LostRace: Another root has that number.
            Tampered: Something there is no root at all: see `replace_invalid`.
        """
        put_root(self.store, self.old, self.new)

    def ready(self) -> bool:
        """Tell whether step 2 may be done: nobody undid step 1 meanwhile, or it is left out."""
        return self.key_lost or self._ready(self.live())

    def finish(self, now: datetime, taken: Mapping[str, int]) -> tuple[Head, bool]:
        """Step 3: let the new keys alone vouch for what is live.

        Returns:
            The head, and whether anything had to be written.

        Raises:
            SignaturesMissing: The new online key is not here.
            LostRace: The head moved; call again.
        """
        head = self.live()
        if self._finished(head):
            return head, False
        top = self._pending(head)
        based = _with_lists(self.store, replace(head, root=self.new), top, self._may_go_back)
        plan = commit.plan(self.store, based, self._signer(self.new), now, targets=top, taken=taken)
        return self._write(plan), True

    def live(self) -> Head:
        """Return what is live under the new root or, as yet, under the old one."""
        roots = (self.new, self.old)
        return live(self.store, self.trust, roots, recover=self._online_replaced)

    @property
    def needs_online(self) -> bool:
        """Whether anything but the root may have to be signed."""
        return self._online_replaced or self.targets is not None

    @property
    def _online_replaced(self) -> bool:
        return any(self._differs(role) for role in ONLINE)

    @property
    def _may_go_back(self) -> bool:
        """Clients forget the numbers of lists when no old online key counts any more."""
        old, new = (set(root.signed.roles[names.SNAPSHOT].keyids) for root in (self.old, self.new))
        return self.targets is not None and not old & new

    def _differs(self, role: str) -> bool:
        old, new = (set(root.signed.roles[role].keyids) for root in (self.old, self.new))
        return old != new

    def _ready(self, head: Head) -> bool:
        """Tell whether clients on the new root accept what is live, as those on the old one do."""
        return self._pending(head) is None and not any(
            _short_of(self.new, role) for role in (head.timestamp, head.snapshot, head.targets)
        )

    def _finished(self, head: Head) -> bool:
        known = set(self.new.signed.roles[names.TIMESTAMP].keyids)
        signed = {*head.timestamp.metadata.signatures, *head.snapshot.metadata.signatures}
        return self._ready(head) and signed <= known

    def _pending(self, head: Head) -> RoleFile[Targets] | None:
        """Return the targets role that comes with the root, until it is live."""
        top = self.targets
        return top if top is not None and head.targets.signed != top.signed else None

    def _refuse_unsigned(self) -> None:
        """Refuse a root that would leave clients with a targets role that its keys do not sign."""
        self._signer(self.new)
        if self.targets is not None:
            verify.enough_signatures(self.new, self.targets)

    def _signer(self, root: RoleFile[Root]) -> Signer:
        """Return one of our keys that a root takes for online."""
        for keyid in root.signed.roles[names.TIMESTAMP].keyids:
            if keyid in self.signers:
                return self.signers[keyid]
        if root is self.old and self.old is not self.new:
            raise SignaturesMissing(
                "expected the old online key here as well, so that no subscriber breaks: run this "
                "on a machine with both; if it is lost, commit with --old-key-lost"
            )
        raise SignaturesMissing("expected the new online key here: run this where it is")

    def _verify_under_new(self, plan: Plan) -> None:
        """Look at a bridge as clients on the new root would."""
        before, after = (replace(head, root=self.new) for head in (plan.before, plan.after))
        commit.preflight(self.store, replace(plan, before=before, after=after), {})

    def _write(self, plan: Plan) -> Head:
        for role in plan.roles:
            put_same(self.store, role)
        plan.write_snapshot(self.store)
        return plan.commit(self.store)


def put_same(store: MetadataStore, role: RoleFile[Any]) -> None:
    """Store a role file whose number people have signed, or find it there byte for byte.

    Raises:
        Malformed: Something else has its number, for good: the change must be proposed again.
    """
    file = names.file_name(role.name, role.version)
    if store.put_new(file, role.data):
        return
    stored = store.get(file, limit=policy.MAX_TARGETS_BYTES)
    if stored is None or stored.data != role.data:
        raise Malformed(f"something else lies at {file}: propose the change again")


def put_root(store: MetadataStore, old: RoleFile[Root], new: RoleFile[Root]) -> None:
    """Store the next root, or find it there with other signatures of the right keys.

    Raises:
        LostRace: Another valid root has its number.
        Tampered: What lies there is no root that the old one's keys sign.
    """
    file = names.file_name(names.ROOT, new.version)
    if store.put_new(file, new.data):
        return
    stored = store.get(file, limit=policy.MAX_ROOT_BYTES)
    if stored is None:
        raise LostRace(f"{file} was there and is gone: run it again")
    try:
        found = verify.next_root(old, stored.data)
    except TrustError as error:
        raise Tampered(
            f"what lies at {file} is no root that version {old.version} signs; "
            "commit with --replace-invalid-root"
        ) from error
    if found.signed != new.signed:
        raise LostRace(f"another root of version {new.version} came first: propose again")


def walk_valid(store: MetadataStore, root: RoleFile[Root]) -> tuple[RoleFile[Root], str | None]:
    """Follow the roots after `root` as far as they are valid.

    Returns:
        The newest valid root, and what is wrong with the file after it, if there is one.
    """
    read = root_reader(store)
    for _ in range(policy.MAX_ROOT_ROTATIONS):
        file = names.file_name(names.ROOT, root.version + 1)
        data = read(file)
        if data is None:
            return root, None
        try:
            root = verify.next_root(root, data)
        except TrustError as error:
            return root, f"{file} is no root that version {root.version} signs: {error}"
    return root, None


def live(
    store: MetadataStore,
    trust: TrustState,
    candidates: Sequence[RoleFile[Root]],
    *,
    recover: bool = False,
) -> Head:
    """Return what is live under the first of these roots that signs it.

    Args:
        store, trust: Where, and what was seen of it.
        candidates: Roots to verify with, one after the other.
        recover: The online key is being replaced, so nothing that it says has to be believed: an
            older timestamp only leaves us with the numbers seen, and where nothing verifies,
            targets and lists are taken as they were seen last.

    Raises:
        Malformed: There is no repository.
        TrustError: It does not verify, or is older than what was seen.
    """
    stored = store.get(names.TIMESTAMP_FILE, limit=policy.MAX_TIMESTAMP_BYTES)
    if stored is None:
        raise Malformed("expected a repository, found no timestamp.json")
    failed: TrustError = Malformed("expected a root to verify with")
    for root in candidates:
        try:
            head = head_under(store, root, None)
            for role in head.everything():
                if not recover or role.name not in ONLINE:
                    seen = trust.seen.get(role.name)
                    verify.not_older(role.name, role.version, role.digest, seen)
            return _numbered(head, trust, head.timestamp.version, head.snapshot.version)
        except TrustError as error:
            failed = error
    if not recover:
        raise failed
    return _remembered(store, trust, candidates, stored.data, stored.token, failed)


def _numbered(head: Head, trust: TrustState, stamp: int, snapshot: int) -> Head:
    """Return a head whose numbers are not below those seen."""
    stamp = max(stamp, trust.seen.get(names.TIMESTAMP, (0, ""))[0])
    snapshot = max(snapshot, trust.seen.get(names.SNAPSHOT, (0, ""))[0])
    if (stamp, snapshot) == (head.timestamp.version, head.snapshot.version):
        return head
    return replace(
        head,
        timestamp=_renumbered(head.timestamp, stamp),
        snapshot=_renumbered(head.snapshot, snapshot),
    )


def _remembered(
    store: MetadataStore,
    trust: TrustState,
    candidates: Sequence[RoleFile[Root]],
    stamp: bytes,
    token: str,
    failed: TrustError,
) -> Head:
    """Return a head of the roles that this publisher has seen, unsigned, on the live token."""
    root = candidates[0]
    top = _seen(store, trust, names.TARGETS, failed)
    lists = [name for name in delegated_names(top.signed) if name in trust.seen]
    found = {name: _seen(store, trust, name, failed) for name in lists}
    meta = {names.meta_name(role.name): roles.meta_file(role) for role in (top, *found.values())}
    numbers = _claimed(candidates, stamp)
    expires = root.signed.expires  # of no account: these are never written
    snapshot = _unsigned(names.SNAPSHOT, Snapshot(numbers[1], expires=expires, meta=meta))
    timestamp = _unsigned(names.TIMESTAMP, Timestamp(numbers[0], expires=expires))
    return _numbered(Head(root, timestamp, snapshot, top, token, found), trust, *numbers)


def _claimed(candidates: Sequence[RoleFile[Root]], stamp: bytes) -> tuple[int, int]:
    """Return the numbers that a timestamp names, if one of the roots' keys signs it."""
    for root in candidates:
        try:
            signed = verify.timestamp(root, stamp).signed
        except TrustError:
            continue
        return signed.version, signed.snapshot_meta.version
    return 1, 1


def _seen(
    store: MetadataStore, trust: TrustState, name: str, failed: TrustError
) -> RoleFile[Targets]:
    """Read a role as this publisher has seen it: by its digest, whoever signs it now."""
    version, digest = trust.seen.get(name, (0, ""))
    stored = store.get(names.file_name(name, version), limit=policy.MAX_TARGETS_BYTES)
    if stored is None:
        raise failed
    role = verify.parse(name, stored.data, Targets)
    if role.digest != digest:
        raise failed
    return role


def _with_lists(
    store: MetadataStore, head: Head, top: RoleFile[Targets] | None, may_go_back: bool
) -> Head:
    """Return the head with, for each list, the newest version that the targets role vouches for.

    Normally that is the live one. When a thief had targets and online key, it may be an older one;
    subscribers who installed the thief's come back with the next release.
    """
    if top is None or not may_go_back:
        return head
    lists, meta = dict(head.roles), dict(head.snapshot.signed.meta)
    for name in delegated_names(top.signed):
        entry = meta.get(names.meta_name(name))
        if entry is None:
            continue
        found = _vouched(store, top, name, entry.version)
        lists[name], meta[names.meta_name(name)] = found, roles.meta_file(found)
    signed = head.snapshot.signed
    snapshot = Snapshot(signed.version, expires=signed.expires, meta=meta)
    return replace(head, roles=lists, snapshot=_unsigned(names.SNAPSHOT, snapshot))


def _vouched(
    store: MetadataStore, top: RoleFile[Targets], name: str, newest: int
) -> RoleFile[Targets]:
    for version in range(newest, max(newest - MAX_STEPS_BACK, 0), -1):
        stored = store.get(names.file_name(name, version), limit=policy.MAX_TARGETS_BYTES)
        if stored is None:
            continue
        try:
            role = verify.delegated_alone(top, name, stored.data)
        except TrustError:
            continue
        if role.version == version:
            return role
    raise SignaturesMissing(f"expected a version of {name} that the keys in the draft sign")


def _short_of(root: RoleFile[Root], role: RoleFile[Any]) -> bool:
    """Tell whether a role lacks signatures of this root's keys."""
    valid, needed = verify.count(root.signed, role)
    return valid < needed


def _renumbered(role: RoleFile[T], version: int) -> RoleFile[T]:
    copy = deepcopy(role.signed)
    copy.version = version
    return _unsigned(role.name, copy)


def _unsigned(name: str, signed: T) -> RoleFile[T]:
    return RoleFile(name, b"", Metadata(signed))
