"""Outcomes of pulls: their words, which is the most serious, and the last one of each feed.

`lists/<list>/<feed>/outcome.json` tells operators how the last attempt ended; nothing that
decides what is in force is read from it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from blocklist.core import documents
from blocklist.core.errors import BlocklistError, Exit, MalformedFeed
from blocklist.store.localfiles import read_limited, write_atomic
from blocklist.subscriber import settings
from signing.errors import TrustError

FORMAT = 1
MODE = 0o640
FILE = "outcome.json"

Failure = BlocklistError | TrustError
FAILURES = (BlocklistError, TrustError)

UPDATED = "updated"
CURRENT = "current"
HELD = "held"  # the newest version was verified and is not in force, by a local hold
UNRELEASED = "unreleased"
USED = "used"  # of a source: it led to the version in force
UNREACHABLE = "unreachable"
THROTTLED = "throttled"  # of a source: it wants to be left alone for a while
_WORDS: Mapping[int, str] = MappingProxyType(
    {
        Exit.UNREACHABLE: UNREACHABLE,
        Exit.STALE: "stale",
        Exit.ROLLBACK: "rollback",
        Exit.TAMPERED: "tampered",
        Exit.MALFORMED: "malformed",
        Exit.NOT_AUTHORISED: "not-authorised",
        Exit.NEEDS_NEWER_CLIENT: "needs-newer-client",
        Exit.USAGE: "unknown-list",
    }
)
_OTHER = "local-trouble"
_MOST_SERIOUS_FIRST = (
    Exit.TAMPERED,
    Exit.ROLLBACK,
    Exit.MALFORMED,
    Exit.STALE,
    Exit.UNREACHABLE,
    Exit.NOT_AUTHORISED,
    Exit.NEEDS_NEWER_CLIENT,
)


def most_serious(failures: list[Failure]) -> Failure:
    """Return the first of the most serious failures: 13 before 12, 14... then the rest."""
    return min(failures, key=lambda failure: _rank(failure.exit_code))


def word(failure: Failure) -> str:
    """Return the word for a failure, such as `rollback`."""
    return _WORDS.get(failure.exit_code, _OTHER)


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of one source in an attempt.

    Attributes:
        source: Its place.
        word: `used`, `throttled` or a failure's word.
        exit_code: What it would mean alone.
        message: One line, empty for the one that was used.
        not_before: Until when it is left alone; None: the next pull asks it again.
    """

    source: str
    word: str
    exit_code: int = 0
    message: str = ""
    not_before: datetime | None = None

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "source": self.source,
            "outcome": self.word,
            "exit": self.exit_code,
            "message": self.message,
            "not_before": documents.format_time(self.not_before) if self.not_before else None,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Tried":
        """Read it.

        Raises:
            MalformedFeed: It is damaged.
        """
        return cls(
            documents.field(document, "source", str),
            documents.field(document, "outcome", str),
            documents.field(document, "exit", int),
            documents.field(document, "message", str),
            _optional_moment(document, "not_before"),
        )


