"""One line of a source, or one CSV row: which entry it is (docs/spec.md, "Sources").

    host.example/page?id=7      url       anything with a scheme or a slash
    http://host.example/        url       so this is the root page, and nothing else
    host.example/dir/*          prefix    `/*` as the line has it, at the end, without a query
    host.example  192.0.2.7     host      a bare name or address
    .host.example               domain    a name, never an address

Anything else is refused: an entry is never made narrower or wider than it was written, nor into
another one. A port would make it wider. White space is a second column or a second URL more often
than a part of one, and a host with characters that no name or address has is a slip: canonical URLs
allow both, entries do not. User info and fragment of a URL say nothing about which page it is, so
they are dropped and counted.
"""

import re
from collections import Counter
from typing import Final

from blocklist.core.addresses import is_address
from blocklist.core.canonical import (
    POSSESSIVE,
    Parts,
    canonical_rest,
    expression,
    split_url,
)
from blocklist.core.canonical_rules import MAX_HOST_BYTES, MAX_URL_BYTES
from blocklist.core.defang import refang
from blocklist.core.entries import Entry, Kind
from blocklist.core.errors import BadUrl, UnknownFormat, UrlLimit
from blocklist.core.hosts import PORT, bare_host_and_port, has_shape, ignored_parts
from blocklist.core.matching import MAX_PREFIX_SEGMENTS

_PREFIX_END = "/*"
_WHITE_SPACE = re.compile(r"\s").search
_COMMENT = re.compile(r"(?:\A|\s)#.*", re.DOTALL)
# A line that needs no care: no comment, port, user info, fragment, star, escape in the host,
# white space or defanging, and not a domain. What canonicalisation makes of it is all there is.
# Its groups match in a URL, none of them in a bare host.
_PLAIN = re.compile(r'(https?://)?[A-Za-z0-9_-][A-Za-z0-9_.-]*+(/[!"$-)+-~]*+)?').fullmatch

# A line that is canonical as it stands, as bytes: a name whose last label does not begin with a
# digit (nothing then spells an address) or a dotted quad, and a path without empty and dot
# segments, `*` and `#`. Escapes are the one thing left to do. Groups: scheme, expression, and
# what follows the host.
_BYTE = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_ALL = POSSESSIVE.encode()
_HOST = rb"(?:[a-z0-9_-]++\.)*%b[a-z_-][a-z0-9_-]*+|" % _ALL + rb"\.".join([_BYTE] * 4)
_REST = rb'(?:/(?![/.])[!"$-)+-.0->@-~]*+)+%b(?:\?[!"$-)+-~]++)?%b' % (_ALL, _ALL)
_CLEAN = re.compile(rb"(https?://)?%b((?:%b)(%b)?%b)" % (_ALL, _HOST, _REST, _ALL)).fullmatch

_REASONS: Final = {
    "line-end": "expected LF or CRLF line ends, got a lone CR",
    "byte-order-mark": "expected a byte order mark at the start of the file only",
    "white-space": "expected one entry, got white space inside it (a URL's own is %20)",
    "wildcard": "expected no * in a host: for a name and all below it write .name, not *.name",
    "host-shape": "expected a name of letters, digits, - _ and ., or an address, got another host",
    "domain-path": "expected a bare name after the dot, got a path",
    "domain-name": "expected a name after the dot, got something else",
    "domain-address": "expected a name after the dot, got an address",
    "single-label": "expected a domain of two or more labels, got all of a top-level domain",
    "prefix-root": "expected a path below the root; for all of a host write the bare name",
    "prefix-query": "expected a prefix without a query",
    "prefix-depth": f"expected a prefix of at most {MAX_PREFIX_SEGMENTS} path segments, got more",
    "prefix-unclear": "expected /* at the end of a path, got it behind an escaped delimiter",
    PORT: "expected no port: an entry covers every port of its host (--drop-ports drops them)",
    "kind-shape": "expected what the kind column says, got an entry of another shape",
    "kind-star": "expected no /* beside a kind (a literal star is %2A)",
}


def refused(code: str) -> BadUrl:
    """Return the error for a line that is no entry; `code` is a key of the table above."""
    return BadUrl(code, _REASONS[code])


