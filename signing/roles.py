"""Build and read TUF roles: who may sign what, for how long.

Common denominator of the TUF implementations: Ed25519, SHA-256, `paths` only, terminating
delegations, `consistent_snapshot`, default key ids.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from signing import policy
from signing.names import SNAPSHOT, TARGETS, TIMESTAMP, is_delegated_name, meta_name

DEV_FIELD = "x-blocklist"
SERIALIZER = JSONSerializer(compact=True)

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True)
class RoleFile(Generic[T]):
    """A role's metadata as signed bytes and as parsed object.

    Attributes:
        name: Role name.
        data: The exact bytes of the file.
        metadata: The same, parsed.
    """

    name: str
    data: bytes
    metadata: Metadata[T]

    @property
    def signed(self) -> T:
        """The signed part."""
        return self.metadata.signed

    @property
    def version(self) -> int:
        """The role's version."""
        return self.metadata.signed.version

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the file."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class Target:
    """One named object that a role vouches for.

    Attributes:
        path: Target path, such as `demo/hashed/list`.
        length: Bytes.
        sha256: Hex digest.
        custom: Signed facts about it; ASCII keys, no floats.
    """

    path: str
    length: int
    sha256: str
    custom: Mapping[str, Any] | None = None


def seal(name: str, signed: T, signers: Iterable[Signer]) -> RoleFile[T]:
    """Sign a role and return it as the file to store."""
    metadata: Metadata[T] = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return RoleFile(name, metadata.to_bytes(SERIALIZER), metadata)


def new_root(
    keys: Sequence[Key], threshold: int, targets: Key, online: Key, *, dev: bool, now: datetime
) -> Root:
    """Return version 1 of the root role; `online` signs snapshot metadata and timestamp."""
    extra = {DEV_FIELD: {"dev": True}} if dev else {}
    root = Root(
        version=1,
        expires=_after(now, policy.ROOT_LIFETIME),
        consistent_snapshot=True,
        unrecognized_fields=extra,
    )
    for key in keys:
        root.add_key(key, "root")
    root.roles["root"].threshold = threshold
    root.add_key(targets, TARGETS)
    root.add_key(online, SNAPSHOT)
    root.add_key(online, TIMESTAMP)
    return root


def is_dev(root: Root) -> bool:
    """Tell whether the repository says of itself that its keys are throw-away ones."""
    field = root.unrecognized_fields.get(DEV_FIELD)
    return isinstance(field, dict) and field.get("dev") is True


def new_targets(now: datetime) -> Targets:
    """Return version 1 of the top-level targets role, which delegates nothing yet."""
    return Targets(
        version=1,
        expires=_after(now, policy.TARGETS_LIFETIME),
        delegations=Delegations(keys={}, roles={}),
    )


def delegate(
    targets: Targets,
    version: int,
    name: str,
    keys: Sequence[Key],
    threshold: int,
    paths: Sequence[str],
    now: datetime,
) -> Targets:
    """Return a new version of the targets role that also delegates `paths` to `name`.

    Raises:
        ValueError: A bad role name, a name that is delegated already, or a bad threshold.
    """
    if not is_delegated_name(name):
        raise ValueError("expected a name of 1 to 32 of a-z, 0-9 and -, and no TUF role name")
    if name in delegations(targets).roles:  # type: ignore[operator] # never succinct here
        raise ValueError(f"{name} is delegated already")
    if not 1 <= threshold <= len({key.keyid for key in keys}):
        raise ValueError(f"expected a threshold of 1 to {len(keys)}, got {threshold}")
    new = Targets.from_dict(targets.to_dict())
    new.version = version
    new.expires = _after(now, policy.TARGETS_LIFETIME)
    delegated = delegations(new)
    role = DelegatedRole(name, [], threshold, terminating=True, paths=list(paths))
    delegated.roles = {**(delegated.roles or {}), name: role}
    for key in keys:
        new.add_key(key, name)
    return new


def delegations(targets: Targets) -> Delegations:
    """Return the delegations of the top-level targets role (empty when it has none)."""
    return targets.delegations or Delegations(keys={}, roles={})


def delegated_names(targets: Targets) -> list[str]:
    """Return the names of the delegated roles, sorted."""
    return sorted(delegations(targets).roles or {})


def new_delegated(version: int, targets: Iterable[Target], now: datetime) -> Targets:
    """Return a delegated role at `version` that vouches for `targets`."""
    files = {target.path: _target_file(target) for target in targets}
    return Targets(version=version, expires=_after(now, policy.LIST_LIFETIME), targets=files)


def targets_of(role: Targets) -> dict[str, Target]:
    """Return what a role vouches for, by path; entries without a SHA-256 are left out."""
    return {
        path: Target(path, file.length, file.hashes["sha256"], file.custom)
        for path, file in role.targets.items()
        if "sha256" in file.hashes
    }


def next_snapshot(
    previous: Snapshot | None, version: int, changed: Iterable[RoleFile[Targets]], now: datetime
) -> Snapshot:
    """Return snapshot metadata with the changed roles put in."""
    meta = dict(previous.meta) if previous is not None else {}
    for role in changed:
        meta[meta_name(role.name)] = meta_file(role)
    return Snapshot(version=version, expires=_after(now, policy.SNAPSHOT_LIFETIME), meta=meta)


def next_timestamp(version: int, snapshot: RoleFile[Snapshot], now: datetime) -> Timestamp:
    """Return the timestamp that makes `snapshot` live."""
    expires = _after(now, policy.TIMESTAMP_LIFETIME)
    return Timestamp(version=version, expires=expires, snapshot_meta=meta_file(snapshot))


def meta_file(role: RoleFile[Any]) -> MetaFile:
    """Return version, length and SHA-256 of a role file."""
    return MetaFile(role.version, len(role.data), {"sha256": role.digest})


def _target_file(target: Target) -> TargetFile:
    extra = {"custom": dict(target.custom)} if target.custom is not None else None
    return TargetFile(target.length, {"sha256": target.sha256}, target.path, extra)


def _after(now: datetime, lifetime: timedelta) -> datetime:
    return (now + lifetime).replace(microsecond=0)
