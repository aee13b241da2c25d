"""RICE32: a non-decreasing sequence of unsigned 32-bit integers, Rice-coded in two planes.

Layout (docs/spec.md, "RICE32"; integers big-endian); the empty sequence is zero bytes:

    u8 k            0 to 31
    u32 L           length of the unary plane
    L bytes         unary plane: for each gap g, g >> k zero bits, then a one bit
    ceil(n*k/8)     remainder plane: for each gap, its low k bits

Bits are written from the most significant down; padding is zero bits, fewer than eight. A gap
is the difference to the previous value (the first to 0); `strict` sequences have no equal
values, and their gaps are one less (the first to -1). Two planes instead of interleaving so
that numpy, or any language, decodes without a loop over bits. Any k decodes; the encoder picks
the smallest total, the smaller k of equals.
"""

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from blocklist.core.errors import MalformedFeed

Indices = npt.NDArray[np.int64]

MAX_K = 31
VALUE_LIMIT = 2**32

_HEAD = struct.Struct(">BI")


def encode(values: Sequence[int] | npt.NDArray[np.integer], *, strict: bool) -> bytes:
    """Return the RICE32 form of sorted values.

    Raises:
        ValueError: Values that are not sorted (strictly, where asked) unsigned 32-bit integers.
    """
    if len(values) == 0:
        return b""
    gaps = _differences(np.asarray(values, dtype=np.int64), -int(strict)) - int(strict)
    if int(gaps.min()) < 0 or int(values[-1]) >= VALUE_LIMIT:
        raise ValueError("expected sorted unsigned 32-bit integers, got others")
    k = _best_k(gaps)
    unary = _pack_unary(gaps >> k)
    return _HEAD.pack(k, len(unary)) + unary + _pack_remainders(gaps, k)


def decode(
    data: bytes | memoryview, offset: int, count: int, *, strict: bool, limit: int
) -> tuple[Indices, int]:
    """Read `count` values from hostile bytes, each of them below `limit`.

    Returns:
        The values and the offset after them.

    Raises:
        MalformedFeed: The bytes at `offset` are not exactly such a sequence.
    """
    if count == 0:
        return np.zeros(0, dtype=np.int64), offset
    k, unary_bytes, offset = _read_head(data, offset)
    remainder_at = offset + unary_bytes
    end = remainder_at + (count * k + 7) // 8
    # Every bit counted below lies in bytes that are really there: no claim takes memory.
    if end > len(data) or count > 8 * unary_bytes:
        raise MalformedFeed("expected as many coded integers as announced, got too few bytes")
    high = _unpack_unary(data[offset:remainder_at], count, (limit - 1) >> k)
    gaps = (high << k) | _unpack_remainders(data[remainder_at:end], count, k)
    values = np.cumsum(gaps + 1) - 1 if strict else np.cumsum(gaps)
    if int(values[-1]) >= limit:
        raise MalformedFeed(f"expected integers below {limit}, got a larger one")
    return values, end


def _differences(values: Indices, before: int) -> Indices:
    return values - np.concatenate(([before], values[:-1]))


def _best_k(gaps: Indices) -> int:
    count = len(gaps)

    def size(k: int) -> int:
        return (int((gaps >> k).sum()) + count + 7) // 8 + (count * k + 7) // 8

    return min(range(MAX_K + 1), key=size)


def _pack_unary(high: Indices) -> bytes:
    ones = np.cumsum(high + 1) - 1
    bits = np.zeros(int(ones[-1]) + 1, dtype=np.uint8)
    bits[ones] = 1
    return np.packbits(bits).tobytes()


def _pack_remainders(gaps: Indices, k: int) -> bytes:
    bits = np.empty((len(gaps), k), dtype=np.uint8)
    for column in range(k):
        bits[:, column] = (gaps >> (k - 1 - column)) & 1
    return np.packbits(bits).tobytes()


def _read_head(data: bytes | memoryview, offset: int) -> tuple[int, int, int]:
    if len(data) - offset < _HEAD.size:
        raise MalformedFeed("expected coded integers, got the end of the bytes")
    k, unary_bytes = _HEAD.unpack_from(data, offset)
    if k > MAX_K:
        raise MalformedFeed(f"expected a Rice parameter of at most {MAX_K}, got {k}")
    return k, unary_bytes, offset + _HEAD.size


def _unpack_unary(plane: bytes | memoryview, count: int, max_sum: int) -> Indices:
    """Return the high part of each gap; their sum, at most `max_sum`, keeps int64 exact."""
    bits = np.unpackbits(np.frombuffer(plane, dtype=np.uint8))
    found = int(np.count_nonzero(bits))
    if found != count:
        raise MalformedFeed(f"expected {count} coded integers, got {found}")
    ones = np.flatnonzero(bits).astype(np.int64)
    if len(plane) != int(ones[-1]) // 8 + 1:
        raise MalformedFeed("expected padding of fewer than eight bits, got more")
    if int(ones[-1]) + 1 - count > max_sum:
        raise MalformedFeed("expected integers below their limit, got a larger one")
    return _differences(ones, -1) - 1


def _unpack_remainders(plane: bytes | memoryview, count: int, k: int) -> Indices:
    bits = np.unpackbits(np.frombuffer(plane, dtype=np.uint8))
    if bits[count * k :].any():
        raise MalformedFeed("expected zero padding, got other bits")
    columns = bits[: count * k].reshape(count, k)
    low = np.zeros(count, dtype=np.int64)
    for column in range(k):
        low = (low << 1) | columns[:, column]
    return low
