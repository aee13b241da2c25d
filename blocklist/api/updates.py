"""The update document: one answer with everything for one step from N to M.

Pure copying. Finished documents are remembered, since many subscribers ask for the same step; one
with a missing or damaged object is not, so that a repair is seen at once. Those who ask while it
is being made get the same one: after a release thousands do.
"""

import gzip
from dataclasses import dataclass
from typing import Any

from blocklist.api.cache import ByteLru
from blocklist.api.flights import Flights
from blocklist.api.heavy import Heavy
from blocklist.api.limits import BODY_CACHE_BYTES, GZIP_HEAVY_BYTES, GZIP_LEVEL, GZIP_MIN_BYTES
from blocklist.api.live import Live
from blocklist.api.reader import FeedReader
from blocklist.api.ways import Way, WayFinder
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


class Updates:
    """Makes update documents.

    Args:
        reader: The repository.
    """

    def __init__(self, reader: FeedReader) -> None:
        self._reader = reader
        self._bodies = ByteLru(BODY_CACHE_BYTES)
        self._flights = Flights[bytes]()
        self._heavy = Heavy(0.0)  # a thread is all that is wanted of it, no slot is waited for

    def body(self, offer: Offer, step: Step, *, accepts_gzip: bool) -> bytes:
        """Return the document as JSON, gzipped where that is accepted and worth it.

        Raises:
            StoreError: The storage failed.
        """
        head = offer.live.head
        have = min(step.have, offer.version)  # all that is not below gets the same
        root = min(step.root, head.root.version)
        targets = step.targets < head.targets.version
        key = (offer.list, offer.feed, offer.etag, have, root, targets, accepts_gzip)
        body = self._bodies.get(key)
        if body is not None:
            return body

        def make() -> bytes:
            way = self._way(offer, have)
            body = self._document(offer, root, targets, way)
            if accepts_gzip and len(body) > GZIP_MIN_BYTES:
                heavy = len(body) > GZIP_HEAVY_BYTES
                body = self._heavy.run(_gzipped, body) if heavy else _gzipped(body)
            if way.whole:
                self._bodies.put(key, body)
            return body

        return self._flights.run(key, make)

    def _way(self, offer: Offer, have: int) -> Way:
        if offer.release is None:
            return Way()
        return WayFinder(self._reader, offer.live, offer.release).way(have)

    def _document(self, offer: Offer, root: int, targets: bool, way: Way) -> bytes:
        files = self._files(offer, root, targets) | way.files
        version = offer.version or None
        return Update(offer.list, offer.feed, version, files, way.objects).to_bytes()

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


def is_gzipped(body: bytes) -> bool:
    """Tell whether a body is gzipped (RFC 1952, 2.3.1); JSON never begins so."""
    return body.startswith(b"\x1f\x8b")


def _gzipped(body: bytes) -> bytes:
    return gzip.compress(body, compresslevel=GZIP_LEVEL, mtime=0)
