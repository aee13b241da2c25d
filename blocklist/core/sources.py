"""Source files: what analysts keep and publish, as entry lines (docs/spec.md, "Sources").

UTF-8, a byte order mark allowed; LF or CRLF. `source_lines` has the rules for a line of text,
`source_csv` those for CSV. A file that is not text, or not CSV, is refused at the first trouble.
Bad lines are reported all in one run, by number and reason: never by what stands there.
"""

import codecs
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

from blocklist.core.errors import BadSource, BadUrl
from blocklist.core.source_csv import NumberedLine, csv_rows, is_before_header, is_header
from blocklist.core.source_lines import LineReader

MAX_LINE_BYTES: Final = 16_384  # of one line without its end: twice the longest URL
BATCH_LINES: Final = 10_000  # read at a time
SHOWN_BAD_LINES: Final = 20  # in the message; the attribute has them all

Format = Literal["auto", "text", "csv"]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no entry.

    Attributes:
        number: From 1.
        code: Stable machine word, such as `port`.
        reason: For people; without the line's text.
    """

    number: int
    code: str
    reason: str


class BadLines(BadSource):
    """A source with bad lines.

    Attributes:
        bad: All of them, in order; the message shows the first `SHOWN_BAD_LINES`.
    """

    def __init__(self, bad: tuple[BadLine, ...]) -> None:
        codes = Counter(line.code for line in bad).most_common()
        counts = ", ".join(f"{code} {count}" for code, count in codes)
        shown = [f"line {line.number}: {line.reason}" for line in bad[:SHOWN_BAD_LINES]]
        if len(bad) > SHOWN_BAD_LINES:
            shown.append(f"and {len(bad) - SHOWN_BAD_LINES} more")
        heading = f"expected an entry on every line, got {len(bad)} bad ones ({counts})"
        super().__init__("\n  ".join([heading, *shown]))
        self.bad = bad


@dataclass(frozen=True, slots=True)
class Source:
    """What a source file says.

    Attributes:
        lines: The entries' lines in list bytes, without line feeds.
        reasons: Why an entry is listed, by its line, where the source says so.
        duplicates: How many entries were there before.
        dropped: How many entries lost a part: `user-info`, `fragment`, `port`.
        bad: Lines left out, because that was asked for.
        notes: What is worth telling people, without listed URLs.
    """

    lines: Set[bytes]
    reasons: Mapping[bytes, str]
    duplicates: int
    dropped: Mapping[str, int]
    bad: tuple[BadLine, ...]
    notes: tuple[str, ...]


def parse_source(
    data: bytes,
    *,
    format: Format = "auto",  # noqa: A002 - the word of the command line and the documents
    drop_ports: bool = False,
    skip_bad: bool = False,
) -> Source:
    """Return the entries of a source file; a file without any is no error here.

    Args:
        data: The file's bytes.
        format: `auto` takes a first line that is a header with `url` for CSV.
        drop_ports: Take an entry with a port for one without, which is wider.
        skip_bad: Leave bad lines out instead of refusing the file.

    Raises:
        BadSource: Not UTF-8 text, an overlong line, or broken CSV.
        BadLines: Lines that are no entries.
    """
    reader = LineReader(drop_ports=drop_ports)
    found = _Found()
    if format == "csv" or (format == "auto" and _has_header(data)):
        _read_csv(data, reader, found)
    else:
        _read_text(data, reader, found)
    if found.bad and not skip_bad:
        raise BadLines(tuple(found.bad))
    lines = dict.fromkeys(found.lines).keys()  # in the source's order, which is often sorted
    return Source(
        lines=lines,
        reasons=found.reasons,
        duplicates=len(found.lines) - len(lines),
        dropped=dict(reader.dropped),
        bad=tuple(found.bad),
        notes=tuple(_notes(reader)),
    )


class _Found:
    """What was read so far."""

    __slots__ = ("bad", "lines", "reasons")

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.reasons: dict[bytes, str] = {}
        self.bad: list[BadLine] = []

    def refuse(self, number: int, error: BadUrl) -> None:
        self.bad.append(BadLine(number, error.code, str(error)))


def _read_text(data: bytes, reader: LineReader, found: _Found) -> None:
    """Read text in batches: nearly all lines are clean, and need no look at their number."""
    first = 1
    for batch in _batches(_raw_lines(data)):
        lines = list(map(reader.clean_line, batch))
        if None in lines:
            for index, line in enumerate(lines):
                if line is None:
                    lines[index] = _unclean_line(first + index, batch[index], reader, found)
        found.lines.extend(filter(None, lines))
        first += len(batch)


def _unclean_line(number: int, raw: bytes, reader: LineReader, found: _Found) -> bytes | None:
    try:
        return reader.text_line(_text(number, raw))
    except BadUrl as error:
        found.refuse(number, error)
        return None


def _batches(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(islice(lines, BATCH_LINES)):
        yield batch


def _read_csv(data: bytes, reader: LineReader, found: _Found) -> None:
    for row in csv_rows(_numbered_lines(data)):
        try:
            url, kind, reason = row.fields()
            line = reader.entry_line(url, kind)
        except BadUrl as error:
            found.refuse(row.number, error)
            continue
        found.lines.append(line)
        if reason:
            found.reasons.setdefault(line, reason)


def _has_header(data: bytes) -> bool:
    first = next((text for _, text in _numbered_lines(data) if not is_before_header(text)), "")
    return is_header(first)


def _numbered_lines(data: bytes) -> Iterator[NumberedLine]:
    """Yield each line's number, from 1, and its text without the line end."""
    for number, raw in enumerate(_raw_lines(data), 1):
        yield number, _text(number, raw)


def _raw_lines(data: bytes) -> Iterator[bytes]:
    """Yield each line's bytes without the line end.

    Raises:
        BadSource: A file of UTF-16, a NUL byte, or an overlong line.
    """
    _check_is_text(data)
    for number, line in enumerate(io.BytesIO(data.removeprefix(codecs.BOM_UTF8)), 1):
        line = line.rstrip(b"\r\n")
        if len(line) > MAX_LINE_BYTES:
            got = f"got {len(line)} bytes in line {number}"
            raise BadSource(f"expected lines of at most {MAX_LINE_BYTES} bytes, {got}")
        yield line


def _text(number: int, line: bytes) -> str:
    """Return a line's text.

    Raises:
        BadSource: Not UTF-8.
    """
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        where = f"at byte {error.start + 1} of line {number}"
        # `from None`: the cause holds the line
        raise BadSource(f"expected UTF-8 text, got other bytes {where}") from None


def _check_is_text(data: bytes) -> None:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise BadSource("expected UTF-8 text, got a byte order mark of UTF-16 or UTF-32")
    nul = data.find(b"\0")
    if nul >= 0:
        number = data.count(b"\n", 0, nul) + 1
        raise BadSource(f"expected UTF-8 text, got a NUL byte in line {number}")


def _notes(reader: LineReader) -> Iterator[str]:
    """Yield what may not be meant as it was written."""
    if pages := reader.root_pages:
        yield f"root pages, not whole hosts (for a whole host write the bare name): {pages}"
    if stars := reader.literal_stars:
        yield f"URLs with a literal * (only /* at the end of a path stands for more): {stars}"
