"""Records: the private account of each release, named by a digest in its signed metadata.

A record says what was added and removed and why, from which source, by whom, and which guards were
overridden. Who approved the release and who made it live is only known after the record is sealed:
that stands in the record of the next release (`previous`). A record is gzip-compressed JSON at
`private/records/<list>/<sha256>.json.gz`; the digest is that of the stored bytes. The chain of
`prev` in signed metadata leads from record to record.
"""

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from blocklist.core import documents
from blocklist.core.errors import MalformedFeed, UnknownFormat
from blocklist.publisher.accounts import Account
from blocklist.store import layout
from blocklist.store.port import Store

FORMAT = 1
_OVERRIDE = ("guard", "finding", "reason")
MAX_RECORD_BYTES = 4 << 30  # decompressed: ten million entries of 400 bytes


@dataclass(frozen=True, slots=True)
class Record:
    """What happened in one release.

    Attributes:
        list: The list.
        created: When.
        who: Account and machine that ran the command.
        reason: Why, if a reason was given.
        added, removed: Lines of list bytes, sorted; the test entry included.
        entries: Entries after it.
        base: Version and role digest it was made on; None for the first.
        source: Facts about the source files: digests, sizes, counts of what was left out.
        overrides: Guards that were overridden, with the reason.
        reasons: Reasons by line, where the source had a reason column.
        digests: Digest of the list bytes, by feed.
        operation: What was asked for: `publish`, `withdraw`, `rollback`, `announce-hash-key` or
            `rotate-hash-key`.
        delegation: Version and digest of the targets role whose keys were to sign it.
        previous: The account of the release that it was made on; None when there is none, or
            its account was lost.
    """

    list: str
    created: datetime
    who: str
    reason: str | None
    added: tuple[str, ...]
    removed: tuple[str, ...]
    entries: int
    base: tuple[int, str] | None
    source: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[Mapping[str, str], ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    operation: str = "publish"
    delegation: tuple[int, str] | None = None
    previous: Account | None = None

    def to_bytes(self) -> bytes:
        """Return the compressed document."""
        return gzip.compress(self.to_json(), 6, mtime=0)

    def to_json(self) -> bytes:
        """Return the document as it is compressed."""
        document = {
            "format": FORMAT,
            "list": self.list,
            "created": documents.format_time(self.created),
            "who": self.who,
            "reason": self.reason,
            "entries": self.entries,
            "operation": self.operation,
            "base": _to_reference(self.base),
            "delegation": _to_reference(self.delegation),
            "previous": self.previous.to_document() if self.previous else None,
            "source": dict(self.source),
            "overrides": [dict(item) for item in self.overrides],
            "digests": dict(self.digests),
            "added": self.added,
            "removed": self.removed,
            "reasons": dict(self.reasons),
        }
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Record":
        """Read a record.

        Raises:
            MalformedFeed, UnknownFormat: It is damaged or from a newer version.
        """
        document = documents.parse("a record", unpacked(data), max_marks=None)
        version = documents.field(document, "format", int)
        if version != FORMAT:
            raise UnknownFormat(f"expected a record of format {FORMAT}, got {version}")
        previous = documents.optional(document, "previous", dict)
        return cls(
            list=documents.field(document, "list", str),
            created=documents.moment(document, "created"),
            who=documents.field(document, "who", str),
            reason=documents.optional(document, "reason", str),
            added=_lines(document, "added"),
            removed=_lines(document, "removed"),
            entries=documents.field(document, "entries", int),
            base=_reference(document, "base"),
            source=_source(document),
            overrides=_overrides(document),
            reasons=_texts(document, "reasons"),
            digests=_texts(document, "digests"),
            operation=documents.field(document, "operation", str),
            delegation=_reference(document, "delegation"),
            previous=Account.from_document(previous) if previous is not None else None,
        )


def digest(data: bytes) -> str:
    """Return the digest that names a stored record."""
    return hashlib.sha256(data).hexdigest()


def read(store: Store, list_name: str, record_digest: str) -> Record:
    """Read a record and verify it against the digest that signed metadata names.

    Raises:
        MalformedFeed: It is missing or altered.
    """
    found = store.get(layout.record_key(list_name, record_digest))
    return verified(list_name, record_digest, found.data if found is not None else None)


def verified(list_name: str, record_digest: str, data: bytes | None) -> Record:
    """Return the record that these bytes are, verified against the digest in signed metadata.

    Raises:
        MalformedFeed: They are missing or altered.
    """
    return Record.from_bytes(unaltered(list_name, record_digest, data))


def unaltered(list_name: str, record_digest: str, data: bytes | None) -> bytes:
    """Return the bytes of a record if they are those that signed metadata names.

    Raises:
        MalformedFeed: They are missing or altered.
    """
    if data is None:
        raise MalformedFeed(f"expected record {record_digest[:16]}.. of {list_name}, it is missing")
    if digest(data) != record_digest:
        raise MalformedFeed(f"record {record_digest[:16]}.. of {list_name} was altered")
    return data


def _lines(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    items = documents.field(document, name, list)
    if not set(map(type, items)) <= {str} or not all(map(str.isascii, items)):
        raise MalformedFeed(f"expected {name!r} as lines of list bytes")
    return tuple(items)


def _texts(document: Mapping[str, Any], name: str) -> Mapping[str, str]:
    texts = documents.field(document, name, dict)
    return {key: documents.field(texts, key, str) for key in texts}


def _source(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the facts about source files; what is counted with later has to be numbers."""
    source = documents.field(document, "source", dict)
    documents.optional(source, "version", int)
    for file in documents.optional(source, "files", list) or ():
        if not isinstance(file, dict):
            raise MalformedFeed("expected 'files' as JSON objects")
        for name in ("entries", "duplicates"):
            documents.field(file, name, int)
        for name in ("dropped", "skipped"):
            counts = documents.field(file, name, dict)
            for code in counts:
                documents.field(counts, code, int)
    return source


def _overrides(document: Mapping[str, Any]) -> tuple[Mapping[str, str], ...]:
    items = documents.field(document, "overrides", list)
    for item in items:
        if not isinstance(item, dict):
            raise MalformedFeed("expected 'overrides' as JSON objects")
        for name in _OVERRIDE:
            documents.field(item, name, str)
        if len(item) != len(_OVERRIDE):
            raise MalformedFeed(f"expected overrides with {', '.join(_OVERRIDE)}")
    return tuple(items)


def _to_reference(role: tuple[int, str] | None) -> dict[str, Any] | None:
    return {"version": role[0], "sha256": role[1]} if role is not None else None


def _reference(document: Mapping[str, Any], name: str) -> tuple[int, str] | None:
    """Return version and digest of a role file that a field names."""
    role = documents.optional(document, name, dict)
    if role is None:
        return None
    return documents.field(role, "version", int), documents.digest(role, "sha256")


def unpacked(data: bytes) -> bytes:
    """Return the document that a record's bytes are compressed from.

    Raises:
        MalformedFeed: They are not compressed, or become too large.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            text = file.read(MAX_RECORD_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise MalformedFeed("expected a gzip-compressed record") from error
    if len(text) > MAX_RECORD_BYTES:
        raise MalformedFeed(f"expected a record of at most {MAX_RECORD_BYTES} bytes")
    return text
