"""The clear feed's delta after its header.

    u32 raw_len
    RICE32(removed indices, strict)
    brotli(raw), raw_len bytes decompressed

raw is, for each added line, a byte with the length of the prefix it shares with the previous
added line (at most 255; the first shares with the empty line), then all their remainders, each
ending in LF. Index-coded removals and this front coding measured 0.5 to 0.8 of the best generic
tool (docs/spec.md, "Deltas"). A shorter prefix than the longest decodes as well.
"""

import io
import struct
from bisect import bisect_left
from heapq import merge
from itertools import pairwise, repeat

import brotli
import numpy as np

from blocklist.core import rice
from blocklist.core.delta_header import HEADER_BYTES, Header
from blocklist.core.entries import Feed
from blocklist.core.errors import MalformedFeed
from blocklist.core.listbytes import clear_lines, line_starts, validate
from blocklist.core.rice import Indices

_RAW_LENGTH = struct.Struct(">I")
_MIN_LINE = len(b"u x\n")
_SPACE = ord(" ")
_MAX_SHARED = 255  # bytes of shared prefix that one byte can say
_INFLATE_STEP = 2**20  # bytes; about what decompression may take beyond the announced length

# Measured on URLhaus steps: quality 10 is 2% smaller than 11 in half the time; text mode and
# larger windows change nothing. Above 4 MiB (a big snapshot) 9 is 7% larger in a tenth.
_QUALITY, _QUALITY_BIG = 10, 9
_BIG = 4 * 2**20  # bytes of raw


def encode(old: bytes, new: bytes) -> bytes:
    """Return everything after the magic; both arguments are valid clear list bytes."""
    before, after = clear_lines(old), clear_lines(new)
    wanted = set(after)
    removed = [index for index, line in enumerate(before) if line not in wanted]
    added = sorted(wanted.difference(before))
    raw = _front_code(added)
    return b"".join((
        Header(len(before), len(removed), len(added)).pack(),
        _RAW_LENGTH.pack(len(raw)),
        rice.encode(removed, strict=True),
        _deflate(raw),
    ))  # fmt: skip


def apply(old: bytes, delta: bytes, header: Header, max_bytes: int) -> bytes:
    """Return the new list bytes; raises as `delta.apply`."""
    raw_length = _read_raw_length(delta, header.added, max_bytes)
    removed, offset = rice.decode(
        delta,
        HEADER_BYTES + _RAW_LENGTH.size,
        header.removed,
        strict=True,
        limit=header.n_old,
    )
    raw = _inflate(memoryview(delta)[offset:], raw_length)
    starts = line_starts(old)
    kept = len(old) - int((starts[removed + 1] - starts[removed]).sum())
    added = _read_added(raw, header.added, max_bytes - kept)
    return _splice(old, starts, removed, added) if old else added


def _front_code(lines: list[bytes]) -> bytes:
    shared = bytes(_shared_prefix(*pair) for pair in pairwise([b"", *lines]))
    return shared + b"".join(
        line[length:] + b"\n" for length, line in zip(shared, lines, strict=True)
    )


def _shared_prefix(previous: bytes, line: bytes) -> int:
    """Return how many leading bytes are equal, at most 255."""
    most = min(len(previous), len(line), _MAX_SHARED)
    difference = int.from_bytes(previous[:most]) ^ int.from_bytes(line[:most])
    return most - (difference.bit_length() + 7) // 8


def _deflate(raw: bytes) -> bytes:
    quality = _QUALITY if len(raw) <= _BIG else _QUALITY_BIG
    return bytes(brotli.compress(raw, quality=quality))


