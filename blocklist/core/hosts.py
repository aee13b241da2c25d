"""Bare hosts, a host's parents, and the parts of a URL that matching ignores."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from blocklist.core import documents
from blocklist.core.addresses import ipv6_host, is_address
from blocklist.core.canonical import canonical_host, split_url
from blocklist.core.canonical_rules import unescaped
from blocklist.core.errors import BadUrl, MalformedFeed

USER_INFO, PORT, FRAGMENT = "user-info", "port", "fragment"

# Finds the authority where `canonical_rules` does, in any URL that it accepts.
_AUTHORITY = re.compile(rb"(?:[A-Za-z][A-Za-z0-9+.-]*://)?([^/?]*)")
_NOT_IN_BARE = re.compile(r"[\s/?#@\\]")
_NAME = re.compile(r"[a-z0-9._-]+")  # DNS names and dotted quads; `_` is no host name but in use


def parents(host: str) -> Iterator[str]:
    """Yield the names whose `domain` entry covers a canonical host.

    These are the host and each parent of two or more labels, nearest first; none for an address.
    """
    if is_address(host):
        return
    yield host
    while (host := host.partition(".")[2]) and "." in host:
        yield host


def has_shape(host: str) -> bool:
    """Tell whether a canonical host is an address or could be a DNS name, by its characters.

    URLs may have any host, and one that no resolver finds is just not listed. In an entry it
    is a mistake.
    """
    return host.startswith("[") or _NAME.fullmatch(host) is not None


def canonical_field(document: Mapping[str, Any], name: str) -> str:
    """Return a required field of a document that holds a canonical host.

    Raises:
        MalformedFeed: It is missing, or something else.
    """
    host = documents.field(document, name, str)
    try:
        canonical = canonical_host(host) == host
    except BadUrl:
        canonical = False
    if not canonical:
        raise MalformedFeed(f"expected {name!r} as a canonical host")
    return host


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
