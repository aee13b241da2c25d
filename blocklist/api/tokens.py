"""Who asks: a bearer token (RFC 6750, header only) to the subscription it stands for.

A token is 32 random bytes as text. It is stored nowhere; the subscription lies under its SHA-256.
No comparison in constant time is needed: a token is only ever hashed, then looked up by digest.
What timing could reveal is how far the digest of a guess agrees with a real one, which does not
help to find 256 random bits behind it.

An answer is remembered for half a minute. So that thousands of subscribers do not mean thousands of
reads in that time, one listing of all enrolments tells which of those in use were changed.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

from blocklist.api.cache import AgeCache
from blocklist.api.limits import (
    CLOCKS_APART,
    MAX_ENROLMENT_BYTES,
    MAX_TOKEN_CHARS,
    MAX_TOKENS_KNOWN,
    MAX_TOKENS_UNKNOWN,
    TOKEN_LIFE,
)
from blocklist.api.problems import NOT_AUTHENTICATED, OUTSIDE_SCOPE, Problem
from blocklist.api.reader import Clock
from blocklist.core.entries import Feed
from blocklist.core.errors import FeedError
from blocklist.core.private import Subscription
from blocklist.store import layout
from blocklist.store.port import Store

_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE | re.ASCII)
_CHALLENGE = 'Bearer realm="blocklist"'


@dataclass(frozen=True, slots=True)
class _Known:
    """A subscription in use.

    Attributes:
        subscription: As it was read.
        read: When, by our clock.
        stamp: When it was changed last, by the storage's clock, according to a listing before the
            reading; None: there was none.
        settled: Whether two listings agreed on `stamp`, the reading after the second one, so that
            no change within the same second can hide.
    """

    subscription: Subscription
    read: datetime
    stamp: datetime | None = None
    settled: bool = False


class Tokens:
    """Finds subscriptions, with answers remembered for 30 seconds, good and bad.

    Args:
        store: Where enrolments are.
        clock: The present time.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known = AgeCache[_Known](TOKEN_LIFE, MAX_TOKENS_KNOWN)
        # Apart, so that a flood of guesses does not push out subscribers.
        self._unknown = AgeCache[bool](TOKEN_LIFE, MAX_TOKENS_UNKNOWN)

    def remembered(self, digest: str) -> Subscription | None:
        """Return the subscription of a token that was good half a minute ago at most.

        Raises:
            Problem: 401: it has expired since.
        """
        known = self._known.get(digest, self._clock())
        return self._valid(known.subscription) if known is not None else None

    def find(self, digest: str) -> Subscription:
        """Return the subscription of a token by its digest.

        Raises:
            Problem: 401: it is unknown, expired or revoked.
            StoreError: The storage failed.
        """
        now = self._clock()
        known = self._known.get(digest, now)
        if known is not None:
            return self._valid(known.subscription)
        if self._unknown.get(digest, now):
            raise _refused()
        found = self._read(digest)
        if found is None:
            self._unknown.put(digest, True, now)
            raise _refused()
        self._known.put(digest, _Known(found, now), now)
        return self._valid(found)

    def seconds_left(self, subscription: Subscription) -> float:
        """Return how long a subscription is still good, unless it is revoked."""
        if subscription.expires is None:
            return float("inf")
        return (subscription.expires - self._clock()).total_seconds()

    def refresh(self) -> None:
        """Look at all tokens in use, as a background job.

        Raises:
            StoreError: The storage failed; what is remembered then ages.
        """
        now = self._clock()
        in_use = self._known.fresh(now)
        if not in_use:
            return
        left = {layout.enrolment_key(digest): digest for digest in in_use}
        for listed in self._store.list(layout.ENROLMENTS):
            digest = left.pop(listed.key, None)
            if digest is not None:
                self._renew(digest, in_use[digest], listed.modified, now)
        for digest in left.values():  # their enrolment was removed
            self._known.drop(digest)

    def _renew(self, digest: str, known: _Known, changed: datetime, now: datetime) -> None:
        """Use a subscription for another while, read again unless it cannot have changed."""
        same = known.stamp == changed
        if changed >= known.read - CLOCKS_APART and not (same and known.settled):
            try:
                found = self._read(digest)
            except FeedError:
                found = None  # damaged: whoever uses it learns that
            if found is None:
                self._known.drop(digest)
                return
            known = _Known(found, now, changed, settled=same)
        self._known.put(digest, known, now)

    def _read(self, digest: str) -> Subscription | None:
        stored = self._store.get(layout.enrolment_key(digest), limit=MAX_ENROLMENT_BYTES)
        found = Subscription.from_bytes(stored.data) if stored is not None else None
        # A file under another's name is none.
        return found if found is not None and found.token_digest == digest else None

    def _valid(self, found: Subscription) -> Subscription:
        if not found.valid(self._clock()):
            raise _refused()
        return found


def digest_of(authorization: str | None) -> str:
    """Return the SHA-256 of the bearer token in an `Authorization` header, in hex.

    Raises:
        Problem: 401: there is none.
    """
    if authorization is None:
        raise Problem(NOT_AUTHENTICATED, "send a bearer token", _challenge())
    match = _BEARER.fullmatch(authorization)
    if match is None or len(match[1]) > MAX_TOKEN_CHARS:
        raise _refused()
    return hashlib.sha256(match[1].encode("ascii")).hexdigest()


def require(caller: Subscription, list_name: str, feed: Feed | None = None) -> None:
    """Refuse what the caller may not read: a feed, or with None the list in any form.

    A list that does not exist is refused alike, so that names cannot be tried out.

    Raises:
        Problem: 403.
    """
    feeds = caller.lists.get(list_name, ())
    if not feeds or (feed is not None and feed not in feeds):
        raise Problem(OUTSIDE_SCOPE, "the token is not for this list and feed")


def _refused() -> Problem:
    return Problem(
        NOT_AUTHENTICATED,
        "the token is unknown, expired or revoked",
        _challenge('error="invalid_token"'),
    )


def _challenge(*more: str) -> dict[str, str]:
    """Return the header that a 401 must carry (RFC 9110, 11.6.1; RFC 6750, 3)."""
    return {"WWW-Authenticate": ", ".join((_CHALLENGE, *more))}
