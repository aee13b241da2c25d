"""Which hash key a version's hashed feed has, and how one key follows another.

    publish              the key of the release before; what that one announces is announced on
    announce-hash-key    the same, and from now on metadata says which key will follow, and when
    rotate-hash-key      the key that was announced, from the time on that was announced

Keys lie in the storage, unsigned; signed metadata names them by their id, a digest. So each is
looked up by its id alone, never by its place, and what the storage swaps is not found. Everything
here is arithmetic on what was signed before; `rotation` is the command.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from blocklist.core.documents import format_time
from blocklist.core.errors import DigestMismatch
from blocklist.core.hashing import HashKey
from blocklist.core.private import ListSecret
from blocklist.core.release import Facts
from blocklist.publisher.racing import Superseded
from signing import policy

ANNOUNCE = "announce-hash-key"
ROTATE = "rotate-hash-key"
OPERATIONS = frozenset({ANNOUNCE, ROTATE})  # which leave the lines as they are
NOTICE = timedelta(hours=48)  # between the announcement and the first use of a key
SIGNING_TIME = timedelta(hours=48)  # more, where several people have to sign the announcement
EARLY = "early-rotation"  # the override of that time, as records name it


@dataclass(frozen=True, slots=True)
class Keying:
    """How the hashed feed of a version is made.

    Attributes:
        key: What it is hashed with.
        following: Id of the key that will follow and from when on; None: none is announced.
        overrides: For the record: a rotation before its time.
    """

    key: HashKey
    following: tuple[str, datetime] | None = None
    overrides: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """A change of the hash key that somebody asks for.

    Attributes:
        operation: `ANNOUNCE` or `ROTATE`.
        current_id: Id of the key that was in use when it was asked for.
        key_id: Id of the key that shall follow.
        early: Why it is used before its time; None: it is not.
        notice: How long before its first use it is announced.
    """

    operation: str
    current_id: str
    key_id: str
    early: str | None = None
    notice: timedelta = NOTICE


def current_key(base: Facts | None, secret: ListSecret) -> HashKey:
    """Return the hash key in use.

    Args:
        base: Facts of the hashed feed of the live release; None before the first.
        secret: The secrets of the list.

    Raises:
        DigestMismatch: The one that was signed is not among them.
    """
    return secret.first_key if base is None else _key(base.hash_key_id, secret)


def live_keys(base: Facts | None, secret: ListSecret) -> tuple[HashKey, ...]:
    """Return the hash keys that a subscriber needs: the one in use, and the one announced.

    Raises:
        DigestMismatch: The one in use is not among the secrets.
    """
    announced = base.next_hash_key if base is not None else None
    following = secret.key_of(announced[0]) if announced is not None else None
    current = current_key(base, secret)
    return (current,) if following is None else (current, following)


def expect_announced(base: Facts, secret: ListSecret) -> None:
    """Refuse secrets without the key that a release announces, if it announces one.

    Only a rotation needs it: other releases go on without.

    Raises:
        DigestMismatch: It is not among them.
    """
    if base.next_hash_key is not None and secret.key_of(base.next_hash_key[0]) is None:
        raise DigestMismatch(
            f"the secrets of {secret.name} lack the hash key that is announced: restore them from "
            "a backup, or give up that key with `list rotate-hash-key --now`"
        )


def keying(step: Step | None, base: Facts | None, secret: ListSecret, now: datetime) -> Keying:
    """Return how a version after `base` is hashed.

    Args:
        step: The change that it makes, None for any other release.
        base: Facts of the hashed feed of the release before; None when there is none.
        secret: The secrets of the list.
        now: When the version is made.

    Raises:
        DigestMismatch: A key that was signed, or shall be, is not among the secrets.
        Superseded: Somebody else changed the hash key meanwhile, or it is not time.
    """
    current = current_key(base, secret)
    announced = base.next_hash_key if base is not None else None
    if step is None:
        return Keying(current, announced)
    if step.current_id != current.id or base is None:
        raise Superseded(f"the hash key of {secret.name} was changed by somebody else: look again")
    key = _key(step.key_id, secret)
    if step.operation == ANNOUNCE:
        if announced is not None:
            raise Superseded(f"a hash key of {secret.name} is announced already")
        return Keying(current, (key.id, _whole_second(now) + step.notice))
    why = _too_early(announced, key.id, now)
    if why is None:
        return Keying(key)
    if step.early is None:
        raise Superseded(f"{secret.name}: {why}")
    return Keying(key, overrides=({"guard": EARLY, "finding": why, "reason": step.early},))


def expected(
    operation: str,
    overrides: Iterable[Mapping[str, str]],
    claimed: Facts,
    base: Facts | None,
    secret: ListSecret,
) -> Keying:
    """Return how a version that somebody else made has to be hashed, for whoever is to sign it.

    Args:
        operation: What its record says that was asked for.
        overrides: Those in its record.
        claimed: Facts of its hashed feed.
        base: Those of the release before; None when there is none.
        secret: The secrets of the list.

    Raises:
        DigestMismatch: It names a key that is not among the secrets, announces none or more than
            was asked for, or uses one that was not announced, or before its time, unless exactly
            that was overridden.
    """
    current = current_key(base, secret)
    before = base.next_hash_key if base is not None else None
    key, following = _key(claimed.hash_key_id, secret), claimed.next_hash_key
    if operation == ANNOUNCE:
        fits = base is not None and before is None and following is not None and key == current
        if fits and following is not None:
            new = _key(following[0], secret)
            fits = new != current and following[1] - claimed.created >= NOTICE
    elif operation == ROTATE:
        fits = base is not None and key != current and following is None
        why = _too_early(before, key.id, claimed.created)
        told = [item["finding"] for item in overrides if item["guard"] == EARLY]
        fits = fits and told == ([why] if why is not None else [])
    else:
        fits = key == current and following == before
    if not fits:
        raise DigestMismatch(
            f"the hash key of {secret.name} is not the one that {operation} leads to"
        )
    return Keying(key, following)


def too_late(operation: str, claimed: Facts, now: datetime) -> bool:
    """Tell whether an announcement has waited for signatures for so long that too little is left.

    Args:
        operation: What the record of the version says that was asked for.
        claimed: Facts of its hashed feed.
        now: The time.
    """
    if operation != ANNOUNCE or claimed.next_hash_key is None:
        return False
    return claimed.next_hash_key[1] - now < NOTICE - policy.CLOCK_SLACK


def _too_early(announced: tuple[str, datetime] | None, key_id: str, now: datetime) -> str | None:
    """Say why a key must not be used yet, None when it may."""
    if announced is None or announced[0] != key_id:
        return "the hash key was not announced"
    if now < announced[1]:
        return f"the hash key was announced for {format_time(announced[1])}"
    return None


def _key(key_id: str | None, secret: ListSecret) -> HashKey:
    key = secret.key_of(key_id)
    if key is None:
        raise DigestMismatch(
            f"the secrets of {secret.name} lack the hash key that signed metadata names: "
            f"expected id {key_id}"
        )
    return key


def _whole_second(moment: datetime) -> datetime:
    """Round up: times are signed in whole seconds."""
    return (moment + timedelta(seconds=1) - timedelta.resolution).replace(microsecond=0)
