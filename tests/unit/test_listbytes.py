"""List bytes have exactly one form (docs/spec.md, "List bytes")."""

import random

import pytest

from blocklist.core.entries import Feed
from blocklist.core.errors import MalformedFeed, UnknownFormat
from blocklist.core.listbytes import clear_lines, count, encode_clear, line_starts, validate

LINES = [b"d example.org", b"h 192.0.2.1", b"h example.com", b"u example.com/a?b", b"p a.test/x"]
CLEAR = b"d example.org\nh 192.0.2.1\nh example.com\np a.test/x\nu example.com/a?b\n"


def test_clear_list_bytes_are_sorted_unique_and_end_in_a_line_feed() -> None:
    assert encode_clear(LINES) == CLEAR
    assert encode_clear(LINES[::-1] + LINES) == CLEAR
    assert encode_clear(iter(())) == b""


def test_sorting_is_bytewise() -> None:
    lines = [b"h a.test", b"h a-b.test", b"h aa.test", b"u a.test/A", b"u a.test/a", b"u a.test/~"]
    assert clear_lines(encode_clear(lines)) == sorted(lines)


def test_a_line_that_another_begins_with_comes_first() -> None:
    data = encode_clear([b"u a.test/ab", b"u a.test/a", b"u a.test/a!"])
    assert data == b"u a.test/a\nu a.test/a!\nu a.test/ab\n"
    validate(Feed.CLEAR, data)


def test_clear_lines_are_the_lines_without_line_feeds() -> None:
    assert clear_lines(CLEAR) == sorted(LINES)
    assert clear_lines(b"") == []


def test_line_starts_are_offsets_and_the_length() -> None:
    assert line_starts(b"h a\nh bb\n").tolist() == [0, 4, 9]
    assert line_starts(b"").tolist() == [0]


@pytest.mark.parametrize(
    ("feed", "data", "entries"),
    [
        (Feed.CLEAR, CLEAR, 5),
        (Feed.CLEAR, b"", 0),
        (Feed.HASHED, bytes(32), 2),
        (Feed.HASHED, b"", 0),
    ],
)
def test_count(feed: Feed, data: bytes, entries: int) -> None:
    assert count(feed, data) == entries


@pytest.mark.parametrize("data", [b"", CLEAR, b"h a\n", b"h !\nh ~\n"])
def test_valid_clear(data: bytes) -> None:
    validate(Feed.CLEAR, data)


@pytest.mark.parametrize(
    "data",
    [
        b"h a.test",
        b"\n",
        b"h\n",
        b"h \n",
        b" \n",
        b" h\n",
        b"ha \n",
        b"  \n",
        b"h a.test\n\n",
        b"\nh a.test\n",
        b"h a.test\r\n",
        b"h  a.test\n",
        b"h a.test \n",
        b"h a test\n",
        b"h\ta.test\n",
        b"h a\x7f\n",
        b"h a\x00\n",
        b"h a\xc3\xa9\n",
        b"\xe9 a\n",
        b"1 a\n",
        b"hh a\n",
        b"h b.test\nh a.test\n",
        b"h a.test\nh a.test\n",
        b"h aa\nh a\n",
        b"ha b\n c\n",
    ],
)
def test_malformed_clear(data: bytes) -> None:
    with pytest.raises(MalformedFeed):
        validate(Feed.CLEAR, data)


@pytest.mark.parametrize("data", [b"x a.test\n", b"h a.test\nz a.test\n", b"H a.test\n"])
def test_an_unknown_kind_letter_needs_a_newer_client(data: bytes) -> None:
    with pytest.raises(UnknownFormat):
        validate(Feed.CLEAR, data)


def test_a_wrong_shape_is_malformed_even_with_an_unknown_letter() -> None:
    with pytest.raises(MalformedFeed):
        validate(Feed.CLEAR, b"x a.test\n1 b.test\n")


def test_errors_do_not_quote_the_list() -> None:
    for data in (b"h secret.test \n", b"h secret.test\nh secret.test\n", b"x secret.test\n"):
        with pytest.raises((MalformedFeed, UnknownFormat)) as caught:
            validate(Feed.CLEAR, data)
        assert "secret" not in str(caught.value)


def hashed(*items: bytes) -> bytes:
    return b"".join(items)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(16),
        hashed(bytes(16), bytes(15) + b"\1"),
        hashed(b"\1" * 15 + b"\0", b"\1" * 16),
        hashed(b"\x7f" * 16, b"\x80" + bytes(15), b"\xff" * 16),
    ],
)
def test_valid_hashed(data: bytes) -> None:
    validate(Feed.HASHED, data)


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        bytes(15),
        bytes(17),
        bytes(32),
        hashed(bytes(15) + b"\1", bytes(16)),
        hashed(b"\1" * 16, b"\1" * 15 + b"\0"),
        hashed(b"\x80" + bytes(15), b"\x7f" * 16),
    ],
)
def test_malformed_hashed(data: bytes) -> None:
    with pytest.raises(MalformedFeed):
        validate(Feed.HASHED, data)


def test_order_of_hashes_is_bytewise_with_nul_bytes_anywhere() -> None:
    rng = random.Random(16)
    for _ in range(2000):
        pair = [bytes(rng.choice((0, 0, 1, 255)) for _ in range(16)) for _ in range(2)]
        if pair[0] < pair[1]:
            validate(Feed.HASHED, hashed(*pair))
        else:
            with pytest.raises(MalformedFeed):
                validate(Feed.HASHED, hashed(*pair))


@pytest.mark.parametrize(("feed", "data"), [(Feed.CLEAR, b"h a"), (Feed.HASHED, bytes(17))])
def test_a_partial_entry_is_not_counted(feed: Feed, data: bytes) -> None:
    with pytest.raises(MalformedFeed):
        count(feed, data)
