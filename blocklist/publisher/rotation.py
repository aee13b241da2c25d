"""`list rotate-hash-key`: the secret key of a list's hashed feed is replaced.

    no release yet     a new key at once; nobody has a list that was hashed with the old one
    nothing announced  a release that announces a new key, 48 hours ahead
    announced          when it will be
    its time has come  a release that uses it

Where several people have to sign, a release is a candidate first, and the announcement is further
ahead, to leave time for signing.

So who has been told of the key has had two days to fetch it, and subscribers of the API do that by
themselves. `at_once` skips the two days, for a key that has leaked. The key is stored first, the
release that names it follows: a rerun after a crash goes on with the same key.
"""

import secrets as randomness
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from blocklist.core.entries import Feed
from blocklist.core.errors import DigestMismatch, InputError, UnknownList
from blocklist.core.hashing import HASH_KEY_BYTES, HashKey
from blocklist.core.private import ListSecret
from blocklist.core.release import Facts
from blocklist.publisher import hash_keys
from blocklist.publisher.archive import Archive, expect_secret_of
from blocklist.publisher.curation.approving import threshold_of
from blocklist.publisher.curation.carry import Carried, carry
from blocklist.publisher.hash_keys import NOTICE, SIGNING_TIME, Step
from blocklist.publisher.racing import until_committed
from blocklist.publisher.repository import MAX_SECRET_BYTES, Repository
from blocklist.publisher.request import Options, Request
from blocklist.store import layout
from signing.errors import LostRace
from signing.head import Head
from signing.roles import delegated_names

ANNOUNCED: Final = "announced"
WAITING: Final = "waiting"
ROTATED: Final = "rotated"
STAGED: Final = "staged"
REPLACED: Final = "replaced"


@dataclass(frozen=True, slots=True)
class Rotation:
    """What came of it.

    Attributes:
        list: The list.
        state: `announced`, `waiting` (nothing was done), `rotated`, `replaced` (no release yet), or
            `staged` (others have to approve it).
        version: The live version now; None: there is none.
        key_id: Id of the key in use now.
        following: Id of the key that is announced and from when on; None: none is.
        carried: The candidate that was staged; None when none was.
    """

    list: str
    state: str
    version: int | None
    key_id: str
    following: tuple[str, datetime] | None
    carried: Carried | None = None

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return self.state != WAITING


@dataclass(frozen=True, slots=True)
class _Now:
    """How the hash key of a released list stands."""

    head: Head
    secret: ListSecret
    facts: Facts
    current: HashKey


def rotate_hash_key(
    repository: Repository,
    name: str,
    *,
    at_once: bool = False,
    reason: str | None = None,
    signing_key: str | None = None,
) -> Rotation:
    """Announce a new hash key of a list, or put the one that was announced in use.

    Args:
        repository: Where.
        name: The list.
        at_once: Use the announced key before its time, or a new one without announcement: it is
            missed by all who have not fetched it, until they do.
        reason: Why, for the record; needed with `at_once`.
        signing_key: Name of the key to sign with, where several here may; else the only one.

    Raises:
        InputError: `at_once` without a reason.
        UnknownList: There is no such list.
        DigestMismatch: The secrets are not those that signed metadata names.
        SignaturesMissing: No key here may sign for the list.
        LostRace: Somebody else changed the hash key, or others kept winning.
        OutcomeUnknown: It may or may not have happened; doing it again tells.
    """
    if at_once and not reason:
        raise InputError("expected a reason for a rotation before its time")
    head = repository.head([name])
    if name not in delegated_names(head.targets.signed):
        raise UnknownList(f"expected a list that exists, got {name!r}")
    if name not in head.roles:
        return _replaced(repository, name)
    step = next_step(repository, name, at_once=at_once, reason=reason)
    if step is None:
        return _rotation(repository, name, WAITING)
    options = Options(reason=reason)
    request = Request(name, None, (), (), options, {"files": []}, hash_key=step)
    carried = carry(repository, request, signing_key)
    if carried.published is None:
        return replace(_rotation(repository, name, STAGED), carried=carried)
    announced = step.operation == hash_keys.ANNOUNCE
    return _rotation(repository, name, ANNOUNCED if announced else ROTATED)


