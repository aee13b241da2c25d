"""What is known of an export: how to make it, what is live, how the last run ended.

`STATE/exports/<name>.json`, 0640. Deleting the file ends the export; what it wrote stays.
`status` and `watch` read it. It holds no listed name.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from blocklist.core import documents
from blocklist.core.errors import InputError, LocalError, MalformedFeed, UnknownFormat
from blocklist.store.localfiles import local_errors, read_limited, write_atomic
from blocklist.subscriber import settings

FORMAT = 1
FOLDER = "exports"
MODE = 0o640
RPZ = "rpz"
LIVE, REFUSED, PENDING, FAILED = "live", "refused", "pending", "failed"

_NAME = re.compile(r"[a-z0-9-]{1,32}")


@dataclass(frozen=True, slots=True)
class Definition:
    """How an export is made; all of it as the operator gave it.

    Attributes:
        name: What it is called here.
        format: `rpz`.
        out: The file it writes, absolute.
        zone: The zone's name.
        lists: Names of lists; empty: all that are enrolled.
        policy: What is answered for blocked names.
        allow_out: File of the zone of names that pass, absolute; None for none.
        never_block: File of names that are never blocked, absolute; None for none.
        max_change: Most names that may come or go in one run; None: any number.
        check: Checker: `auto`, `none` or a command line.
        hook: Command line that makes the daemon read the file; None for none.
        probe: A listed host that the resolver is asked for; None for none.
        resolver: Who is asked.
    """

    name: str
    format: str
    out: str
    zone: str
    lists: tuple[str, ...] = ()
    policy: str = "nxdomain"
    allow_out: str | None = None
    never_block: str | None = None
    max_change: int | None = None
    check: str = "auto"
    hook: str | None = None
    probe: str | None = None
    resolver: str = "127.0.0.1"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError("expected the name of an export as 1 to 32 of a-z, 0-9 and -")
        files = [self.out, self.allow_out, self.never_block]
        if not all(Path(one).is_absolute() for one in files if one is not None):
            raise InputError("expected the files of an export as absolute paths")

    def to_document(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {**asdict(self), "lists": list(self.lists)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read the object.

        Raises:
            MalformedFeed: It is damaged.
        """
        lists = documents.field(document, "lists", list)
        if not all(isinstance(one, str) for one in lists):
            raise MalformedFeed("expected 'lists' as names")
        try:
            return cls(
                name=documents.field(document, "name", str),
                format=documents.field(document, "format", str),
                out=documents.field(document, "out", str),
                zone=documents.field(document, "zone", str),
                lists=tuple(lists),
                policy=documents.field(document, "policy", str),
                allow_out=documents.optional(document, "allow_out", str),
                never_block=documents.optional(document, "never_block", str),
                max_change=documents.optional(document, "max_change", int),
                check=documents.field(document, "check", str),
                hook=documents.optional(document, "hook", str),
                probe=documents.optional(document, "probe", str),
                resolver=documents.field(document, "resolver", str),
            )
        except InputError as error:
            raise MalformedFeed(str(error)) from error


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was put in place.

    Attributes:
        versions: Of each list in it.
        serial: Of the zone.
        time: When.
    """

    versions: Mapping[str, int]
    serial: int
    time: datetime

    def to_document(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        time = documents.format_time(self.time)
        return {"versions": dict(self.versions), "serial": self.serial, "time": time}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read the object.

        Raises:
            MalformedFeed: It is damaged.
        """
        return cls(
            _counts(document, "versions"),
            documents.field(document, "serial", int),
            documents.moment(document, "time"),
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """How much of the lists is enforced.

    Attributes:
        entries: In the lists.
        enforced: Of them, by this export.
        skipped: The others, by reason.
    """

    entries: int = 0
    enforced: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """An export as it stands.

    Attributes:
        definition: How it is made.
        written: The file in place; None before the first.
        live: The file that hook and probe, where there are any, found in force; None for none.
        counts: Of the file in place.
        pending: The hook or probe for the file in place has not succeeded yet.
        word: How the last run ended: `live`, `refused`, `pending` or `failed`.
        exit: Its exit code.
        message: In words; empty when all is well.
        time: When it ended.
    """

    definition: Definition
    written: Written | None
    live: Written | None
    counts: Counts
    pending: bool
    word: str
    exit: int
    message: str
    time: datetime

    def to_bytes(self) -> bytes:
        """Return the document as JSON."""
        document = {
            "format": FORMAT,
            "definition": self.definition.to_document(),
            "written": self.written.to_document() if self.written else None,
            "live": self.live.to_document() if self.live else None,
            "entries": self.counts.entries,
            "enforced": self.counts.enforced,
            "skipped": dict(sorted(self.counts.skipped.items())),
            "pending": self.pending,
            "outcome": self.word,
            "exit": self.exit,
            "message": self.message,
            "time": documents.format_time(self.time),
        }
        return (json.dumps(document, indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read the document.

        Raises:
            MalformedFeed: It is damaged.
            UnknownFormat: A newer version of this program wrote it.
        """
        document = documents.parse("an export's record", data)
        number = documents.field(document, "format", int)
        if number != FORMAT:
            raise UnknownFormat(f"expected the record of an export of format {FORMAT}")
        written = documents.optional(document, "written", dict)
        live = documents.optional(document, "live", dict)
        pending = document.get("pending")
        if not isinstance(pending, bool):
            raise MalformedFeed("expected 'pending' as true or false")
        return cls(
            Definition.from_document(documents.field(document, "definition", dict)),
            Written.from_document(written) if written is not None else None,
            Written.from_document(live) if live is not None else None,
            Counts(
                documents.field(document, "entries", int),
                documents.field(document, "enforced", int),
                _counts(document, "skipped"),
            ),
            pending,
            documents.field(document, "outcome", str),
            documents.field(document, "exit", int),
            documents.field(document, "message", str),
            documents.moment(document, "time"),
        )


def path_of(state: Path, name: str) -> Path:
    """Return where the record of an export is."""
    return state / FOLDER / f"{name}.json"


def read(state: Path, name: str) -> Record | None:
    """Return what is known of an export, None for nothing.

    Raises:
        LocalError: The record is damaged or cannot be read.
        UnknownFormat: A newer version of this program wrote it.
    """
    path = path_of(state, name)
    data = read_limited(path, settings.MAX_STATE_FILE_BYTES)
    try:
        return Record.from_bytes(data) if data is not None else None
    except MalformedFeed as error:
        raise LocalError(f"{path} is damaged, delete it and export again: {error}") from error


def write(state: Path, record: Record) -> None:
    """Keep a record; its folder is there.

    Raises:
        LocalError: The disk refuses; the old one stays.
    """
    write_atomic(path_of(state, record.definition.name), record.to_bytes(), mode=MODE)


def names(state: Path) -> Iterator[str]:
    """Yield the names of all exports.

    Raises:
        LocalError: The folder cannot be read.
    """
    with local_errors(f"read {state / FOLDER}"), suppress(FileNotFoundError):
        for path in sorted((state / FOLDER).glob("*.json")):
            if _NAME.fullmatch(path.stem):
                yield path.stem


def _counts(document: Mapping[str, Any], name: str) -> dict[str, int]:
    found = documents.field(document, name, dict)
    return {key: documents.field(found, key, int) for key in found}
