"""What a publisher has seen of its repository, so that a rolled-back storage is noticed.

One JSON document: the newest trusted root, and for every other role the highest version seen with
the digest of its file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tuf.api.metadata import Root, Snapshot

from signing import verify
from signing.errors import KeyTrouble, Rollback, TrustError
from signing.names import SNAPSHOT, TARGETS, TIMESTAMP, meta_name
from signing.roles import RoleFile

FORMAT = 1


@dataclass(frozen=True, slots=True)
class TrustState:
    """The publisher's memory.

    Attributes:
        root: The newest root that was verified from the pinned one.
        seen: Role name to highest version seen and hex SHA-256 of its file.
        floors: Role name to a version that the next one has to be above: older metadata was
            accepted knowingly, when a repository was restored, but clients have seen newer.
    """

    root: RoleFile[Root]
    seen: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    floors: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def pin(cls, root: bytes) -> Self:
        """Start from a root that people have compared.

        Raises:
            Tampered: Its own keys do not sign it.
        """
        return cls(verify.self_signed_root(root))

    def advance(self, root: RoleFile[Root], roles: list[RoleFile[Any]]) -> Self:
        """Return the state after these roles have been verified; refuses anything older.

        Snapshot metadata among them must name every other role that was seen, too (5.5.5): the
        online key alone could else make a released list look like a new one.

        Raises:
            Rollback: A role is older than seen, or no longer named.
            Tampered: A version has two contents.
        """
        seen = _kept(self.seen, self.root.signed, root.signed)
        for role in roles:
            verify.not_older(role.name, role.version, role.digest, seen.get(role.name))
            if isinstance(role.signed, Snapshot):
                _nothing_forgotten(role.signed, seen)
        seen |= {role.name: (role.version, role.digest) for role in roles}
        return type(self)(root, seen, _above(self.floors, seen))

    def merged(self, other: "TrustState") -> Self:
        """Return the newer of both, role by role.

        Raises:
            Tampered: They have seen one version with two contents.
        """
        newest = max(self.root, other.root, key=lambda root: root.version)
        seen = _kept(self.seen, self.root.signed, newest.signed)
        for name, (version, digest) in _kept(other.seen, other.root.signed, newest.signed).items():
            if name not in seen or version >= seen[name][0]:
                verify.not_older(name, version, digest, seen.get(name))
                seen[name] = (version, digest)
        floors = {
            name: max(self.floors.get(name, 0), other.floors.get(name, 0))
            for name in {*self.floors, *other.floors}
        }
        return type(self)(newest, seen, _above(floors, seen))

    def restored(self, roles: list[RoleFile[Any]], floors: Mapping[str, int]) -> Self:
        """Return the state after older metadata was accepted knowingly; see `floors`.

        Args:
            roles: The roles that are live now; roles that were seen and are not among them are
                forgotten, but for their floors.
            floors: By role; numbers that were seen count in any case.
        """
        lowest = {name: version for name, (version, _) in self.seen.items()}
        for name, version in (*self.floors.items(), *floors.items()):
            lowest[name] = max(lowest.get(name, 0), version)
        seen = {role.name: (role.version, role.digest) for role in roles}
        return type(self)(self.root, seen, _above(lowest, seen))

    def above(self, role: str, version: int) -> int:
        """Return the number that the next version of a role has to be above."""
        return max(version, self.floors.get(role, 0))

    def to_bytes(self) -> bytes:
        """Return the document to keep."""
        seen = {name: list(value) for name, value in sorted(self.seen.items())}
        document = {"format": FORMAT, "root": self.root.data.decode(), "seen": seen}
        if self.floors:
            document["floors"] = dict(sorted(self.floors.items()))
        return json.dumps(document, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read the document.

        Raises:
            KeyTrouble: It is damaged.
        """
        try:
            document = json.loads(data)
            if document["format"] != FORMAT:
                raise KeyTrouble(f"expected trust state of format {FORMAT}")
            seen = {str(k): (int(v[0]), str(v[1])) for k, v in document["seen"].items()}
            floors = {str(k): int(v) for k, v in document.get("floors", {}).items()}
            return cls(verify.self_signed_root(document["root"].encode()), seen, floors)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, TrustError) as error:
            raise KeyTrouble(f"the trust state is damaged: {type(error).__name__}") from error


def _kept(seen: Mapping[str, tuple[int, str]], old: Root, new: Root) -> dict[str, tuple[int, str]]:
    """Return what is still believed of the past under a newer root.

    A dropped online key may have signed any numbers: those of timestamp and snapshot metadata are
    forgotten, as clients do (TUF 1.0.31, 5.3.11). When the targets keys are dropped with it, what
    the old ones delegated is forgotten too. The numbers of targets and lists stay otherwise.
    """
    if not (_dropped(TIMESTAMP, old, new) or _dropped(SNAPSHOT, old, new)):
        return dict(seen)
    if _dropped(TARGETS, old, new):
        return {}
    return {name: value for name, value in seen.items() if name not in (TIMESTAMP, SNAPSHOT)}


def _nothing_forgotten(snapshot: Snapshot, seen: Mapping[str, tuple[int, str]]) -> None:
    """Refuse snapshot metadata that lacks a role that was seen, or names an older version of it."""
    for name in seen.keys() - {TIMESTAMP, SNAPSHOT}:
        meta = snapshot.meta.get(meta_name(name))
        if meta is None or meta.version < seen[name][0]:
            got = f"version {meta.version}" if meta is not None else "none"
            raise Rollback(
                f"expected {name} version {seen[name][0]} or newer in snapshot metadata, got {got}"
            )


def _dropped(role: str, old: Root, new: Root) -> bool:
    return not set(old.roles[role].keyids) <= set(new.roles[role].keyids)


def _above(floors: Mapping[str, int], seen: Mapping[str, tuple[int, str]]) -> dict[str, int]:
    """Return the floors that were not reached yet."""
    return {
        name: floor for name, floor in floors.items() if name not in seen or seen[name][0] < floor
    }
