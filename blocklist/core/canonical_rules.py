"""The canonical form of a URL, written as the rules read (docs/spec.md, "Canonical URL").

This is Google Safe Browsing's published canonicalisation with upper-case escapes:

1.  Trim white space around the URL; remove tab, CR and LF; cut the fragment at the first `#`.
2.  Undo percent escapes until nothing changes.
3.  Split at `scheme://`, then at the first `/` and `?`. No scheme is fine. Scheme, user info
    and port take no part.
4.  Host: lower case, no superfluous dots, IDN to A-labels, addresses to their one spelling.
5.  Path: resolve `.` and `..`, then make runs of slashes one slash. The query stays.
6.  Escape every byte up to 0x20 and from 0x7F, `#` and `%`.

A backslash is an ordinary byte, as published. `canonical.py` gives the same answers faster;
this module is its oracle and its way out for whatever is unusual.
"""

import re
from binascii import unhexlify
from types import MappingProxyType
from urllib.parse import quote_from_bytes

import idna

from blocklist.core.addresses import dotted_quad, ipv6_host
from blocklist.core.errors import BadUrl, UrlLimit

Parts = tuple[str, str, str | None]

MAX_URL_BYTES = 8192  # of the URL as given, in UTF-8
MAX_HOST_BYTES = 253  # of the host, before IDNA and again in canonical form
MAX_UNESCAPE_ROUNDS = 1024  # the last of them must change nothing
MAX_PORT = 65535

# Every code that BadUrl and UrlLimit carry here, with its message.
REASONS = MappingProxyType(
    {
        "empty-url": "expected a URL, got white space only",
        "bad-encoding": "expected text that can be written in UTF-8, got a lone surrogate",
        "url-too-long": f"expected a URL of at most {MAX_URL_BYTES} bytes, got a longer one",
        "too-many-escapes": f"expected escapes that settle within {MAX_UNESCAPE_ROUNDS} rounds",
        "no-authority": "expected // after the scheme, got something else",
        "bad-port": f"expected a port from 0 to {MAX_PORT}, got something else",
        "empty-host": "expected a host, got an empty one",
        "host-too-long": f"expected a host of at most {MAX_HOST_BYTES} bytes, got a longer one",
        "bad-address": "expected an IPv6 address in brackets, got something else",
        "bad-idn": "expected labels that IDNA allows, got another one",
    }
)

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_HEX = frozenset(b"0123456789ABCDEFabcdef")
_PLAIN_ROUNDS = 8
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:")
_BEFORE_AUTHORITY = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:/?")
_PORT_AND_END = re.compile(rb"[0-9]+(?=[/?]|\Z)")
_PORT = re.compile(rb"0*+([0-9]{0,5})")
_IDN_DOTS = re.compile("[.\u3002\uff0e\uff61]")  # UTS 46 maps the last three to the first
_NOT_FROM_MAPPING = frozenset(" #%./:?@[]")
_UNESCAPED = "!\"$&'()*+,/:;<=>?@[\\]^`{|}"  # besides letters, digits and _.-~


def split_url_by_rules(url: str | bytes) -> Parts:
    """Return host, path and query of a URL in canonical form, all ASCII.

    Args:
        url: As found. Text may hold bytes that are not UTF-8 as `surrogateescape` gives them.

    Returns:
        The host (`[..]` around IPv6), the path from its first `/`, and the query: None without
        a `?`, empty when a lone `?` ends the URL.

    Raises:
        BadUrl: A URL without a meaning; `code` is a key of `REASONS`.
        UrlLimit: The host is good, but path or query are beyond a limit.
    """
    data = _encoded(url)
    raw = _tidied(data)
    text = _unescaped(raw) if len(data) <= MAX_URL_BYTES else None
    if text is None:
        _host_of(raw)
        raise beyond("url-too-long" if len(data) > MAX_URL_BYTES else "too-many-escapes")
    authority, rest = _split_authority(text)
    return (_host_in_authority(authority), *path_and_query(rest))


