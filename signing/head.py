"""Read the head of a repository as a client would, but able to renew what has expired.

Order and checks are those of the TUF client workflow (specification 1.0.31, 5.3 to 5.6): roots
one by one, timestamp, snapshot metadata, targets, delegated roles. Every step is compared with what
was seen before. Expiry is left to the caller (`signing.verify.expired`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from signing import names, policy, verify
from signing.errors import Malformed, UnknownRole
from signing.port import MetadataStore
from signing.roles import RoleFile, delegated_names
from signing.trust import TrustState


@dataclass(frozen=True, slots=True)
class Head:
    """A verified, consistent state of the repository.

    Attributes:
        root, timestamp, snapshot, targets: The top-level roles.
        roles: Delegated roles that have a release and were asked for.
        token: Compare-and-swap token of `timestamp.json`.
    """

    root: RoleFile[Root]
    timestamp: RoleFile[Timestamp]
    snapshot: RoleFile[Snapshot]
    targets: RoleFile[Targets]
    token: str
    roles: Mapping[str, RoleFile[Targets]] = field(default_factory=dict)

    def everything(self) -> list[RoleFile[Any]]:
        """Return all role files but the root."""
        return [self.timestamp, self.snapshot, self.targets, *self.roles.values()]

    def released(self) -> list[str]:
        """Return the names of the delegated roles that have a release, sorted."""
        return [
            name
            for name in delegated_names(self.targets.signed)
            if names.meta_name(name) in self.snapshot.signed.meta
        ]


def read_head(
    store: MetadataStore, trust: TrustState, roles: Iterable[str] | None = ()
) -> tuple[Head, TrustState]:
    """Read and verify the head, with the delegated `roles` (None: all) that have a release.

    Returns:
        The head, and the trust state to keep from now on.

    Raises:
        UnknownRole: A role that is not delegated.
        Rollback, Tampered, Malformed: See `signing.errors`.
    """
    root = walk_roots(trust.root, root_reader(store))
    head = head_under(store, root, roles)
    return head, trust.advance(root, head.everything())


def head_under(
    store: MetadataStore, root: RoleFile[Root], roles: Iterable[str] | None = ()
) -> Head:
    """Read and verify the head as it is under this root, whether or not that is the newest.

    Raises:
        UnknownRole, Tampered, Malformed: As for `read_head`; nothing is compared with the past.
    """
    stored = store.get(names.TIMESTAMP_FILE, limit=policy.MAX_TIMESTAMP_BYTES)
    if stored is None:
        raise Malformed("expected a repository, found no timestamp.json")
    stamp = verify.timestamp(root, stored.data)
    version = stamp.signed.snapshot_meta.version
    snap = verify.snapshot(
        root, stamp, _read(store, names.SNAPSHOT, version, policy.MAX_SNAPSHOT_BYTES)
    )
    top = verify.targets(root, snap, _named(store, snap, names.TARGETS))
    return _with_roles(store, Head(root, stamp, snap, top, stored.token), roles)


def walk_roots(root: RoleFile[Root], read: Callable[[str], bytes | None]) -> RoleFile[Root]:
    """Follow the roots after `root`, each signed by the one before it (5.3.2 to 5.3.9)."""
    for _ in range(policy.MAX_ROOT_ROTATIONS):
        data = read(names.file_name(names.ROOT, root.version + 1))
        if data is None:
            return root
        root = verify.next_root(root, data)
    raise Malformed(f"expected at most {policy.MAX_ROOT_ROTATIONS} new roots")


def _with_roles(store: MetadataStore, head: Head, roles: Iterable[str] | None) -> Head:
    """Add the delegated roles that were asked for."""
    delegated = delegated_names(head.targets.signed)
    asked = set(delegated) if roles is None else set(roles)
    for name in sorted(asked):
        if name not in delegated:
            raise UnknownRole(f"expected a list that exists, got {name!r}")
    wanted = [name for name in head.released() if name in asked]
    found = {
        name: verify.delegated(
            head.targets, head.snapshot, name, _named(store, head.snapshot, name)
        )
        for name in wanted
    }
    return Head(head.root, head.timestamp, head.snapshot, head.targets, head.token, found)


def _named(store: MetadataStore, snap: RoleFile[Snapshot], role: str) -> bytes:
    """Read the version of a role that the snapshot metadata names."""
    return _read(store, role, verify.meta_of(snap, role).version, policy.MAX_TARGETS_BYTES)


def _read(store: MetadataStore, role: str, version: int, limit: int) -> bytes:
    name = names.file_name(role, version)
    stored = store.get(name, limit=limit)
    if stored is None:
        raise Malformed(f"expected {name} in the repository, it is missing")
    return stored.data


def root_reader(store: MetadataStore) -> Callable[[str], bytes | None]:
    """Return what `walk_roots` reads the roots of a storage with."""

    def read(name: str) -> bytes | None:
        stored = store.get(name, limit=policy.MAX_ROOT_BYTES)
        return stored.data if stored is not None else None

    return read
