"""`subscriber`: give somebody a token, renew it, take it back, and tell who has one.

`add` writes the one file that enrols somebody. What changes later is the document of the token,
`private/enrolments/<sha256>.json`, by compare-and-swap; servers see it within a minute. Revoking is
for good: the document stays for the record, and the name is free again. Only `add` reads the signed
head: the others need no key and must work when the metadata is stale or damaged.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from blocklist.core.enrolment import EnrolledList, Enrolment, SourceUrl
from blocklist.core.entries import Feed
from blocklist.core.errors import FeedError, InputError, LocalError, TooLarge, UnknownList
from blocklist.core.hashing import HashKey
from blocklist.core.private import ListSecret, Subscription
from blocklist.core.release import read_release
from blocklist.publisher import hash_keys
from blocklist.publisher.racing import until_committed
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from signing.errors import LostRace
from signing.roles import delegated_names, targets_of

TOKEN_BYTES = 32
MAX_NAME = 64
MAX_REASON = 1_000  # characters
MAX_SUBSCRIPTION_BYTES = 1 << 20
READERS = 8  # documents read at a time


@dataclass(frozen=True, slots=True)
class NewSubscriber:
    """A new subscriber.

    Attributes:
        enrolment: The file to hand over; secret.
        fingerprint: Hex SHA-256 of the root in it, to compare by telephone.
    """

    enrolment: Enrolment
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Subscribers:
    """Everybody who was ever given a token.

    Attributes:
        found: By name, then by when they were made.
        unreadable: Keys of documents that are damaged or of a newer version.
    """

    found: tuple[Subscription, ...]
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What a change came to.

    Attributes:
        subscription: As it now stands.
        changed: False: it stood so already.
    """

    subscription: Subscription
    changed: bool


