"""The matcher file: what is searched instead of list bytes (docs/spec.md, "Matcher file").

    head        magic, number of records, what it was made from, check of head, bitmap and directory
    bitmap      eight bits for each record: which host tags there may be
    directory   for each block its first record and its check
    records     sorted 16-byte entry hashes, in blocks of 128

It is a function of list bytes and key: whoever makes it again gets the same bytes. The records of
the hashed feed are its list bytes. Those of the clear feed are hashed with a key made of the
list's digest, which is no secret, and differs from version to version.
"""

import hashlib
import io
import struct
from array import array
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from blocklist.core.entries import Feed
from blocklist.core.errors import MalformedFeed
from blocklist.core.hashing import ENTRY_HASH_BYTES, HOST_TAG_BYTES, HashKey, hash_lines

MAGIC = b"BLMATCH1"
BLOCK_RECORDS = 128
BLOCK_BYTES = BLOCK_RECORDS * ENTRY_HASH_BYTES
CHECK_BYTES = 16  # of a block
BITMAP_BITS = 8  # for each record
MAX_RECORDS = (1 << 30) // ENTRY_HASH_BYTES  # as many as list bytes of the hashed feed may hold

_HEAD = struct.Struct(">8sQ32s32s32s")
HEAD_BYTES = _HEAD.size
_HEAD_CHECK_BYTES = 32
_DIRECTORY_ITEM = np.dtype([("first", "V16"), ("check", "V16")])
_CLEAR_KEY_PREFIX = b"blocklist matcher key 1\n"
_CHUNK = 1 << 20  # records at a time, so that temporary arrays stay small


def record_key(feed: Feed, digest: str, hash_key: HashKey | None) -> HashKey:
    """Return the key that the records of a version are hashed with.

    Args:
        feed: Of the list bytes.
        digest: Hex SHA-256 of the list bytes.
        hash_key: The list's secret; only of the hashed feed.

    Raises:
        MalformedFeed: The hashed feed without its key.
    """
    if feed is Feed.CLEAR:
        return HashKey(hashlib.sha256(_CLEAR_KEY_PREFIX + bytes.fromhex(digest)).digest())
    if hash_key is None:
        raise MalformedFeed("expected the hash key of a hashed feed, got none")
    return hash_key


