"""Deltas: what turns the list bytes of one version into those of another.

    hashed  "BLH1"  u32 n_old, removed, added            then delta_hashed.py
    clear   "BLC1"  u32 n_old, removed, added, raw_len   then delta_clear.py

Integers are big-endian. `n_old` is the number of entries held; nothing may follow the last
part. A snapshot is a delta from the empty list, so that each feed has one decoder and no
options (docs/spec.md, "Deltas"). A decoder gets hostile bytes: any bytes at all give a valid
list or one typed error, and no count takes memory before it is checked against what it counts.
Whether the list is the right one is for its signed digest to say.
"""

from blocklist.core import delta_clear, delta_hashed
from blocklist.core.delta_header import HEADER_BYTES, MAGIC_BYTES, Header
from blocklist.core.entries import Feed
from blocklist.core.errors import MalformedFeed, UnknownFormat
from blocklist.core.listbytes import count

_MAGIC = {Feed.HASHED: b"BLH1", Feed.CLEAR: b"BLC1"}


def encode(feed: Feed, old: bytes, new: bytes) -> bytes:
    """Return the delta from `old` to `new`, both valid list bytes of the feed.

    Deterministic for hashed. For clear only decoding is pinned: the compressor's output changes
    between its releases, so whoever checks a delta decodes it.
    """
    if feed is Feed.HASHED:
        return _MAGIC[feed] + delta_hashed.encode(old, new)
    return _MAGIC[feed] + delta_clear.encode(old, new)


def apply(feed: Feed, old: bytes, delta: bytes, *, max_bytes: int) -> bytes:
    """Return the list bytes that hostile `delta` makes of `old`, valid list bytes of the feed.

    Args:
        feed: The feed of both.
        old: The list bytes held; empty for a snapshot.
        delta: Bytes from anywhere.
        max_bytes: The most that the result may take; checked before it is built.

    Raises:
        MalformedFeed: No delta of this feed from this list, or a result above `max_bytes`.
        UnknownFormat: A layout or an entry kind that this version does not know.
    """
    if _feed_of(delta) is not feed:
        raise MalformedFeed(f"expected a delta of the {feed} feed, got one of another feed")
    header = Header.parse(delta)
    held = count(feed, old)
    if header.n_old != held:
        raise MalformedFeed(f"expected a delta from {held} entries, got one from {header.n_old}")
    if header.removed > held:
        raise MalformedFeed(f"expected at most {held} removals, got {header.removed}")
    if feed is Feed.HASHED:
        return delta_hashed.apply(old, delta, header, max_bytes)
    return delta_clear.apply(old, delta, header, max_bytes)


def counts(delta: bytes) -> tuple[int, int]:
    """Return how many entries a delta says it removes and adds; its first 16 bytes suffice.

    Raises:
        MalformedFeed: Fewer bytes.
        UnknownFormat: A layout that this version does not know.
    """
    _feed_of(delta)
    header = Header.parse(delta)
    return header.removed, header.added


def _feed_of(delta: bytes) -> Feed:
    if len(delta) < MAGIC_BYTES:
        raise MalformedFeed(f"expected at least {HEADER_BYTES} bytes, got {len(delta)}")
    for feed, magic in _MAGIC.items():
        if delta.startswith(magic):
            return feed
    raise UnknownFormat("expected a delta that begins with BLH1 or BLC1, got another beginning")
