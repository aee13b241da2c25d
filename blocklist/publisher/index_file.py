"""The file of an index: its tables, and the errors of SQLite sorted into damage and disk.

    releases  version, role (digest of its role file), created, entries, operation, reason, record
    ranges    line, start, end, reason, end_reason

A range is held by the releases from `start` on; `end` is the first without it, null while there
is none. Its reasons are those of the entry, null where the source had none.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocklist.core.errors import LocalError, MalformedFeed
from blocklist.publisher.records import Record
from blocklist.store.localfiles import local_errors

FORMAT = 1
WAIT_SECONDS = 30.0  # for a batch of another command to be put in
CACHE_KIB = 65_536
DISK_ERRORS = (
    "SQLITE_BUSY",
    "SQLITE_CANTOPEN",
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_LOCKED",
    "SQLITE_NOMEM",
    "SQLITE_PERM",
    "SQLITE_READONLY",
)
FULL_ERRORS = ("SQLITE_FULL", "SQLITE_IOERR")
SCHEMA = """
CREATE TABLE about (list TEXT NOT NULL);
CREATE TABLE releases (
    version INTEGER PRIMARY KEY, role TEXT NOT NULL, created TEXT NOT NULL,
    entries INTEGER NOT NULL, operation TEXT NOT NULL, reason TEXT, record TEXT NOT NULL
);
CREATE TABLE ranges (
    line BLOB NOT NULL, start INTEGER NOT NULL, end INTEGER, reason TEXT, end_reason TEXT,
    PRIMARY KEY (line, start)
) WITHOUT ROWID;
CREATE INDEX endings ON ranges (end) WHERE end IS NOT NULL;
"""


class Damaged(LocalError):
    """The file is no index of this list, or not of this format; it has to be made again."""


@dataclass(frozen=True, slots=True)
class Row:
    """A release as the index has it, but for what only its record says.

    Attributes:
        version: Its version.
        role: Digest of its role file.
        created: When, as text.
        entries: Entries in it.
        record: Digest of its record.
    """

    version: int
    role: str
    created: str
    entries: int
    record: str


class IndexFile:
    """An open index file.

    Args:
        path: Where.
        name: The list.
        create: Make it when there is none; the caller holds the lock.

    Raises:
        Damaged: There is none, or it is of another list or format, or no database.
        LocalError: The disk refuses.
    """

    def __init__(self, path: Path, name: str, *, create: bool = False) -> None:
        with local_errors(f"open {path}"):
            flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
            try:
                os.close(os.open(path, flags, 0o600))  # SQLite would follow the umask
            except FileNotFoundError as error:
                raise Damaged(f"expected {path}, there is none") from error
        self._path = path
        self._name = name
        with self._errors():
            self._db = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            with self._errors():
                self._prepare(create=create)
        except BaseException:
            self._db.close()
            raise

    @staticmethod
    def remove(path: Path) -> None:
        """Remove an index file and what SQLite keeps beside it; the caller holds the lock."""
        with local_errors(f"remove {path}"):
            for suffix in ("-journal", "-wal", "-shm", ""):
                path.with_name(path.name + suffix).unlink(missing_ok=True)

    def close(self) -> None:
        """Close it."""
        self._db.close()

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Return what a query gives.

        Raises:
            Damaged, LocalError: The file cannot be read.
        """
        with self._errors():
            return self._db.execute(sql, values).fetchall()

    def has(self, version: int, role: str) -> bool:
        """Tell whether it holds this release."""
        sql = "SELECT 1 FROM releases WHERE version = ? AND role = ?"
        return bool(self.rows(sql, (version, role)))

    def newest(self) -> tuple[int, str] | None:
        """Return version and role digest of the newest release in it."""
        found = self.rows("SELECT version, role FROM releases ORDER BY version DESC LIMIT 1")
        return found[0] if found else None

    def empty(self) -> None:
        """Forget everything."""
        with self._transaction():
            self._db.execute("DELETE FROM releases")
            self._db.execute("DELETE FROM ranges")

    def put(self, releases: Iterable[tuple[Row, Record]]) -> None:
        """Put in what came after the newest release, oldest first; all of it or nothing.

        Raises:
            MalformedFeed: A record adds what was listed, or removes what was not.
        """
        with self._transaction():
            for row, record in releases:
                self._put(row, record)

    def _put(self, row: Row, record: Record) -> None:
        self._db.execute(
            "INSERT INTO releases VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(row.version, row.role, row.created, row.entries),
                *(record.operation, record.reason, row.record),
            ),
        )
        ended = self._db.executemany(
            "UPDATE ranges SET end = ?, end_reason = ? WHERE line = ? AND end IS NULL",
            ((row.version, record.reasons.get(line), line.encode()) for line in record.removed),
        )
        if record.removed and ended.rowcount != len(record.removed):
            raise MalformedFeed(f"the record of version {row.version} removes what was not listed")
        begun = self._db.executemany(
            "INSERT INTO ranges SELECT ?1, ?2, NULL, ?3, NULL WHERE NOT EXISTS"
            " (SELECT 1 FROM ranges WHERE line = ?1 AND end IS NULL)",
            ((line.encode(), row.version, record.reasons.get(line)) for line in record.added),
        )
        if record.added and begun.rowcount != len(record.added):
            raise MalformedFeed(f"the record of version {row.version} adds what was listed already")

    def _prepare(self, *, create: bool) -> None:
        self._db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        ((found,),) = self._db.execute("PRAGMA user_version").fetchall()
        if found == 0 and create and not self._db.execute("SELECT 1 FROM sqlite_master").fetchall():
            with self._transaction():
                for statement in SCHEMA.split(";\n"):
                    self._db.execute(statement)
                self._db.execute("INSERT INTO about VALUES (?)", (self._name,))
                self._db.execute(f"PRAGMA user_version = {FORMAT}")
        elif found != FORMAT or self._db.execute("SELECT list FROM about").fetchall() != [
            (self._name,)
        ]:
            raise Damaged(f"expected {self._path} to be of {self._name} and of format {FORMAT}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorname", "")
            if code.startswith(DISK_ERRORS):
                why = "the disk refuses" if code.startswith(FULL_ERRORS) else "it cannot be opened"
                raise LocalError(f"cannot use {self._path}: {why} ({code})") from error
            raise Damaged(f"{self._path} is damaged: {code}") from error