def canonical_host_by_rules(url: str | bytes) -> str:
    """Return the canonical host of a URL of any length, whatever its path and query are.

    Raises:
        BadUrl: The host, or what stands before it, has no meaning or is beyond a limit.
    """
    return _host_of(_tidied(_encoded(url)))


def unescaped(data: bytes) -> bytes:
    """Undo percent escapes until nothing changes.

    Raises:
        UrlLimit: The escapes are nested deeper than `MAX_UNESCAPE_ROUNDS`.
    """
    text = _unescaped(data)
    if text is None:
        raise beyond("too-many-escapes")
    return text


def escaped(data: bytes) -> str:
    """Escape bytes up to 0x20 and from 0x7F, `#` and `%`, in upper case."""
    return quote_from_bytes(data, safe=_UNESCAPED)


def path_and_query(rest: bytes) -> tuple[str, str | None]:
    """Return canonical path and query of what follows the authority, unescaped."""
    path, mark, query = rest.partition(b"?")
    return escaped(_resolved(path)), escaped(query) if mark else None


def bad(code: str) -> BadUrl:
    """Return the error for a URL without a meaning."""
    return BadUrl(code, REASONS[code])


def beyond(code: str) -> UrlLimit:
    """Return the error for a URL whose path or query is beyond a limit."""
    return UrlLimit(code, REASONS[code])


# Step 1: the characters as given.


def _encoded(url: str | bytes) -> bytes:
    """Return the URL's bytes."""
    if isinstance(url, bytes):
        return url
    try:
        return url.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise bad("bad-encoding") from None


def _tidied(data: bytes) -> bytes:
    """Trim Unicode white space as `str.strip` does, remove tab, CR and LF, cut the fragment."""
    text = data.decode("utf-8", "surrogateescape").strip()
    if not text:
        raise bad("empty-url")
    return text.encode("utf-8", "surrogateescape").translate(None, b"\t\r\n").partition(b"#")[0]


# Steps 2 and 6: escapes.


def _unescaped(data: bytes) -> bytes | None:
    """Undo escapes until nothing changes; None when the last allowed round still changes."""
    for _ in range(_PLAIN_ROUNDS):
        after = _ESCAPE.sub(_byte, data)
        if after == data:
            return data
        data = after
    return _unescaped_at_once(data, MAX_UNESCAPE_ROUNDS - _PLAIN_ROUNDS)


def _byte(escape: re.Match[bytes]) -> bytes:
    """Return the byte that an escape stands for."""
    return unhexlify(escape[1])


def _unescaped_at_once(data: bytes, rounds: int) -> bytes | None:
    """Do what `rounds` rounds do, in linear time: nested escapes must not cost 1,024 scans.

    Two escapes never overlap (`%` is no hex digit), so the order in which they are undone
    does not matter. Each byte is kept with the round that would have made it.
    """
    text = bytearray()
    made: list[int] = []
    for byte in data:
        text.append(byte)
        made.append(0)
        while len(text) >= 3 and text[-3] == 0x25 and text[-2] in _HEX and text[-1] in _HEX:
            number = max(made[-3:]) + 1
            if number >= rounds:
                return None
            text[-3:] = unhexlify(text[-2:])
            made[-3:] = [number]
    return bytes(text)


# Step 3: the parts.


def _split_authority(text: bytes) -> tuple[bytes, bytes]:
    """Return the authority and what follows it.

    `name:80/` is a host and port, not a scheme; without a scheme an empty port is refused,
    because `1http://host/` would otherwise be a path on the host `1http`.
    """
    start = 0
    scheme = _SCHEME.match(text)
    if scheme and not _PORT_AND_END.match(text, scheme.end()):
        if not text.startswith(b"//", scheme.end()):
            raise bad("no-authority")
        start = scheme.end() + 2
    before_query = text[start:].partition(b"?")[0]
    end = start + len(before_query.partition(b"/")[0])
    if start == 0 and text[:end].endswith(b":"):
        raise bad("no-authority")
    return text[start:end], text[end:]


