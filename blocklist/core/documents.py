"""Strict reading of JSON documents: no duplicate key, no bool as int, wrong types refused.

Unknown fields are ignored (docs/spec.md, "Compatibility"), so that later versions can add some.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from blocklist.core.errors import MalformedFeed

V = TypeVar("V", str, int, list[Any], dict[str, Any])

MAX_INTEGER = 2**53 - 1
MAX_MARKS = 2**18  # of `{`, `[` and `,` in a document: what bounds the objects it becomes
_MARKS = (b"{", b"[", b",")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_TIME = "%Y-%m-%dT%H:%M:%SZ"


def parse(what: str, data: bytes, *, max_marks: int | None = MAX_MARKS) -> dict[str, Any]:
    """Return the JSON object in `data`.

    Args:
        what: Names the document in messages.
        data: Bytes from anywhere.
        max_marks: The most `{`, `[` and `,` that they may hold, those in texts included: a few
            bytes each, they become objects of a hundred. None for documents of our own that
            hold a list. The default is ten times what an update or an enrolment can need.

    Raises:
        MalformedFeed: Not UTF-8 JSON, not an object, a key twice, or too many marks.
    """
    if max_marks is not None and sum(map(data.count, _MARKS)) > max_marks:
        raise MalformedFeed(f"expected {what} of at most {max_marks} parts, got more")
    try:
        document = json.loads(data, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise MalformedFeed(f"expected {what} as JSON: {type(error).__name__}") from error
    if not isinstance(document, dict):
        raise MalformedFeed(f"expected {what} as a JSON object, got {type(document).__name__}")
    return document


def field(document: Mapping[str, Any], name: str, kind: type[V]) -> V:
    """Return a required field of exactly that type."""
    value = optional(document, name, kind)
    if value is None:
        raise MalformedFeed(f"expected a field {name!r}, it is missing")
    return value


def optional(document: Mapping[str, Any], name: str, kind: type[V]) -> V | None:
    """Return a field of exactly that type, or None when it is missing or null.

    Raises:
        MalformedFeed: Another type, an integer out of range, or text that UTF-8 cannot hold.
    """
    value = document.get(name)
    if value is None:
        return None
    if type(value) is not kind:
        raise MalformedFeed(f"expected {name!r} as {kind.__name__}, got {type(value).__name__}")
    if kind is int and not 0 <= value <= MAX_INTEGER:  # type: ignore[operator] # an int here
        raise MalformedFeed(f"expected {name!r} from 0 to 2^53 - 1")
    if kind is str and _SURROGATE.search(str(value)):
        raise MalformedFeed(f"expected {name!r} as text, got a lone surrogate")
    return value


def digest(document: Mapping[str, Any], name: str) -> str:
    """Return a required field that holds a SHA-256 in lower-case hex."""
    value = field(document, name, str)
    if not _DIGEST.fullmatch(value):
        raise MalformedFeed(f"expected {name!r} as 64 lower-case hex digits")
    return value


def moment(document: Mapping[str, Any], name: str) -> datetime:
    """Return a required field that holds a time."""
    return parse_time(field(document, name, str))


def parse_time(text: str) -> datetime:
    """Read `YYYY-MM-DDTHH:MM:SSZ`; nothing else is accepted."""
    try:
        value = datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError as error:
        raise MalformedFeed("expected a time as YYYY-MM-DDTHH:MM:SSZ") from error
    if format_time(value) != text:
        raise MalformedFeed("expected a time as YYYY-MM-DDTHH:MM:SSZ")
    return value


def format_time(value: datetime) -> str:
    """Write a time as `YYYY-MM-DDTHH:MM:SSZ`."""
    return value.astimezone(UTC).strftime(_TIME)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key stands twice")
    return document


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
