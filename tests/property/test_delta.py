"""Deltas: every pair of lists round-trips, and hostile bytes do no harm."""

import struct
import tracemalloc
from itertools import product

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocklist.core import delta
from blocklist.core.entries import Feed
from blocklist.core.errors import MalformedFeed, UnknownFormat
from blocklist.core.hashing import HashKey, hash_lines
from blocklist.core.listbytes import clear_lines, count, encode_clear, validate

FEEDS = list(Feed)
MAX_BYTES = 2**20
U32_MAX = 2**32 - 1
examples = settings(max_examples=200, derandomize=True, deadline=None)

# Few distinct bytes, so that lines share prefixes and hashes share heads and end in NUL.
lines = st.builds(
    lambda letter, body: letter + b" " + body,
    st.sampled_from([b"d", b"h", b"p", b"u"]),
    st.text(alphabet="ab./~!", min_size=1, max_size=8).map(str.encode),
)
hashes = st.binary(min_size=2, max_size=2).map(lambda ends: ends[:1] + bytes(14) + ends[1:]) | (
    st.lists(st.sampled_from(b"\0\1\xff"), min_size=16, max_size=16).map(bytes)
)


def lists(feed: Feed, **size: int) -> st.SearchStrategy[bytes]:
    """Valid list bytes of a feed."""
    if feed is Feed.CLEAR:
        return st.lists(lines, **size).map(encode_clear)
    return st.sets(hashes, **size).map(lambda items: b"".join(sorted(items)))


def pairs(feed: Feed) -> st.SearchStrategy[tuple[bytes, bytes]]:
    """Two lists of a feed that have much in common, or little, or nothing."""
    items = lines if feed is Feed.CLEAR else hashes
    join = encode_clear if feed is Feed.CLEAR else lambda some: b"".join(sorted(some))
    related = st.tuples(*[st.sets(items, max_size=20)] * 3).map(
        lambda three: (join(three[0] | three[1]), join(three[0] | three[2]))
    )
    return related | st.tuples(lists(feed, max_size=20), lists(feed, max_size=20))


def check_outcome(feed: Feed, old: bytes, hostile: bytes) -> None:
    """Apply bytes that may be anything: a valid list within its cap, or one typed error."""
    try:
        new = delta.apply(feed, old, hostile, max_bytes=MAX_BYTES)
    except (MalformedFeed, UnknownFormat):
        return
    validate(feed, new)
    removed, added = delta.counts(hostile)
    assert len(new) <= MAX_BYTES
    assert count(feed, new) == count(feed, old) - removed + added


@pytest.mark.parametrize("feed", FEEDS)
@examples
@given(st.data())
def test_a_delta_leads_from_the_old_list_to_the_new(feed: Feed, data: st.DataObject) -> None:
    old, new = data.draw(pairs(feed))
    made = delta.encode(feed, old, new)
    assert delta.apply(feed, old, made, max_bytes=len(new)) == new
    before, after = items(feed, old), items(feed, new)
    assert delta.counts(made[:16]) == (len(before - after), len(after - before))


@pytest.mark.parametrize("feed", FEEDS)
@examples
@given(st.data())
def test_the_cap_holds_to_the_byte(feed: Feed, data: st.DataObject) -> None:
    old, new = data.draw(pairs(feed).filter(lambda pair: pair[1] != b""))
    with pytest.raises(MalformedFeed):
        delta.apply(feed, old, delta.encode(feed, old, new), max_bytes=len(new) - 1)


@pytest.mark.parametrize("feed", FEEDS)
@examples
@given(st.data())
def test_changed_bytes_give_a_valid_list_or_a_typed_error(feed: Feed, data: st.DataObject) -> None:
    old, new = data.draw(pairs(feed))
    changed = bytearray(delta.encode(feed, old, new))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at] ^= data.draw(st.integers(1, 255))
    check_outcome(feed, old, bytes(changed))


