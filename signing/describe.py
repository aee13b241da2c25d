"""What a drafted role would change, in words: computed from two roles, never read from a draft."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from tuf.api.metadata import DelegatedRole, Root, Targets

from signing.names import ROOT, TARGETS, TIMESTAMP
from signing.proposals import lists_of, short

_ROLES = {ROOT: "root", TARGETS: "targets", TIMESTAMP: "online"}

Names = Mapping[str, str]
"""Names that this home gives to keys, by key id."""


@dataclass(frozen=True, slots=True)
class Description:
    """A change for people.

    Attributes:
        subject: Which role and number.
        changes: What is different, a line each.
        after: How things then stand, a line each.
    """

    subject: str
    changes: tuple[str, ...]
    after: tuple[str, ...]


def root(old: Root | None, new: Root, names: Names) -> Description:
    """Describe a root against the one before it; None: a new repository."""
    changes: list[str] = []
    for role, word in _ROLES.items():
        before = old.roles[role].keyids if old is not None else []
        changes += _keys(f"{word} key", before, new.roles[role].keyids, names)
    if old is not None and old.roles[ROOT].threshold != new.roles[ROOT].threshold:
        changes.append(
            f"root threshold {old.roles[ROOT].threshold} becomes {new.roles[ROOT].threshold}"
        )
    changes.append(_expiry(old, new))
    after = [
        f"root: {_who(new.roles[ROOT].keyids, new.roles[ROOT].threshold, names)}",
        f"targets: {_who(new.roles[TARGETS].keyids, 1, names)}",
        f"online: {_who(new.roles[TIMESTAMP].keyids, 1, names)}",
    ]
    return Description(_subject("root", old, new), tuple(changes), tuple(after))


def targets(old: Targets | None, new: Targets, names: Names) -> Description:
    """Describe who may sign which list, against the role before it."""
    before = lists_of(old) if old is not None else {}
    now = lists_of(new)
    changes = [f"DROPS list {name}" for name in before if name not in now]
    for name, role in now.items():
        changes += _list(name, before.get(name), role, names)
    changes.append(_expiry(old, new))
    after = [
        f"list {name}: {_who(role.keyids, role.threshold, names)}" for name, role in now.items()
    ]
    return Description(_subject("targets", old, new), tuple(changes), tuple(after or ["no lists"]))


def called(keyid: str, names: Names) -> str:
    """Return a key id for people, with the name that this home knows."""
    return f"{short(keyid)} ({names.get(keyid, 'not known here')})"


def _list(name: str, old: DelegatedRole | None, new: DelegatedRole, names: Names) -> list[str]:
    changes = []
    if old is None:
        changes.append(f"adds list {name}, signed by {new.threshold} of {len(new.keyids)} keys")
    changes += _keys(f"key of {name}", old.keyids if old is not None else [], new.keyids, names)
    if old is not None and old.threshold != new.threshold:
        changes.append(f"threshold of {name} {old.threshold} becomes {new.threshold}")
    return changes


def _keys(what: str, before: Collection[str], after: Collection[str], names: Names) -> list[str]:
    dropped = [f"DROPS {what} {called(keyid, names)}" for keyid in before if keyid not in after]
    return dropped + [
        f"adds {what} {called(keyid, names)}" for keyid in after if keyid not in before
    ]


def _who(keyids: Iterable[str], threshold: int, names: Names) -> str:
    return f"{threshold} of " + ", ".join(called(keyid, names) for keyid in keyids)


def _expiry(old: Root | Targets | None, new: Root | Targets) -> str:
    was = f" (was {old.expires:%Y-%m-%d})" if old is not None else ""
    return f"valid until {new.expires:%Y-%m-%d}{was}"


def _subject(what: str, old: Root | Targets | None, new: Root | Targets) -> str:
    if old is None:
        return f"{what} version {new.version} of a new repository"
    return f"{what} version {new.version}, after version {old.version}"
