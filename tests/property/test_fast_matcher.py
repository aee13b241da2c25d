"""The subscriber's fast matcher answers as the reference matcher, whatever is asked and listed."""

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocklist.core.entries import Feed, Kind
from blocklist.core.errors import BadUrl, Undecided
from blocklist.core.hashing import hash_lines
from blocklist.core.listbytes import encode_clear
from blocklist.core.matcherfile import encode, record_key
from blocklist.core.matching import ClearIndex, find, find_host
from blocklist.subscriber.fastindex import FastIndex
from blocklist.subscriber.searcher import Searcher
from tests.property.test_matching import HOSTS, KEY, LINES, PAGES, spellings

PIECES = st.sampled_from(
    [
        *(
            "http://",
            "https://",
            "HTTP://",
            "ftp://",
            "http:",
            "//",
            "/",
            "/",
            "a",
            "ab",
            ".",
            "..",
        ),
        *("a.b", "b.a", "192.0.2.7", "3221225991", "[2001:db8::1]", "@", ":", ":80", ":99999", "?"),
        *("#", "%", "%61", "%2f", "%25", "\t", "\n", " ", "\u3000", "é", "\ud800", "\udcff", "A"),
        *("a" * 300, "/" + "a" * 8200, ".a" * 130),
    ]
)
URLS = st.lists(PIECES, max_size=6).map("".join)
REUSED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def searchers(lines: frozenset[bytes], folder: Path) -> list[Searcher]:
    """Return searchers of both feeds over their files."""
    found = []
    for feed, data in ((Feed.CLEAR, encode_clear(lines)), (Feed.HASHED, hash_lines(lines, KEY))):
        digest = sha256(data).hexdigest()
        key = record_key(feed, digest, KEY)
        path = folder / feed
        path.write_bytes(encode(feed, data, digest, key))
        found.append(Searcher(FastIndex.open(path, digest, key)))
    return found


def answer(ask: Callable[[str], Kind | None], question: str) -> object:
    """Return the verdict, or the error that stands for it."""
    try:
        return ask(question)
    except BadUrl as error:
        return error.code
    except Undecided:
        return Undecided


@REUSED
@given(LINES, st.lists(PAGES, min_size=1, max_size=4), st.lists(URLS, max_size=6), st.data())
def test_urls_get_the_verdict_of_the_reference(
    tmp_path_factory: pytest.TempPathFactory,
    lines: frozenset[bytes],
    pages: list,
    urls: list[str],
    data: st.DataObject,
) -> None:
    asked = [*urls, *(data.draw(spellings(page)) for page in pages)]
    oracle = ClearIndex(encode_clear(lines))
    for searcher in searchers(lines, tmp_path_factory.getbasetemp()):
        for url in [*asked, *asked]:  # the second time from what is remembered
            expected = answer(partial(find, oracle), url)
            assert answer(searcher.find, url) == expected


@REUSED
@given(LINES, st.lists(HOSTS | URLS, min_size=1, max_size=6))
def test_hosts_get_the_verdict_of_the_reference(
    tmp_path_factory: pytest.TempPathFactory, lines: frozenset[bytes], names: list[str]
) -> None:
    oracle = ClearIndex(encode_clear(lines))
    for searcher in searchers(lines, tmp_path_factory.getbasetemp()):
        for name in [*names, *names]:
            answer(searcher.find, name)  # what URLs leave must not matter
            expected = answer(partial(find_host, oracle), name)
            assert answer(searcher.find_host, name) == expected


@pytest.mark.parametrize("one_host", [False, True])
def test_a_list_of_many_blocks(tmp_path: Path, *, one_host: bool) -> None:
    """Hosts that fill blocks, and hosts whose entries lie in several."""
    lines = frozenset(
        f"u {'big' if one_host else f'h{number % 700}'}.example/{number}".encode()
        for number in range(3_000)
    ) | {b"h whole.example", b"d all.example", b"p some.example/a"}
    oracle = ClearIndex(encode_clear(lines))
    urls = [
        f"http://{host}.example/{number}"
        for number in range(0, 3_500, 7)
        for host in ("big", f"h{number % 800}", "whole", f"x{number}.all", "some", "none")
    ]
    urls += [f"http://{host}.example/{'x' * 9000}" for host in ("big", "h1", "whole", "some", "no")]
    for searcher in searchers(lines, tmp_path):
        for url in urls:
            expected = answer(partial(find, oracle), url)
            assert answer(searcher.find, url) == expected


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_file_is_closed_with_the_last_reference(tmp_path: Path) -> None:
    before = open_files()
    kept = searchers(frozenset({b"h a.example"}), tmp_path)
    assert open_files() == before + 2
    del kept
    assert open_files() == before