def _rotation(repository: Repository, name: str, state: str) -> Rotation:
    now = _now(repository, name)
    version = now.head.roles[name].version
    return Rotation(name, state, version, now.current.id, now.facts.next_hash_key)


def next_step(
    repository: Repository, name: str, *, at_once: bool, reason: str | None
) -> Step | None:
    """Return what comes next for a list that has a release, with its key stored; None: to wait.

    A new key is only made by a home that may sign for the list.

    Raises:
        As `rotate_hash_key`.
    """
    now = _now(repository, name)
    early = reason if at_once else None
    announced = now.facts.next_hash_key
    if not at_once:
        hash_keys.expect_announced(now.facts, now.secret)
    if announced is not None and now.secret.key_of(announced[0]) is not None:
        due = announced[1] <= repository.signing_time(now.head)
        step = Step(hash_keys.ROTATE, now.current.id, announced[0], early)
        return step if due or at_once else None
    repository.list_signers(now.head, name)
    key_id = _stored_key(repository, name, now.current.id)
    operation = hash_keys.ROTATE if at_once else hash_keys.ANNOUNCE
    several = threshold_of(now.head, name) > 1
    notice = NOTICE + SIGNING_TIME if several else NOTICE
    return Step(operation, now.current.id, key_id, early, notice)


def _now(repository: Repository, name: str) -> _Now:
    head, secret = repository.head([name]), repository.secret(name)
    archive, version = Archive(repository, head, name), head.roles[name].version
    expect_secret_of(archive, version, secret)
    if not repository.home.agrees_with(secret, released=True):
        raise DigestMismatch(f"the secrets of {name} are not those that this home knows")
    facts = archive.release(Feed.HASHED, version).facts
    return _Now(head, secret, facts, hash_keys.current_key(facts, secret))


def _stored_key(repository: Repository, name: str, current_id: str) -> str:
    """Return the id of a new key that is among the secrets: that of an earlier attempt, or make it.

    It is remembered here first: a key that merely lies in the storage may be anybody's.
    """
    home = repository.home
    with home.lock(repository.settings.lock_seconds):
        known = home.coming(name, current_id)
        if known is not None and repository.secret(name).key_of(known) is not None:
            return known
        key = _new_key()
        home.pin_coming(name, current_id, key.id)
        _change(repository, name, lambda held: (*held.hash_keys, key))
    return key.id


def _replaced(repository: Repository, name: str) -> Rotation:
    """Give a list without release another key; the one before stays: a release may just use it."""
    home, key = repository.home, _new_key()
    with home.lock(repository.settings.lock_seconds):
        secret = repository.secret(name)
        if not home.agrees_with(secret, released=False):
            raise DigestMismatch(f"the secrets of {name} are not those that this home knows")
        home.pin_secret(secret, key.id)  # before it is stored
        _change(repository, name, lambda held: (key, held.first_key))
        home.pin_secret(repository.secret(name))
    return Rotation(name, REPLACED, None, key.id, None)


def _change(
    repository: Repository, name: str, keys: Callable[[ListSecret], tuple[HashKey, ...]]
) -> None:
    """Store other keys, made of those that are there, whatever others add at the same time."""
    place = layout.list_secret_key(name)

    def attempt(_: Mapping[str, int]) -> None:
        stored = repository.store.get(place, limit=MAX_SECRET_BYTES)
        if stored is None:
            raise UnknownList(f"the secrets of list {name!r} were removed meanwhile")
        held = ListSecret.from_bytes(stored.data)
        wanted = replace(held, hash_keys=keys(held))
        if repository.store.replace_if(place, wanted.to_bytes(), stored.token) is None:
            raise LostRace(f"somebody else changed the secrets of {name!r}")

    until_committed(attempt, repository.settings.race_seconds)


def _new_key() -> HashKey:
    return HashKey(randomness.token_bytes(HASH_KEY_BYTES))
