"""The fast index: a matcher file, searched where it lies.

The file is read by position (`pread`) and not mapped: a map that is truncated underneath kills
the process (SIGBUS), and bytes in a map can change after they were checked. Here a block is read,
checked, and only then searched; what is short or altered raises `Damaged`, at whatever moment it
happened. The front (bitmap, directory: 1.2 bytes an entry) is read and checked once. The blocks
are shared by all processes in the page cache.

Safe for threads. After a fork parent and child may both go on: there is no shared position.
"""

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Self

from blocklist.core import matcherfile
from blocklist.core.errors import LocalError, MalformedFeed
from blocklist.core.hashing import (
    ENTRY_HASH_BYTES,
    HOST_TAG_BYTES,
    EntryHasher,
    HashKey,
)
from blocklist.core.matcherfile import BLOCK_BYTES, CHECK_BYTES, HEAD_BYTES, Front
from blocklist.store.localfiles import reason

_WIDE = "dh"
_KEPT_BLOCKS = 512  # checked blocks that are kept: a megabyte


class Damaged(LocalError):
    """A matcher file is not what was written, or cannot be read: it must not be answered from."""


class FastIndex:
    """An index (`core.matching.Index`) over an open matcher file."""

    def __init__(self, file: int, front: Front, key: HashKey) -> None:
        """Search an open file, which is closed with the last reference.

        Args:
            file: Its descriptor, which becomes ours.
            front: What was read of it.
            key: With which its records are hashed.
        """
        self._file = file
        self._shape = front.shape
        self._firsts = front.firsts
        self._checks = front.checks
        self._bitmap = front.bitmap
        self._bits = 8 * len(front.bitmap)
        self._last: tuple[bytes, bytes | None] = b"", None
        self._kept: dict[int, bytes] = {}
        self._hasher = EntryHasher(key)

    def __del__(self) -> None:
        with suppress(OSError):
            os.close(self._file)

    @classmethod
    def open(cls, path: Path, digest: str, key: HashKey) -> Self:
        """Open the matcher file of a version.

        Args:
            path: The file.
            digest: Hex SHA-256 of the list bytes that it has to be made from.
            key: What `matcherfile.record_key` gives.

        Raises:
            Damaged: It is missing, damaged or made from something else.
        """
        try:
            # Without waiting: in its place there could be a pipe.
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise Damaged(f"cannot read {path}: {reason(error)}") from error
        try:
            return cls(file, _front(file, digest, key), key)
        except (MalformedFeed, OSError) as error:
            os.close(file)
            why = reason(error) if isinstance(error, OSError) else error
            raise Damaged(f"{path} is damaged: {why}") from error

    def verify(self) -> None:
        """Read all of it.

        Raises:
            Damaged: Any part is.
        """
        for number in range(self._shape.blocks):
            self._read(number)

    def has(self, line: bytes) -> bool:
        """See `Index.has`; raises Damaged."""
        tag = self._tag_of(line[2:].partition(b"/")[0])
        if tag is None:
            return False
        record = tag + self._hasher.item_tag(line)
        start = int.from_bytes(record[:8], "big")
        at = bisect_right(self._firsts, start) - 1
        # Usually one block. Of equal beginnings, which nobody will ever see, each is searched.
        while at >= 0:
            if _holds(self._block(at), record):
                return True
            if self._firsts[at] < start:
                break
            at -= 1
        return False

    def has_narrower(self, host: str) -> bool:
        """See `Index.has_narrower`; raises Damaged."""
        wide = [self._hasher.entry_hash(f"{letter} {host}".encode("ascii")) for letter in _WIDE]
        # Of any three records with this host tag, one is neither of the two wide ones.
        return any(record not in wide for record in islice(self._records_of(host), len(wide) + 1))

    def nothing_on(self, host: str) -> bool:
        """Tell whether surely no entry covers any URL on a canonical plain host; raises Damaged.

        False only means that it has to be looked at closely.
        """
        host_tag, bitmap, bits = self._hasher.host_tag, self._bitmap, self._bits
        name = host
        while True:
            tag = int.from_bytes(host_tag(name), "big")
            at = (tag >> 16) * bits >> 32
            if bitmap[at >> 3] >> (at & 7) & 1:
                at = (tag & 0xFFFF_FFFF) * bits >> 32
                if bitmap[at >> 3] >> (at & 7) & 1 and self._something_on(name, host):
                    return False
            name = name.partition(".")[2]
            if "." not in name:
                return True

    def _something_on(self, name: str, host: str) -> bool:
        """Look closely at a name that the bitmap holds: the host itself, or a parent of it."""
        if name == host:
            return next(self._records_of(host), None) is not None
        return self.has(f"d {name}".encode("ascii"))

    def _tag_of(self, host: bytes) -> bytes | None:
        """Return the tag of a host that the bitmap holds, else None; the last one is kept."""
        last, found = self._last
        if last == host:
            return found
        found = self._hasher.host_tag(host.decode("ascii"))
        tag = int.from_bytes(found, "big")
        for part in (tag >> 16, tag & 0xFFFF_FFFF):
            at = part * self._bits >> 32
            if not self._bitmap[at >> 3] >> (at & 7) & 1:
                found = None
                break
        self._last = host, found
        return found

    def _records_of(self, host: str) -> Iterator[bytes]:
        """Yield the records that begin with a host's tag, in order."""
        tag = self._hasher.host_tag(host)
        start = int.from_bytes(tag, "big") << 16
        for number in range(max(bisect_left(self._firsts, start) - 1, 0), self._shape.blocks):
            block = self._block(number)
            for at in range(_position(block, tag), len(block), ENTRY_HASH_BYTES):
                record = block[at : at + ENTRY_HASH_BYTES]
                if record[:HOST_TAG_BYTES] != tag:
                    return
                yield record

    def _block(self, number: int) -> bytes:
        """Return a block; those of much visited hosts are kept."""
        block = self._kept.get(number)
        if block is None:
            block = self._read(number)
            if len(self._kept) >= _KEPT_BLOCKS:
                self._kept.clear()
            self._kept[number] = block
        return block

    def _read(self, number: int) -> bytes:
        """Read a block and check it."""
        start = self._shape.records_at + number * BLOCK_BYTES
        try:
            block = os.pread(self._file, min(BLOCK_BYTES, self._shape.length - start), start)
        except OSError as error:
            raise Damaged(f"cannot read the matcher file: {reason(error)}") from error
        check = self._checks[number * CHECK_BYTES : (number + 1) * CHECK_BYTES]
        if matcherfile.block_check(block) != check:
            raise Damaged("expected the matcher file as it was written, got another block")
        return block


def _front(file: int, digest: str, key: HashKey) -> Front:
    """Read everything before the records."""
    shape = matcherfile.parse_head(os.pread(file, HEAD_BYTES, 0), digest, key)
    length = os.fstat(file).st_size
    if length != shape.length:
        raise MalformedFeed(f"expected {shape.length} bytes, got {length}")
    return Front.parse(os.pread(file, shape.records_at, 0), digest, key)


def _holds(block: bytes, record: bytes) -> bool:
    """Tell whether a record is in a block, and not only its bytes across two others."""
    at = block.find(record)
    while at > 0 and at % ENTRY_HASH_BYTES:
        at = block.find(record, at + 1)
    return at >= 0


def _position(block: bytes, tag: bytes) -> int:
    """Return the offset of the first record that is not below a host tag."""
    width = ENTRY_HASH_BYTES
    count = range(len(block) // width)
    return width * bisect_left(count, tag, key=lambda at: block[at * width : (at + 1) * width])
