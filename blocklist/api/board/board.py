"""Who holds which version since when, and how late they are.

A subscriber says what it holds whenever it asks for an update; that is noted in memory. `flush`, in
the background, puts it on the board that all processes share, and puts everything there again when
Redis has forgotten it. Redis knows subscribers by the digest of their token only; names come from
the enrolments. What subscribers say is not proven.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from blocklist.api.board.lateness import Lateness
from blocklist.api.board.rows import Judge, Row, live_version
from blocklist.api.board.sightings import Key, Sighting, Sightings, merge, read_board, to_field
from blocklist.api.board.subscribers import Subscribers
from blocklist.api.live import Live
from blocklist.api.reader import Clock, FeedReader
from blocklist.core.entries import Feed
from blocklist.core.private import Subscription
from blocklist.store.port import Store
from blocklist.store.shared import SharedState, SharedStateDown

FLUSH_SECONDS = 5.0  # between two flushes
KEPT = timedelta(days=90)  # how long a subscriber that does not ask stays on the board


@dataclass(frozen=True, slots=True)
class View:
    """The board at one moment.

    Attributes:
        rows: One for each subscriber, list and feed that it may read, by name.
        complete: False: Redis is down, and what only other processes know is missing.
    """

    rows: list[Row]
    complete: bool


class Board:
    """The board of one process and, with Redis, of all.

    Args:
        reader: The repository.
        store: The storage, for enrolments.
        clock: The present time.
        shared: Through which processes tell each other; None: one process alone.
    """

    def __init__(
        self, reader: FeedReader, store: Store, clock: Clock, shared: SharedState | None
    ) -> None:
        self._reader = reader
        self._clock = clock
        self._shared = shared
        self._sightings = Sightings()
        self._subscribers = Subscribers(store, clock)
        self._lateness = Lateness(reader)
        self._told: str | None = None  # an entry that is on the shared board, unless it was lost

    def note(self, caller: Subscription, list_name: str, feed: Feed, version: int) -> None:
        """Take what a caller says it holds (0: nothing): a write to memory, nothing else."""
        key = (caller.token_digest, list_name, feed.value)
        self._sightings.note(key, version, int(self._clock().timestamp()))

    def flush(self) -> None:
        """Tell the other processes what is new, forget what is old, remember what is live.

        Raises:
            NotServable: No state was ever verified.
            SharedStateDown: Redis failed; the next flush makes up for it.
        """
        self._sightings.forget_before(self._end())
        self._lateness.note(self._reader.live())
        if self._shared is None:
            return
        new = self._sightings.take_new()
        try:
            self._tell(self._shared, new)
        except SharedStateDown:
            self._sightings.put_back(new)
            raise

    def view(self) -> View:
        """Return the board, those who never asked included.

        Raises:
            NotServable, StoreError: There is no head, or the storage failed.
        """
        live = self._reader.live()
        self._lateness.note(live)
        sightings, complete = self._everybody()
        subscriptions = self._subscribers.all()
        judge = Judge(live, self._missing(live, sightings), self._clock())
        rows = [
            judge.row(who, name, feed, sightings.get((who.token_digest, name, feed.value)))
            for who in subscriptions
            for name, feeds in sorted(who.lists.items())
            for feed in feeds
        ]
        return View(rows, complete)

    def _tell(self, shared: SharedState, new: Mapping[Key, Sighting]) -> None:
        """Merge what is new here into the shared board; all of it, if the board was lost.

        Two processes that tell of one subscriber at the same moment may lose one of the two words,
        until it asks again.
        """
        told = [self._told] if self._told is not None else []
        found = shared.posted([to_field(key) for key in new] + told)
        if self._told is not None and self._told not in found:
            new = self._sightings.all()
            found = shared.posted([to_field(key) for key in new])
        theirs = read_board(found)
        merged = {key: merge(mine, theirs.get(key)) for key, mine in new.items()}
        shared.post({to_field(key): sighting.to_text() for key, sighting in merged.items()})
        self._sightings.correct(merged)
        if merged:
            self._told = to_field(next(iter(merged)))

    def _everybody(self) -> tuple[dict[Key, Sighting], bool]:
        """Return what all processes know, and whether that is all."""
        mine = self._sightings.all()
        if self._shared is None:
            return mine, True
        try:
            theirs = self._read(self._shared)
        except SharedStateDown:
            return mine, False
        return theirs | {key: merge(one, theirs.get(key)) for key, one in mine.items()}, True

    def _read(self, shared: SharedState) -> dict[Key, Sighting]:
        """Return the shared board, and take off it what is too old or no entry."""
        fields, end = shared.board(), self._end()
        found = {key: one for key, one in read_board(fields).items() if one.seen >= end}
        shared.forget(fields.keys() - {to_field(key) for key in found})
        return found

    def _missing(
        self, live: Live, sightings: Mapping[Key, Sighting]
    ) -> dict[tuple[str, int], datetime]:
        """Return since when the first release after each version that is held is there."""
        held: dict[str, set[int]] = {}
        for (_, name, feed), sighting in sightings.items():
            version = live_version(live, name, Feed(feed))
            if version is not None and sighting.version < version:
                held.setdefault(name, set()).add(sighting.version)
        return {
            (name, version): at
            for name, versions in held.items()
            for version, at in self._lateness.missing_since(live, name, versions).items()
        }

    def _end(self) -> int:
        return int((self._clock() - KEPT).timestamp())
