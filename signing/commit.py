"""Make new roles live: preflight, immutable files, then one compare-and-swap of the timestamp.

    1. blobs and records          by the caller, before `Plan.write`
    2. N.targets.json, N.<role>.json   put_new; taken means burned: the caller plans again
    3. N.snapshot.json            put_new; the same
    4. timestamp.json             replace_if: this is the commit

Before 4 nothing is live, after it everything is. A crash leaves objects that nothing names; their
numbers are *burned*: never adopted, never overwritten, the next number is taken. When the head has
moved, but not in the roles of 2, only 3 and 4 are done again (`plan_again`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from securesystemslib.signer import Signer
from tuf.api.metadata import Snapshot, Targets, Timestamp

from signing import names, policy, roles, verify
from signing.errors import Burned, LostRace, Malformed
from signing.head import Head
from signing.port import MetadataStore
from signing.roles import RoleFile

NOTHING_TAKEN: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Plan:
    """A commit that has passed preflight and is not yet written.

    Attributes:
        before: The head it was planned on.
        after: The head once it is written (its token is still the old one).
        files: Immutable files in write order, without the timestamp.
    """

    before: Head
    after: Head
    files: tuple[RoleFile[Any], ...]

    @property
    def roles(self) -> tuple[RoleFile[Any], ...]:
        """The files without the snapshot metadata."""
        return tuple(file for file in self.files if file.name != names.SNAPSHOT)

    def write(self, store: MetadataStore) -> Head:
        """Write everything in order and commit.

        Raises:
            Burned: A number was taken meanwhile; nothing is live.
            LostRace: The head moved; nothing is live.
        """
        self.write_roles(store)
        self.write_snapshot(store)
        return self.commit(store)

    def write_roles(self, store: MetadataStore) -> None:
        """Write the role files, which nothing names yet.

        Raises:
            Burned: A number was taken meanwhile; nothing is live.
        """
        for role in self.roles:
            _put(store, role)

    def write_snapshot(self, store: MetadataStore) -> None:
        """Write snapshot metadata if it is new, which nothing names yet either.

        Raises:
            Burned: Its number was taken meanwhile; nothing is live.
        """
        for file in self.files:
            if file.name == names.SNAPSHOT:
                _put(store, file)

    def commit(self, store: MetadataStore) -> Head:
        """Make everything live.

        Raises:
            LostRace: The head moved; nothing is live.
        """
        token = store.replace_if(names.TIMESTAMP_FILE, self.after.timestamp.data, self.before.token)
        if token is None:
            raise LostRace("another release came first; nothing was changed")
        return replace(self.after, token=token)


def free_version(
    store: MetadataStore, role: str, above: int, taken: Mapping[str, int] = NOTHING_TAKEN
) -> int:
    """Return the first number above `above` at which nothing of the role lies.

    Args:
        store: Where.
        role: The role.
        above: Its version now, 0 for none.
        taken: Highest numbers that were found taken when writing (`Burned`), by role.

    Raises:
        Malformed: More than `policy.MAX_BURNED` leftovers in a row.
    """
    first = max(above, taken.get(role, 0)) + 1
    for version in range(first, first + 1 + policy.MAX_BURNED):
        if not store.occupied(names.file_name(role, version)):
            return version
    raise Malformed(f"expected a free number for {role}, found {policy.MAX_BURNED} leftovers")


def plan(
    store: MetadataStore,
    head: Head,
    online: Signer,
    now: datetime,
    *,
    targets: RoleFile[Targets] | None = None,
    changed: Iterable[RoleFile[Targets]] = (),
    taken: Mapping[str, int] = NOTHING_TAKEN,
    also: Sequence[Signer] = (),
) -> Plan:
    """Plan a commit of new delegated roles and, possibly, a new targets role.

    `taken` is as for `free_version`; `also` are further keys that sign snapshot metadata and
    timestamp, while the online key is being replaced (`signing.rotate`).

    Raises:
        SignaturesMissing: A role has fewer valid signatures than its threshold.
        Malformed, Tampered, Rollback: Preflight: clients would refuse the result.
    """
    delegated = list(changed)
    top = [targets] if targets is not None else []
    version = free_version(store, names.SNAPSHOT, head.snapshot.version, taken)
    snapshot = roles.seal(
        names.SNAPSHOT,
        roles.next_snapshot(head.snapshot.signed, version, [*top, *delegated], now),
        [online, *also],
    )
    stamp = _next_timestamp(head, snapshot, [online, *also], now, taken)
    after = replace(
        head,
        timestamp=stamp,
        snapshot=snapshot,
        targets=targets or head.targets,
        roles={**head.roles, **{role.name: role for role in delegated}},
    )
    result = Plan(head, after, (*top, *delegated, snapshot))
    preflight(store, result, {role.name: role for role in delegated})
    return result


def plan_again(
    store: MetadataStore,
    lost: Plan,
    head: Head,
    online: Signer,
    now: datetime,
    taken: Mapping[str, int] = NOTHING_TAKEN,
) -> Plan:
    """Plan the same roles, which are written already, on a head that has moved without them.

    So a release does not have to be built anew because another list was released or the head was
    re-signed meanwhile.

    Args:
        store: Where.
        lost: The plan that lost the race.
        head: The head now.
        online, now, taken: As for `plan`.

    Raises:
        LostRace: The head has moved in one of these roles too.
        SignaturesMissing, Malformed, Tampered, Rollback: As for `plan`.
    """
    top: RoleFile[Targets] | None = None
    changed: list[RoleFile[Targets]] = []
    for role in lost.roles:
        if _live_version(head, role.name) != _live_version(lost.before, role.name):
            raise LostRace(f"another release of {role.name} came first; nothing was changed")
        if role.name == names.TARGETS:
            top = role
        else:
            changed.append(role)
    return plan(store, head, online, now, targets=top, changed=changed, taken=taken)


def plan_refresh(
    store: MetadataStore,
    head: Head,
    online: Signer,
    now: datetime,
    taken: Mapping[str, int] = NOTHING_TAKEN,
) -> Plan:
    """Plan a new timestamp and, under half of its life, new snapshot metadata."""
    left = policy.life_left(head.snapshot.signed.expires, policy.SNAPSHOT_LIFETIME, now)
    if left < policy.RENEW_BELOW:
        return plan(store, head, online, now, taken=taken)
    stamp = _next_timestamp(head, head.snapshot, [online], now, taken)
    after = replace(head, timestamp=stamp)
    result = Plan(head, after, ())
    preflight(store, result, {})
    return result


def _next_timestamp(
    head: Head,
    snapshot: RoleFile[Snapshot],
    online: Sequence[Signer],
    now: datetime,
    taken: Mapping[str, int],
) -> RoleFile[Timestamp]:
    version = max(head.timestamp.version, taken.get(names.TIMESTAMP, 0)) + 1
    signed = roles.next_timestamp(version, snapshot, now)
    return roles.seal(names.TIMESTAMP, signed, online)


def preflight(
    store: MetadataStore, planned: Plan, changed: Mapping[str, RoleFile[Targets]]
) -> None:
    """Look at the result as a client would, before anything is written.

    When only delegated roles change, only those are verified, so that one misbehaving list cannot
    block the others; when the delegations change, every list is.
    """
    before, after = planned.before, planned.after
    verify.enough_signatures(after.root, after.timestamp)
    verify.enough_signatures(after.root, after.snapshot)
    verify.enough_signatures(after.root, after.targets)
    stamp = verify.timestamp(after.root, after.timestamp.data)
    snap = verify.snapshot(after.root, stamp, after.snapshot.data)
    top = verify.targets(after.root, snap, after.targets.data)
    all_lists = top.data != before.targets.data
    for name in after.released():
        role = changed.get(name)
        if role is None and not all_lists:
            continue
        if role is not None:
            _newer(before, role)
            verify.enough_signatures(top, role)
        data = role.data if role is not None else _stored(store, snap, name)
        verify.paths_in_pattern(top, verify.delegated(top, snap, name, data))


def _put(store: MetadataStore, file: RoleFile[Any]) -> None:
    if not store.put_new(names.file_name(file.name, file.version), file.data):
        raise Burned(file.name, file.version)


def _live_version(head: Head, role: str) -> int:
    """Return the version of a role that is live, 0 for none."""
    meta = head.snapshot.signed.meta.get(names.meta_name(role))
    return meta.version if meta is not None else 0


def _newer(before: Head, role: RoleFile[Targets]) -> None:
    """Refuse a role whose version does not rise."""
    live = _live_version(before, role.name)
    if role.version <= live:
        raise Malformed(f"expected {role.name} above version {live}, got {role.version}")


def _stored(store: MetadataStore, snap: RoleFile[Snapshot], name: str) -> bytes:
    file = names.file_name(name, verify.meta_of(snap, name).version)
    stored = store.get(file, limit=policy.MAX_TARGETS_BYTES)
    if stored is None:
        raise Malformed(f"expected {file} in the repository, it is missing")
    return stored.data
