"""What a ceremony stands on: the roots that are valid, and what is live, or was when last seen.

A ceremony has to go on where a publisher stops: beside something at the next root's place that is
no root, and while a stolen online key signs whatever it likes.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TypeVar

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from signing import names, policy, roles, verify
from signing.errors import Malformed, TrustError
from signing.head import Head, head_under, root_reader
from signing.port import MetadataStore
from signing.proposals import ONLINE
from signing.roles import RoleFile, delegated_names
from signing.trust import TrustState

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


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
    """Return a head whose numbers are not below those seen, or known of before a restore."""
    stamp = trust.above(names.TIMESTAMP, max(stamp, trust.seen.get(names.TIMESTAMP, (0, ""))[0]))
    seen = trust.seen.get(names.SNAPSHOT, (0, ""))[0]
    snapshot = trust.above(names.SNAPSHOT, max(snapshot, seen))
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
    snapshot = unsigned(names.SNAPSHOT, Snapshot(numbers[1], expires=expires, meta=meta))
    timestamp = unsigned(names.TIMESTAMP, Timestamp(numbers[0], expires=expires))
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


def _renumbered(role: RoleFile[T], version: int) -> RoleFile[T]:
    copy = deepcopy(role.signed)
    copy.version = version
    return unsigned(role.name, copy)


def unsigned(name: str, signed: T) -> RoleFile[T]:
    """Return a role that is never written: only its content counts."""
    return RoleFile(name, b"", Metadata(signed))
