"""CSV sources: a header row with `url`, perhaps `kind` and `reason`, then a row an entry.

RFC 4180 with commas, as Python's `csv` reads it; LF or CRLF. Blank lines, and lines that begin
with `#` before the header, are skipped. An empty kind is taken from the entry's shape, as in
text. With a kind, `url` holds the bare name (`host`, `domain`) or the path itself (`prefix`).
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from blocklist.core.entries import Kind
from blocklist.core.errors import BadSource, BadUrl

COLUMNS: Final = ("url", "kind", "reason")
MAX_REASON_CHARS: Final = 1024

_NO_URL = "expected a CSV header with the column url, got one without"
_HEADER_CELL = re.compile(r"[A-Za-z][A-Za-z0-9 _-]*")
_OTHER_DELIMITER = re.compile(r"[;\t|]")
# Control characters, line and paragraph separators, and what turns the direction of text.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

NumberedLine = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands.

    Attributes:
        number: Of the line on which the row begins, from 1.
        cells: By column; None when there are more or fewer cells than columns.
    """

    number: int
    cells: dict[str, str] | None

    def fields(self) -> tuple[str, Kind | None, str]:
        """Return entry, kind and reason.

        Raises:
            BadUrl: A row that cannot be an entry.
        """
        if self.cells is None:
            raise BadUrl("columns", "expected as many cells as columns, got more or fewer")
        url, reason = self.cells["url"].strip(), self.cells.get("reason", "").strip()
        if not url:
            raise BadUrl("empty-url", "expected an entry in the url column, got none")
        if "\n" in url or "\r" in url:
            raise BadUrl("line-end", "expected one entry in the url column, got a line end in it")
        if len(reason) > MAX_REASON_CHARS:
            raise BadUrl("reason", f"expected a reason of at most {MAX_REASON_CHARS} characters")
        if _UNPRINTABLE.search(reason):
            raise BadUrl("reason", "expected a reason without control characters")
        return url, _kind(self.cells.get("kind", "")), reason


def is_header(line: str) -> bool:
    """Tell whether the first line of a source begins a CSV file.

    Raises:
        BadSource: It would, with commas, or with `url`.
    """
    words = _words(line.split(","))
    if _is_header(words):
        return True
    if _is_header(_words(_OTHER_DELIMITER.split(line))):
        raise BadSource("expected commas between CSV columns, got another delimiter")
    if len(words) > 1 and _are_names(words):  # read as text, rows would be URLs with commas
        raise BadSource(_NO_URL)
    return False


def is_before_header(line: str) -> bool:
    """Tell whether a line is blank or a comment."""
    return not line.strip() or line.lstrip().startswith("#")


def csv_rows(lines: Iterable[NumberedLine]) -> Iterator[Row]:
    """Yield the rows after the header.

    Args:
        lines: With their numbers from 1, without line ends.

    Raises:
        BadSource: Not CSV, or a header with a wrong, repeated or missing column.
    """
    remaining = iter(lines)
    header = next((line for line in remaining if not is_before_header(line[1])), None)
    if header is None:
        return
    columns = _columns(next(_records([header]))[1])
    for number, cells in _records(remaining, after=header[0]):
        if cells:
            fits = len(cells) == len(columns)
            yield Row(number, dict(zip(columns, cells, strict=True)) if fits else None)


def _words(cells: list[str]) -> list[str]:
    return [cell.strip().strip('"') for cell in cells]


def _is_header(words: list[str]) -> bool:
    return "url" in map(str.lower, words) and _are_names(words)


def _are_names(words: list[str]) -> bool:
    return all(map(_HEADER_CELL.fullmatch, words))


def _columns(header: list[str]) -> list[str]:
    columns = [cell.strip().lower() for cell in header]
    if "url" not in columns:
        raise BadSource(_NO_URL)
    known = set(columns) & set(COLUMNS)
    if len(known) < len(columns):
        raise BadSource(f"expected CSV columns {', '.join(COLUMNS)}, each at most once, got others")
    return columns


def _records(lines: Iterable[NumberedLine], after: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each record, with the number of the line on which it begins."""
    reader = csv.reader((f"{text}\n" for _, text in lines), strict=True)
    while True:
        number = after + reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error:
            # `from None`: the cause could quote the source
            raise BadSource(
                f"expected CSV, got an unclosed or misplaced quote, a lone CR or an endless cell "
                f"in the row at line {number}"
            ) from None
        if cells is None:
            return
        yield number, cells


def _kind(word: str) -> Kind | None:
    word = word.strip().lower()
    if not word:
        return None
    try:
        return Kind(word)
    except ValueError:
        raise BadUrl("kind", f"expected the kind {', '.join(Kind)} or nothing") from None
