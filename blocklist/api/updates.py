"""The update document: one answer with everything for one step from N to M.

Pure copying. Finished documents are remembered, since many subscribers ask for the same step; one
with a missing or damaged object is not, so that a repair is seen at once. Those who ask while it
is being made get the same one: after a release thousands do. A document belongs to a way, not to
the number that a caller names: all whom the ladder does not help share one.
"""

import gzip
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from blocklist.api.bodies import Body, busy
from blocklist.api.cache import ByteLru
from blocklist.api.flights import Flights
from blocklist.api.heavy import Heavy, TooBusy
from blocklist.api.limits import (
    BODY_CACHE_BYTES,
    BODY_CACHE_SHARE,
    GZIP_LEVEL,
    GZIP_MIN_BYTES,
    LARGE_BYTES,
    LARGE_WAIT_SECONDS,
)
from blocklist.api.live import Live
from blocklist.api.reader import FeedReader
from blocklist.api.ways import Plan, Way, WayFinder
from blocklist.core.entries import Feed
from blocklist.core.release import FeedRelease
from blocklist.core.update import Update
from signing import names, policy
from signing.roles import RoleFile


@dataclass(frozen=True, slots=True)
class Step:
    """What a subscriber has.

    Attributes:
        have: Version of the list; 0: none.
        root, targets, timestamp: Versions of those roles; 0: none.
    """

    have: int = 0
    root: int = 0
    targets: int = 0
    timestamp: int = 0


@dataclass(frozen=True, slots=True)
class Offer:
    """What one feed offers in one state of the repository.

    Attributes:
        live: The state.
        list, feed: The feed.
        release: Its live release; None before the first.
    """

    live: Live
    list: str
    feed: Feed
    release: FeedRelease | None

    @property
    def version(self) -> int:
        """Version of the live release, 0 before the first."""
        return self.release.version if self.release is not None else 0

    @property
    def etag(self) -> str:
        """`<root>-<timestamp>-<list version>`: changes whenever there is news."""
        head = self.live.head
        return f"{head.root.version}-{head.timestamp.version}-{self.version}"

    def news(self, step: Step) -> bool:
        """Tell whether a subscriber at `step` has something to learn, a rollback included."""
        head = self.live.head
        held = (step.have, step.timestamp, step.root)
        return held != (self.version, head.timestamp.version, head.root.version)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One kind of document of an offer: from which root, with targets or not, gzipped or not."""

    offer: Offer
    root: int
    targets: bool
    gzip: bool

    def key(self, start: int | None) -> Hashable:
        offer = self.offer
        return (offer.list, offer.feed, offer.etag, start, self.root, self.targets, self.gzip)


class Updates:
    """Makes update documents.

    Args:
        reader: The repository.
    """

    def __init__(self, reader: FeedReader) -> None:
        self._reader = reader
        self._bodies = ByteLru(BODY_CACHE_BYTES, BODY_CACHE_SHARE)
        self._held = reader.objects.bodies
        self._flights = Flights[Body | None]()
        self._heavy = Heavy(LARGE_WAIT_SECONDS)

    def body(self, offer: Offer, step: Step, *, accepts_gzip: bool) -> Body:
        """Return the document as JSON, gzipped where that is accepted and worth it.

        Keep it until it is sent.

        Raises:
            StoreError: The storage failed.
            Problem: 503: too many large documents are being made or sent.
        """
        head = offer.live.head
        have = min(step.have, offer.version)  # all that is not below gets the same
        root = min(step.root, head.root.version)
        wanted = _Wanted(offer, root, step.targets < head.targets.version, accepts_gzip)
        body = self._known(wanted.key(have))
        try:
            return body if body is not None else self._made(wanted, have)
        except TooBusy as error:
            raise busy() from error

    def _known(self, key: Hashable) -> Body | None:
        data = self._bodies.get(key)
        return self._held.of(key, data) if data is not None else self._held.get(key)

    def _made(self, wanted: _Wanted, have: int) -> Body:
        finder = self._finder(wanted.offer)
        plans = finder.plans(have) if finder is not None else iter((Plan(have),))
        return next(body for plan in plans if (body := self._shared(wanted, finder, plan)))

    def _finder(self, offer: Offer) -> WayFinder | None:
        if offer.release is None:
            return None
        return WayFinder(self._reader, offer.live, offer.release)

    def _shared(self, wanted: _Wanted, finder: WayFinder | None, plan: Plan) -> Body | None:
        """Return the document of a way, made once for all; None when an object is missing."""
        key = wanted.key(plan.start)

        def make() -> Body | None:
            body = self._known(key)  # somebody may just have made it
            if body is not None or plan.length <= LARGE_BYTES:
                return body or self._make(key, wanted, finder, plan)
            with self._heavy.slot():
                self._held.expect_room(plan.length)
                return self._make(key, wanted, finder, plan)

        return self._flights.run(key, make)

    def _make(
        self, key: Hashable, wanted: _Wanted, finder: WayFinder | None, plan: Plan
    ) -> Body | None:
        way = finder.collect(plan) if finder is not None else Way()
        if way is None:
            return None
        offer = wanted.offer
        files = self._files(offer, wanted.root, wanted.targets) | way.files
        update = Update(offer.list, offer.feed, offer.version or None, files, way.objects)
        large = plan.length > LARGE_BYTES
        encoded = (
            self._heavy.run(_encoded, update, wanted.gzip)
            if large
            else _encoded(update, wanted.gzip)
        )
        body = self._held.add(key, Body(encoded, way.whole))
        if way.whole:
            self._bodies.put(key, encoded)
        return body

    def _files(self, offer: Offer, root: int, targets: bool) -> dict[str, bytes]:
        """Return the metadata that leads from `root` to the live release."""
        head = offer.live.head
        files = {names.TIMESTAMP_FILE: head.timestamp.data} | self._roots(offer.live, root)
        roles: list[RoleFile[Any]] = [head.snapshot]
        if targets:
            roles.append(head.targets)
        if offer.list in offer.live.roles:
            roles.append(offer.live.roles[offer.list])
        return files | {names.file_name(role.name, role.version): role.data for role in roles}

    def _roots(self, live: Live, above: int) -> dict[str, bytes]:
        """Return the roots after `above`, as many as a client follows at a time."""
        last = min(live.head.root.version, above + policy.MAX_ROOT_ROTATIONS)
        files = [names.file_name(names.ROOT, version) for version in range(above + 1, last + 1)]
        found = {name: self._reader.metadata(name, policy.MAX_ROOT_BYTES) for name in files}
        return {name: data for name, data in found.items() if data is not None}


def is_gzipped(body: Body) -> bool:
    """Tell whether a body is gzipped (RFC 1952, 2.3.1); JSON never begins so."""
    return body.data.startswith(b"\x1f\x8b")


def _encoded(update: Update, accepts_gzip: bool) -> bytes:
    body = update.to_bytes()
    if not accepts_gzip or len(body) <= GZIP_MIN_BYTES:
        return body
    return gzip.compress(body, compresslevel=GZIP_LEVEL, mtime=0)