@dataclass(frozen=True, slots=True)
class NextHashKey:
    """A hash key that is announced.

    Attributes:
        key_id: Its id.
        start: From when on it may be in use.
        held: Whether it is enrolled here.
    """

    key_id: str
    start: datetime
    held: bool

    @property
    def warning(self) -> str:
        """What to tell people; empty when the key is held."""
        if self.held:
            return ""
        moment = documents.format_time(self.start)
        return f"the hash key changes on {moment}: ask for a renewed enrolment, and `enrol` it"

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        start = documents.format_time(self.start)
        return {"id": self.key_id, "from": start, "held": self.held}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "NextHashKey":
        """Read it.

        Raises:
            MalformedFeed: It is damaged.
        """
        return cls(
            documents.digest(document, "id"),
            documents.moment(document, "from"),
            document.get("held") is True,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the last attempt to pull a feed ended.

    Attributes:
        time: When.
        word: `updated`, `current`, `unreleased` or a failure's word.
        exit_code: What it means for the command line.
        message: One line, empty on success.
        succeeded_at: When an attempt last succeeded; None: never.
        versions: Versions of the roles when it last succeeded.
        expires: Expiry of the roles when it last succeeded.
        sources: What came of the sources that were tried, in order.
        next_hash_key: The hash key that was announced when it last succeeded, if one was.
    """

    time: datetime
    word: str
    exit_code: int
    message: str = ""
    succeeded_at: datetime | None = None
    versions: Mapping[str, int] = field(default_factory=dict)
    expires: Mapping[str, datetime] = field(default_factory=dict)
    sources: tuple[Tried, ...] = ()
    next_hash_key: NextHashKey | None = None

    def to_bytes(self) -> bytes:
        """Return the document as JSON."""
        success = documents.format_time(self.succeeded_at) if self.succeeded_at else None
        document = {
            "format": FORMAT,
            "time": documents.format_time(self.time),
            "outcome": self.word,
            "exit_code": self.exit_code,
            "message": self.message,
            "succeeded_at": success,
            "versions": dict(self.versions),
            "expires": {name: documents.format_time(at) for name, at in self.expires.items()},
            "sources": [tried.to_document() for tried in self.sources],
            "next_hash_key": self.next_hash_key.to_document() if self.next_hash_key else None,
        }
        return (json.dumps(document, indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Outcome":
        """Read the document.

        Raises:
            MalformedFeed: It is damaged.
        """
        document = documents.parse(FILE, data)
        versions = documents.field(document, "versions", dict)
        expires = documents.field(document, "expires", dict)
        return cls(
            documents.moment(document, "time"),
            documents.field(document, "outcome", str),
            documents.field(document, "exit_code", int),
            documents.field(document, "message", str),
            _optional_moment(document, "succeeded_at"),
            {name: documents.field(versions, name, int) for name in versions},
            {name: documents.moment(expires, name) for name in expires},
            tuple(_tried(document)),
            _next_hash_key(document),
        )


def failed(
    failure: Failure, last: Outcome | None, now: datetime, sources: Sequence[Tried] = ()
) -> Outcome:
    """Return the outcome of a failed attempt, with what the last success knew."""
    return Outcome(
        now,
        word(failure),
        int(failure.exit_code),
        str(failure),
        last.succeeded_at if last else None,
        last.versions if last else {},
        last.expires if last else {},
        tuple(sources),
        last.next_hash_key if last else None,
    )


def read(folder: Path) -> Outcome | None:
    """Return the last outcome of a feed, None when there is none or it is damaged.

    Raises:
        LocalError: It cannot be read.
    """
    data = read_limited(folder / FILE, settings.MAX_STATE_FILE_BYTES)
    try:
        return Outcome.from_bytes(data) if data is not None else None
    except MalformedFeed:
        return None  # only information is lost; the next attempt writes it anew


def write(folder: Path, outcome: Outcome) -> None:
    """Keep the outcome.

    Raises:
        LocalError: The disk refuses.
    """
    write_atomic(folder / FILE, outcome.to_bytes(), mode=MODE)


def _rank(exit_code: int) -> int:
    order = [int(code) for code in _MOST_SERIOUS_FIRST]
    return order.index(exit_code) if exit_code in order else len(order)


def _tried(document: Mapping[str, Any]) -> Iterator[Tried]:
    for item in documents.optional(document, "sources", list) or ():  # older ones have none
        if not isinstance(item, dict):
            raise MalformedFeed("expected sources as JSON objects")
        yield Tried.from_document(item)


def _next_hash_key(document: Mapping[str, Any]) -> NextHashKey | None:
    coming = documents.optional(document, "next_hash_key", dict)  # older ones have none
    return NextHashKey.from_document(coming) if coming is not None else None


def _optional_moment(document: Mapping[str, Any], name: str) -> datetime | None:
    text = documents.optional(document, name, str)
    return documents.parse_time(text) if text is not None else None
