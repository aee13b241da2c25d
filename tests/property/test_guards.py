"""Guards find what their definition says, whatever the sets; only the arguments count."""

import time

from hypothesis import given
from hypothesis import strategies as st

from blocklist.core.entries import Entry, Kind
from blocklist.core.matching import ClearIndex
from blocklist.core.matching import find as look_up
from blocklist.publisher.guards import Change, GuardFiles, find, leave_out
from blocklist.publisher.guards.coverage import Cover, subject
from blocklist.publisher.guards.lines import LINES
from blocklist.publisher.settings import Settings

SETTINGS = Settings()
NOTHING: frozenset[bytes] = frozenset()
HOSTS = ["a.example", "b.a.example", "c.b.a.example", "z.example", "192.0.2.7", "localhost"]
PATHS = ["/", "/x", "/x/", "/x/y", "/x/y/z.php", "/xy"]
hosts = st.sampled_from(HOSTS)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(Kind))
    host = draw(hosts)
    if kind is Kind.DOMAIN:
        host = draw(st.sampled_from(HOSTS[:4]))
    path = draw(st.sampled_from(PATHS))
    query = draw(st.sampled_from(["", "", "?q", "?r=1"]))
    expression = {
        Kind.URL: host + path + query,
        Kind.PREFIX: host + (path.rstrip("/") or "/x"),
        Kind.HOST: host,
        Kind.DOMAIN: host,
    }[kind]
    return Entry(kind, expression).line


sets = st.frozensets(lines(), max_size=6)


@given(st.frozensets(lines(), max_size=12), sets, sets, sets)
def test_findings_depend_on_the_arguments_only(
    added: frozenset[bytes],
    protected: frozenset[bytes],
    platforms: frozenset[bytes],
    allow: frozenset[bytes],
) -> None:
    files = GuardFiles.of(protected, platforms, allow)
    again = GuardFiles.of(*(frozenset(sorted(s)) for s in (protected, platforms, allow)))
    news = tuple(sorted(added))
    found = find(Change(9, 9, news), SETTINGS, files)
    assert find(Change(9, 9, news[::-1]), SETTINGS, again) == found
    kept, counts = leave_out(news, files)
    refused = {line for finding in found for line in finding.lines}
    assert set(kept) == set(news) - refused
    assert sum(counts.values()) == len(refused)
    assert find(Change(9, 9, kept), SETTINGS, files) == []
    assert all(finding.lines == tuple(sorted(finding.lines)) for finding in found)
    for finding in found:
        assert not any(word in finding.text for word in ("example", "192.0", "/x", "localhost"))


URLS = [
    f"http://{host}{path}{query}"
    for host in [*HOSTS, "d.c.b.a.example"]
    for path in [*PATHS, "/x/y/w"]
    for query in ("", "?q", "?other")
]


def covered(line: bytes) -> set[str]:
    index = ClearIndex(line + b"\n")
    return {url for url in URLS if look_up(index, url) is not None}


@given(lines(), lines())
def test_two_entries_meet_when_a_url_is_covered_by_both(one: bytes, two: bytes) -> None:
    """The matcher is the judge. A query that none of these URLs has is covered by few."""
    meets = Cover.of(frozenset({two})).meets(subject(one))
    assert Cover.of(frozenset({one})).meets(subject(two)) == meets
    if covered(one) & covered(two):
        assert meets
    if meets and covered(one) and covered(two):
        assert covered(one) <= covered(two) or covered(two) <= covered(one)
        assert covered(one) & covered(two)


@given(lines(), lines())
def test_an_entry_above_another_covers_all_that_it_covers(one: bytes, two: bytes) -> None:
    if one in Cover.of(frozenset({two})).above:
        assert covered(two) <= covered(one)


def test_the_time_is_that_of_the_entries_added_not_of_the_files() -> None:
    """A guard file of 40,000 names costs no more for an entry than one of 400."""
    news = tuple(f"u site-{n}.example/{n}".encode() for n in range(4_000))

    def seconds(names: int) -> float:
        lines = frozenset(f"d name-{n}.example".encode() for n in range(names))
        files = GuardFiles.of(lines, lines, lines)
        best = []
        for _ in range(3):
            start = time.process_time()
            assert find(Change(None, 9, news), SETTINGS, files) == []
            best.append(time.process_time() - start)
        return min(best)

    seconds(400)
    assert seconds(40_000) < 10 * seconds(400)


def test_every_guard_of_entries_has_a_case() -> None:
    lines = frozenset({b"h a.example"})
    files = GuardFiles.of(lines, lines, lines)
    news = (b"h a.example", b"h localhost", b"h 127.0.0.1", b"d co.uk")
    assert {finding.guard for finding in find(Change(9, 9, news), SETTINGS, files)} == set(LINES)
