"""Where requests may go: the shape of a source's URL, its origin, its redirects.

Credentials belong to one origin (scheme, host and port). A redirect to another one is refused, so
that they cannot follow it: who moves a source hands out its new address. The one exception is
from http to https on the default ports of the same host, which only protects them better.
Messages name host and port, never a path, query or credential.
"""

from urllib.parse import urljoin, urlsplit

from blocklist.core.errors import InputError
from blocklist.subscriber.throttle import SourceDown

HTTPS = "https"
_SCHEMES = ("http", HTTPS)
_PORTS = {"http": 80, HTTPS: 443}
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def checked(url: str) -> str:
    """Return the URL if it is one to fetch from.

    Raises:
        InputError: It is not; the message does not repeat it.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        raise InputError("expected a source as http(s)://HOST[:PORT][/base], got another shape")
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError(
            "expected a source without user, query and fragment: credentials stand beside it"
        )
    return url


def place(url: str) -> str:
    """Return `HOST:PORT`, for messages."""
    _, host, port = _origin(url)
    return f"[{host}]:{port}" if host and ":" in host else f"{host}:{port}"


def travels_openly(url: str) -> bool:
    """Tell whether requests to it cross a network unencrypted."""
    parts = urlsplit(url)
    return parts.scheme != HTTPS and parts.hostname not in _LOOPBACK


def redirected(url: str, location: str) -> str:
    """Return where a redirect from `url` leads (RFC 9110, 10.2.2).

    Raises:
        SourceDown: To no URL, to another host, or to one without encryption.
    """
    here = place(url)
    try:
        target = urljoin(url, location)
        old, new = _origin(url), _origin(target)
    except ValueError:
        raise SourceDown(f"{here} redirects to no URL") from None
    if new[0] not in _SCHEMES or (old[0] == HTTPS and new[0] != HTTPS):
        raise SourceDown(f"{here} redirects away from {old[0]}: refused")
    upgraded = (HTTPS, old[1], _PORTS[HTTPS])
    if new != old and not (new == upgraded and old[2] == _PORTS["http"]):
        raise SourceDown(f"{here} redirects to another host: refused, enrol that address")
    return target


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme, 0)
