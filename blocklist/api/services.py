"""What the routes share: the reader, the tokens, and the two questions every route asks."""

from dataclasses import dataclass

from flask import request

from blocklist.api.problems import NOT_FOUND, NOT_RELEASED, Problem
from blocklist.api.reader import FeedReader
from blocklist.api.tokens import Tokens, require
from blocklist.api.updates import Offer, Updates
from blocklist.core.entries import Feed
from blocklist.core.private import Subscription
from blocklist.core.release import FeedRelease


@dataclass(frozen=True, slots=True)
class Services:
    """One app's parts.

    Attributes:
        reader: The repository.
        tokens: Who may read what.
        updates: Update documents.
    """

    reader: FeedReader
    tokens: Tokens
    updates: Updates

    def caller(self) -> Subscription:
        """Return who asks.

        Raises:
            Problem: 401.
        """
        return self.tokens.subscription(request.headers.get("Authorization"))

    def offer(self, list_name: str, feed_name: str) -> Offer:
        """Return what a feed offers to the caller now.

        Raises:
            Problem: 401, 403, or 404 when there is no such list or feed.
            NotServable, StoreError: 503.
        """
        caller = self.caller()
        feed = feed_of(feed_name)
        require(caller, list_name, feed)
        live = self.reader.live()
        if not live.knows(list_name):
            raise Problem(NOT_FOUND, "there is no such list")
        return Offer(live, list_name, feed, live.release(list_name, feed))

    def released(self, list_name: str, feed_name: str) -> tuple[Offer, FeedRelease]:
        """Return the same for a feed that has a release.

        Raises:
            Problem: Also 404 when nothing has been released yet.
        """
        offer = self.offer(list_name, feed_name)
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
