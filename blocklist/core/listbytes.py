"""List bytes: the exact bytes whose digest and length the publisher signs.

Clear: lines `letter SP expression LF`, printable ASCII, sorted bytewise, unique.
Hashed: 16-byte entry hashes, sorted, unique, no separator (docs/spec.md, "List bytes").
The empty list is zero bytes in both.
"""

import io
from collections.abc import Iterable, Set
from itertools import pairwise, starmap
from operator import lt

import numpy as np
import numpy.typing as npt

from blocklist.core.entries import Feed, Kind
from blocklist.core.errors import MalformedFeed
from blocklist.core.hashing import ENTRY_HASH_BYTES

MAX_LIST_BYTES = 1 << 30  # of one feed: ten million entries, and room

_SPACE, _LF = b" \n"
_PRINTABLE = bytes(range(0x21, 0x7F))


def encode_clear(lines: Iterable[bytes]) -> bytes:
    """Return the clear feed's list bytes for lines given without line feeds, in any order."""
    return encode_ordered(ordered(lines))


def ordered(lines: Iterable[bytes]) -> list[bytes]:
    """Return lines in the order of list bytes, each once."""
    return sorted(lines if isinstance(lines, Set) else frozenset(lines))


def encode_ordered(lines: list[bytes]) -> bytes:
    """Return the clear feed's list bytes for what `ordered` returned."""
    return b"\n".join([*lines, b""])


def clear_lines(data: bytes) -> list[bytes]:
    """Return the lines of valid clear list bytes, without line feeds."""
    return data.split(b"\n")[:-1]


def count(feed: Feed, data: bytes) -> int:
    """Return how many entries list bytes hold.

    Raises:
        MalformedFeed: Hashed list bytes that end within an entry hash, or clear within a line.
    """
    if feed is Feed.HASHED:
        if len(data) % ENTRY_HASH_BYTES:
            raise MalformedFeed(
                f"expected a multiple of {ENTRY_HASH_BYTES} bytes, got {len(data)} bytes"
            )
        return len(data) // ENTRY_HASH_BYTES
    if data and not data.endswith(b"\n"):
        raise MalformedFeed("expected list bytes that end in a line feed, got another last byte")
    return data.count(b"\n")


def line_starts(data: bytes) -> npt.NDArray[np.int64]:
    """Return the byte offset of each line, then the total length (n + 1 offsets)."""
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == _LF)
    return np.concatenate((np.zeros(1, dtype=np.int64), ends.astype(np.int64) + 1))


def validate(feed: Feed, data: bytes) -> None:
    """Check that bytes have the one form that list bytes may have.

    Raises:
        MalformedFeed: Another shape or order.
        UnknownFormat: Entries of a kind that this version does not know.
    """
    entries = count(feed, data)
    if feed is Feed.HASHED:
        _validate_hashes(data)
    elif entries:
        _validate_lines(data, entries)


def _validate_hashes(data: bytes) -> None:
    hashes = np.frombuffer(data, dtype=f"S{ENTRY_HASH_BYTES}")
    if not bool((hashes[1:] > hashes[:-1]).all()):
        raise MalformedFeed("expected strictly increasing entry hashes, got another order")


def _validate_lines(data: bytes, entries: int) -> None:
    # What is left without the printable bytes must be each line's space and line feed.
    if data.translate(None, _PRINTABLE) != b" \n" * entries:
        raise MalformedFeed("expected lines of printable ASCII with one space, got other bytes")
    starts = line_starts(data)[:-1]
    octets = np.frombuffer(data, dtype=np.uint8)
    if not bool((octets[starts + 1] == _SPACE).all() and (octets[starts + 2] != _LF).all()):
        raise MalformedFeed("expected lines of letter, space, expression, got another shape")
    _validate_letters(bytes(np.unique(octets[starts]).tolist()))
    # With its line feed a line sorts as without: the line feed is less than all it may hold.
    if not all(starmap(lt, pairwise(io.BytesIO(data)))):
        raise MalformedFeed("expected strictly increasing lines, got another order")


def _validate_letters(letters: bytes) -> None:
    if not letters.isalpha():
        raise MalformedFeed("expected lines that begin with a letter, got another byte")
    for letter in letters.decode("ascii"):
        Kind.from_letter(letter)
