"""The canonical form of a URL, fast (rules in `canonical_rules.py`, which this agrees with).

Nearly all URLs in lists and traffic have a plain DNS name or dotted quad, and a path that needs
no change: one regular expression proves it and splits them. With a plain host but escapes or
dot segments after it, only path and query go through the rules; all the rest goes there whole.
"""

import re
import sys

from blocklist.core import canonical_rules as rules
from blocklist.core.canonical_rules import MAX_HOST_BYTES, MAX_URL_BYTES, Parts

__all__ = [
    "Parts",
    "canonical_host",
    "canonical_rest",
    "canonical_url",
    "expression",
    "plain_host",
    "split_url",
]

# The last label of a name must not begin with a digit: nothing then spells an IPv4 address.
# Possessive quantifiers on characters keep the time linear, on groups they save a third of it.
# Ports of five digits are left to the rules.
POSSESSIVE = "+" if sys.version_info >= (3, 11, 5) else ""  # older: such groups match wrongly
_LABELS = rf"(?:[a-z0-9_-]++\.)*{POSSESSIVE}[a-z_-][a-z0-9_-]*+"
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_AUTHORITY = (
    rf"(?:https?://)?({_LABELS}|{_BYTE}\.{_BYTE}\.{_BYTE}\.{_BYTE})(?::[0-9]{{1,4}})?{POSSESSIVE}"
)
# Printable ASCII without `#` (and `?` in the path): whoever matches still has to look for `%`.
_PLAIN_URL = re.compile(
    rf'{_AUTHORITY}(/[!"$->@-~]*+)?{POSSESSIVE}(?:\?([!"$-~]*+))?{POSSESSIVE}'
).fullmatch
# What an escape stands for in canonical form, by its digits; `%25` is not among them.
_ESCAPES = {
    high + low: rules.escaped(bytes.fromhex(high + low))
    for high in "0123456789ABCDEFabcdef"
    for low in "0123456789ABCDEFabcdef"
    if high + low != "25"
}
_PLAIN_AUTHORITY = re.compile(_AUTHORITY).fullmatch
_PLAIN_HOST = re.compile(_AUTHORITY + r"(?:[/?#]|\Z)").match


def split_url(url: str | bytes) -> Parts:
    """Return host, path and query of a URL in canonical form, all ASCII.

    Args:
        url: As found; `canonical_rules` says what is accepted.

    Returns:
        The host (`[..]` around IPv6), the path from its first `/`, and the query: None without
        a `?`, empty when a lone `?` ends the URL.

    Raises:
        BadUrl: A URL without a meaning; `code` is a key of `canonical_rules.REASONS`.
        UrlLimit: The host is good, but path or query are beyond a limit.
    """
    # As Latin-1, bytes beyond ASCII are characters that the expression does not match.
    text = url if isinstance(url, str) else url.decode("latin-1")
    match = _PLAIN_URL(text)
    if match is None or (len(text) > MAX_HOST_BYTES and _beyond_a_limit(text, match[1])):
        return rules.split_url_by_rules(url)
    host, path, query = match.groups()
    if path is None:
        path = "/"
    if "//" in path or "/." in path or "%" in text:
        return (host, *canonical_rest(path if query is None else f"{path}?{query}"))
    return host, path, query


def canonical_url(url: str | bytes) -> str:
    """Return `http://host/path`, with `?query` when the URL has a `?`.

    Raises:
        BadUrl: As `split_url`.
        UrlLimit: As `split_url`.
    """
    host, path, query = split_url(url)
    return f"http://{host}{path}" if query is None else f"http://{host}{path}?{query}"


def canonical_host(url: str | bytes) -> str:
    """Return the canonical host of a URL of any length, whatever its path and query are.

    Where `split_url` gives parts, this is the first of them; where it raises UrlLimit, this
    still answers.

    Raises:
        BadUrl: The host, or what stands before it, has no meaning or is beyond a limit.
    """
    if url.isascii():
        text = url if isinstance(url, str) else url.decode("ascii")
        match = _PLAIN_HOST(text)
        if match is not None and len(match[1]) <= MAX_HOST_BYTES:
            return match[1]
    return rules.canonical_host_by_rules(url)


def plain_host(authority: str) -> str | None:
    """Return the host of what a URL may have before its path, None when it is not plain.

    A plain one is `http://`, `https://` or nothing, a host in canonical form, and perhaps a port.
    Whatever follows it from a slash on, if it is ASCII, is a URL with this host.
    """
    match = _PLAIN_AUTHORITY(authority)
    return match[1] if match is not None and len(match[1]) <= MAX_HOST_BYTES else None


def expression(parts: Parts) -> str:
    """Return `host/path`, with `?query` unless the query is absent or empty."""
    host, path, query = parts
    return f"{host}{path}?{query}" if query else host + path


def canonical_rest(rest: str) -> tuple[str, str | None]:
    """Return canonical path and query of printable ASCII that follows a plain host.

    Args:
        rest: From the path's first `/` on, without a fragment.

    Raises:
        UrlLimit: Escapes are nested too deep.
    """
    try:
        first, *escapes = rest.split("%")
        text = first + "".join([_ESCAPES[after[:2]] + after[2:] for after in escapes])
    except KeyError:  # `%25` could begin another escape, a broken one stays as it is
        text = ""
    if not text or "//" in text or "/." in text:
        return rules.path_and_query(rules.unescaped(rest.encode("ascii")))
    path, mark, query = text.partition("?")
    return path, query if mark else None


def _beyond_a_limit(text: str, host: str) -> bool:
    """Tell whether a plain URL of more than 253 characters is left to the rules."""
    return len(text) > MAX_URL_BYTES or len(host) > MAX_HOST_BYTES
