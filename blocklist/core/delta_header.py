"""The counts with which the deltas of both feeds begin (docs/spec.md, "Deltas")."""

import struct
from dataclasses import dataclass
from typing import Self

from blocklist.core.errors import MalformedFeed

MAGIC_BYTES = 4
_COUNTS = struct.Struct(">III")
HEADER_BYTES = MAGIC_BYTES + _COUNTS.size


@dataclass(frozen=True, slots=True)
class Header:
    """What a delta claims about itself, not yet checked against anything.

    Attributes:
        n_old: Entries of the list that the delta starts from.
        removed: Entries that it removes.
        added: Entries that it adds.
    """

    n_old: int
    removed: int
    added: int

    @classmethod
    def parse(cls, delta: bytes) -> Self:
        """Read the counts after the magic.

        Raises:
            MalformedFeed: Fewer than 16 bytes.
        """
        if len(delta) < HEADER_BYTES:
            raise MalformedFeed(f"expected at least {HEADER_BYTES} bytes, got {len(delta)}")
        return cls(*_COUNTS.unpack_from(delta, MAGIC_BYTES))

    def pack(self) -> bytes:
        """Return the 12 bytes after the magic."""
        return _COUNTS.pack(self.n_old, self.removed, self.added)
