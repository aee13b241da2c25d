"""`subscriber add`: give somebody a token, and write the one file that enrols them."""

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from blocklist.core.enrolment import EnrolledList, Enrolment, SourceUrl
from blocklist.core.entries import Feed
from blocklist.core.errors import InputError, LocalError, UnknownList
from blocklist.core.private import Subscription
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from signing.roles import delegated_names

TOKEN_BYTES = 32
MAX_NAME = 64
MAX_SUBSCRIPTION_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class NewSubscriber:
    """A new subscriber.

    Attributes:
        enrolment: The file to hand over; secret.
        fingerprint: Hex SHA-256 of the root in it, to compare by telephone.
    """

    enrolment: Enrolment
    fingerprint: str


def add_subscriber(
    repository: Repository,
    name: str,
    lists: Sequence[str],
    feeds: Sequence[Feed],
    sources: Sequence[str],
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
        sources: Where to pull from, in order.
        expires: Last moment of the token.
        admin: Whether it opens the subscribers' board.
        hand_over: Keeps the enrolment, and undoes that when the block in it fails: the token only
            becomes valid once somebody has it.

    Raises:
        InputError: A bad or taken name, no list, an expiry that has passed.
        UnknownList: A list that does not exist.
    """
    now = repository.clock()
    _check(name, lists, feeds, expires, now)
    with repository.home.lock(repository.settings.lock_seconds):
        head = repository.head()
        missing = set(lists) - set(delegated_names(head.targets.signed))
        if missing:
            raise UnknownList(f"expected lists that exist, got {', '.join(sorted(missing))}")
        if any(known.name == name for known in subscriptions(repository)):
            raise InputError(f"there is a subscriber {name!r} already")
        token = secrets.token_urlsafe(TOKEN_BYTES)
        digest = hashlib.sha256(token.encode()).hexdigest()
        scope = {item: tuple(dict.fromkeys(feeds)) for item in lists}
        enrolled = {item: _enrolled(repository, item, scope) for item in scope}
        subscription = Subscription(name, digest, scope, now, expires, None, admin)
        urls = tuple(SourceUrl(url) for url in sources)
        enrolment = Enrolment(name, urls, token, head.root.data, enrolled)
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
    if not storage_url.startswith("file:"):
        raise InputError("expected --source URL, because this storage cannot be pulled from")
    return f"file:{Path(storage_url.removeprefix('file:')).absolute() / layout.FEED}".rstrip("/")


def subscriptions(repository: Repository) -> list[Subscription]:
    """Return everybody who was ever given a token, by name."""
    found = []
    for listed in repository.store.list(layout.ENROLMENTS):
        stored = repository.store.get(listed.key, limit=MAX_SUBSCRIPTION_BYTES)
        if stored is not None:
            found.append(Subscription.from_bytes(stored.data))
    return sorted(found, key=lambda item: item.name)


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


def _enrolled(
    repository: Repository, name: str, scope: Mapping[str, tuple[Feed, ...]]
) -> EnrolledList:
    """Return what a subscriber needs for one list; hash keys only with the hashed feed."""
    secret = repository.secret(name)
    keys = secret.hash_keys if Feed.HASHED in scope[name] else ()
    return EnrolledList(name, scope[name], {key.id: key for key in keys}, secret.test_host)
