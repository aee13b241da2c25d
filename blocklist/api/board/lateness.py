"""Since when a subscriber misses something: when the first release that it lacks was made."""

import threading
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from blocklist.api.live import Live
from blocklist.api.reader import FeedReader
from blocklist.core.entries import Feed
from blocklist.core.release import FeedRelease

MAX_RELEASES = 4_096  # remembered of each list
MAX_BURNED = 4  # numbers in a row that may be missing
MAX_LOOKUPS = 32  # role files read for one list and board; beyond, what is known must do


@dataclass(frozen=True, slots=True, order=True)
class _Made:
    """A release.

    Attributes:
        version: Its version.
        previous: The version before it.
        at: When it was made.
    """

    version: int
    previous: int
    at: datetime


class Lateness:
    """Remembers the releases that were live, and looks up others.

    Args:
        reader: The repository.
    """

    def __init__(self, reader: FeedReader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._made: dict[str, list[_Made]] = {}

    def note(self, live: Live) -> None:
        """Remember what is live."""
        for release in live.releases.values():
            self._remember(release)

    def missing_since(self, live: Live, name: str, held: Iterable[int]) -> dict[int, datetime]:
        """Return when the first release after each held version was made.

        Where that release is not known and cannot be looked up, it is the first later one that is
        known: the subscriber is late for at least as long.

        Args:
            live: The state to judge by.
            name: A list with a live release.
            held: Versions below that.

        Raises:
            StoreError: The storage failed.
        """
        budget = iter(range(MAX_LOOKUPS))
        versions = sorted(set(held), reverse=True)
        made = {version: self._first_after(live, name, version, budget) for version in versions}
        return {version: one.at for version, one in made.items() if one is not None}

    def _first_after(
        self, live: Live, name: str, version: int, budget: Iterator[int]
    ) -> _Made | None:
        """Return the first release above a version; each look into the storage takes of `budget`.

        Numbers in between may have been burned.
        """
        made = self._after(name, version)
        if made is None or made.previous <= version:
            return made
        between = range(version + 1, min(made.version, version + 1 + MAX_BURNED))
        for number, _ in zip(between, budget, strict=False):
            earlier = self._look_up(live, name, number)
            if earlier is not None:
                return earlier
        return made

    def _after(self, name: str, version: int) -> _Made | None:
        """Return the first release above a version, of those that are known."""
        with self._lock:
            known = self._made.get(name, [])
            at = bisect_right(known, version, key=lambda made: made.version)
            return known[at] if at < len(known) else None

    def _look_up(self, live: Live, name: str, version: int) -> _Made | None:
        """Read a release; the role file of an earlier version is a hint, which is enough here."""
        release = self._reader.release_at(live, name, Feed.HASHED, version)
        return self._remember(release) if release is not None else None

    def _remember(self, release: FeedRelease) -> _Made:
        prev = release.facts.prev
        previous = prev[0] if prev is not None else release.version - 1
        made = _Made(release.version, previous, release.facts.created)
        with self._lock:
            known = self._made.setdefault(release.list, [])
            at = bisect_right(known, made.version, key=lambda one: one.version)
            if not at or known[at - 1].version != made.version:
                insort(known, made)
                del known[:-MAX_RELEASES]
        return made