@dataclass(frozen=True, slots=True)
class Shape:
    """Where the parts of a matcher file lie; all of it follows from the number of records."""

    records: int

    @property
    def blocks(self) -> int:
        """How many blocks hold the records."""
        return -(-self.records // BLOCK_RECORDS)

    @property
    def bitmap_bytes(self) -> int:
        """Length of the bitmap, at least 1."""
        return max(1, self.records * BITMAP_BITS // 8)

    @property
    def directory_bytes(self) -> int:
        """Length of the directory."""
        return self.blocks * _DIRECTORY_ITEM.itemsize

    @property
    def records_at(self) -> int:
        """Offset of the first record."""
        return HEAD_BYTES + self.bitmap_bytes + self.directory_bytes

    @property
    def length(self) -> int:
        """Length of the whole file."""
        return self.records_at + self.records * ENTRY_HASH_BYTES


@dataclass(frozen=True, slots=True)
class Front:
    """Everything before the records, checked; kept in memory while a version is in force.

    Attributes:
        shape: Where things lie.
        bitmap: The bitmap.
        firsts: The first eight bytes of each block's first record, as numbers.
        checks: The checks of all blocks, 16 bytes each.
    """

    shape: Shape
    bitmap: bytes
    firsts: "array[int]"
    checks: bytes

    @classmethod
    def parse(cls, front: bytes, digest: str, key: HashKey) -> Self:
        """Read the front of a file, which has to be made from these list bytes with this key.

        Raises:
            MalformedFeed: It is damaged, or made from others.
        """
        shape = parse_head(front[:HEAD_BYTES], digest, key)
        if len(front) != shape.records_at:
            raise MalformedFeed(f"expected {shape.records_at} bytes of front, got {len(front)}")
        if _front_check(front) != front[HEAD_BYTES - _HEAD_CHECK_BYTES : HEAD_BYTES]:
            raise MalformedFeed("expected another check of bitmap and directory")
        directory_at = HEAD_BYTES + shape.bitmap_bytes
        directory = np.frombuffer(front, dtype=_DIRECTORY_ITEM, offset=directory_at)
        firsts = np.ascontiguousarray(directory["first"]).view(">u8")[::2].astype(np.uint64)
        return cls(
            shape,
            front[HEAD_BYTES:directory_at],
            array("Q", firsts.tobytes()),
            directory["check"].tobytes(),
        )


def parse_head(head: bytes, digest: str, key: HashKey) -> Shape:
    """Read the first bytes of a file: what else there must be.

    Raises:
        MalformedFeed: It is damaged, or made from other list bytes or with another key.
    """
    if len(head) != HEAD_BYTES:
        raise MalformedFeed(f"expected a head of {HEAD_BYTES} bytes, got {len(head)}")
    magic, records, made_from, key_id, _ = _HEAD.unpack(head)
    if magic != MAGIC or records > MAX_RECORDS:
        raise MalformedFeed("expected a matcher file, got something else")
    if made_from.hex() != digest or key_id.hex() != key.id:
        raise MalformedFeed("expected a matcher file of this version, got that of another")
    return Shape(records)


def encode(feed: Feed, data: bytes, digest: str, key: HashKey) -> bytes:
    """Return the matcher file of valid list bytes.

    Args:
        feed: Of the list bytes.
        data: The list bytes.
        digest: Their hex SHA-256.
        key: What `record_key` gives.
    """
    records = data if feed is Feed.HASHED else hash_lines(_lines(data), key)
    shape = Shape(len(records) // ENTRY_HASH_BYTES)
    directory = np.empty(shape.blocks, dtype=_DIRECTORY_ITEM)
    for number in range(shape.blocks):
        block = records[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]
        directory[number] = (block[:ENTRY_HASH_BYTES], block_check(block))
    content = _bitmap(records, shape) + directory.tobytes()
    facts = (MAGIC, shape.records, bytes.fromhex(digest), bytes.fromhex(key.id))
    check = _front_check(_HEAD.pack(*facts, b"") + content)
    return b"".join((_HEAD.pack(*facts, check), content, records))


def block_check(block: bytes) -> bytes:
    """Return the 16-byte check of a block."""
    return hashlib.blake2b(block, digest_size=CHECK_BYTES).digest()


def _front_check(front: bytes) -> bytes:
    """Return the check of everything before the records but the check itself."""
    check = hashlib.blake2b(front[: HEAD_BYTES - _HEAD_CHECK_BYTES], digest_size=_HEAD_CHECK_BYTES)
    check.update(memoryview(front)[HEAD_BYTES:])
    return check.digest()


def _lines(data: bytes) -> "map[bytes]":
    return map(bytes.rstrip, io.BytesIO(data))  # no line ends in white space but its line feed


def _bitmap(records: bytes, shape: Shape) -> bytes:
    """Return the bitmap: for each host tag the two bits of `bit_numbers`."""
    size = shape.bitmap_bytes * 8
    flags = np.zeros(size, dtype=np.uint8)
    octets = np.frombuffer(records, dtype=np.uint8).reshape(-1, ENTRY_HASH_BYTES)
    for start in range(0, len(octets), _CHUNK):
        tags = np.ascontiguousarray(octets[start : start + _CHUNK, :HOST_TAG_BYTES])
        flags[_scaled(tags[:, :4], size)] = 1
        flags[_scaled(tags[:, 2:], size)] = 1
    return np.packbits(flags, bitorder="little").tobytes()


def _scaled(octets: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint64]:
    """Return four-byte numbers scaled from 32 bits to bit numbers of the bitmap."""
    numbers = np.ascontiguousarray(octets).view(">u4")[:, 0].astype(np.uint64)
    return numbers * np.uint64(size) >> np.uint64(32)