def add_subscriber(
    repository: Repository,
    name: str,
    lists: Sequence[str],
    feeds: Sequence[Feed],
    sources: Sequence[SourceUrl],
    *,
    expires: datetime | None = None,
    admin: bool = False,
    hand_over: Callable[[Enrolment], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> NewSubscriber:
    """Make a token for these lists and feeds, and the enrolment that carries it.

    Args:
        repository: Where.
        name: The subscriber.
        lists, feeds: What the token is good for.
        sources: Where to pull from, in order, with credentials of their own if they have any.
        expires: Last moment of the token.
        admin: Whether it opens the subscribers' board.
        hand_over: Keeps the enrolment, and undoes that when the block in it fails: the token only
            becomes valid once somebody has it.

    Raises:
        InputError: A bad name, one of somebody who is not revoked, no list, an expiry that has
            passed.
        UnknownList: A list that does not exist.
    """
    now = repository.clock()
    _check(name, lists, feeds, expires, now)
    with repository.home.lock(repository.settings.lock_seconds):
        head = repository.head()
        missing = set(lists) - set(delegated_names(head.targets.signed))
        if missing:
            raise UnknownList(f"expected lists that exist, got {', '.join(sorted(missing))}")
        if any(known.name == name and known.revoked is None for known in _all(repository).found):
            raise InputError(f"there is a subscriber {name!r} already")
        token = secrets.token_urlsafe(TOKEN_BYTES)
        digest = hashlib.sha256(token.encode()).hexdigest()
        scope = {item: tuple(dict.fromkeys(feeds)) for item in lists}
        enrolled = {item: _enrolled(repository, item, scope[item]) for item in scope}
        subscription = Subscription(name, digest, scope, now, expires, None, admin)
        enrolment = Enrolment(name, tuple(sources), token, head.root.data, enrolled)
        with hand_over(enrolment):
            key = layout.enrolment_key(digest)
            if not repository.store.put_new(key, subscription.to_bytes()):
                raise LocalError("two equal random tokens: this machine's randomness is broken")
    return NewSubscriber(enrolment, head.root.digest)


def default_source(storage_url: str) -> str:
    """Return the source that the storage itself is: its `feed` folder.

    Raises:
        InputError: The storage cannot be pulled from directly.
    """
    scheme, _, rest = storage_url.partition(":")
    if scheme == "file":
        return f"file:{Path(rest).absolute() / layout.FEED}".rstrip("/")
    if scheme == "s3":
        place, question, query = storage_url.partition("?")
        return f"{place.rstrip('/')}/{layout.FEED}".rstrip("/") + question + query
    raise InputError("expected --source URL, because this storage cannot be pulled from")


def list_subscribers(repository: Repository) -> Subscribers:
    """Return everybody who was ever given a token, those who have lost it too.

    Raises:
        LocalError: No repository is known here.
    """
    repository.home.trust()
    return _all(repository)


def renew_subscriber(repository: Repository, name: str, expires: datetime | None) -> Change:
    """Change when the token of a subscriber ends; one that has expired is good again.

    Args:
        repository: Where.
        name: The subscriber.
        expires: Last moment of the token; None: it does not end.

    Raises:
        InputError: An expiry that has passed; an unknown or revoked subscriber.
        LostRace: Others kept changing it.
        OutcomeUnknown: It may or may not have been changed.
    """
    if expires is not None:
        expires = expires.replace(microsecond=0)
        if expires <= repository.clock():
            raise InputError("expected an expiry in the future")

    def renewed(held: Subscription) -> Subscription:
        if held.revoked is not None:
            raise _revoked_for_good(name)
        return replace(held, expires=expires)

    with _changing(repository):
        _, live = _named(repository, name)
        if not live:
            raise _revoked_for_good(name)
        if len(live) > 1:  # made by two homes at the same moment
            raise InputError(f"{len(live)} tokens have the name {name!r}: revoke them, add anew")
        return _change(repository, live[0], renewed)


def revoke_subscriber(repository: Repository, name: str, reason: str | None = None) -> Change:
    """Take the token of a subscriber back, for good.

    Args:
        repository: Where.
        name: The subscriber.
        reason: Why, for the record.

    Returns:
        Unchanged when it was revoked already, with the time and reason of that.

    Raises:
        InputError: An unknown subscriber, or too long a reason.
        LostRace: Others kept changing it.
        OutcomeUnknown: It may or may not be revoked; doing it again is harmless.
    """
    if reason is not None and len(reason) > MAX_REASON:
        raise InputError(f"expected a reason of at most {MAX_REASON} characters")
    now = repository.clock()

    def revoked(held: Subscription) -> Subscription:
        return held if held.revoked is not None else replace(held, revoked=now, reason=reason)

    with _changing(repository):
        known, live = _named(repository, name)
        done = [_change(repository, one, revoked) for one in live]
        return done[-1] if done else Change(known[-1], changed=False)


@contextmanager
def _changing(repository: Repository) -> Iterator[None]:
    """Hold the home, which must know a repository: it is not made for a mistyped name."""
    repository.home.trust()
    with repository.home.lock(repository.settings.lock_seconds):
        yield


def _named(repository: Repository, name: str) -> tuple[list[Subscription], list[Subscription]]:
    """Return all subscriptions of a name, and those of them that are not revoked.

    Raises:
        InputError: There are none.
    """
    everybody = _all(repository)
    known = [item for item in everybody.found if item.name == name]
    if not known:
        damaged = len(everybody.unreadable)
        more = f"; {damaged} documents of subscribers cannot be read" if damaged else ""
        raise InputError(f"there is no subscriber {name!r}{more}")
    return known, [item for item in known if item.revoked is None]


def _change(
    repository: Repository, known: Subscription, change: Callable[[Subscription], Subscription]
) -> Change:
    """Change the document of a token, read anew whenever somebody else was faster."""
    key = layout.enrolment_key(known.token_digest)

    def attempt(_: Mapping[str, int]) -> Change:
        stored = repository.store.get(key, limit=MAX_SUBSCRIPTION_BYTES)
        if stored is None:
            raise InputError(f"the subscriber {known.name!r} was removed meanwhile")
        held = Subscription.from_bytes(stored.data)
        wanted = change(held)
        if wanted == held:
            return Change(held, changed=False)
        wanted = replace(wanted, revision=held.revision + 1)
        if repository.store.replace_if(key, wanted.to_bytes(), stored.token) is None:
            raise LostRace(f"somebody else changed the subscriber {known.name!r}")
        return Change(wanted, changed=True)

    return until_committed(attempt, repository.settings.race_seconds)


def _all(repository: Repository) -> Subscribers:
    """Read all documents, several at a time: on S3 each takes a request."""
    keys = [listed.key for listed in repository.store.list(layout.ENROLMENTS)]
    with ThreadPoolExecutor(READERS, "enrolments") as pool:
        read = list(pool.map(lambda key: _read(repository, key), keys))
    found = [item for item in read if isinstance(item, Subscription)]
    unreadable = tuple(item for item in read if isinstance(item, str))
    found.sort(key=lambda item: (item.name, item.created, item.token_digest))
    return Subscribers(tuple(found), unreadable)


def _read(repository: Repository, key: str) -> Subscription | str | None:
    """Return the subscription at a key, the key when it cannot be read, None when it is gone."""
    try:
        stored = repository.store.get(key, limit=MAX_SUBSCRIPTION_BYTES)
        item = Subscription.from_bytes(stored.data) if stored is not None else None
    except (FeedError, TooLarge):
        return key
    if item is None:
        return None
    return item if layout.enrolment_key(item.token_digest) == key else key


def _revoked_for_good(name: str) -> InputError:
    return InputError(f"{name!r} is revoked for good; give a new token with `subscriber add`")


def _check(
    name: str,
    lists: Sequence[str],
    feeds: Sequence[Feed],
    expires: datetime | None,
    now: datetime,
) -> None:
    if not name.isprintable() or not 1 <= len(name) <= MAX_NAME or name != name.strip():
        raise InputError(f"expected a name of 1 to {MAX_NAME} printable characters")
    if not lists or not feeds:
        raise InputError("expected at least one --list and one --feed")
    if expires is not None and expires <= now:
        raise InputError("expected an expiry in the future")


def _enrolled(repository: Repository, name: str, feeds: tuple[Feed, ...]) -> EnrolledList:
    """Return what a subscriber needs for one list; hash keys only with the hashed feed."""
    secret = repository.secret(name)
    keys = _hash_keys(repository, secret) if Feed.HASHED in feeds else ()
    return EnrolledList(name, feeds, {key.id: key for key in keys}, secret.test_host)


def _hash_keys(repository: Repository, secret: ListSecret) -> tuple[HashKey, ...]:
    """Return the keys that the live version names; former ones are nobody's business any more."""
    role = repository.head([secret.name]).roles.get(secret.name)
    if role is None:
        return hash_keys.live_keys(None, secret)
    targets = targets_of(role.signed)
    facts = read_release(secret.name, Feed.HASHED, role.version, targets).facts
    return hash_keys.live_keys(facts, secret)
