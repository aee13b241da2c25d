"""Which entries cover which: sets of entries that a line is looked up in, however many there are.

What two entries cover is either apart, or one is part of the other, so it is enough to know of
each entry in a set all the entries that are wider.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import NamedTuple, Self

from blocklist.core.entries import Entry, Kind
from blocklist.core.matching import host_lines, path_lines


class Subject(NamedTuple):
    """An entry that a release adds, in the parts that guards look at.

    Attributes:
        line: Its line.
        kind: Its kind.
        host: Its host.
        path: Its path from the first slash; empty for `host` and `domain`.
        query: Its query; empty when there is none.
        hosts: The lines of the `domain` and `host` entries that cover its host.
    """

    line: bytes
    kind: Kind
    host: str
    path: str
    query: str
    hosts: tuple[bytes, ...]

    @property
    def is_wide(self) -> bool:
        """Whether it stands for a host: `host`, `domain`, or a root page."""
        return not self.path or (self.path == "/" and not self.query)


def subject(line: bytes) -> Subject:
    """Take an entry apart.

    Raises:
        UnknownFormat: It is no entry line.
    """
    entry = Entry.from_line(line)
    host, slash, rest = entry.expression.partition("/")
    path, _, query = rest.partition("?")
    return Subject(line, entry.kind, host, slash + path, query, tuple(host_lines(host)))


def covering(item: Subject) -> Iterator[bytes]:
    """Yield the lines of all entries that cover all that this one covers, itself included."""
    for line in item.hosts:
        if item.kind is not Kind.DOMAIN or line.startswith(b"d"):
            yield line
    if item.path:
        for line in path_lines(item.host, item.path, item.query):
            if item.kind is not Kind.PREFIX or line.startswith(b"p"):
                yield line


@dataclass(frozen=True, slots=True)
class Cover:
    """A set of entries.

    Attributes:
        lines: The entries.
        above: These, and all entries that cover all of one of them.
        roots: The root pages of its `host` and `domain` entries.
    """

    lines: Set[bytes]
    above: Set[bytes]
    roots: Set[bytes]

    @classmethod
    def of(cls, lines: Set[bytes]) -> Self:
        """Return the set of these entries."""
        items = [subject(line) for line in lines]
        above = frozenset(line for item in items for line in covering(item))
        roots = frozenset(f"u {item.host}/".encode() for item in items if not item.path)
        return cls(frozenset(lines), above, roots)

    def has_host(self, item: Subject) -> bool:
        """Tell whether a `host` or `domain` entry of the set covers all of the item's host."""
        return any(line in self.lines for line in item.hosts)

    def meets(self, item: Subject) -> bool:
        """Tell whether the item covers an entry of the set, or one of them covers it."""
        return item.line in self.above or any(line in self.lines for line in covering(item))
