"""The reference matcher: what covers a URL, in which order, and what cannot be judged."""

import mmap
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from blocklist.core.canonical_rules import MAX_URL_BYTES
from blocklist.core.entries import Kind
from blocklist.core.errors import BadUrl, MalformedFeed, Undecided
from blocklist.core.hashing import HashKey, hash_lines
from blocklist.core.listbytes import encode_clear
from blocklist.core.matching import ClearIndex, HashedIndex, Index, find, find_host

KEY = HashKey(bytes(range(32)))
LONG = "a" * MAX_URL_BYTES

MakeIndex = Callable[[Iterable[bytes]], Index]


def clear(lines: Iterable[bytes]) -> Index:
    return ClearIndex(encode_clear(lines))


def hashed(lines: Iterable[bytes]) -> Index:
    return HashedIndex(hash_lines(lines, KEY), KEY)


@pytest.fixture(params=[clear, hashed])
def index_of(request: pytest.FixtureRequest) -> MakeIndex:
    make: MakeIndex = request.param
    return make


COVERED = [
    # without a query: that path with any query or none
    (b"u example.com/a", "http://example.com/a", Kind.URL),
    (b"u example.com/a", "https://u:p@EXAMPLE.com:8080/./a?1#f", Kind.URL),
    (b"u example.com/a", "http://example.com/a?", Kind.URL),
    (b"u example.com/a", "http://example.com/a/", None),
    (b"u example.com/a", "http://example.com/A", None),
    (b"u example.com/a", "http://www.example.com/a", None),
    (b"u example.com/", "http://example.com", Kind.URL),
    (b"u example.com/", "http://example.com/a", None),
    # with a query: exactly that
    (b"u example.com/a?b", "http://example.com/a?b", Kind.URL),
    (b"u example.com/a?b", "http://example.com/a", None),
    (b"u example.com/a?b", "http://example.com/a?", None),
    (b"u example.com/a?b", "http://example.com/a?b&c", None),
    # prefix: on a slash boundary
    (b"p example.com/a/b", "http://example.com/a/b", Kind.PREFIX),
    (b"p example.com/a/b", "http://example.com/a/b/", Kind.PREFIX),
    (b"p example.com/a/b", "http://example.com/a/b?x", Kind.PREFIX),
    (b"p example.com/a/b", "http://example.com/a//b/c/d?x", Kind.PREFIX),
    (b"p example.com/a/b", "http://example.com/a/bc", None),
    (b"p example.com/a/b", "http://example.com/a/", None),
    (b"p example.com/a/b", "http://example.com/?/a/b", None),
    (b"p example.com/a/b", "http://www.example.com/a/b", None),
    # host: exactly that one
    (b"h example.com", "http://example.com/a?b", Kind.HOST),
    (b"h example.com", "http://www.example.com/", None),
    (b"h example.com", "http://com/", None),
    (b"h 192.0.2.7", "http://0xc0000207/a", Kind.HOST),
    (b"h [2001:db8::1]", "http://[2001:db8:0::1]:80/", Kind.HOST),
    # domain: that and every subdomain, however deep; a name
    (b"d example.com", "http://example.com/", Kind.DOMAIN),
    (b"d example.com", "http://www.example.com/", Kind.DOMAIN),
    (b"d example.com", "http://" + "a." * 110 + "example.com/", Kind.DOMAIN),
    (b"d example.com", "http://anexample.com/", None),
    (b"d localhost", "http://localhost/", Kind.DOMAIN),
    (b"d localhost", "http://a.localhost/", None),
    (b"d 2.7", "http://192.0.2.7/", None),
    (b"d 192.0.2.7", "http://192.0.2.7/", None),
]


@pytest.mark.parametrize(("line", "url", "kind"), COVERED)
def test_an_entry_covers_what_the_table_says(
    index_of: MakeIndex, line: bytes, url: str, kind: Kind | None
) -> None:
    assert find(index_of([line]), url) is kind
    assert find(index_of([line]), url.encode()) is kind


def test_the_widest_entry_is_reported(index_of: MakeIndex) -> None:
    lines = [b"d example.com", b"h a.example.com", b"p a.example.com/b", b"u a.example.com/b?c"]
    kinds = [find(index_of(lines[start:]), "http://a.example.com/b?c") for start in range(5)]
    assert kinds == [Kind.DOMAIN, Kind.HOST, Kind.PREFIX, Kind.URL, None]


def test_prefixes_are_tried_to_64_segments_and_no_deeper(index_of: MakeIndex) -> None:
    index = index_of([b"p example.com" + b"/a" * 64, b"p example.net" + b"/a" * 65])
    for tail in ("", "/", "/b", "/b" * 900):
        assert find(index, "http://example.com" + "/a" * 64 + tail) is Kind.PREFIX
        assert find(index, "http://example.net" + "/a" * 65 + tail) is None


