"""What somebody looks at before approving a release: computed from its lines, from nothing else.

Whoever approves computes the lines that come and go on a machine of their own, and this from them.
The one thing taken from whoever staged the release is marked as such: the reasons they gave.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from blocklist.core.entries import Entry, Kind
from blocklist.publisher.guards import Finding
from blocklist.publisher.guards.suffixes import registrable

SAMPLE_ENTRIES: Final = 20

COVERS: Final[Mapping[Kind, str]] = {
    Kind.URL: "this page, with any query",
    Kind.PREFIX: "this path and everything below it, with any query",
    Kind.HOST: "every page of exactly this host, not of names below it",
    Kind.DOMAIN: "every page of this name and of every name below it",
}
_EXACT: Final = "this page with exactly this query"
_ROOT: Final = "only the root page, with any query"


class Change(NamedTuple):
    """An entry that comes or goes.

    Attributes:
        sign: `+` or `-`.
        line: Its line.
    """

    sign: str
    line: bytes


class Removal(NamedTuple):
    """How an entry that comes back once went.

    Attributes:
        version: The version that it was no longer in.
        operation: What removed it, as in the record.
        reason: The reason of that release, if one was given.
    """

    version: int
    operation: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """The changes on one registrable domain, or on one address.

    Attributes:
        name: The domain or address.
        changes: Sorted by line; what goes before what comes.
    """

    name: str
    changes: tuple[Change, ...]

    def counts(self, sign: str) -> dict[Kind, int]:
        """Return how many of its entries come (`+`) or go (`-`), by kind."""
        return _by_kind(change.line for change in self.changes if change.sign == sign)


@dataclass(frozen=True, slots=True)
class Review:
    """What a release would do.

    Attributes:
        before, after: Entries of the list, the test entry included.
        added, removed: Lines that come and go, sorted.
        groups: All changes by registrable domain, the largest group first.
        findings: What the guards found.
        overrides: Reason by code of the guards that are overridden, in the stager's words.
        returning: How entries that come were removed before, by their line.
        root_pages: Lines that come and cover a root page only: often a host was meant.
        sample: Some of the changes, from as many groups as possible.
        reason: Why, in the stager's words.
    """

    before: int
    after: int
    added: tuple[bytes, ...]
    removed: tuple[bytes, ...]
    groups: tuple[Group, ...]
    findings: tuple[Finding, ...]
    overrides: Mapping[str, str]
    returning: Mapping[bytes, Removal]
    root_pages: tuple[bytes, ...]
    sample: tuple[Change, ...]
    reason: str | None = None

    def counts(self, sign: str) -> dict[Kind, int]:
        """Return how many entries come (`+`) or go (`-`), by kind."""
        return _by_kind(self.added if sign == "+" else self.removed)


def build(
    before: int,
    added: Sequence[bytes],
    removed: Sequence[bytes],
    *,
    findings: Iterable[Finding] = (),
    overrides: Mapping[str, str] | None = None,
    returning: Mapping[bytes, Removal] | None = None,
    reason: str | None = None,
    seed: bytes,
) -> Review:
    """Return the review of a release.

    Args:
        before: Entries of the release it is made on, the test entry included; 0 for none.
        added, removed: Lines that come and go.
        findings: What the guards of whoever looks at it found.
        overrides: Reason by guard code, as the stager gave it.
        returning: The latest removal of lines, known from the records; others are ignored.
        reason: Why, as the stager gave it.
        seed: Decides which changes are sampled; something that no stager can choose or foresee.

    Raises:
        UnknownFormat: A line that is no entry.
    """
    come, go = tuple(sorted(added)), tuple(sorted(removed))
    groups = _groups(come, go)
    known = returning or {}
    return Review(
        before=before,
        after=before + len(come) - len(go),
        added=come,
        removed=go,
        groups=groups,
        findings=tuple(findings),
        overrides=dict(overrides or {}),
        returning={line: known[line] for line in come if line in known},
        root_pages=tuple(line for line in come if _is_root_page(line)),
        sample=tuple(islice(_spread(groups, seed), SAMPLE_ENTRIES)),
        reason=reason,
    )


def covers(line: bytes) -> str:
    """Return in words how wide an entry is."""
    entry = Entry.from_line(line)
    if "?" in entry.expression:
        return _EXACT
    return _ROOT if _is_root_page(line) else COVERS[entry.kind]


def _is_root_page(line: bytes) -> bool:
    return line.startswith(b"u ") and line.find(b"/") == len(line) - 1


def _groups(added: Iterable[bytes], removed: Iterable[bytes]) -> tuple[Group, ...]:
    found: dict[str, list[Change]] = {}
    names: dict[str, str] = {}
    for sign, lines in (("-", removed), ("+", added)):
        for line in lines:
            host = Entry.from_line(line).host
            if host not in names:
                names[host] = registrable(host)
            found.setdefault(names[host], []).append(Change(sign, line))
    groups = [Group(name, tuple(changes)) for name, changes in found.items()]
    return tuple(sorted(groups, key=lambda group: (-len(group.changes), group.name)))


def _spread(groups: Iterable[Group], seed: bytes) -> Iterable[Change]:
    """Yield all changes in the order of a lot: one of each group, then a second of each, .."""
    drawn = [sorted(group.changes, key=lambda change: _lot(seed, change)) for group in groups]
    drawn.sort(key=lambda changes: _lot(seed, changes[0]))
    turn = 0
    while drawn:
        for changes in drawn:
            yield changes[turn]
        turn += 1
        drawn = [changes for changes in drawn if len(changes) > turn]


def _lot(seed: bytes, change: Change) -> bytes:
    return hashlib.sha256(seed + change.sign.encode() + change.line).digest()


def _by_kind(lines: Iterable[bytes]) -> dict[Kind, int]:
    counts = Counter(line[0] for line in lines)
    return {kind: counts[ord(kind.letter)] for kind in Kind if counts[ord(kind.letter)]}
