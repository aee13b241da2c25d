"""What signed metadata says of one feed of one version of a list (docs/spec.md, "Metadata").

The facts stand in `custom` of the `list` target; the objects that lead to the list are the other
targets of the role: `snapshot` and `delta-<from>`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from blocklist.core import documents
from blocklist.core.entries import Feed
from blocklist.core.errors import InputError, MalformedFeed, UnknownFormat

CANONICAL = 1  # version of the canonicalisation rules
LIST = "list"
SNAPSHOT = "snapshot"
_DELTA = re.compile(r"delta-([1-9][0-9]{0,15})")


class TargetLike(Protocol):
    """A target as a role file has it: of a verified role, or only claimed by a hint.

    Nothing is known of the values but what TUF checks of them, which is not their type.
    """

    @property
    def length(self) -> int:
        """Bytes."""

    @property
    def sha256(self) -> str:
        """Lower-case hex."""

    @property
    def custom(self) -> Mapping[str, Any] | None:
        """Signed facts."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored object by its content.

    Attributes:
        name: Name under `<list>/<feed>/`, such as `delta-7`.
        length: Bytes.
        sha256: Hex digest.
    """

    name: str
    length: int
    sha256: str

    @property
    def file(self) -> str:
        """The last segment of its object key: `<sha256>.<name>`."""
        return f"{self.sha256}.{self.name}"


@dataclass(frozen=True, slots=True)
class Facts:
    """The signed facts of a version.

    Attributes:
        entries: Number of entries, the test entry included.
        created: When the publisher made it.
        record: Digest of the private record of this release.
        prev: Version and role digest of the previous release; None on the first.
        hash_key_id: Id of the hash key; on the hashed feed only.
        canonical: Version of the canonicalisation rules.
        next_hash_key: Id of the hash key that will follow, and from when on; on the hashed feed
            only, while a change is announced.
    """

    entries: int
    created: datetime
    record: str
    prev: tuple[int, str] | None
    hash_key_id: str | None
    canonical: int = CANONICAL
    next_hash_key: tuple[str, datetime] | None = None

    def to_custom(self) -> dict[str, Any]:
        """Return the facts as `custom`: ASCII keys, no floats."""
        custom: dict[str, Any] = {
            "canonical": self.canonical,
            "created": documents.format_time(self.created),
            "entries": self.entries,
            "record": self.record,
        }
        if self.prev is not None:
            custom["prev"] = {"version": self.prev[0], "sha256": self.prev[1]}
        if self.hash_key_id is not None:
            custom["hash_key_id"] = self.hash_key_id
        if self.next_hash_key is not None:
            key_id, start = self.next_hash_key
            custom["next_hash_key"] = {"id": key_id, "from": documents.format_time(start)}
        return custom

    @classmethod
    def from_custom(cls, custom: Mapping[str, Any]) -> "Facts":
        """Read the facts.

        Raises:
            MalformedFeed: A field is missing or of another shape.
            UnknownFormat: Canonicalisation rules this version does not know.
        """
        canonical = documents.field(custom, "canonical", int)
        if canonical != CANONICAL:
            raise UnknownFormat(f"expected canonicalisation rules {CANONICAL}, got {canonical}")
        prev = documents.optional(custom, "prev", dict)
        key_id = documents.optional(custom, "hash_key_id", str)
        coming = documents.optional(custom, "next_hash_key", dict)
        return cls(
            entries=documents.field(custom, "entries", int),
            created=documents.moment(custom, "created"),
            record=documents.digest(custom, "record"),
            prev=_prev(prev) if prev is not None else None,
            hash_key_id=documents.digest(custom, "hash_key_id") if key_id is not None else None,
            canonical=canonical,
            next_hash_key=_next_hash_key(coming) if coming is not None else None,
        )


@dataclass(frozen=True, slots=True)
class FeedRelease:
    """One feed of one verified version.

    Attributes:
        list, feed, version: What it is.
        content: The list bytes that decide; stored as an object only while small enough.
        facts: The signed facts.
        snapshot: Newest stored snapshot and the version it is of, if any.
        deltas: Stored deltas that end at this version, by the version they start from.
    """

    list: str
    feed: Feed
    version: int
    content: Blob
    facts: Facts
    snapshot: tuple[int, Blob] | None
    deltas: Mapping[int, Blob]


def read_release(
    list_name: str, feed: Feed, version: int, targets: Mapping[str, TargetLike]
) -> FeedRelease:
    """Read one feed out of a list role, a verified one or a hint.

    Raises:
        MalformedFeed: The `list` target or a fact is missing, or what is read has another shape.
        UnknownFormat: Made for a newer client.
    """
    prefix = f"{list_name}/{feed}/"
    mine = {path.removeprefix(prefix): t for path, t in targets.items() if path.startswith(prefix)}
    if LIST not in mine:
        raise MalformedFeed(f"expected a target {prefix}{LIST}, it is missing")
    content = _blob(LIST, mine[LIST])
    facts = Facts.from_custom(_custom(mine[LIST]))
    if (facts.hash_key_id is None) == (feed is Feed.HASHED):
        raise MalformedFeed("expected a hash_key_id on the hashed feed and only there")
    deltas = {
        number: _blob(name, target)
        for name, target in mine.items()
        if (number := parse_delta_name(name)) is not None and number < version
    }
    snapshot = _snapshot(mine[SNAPSHOT], version) if SNAPSHOT in mine else None
    return FeedRelease(list_name, feed, version, content, facts, snapshot, deltas)


def delta_name(start: int) -> str:
    """Return the name of the delta that starts from version `start`, 1 or more."""
    if not 0 < start <= documents.MAX_INTEGER:
        raise InputError(f"expected a version from 1 to 2^53 - 1, got {start}")
    return f"delta-{start}"


def parse_delta_name(name: str) -> int | None:
    """Return the version a delta starts from; None for what `delta_name` never gives."""
    match = _DELTA.fullmatch(name)
    start = int(match[1]) if match else 0
    return start if 0 < start <= documents.MAX_INTEGER else None


def _blob(name: str, target: TargetLike) -> Blob:
    """Return what a target says; the digest becomes part of a path, the length a limit."""
    said = {"length": target.length, "sha256": target.sha256}
    length, sha256 = documents.field(said, "length", int), documents.digest(said, "sha256")
    return Blob(name, length, sha256)


def _custom(target: TargetLike) -> Mapping[str, Any]:
    return documents.optional({"custom": target.custom}, "custom", dict) or {}


def _snapshot(target: TargetLike, version: int) -> tuple[int, Blob]:
    of = documents.field(_custom(target), "version", int)
    if not 1 <= of <= version:
        raise MalformedFeed(f"expected a snapshot of version 1 to {version}, got {of}")
    return of, _blob(SNAPSHOT, target)


def _next_hash_key(document: Mapping[str, Any]) -> tuple[str, datetime]:
    return documents.digest(document, "id"), documents.moment(document, "from")


def _prev(document: Mapping[str, Any]) -> tuple[int, str]:
    return documents.field(document, "version", int), documents.digest(document, "sha256")
