"""Who asks: a bearer token (RFC 6750, header only) to the subscription it stands for.

A token is 32 random bytes as text. It is stored nowhere; the subscription lies under its SHA-256.
No comparison in constant time is needed: a token is only ever hashed, then looked up by digest.
What timing could reveal is how far the digest of a guess agrees with a real one, which does not
help to find 256 random bits behind it.
"""

import hashlib
import re

from blocklist.api.cache import AgeCache
from blocklist.api.limits import (
    MAX_ENROLMENT_BYTES,
    MAX_TOKEN_CHARS,
    MAX_TOKENS_KNOWN,
    MAX_TOKENS_UNKNOWN,
    TOKEN_LIFE,
)
from blocklist.api.problems import NOT_AUTHENTICATED, OUTSIDE_SCOPE, Problem
from blocklist.api.reader import Clock
from blocklist.core.entries import Feed
from blocklist.core.private import Subscription
from blocklist.store import layout
from blocklist.store.port import Store

_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE | re.ASCII)
_CHALLENGE = 'Bearer realm="blocklist"'


class Tokens:
    """Finds subscriptions, with answers remembered for 30 seconds, good and bad.

    Args:
        store: Where enrolments are.
        clock: The present time.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known = AgeCache[Subscription](TOKEN_LIFE, MAX_TOKENS_KNOWN)
        # Apart, so that a flood of guesses does not push out subscribers.
        self._unknown = AgeCache[bool](TOKEN_LIFE, MAX_TOKENS_UNKNOWN)

    def subscription(self, authorization: str | None) -> Subscription:
        """Return the subscription for a request's `Authorization` header.

        Raises:
            Problem: 401: no bearer token, or one that is unknown, expired or revoked.
            StoreError: The storage failed.
        """
        if authorization is None:
            raise Problem(NOT_AUTHENTICATED, "send a bearer token", _challenge())
        match = _BEARER.fullmatch(authorization)
        if match is None or len(match[1]) > MAX_TOKEN_CHARS:
            raise _refused()
        digest = hashlib.sha256(match[1].encode("ascii")).hexdigest()
        found = self._find(digest)
        if found is None or not found.valid(self._clock()):
            raise _refused()
        return found

    def _find(self, digest: str) -> Subscription | None:
        now = self._clock()
        known = self._known.get(digest, now)
        if known is not None or self._unknown.get(digest, now):
            return known
        stored = self._store.get(layout.enrolment_key(digest), limit=MAX_ENROLMENT_BYTES)
        found = Subscription.from_bytes(stored.data) if stored is not None else None
        if found is None or found.token_digest != digest:  # a file under another's name
            self._unknown.put(digest, True, now)
            return None
        self._known.put(digest, found, now)
        return found


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
