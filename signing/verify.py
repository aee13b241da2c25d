"""The checks of the TUF client workflow as pure functions on bytes (specification 1.0.31, 5.3-5.6).

The publisher uses them to read the head and to look at its own release as a client would see it.
They differ from `tuf.ngclient` in one point: expiry (5.3.10, 5.4.4, 5.5.6, 5.6.6) is reported by
`expired`, not raised, because renewing expired metadata is what a publisher is for.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError, SerializationError

from signing.errors import Malformed, Rollback, SignaturesMissing, Tampered
from signing.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, meta_name
from signing.roles import RoleFile, delegations

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


def parse(name: str, data: bytes, kind: type[T]) -> RoleFile[T]:
    """Parse a role file, without verifying anything.

    Raises:
        Malformed: No TUF metadata of that kind.
    """
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
    except (DeserializationError, RecursionError) as error:
        raise Malformed(f"expected TUF metadata of {name}, got something else") from error
    if not isinstance(metadata.signed, kind):
        raise Malformed(f"expected metadata of type {kind.type}, got {metadata.signed.type}")
    return RoleFile(name, data, metadata)


def self_signed_root(data: bytes) -> RoleFile[Root]:
    """Return a root that its own keys sign: a first trust anchor, to be compared by people."""
    root = parse(ROOT, data, Root)
    _signatures(root.signed, root)
    return root


def next_root(trusted: RoleFile[Root], data: bytes) -> RoleFile[Root]:
    """Return the root that follows `trusted` (5.3.4: signed by both; 5.3.5: the next number)."""
    root = parse(ROOT, data, Root)
    _signatures(trusted.signed, root)
    _signatures(root.signed, root)
    if root.version != trusted.version + 1:
        raise Rollback(f"expected root version {trusted.version + 1}, got {root.version}")
    return root


def timestamp(root: RoleFile[Root], data: bytes) -> RoleFile[Timestamp]:
    """Return a timestamp that the root's keys sign (5.4.2); comparing versions is the caller's."""
    role = parse(TIMESTAMP, data, Timestamp)
    _signatures(root.signed, role)
    return role


def snapshot(root: RoleFile[Root], stamp: RoleFile[Timestamp], data: bytes) -> RoleFile[Snapshot]:
    """Return the snapshot metadata that the timestamp names (5.5.2, 5.5.3, 5.5.4)."""
    meta = stamp.signed.snapshot_meta
    _named(SNAPSHOT, meta, data)
    role = parse(SNAPSHOT, data, Snapshot)
    _signatures(root.signed, role)
    _version(role, meta)
    return role


def targets(root: RoleFile[Root], snap: RoleFile[Snapshot], data: bytes) -> RoleFile[Targets]:
    """Return the top-level targets role that the snapshot metadata names (5.6.2 to 5.6.4)."""
    meta = meta_of(snap, TARGETS)
    _named(TARGETS, meta, data)
    role = parse(TARGETS, data, Targets)
    _signatures(root.signed, role)
    _version(role, meta)
    return role


def delegated(
    parent: RoleFile[Targets], snap: RoleFile[Snapshot], name: str, data: bytes
) -> RoleFile[Targets]:
    """Return a delegated role that the snapshot metadata names and its own keys sign."""
    meta = meta_of(snap, name)
    _named(name, meta, data)
    role = delegated_alone(parent, name, data)
    _version(role, meta)
    return role


def delegated_alone(parent: RoleFile[Targets], name: str, data: bytes) -> RoleFile[Targets]:
    """Return a delegated role by its signatures only: for versions that are no longer the head."""
    role = parse(name, data, Targets)
    _signatures(parent.signed, role)
    return role


def targets_alone(root: RoleFile[Root], data: bytes) -> RoleFile[Targets]:
    """Return a top-level targets role by its signatures only, as `delegated_alone`."""
    role = parse(TARGETS, data, Targets)
    _signatures(root.signed, role)
    return role


def signers(parent: RoleFile[Targets], role: RoleFile[Targets]) -> Mapping[str, Key]:
    """Return the keys that validly sign a delegated role, by key id.

    Raises:
        Tampered: They are fewer than the threshold.
    """
    return _signatures(parent.signed, role)


def meta_of(snap: RoleFile[Snapshot], role: str) -> MetaFile:
    """Return what the snapshot metadata says of a role.

    Raises:
        Malformed: It says nothing of it.
    """
    meta = snap.signed.meta.get(meta_name(role))
    if meta is None:
        raise Malformed(f"expected snapshot metadata to name {role}, it does not")
    return meta


def paths_in_pattern(parent: RoleFile[Targets], role: RoleFile[Targets]) -> None:
    """Refuse a target outside its role's paths: clients would silently not see it.

    Raises:
        Malformed: Naming the first such path.
    """
    known = delegations(parent.signed).roles or {}
    delegation = known[role.name]
    for path in role.signed.targets:
        if not delegation.is_delegated_path(path):
            raise Malformed(f"expected targets of {role.name} inside its paths, got {path}")


def not_older(name: str, version: int, digest: str, seen: tuple[int, str] | None) -> None:
    """Refuse what is older than was seen, or other content under the same version.

    Raises:
        Rollback: A lower version.
        Tampered: The same version with another digest.
    """
    if seen is None:
        return
    if version < seen[0]:
        raise Rollback(f"expected {name} version {seen[0]} or newer, got {version}")
    if version == seen[0] and digest != seen[1]:
        raise Tampered(f"{name} version {version} has two different contents")


def expired(roles: Iterable[RoleFile[Any]], now: datetime) -> list[str]:
    """Return the names of the roles that have expired."""
    return [role.name for role in roles if role.signed.is_expired(now)]


def enough_signatures(parent: RoleFile[Root] | RoleFile[Targets], role: RoleFile[Any]) -> None:
    """Refuse our own role file that does not have its threshold yet.

    Raises:
        SignaturesMissing: Saying how many valid signatures there are and how many are needed.
    """
    valid, needed = _valid(parent.signed, role)
    if len(valid) < needed:
        raise SignaturesMissing(f"expected {needed} signatures on {role.name}, got {len(valid)}")


def count(parent: Root | Targets, role: RoleFile[Any]) -> tuple[int, int]:
    """Return how many distinct keys of its delegator sign a role validly, and how many must."""
    valid, needed = _valid(parent, role)
    return len(valid), needed


def _signatures(parent: Root | Targets, role: RoleFile[Any]) -> Mapping[str, Key]:
    """Verify a role's signatures under its delegator (5.3.4, 5.4.2, 5.5.3, 5.6.3)."""
    valid, needed = _valid(parent, role)
    if len(valid) < needed:
        raise Tampered(f"expected {needed} valid signatures on {role.name}, got {len(valid)}")
    return valid


def _valid(parent: Root | Targets, role: RoleFile[Any]) -> tuple[Mapping[str, Key], int]:
    """Return the distinct keys that sign a role validly, and how many must."""
    try:
        result = parent.get_verification_result(
            role.name, role.metadata.signed_bytes, role.metadata.signatures
        )
    except ValueError as error:  # no such delegation
        raise Tampered(f"nobody may sign as {role.name}") from error
    except (SerializationError, RecursionError) as error:  # a float, half a surrogate pair
        raise Malformed(f"expected {role.name} in canonical JSON, got what has none") from error
    return result.signed, result.threshold


def _named(name: str, meta: MetaFile, data: bytes) -> None:
    """Compare bytes with the length and SHA-256 that verified metadata names."""
    expected = (meta.hashes or {}).get("sha256")
    if meta.length is None or expected is None:
        raise Malformed(f"expected length and sha256 of {name}, got none")
    if len(data) != meta.length or hashlib.sha256(data).hexdigest() != expected:
        raise Tampered(f"{name} version {meta.version} is not what signed metadata names")


def _version(role: RoleFile[Any], meta: MetaFile) -> None:
    if role.version != meta.version:
        raise Tampered(f"expected {role.name} version {meta.version}, got {role.version}")