@pytest.mark.parametrize("feed", FEEDS)
@examples
@given(st.data())
def test_cut_or_prolonged_bytes_are_refused(feed: Feed, data: st.DataObject) -> None:
    old, new = data.draw(pairs(feed))
    made = delta.encode(feed, old, new)
    cut = made[: data.draw(st.integers(0, len(made) - 1))]
    for hostile in (cut, made + data.draw(st.binary(min_size=1, max_size=4)), made + made):
        with pytest.raises(MalformedFeed):
            delta.apply(feed, old, hostile, max_bytes=MAX_BYTES)


@pytest.mark.parametrize("feed", FEEDS)
@examples
@given(st.data())
def test_random_bytes_after_a_good_beginning(feed: Feed, data: st.DataObject) -> None:
    old = data.draw(lists(feed, max_size=5))
    small = st.integers(0, 6) | st.just(U32_MAX)
    counts = [count(feed, old), data.draw(small), data.draw(small)]
    magic = b"BLC1" if feed is Feed.CLEAR else b"BLH1"
    tail = data.draw(st.binary(max_size=80))
    check_outcome(feed, old, magic + struct.pack(">III", *counts) + tail)


@examples
@given(
    lists(Feed.CLEAR, max_size=6),
    st.lists(st.integers(0, 4), max_size=4).map(bytes),
    st.lists(st.text(alphabet="hux ab\n\x7f", max_size=5), max_size=4),
)
def test_well_compressed_nonsense(old: bytes, shared: bytes, remainders: list[str]) -> None:
    raw = shared + "".join(line + "\n" for line in remainders).encode()
    head = struct.pack(">IIII", count(Feed.CLEAR, old), 0, len(shared), len(raw))
    check_outcome(Feed.CLEAR, old, b"BLC1" + head + brotli.compress(raw))


@pytest.mark.parametrize("feed", FEEDS)
@examples
@given(st.data())
def test_a_delta_is_refused_by_a_list_of_another_length(feed: Feed, data: st.DataObject) -> None:
    old, new = data.draw(pairs(feed))
    other = data.draw(lists(feed, max_size=8))
    made = delta.encode(feed, old, new)
    if count(feed, other) != count(feed, old):
        with pytest.raises(MalformedFeed):
            delta.apply(feed, other, made, max_bytes=MAX_BYTES)
    else:
        check_outcome(feed, other, made)


@examples
@given(st.lists(lines, max_size=20), st.lists(lines, max_size=20))
def test_the_hashed_encoding_is_deterministic(old: list[bytes], new: list[bytes]) -> None:
    key = HashKey(bytes(32))
    first = delta.encode(Feed.HASHED, hash_lines(old, key), hash_lines(new, key))
    again = delta.encode(Feed.HASHED, hash_lines(old[::-1], key), hash_lines(new[::-1], key))
    assert first == again


def items(feed: Feed, data: bytes) -> set[bytes]:
    if feed is Feed.CLEAR:
        return set(clear_lines(data))
    return {data[at : at + 16] for at in range(0, len(data), 16)}


