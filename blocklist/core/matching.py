"""Is this URL listed: the reference matcher, straight on list bytes (docs/spec.md, "Matching").

It searches the sorted bytes where they lie, in memory or mapped: opening an index costs nothing,
a look-up costs a binary search per candidate line. The subscriber's fast matcher answers the same.

The candidates for a URL, in the order in which they are tried:

    d   the host, and each of its parents of two or more labels; an address has neither
    h   the host
    p   each path boundary below the root, at most the first 64 (no prefix entry is deeper)
    u   the path with its query, if that is not empty; then the path alone
"""

import mmap
from bisect import bisect_left
from collections.abc import Iterator
from itertools import chain
from typing import Final, Protocol

from blocklist.core.canonical import canonical_host, split_url
from blocklist.core.entries import Kind
from blocklist.core.errors import MalformedFeed, Undecided, UrlLimit
from blocklist.core.hashing import ENTRY_HASH_BYTES, HOST_TAG_BYTES, EntryHasher, HashKey
from blocklist.core.hosts import bare_host, parents

MAX_PREFIX_SEGMENTS: Final = 64  # path segments of a prefix entry; sources hold no deeper one
LOOK_BACK: Final = 256  # bytes read at once to find a line's ends; most lines are shorter

ListBytes = bytes | memoryview | mmap.mmap


class Index(Protocol):
    """What the matcher asks of a list."""

    def has(self, line: bytes) -> bool:
        """Tell whether the entry line (`letter SP expression`, no line feed) is in the list."""

    def has_narrower(self, host: str) -> bool:
        """Tell whether any `url` or `prefix` entry lies on exactly this canonical host."""


class ClearIndex:
    """The clear feed's list bytes: sorted lines, each ending in a line feed."""

    __slots__ = ("_data",)

    def __init__(self, data: ListBytes) -> None:
        """Look up in `data`, which is kept, not copied.

        Raises:
            MalformedFeed: The last line is cut off.
        """
        if len(data) and data[-1] != ord("\n"):
            raise MalformedFeed("expected clear list bytes to end in a line feed")
        self._data = data

    def has(self, line: bytes) -> bool:
        """See `Index.has`."""
        return self._starts(line + b"\n")

    def has_narrower(self, host: str) -> bool:
        """See `Index.has_narrower`."""
        return any(self._starts(f"{letter} {host}/".encode("ascii")) for letter in "pu")

    def _starts(self, start: bytes) -> bool:
        """Tell whether any line (with its line feed) begins with `start`."""
        low, high = 0, len(self._data)
        while low < high:
            begin, end = self._line_around((low + high) // 2, low, high)
            if bytes(self._data[begin:end]) < start:
                low = end
            else:
                high = begin
        return bytes(self._data[low : low + len(start)]) == start

    def _line_around(self, at: int, low: int, high: int) -> tuple[int, int]:
        """Return where the line that holds byte `at` begins and ends; `low`, `high` are bounds."""
        begin = at
        while begin > low:
            chunk = max(low, begin - LOOK_BACK)
            found = bytes(self._data[chunk:begin]).rfind(b"\n")
            if found >= 0:
                begin = chunk + found + 1
                break
            begin = chunk
        end = at
        while end < high:
            found = bytes(self._data[end : min(high, end + LOOK_BACK)]).find(b"\n")
            if found >= 0:
                return begin, end + found + 1
            end += LOOK_BACK
        return begin, high


class HashedIndex:
    """The hashed feed's list bytes: sorted 16-byte entry hashes, host part first."""

    __slots__ = ("_count", "_data", "_hasher")

    def __init__(self, data: ListBytes, key: HashKey) -> None:
        """Look up in `data`, which is kept, not copied, with the list's hash key.

        Raises:
            MalformedFeed: Not a whole number of records.
        """
        self._count, rest = divmod(len(data), ENTRY_HASH_BYTES)
        if rest:
            raise MalformedFeed(
                f"expected whole {ENTRY_HASH_BYTES}-byte records, got {rest} bytes more"
            )
        self._data = data
        self._hasher = EntryHasher(key)

    def has(self, line: bytes) -> bool:
        """See `Index.has`."""
        record = self._hasher.entry_hash(line)
        return self._record(self._position(record)) == record

    def has_narrower(self, host: str) -> bool:
        """See `Index.has_narrower`; also true when another host shares the 48-bit host part."""
        tag = self._hasher.host_tag(host)
        wide = [self._hasher.entry_hash(f"{letter} {host}".encode("ascii")) for letter in "dh"]
        first = self._position(tag.ljust(ENTRY_HASH_BYTES, b"\0"))
        # Of any three records with this host part, one is neither of the two wide ones.
        records = (self._record(first + step) for step in range(len(wide) + 1))
        return any(record[:HOST_TAG_BYTES] == tag and record not in wide for record in records)

    def _position(self, record: bytes) -> int:
        return bisect_left(range(self._count), record, key=self._record)

    def _record(self, position: int) -> bytes:
        return bytes(self._data[position * ENTRY_HASH_BYTES : (position + 1) * ENTRY_HASH_BYTES])


def host_lines(host: str) -> Iterator[bytes]:
    """Yield the lines of the `domain` and `host` entries that cover a canonical host."""
    for name in parents(host):
        yield f"d {name}".encode("ascii")
    yield f"h {host}".encode("ascii")


def path_lines(host: str, path: str, query: str | None) -> Iterator[bytes]:
    """Yield the lines of the `prefix` and `url` entries that cover a canonical, split URL.

    Args:
        host: Canonical host.
        path: Canonical path, from its first slash.
        query: What follows the question mark; empty or None is no query.
    """
    end = 0
    for _ in range(MAX_PREFIX_SEGMENTS):
        if end + 1 >= len(path):  # nothing left but, perhaps, a trailing slash
            break
        end = path.find("/", end + 1)
        if end < 0:
            end = len(path)
        yield f"p {host}{path[:end]}".encode("ascii")
    if query:
        yield f"u {host}{path}?{query}".encode("ascii")
    yield f"u {host}{path}".encode("ascii")


def find(index: Index, url: str | bytes) -> Kind | None:
    """Return the kind of the widest entry that covers a URL, or None.

    Raises:
        BadUrl: A malformed URL; that is never "not listed".
        Undecided: Path or query is beyond a limit, and the host has narrower entries.
    """
    try:
        host, path, query = split_url(url)
    except UrlLimit:
        return _find_beyond_limit(index, canonical_host(url))
    return _first(index, chain(host_lines(host), path_lines(host, path, query)))


def find_host(index: Index, name: str) -> Kind | None:
    """Return `domain` or `host` when all of a bare name or address is listed, or None.

    Raises:
        BadUrl: No bare host name or address, such as a URL or a name with a port.
    """
    return _first(index, host_lines(bare_host(name)))


def _find_beyond_limit(index: Index, host: str) -> Kind | None:
    kind = _first(index, host_lines(host))
    if kind is None and index.has_narrower(host):
        raise Undecided("expected a URL within the limits on a host with entries, got a longer one")
    return kind


def _first(index: Index, lines: Iterator[bytes]) -> Kind | None:
    for line in lines:
        if index.has(line):
            return Kind.from_letter(chr(line[0]))
    return None
