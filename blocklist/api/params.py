"""Query parameters, strictly: known names, once each, plain numbers. And no bodies.

Preferences are the opposite: what is not understood is ignored (RFC 7240, 2).
"""

import re
from collections.abc import Mapping
from urllib.request import parse_http_list

from flask import Request

from blocklist.api.limits import MAX_PREFER_CHARS, MAX_QUERY_BYTES, MAX_WAIT_SECONDS
from blocklist.api.problems import BAD_REQUEST, BODY_NOT_ALLOWED, TOKEN_IN_QUERY, Problem
from blocklist.core.documents import MAX_INTEGER

_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")
_SECONDS = re.compile(r'([0-9]{1,9})|"([0-9]{1,9})"', re.ASCII)
_TOKEN_NAMES = frozenset({"token", "access_token", "authorization", "bearer", "api_key", "apikey"})


def check(request: Request, known: frozenset[str] | None) -> None:
    """Refuse a request whose query or body is not as documented, before anything is looked up.

    Args:
        request: The request.
        known: Parameters that it may have; None: there is no such route or method to judge by.

    Raises:
        Problem: 400 or 413.
    """
    if request.content_length or "Transfer-Encoding" in request.headers:
        raise Problem(BODY_NOT_ALLOWED, "send the request without a body")
    if len(request.query_string) > MAX_QUERY_BYTES:
        raise Problem(BAD_REQUEST, f"expected a query of at most {MAX_QUERY_BYTES} bytes")
    args = request.args
    if any(name.lower() in _TOKEN_NAMES for name in args):
        raise Problem(
            TOKEN_IN_QUERY, "send the token in the Authorization header; ask for a new one"
        )
    if known is not None and not args.keys() <= known:
        names = ", ".join(sorted(known)) or "none"
        raise Problem(BAD_REQUEST, f"expected no other parameters than: {names}")
    if any(len(values) > 1 for values in args.listvalues()):
        raise Problem(BAD_REQUEST, "expected each parameter once")


def number(args: Mapping[str, str], name: str) -> int:
    """Return a parameter from 0 to 2^53 - 1; 0 when it is not given.

    Raises:
        Problem: 400.
    """
    text = args.get(name, "0")
    value = int(text) if _NUMBER.fullmatch(text) else None
    if value is None or value > MAX_INTEGER:
        raise Problem(BAD_REQUEST, f"expected {name} as a number from 0 to 2^53 - 1")
    return value


def wait(request: Request) -> int:
    """Return how many seconds the caller is ready to wait for news, at most 55; 0: not at all.

    From `Prefer: wait=N` (RFC 7240, 4.3). The first `wait` counts; a malformed one is none.
    """
    text = request.headers.get("Prefer")
    if text is None or len(text) > MAX_PREFER_CHARS:
        return 0
    for preference in parse_http_list(text):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            match = _SECONDS.fullmatch(value.strip())
            return min(int(match[1] or match[2]), MAX_WAIT_SECONDS) if match else 0
    return 0


def versions_held(request: Request, parts: int) -> list[tuple[int, ...]]:
    """Return the versions in `If-None-Match` that are `parts` numbers joined by `-`."""
    held = [tag.split("-") for tag in request.if_none_match.as_set(include_weak=True)]
    return [
        tuple(int(number) for number in numbers)
        for numbers in held
        if len(numbers) == parts and all(_NUMBER.fullmatch(number) for number in numbers)
    ]