def peak_of_refusal(feed: Feed, old: bytes, hostile: bytes, max_bytes: int) -> int:
    """Return the most bytes held while a delta is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(MalformedFeed):
            delta.apply(feed, old, hostile, max_bytes=max_bytes)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("removed", [0, 1, U32_MAX])
@pytest.mark.parametrize("added", [0, 10**6, U32_MAX])
@pytest.mark.parametrize("rice_head", ["0000000001", "1f00000001", "00ffffffff", "1fffffffff"])
def test_claimed_counts_take_no_memory(
    feed: Feed, removed: int, added: int, rice_head: str
) -> None:
    old = b"h a.test\n" if feed is Feed.CLEAR else bytes(16)
    magic = b"BLC1" if feed is Feed.CLEAR else b"BLH1"
    raw_length = struct.pack(">I", U32_MAX) if feed is Feed.CLEAR else b""
    hostile = magic + struct.pack(">III", 1, removed, added) + raw_length
    hostile += bytes.fromhex(rice_head) + bytes(2000)
    assert peak_of_refusal(feed, old, hostile, max_bytes=2**40) < 4 * 2**20


@pytest.mark.parametrize("claimed", [4, 2**16])
def test_a_compression_bomb_takes_little_more_than_it_announces(claimed: int) -> None:
    bomb = brotli.compress(bytes(100 * 2**20), quality=1)
    hostile = b"BLC1" + struct.pack(">IIII", 0, 0, 2, claimed) + bomb
    assert peak_of_refusal(Feed.CLEAR, b"", hostile, max_bytes=2**20) < 8 * 2**20


def test_a_raw_length_that_cannot_fit_the_list_is_refused_before_decompression() -> None:
    bomb = brotli.compress(bytes(50 * 2**20), quality=1)
    hostile = b"BLC1" + struct.pack(">IIII", 0, 0, 2, 50 * 2**20) + bomb
    assert peak_of_refusal(Feed.CLEAR, b"", hostile, max_bytes=2**20) < 2**20


def test_a_prefix_bomb_is_refused_before_lines_are_built() -> None:
    """Each of 100,000 lines claims 255 bytes of the one before: 25 MB from 0.3 MB of raw."""
    added = 100_000
    first = b"u " + b"a" * 300 + b"\n"
    raw = bytes([0]) + b"\xff" * (added - 1) + first + b"b\n" * (added - 1)
    head = struct.pack(">IIII", 0, 0, added, len(raw))
    hostile = b"BLC1" + head + brotli.compress(raw)
    assert peak_of_refusal(Feed.CLEAR, b"", hostile, max_bytes=2**20) < 4 * 2**20


@pytest.mark.parametrize("line", [b"a\n", b"u\n", b"u \n", b"uxx\n"])
def test_lines_of_another_shape_are_refused_before_many_are_built(line: bytes) -> None:
    added = 2**20 // len(line)
    raw = bytes(added) + line * added
    head = struct.pack(">IIII", 0, 0, added, len(raw))
    hostile = b"BLC1" + head + brotli.compress(raw, quality=1)
    assert peak_of_refusal(Feed.CLEAR, b"", hostile, max_bytes=2**20) < 6 * 2**20


@pytest.mark.parametrize("old", [b"", b"h a.test\nu z\n"])
def test_the_smallest_lines_take_a_small_multiple_of_their_bytes(old: bytes) -> None:
    """Those of six bytes: an object for each would take twenty times as much."""
    ends = [bytes(pair) for pair in product(range(0x21, 0x7F), repeat=2)]
    new = old + b"".join(b"u %c%b\n" % (first, end) for first in range(0x7B, 0x7F) for end in ends)
    made = delta.encode(Feed.CLEAR, old, new)
    tracemalloc.start()
    try:
        assert delta.apply(Feed.CLEAR, old, made, max_bytes=len(new)) == new
        assert tracemalloc.get_traced_memory()[1] < 12 * len(new) + 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [32_752, 98_272, 2**20, 2 * 2**20 + 1])
def test_raw_of_the_decompressors_buffer_sizes(size: int) -> None:
    """Decompression goes in steps; none of their borders may look like an end."""
    lines = encode_clear(b"u a.test/%09d" % (number * 7919) for number in range(size // 10))
    new = lines + b"u b.test/" + b"x" * (size // 2) + b"\n"
    made = delta.encode(Feed.CLEAR, b"", new)
    assert delta.apply(Feed.CLEAR, b"", made, max_bytes=len(new)) == new
    for hostile in (made + b"\0", made[:-1]):
        with pytest.raises(MalformedFeed):
            delta.apply(Feed.CLEAR, b"", hostile, max_bytes=len(new))


def test_errors_carry_nothing_of_the_list() -> None:
    old = b"h secret.test\n"
    again = delta.encode(Feed.CLEAR, b"", old)
    hostile = again[:4] + struct.pack(">I", 1) + again[8:]
    with pytest.raises(MalformedFeed) as caught:
        delta.apply(Feed.CLEAR, old, hostile, max_bytes=MAX_BYTES)
    assert "secret" not in str(caught.value)
