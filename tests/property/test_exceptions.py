"""Exceptions spare exactly what the table of docs/spec.md says that such entries cover."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from blocklist.core.entries import Entry, Kind
from blocklist.subscriber.exceptions import Excepted, Exceptions
from tests.property.test_matching import HOSTS, LINES, PAGES, Page, widest

NOW = datetime(2026, 5, 4, tzinfo=UTC)
WIDE = frozenset({Kind.HOST, Kind.DOMAIN})


def exceptions(lines: frozenset[bytes], ended: frozenset[bytes] = frozenset()) -> Exceptions:
    records = [
        Excepted(Entry.from_line(line), NOW + timedelta(days=days), "x", NOW)
        for group, days in ((lines, 1), (ended - lines, 0))
        for line in sorted(group)
    ]
    return Exceptions(tuple(records), NOW)


@given(LINES, LINES, PAGES)
def test_never_wider_and_never_longer(
    lines: frozenset[bytes], ended: frozenset[bytes], page: Page
) -> None:
    found = exceptions(lines, ended).covers(page.host, page.path, page.query)
    assert (found.entry.kind if found else None) == widest(lines, page)


@given(LINES, HOSTS)
def test_a_name_is_spared_by_whole_names_alone(lines: frozenset[bytes], host: str) -> None:
    found = exceptions(lines)
    wide = frozenset(line for line in lines if Entry.from_line(line).kind in WIDE)
    assert found.covers_host(host) == (widest(wide, Page(host, "/", None)) is not None)
    assert {entry.line for entry in found.names()} == wide


@given(LINES, st.integers(0, 11))
def test_the_digest_tells_every_change(lines: frozenset[bytes], number: int) -> None:
    digest = exceptions(lines).digest
    assert exceptions(lines, frozenset({b"h other.example"})).digest == digest
    if lines:
        less = lines - {sorted(lines)[number % len(lines)]}
        assert exceptions(less).digest != digest
