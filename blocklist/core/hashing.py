"""Entry hashes: the hashed feed's 16 bytes for each entry (docs/spec.md, "Hashed feed").

An entry hash is the host tag (keyed BLAKE2b, 6 bytes, of the host or domain) followed by the
item tag (keyed BLAKE2b, 10 bytes, of the whole line), under the list's 32-byte hash key. The
host part lets a filter dismiss nearly every request after hashing only host names. BLAKE2b's
`person` parameter (BLAKE2 paper, section 2.8) keeps the two apart.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Self

import numpy as np

from blocklist.core.errors import InputError

HASH_KEY_BYTES = 32
HOST_TAG_BYTES = 6
ITEM_TAG_BYTES = 10
ENTRY_HASH_BYTES = HOST_TAG_BYTES + ITEM_TAG_BYTES

HOST_PERSON = b"blocklist-host-1"
ITEM_PERSON = b"blocklist-item-1"
_KEY_ID_PREFIX = b"blocklist hash key id 1\n"
_EXPRESSION_START = len(b"x ")
_BATCH = 1 << 16  # hashes that are objects at a time: an object takes three times its 16 bytes


@dataclass(frozen=True, slots=True, repr=False)
class HashKey:
    """The secret of one list's hashed feed.

    Attributes:
        secret: Exactly 32 bytes; never printed.

    Raises:
        InputError: Another length.
    """

    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != HASH_KEY_BYTES:
            raise InputError(
                f"expected a hash key of {HASH_KEY_BYTES} bytes, got {len(self.secret)}"
            )

    def __repr__(self) -> str:
        return "HashKey(<redacted>)"

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """Return the key that 64 hex digits spell.

        Raises:
            InputError: Something else.
        """
        try:
            secret = bytes.fromhex(text)
        except ValueError:
            # `from None`: the cause could quote a character of the secret
            raise InputError("expected a hash key in hex, got other characters") from None
        return cls(secret)

    def hex(self) -> str:
        """Return the secret as 64 lower-case hex digits."""
        return self.secret.hex()

    @property
    def id(self) -> str:
        """What signed metadata calls the key: 64 hex digits that do not give it away."""
        return hashlib.sha256(_KEY_ID_PREFIX + self.secret).hexdigest()


class EntryHasher:
    """Hashes hosts and lines under one key.

    Copying a hash object that has already absorbed the key costs half of keying a new one.
    """

    __slots__ = ("_host", "_item")

    def __init__(self, key: HashKey) -> None:
        self._host = hashlib.blake2b(key=key.secret, digest_size=HOST_TAG_BYTES, person=HOST_PERSON)
        self._item = hashlib.blake2b(key=key.secret, digest_size=ITEM_TAG_BYTES, person=ITEM_PERSON)

    def host_tag(self, host: str) -> bytes:
        """Return the 6-byte tag of a canonical (ASCII) host or domain."""
        tag = self._host.copy()
        tag.update(host.encode("ascii"))
        return tag.digest()

    def item_tag(self, line: bytes) -> bytes:
        """Return the 10-byte tag of a line, given without its line feed."""
        tag = self._item.copy()
        tag.update(line)
        return tag.digest()

    def entry_hash(self, line: bytes) -> bytes:
        """Return the 16-byte entry hash of a line, given without its line feed."""
        host = line[_EXPRESSION_START:].partition(b"/")[0]
        return self.host_tag(host.decode("ascii")) + self.item_tag(line)

    def entry_hashes(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the 16-byte entry hash of each line; neighbours often share their host."""
        new_host, new_item = self._host.copy, self._item.copy
        last: bytes | None = None
        tag = b""
        for line in lines:
            host = line[_EXPRESSION_START:].partition(b"/")[0]
            if host != last:
                hashed = new_host()
                hashed.update(host)
                last, tag = host, hashed.digest()
            item = new_item()
            item.update(line)
            yield tag + item.digest()


def hash_lines(lines: Iterable[bytes], key: HashKey) -> bytes:
    """Return the hashed feed's list bytes for lines given without line feeds, in any order.

    Returns:
        16-byte entry hashes, sorted, unique, no separator.
    """
    joined = bytearray()
    entry_hashes = EntryHasher(key).entry_hashes(lines)
    while batch := b"".join(islice(entry_hashes, _BATCH)):
        joined += batch
    # Ordering of numpy's S16 is exact: it pads with NUL, the least byte, so trailing NULs count.
    # Only turning single items into `bytes` would lose them; nothing here does.
    hashes = np.sort(np.frombuffer(joined, dtype=f"S{ENTRY_HASH_BYTES}"))
    fresh = np.ones(len(hashes), dtype=bool)
    fresh[1:] = hashes[1:] != hashes[:-1]
    return hashes[fresh].tobytes()
