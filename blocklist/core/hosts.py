"""Bare hosts, a host's parents, and the parts of a URL that matching ignores."""

import re
from collections.abc import Iterator

from blocklist.core.addresses import ipv6_host, is_address
from blocklist.core.canonical import split_url
from blocklist.core.canonical_rules import unescaped
from blocklist.core.errors import BadUrl

USER_INFO, PORT, FRAGMENT = "user-info", "port", "fragment"

# Finds the authority where `canonical_rules` does, in any URL that it accepts.
_AUTHORITY = re.compile(rb"(?:[A-Za-z][A-Za-z0-9+.-]*://)?([^/?]*)")
_NOT_IN_BARE = re.compile(r"[\s/?#@\\]")


def parents(host: str) -> Iterator[str]:
    """Yield the names whose `domain` entry covers a canonical host.

    These are the host and each parent of two or more labels, nearest first; none for an address.
    """
    if is_address(host):
        return
    yield host
    while (host := host.partition(".")[2]) and "." in host:
        yield host


def bare_host(text: str) -> str:
    """Return the canonical host that a bare name or address is; IPv6 also without its brackets.

    Raises:
        BadUrl: Anything else, such as a URL or a name with a port.
    """
    host, ignored = bare_host_and_port(text)
    if ignored:
        raise BadUrl(PORT, "expected a bare host name or address, got one with a port")
    return host


def bare_host_and_port(text: str) -> tuple[str, list[str]]:
    """Return as `bare_host`, but allow a port: the list then holds `PORT`, else nothing.

    Raises:
        BadUrl: Neither a bare host nor one with a port.
    """
    name = text.strip()
    if ipv6_host(name) is not None:
        name = f"[{name}]"
    # Raw first: white space would be escaped, or end an address (`1.2.3.4 name`).
    if not _NOT_IN_BARE.search(name):
        host, _, query = split_url(name)
        ignored = ignored_parts(name)
        if query is None and b"/" not in _unescaped(name) and USER_INFO not in ignored:
            return host, ignored
    raise BadUrl("not-bare", "expected a bare host name or address, got more than that")


def ignored_parts(url: str) -> list[str]:
    """Return which of `USER_INFO`, `PORT` and `FRAGMENT` a URL has.

    They are looked for where canonicalisation drops them, after undoing escapes.

    Args:
        url: One that `split_url` accepts. An empty port is none.
    """
    match = _AUTHORITY.match(_unescaped(url))
    _, at, host = (match[1] if match else b"").rpartition(b"@")
    port = host.rpartition(b"]")[2].partition(b":")[2]
    present = {USER_INFO: at, PORT: port, FRAGMENT: "#" in url}
    return [name for name, found in present.items() if found]


def _unescaped(url: str) -> bytes:
    """Return what canonicalisation splits: tidied, without fragment, escapes undone."""
    kept = url.strip().translate({9: None, 10: None, 13: None}).partition("#")[0]
    return unescaped(kept.encode("utf-8", "surrogateescape"))