class LineReader:
    """Reads the lines of one source.

    Attributes:
        dropped: How many entries lost a part, by `user-info`, `fragment` and `port`.
        root_pages: How many `url` entries are a host's root page.
        literal_stars: How many `url` entries have a `*`, which stands for itself.
    """

    __slots__ = ("_drop_ports", "dropped", "literal_stars", "root_pages")

    def __init__(self, *, drop_ports: bool) -> None:
        self._drop_ports = drop_ports
        self.dropped: Counter[str] = Counter()
        self.root_pages = 0
        self.literal_stars = 0

    def clean_line(self, line: bytes) -> bytes | None:
        """Return the entry line for a line that is canonical as it stands; None for any other."""
        match = _CLEAN(line)
        if match is None or (len(line) > MAX_HOST_BYTES and _beyond_a_limit(match)):
            return None
        scheme, written, rest = match.groups()
        if rest is None:
            return None if scheme else b"h " + written
        if rest == b"/":
            self.root_pages += 1
        if b"%" in rest:
            return self._escaped_line(written[: -len(rest)].decode(), rest.decode())
        return b"u " + written

    def _escaped_line(self, host: str, rest: str) -> bytes | None:
        try:
            return self._url_line((host, *canonical_rest(rest)))
        except UrlLimit:
            return None

    def text_line(self, text: str) -> bytes | None:
        """Return the entry line for a line of text without its line end; None for no entry.

        Raises:
            BadUrl: No entry, by the rules above or those of canonical URLs.
        """
        match = _PLAIN(text)
        if match is None:
            return self.unusual_line(text)
        parts = split_url(text)
        return self._url_line(parts) if match.lastindex else f"h {parts[0]}".encode("ascii")

    def unusual_line(self, text: str) -> bytes | None:
        """Do what `text_line` does, for any line: the rules in full.

        Raises:
            BadUrl: As `text_line`.
        """
        text = _COMMENT.sub("", text).strip()
        if not text:
            return None
        if "\r" in text:
            raise refused("line-end")
        return self.entry_line(text, None)

    def entry_line(self, text: str, kind: Kind | None) -> bytes:
        """Return the entry line for an entry as written, defanged or not.

        Args:
            text: The entry alone, without a comment.
            kind: What it must be; None takes the kind from the shape.

        Raises:
            BadUrl: No entry, or not one of that kind.
        """
        text = refang(text.strip())
        if text.startswith("\ufeff"):
            raise refused("byte-order-mark")
        if _WHITE_SPACE(text):
            raise refused("white-space")
        if kind is Kind.DOMAIN:
            return self._domain(text.removeprefix("."))
        if text.startswith("."):
            if kind is not None:
                raise refused("kind-shape")
            return self._domain(text[1:])
        if "/" in text:
            return self._url_or_prefix(text, kind)
        if kind not in (None, Kind.HOST):
            raise refused("kind-shape")
        host, ignored = _bare(text)
        self._drop(ignored)
        return f"h {host}".encode("ascii")

    def _domain(self, name: str) -> bytes:
        if "/" in name:
            raise refused("domain-path")
        if name[:1] in ("", "."):
            raise refused("domain-name")
        host, ignored = _bare(name)
        if is_address(host):
            raise refused("domain-address")
        if "." not in host:
            raise refused("single-label")
        self._drop(ignored)
        return f"d {host}".encode("ascii")

    def _url_or_prefix(self, text: str, kind: Kind | None) -> bytes:
        if kind is Kind.HOST:
            raise refused("kind-shape")
        parts, ignored = split_url(text), ignored_parts(text)
        _check_host(parts[0])
        raw = text.partition("#")[0]
        star = raw.endswith(_PREFIX_END) and "?" not in raw
        if star and kind is not None:
            raise refused("kind-star")
        if star or kind is Kind.PREFIX:
            line = _prefix_line(_without_star(parts) if star else parts)
            self._drop(ignored)
            return line
        self._drop(ignored)
        self.literal_stars += "*" in raw
        return self._url_line(parts)

    def _url_line(self, parts: Parts) -> bytes:
        _, path, query = parts
        if path == "/" and not query:
            self.root_pages += 1
        return f"u {expression(parts)}".encode("ascii")

    def _drop(self, ignored: list[str]) -> None:
        if PORT in ignored and not self._drop_ports:
            raise refused(PORT)
        self.dropped.update(ignored)


def _beyond_a_limit(match: re.Match[bytes]) -> bool:
    host_end = match.start(3) if match[3] is not None else match.end(2)
    return match.end() > MAX_URL_BYTES or host_end - match.start(2) > MAX_HOST_BYTES


def _check_host(host: str) -> None:
    if "*" in host:  # elsewhere it stands for itself
        raise refused("wildcard")
    if not has_shape(host):
        raise refused("host-shape")


def _bare(name: str) -> tuple[str, list[str]]:
    host, ignored = bare_host_and_port(name)
    _check_host(host)
    return host, ignored


def _without_star(parts: Parts) -> Parts:
    """Return the parts of a URL that was written with `/*` at its end, without that."""
    host, path, query = parts
    if query is not None or not path.endswith(_PREFIX_END):
        raise refused("prefix-unclear")
    return host, path.removesuffix(_PREFIX_END), None


def _prefix_line(parts: Parts) -> bytes:
    host, path, query = parts
    path = path.removesuffix("/")
    if query is not None:
        raise refused("prefix-query")
    if not path:
        raise refused("prefix-root")
    if path.count("/") > MAX_PREFIX_SEGMENTS:
        raise refused("prefix-depth")
    return f"p {host}{path}".encode("ascii")


def is_canonical_line(line: bytes) -> bool:
    """Tell whether a line of list bytes is one that a source could have led to.

    Whoever signs a list of somebody else's making asks this: a line that no URL is ever compared
    with would be listed and cover nothing, and one of another shape would end every client.
    """
    try:
        entry = Entry.from_line(line)
        if entry.kind in (Kind.HOST, Kind.DOMAIN):
            host, ignored = _bare(entry.expression)
            wide = entry.kind is Kind.DOMAIN and (is_address(host) or "." not in host)
            return not ignored and not wide and host == entry.expression
        parts = split_url(entry.expression)
        _check_host(parts[0])
        if entry.kind is Kind.PREFIX:
            return _prefix_line(parts) == line
        return expression(parts) == entry.expression
    except (BadUrl, UnknownFormat):
        return False
