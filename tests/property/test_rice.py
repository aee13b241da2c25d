"""RICE32 against a bit-by-bit reference that reads like the specification."""

import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocklist.core import rice
from blocklist.core.errors import MalformedFeed

U32 = 2**32
examples = settings(max_examples=400, derandomize=True, deadline=None)

anything = st.lists(st.integers(0, U32 - 1), max_size=60).map(sorted)
dense = st.lists(st.integers(0, 200), max_size=60).map(sorted)


def pack(bits: str) -> bytes:
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def reference_encode(values: list[int], *, strict: bool, k: int) -> bytes:
    before, unary, remainders = (-1 if strict else 0), "", ""
    for value in values:
        gap = value - before - strict
        unary += "0" * (gap >> k) + "1"
        remainders += f"{gap & ((1 << k) - 1):0{k}b}" if k else ""
        before = value
    return struct.pack(">BI", k, len(pack(unary))) + pack(unary) + pack(remainders)


def decode(data: bytes, count: int, *, strict: bool, limit: int = U32) -> list[int]:
    values, end = rice.decode(data, 0, count, strict=strict, limit=limit)
    assert end == len(data)
    return values.tolist()


@examples
@given(anything | dense, st.booleans())
def test_round_trip(values: list[int], strict: bool) -> None:
    values = sorted(set(values)) if strict else values
    assert decode(rice.encode(values, strict=strict), len(values), strict=strict) == values


@examples
@given(dense.filter(bool), st.booleans(), st.integers(0, 31))
def test_every_k_of_the_reference_decodes(values: list[int], strict: bool, k: int) -> None:
    values = sorted(set(values)) if strict else values
    data = reference_encode(values, strict=strict, k=k)
    assert decode(data, len(values), strict=strict) == values


@examples
@given(dense.filter(bool), st.booleans())
def test_the_encoder_picks_the_smallest_k_of_the_smallest_form(
    values: list[int], strict: bool
) -> None:
    values = sorted(set(values)) if strict else values
    forms = [reference_encode(values, strict=strict, k=k) for k in range(32)]
    assert rice.encode(values, strict=strict) == min(forms, key=len)


@examples
@given(anything.filter(bool), st.booleans())
def test_a_value_at_the_limit_is_refused(values: list[int], strict: bool) -> None:
    values = sorted(set(values)) if strict else values
    data = rice.encode(values, strict=strict)
    assert decode(data, len(values), strict=strict, limit=values[-1] + 1) == values
    with pytest.raises(MalformedFeed):
        decode(data, len(values), strict=strict, limit=values[-1])


@examples
@given(st.binary(max_size=60), st.integers(0, 80), st.booleans(), st.integers(0, 3000))
def test_any_bytes_give_a_valid_sequence_or_malformed(
    junk: bytes, count: int, strict: bool, limit: int
) -> None:
    data = struct.pack(">BI", len(junk) % 34, min(len(junk), count // 4 + 1)) + junk
    try:
        values, end = rice.decode(data, 0, count, strict=strict, limit=limit)
    except MalformedFeed:
        return
    assert len(values) == count
    assert end <= len(data)
    assert not count or 0 <= values[0] <= values[-1] < limit
    assert (np.diff(values) >= int(strict)).all()


@examples
@given(dense.filter(bool), st.booleans(), st.data())
def test_a_cut_sequence_is_malformed(values: list[int], strict: bool, data: st.DataObject) -> None:
    values = sorted(set(values)) if strict else values
    whole = rice.encode(values, strict=strict)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(MalformedFeed):
        rice.decode(cut, 0, len(values), strict=strict, limit=U32)


@examples
@given(dense.filter(bool), st.booleans(), st.integers(-5, 5).filter(bool))
def test_another_count_never_gives_the_same_bytes_a_second_meaning(
    values: list[int], strict: bool, more: int
) -> None:
    values = sorted(set(values)) if strict else values
    count = max(1, len(values) + more)
    if count != len(values):
        with pytest.raises(MalformedFeed):
            rice.decode(rice.encode(values, strict=strict), 0, count, strict=strict, limit=U32)


def test_the_worked_example() -> None:
    """Indices 0, 3, 4, 20 are gaps 0, 2, 0, 15; k = 2 has quotients 0, 0, 0, 3."""
    data = bytes.fromhex("02 00000001 e2 23")
    assert rice.encode([0, 3, 4, 20], strict=True) == data
    assert decode(data, 4, strict=True) == [0, 3, 4, 20]


def test_the_empty_sequence_is_no_bytes() -> None:
    assert rice.encode([], strict=True) == b""
    values, end = rice.decode(b"rest", 0, 0, strict=True, limit=0)
    assert (values.tolist(), end) == ([], 0)


def test_decoding_starts_at_the_offset_and_leaves_what_follows() -> None:
    data = rice.encode([5, 9], strict=False)
    values, end = rice.decode(memoryview(b"xx" + data + b"yy"), 2, 2, strict=False, limit=10)
    assert values.tolist() == [5, 9]
    assert end == 2 + len(data)


@pytest.mark.parametrize("values", [[0], [U32 - 1], [0, U32 - 1], [U32 - 2, U32 - 1]])
@pytest.mark.parametrize("strict", [False, True])
def test_the_ends_of_the_range(values: list[int], strict: bool) -> None:
    data = rice.encode(np.array(values, dtype=np.uint32), strict=strict)
    assert decode(data, len(values), strict=strict) == values


def test_equal_values_where_they_are_allowed() -> None:
    assert decode(rice.encode([7, 7, 7], strict=False), 3, strict=False) == [7, 7, 7]


@pytest.mark.parametrize(
    ("values", "strict"),
    [([2, 1], False), ([1, 1], True), ([-1], False), ([-1], True), ([U32], False)],
)
def test_what_cannot_be_encoded_is_refused(values: list[int], strict: bool) -> None:
    with pytest.raises(ValueError, match="sorted unsigned"):
        rice.encode(values, strict=strict)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("20 00000001 e2 23", "parameter"),  # k = 32
        ("02 00000002 e200 23", "padding"),  # unary plane with a byte too many
        ("02 00000001 e3 23", "coded integers"),  # a fifth one bit
        ("02 00000001 e0 23", "coded integers"),  # only three one bits
        ("02 00000000 23", "too few"),  # no unary plane
        ("02 00000001 e2", "too few"),  # no remainder plane
        ("02 ffffffff e2 23", "too few"),  # unary plane beyond the end
        ("01 00000002 e004 08", "zero padding"),  # a one bit after the remainders
    ],
)
def test_malformed_planes(data: str, reason: str) -> None:
    with pytest.raises(MalformedFeed, match=reason):
        rice.decode(bytes.fromhex(data), 0, 4, strict=True, limit=100)


@pytest.mark.parametrize("count", [U32 - 1, 10**6])
@pytest.mark.parametrize("head", ["00 00000001", "1f 00000001", "00 ffffffff", "1f ffffffff"])
def test_a_claimed_count_takes_no_memory(head: str, count: int) -> None:
    data = bytes.fromhex(head) + bytes(1000)
    tracemalloc.start()
    try:
        with pytest.raises(MalformedFeed):
            rice.decode(data, 0, count, strict=False, limit=U32)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_a_hostile_plane_of_one_bits_is_not_expanded_to_integers() -> None:
    plane = b"\xff" * 100_000
    data = struct.pack(">BI", 0, len(plane)) + plane
    tracemalloc.start()
    try:
        with pytest.raises(MalformedFeed):
            rice.decode(data, 0, 5, strict=True, limit=10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(plane)
