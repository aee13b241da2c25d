"""Exceptions: what this operator does not block although it is listed, each until a date.

    STATE/exceptions.json      0640, for the group that reads the lists

An exception is as wide as an entry written the same way (docs/spec.md, "Sources"), never wider: one
for a page spares that page, not its host. One that has ended does not count, and stays in the file
until it is removed, so that people see it. No file is no exceptions. A damaged one is an error.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from blocklist.core import documents
from blocklist.core.canonical import canonical_host, split_url
from blocklist.core.entries import Entry, Kind
from blocklist.core.errors import (
    BlocklistError,
    LocalError,
    MalformedFeed,
    UnknownFormat,
    UrlLimit,
)
from blocklist.core.hosts import bare_host
from blocklist.core.matching import host_lines, path_lines
from blocklist.core.source_lines import is_canonical_line
from blocklist.store.localfiles import read_limited
from blocklist.subscriber import settings
from blocklist.subscriber.following import FollowLock

FILE = "exceptions.json"
FORMAT = 1
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Excepted:
    """One exception.

    Attributes:
        entry: What it spares, with the meaning that the entry has in a list.
        until: When it ends.
        reason: Why, in one line.
        added: When it was made.
    """

    entry: Entry
    until: datetime
    reason: str
    added: datetime

    def to_document(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "entry": self.entry.line.decode("ascii"),
            "until": documents.format_time(self.until),
            "reason": self.reason,
            "added": documents.format_time(self.added),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Excepted":
        """Read the object.

        Raises:
            MalformedFeed: It is damaged, or no list could hold such an entry.
        """
        line = documents.field(document, "entry", str).encode("utf-8")
        if not is_canonical_line(line):
            raise MalformedFeed("expected 'entry' as a canonical line of a list")
        return cls(
            Entry.from_line(line),
            documents.moment(document, "until"),
            documents.field(document, "reason", str),
            documents.moment(document, "added"),
        )


@dataclass(frozen=True, slots=True)
class Exceptions:
    """The exceptions of a state directory at one moment.

    Attributes:
        records: All that the file holds, ended ones too, by entry.
        now: The moment.
    """

    records: tuple[Excepted, ...]
    now: datetime
    _lines: Mapping[bytes, Excepted] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lines = {one.entry.line: one for one in self.in_force}
        object.__setattr__(self, "_lines", lines)

    @classmethod
    def load(cls, state_directory: Path, now: datetime) -> "Exceptions":
        """Return the exceptions of a state directory.

        Args:
            state_directory: Whose; without a file there are none.
            now: Those that end later are in force.

        Raises:
            LocalError: The file is damaged or cannot be read.
            UnknownFormat: A newer version of this program wrote it.
        """
        path = state_directory / FILE
        data = read_limited(path, settings.MAX_EXCEPTIONS_BYTES)
        if data is None:
            return cls((), now)
        try:
            return cls(tuple(_read(data)), now)
        except MalformedFeed as error:
            raise LocalError(
                f"{path} is damaged; mend it, or remove it and add its exceptions again: {error}"
            ) from error

    def at(self, now: datetime) -> "Exceptions":
        """Return the same exceptions at another moment."""
        return Exceptions(self.records, now)

    def to_bytes(self) -> bytes:
        """Return the file."""
        records = [one.to_document() for one in self.records]
        return (json.dumps({"format": FORMAT, "exceptions": records}, indent=1) + "\n").encode()

    @property
    def in_force(self) -> tuple[Excepted, ...]:
        """Those that count."""
        return tuple(one for one in self.records if one.until > self.now)

    @property
    def ended(self) -> tuple[Excepted, ...]:
        """Those that do not count any more."""
        return tuple(one for one in self.records if one.until <= self.now)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the entries in force: another one when one is added, removed or ends."""
        return hashlib.sha256(b"".join(line + b"\n" for line in sorted(self._lines))).hexdigest()

    def covers(self, host: str, path: str, query: str | None) -> Excepted | None:
        """Return the exception that spares a canonical, split URL, the widest first."""
        return self._first(chain(host_lines(host), path_lines(host, path, query)))

    def host_exception(self, name: str) -> Excepted | None:
        """Return the exception that spares all of a canonical host."""
        return self._first(host_lines(name))

    def covers_host(self, name: str) -> bool:
        """Tell whether all of a canonical host is spared; exceptions for its pages do not count."""
        return self.host_exception(name) is not None

    def url_exception(self, url: str | bytes) -> Excepted | None:
        """Return the exception that spares a URL as a client sent it.

        One beyond a limit has only its host: exceptions for pages do not reach it.

        Raises:
            BadUrl: It cannot be understood.
        """
        try:
            return self.covers(*split_url(url))
        except UrlLimit:
            return self.host_exception(canonical_host(url))

    def names(self) -> tuple[Entry, ...]:
        """Return the entries in force that are about whole names: `host` and `domain`."""
        wide = (Kind.HOST, Kind.DOMAIN)
        return tuple(one.entry for one in self.in_force if one.entry.kind in wide)

    def _first(self, lines: Iterable[bytes]) -> Excepted | None:
        if self._lines:
            for line in lines:
                if found := self._lines.get(line):
                    return found
        return None


class FollowedExceptions:
    """The exceptions of a state directory, followed as `matcher` follows lists. Safe for threads.

    At most once a second it looks whether the file was replaced, and whether one has ended. When
    the new file cannot be read, the exceptions in force stay, until they end, with a warning.
    """

    def __init__(
        self, state_directory: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Read them for the first time.

        Raises:
            LocalError, UnknownFormat: As `Exceptions.load`.
        """
        self._directory = state_directory
        self._clock = clock
        self._lock = FollowLock()
        self._next_look = time.monotonic() + settings.FOLLOW_SECONDS
        self._seen = self._look()
        self._current = Exceptions.load(state_directory, clock())

    def current(self) -> Exceptions:
        """Return the exceptions in force."""
        if time.monotonic() >= self._next_look and self._lock.acquire(blocking=False):
            try:
                self._follow()
            finally:
                self._lock.release()
        return self._current

    def _follow(self) -> None:
        self._next_look = time.monotonic() + settings.FOLLOW_SECONDS
        seen, now = self._look(), self._clock()
        if seen == self._seen:
            if self._current.records:
                self._current = self._current.at(now)
            return
        self._seen = seen
        try:
            self._current = Exceptions.load(self._directory, now)
        except BlocklistError as error:
            self._current = self._current.at(now)
            _LOG.warning("the exceptions stay as they were: %s", error)

    def _look(self) -> tuple[int, ...] | None:
        """Return what changes when the file is replaced or its permissions are."""
        try:
            found = (self._directory / FILE).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def spared_host(exceptions: Exceptions, name: str) -> Excepted | None:
    """Return the exception that spares all of a bare name or address, as a client sent it.

    Raises:
        BadUrl: It is no bare name or address.
    """
    return exceptions.host_exception(bare_host(name)) if exceptions.records else None


def _read(data: bytes) -> Iterable[Excepted]:
    document = documents.parse(FILE, data)
    number = documents.field(document, "format", int)
    if number != FORMAT:
        raise UnknownFormat(f"expected {FILE} of format {FORMAT}, got {number}")
    seen = set()
    for item in documents.field(document, "exceptions", list):
        if not isinstance(item, dict):
            raise MalformedFeed("expected exceptions as JSON objects")
        one = Excepted.from_document(item)
        if one.entry in seen:
            raise MalformedFeed("expected an entry once, got it twice")
        seen.add(one.entry)
        yield one