def _read_raw_length(delta: bytes, count: int, max_bytes: int) -> int:
    if len(delta) < HEADER_BYTES + _RAW_LENGTH.size:
        raise MalformedFeed("expected the length of the added lines, got the end of the bytes")
    (length,) = _RAW_LENGTH.unpack_from(delta, HEADER_BYTES)
    if count * _MIN_LINE > max_bytes:
        raise MalformedFeed(f"expected added lines of at most {max_bytes} bytes, got {count} lines")
    # Each line has a prefix byte and at least its LF; all but the prefix bytes is in the result.
    if not 2 * count <= length <= count + max_bytes:
        raise MalformedFeed(f"expected a raw length that suits {count} lines, got {length}")
    return int(length)


def _inflate(stream: memoryview, length: int) -> bytes:
    """Return the decompressed bytes, `length` of them, without taking much more memory."""
    decoder = brotli.Decompressor()
    raw = bytearray()
    try:
        piece = decoder.process(stream, output_buffer_limit=_INFLATE_STEP)
        raw += piece
        while piece and not decoder.is_finished() and len(raw) <= length:
            piece = decoder.process(b"", output_buffer_limit=_INFLATE_STEP)
            raw += piece
    except brotli.error:
        # also what follows the end of the stream; the cause says nothing more
        raise MalformedFeed("expected one brotli stream, got other bytes") from None
    if len(raw) != length or not decoder.is_finished():
        raise MalformedFeed(f"expected {length} decompressed bytes, got another number")
    return bytes(raw)


def _read_added(raw: bytes, count: int, max_bytes: int) -> bytes:
    """Return the added lines, as strictly checked as list bytes.

    Joined as they come: an object for each line would take several times its bytes.
    """
    shared, remainders = raw[:count], raw[count:]
    if remainders.count(b"\n") != count or not remainders.endswith(b"\n" if count else b""):
        raise MalformedFeed(f"expected {count} added lines, got another number")
    if sum(shared) + len(remainders) > max_bytes:
        raise MalformedFeed(f"expected at most {max_bytes} bytes of added lines, got more")
    lines = io.BytesIO()
    line = b"\n"
    for length, remainder in zip(shared, io.BytesIO(remainders), strict=True):
        if length >= len(line):
            raise MalformedFeed("expected a prefix of the previous line, got a longer one")
        line = line[:length] + remainder
        if len(line) < _MIN_LINE or line[1] != _SPACE:
            raise MalformedFeed("expected lines of letter, space, expression, got another shape")
        lines.write(line)
    added = lines.getvalue()
    validate(Feed.CLEAR, added)
    return added


def _splice(old: bytes, starts: Indices, removed: Indices, added: bytes) -> bytes:
    """Copy whole stretches of old lines: a pass over memory and a step for each change."""
    # A memoryview gives one plain integer after the other; lists of them would be large.
    at = starts[_places(old, starts, added)].data
    cuts = zip(starts[removed].data, starts[removed + 1].data, repeat(b""), strict=False)
    # Lines added at one place keep their order and come before a cut that begins there.
    edits = merge(cuts, zip(at, at, io.BytesIO(added), strict=True))
    source, new, done = memoryview(old), io.BytesIO(), 0
    for start, stop, line in edits:
        new.write(source[done:start])
        new.write(line)
        done = max(done, stop)
    new.write(source[done:])
    return new.getvalue()


def _places(old: bytes, starts: Indices, added: bytes) -> Indices:
    """Return where each added line goes among the old ones.

    By bisection, since there are far fewer added lines than old ones, and splitting all of
    those would take several times their bytes.
    """
    held = len(starts) - 1
    offsets = starts.data  # indexing a memoryview gives plain integers, and faster

    def line_at(index: int) -> bytes:
        return old[offsets[index] : offsets[index + 1]]

    places = np.zeros(added.count(b"\n"), dtype=np.int64)
    place = 0
    for index, line in enumerate(io.BytesIO(added)):
        place = bisect_left(range(held), line, lo=place, key=line_at)
        if place < held and line_at(place) == line:
            raise MalformedFeed("expected added lines that are not held, got one that is")
        places[index] = place
    return places
