"""An index over the records of a list: when each entry came and went, and why.

It answers from `index/<list>.sqlite` in the publisher's home what would else need every record
there is. It is brought up to date when it is opened, at the cost of what is new: the chain of
`prev` is walked from the verified head back to the newest release in the index, then the records
are read forward, each verified by its signed digest, and put in. Whenever that ends, the index
holds a whole beginning of the history, and the next command goes on from there. It is nothing
but a copy: one that is lost, damaged or of another history is made again.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from blocklist.core.documents import format_time, parse_time
from blocklist.core.errors import FeedError, InputError
from blocklist.publisher import chain
from blocklist.publisher.index_file import Damaged, IndexFile, Row
from blocklist.publisher.records import Record
from blocklist.publisher.repository import Repository
from blocklist.store.locks import file_lock
from signing.errors import TrustError
from signing.head import Head

WITHDRAW = "withdraw"
BATCH_RELEASES = 1_000  # put in at once
BATCH_CHANGES = 100_000


@dataclass(frozen=True, slots=True)
class Removal:
    """How an entry was removed.

    Attributes:
        version: The first version without it.
        operation: What was asked for, such as `withdraw`.
        reason: Why: of the entry where the source gave one, else of the release.
        created: When that version was made.
    """

    version: int
    operation: str
    reason: str | None
    created: datetime


@dataclass(frozen=True, slots=True)
class Range:
    """Releases one after the other that held an entry.

    Attributes:
        line: The entry's line.
        first: The first version with it.
        first_created: When that was made.
        reason: Why it was listed: of the entry where the source gave one, else of the release.
        last: The last version with it; None while it is listed.
        last_created: When that was made.
        removal: How it ended; None while it is listed.
    """

    line: bytes
    first: int
    first_created: datetime
    reason: str | None
    last: int | None
    last_created: datetime | None
    removal: Removal | None


@contextmanager
def open_index(
    repository: Repository, name: str, *, head: Head | None = None, partly: bool = False
) -> Iterator["Index"]:
    """Open the index of a list, up to date with a head.

    Args:
        repository: Where.
        name: The list.
        head: A head that was read with this list; None reads it. What is newer is not shown.
        partly: Do with what it holds when a role file or record is missing or altered.

    Raises:
        UnknownList: There is no such list.
        MalformedFeed, DigestMismatch: A role file or record is missing or altered. What is
            older than it stays in the index.
        Busy: Another command has been bringing it up to date for too long.
        LocalError: The disk refuses.
    """
    head = head if head is not None else repository.head([name])
    index = Index(repository, name, head, partly=partly)
    try:
        yield index
    finally:
        index.close()


class Index:
    """What the records of a list say of its entries, as of a head; see `open_index`."""

    def __init__(
        self, repository: Repository, name: str, head: Head, *, partly: bool = False
    ) -> None:
        self._repository = repository
        self._name = name
        self._newest = head.roles.get(name)
        self._partly = partly
        self._path = repository.home.index() / f"{name}.sqlite"
        self._file = self._opened()

    @property
    def version(self) -> int:
        """The release that the answers are of; 0 when there is none."""
        return self._newest.version if self._newest is not None else 0

    @property
    def complete(self) -> bool:
        """Whether it holds all releases; not when opened `partly` on a damaged history."""
        return self._is_up_to_date(self._file)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def withdrawn(self) -> frozenset[bytes]:
        """Return the lines that are not listed and whose last removal was a withdrawal."""
        return frozenset(
            line
            for (line,) in self._rows(
                "SELECT r.line FROM releases w CROSS JOIN ranges r ON r.end = w.version"
                " WHERE w.operation = ? AND w.version <= ? AND NOT EXISTS (SELECT 1 FROM ranges l"
                " WHERE l.line = r.line AND l.start > r.start AND l.start <= ?)",
                (WITHDRAW, self.version, self.version),
            )
        )

    def withdrawn_since(self, version: int) -> frozenset[bytes]:
        """Return the lines that were withdrawn after a version and are not listed.

        Also those that came back after that and were removed again for another reason.
        """
        at = self.version
        return frozenset(
            line
            for (line,) in self._rows(
                "SELECT r.line FROM releases w CROSS JOIN ranges r ON r.end = w.version"
                " WHERE w.operation = ? AND w.version > ? AND w.version <= ? AND NOT EXISTS"
                " (SELECT 1 FROM ranges l WHERE l.line = r.line AND l.start <= ?"
                " AND (l.end IS NULL OR l.end > ?))",
                (WITHDRAW, version, at, at, at),
            )
        )

    def removed(self, lines: Iterable[bytes]) -> dict[bytes, Removal]:
        """Return how these lines were removed last, those that were and are not listed now."""
        found = {}
        for line in lines:
            last = self._rows(
                "SELECT r.end, e.operation, coalesce(r.end_reason, e.reason), e.created"
                " FROM ranges r LEFT JOIN releases e ON e.version = r.end"
                " WHERE r.line = ? AND r.start <= ? ORDER BY r.start DESC LIMIT 1",
                (line, self.version),
            )
            if last and (removal := self._removal(*last[0])) is not None:
                found[line] = removal
        return found

    def ranges(self, lines: Iterable[bytes]) -> list[Range]:
        """Return every range of versions that held one of these lines, oldest first."""
        found = [
            self._range(line, *row)
            for line in lines
            for row in self._rows(
                "SELECT r.start, s.created, coalesce(r.reason, s.reason), r.end, e.operation,"
                " coalesce(r.end_reason, e.reason), e.created"
                " FROM ranges r JOIN releases s ON s.version = r.start"
                " LEFT JOIN releases e ON e.version = r.end"
                " WHERE r.line = ? AND r.start <= ?",
                (line, self.version),
            )
        ]
        return sorted(found, key=lambda one: (one.first, one.line))

    def has_ever(self, prefix: bytes) -> bool:
        """Tell whether any line that begins so was ever listed."""
        sql = "SELECT 1 FROM ranges WHERE line >= ? AND line < ? AND start <= ? LIMIT 1"
        end = prefix[:-1] + bytes([prefix[-1] + 1])
        return bool(self._rows(sql, (prefix, end, self.version)))

    def lines_at(self, version: int) -> set[bytes]:
        """Return the lines of a version, as the records before it add up; 0 is the empty list.

        Who uses them compares their digest with the signed one.

        Raises:
            InputError: That version was never released.
        """
        if version:
            self.role(version)
        sql = "SELECT line FROM ranges WHERE start <= ? AND (end IS NULL OR end > ?)"
        return {line for (line,) in self._rows(sql, (version, version))}

    def role(self, version: int) -> str:
        """Return the digest of the role file of a release.

        Raises:
            InputError: That version was never released.
        """
        sql = "SELECT role FROM releases WHERE version = ? AND version <= ?"
        found = self._rows(sql, (version, self.version))
        if not found:
            raise InputError(f"version {version} was never released")
        return str(found[0][0])

    def _range(
        self, line: bytes, first: int, created: str, reason: str | None, *ending: Any
    ) -> Range:
        removal = self._removal(*ending)
        last, last_created = None, None
        if removal is not None:
            sql = "SELECT version, created FROM releases WHERE version < ? ORDER BY version DESC"
            ((last, text),) = self._rows(sql + " LIMIT 1", (removal.version,))
            last_created = parse_time(text)
        return Range(line, first, parse_time(created), reason, last, last_created, removal)

    def _removal(
        self, version: int | None, operation: str, reason: str | None, created: str
    ) -> Removal | None:
        if version is None or version > self.version:
            return None
        return Removal(version, operation, reason, parse_time(created))

    def _rows(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        try:
            return self._file.rows(sql, values)
        except Damaged:
            self._file.close()
            self._file = self._opened(afresh=True)
            return self._file.rows(sql, values)

    def _opened(self, *, afresh: bool = False) -> IndexFile:
        """Open the file, up to date."""
        if not afresh:
            try:
                file = IndexFile(self._path, self._name)
                if self._is_up_to_date(file):
                    return file
                file.close()
            except Damaged:
                afresh = True
        lock = self._path.with_suffix(".lock")
        seconds = self._repository.settings.lock_seconds
        with file_lock(lock, wait_seconds=seconds, what=f"the index of {self._name}"):
            try:
                return self._updated(afresh=afresh)
            except Damaged:
                if afresh:
                    raise
                return self._updated(afresh=True)

    def _is_up_to_date(self, file: IndexFile) -> bool:
        """Tell whether the head is in it; it may hold what was released meanwhile."""
        return self._newest is None or file.has(self._newest.version, self._newest.digest)

    def _updated(self, *, afresh: bool) -> IndexFile:
        """Open the file and bring it up to date, from nothing if wanted."""
        if afresh:
            IndexFile.remove(self._path)
        file = IndexFile(self._path, self._name, create=True)
        try:
            if not self._is_up_to_date(file):
                self._update(file)
        except (FeedError, TrustError):
            if not self._partly:
                file.close()
                raise
        except BaseException:
            file.close()
            raise
        return file

    def _update(self, file: IndexFile) -> None:
        """Put in what is missing, in batches, as far as it can be read."""
        batch: list[tuple[Row, Record]] = []
        changes = 0
        with chain.Reads(self._repository.store) as reads:
            missing = self._missing(file, reads)
            found = chain.with_records(
                reads, self._name, [(row.version, row.record) for row in missing[::-1]]
            )
            while missing:
                try:
                    _, record = next(found)
                except FeedError:
                    file.put(batch)
                    raise
                batch.append((missing.pop(), record))
                changes += len(record.added) + len(record.removed)
                if len(batch) == BATCH_RELEASES or changes > BATCH_CHANGES or not missing:
                    file.put(batch)
                    batch, changes = [], 0

    def _missing(self, file: IndexFile, reads: chain.Reads) -> list[Row]:
        """Return the releases that the file has to be told of, newest first.

        When the file is of another history, that is emptied and these are all releases.
        """
        if self._newest is None:
            return []
        known = file.newest()
        found: list[Row] = []
        for link in chain.walk(reads, self._newest):
            if known is not None and link.version <= known[0]:
                if (link.version, link.role.digest) == known:
                    break
                file.empty()
                known = None
            facts = link.facts
            created = format_time(facts.created)
            found.append(Row(link.version, link.role.digest, created, facts.entries, facts.record))
        else:
            if known is not None:
                file.empty()
        return found
