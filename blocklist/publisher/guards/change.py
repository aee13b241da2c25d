"""What guards look at, and what they say."""

from collections.abc import Set
from dataclasses import dataclass

from blocklist.core.entries import Kind


@dataclass(frozen=True, slots=True)
class Change:
    """What a release would do.

    Attributes:
        before: Entries of the previous release; None when there is none.
        source: Entries after it, without the test entry.
        added, removed: Lines that come and go, sorted.
        withdrawn: Lines whose latest removal was a withdrawal.
        bad: Lines of the sources that were left out because they are no entries.
        read: Lines of the sources that were meant as entries, the bad ones among them.
        operation: As in the record: `publish`, `withdraw`, `rollback`, ..
        test_line: The test entry's line, which no guard reports.
        history_complete: Whether all records could be read; else lines may be missing among the
            withdrawn ones.
    """

    before: int | None
    source: int
    added: tuple[bytes, ...] = ()
    removed: tuple[bytes, ...] = ()
    withdrawn: Set[bytes] = frozenset()
    bad: int = 0
    read: int = 0
    operation: str = "publish"
    test_line: bytes = b""
    history_complete: bool = True

    @property
    def news(self) -> tuple[bytes, ...]:
        """The lines that come, without the test entry."""
        return tuple(line for line in self.added if line != self.test_line)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one guard has against a release.

    Attributes:
        guard: Its code.
        text: For people; a function of the counts alone, without any entry.
        lines: The entries it is about, sorted; none when it is about the whole list.
    """

    guard: str
    text: str
    lines: tuple[bytes, ...] = ()


def counted(lines: tuple[bytes, ...]) -> str:
    """Return how many entries, and of which kinds: `3 entries (2 url, 1 host)`."""
    letters = [chr(line[0]) for line in lines]
    kinds = [f"{letters.count(k.letter)} {k}" for k in Kind if k.letter in letters]
    noun = "entry" if len(lines) == 1 else "entries"
    return f"{len(lines)} {noun} ({', '.join(kinds)})"
