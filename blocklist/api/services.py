"""What the routes share, and the questions that every route asks: who, what, is there news."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from flask import g, request

from blocklist.api import tokens as bearer
from blocklist.api.background import Background
from blocklist.api.board.board import Board
from blocklist.api.diffing.diffs import Diffs
from blocklist.api.limiter import Limiter
from blocklist.api.metrics import Metrics
from blocklist.api.problems import NOT_AUTHENTICATED, NOT_FOUND, NOT_RELEASED, Problem
from blocklist.api.reader import FeedReader
from blocklist.api.tokens import Tokens, require
from blocklist.api.updates import Offer, Updates
from blocklist.api.watch import Watcher
from blocklist.core.entries import Feed
from blocklist.core.private import Subscription
from blocklist.core.release import FeedRelease

_LIST_NAME = re.compile(r"[a-z0-9-]{1,32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """One app's parts.

    Attributes:
        reader: The repository.
        tokens: Who may read what.
        updates: Update documents.
        diffs: What differs between versions.
        limiter: How often somebody may ask.
        board: Who holds which version.
        watcher: Keeps the head fresh, and holds who waits for news.
        metrics: What is counted.
        background: The jobs of the process.
    """

    reader: FeedReader
    tokens: Tokens
    updates: Updates
    diffs: Diffs
    limiter: Limiter
    board: Board
    watcher: Watcher
    metrics: Metrics
    background: Background

    def caller(self) -> Subscription:
        """Return who asks, and count the request.

        A token in use is not refused for what others do from the same address.

        Raises:
            Problem: 401, or 429 for too many requests of a token or failures of an address.
            StoreError: 503.
        """
        address = request.remote_addr or ""
        try:
            digest = _digest()
            found = self.tokens.remembered(digest)
            if found is None:
                self.limiter.check_address(address)
                found = self.tokens.find(digest)
        except Problem as problem:
            if problem.kind is NOT_AUTHENTICATED:
                self.limiter.check_address(address)
                self.limiter.failed(address)
            raise
        self.limiter.check(digest)
        return found

    def offer(self, list_name: str, feed_name: str) -> Offer:
        """Return what a feed offers to the caller now.

        Raises:
            Problem: 401, 403, 429, or 404 when there is no such list or feed.
            NotServable, StoreError: 503.
        """
        return self.offer_to(self.caller(), list_name, feed_name)

    def caught_up(self, offer: Offer, caller: Subscription) -> Offer:
        """Return the offer after a look at the storage: the caller has seen more than it says.

        With several processes, one of them sees a new head first, and a caller may ask another
        next. An older answer would look like a rollback to it.

        Raises:
            Problem, NotServable, StoreError: As for `offer`.
        """
        self.reader.catch_up()
        return self.offer_to(caller, offer.list, offer.feed.value)

    def released(self, list_name: str, feed_name: str) -> tuple[Offer, FeedRelease]:
        """Return the same for a feed that has a release.

        Raises:
            Problem: Also 404 when nothing has been released yet.
        """
        return released(self.offer(list_name, feed_name))

    def offer_to(self, caller: Subscription, list_name: str, feed_name: str) -> Offer:
        """Return what a feed offers to a caller now; raises as `offer` does."""
        feed = feed_of(feed_name)
        if not _LIST_NAME.fullmatch(list_name):
            raise Problem(NOT_FOUND, "there is no such list")
        require(caller, list_name, feed)
        live = self.reader.live()
        if not live.knows(list_name):
            raise Problem(NOT_FOUND, "there is no such list")
        return Offer(live, list_name, feed, live.release(list_name, feed))

    def when_news(
        self, caller: Subscription, offer: Offer, seconds: float, news: Callable[[Offer], bool]
    ) -> tuple[Offer, bool]:
        """Return the offer with news for the caller, or the last one when the time is over.

        The token is looked at again whenever something changes, and at the end.

        Args:
            caller: Who asks.
            offer: What the feed offers now.
            seconds: How long the request may be held; 0: not at all.
            news: Whether an offer is news for the caller.

        Returns:
            The offer, and whether it is news.

        Raises:
            Problem: 401, 403, 404: things changed meanwhile.
        """
        latest = offer

        def look() -> bool:
            nonlocal latest
            again = self.tokens.find(_digest())
            latest = self.offer_to(again, offer.list, offer.feed.value)
            return news(latest)

        new = news(offer)
        if seconds and not new:
            self._wait(min(seconds, self.tokens.seconds_left(caller)), look)
            new = news(latest)
        return latest, new

    def _wait(self, seconds: float, look: Callable[[], bool]) -> None:
        begun = time.monotonic()
        try:
            self.watcher.wait(seconds, look)
        finally:
            g.waited = time.monotonic() - begun  # is not counted as time to the answer


def _digest() -> str:
    return bearer.digest_of(request.headers.get("Authorization"))


def released(offer: Offer) -> tuple[Offer, FeedRelease]:
    """Return an offer with its release.

    Raises:
        Problem: 404: nothing has been released yet.
    """
    if offer.release is None:
        raise Problem(NOT_RELEASED, "the list has no release yet")
    return offer, offer.release


def feed_of(name: str) -> Feed:
    """Return the feed of that name.

    Raises:
        Problem: 404.
    """
    try:
        return Feed(name)
    except ValueError as error:
        raise Problem(NOT_FOUND, "expected the feed clear or hashed") from error
