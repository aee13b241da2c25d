"""The value of BLOCKLIST_REDIS.

    redis://[user:password@]host[:port][/db]         rediss:// the same over TLS
    unix://[user:password@]/path[?db=N]

`?ssl_ca_certs=FILE` names what to trust over TLS. Other parameters of redis-py are refused: they
could turn off verification or timeouts. What is special in a URL is percent-escaped.
"""

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

from blocklist.core.errors import InputError

_EXPECTED = "expected Redis as redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH"
_PARAMETERS = {
    "redis": frozenset({"db"}),
    "rediss": frozenset({"db", "ssl_ca_certs"}),
    "unix": frozenset({"db"}),
}
_DATABASE = re.compile(r"[0-9]{1,5}")
_PRINTABLE = re.compile(r"[!-~]+")


def validate_redis_url(url: str) -> None:
    """Refuse a URL of another shape.

    Raises:
        InputError: The message never repeats the URL: it may hold a password.
    """
    if not _PRINTABLE.fullmatch(url):
        raise InputError(f"{_EXPECTED}, in printable ASCII")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InputError(f"{_EXPECTED}; escape special characters of a password") from None
    known = _PARAMETERS.get(parts.scheme)
    if known is None or not url.startswith(f"{parts.scheme}://"):
        raise InputError(f"{_EXPECTED}, got another scheme")
    if parts.fragment or port == 0:
        raise InputError(f"{_EXPECTED}; escape special characters of a password")
    _validate_place(parts)
    _validate_parameters(parts, known)


def _validate_place(parts: SplitResult) -> None:
    if parts.scheme == "unix":
        if parts.hostname or len(parts.path) < 2:
            raise InputError(f"{_EXPECTED}, got no path of a socket")
        return
    if not parts.hostname:
        raise InputError(f"{_EXPECTED}, got no host")
    if parts.path not in {"", "/"} and not _DATABASE.fullmatch(parts.path[1:]):
        raise InputError(f"{_EXPECTED}, got a database that is no number")


def _validate_parameters(parts: SplitResult, known: frozenset[str]) -> None:
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    if set(names) - known or len(names) != len(set(names)):
        raise InputError(f"{_EXPECTED}, with no other parameters than {', '.join(sorted(known))}")
    if any(not value or (name == "db" and not _DATABASE.fullmatch(value)) for name, value in pairs):
        raise InputError(f"{_EXPECTED}, got a parameter without a usable value")
