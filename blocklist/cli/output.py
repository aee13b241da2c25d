"""How results are shown: exact as JSON, defanged and aligned for people."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import click

from blocklist.core.defang import defang, refang
from blocklist.core.entries import Entry

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[\w\[%@][^\s'\"`<>]*")


def emit(document: Any, *, as_json: bool, text: str = "") -> None:
    """Print a result: the document as JSON, or the text for people."""
    if as_json:
        click.echo(json.dumps(document))
    elif text:
        click.echo(text)


def warn(messages: Iterable[str]) -> None:
    """Print warnings on standard error."""
    for message in messages:
        click.echo(f"blocklist: warning: {message}", err=True)


def safe(text: str) -> str:
    """Return text of unknown origin in one line for people: URLs defanged, nothing unprintable."""
    return _printable(_URL.sub(lambda url: defang(refang(url[0])), " ".join(text.split())))


def shown_url(url: str) -> str:
    """Return a URL for people: defanged, and in one line whatever it holds."""
    return _printable(defang(refang(url)))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return an aligned table, numbers to the right; cells are made `safe`."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    right = [all(_is_number(row[i]) for row in cells[1:]) for i in range(len(header))]
    lines = []
    for row in cells:
        parts = [
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def shown(line: str) -> str:
    """Return an entry's line for people: kind and defanged expression."""
    entry = Entry.from_line(line.encode())
    return f"{entry.kind.value:<6} {defang(entry.expression)}"


def _printable(text: str) -> str:
    """Return text whose control characters and broken bytes are percent-escaped."""
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    try:
        data = char.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        data = char.encode("utf-8", "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in data)


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").isdigit() or cell == "-"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return safe(str(value))  # a reason is free text