def test_a_path_of_more_segments_still_matches_its_own_entry(index_of: MakeIndex) -> None:
    path = "/a" * 900
    index = index_of([f"u example.com{path}".encode()])
    assert find(index, f"http://example.com{path}?b") is Kind.URL


@pytest.mark.parametrize("tail", [f"/{LONG}", f"/?{LONG}", "/%" + "25" * 1100])
def test_a_url_beyond_a_limit_is_judged_by_its_host(index_of: MakeIndex, tail: str) -> None:
    index = index_of([b"d example.com", b"h example.net", b"h example.org", b"u example.org/a"])
    assert find(index, f"http://www.example.com{tail}") is Kind.DOMAIN
    assert find(index, f"http://EXAMPLE.net:80{tail}") is Kind.HOST
    assert find(index, f"http://example.org{tail}") is Kind.HOST
    assert find(index, f"http://other.example{tail}") is None


@pytest.mark.parametrize("line", [b"u example.com/", b"u example.com/a?b", b"p example.com/a"])
def test_a_url_beyond_a_limit_is_undecided_where_it_could_be_listed(
    index_of: MakeIndex, line: bytes
) -> None:
    index = index_of([line, b"h sub.example.com", b"u example.com.example/"])
    with pytest.raises(Undecided):
        find(index, f"http://example.com/{LONG}")
    assert find(index, f"http://www.example.com/{LONG}") is None
    assert find(index, f"http://example.co/{LONG}") is None


def test_narrower_entries_are_seen_beside_wide_ones(index_of: MakeIndex) -> None:
    wide = [b"d example.com", b"h example.com"]
    assert not index_of(wide).has_narrower("example.com")
    assert index_of([*wide, b"u example.com/z"]).has_narrower("example.com")
    assert index_of([*wide, b"p example.com/z"]).has_narrower("example.com")
    assert not index_of([b"u example.com/z"]).has_narrower("example.co")


@pytest.mark.parametrize("url", ["", "http://", "mailto:someone", "http://example.com:x/", "/a"])
def test_a_malformed_url_is_never_not_listed(index_of: MakeIndex, url: str) -> None:
    with pytest.raises(BadUrl):
        find(index_of([]), url)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("example.com", Kind.DOMAIN),
        (" WWW.Example.com. ", Kind.DOMAIN),
        ("example.net", Kind.HOST),
        ("www.example.net", None),
        ("0xc0000207", Kind.HOST),
        ("[2001:db8::1]", Kind.HOST),
        ("2001:DB8:0::1", Kind.HOST),
        ("example.org", None),
    ],
)
def test_a_bare_name_is_listed_only_as_a_whole(
    index_of: MakeIndex, name: str, kind: Kind | None
) -> None:
    lines = [b"d example.com", b"h example.net", b"h 192.0.2.7", b"h [2001:db8::1]"]
    index = index_of([*lines, b"u example.org/", b"p example.org/a"])
    assert find_host(index, name) is kind


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "http://example.com", "example.com/", "example.com?", "example.com#"),
        *("example.com:80", "[::1]:80", "u@example.com", "u%40example.com", "example.com%2F"),
        *("example.com%3A80", "192.0.2.7 a", "a b.example", "a\\b.example", "::g", "fe80::1%eth0"),
    ],
)
def test_what_is_no_bare_name_is_an_error(index_of: MakeIndex, name: str) -> None:
    with pytest.raises(BadUrl):
        find_host(index_of([]), name)


def test_every_line_is_found_and_no_other_in_any_kind_of_buffer(tmp_path: Path) -> None:
    lengths = [1, 2, 3, 254, 255, 256, 257, 600, 5000]
    lines = [f"u {letter * length}.example/".encode() for letter in "abc" for length in lengths]
    data = encode_clear(lines)
    path = tmp_path / "list"
    path.write_bytes(data)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for buffer in (data, memoryview(data), mapped):
            index = ClearIndex(buffer)
            assert all(index.has(line) for line in lines)
            assert not any(index.has(line[:-1]) or index.has(line + b"0") for line in lines)
            assert not any(map(index.has, (b"", b"a", b"z")))


def test_every_hash_is_found_and_no_other_in_any_kind_of_buffer(tmp_path: Path) -> None:
    lines = [f"h {number}.example".encode() for number in range(50)]
    data = hash_lines(lines, KEY)
    path = tmp_path / "list"
    path.write_bytes(data)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for buffer in (data, memoryview(data), mapped):
            index = HashedIndex(buffer, KEY)
            assert all(index.has(line) for line in lines)
            assert not any(index.has(line.replace(b"h", b"d", 1)) for line in lines)


def test_the_hashed_list_answers_only_to_its_key() -> None:
    data = hash_lines([b"h example.com"], KEY)
    assert find(HashedIndex(data, HashKey(bytes(32))), "http://example.com/") is None


def test_list_bytes_that_end_within_an_entry_are_refused() -> None:
    with pytest.raises(MalformedFeed):
        ClearIndex(b"h example.com")
    with pytest.raises(MalformedFeed):
        HashedIndex(bytes(15), KEY)
