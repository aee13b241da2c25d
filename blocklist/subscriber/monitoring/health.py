"""What of a report is a warning, and what is critical.

Critical is what blocks nothing, or what does not mend itself: no intact list, expired metadata,
somebody's tampering, a refused token, a damaged decision, an export that was refused. A warning is
what the next pull may mend, and what people have decided and should not forget.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from pathlib import Path

from blocklist.core.documents import format_time
from blocklist.core.errors import Exit
from blocklist.subscriber import settings
from blocklist.subscriber.decisions import held
from blocklist.subscriber.exports import Record, record
from blocklist.subscriber.monitoring.report import Report
from blocklist.subscriber.status import FeedStatus

_MENDS_ITSELF = (Exit.UNREACHABLE, Exit.LOCAL, Exit.BUSY)


class Level(IntEnum):
    """How bad it is; the numbers are those of Nagios."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it should be.

    Attributes:
        level: How bad.
        text: One line.
    """

    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class Ages:
    """How old the last success of a pull may be.

    Attributes:
        warning, critical: From when on it is one.
    """

    warning: timedelta = settings.WARNING_AGE
    critical: timedelta = settings.CRITICAL_AGE

    def level(self, age: timedelta) -> Level:
        """Return how bad an age is."""
        if age >= self.critical:
            return Level.CRITICAL
        return Level.WARNING if age >= self.warning else Level.OK


def problems(found: Report, ages: Ages) -> list[Problem]:
    """Return all that is not as it should be, the worst first."""
    listed = [*_decisions(found), *(Problem(Level.CRITICAL, one) for one in found.troubles)]
    for feed in found.feeds:
        name = f"{feed.list}/{feed.feed}"
        listed += [
            Problem(one.level, f"{name}: {one.text}") for one in _feed(feed, found.now, ages)
        ]
    in_force = _in_force(found)
    for export in found.exports:
        listed += [
            Problem(one.level, f"export {export.definition.name}: {one.text}")
            for one in _export(export, in_force, found.now, ages)
        ]
    return sorted(listed, key=lambda one: -one.level)


def level(found: Report, listed: list[Problem]) -> Level:
    """Return how bad it is all in all; nothing enrolled cannot be judged."""
    if not found.feeds:
        return Level.UNKNOWN
    return max((one.level for one in listed), default=Level.OK)


def _feed(feed: FeedStatus, now: datetime, ages: Ages) -> Iterator[Problem]:
    if feed.trouble:
        yield Problem(Level.CRITICAL, feed.trouble)
    elif feed.version is None:
        yield Problem(Level.CRITICAL, "nothing is installed")
    last = feed.last
    if last is not None and last.exit_code:
        mends = last.exit_code in _MENDS_ITSELF
        text = f"the last pull ended {last.word}: {last.message}"
        yield Problem(Level.WARNING if mends else Level.CRITICAL, text)
    succeeded = last.succeeded_at if last is not None else None
    if succeeded is None:
        yield Problem(Level.CRITICAL, "no pull has succeeded")
    elif bad := ages.level(now - succeeded):
        yield Problem(bad, f"the last pull that succeeded ended {format_time(succeeded)}")
    if feed.expires is not None and feed.expires <= now + settings.EXPIRY_WARNING:
        word, bad = ("expired", Level.CRITICAL) if feed.stale else ("expires", Level.WARNING)
        yield Problem(bad, f"{feed.expiring} metadata {word} {format_time(feed.expires)}")
    if feed.next_hash_key is not None and feed.next_hash_key.warning:
        yield Problem(Level.WARNING, feed.next_hash_key.warning)


def _decisions(found: Report) -> Iterator[Problem]:
    decided = found.decided
    for trouble in decided.troubles:
        yield Problem(Level.CRITICAL, trouble)
    if decided.holds is not None:
        for one in decided.holds.in_force:
            yield Problem(Level.WARNING, held(one))
    if decided.exceptions is not None and (ended := decided.exceptions.ended):
        text = f"exceptions that have ended: {len(ended)}; what they spared is blocked again"
        yield Problem(Level.WARNING, text)


def _in_force(found: Report) -> dict[str, tuple[int, datetime]]:
    """Return the newest version in force of each list, and since when."""
    newest: dict[str, tuple[int, datetime]] = {}
    for feed in found.feeds:
        if feed.version is not None and feed.installed_at is not None:
            newest[feed.list] = max(
                newest.get(feed.list, (0, found.now)), (feed.version, feed.installed_at)
            )
    return newest


def _export(
    export: Record, in_force: dict[str, tuple[int, datetime]], now: datetime, ages: Ages
) -> Iterator[Problem]:
    if export.word not in (record.LIVE, record.PENDING):
        yield Problem(Level.CRITICAL, f"the last run ended {export.word}: {export.message}")
    elif export.pending:
        yield Problem(Level.WARNING, f"hook or probe will be tried again: {export.message}")
    if export.live is None:
        yield Problem(Level.CRITICAL, "nothing is live")
    if export.written is not None and not Path(export.definition.out).is_file():
        yield Problem(Level.CRITICAL, "its file is gone: run `blocklist export run`")
    for name, live in export.live.versions.items() if export.live is not None else ():
        newest, since = in_force.get(name, (live, now))
        if live != newest and (bad := ages.level(now - since)):
            yield Problem(bad, f"{name} is live at version {live}, in force is {newest}")