def _host_of(raw: bytes) -> str:
    """Return the canonical host of a tidied URL, looking no further than its authority.

    No escape contains `/` or `?`, in any round, so escapes on both sides of a raw one can be
    undone apart: cutting there before undoing them gives the same authority as cutting after.
    """
    first, *pieces = raw.partition(b"?")[0].split(b"/", 3)
    text = _unescaped_piece(first)
    for piece in pieces:
        if not _BEFORE_AUTHORITY.fullmatch(text):
            break
        text += b"/" + _unescaped_piece(piece)
    return _host_in_authority(_split_authority(text)[0])


def _unescaped_piece(piece: bytes) -> bytes:
    """Undo the escapes of a piece that may hold the authority."""
    if len(piece) > MAX_URL_BYTES:
        raise bad("url-too-long")
    text = _unescaped(piece)
    if text is None:
        raise bad("too-many-escapes")
    return text


def _host_in_authority(authority: bytes) -> str:
    """Drop user info and port, and return the canonical host."""
    host = authority.rpartition(b"@")[2]
    if host.startswith(b"["):
        literal, bracket, after = host[1:].partition(b"]")
        address = ipv6_host(literal.decode("latin-1"))
        if not bracket or after[:1] not in (b"", b":") or address is None:
            raise bad("bad-address")
        _check_port(after[1:])
        return address
    name, _, port = host.partition(b":")
    _check_port(port)
    return _canonical_name(name)


def _check_port(port: bytes) -> None:
    """Raise BadUrl unless the port is empty or a number from 0 to 65535."""
    match = _PORT.fullmatch(port)
    if match is None or int(match[1] or b"0") > MAX_PORT:
        raise bad("bad-port")


# Step 4: the host.


def _canonical_name(name: bytes) -> str:
    """Return the canonical host for a name or IPv4 address."""
    name = b".".join(filter(None, name.lower().split(b".")))
    if b"[" in name or b"]" in name:
        raise bad("bad-address")
    if len(name) > MAX_HOST_BYTES:
        raise bad("host-too-long")
    name = _without_unicode(name)
    if not name:
        raise bad("empty-host")
    host = dotted_quad(name.decode("latin-1")) or escaped(name)
    if len(host) > MAX_HOST_BYTES:
        raise bad("host-too-long")
    return host


def _without_unicode(name: bytes) -> bytes:
    """Turn the Unicode labels of a name into A-labels; bytes that are not UTF-8 stay."""
    if name.isascii():
        return name
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return name
    labels = (_ascii_label(label) for label in _IDN_DOTS.split(text))
    return ".".join(filter(None, labels)).encode("ascii")


def _ascii_label(label: str) -> str:
    """Return a label's A-label; ASCII labels are not checked.

    UTS 46 without STD3 rules maps some characters to delimiters (U+2100 to `a/c`). A host
    that gained one that way would not be the host that was looked at, so it is refused.
    """
    if label.isascii():
        return label
    try:
        mapped = idna.uts46_remap(label, std3_rules=False)
        if not mapped.isascii():
            return idna.alabel(mapped).decode("ascii")
    except idna.IDNAError:
        raise bad("bad-idn") from None
    if not _NOT_FROM_MAPPING.isdisjoint(mapped):
        raise bad("bad-idn")
    return mapped


# Step 5: the path.


def _resolved(path: bytes) -> bytes:
    """Resolve `.` and `..` (RFC 3986, 5.2.4), then collapse slashes: the published order."""
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    if segments[-1:] in ([b"."], [b".."]):
        kept.append(b"")
    names = b"/" + b"/".join(filter(None, kept))
    return names + b"/" if names != b"/" and kept[-1] == b"" else names
