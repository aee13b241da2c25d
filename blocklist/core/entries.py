"""Entries: what a list says, exactly as wide as it says it (docs/spec.md, "Entries")."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from blocklist.core.errors import UnknownFormat


class Feed(StrEnum):
    """The two forms in which each version of a list is published."""

    CLEAR = "clear"
    HASHED = "hashed"


class Kind(StrEnum):
    """How wide an entry is; the value is its word, `letter` its letter in list bytes."""

    URL = "url"
    PREFIX = "prefix"
    HOST = "host"
    DOMAIN = "domain"

    @property
    def letter(self) -> str:
        """The letter that begins the entry's line: u, p, h or d."""
        return self.value[0]

    @staticmethod
    def from_letter(letter: str) -> "Kind":
        """Return the kind for a line's letter.

        Raises:
            UnknownFormat: A letter that this version does not know.
        """
        kind = _BY_LETTER.get(letter)
        if kind is None:
            raise UnknownFormat(f"expected an entry of kind u, p, h or d, got {letter!r}")
        return kind


_BY_LETTER = {kind.letter: kind for kind in Kind}


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One curated item.

    Attributes:
        kind: How wide it is.
        expression: ASCII: `host`, `host/path` or `host/path?query`, canonical.
    """

    kind: Kind
    expression: str

    @property
    def line(self) -> bytes:
        """The entry's line in list bytes, without the line feed."""
        return f"{self.kind.letter} {self.expression}".encode("ascii")

    @property
    def host(self) -> str:
        """The host (or domain) part of the expression."""
        return self.expression.partition("/")[0]

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Return the entry that a line of verified list bytes holds.

        Raises:
            UnknownFormat: Another kind letter, or no canonical ASCII line.
        """
        letter, space, expression = line[:1], line[1:2], line[2:]
        if space != b" " or not expression or not expression.isascii():
            raise UnknownFormat("expected an entry line of letter, space and expression")
        return cls(Kind.from_letter(letter.decode("latin-1")), expression.decode("ascii"))
