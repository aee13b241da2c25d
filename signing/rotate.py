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

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from securesystemslib.signer import Signer
from tuf.api.metadata import Root, Snapshot, Targets

from signing import commit, names, policy, roles, verify
from signing.commit import Plan
from signing.errors import LostRace, Malformed, SignaturesMissing, Tampered, TrustError
from signing.head import Head
from signing.port import MetadataStore
from signing.proposals import ONLINE
from signing.roles import RoleFile, delegated_names
from signing.standing import live, unsigned
from signing.trust import TrustState

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
    return replace(head, roles=lists, snapshot=unsigned(names.SNAPSHOT, snapshot))


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
