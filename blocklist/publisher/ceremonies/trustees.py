"""Who may sign what, who did, and until when (`trust status`); how a home begins (`trust pin`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from blocklist.core.errors import InputError
from blocklist.publisher.ceremonies.examine import live_head
from blocklist.publisher.home import Home
from blocklist.publisher.repository import Repository
from blocklist.publisher.upkeep import role_status
from signing import names, verify
from signing.head import Head
from signing.proposals import ONLINE, lists_of
from signing.roles import RoleFile, is_dev
from signing.trust import TrustState

_SECONDS_A_DAY = 86_400


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """Who may sign a role, and who signed the file that is live.

    Attributes:
        name: Role name.
        version: Of the live file; None: no release yet.
        threshold: How many must sign.
        keys: Key ids that may.
        signed: Key ids that did.
        expires: Of the live file.
        days: Days left, rounded down.
        state: `fresh`, `due`, `expired` or `unreleased`.
    """

    name: str
    version: int | None
    threshold: int
    keys: tuple[str, ...]
    signed: tuple[str, ...]
    expires: datetime | None
    days: int | None
    state: str


@dataclass(frozen=True, slots=True)
class Trustees:
    """The whole of it.

    Attributes:
        roles: Top-level roles, then lists.
        fingerprint: SHA-256 of the root file.
        names: Names that this home gives to keys.
        ours: Key ids whose private half is here.
        dev: Throw-away keys.
        warnings: What somebody has to do.
    """

    roles: tuple[RoleKeys, ...]
    fingerprint: str
    names: Mapping[str, str]
    ours: frozenset[str]
    dev: bool
    warnings: tuple[str, ...]


def trustees(repository: Repository) -> Trustees:
    """Return who holds which role; the storage is read and verified."""
    head, now = live_head(repository), repository.clock()
    files: list[RoleFile[Any]] = [head.root, *head.everything()]
    live = {file.name: file for file in files}
    found = []
    for name, role in {**head.root.signed.roles, **lists_of(head.targets.signed)}.items():
        found.append(_role(name, role.threshold, tuple(role.keyids), live.get(name), now))
    ours = frozenset(key.public.keyid for key in repository.home.key_files())
    return Trustees(
        tuple(found),
        head.root.digest,
        repository.home.key_names(),
        ours,
        is_dev(head.root.signed),
        tuple(_warnings(found, head)),
    )


def pin(home: Home, data: bytes, fingerprint: str | None, lock_seconds: float) -> TrustState:
    """Begin a home with a root that people have compared.

    Args:
        home: Without a repository, or with this one.
        data: The root file.
        fingerprint: What they were told: 64 hex digits, spaces do not matter.
        lock_seconds: How long to wait for another command.

    Raises:
        InputError: Another fingerprint, or a home that knows another repository.
        Tampered, Malformed: It is no root, or its own keys do not sign it.
    """
    state = TrustState.pin(data)
    if fingerprint is not None and "".join(fingerprint.split()).lower() != state.root.digest:
        raise InputError("the fingerprint is not that of this root; nothing was changed")
    with home.lock(lock_seconds):
        if home.has_trust():
            if home.trust().root.data != data:
                raise InputError(f"{home.directory} knows a repository already")
            return home.trust()
        home.save_trust(state)
    return state


def read_root(data: bytes) -> RoleFile[Any]:
    """Return a root whose own keys sign it, to show its fingerprint before it is pinned."""
    return verify.self_signed_root(data)


def _role(
    name: str, threshold: int, keyids: tuple[str, ...], live: RoleFile[Any] | None, now: datetime
) -> RoleKeys:
    if live is None:
        return RoleKeys(name, None, threshold, keyids, (), None, None, "unreleased")
    expires = live.signed.expires
    days = int((expires - now).total_seconds() // _SECONDS_A_DAY)
    state = role_status(name, live.version, expires, now).state
    signed = tuple(sorted(live.metadata.signatures))
    return RoleKeys(name, live.version, threshold, keyids, signed, expires, days, state)


def _warnings(found: list[RoleKeys], head: Head) -> list[str]:
    """Say what is due, and which signatures are by keys that may not sign any more."""
    lines = []
    for role in found:
        if role.state in ("due", "expired"):
            verb = "expired" if role.state == "expired" else "expires"
            lines.append(f"{role.name} {verb} {role.expires:%Y-%m-%d %H:%M} UTC")
        if role.name in ONLINE and set(role.signed) - set(role.keys):
            lines.append(f"{role.name} has a signature of a former key: commit the root again")
    root = head.root.signed.roles[names.ROOT]
    if not is_dev(head.root.signed) and len(root.keyids) <= root.threshold:
        lines.append("no root key may be lost: propose one more (`blocklist trust propose`)")
    return lines
