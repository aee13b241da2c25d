"""What is installed of one feed: list bytes in files named by their digest, and one document.

    lists/<list>/<feed>/<sha256>.list      list bytes, immutable, 0640
    lists/<list>/<feed>/<sha256>.matcher   what is searched instead, made of them (`matcher_files`)
    lists/<list>/<feed>/installed.json     names the list file in force; replacing it is the commit

Order of an installation: matcher file aside, fsync, rename, fsync of the folder; the list file in
the same way; then `installed.json`. A crash at any point leaves the old list or the new one in
force. Then `tidy` removes the files that neither the current nor the previous version names; a
reader that came too late for its file reads `installed.json` again.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from blocklist.core import documents
from blocklist.core.errors import LocalError, MalformedFeed, NotInstalled, UnknownFormat
from blocklist.store.localfiles import read_limited, write_atomic
from blocklist.subscriber import settings

FORMAT = 1
LIST_MODE = 0o640  # lists are for a group of readers; secrets are not
_DOCUMENT = "installed.json"
_LIST_SUFFIX = ".list"
_MATCHER_SUFFIX = ".matcher"
READER_TRIES = 5  # of a reader whose files went away: each time a newer version had come


@dataclass(frozen=True, slots=True)
class Version:
    """A version that was verified and installed.

    Attributes:
        version: Its number.
        role_digest: Hex SHA-256 of the list role's file.
        digest: Hex SHA-256 of the list bytes.
        length: Of the list bytes.
        entries: Number of entries, the test entry included.
        created: When the publisher made it.
        hash_key_id: Which hash key it needs; None on the clear feed.
        installed_at: When it was installed here.
    """

    version: int
    role_digest: str
    digest: str
    length: int
    entries: int
    created: datetime
    hash_key_id: str | None
    installed_at: datetime

    def to_document(self) -> dict[str, Any]:
        """Return the version as a JSON object."""
        return {
            "version": self.version,
            "role_digest": self.role_digest,
            "list_digest": self.digest,
            "length": self.length,
            "entries": self.entries,
            "created": documents.format_time(self.created),
            "hash_key_id": self.hash_key_id,
            "installed_at": documents.format_time(self.installed_at),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Version":
        """Read the object.

        Raises:
            MalformedFeed: It is damaged.
        """
        return cls(
            documents.field(document, "version", int),
            documents.digest(document, "role_digest"),
            documents.digest(document, "list_digest"),
            documents.field(document, "length", int),
            documents.field(document, "entries", int),
            documents.moment(document, "created"),
            documents.optional(document, "hash_key_id", str),
            documents.moment(document, "installed_at"),
        )


@dataclass(frozen=True, slots=True)
class Installed:
    """What `installed.json` says.

    Attributes:
        current: The version in force.
        previous: The version with other content before it, whose file is kept; None without one.
    """

    current: Version
    previous: Version | None

    def to_bytes(self) -> bytes:
        """Return the document as JSON."""
        previous = self.previous.to_document() if self.previous else None
        document = {"format": FORMAT, **self.current.to_document(), "previous": previous}
        return (json.dumps(document, indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Installed":
        """Read the document.

        Raises:
            MalformedFeed: It is damaged.
            UnknownFormat: A newer version of this program wrote it.
        """
        document = documents.parse(_DOCUMENT, data)
        number = documents.field(document, "format", int)
        if number != FORMAT:
            raise UnknownFormat(f"expected {_DOCUMENT} of format {FORMAT}, got {number}")
        previous = documents.optional(document, "previous", dict)
        return cls(
            Version.from_document(document),
            Version.from_document(previous) if previous is not None else None,
        )


class FeedFolder:
    """The folder of one feed of one list. Writers hold the state's lock; readers need none."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def document(self) -> Path:
        """The file whose replacement is the commit; who follows it watches this one."""
        return self.path / _DOCUMENT

    def read(self) -> Installed | None:
        """Return what is installed, None for nothing.

        Raises:
            LocalError: The document is damaged or cannot be read.
            UnknownFormat: A newer version of this program wrote it.
        """
        data = read_limited(self.document, settings.MAX_STATE_FILE_BYTES)
        if data is None:
            return None
        try:
            return Installed.from_bytes(data)
        except MalformedFeed as error:
            raise LocalError(f"{self.document} is damaged, pull again: {error}") from error

    def intact(self, version: Version) -> bool:
        """Tell whether the version's file is there with the right bytes."""
        try:
            with self._file(version.digest).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == version.digest
        except OSError:
            return False

    def load(self, version: Version) -> bytes:
        """Return the list bytes of a version that is `intact`.

        Raises:
            LocalError: They cannot be read.
        """
        data = read_limited(self._file(version.digest), version.length)
        if data is None:
            raise LocalError(f"expected the installed list in {self.path}, it is missing")
        return data

    def load_intact(self, version: Version) -> bytes:
        """Return the list bytes of a version, verified.

        Raises:
            FileNotFoundError: They are gone; perhaps a newer version is in force by now.
            NotInstalled: They are damaged.
            LocalError: They cannot be read.
        """
        path = self._file(version.digest)
        data = read_limited(path, version.length + settings.SURPLUS_BYTES)
        if data is None:
            raise FileNotFoundError(path)
        if hashlib.sha256(data).hexdigest() != version.digest:
            raise NotInstalled(f"the installed list in {self.path} is damaged: pull again")
        return data

    def load_current(self) -> tuple[Installed, bytes]:
        """Return what is installed and its list bytes, verified.

        Raises:
            NotInstalled: Nothing is, or its file is missing or damaged.
            LocalError: Something cannot be read.
            UnknownFormat: A newer version of this program wrote it.
        """
        for _ in range(READER_TRIES):
            found = self.read()
            if found is None:
                raise NotInstalled(f"nothing is installed in {self.path}: pull first")
            with suppress(FileNotFoundError):  # a newer version came and the file was removed
                return found, self.load_intact(found.current)
        raise NotInstalled(f"the installed list in {self.path} is missing: pull again")

    def matcher_file(self, version: Version) -> Path:
        """Return where the matcher file of a version is, or would be."""
        return self.path / f"{version.digest}{_MATCHER_SUFFIX}"

    def install(self, version: Version, data: bytes | None) -> None:
        """Put a version in force; `data` is None where its bytes are installed already.

        Raises:
            LocalError: The old version stays in force.
        """
        if data is not None:
            write_atomic(self._file(version.digest), data, mode=LIST_MODE)
        installed = Installed(version, self._previous(version))
        write_atomic(self.document, installed.to_bytes(), mode=LIST_MODE)

    def tidy(self) -> None:
        """Remove list files nobody names, and what killed pulls left; the lock must be held."""
        with suppress(OSError, LocalError):  # what stays is scrap, for the next time
            found = self.read()
            versions = (found.current, found.previous) if found else ()
            suffixes = (_LIST_SUFFIX, _MATCHER_SUFFIX)
            wanted = {f"{one.digest}{suffix}" for one in versions if one for suffix in suffixes}
            for pattern in (f"*{_LIST_SUFFIX}", f"*{_MATCHER_SUFFIX}", ".tmp-*"):
                for path in self.path.glob(pattern):
                    if path.name not in wanted:
                        path.unlink()

    def _previous(self, version: Version) -> Version | None:
        """Return the version to keep beside a new one: the last with other content."""
        try:
            found = self.read()
        except LocalError:
            return None
        if found is None or found.current.digest != version.digest:
            return found.current if found else None
        return found.previous

    def _file(self, digest: str) -> Path:
        return self.path / f"{digest}{_LIST_SUFFIX}"
