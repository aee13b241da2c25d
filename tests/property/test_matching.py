"""Both indexes agree with each other and with the table of what an entry covers."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocklist.core.canonical_rules import MAX_URL_BYTES
from blocklist.core.defang import refang
from blocklist.core.entries import Kind
from blocklist.core.errors import Undecided
from blocklist.core.hashing import HashKey, hash_lines
from blocklist.core.listbytes import encode_clear
from blocklist.core.matching import ClearIndex, HashedIndex, Index, find, find_host
from blocklist.core.sources import BadLines, parse_source

KEY = HashKey(bytes(range(32)))
WIDEST_FIRST = (Kind.DOMAIN, Kind.HOST, Kind.PREFIX, Kind.URL)


@dataclass(frozen=True)
class Page:
    """A canonical URL in its parts."""

    host: str
    path: str
    query: str | None


LABELS = st.sampled_from(["a", "b", "ab"])
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join) | st.sampled_from(
    ["192.0.2.7", "[2001:db8::1]", "localhost"]
)
LISTED_HOSTS = HOSTS | st.just("2.7")  # must not cover 192.0.2.7 as a domain
SEGMENTS = st.lists(LABELS, max_size=4).map(lambda labels: "".join(f"/{s}" for s in labels))
PATHS = st.builds(lambda path, slash: path + slash or "/", SEGMENTS, st.sampled_from(["", "/"]))
QUERIES = st.sampled_from([None, "", "x", "y", "?", "/a"])
PAGES = st.builds(Page, HOSTS, PATHS, QUERIES)
LISTED_PAGES = st.builds(Page, LISTED_HOSTS, PATHS, QUERIES)


def entry_line(kind: Kind, page: Page) -> bytes:
    path = {
        Kind.URL: page.path + (f"?{page.query}" if page.query else ""),
        Kind.PREFIX: page.path.rstrip("/") or "/a",
    }
    return f"{kind.letter} {page.host}{path.get(kind, '')}".encode()


LINE = st.builds(entry_line, st.sampled_from(Kind), LISTED_PAGES)
LINES = st.frozensets(LINE, max_size=12)


def is_address(host: str) -> bool:
    return host in ("192.0.2.7", "[2001:db8::1]")


def covers(line: bytes, page: Page) -> bool:
    """The table of docs/spec.md, read straight."""
    letter, _, expression = line.decode().partition(" ")
    if letter == "h":
        return page.host == expression
    if letter == "d":
        below = "." in expression and page.host.endswith(f".{expression}")
        return not is_address(page.host) and (page.host == expression or below)
    host, slash, rest = expression.partition("/")
    if host != page.host:
        return False
    if letter == "p":
        return f"{page.path}/".startswith(f"{slash}{rest}/")
    path, mark, query = (slash + rest).partition("?")
    return page.path == path and (not mark or page.query == query)


def widest(lines: frozenset[bytes], page: Page) -> Kind | None:
    letters = {line[:1].decode() for line in lines if covers(line, page)}
    return next((kind for kind in WIDEST_FIRST if kind.letter in letters), None)


def indexes(lines: frozenset[bytes]) -> list[Index]:
    return [ClearIndex(encode_clear(lines)), HashedIndex(hash_lines(lines, KEY), KEY)]


@st.composite
def spellings(draw: st.DrawFn, page: Page) -> str:
    """Write a page as a URL in one of its many ways."""
    scheme = draw(st.sampled_from(["http://", "HTTPS://", "ftp://", " http://u:p@"]))
    host = draw(st.sampled_from([page.host, page.host.upper()]))
    port = draw(st.sampled_from(["", ":", ":8080"]))
    path = page.path.replace("/", draw(st.sampled_from(["/", "//", "/./", "/q/../"])))
    path = path.replace("a", draw(st.sampled_from(["a", "%61", "%2561"])))
    query = "" if page.query is None else f"?{page.query}"
    return scheme + host + port + path + query + draw(st.sampled_from(["", "#f", "\n"]))


@given(LINES, PAGES, st.data())
def test_verdicts_are_those_of_the_table(
    lines: frozenset[bytes], page: Page, data: st.DataObject
) -> None:
    url = data.draw(spellings(page))
    expected = widest(lines, page)
    for index in indexes(lines):
        assert find(index, url) is expected
        assert find(index, url.encode()) is expected


@given(LINES, HOSTS)
def test_a_bare_name_is_judged_by_host_and_domain_entries(
    lines: frozenset[bytes], host: str
) -> None:
    whole = frozenset(line for line in lines if line[:1] in b"dh")
    for index in indexes(lines):
        assert find_host(index, host) is widest(whole, Page(host, "/", None))


@given(LINES, PAGES)
def test_beyond_a_limit_only_the_host_decides(lines: frozenset[bytes], page: Page) -> None:
    url = f"http://{page.host}{page.path}?{'x' * MAX_URL_BYTES}"
    whole = frozenset(line for line in lines if line[:1] in b"dh")
    narrower = any(line[2:].startswith(f"{page.host}/".encode()) for line in lines)
    expected = widest(whole, page)
    for index in indexes(lines):
        assert index.has_narrower(page.host) is narrower
        if narrower and expected is None:
            with pytest.raises(Undecided):
                find(index, url)
        else:
            assert find(index, url) is expected


@given(LINES, LINE)
def test_membership_is_that_of_the_set(lines: frozenset[bytes], line: bytes) -> None:
    for index in indexes(lines):
        assert index.has(line) is (line in lines)


PIECES = st.sampled_from(
    [
        *("http://", "hxxps://", "a.example", "B.EXAMPLE", "192.0.2.7", "[::1]", "[.]", ".", "/"),
        *(
            "/a",
            "/a",
            "//",
            "/../",
            "*",
            "?",
            "?x",
            "#f",
            "u@",
            "%2F",
            "%3F",
            "%2a",
            "%25",
            "\u00fc",
        ),
    ]
)


@given(st.lists(PIECES, min_size=1, max_size=6).map("".join), st.sampled_from(["", "/*"]))
def test_an_entry_covers_the_page_that_it_was_written_for(text: str, star: str) -> None:
    """From source line to verdict: no entry misses its own page, or reaches beyond its kind."""
    try:
        source = parse_source(f"{text}{star}".encode())
    except BadLines:
        return
    for index in indexes(frozenset(source.lines)):
        for line in source.lines:
            assert_covers_its_own(index, line, refang(text), star)


def assert_covers_its_own(index: Index, line: bytes, text: str, star: str) -> None:
    kind, host = Kind.from_letter(chr(line[0])), line[2:].decode().partition("/")[0]
    other_page = find(index, f"http://{host}/other/page?of=the#host")
    if kind in (Kind.HOST, Kind.DOMAIN):
        assert find_host(index, text) is other_page is kind
        if "." in host and not is_address(host):
            below = find(index, f"http://www.{host}/")
            assert below is (kind if kind is Kind.DOMAIN else None)
    else:
        assert other_page is None
        assert find(index, text + star if kind is Kind.URL else f"{text}/b?c") is kind
