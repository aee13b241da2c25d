"""One row of the subscribers' board: what somebody holds, against what is live."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from blocklist.api.board.sightings import Sighting
from blocklist.api.live import Live, NotServable
from blocklist.core.documents import format_time
from blocklist.core.entries import Feed
from blocklist.core.private import Subscription

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges what subscribers hold at one moment.

    Attributes:
        live: What is live.
        missing: When the first release after a version was made, by list and version.
        now: The present time.
    """

    live: Live
    missing: Mapping[tuple[str, int], datetime]
    now: datetime

    def row(self, who: Subscription, name: str, feed: Feed, sighting: Sighting | None) -> Row:
        """Return the row of one subscriber, list and feed, as JSON has it.

        `version` is null when it never asked, 0 when it holds nothing. `behind_versions` counts
        version numbers, burned ones too; it is negative for one that is not live yet or any more.
        `behind_seconds` is at least how long the first release it misses has been there. Both are
        null when there is nothing to compare.
        """
        return {
            "name": who.name,
            "list": name,
            "feed": feed.value,
            "version": sighting.version if sighting is not None else None,
            "since": _time(sighting.since) if sighting is not None else None,
            "seen": _time(sighting.seen) if sighting is not None else None,
            **self._behind(name, feed, sighting),
            "state": who.state(self.now),
            "expires": format_time(who.expires) if who.expires is not None else None,
        }

    def _behind(self, name: str, feed: Feed, sighting: Sighting | None) -> Row:
        version = live_version(self.live, name, feed)
        if version is None or sighting is None:
            return {"behind_versions": None, "behind_seconds": None}
        since = self.missing.get((name, sighting.version), self.now)
        seconds = int((self.now - since).total_seconds())
        behind = version - sighting.version
        return {"behind_versions": behind, "behind_seconds": max(0, seconds) if behind > 0 else 0}


def live_version(live: Live, name: str, feed: Feed) -> int | None:
    """Return the live version of a feed; None when there is none that verifies."""
    try:
        release = live.release(name, feed)
    except NotServable:
        return None
    return release.version if release is not None else None


def _time(seconds: int) -> str:
    return format_time(datetime.fromtimestamp(seconds, UTC))
