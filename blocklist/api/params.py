"""Query parameters, strictly: known names, once each, plain numbers. And no bodies."""

import re
from collections.abc import Mapping

from flask import Request

from blocklist.api.limits import MAX_QUERY_BYTES
from blocklist.api.problems import BAD_REQUEST, BODY_NOT_ALLOWED, TOKEN_IN_QUERY, Problem
from blocklist.core.documents import MAX_INTEGER

_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")
_TOKEN_NAMES = frozenset({"token", "access_token", "authorization", "bearer", "api_key", "apikey"})


def check(request: Request, known: frozenset[str]) -> None:
    """Refuse a request whose query or body is not as documented, before anything is looked up.

    Raises:
        Problem: 400 or 413.
    """
    if request.content_length or "Transfer-Encoding" in request.headers:
        raise Problem(BODY_NOT_ALLOWED, "send the request without a body")
    if len(request.query_string) > MAX_QUERY_BYTES:
        raise Problem(BAD_REQUEST, f"expected a query of at most {MAX_QUERY_BYTES} bytes")
    if any(name.lower() in _TOKEN_NAMES for name in request.args):
        raise Problem(TOKEN_IN_QUERY, "send the token in the Authorization header; renew this one")
    if set(request.args) - known:
        names = ", ".join(sorted(known)) or "none"
        raise Problem(BAD_REQUEST, f"expected no other parameters than: {names}")
    if any(len(values) > 1 for _, values in request.args.lists()):
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
