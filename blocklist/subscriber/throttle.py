"""A source that says "not now": 429 and 503 with `Retry-After` (RFC 9110, 10.2.3; RFC 6585, 4).

A short wait is waited out, a few times for each feed. For a longer one the next source is tried,
and this one is left alone until then, by this pull and by those that follow: `Waits` remembers in
the state directory, so that an impatient timer does not hammer. The file only holds digests of
addresses and times; a damaged one is as good as none. Enrolling again forgets all waits.
"""

import hashlib
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

from blocklist.core import documents
from blocklist.core.errors import MalformedFeed, TransportError
from blocklist.store.localfiles import read_limited, write_atomic
from blocklist.subscriber import settings

TOO_MANY_REQUESTS = 429
UNAVAILABLE = 503
FILE = "waits.json"
FORMAT = 1
MODE = 0o640


class SourceDown(TransportError):
    """A source did not answer as agreed.

    Attributes:
        retry_after: Seconds it asked us to wait, None when it did not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def asked_wait(status: int, header: str | None, now: datetime) -> float | None:
    """Return the seconds that an answer asks us to wait, None when it does not.

    Args:
        status: Its status; 429 without a usable header means a minute.
        header: Its `Retry-After`: seconds, or a date.
        now: The time.
    """
    if status not in (TOO_MANY_REQUESTS, UNAVAILABLE):
        return None
    seconds = _seconds((header or "").strip(), now)
    if seconds is None:
        return settings.DEFAULT_WAIT_SECONDS if status == TOO_MANY_REQUESTS else None
    return min(max(seconds, 0.0), settings.MAX_RETRY_AFTER_SECONDS)


def _seconds(text: str, now: datetime) -> float | None:
    if text.isascii() and text.isdigit():
        return float(text)
    with suppress(ValueError, OverflowError):
        moment = parsedate_to_datetime(text)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (aware - now).total_seconds()
    return None


class Waits:
    """Until when each source wants to be left alone, kept in a state directory.

    Args:
        directory: The state; its lock is held.

    Raises:
        LocalError: The file cannot be read.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._until = _read(self._path)

    def until(self, url: str, now: datetime) -> datetime | None:
        """Return until when a source is to be left alone, None when it may be asked."""
        moment = self._until.get(_digest(url))
        longest = timedelta(seconds=settings.MAX_RETRY_AFTER_SECONDS)
        if moment is None or not now < moment <= now + longest:  # beyond: the clock was set back
            return None
        return moment

    def put(self, url: str, moment: datetime, now: datetime) -> None:
        """Remember that a source wants to be left alone until a moment.

        Raises:
            LocalError: The disk refuses.
        """
        self._until = {key: until for key, until in self._until.items() if until > now}
        self._until[_digest(url)] = moment
        document = {
            "format": FORMAT,
            "sources": {key: documents.format_time(until) for key, until in self._until.items()},
        }
        data = (json.dumps(document, indent=1) + "\n").encode()
        write_atomic(self._path, data, mode=MODE)


def forget(directory: Path) -> None:
    """Forget all waits, as when sources and tokens are new."""
    with suppress(OSError):
        (directory / FILE).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, datetime]:
    data = read_limited(path, settings.MAX_STATE_FILE_BYTES)
    if data is None:
        return {}
    try:
        sources = documents.field(documents.parse(FILE, data), "sources", dict)
        return {key: documents.moment(sources, key) for key in sources}
    except MalformedFeed:
        return {}


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()
