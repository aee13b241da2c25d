"""The hashed feed's delta after its header.

    RICE32(removed indices, strict)
    RICE32(first 4 bytes of added entry hashes, not strict)
    12 bytes for each added entry hash: the rest of it

Within 1% of what information theory allows for uniformly distributed hashes; one list pair has
one encoding here (docs/spec.md, "Deltas").
"""

import numpy as np
import numpy.typing as npt

from blocklist.core import rice
from blocklist.core.delta_header import HEADER_BYTES, Header
from blocklist.core.entries import Feed
from blocklist.core.errors import MalformedFeed
from blocklist.core.hashing import ENTRY_HASH_BYTES
from blocklist.core.listbytes import validate
from blocklist.core.rice import Indices

_HEAD_BYTES = 4
_TAIL_BYTES = ENTRY_HASH_BYTES - _HEAD_BYTES

Hashes = npt.NDArray[np.bytes_]


def encode(old: bytes, new: bytes) -> bytes:
    """Return everything after the magic; both arguments are valid hashed list bytes."""
    before, after = _hashes(old), _hashes(new)
    removed = np.flatnonzero(~_contains(after, before))
    added = after[~_contains(before, after)]
    rows = added.view(np.uint8).reshape(-1, ENTRY_HASH_BYTES)
    heads = rows[:, :_HEAD_BYTES].copy().view(">u4").ravel()
    return b"".join((
        Header(len(before), len(removed), len(added)).pack(),
        rice.encode(removed, strict=True),
        rice.encode(heads, strict=False),
        rows[:, _HEAD_BYTES:].tobytes(),
    ))  # fmt: skip


def apply(old: bytes, delta: bytes, header: Header, max_bytes: int) -> bytes:
    """Return the new list bytes; raises as `delta.apply`."""
    size = (header.n_old - header.removed + header.added) * ENTRY_HASH_BYTES
    if size > max_bytes:
        raise MalformedFeed(f"expected a list of at most {max_bytes} bytes, got {size}")
    if header.added * _TAIL_BYTES > len(delta) - HEADER_BYTES:
        raise MalformedFeed(f"expected {header.added} added hashes, got too few bytes")
    removed, offset = rice.decode(
        delta, HEADER_BYTES, header.removed, strict=True, limit=header.n_old
    )
    added = _read_added(delta, offset, header.added)
    return _merge(_hashes(old), removed, added).tobytes()


def _hashes(data: bytes) -> Hashes:
    # Ordering and equality of S16 are exact, trailing NULs or not; see hashing.hash_lines.
    return np.frombuffer(data, dtype=f"S{ENTRY_HASH_BYTES}")


def _contains(held: Hashes, wanted: Hashes) -> npt.NDArray[np.bool_]:
    """Tell for each of `wanted` whether it is in sorted `held`."""
    if len(held) == 0:
        return np.zeros(len(wanted), dtype=bool)
    places = np.searchsorted(held, wanted)
    found: npt.NDArray[np.bool_] = held[np.minimum(places, len(held) - 1)] == wanted
    return found


def _read_added(delta: bytes, offset: int, count: int) -> Hashes:
    heads, offset = rice.decode(delta, offset, count, strict=False, limit=rice.VALUE_LIMIT)
    tails = np.frombuffer(delta, dtype=np.uint8, offset=offset)
    if len(tails) != count * _TAIL_BYTES:
        raise MalformedFeed(f"expected {count * _TAIL_BYTES} bytes of hashes, got {len(tails)}")
    rows = np.empty((count, ENTRY_HASH_BYTES), dtype=np.uint8)
    rows[:, :_HEAD_BYTES] = heads.astype(">u4").view(np.uint8).reshape(-1, _HEAD_BYTES)
    rows[:, _HEAD_BYTES:] = tails.reshape(-1, _TAIL_BYTES)
    added = rows.tobytes()
    validate(Feed.HASHED, added)
    return _hashes(added)


def _merge(held: Hashes, removed: Indices, added: Hashes) -> Hashes:
    if bool(_contains(held, added).any()):
        raise MalformedFeed("expected added hashes that are not held, got one that is")
    kept = np.delete(held, removed)
    return np.insert(kept, np.searchsorted(kept, added), added)
