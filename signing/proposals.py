"""What may be proposed: the next root or targets role, and what we refuse to put to people.

A root outlives any one person: more keys than are needed (one may be lost), more than one needed
(one may be stolen). The online key is the one that thieves reach first, so it signs nothing else.
The same rules are applied again to a drafted role that somebody may have edited (`refuse_odd_*`).
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import Key, SSlibKey
from tuf.api.metadata import DelegatedRole, Delegations, Role, Root, Targets

from signing import policy, roles
from signing.errors import Unsafe
from signing.names import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, is_delegated_name
from signing.roles import delegated_names, delegations

ONLINE = (SNAPSHOT, TIMESTAMP)
SHORT_KEY_ID = 16  # characters shown to people
MIN_KEY_ID = 8  # characters that people may name a key with, when only one begins so


@dataclass(frozen=True, slots=True)
class RootChange:
    """What a new root changes; an empty one only renews it.

    Attributes:
        add: Root keys to add.
        drop: Ids of root keys to drop, or how they begin.
        threshold: How many root keys must sign; None: as before.
        targets, online: All keys of that role from now on; empty: as before.
    """

    add: Sequence[Key] = ()
    drop: Sequence[str] = ()
    threshold: int | None = None
    targets: Sequence[Key] = ()
    online: Sequence[Key] = ()


@dataclass(frozen=True, slots=True)
class ListChange:
    """What a new targets role changes in one delegation.

    Attributes:
        name: The list.
        add, drop, threshold: As in `RootChange`.
        paths: What a new list may sign; empty for one that exists.
        remove: Drop the whole delegation.
    """

    name: str
    add: Sequence[Key] = ()
    drop: Sequence[str] = ()
    threshold: int | None = None
    paths: Sequence[str] = ()
    remove: bool = False


def first_root(
    keys: Sequence[Key],
    threshold: int,
    targets: Sequence[Key],
    online: Sequence[Key],
    now: datetime,
) -> Root:
    """Return version 1 of a root for a repository that is no throw-away one.

    Raises:
        Unsafe: Fragile, see `refuse_fragile`.
    """
    _no_key_twice(ROOT, keys)
    root = roles.new_root(keys, threshold, targets[0], online[0], dev=False, now=now)
    _set_keys(root, TARGETS, targets)
    for role in ONLINE:
        _set_keys(root, role, online)
    refuse_fragile(root)
    return root


def next_root(old: Root, change: RootChange, now: datetime) -> Root:
    """Return the root after `old` with this change, valid for another full term.

    Raises:
        Unsafe: Fragile, or a key to add that is there, or to drop that is not.
    """
    new = deepcopy(old)
    new.version = old.version + 1
    new.expires = (now + policy.ROOT_LIFETIME).replace(microsecond=0)
    _no_key_twice(ROOT, change.add)
    for key in change.add:
        if key.keyid in new.roles[ROOT].keyids:
            raise Unsafe(f"root key {short(key.keyid)} is there already")
        new.add_key(key, ROOT)
    for keyid in change.drop:
        new.revoke_key(_to_drop(ROOT, keyid, new.roles[ROOT].keyids), ROOT)
    if change.threshold is not None:
        new.roles[ROOT].threshold = change.threshold
    if change.targets:
        _set_keys(new, TARGETS, change.targets)
    if change.online:
        for role in ONLINE:
            _set_keys(new, role, change.online)
    refuse_fragile(new)
    return new


def next_targets(old: Targets, version: int, change: ListChange | None, now: datetime) -> Targets:
    """Return a targets role with this change (None: none), valid for another full term.

    Raises:
        Unsafe: A list that exists or not, a key likewise, or an impossible threshold.
    """
    new = deepcopy(old)
    new.version = version
    new.expires = (now + policy.TARGETS_LIFETIME).replace(microsecond=0)
    if change is None:
        return new
    inside = new.delegations = delegations(new)
    known = inside.roles = inside.roles or {}
    if change.paths:
        if not is_delegated_name(change.name):
            raise Unsafe("expected a list name of 1 to 32 of a-z, 0-9 and -, and no TUF role name")
        if change.name in known:
            raise Unsafe(f"list {change.name} exists already")
        known[change.name] = DelegatedRole(
            change.name, [], 1, terminating=True, paths=list(change.paths)
        )
    elif change.name not in known:
        raise Unsafe(f"expected a list that exists, got {change.name!r}")
    if change.remove:
        _remove(inside, change.name)
    else:
        _change_delegation(new, known[change.name], change)
    return new


def refuse_fragile(root: Root) -> None:
    """Refuse a root that one lost or one stolen key would ruin (but for throw-away ones).

    Raises:
        Unsafe: Saying what is expected.
    """
    role = root.roles[ROOT]
    shared = set(root.roles[TIMESTAMP].keyids) & {*role.keyids, *root.roles[TARGETS].keyids}
    if shared:
        raise Unsafe(f"expected an online key of its own, got one with two jobs: {_ids(shared)}")
    if roles.is_dev(root):
        return
    keys, threshold = len(role.keyids), role.threshold
    if threshold < 2:
        raise Unsafe(
            f"expected a root threshold of at least 2, got {threshold}: one could be stolen"
        )
    if threshold >= keys:
        raise Unsafe(
            f"expected more root keys than must sign, got {keys} for a threshold of {threshold}: "
            "one could be lost"
        )


def refuse_shared_online(root: Root, targets: Targets) -> None:
    """Refuse an online key that also signs a list."""
    online = set(root.roles[TIMESTAMP].keyids)
    for name, role in (delegations(targets).roles or {}).items():
        if shared := online & set(role.keyids):
            raise Unsafe(f"expected an online key of its own, got a key of {name}: {_ids(shared)}")


def refuse_odd_root(old: Root | None, new: Root, now: datetime) -> None:
    """Refuse a drafted root that changes anything but keys, thresholds, number and expiry.

    Args:
        old: The root before it; None for the first one.
        new: The drafted one, from an untrusted file.
        now: The time.

    Raises:
        Unsafe: What is odd about it.
    """
    expected = old.version + 1 if old is not None else 1
    if type(new.version) is not int or new.version != expected:
        raise Unsafe(f"expected root version {expected}, got {new.version}")
    rest = _rest(new, "keys", "roles")
    model = old if old is not None else Root(consistent_snapshot=True)
    if _text(rest) != _text(_rest(model, "keys", "roles")):
        raise Unsafe("expected a root that changes only keys, thresholds and expiry")
    _expiry(new.expires, policy.ROOT_LIFETIME, now)
    for name, role in new.roles.items():
        _role(name, role, new.keys)
        if name != ROOT and role.threshold != 1:
            raise Unsafe(f"expected a threshold of 1 for {name}, got {role.threshold}")
    if new.roles[SNAPSHOT].keyids != new.roles[TIMESTAMP].keyids:
        raise Unsafe("expected the same keys for snapshot metadata and timestamp")
    _keys(new.keys, [keyid for role in new.roles.values() for keyid in role.keyids])
    refuse_fragile(new)


def refuse_odd_targets(old: Targets | None, new: Targets, now: datetime) -> None:
    """Refuse a drafted targets role that changes anything but who signs which list.

    Raises:
        Unsafe: What is odd about it.
    """
    above = old.version if old is not None else 0
    if type(new.version) is not int or not 0 < new.version - above <= policy.MAX_JUMP:
        raise Unsafe(
            f"expected a targets version up to {policy.MAX_JUMP} above {above}, got {new.version}"
        )
    model = old if old is not None else Targets()
    rest = _rest(new, "delegations", "targets")
    if new.targets or _text(rest) != _text(_rest(model, "delegations", "targets")):
        raise Unsafe("expected a targets role that changes only delegations and expiry")
    _expiry(new.expires, policy.TARGETS_LIFETIME, now)
    inside = new.delegations
    if inside is None or inside.roles is None or inside.unrecognized_fields:
        raise Unsafe("expected plain delegations in the targets role")
    for name, role in inside.roles.items():
        _role(name, role, inside.keys)
        _delegation(name, role)
    _keys(inside.keys, [keyid for role in inside.roles.values() for keyid in role.keyids])


def short(keyid: str) -> str:
    """Return a key id as people see it: its first characters in groups of four."""
    return " ".join(keyid[at : at + 4] for at in range(0, SHORT_KEY_ID, 4))


def _change_delegation(new: Targets, role: DelegatedRole, change: ListChange) -> None:
    _no_key_twice(change.name, change.add)
    for key in change.add:
        if key.keyid in role.keyids:
            raise Unsafe(f"key {short(key.keyid)} may sign {role.name} already")
        new.add_key(key, role.name)
    for keyid in change.drop:
        new.revoke_key(_to_drop(role.name, keyid, role.keyids), role.name)
    if change.threshold is not None:
        role.threshold = change.threshold
    if not 1 <= role.threshold <= len(role.keyids):
        raise Unsafe(
            f"expected a threshold of 1 to {len(role.keyids)} for {role.name}, got {role.threshold}"
        )


def _to_drop(role: str, asked: str, keyids: Collection[str]) -> str:
    """Return the one key id that begins as asked."""
    found = [keyid for keyid in keyids if keyid.startswith(asked)]
    if len(asked) < MIN_KEY_ID or len(found) != 1:
        raise Unsafe(f"expected the id of a key of {role} to drop, got {short(asked)}")
    return found[0]


def _remove(inside: Delegations, name: str) -> None:
    known = dict(inside.roles or {})
    del known[name]
    inside.roles = known
    used = {keyid for role in known.values() for keyid in role.keyids}
    inside.keys = {keyid: key for keyid, key in inside.keys.items() if keyid in used}


def _set_keys(root: Root, role: str, keys: Sequence[Key]) -> None:
    _no_key_twice(role, keys)
    for keyid in list(root.roles[role].keyids):
        if keyid not in {key.keyid for key in keys}:
            root.revoke_key(keyid, role)
    for key in keys:
        root.add_key(key, role)


def _no_key_twice(role: str, keys: Iterable[Key]) -> None:
    twice = [keyid for keyid, times in Counter(key.keyid for key in keys).items() if times > 1]
    if twice:
        raise Unsafe(f"expected each key of {role} once, got {short(twice[0])} twice")


def _rest(signed: Root | Targets, *known: str) -> dict[str, Any]:
    """Return what a role holds besides version, expiry and the fields that may change."""
    document = signed.to_dict()
    return {k: v for k, v in document.items() if k not in {*known, "version", "expires"}}


def _text(document: Mapping[str, Any]) -> str:
    """Return what is compared: to Python 1 and true are the same, in a signed file they are not."""
    return json.dumps(document, sort_keys=True)


def _expiry(expires: datetime, lifetime: Any, now: datetime) -> None:
    if not now < expires <= now + lifetime + policy.CLOCK_SLACK:
        raise Unsafe(f"expected an expiry within {lifetime.days} days, got {expires:%Y-%m-%d}")


def _role(name: str, role: Role, keys: Mapping[str, Key]) -> None:
    if role.unrecognized_fields or type(role.threshold) is not int or set(role.keyids) - set(keys):
        raise Unsafe(f"expected {name} with known keys and no further fields")
    if not 1 <= role.threshold <= len(role.keyids):
        raise Unsafe(f"expected a threshold of 1 to {len(role.keyids)} for {name}")


def _delegation(name: str, role: DelegatedRole) -> None:
    if not is_delegated_name(name) or role.terminating is not True or role.path_hash_prefixes:
        raise Unsafe(f"expected a terminating delegation of paths to a list, got {name!r}")
    if not role.paths or not all(path.startswith(f"{name}/") for path in role.paths):
        raise Unsafe(f"expected {name} to sign its own paths and nothing else")


def _keys(keys: Mapping[str, Key], used: Collection[str]) -> None:
    """Refuse keys that nobody needs, or whose id is not the digest of the key: one key, two ids."""
    if set(keys) != set(used):
        raise Unsafe("expected each key to have a role")
    for keyid, key in keys.items():
        try:
            raw = bytes.fromhex(key.keyval["public"])
            genuine = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(raw))
        except (KeyError, ValueError, TypeError) as error:
            raise Unsafe(f"expected Ed25519 keys, got another kind: {short(keyid)}") from error
        if genuine.keyid != keyid or genuine.to_dict() != key.to_dict():
            raise Unsafe(f"expected key ids that are digests of the keys, got {short(keyid)}")


def _ids(keyids: Iterable[str]) -> str:
    return ", ".join(short(keyid) for keyid in sorted(keyids))


def lists_of(targets: Targets) -> Mapping[str, DelegatedRole]:
    """Return the delegations of a targets role by list name."""
    return {name: (delegations(targets).roles or {})[name] for name in delegated_names(targets)}
