"""Bundles: releases, records and what proves them, in one file for an auditor.

A ZIP archive of objects under their keys in the storage, and `manifest.json`, which says of which
list and versions. Nothing in it is believed: everything counts only as far as the pinned root
leads to it. Made from the same storage, it has the same bytes.
"""

import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Self

from blocklist.core import documents
from blocklist.core.errors import InputError, LocalError, MalformedFeed, TooLarge, UnknownFormat
from blocklist.store.localfiles import local_errors
from blocklist.store.port import DEFAULT_OBJECT_LIMIT, Listed, Object
from signing import names

FORMAT = 1
MANIFEST = "manifest.json"
MAX_BUNDLE_BYTES = 16 << 30
MAX_DIRECTORY_BYTES = 64 << 20  # what says where in the archive each object is: 200,000 releases
MAX_MANIFEST_BYTES = 4_096
MAX_FILE_BYTES = DEFAULT_OBJECT_LIMIT

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first day of ZIP: one past has one bundle
_UNIX = 3
_KEY = re.compile(
    r"feed/metadata/[1-9][0-9]{0,15}\.[a-z0-9-]{1,32}\.json"
    r"|private/records/[a-z0-9-]{1,32}/[0-9a-f]{64}\.json\.gz"
    r"|private/releases/[a-z0-9-]{1,32}/[0-9a-f]{64}\.json"
)
_DAMAGE = (  # what zipfile raises for hostile bytes; NotImplementedError: a method it lacks
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
    *(NotImplementedError, RuntimeError, ValueError, OverflowError),
)
_END_BYTES, _LOCATOR_BYTES, _END64_BYTES = 22, 20, 56


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says that it is.

    Attributes:
        list: The list.
        first, last: Its oldest and newest release.
    """

    list: str
    first: int
    last: int

    def to_bytes(self) -> bytes:
        """Return it as JSON."""
        document = {"format": FORMAT, "list": self.list, "from": self.first, "to": self.last}
        return (json.dumps(document) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read it.

        Raises:
            MalformedFeed, UnknownFormat: It is damaged or from a newer version.
        """
        document = documents.parse("the manifest", data)
        version = documents.field(document, "format", int)
        if version != FORMAT:
            raise UnknownFormat(f"expected a bundle of format {FORMAT}, got {version}")
        name = documents.field(document, "list", str)
        first, last = (documents.field(document, key, int) for key in ("from", "to"))
        if not names.is_delegated_name(name) or not 1 <= first <= last:
            raise MalformedFeed("expected a manifest of a list and a range of its versions")
        return cls(name, first, last)


class Bundle:
    """An open bundle: its objects can be read like those of a storage. A context manager.

    Args:
        name: The file, as it was given: a path would not show that somebody gave a URL.

    Raises:
        InputError: It cannot be read.
        MalformedFeed, UnknownFormat: It is no bundle.
    """

    def __init__(self, name: str) -> None:
        try:
            self._file: IO[bytes] = Path(name).open("rb")  # noqa: SIM115 - closed with it
        except OSError as error:
            raise InputError(f"cannot read {name}: {error.strerror}") from error
        try:
            with _damage():
                _expect_small_directory(self._file)
                self._zip = zipfile.ZipFile(self._file)
            self._infos = {info.filename: info for info in self._zip.infolist()}
            self._expect_keys()
            self.manifest = Manifest.from_bytes(self._read(MANIFEST, MAX_MANIFEST_BYTES) or b"")
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._zip.close()
        self._file.close()

    def get(self, key: str, *, limit: int = DEFAULT_OBJECT_LIMIT) -> Object | None:
        """Return an object, or None when it is not in here.

        Raises:
            TooLarge: It has more than `limit` bytes.
            MalformedFeed: The archive is damaged there.
        """
        data = self._read(key, limit)
        return Object(data, "") if data is not None else None

    def list(self, prefix: str) -> Iterator[Listed]:
        """Iterate over the objects whose key begins with `prefix`."""
        made = datetime(*_EPOCH, tzinfo=UTC)
        for key in sorted(self._infos):
            if key.startswith(prefix) and key != MANIFEST:
                yield Listed(key, self._infos[key].file_size, made)

    def _read(self, key: str, limit: int) -> bytes | None:
        info = self._infos.get(key)
        if info is None:
            return None
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise MalformedFeed(f"expected {key} stored or deflated in the bundle")
        with _damage(), self._zip.open(info) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise TooLarge(f"expected at most {limit} bytes in {key}, got more")
        return data

    def _expect_keys(self) -> None:
        """Refuse anything that no bundle of ours holds."""
        if len(self._infos) != len(self._zip.infolist()):
            raise MalformedFeed("expected each object in the bundle once")
        for key in self._infos:
            if key != MANIFEST and not _KEY.fullmatch(key):
                raise MalformedFeed("expected metadata, records and accounts in the bundle")


class Writer:
    """Writes a new bundle; see `new_bundle`."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._zip = archive
        self._done: set[str] = set()

    def put(self, key: str, data: bytes) -> None:
        """Put in an object, once."""
        if key in self._done:
            return
        self._done.add(key)
        info = zipfile.ZipInfo(key, _EPOCH)
        info.create_system, info.external_attr = _UNIX, 0o600 << 16
        squeezed = key.endswith(".gz")
        info.compress_type = zipfile.ZIP_STORED if squeezed else zipfile.ZIP_DEFLATED
        self._zip.writestr(info, data, compresslevel=6)


@contextmanager
def new_bundle(name: str) -> Iterator[Writer]:
    """Make a new bundle, mode 0600; nothing is left of it when the block fails.

    Args:
        name: The file, as it was given.

    Raises:
        LocalError: It exists, or the disk refuses.
    """
    path = Path(name)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise LocalError(f"{name} exists; it was not touched") from error
    except OSError as error:
        raise LocalError(f"cannot write {name}: {error.strerror}") from error
    try:
        with local_errors(f"write {name}"), os.fdopen(descriptor, "w+b") as file:
            with zipfile.ZipFile(file, "w") as archive:
                yield Writer(archive)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def _damage() -> Iterator[None]:
    """Turn what the archive module raises on hostile bytes into one error."""
    try:
        yield
    except _DAMAGE as error:
        raise MalformedFeed("expected a bundle, got a damaged file") from error


def _expect_small_directory(file: IO[bytes]) -> None:
    """Refuse an archive whose directory would take too much memory, before that is read.

    The record at the very end tells its size, or the one for large archives before that does.
    """
    size = file.seek(0, os.SEEK_END)
    if size > MAX_BUNDLE_BYTES:
        raise MalformedFeed(f"expected a bundle of at most {MAX_BUNDLE_BYTES} bytes, got {size}")
    tail = _END_BYTES + _LOCATOR_BYTES + _END64_BYTES
    file.seek(max(0, size - tail))
    data = file.read(tail).rjust(tail, b"\0")
    end = data[-_END_BYTES:]
    large = data[_END64_BYTES : _END64_BYTES + 4] == b"PK\x06\x07"
    if end[:4] != b"PK\x05\x06" or end[20:] != b"\0\0":
        raise MalformedFeed("expected a bundle, got another file")
    (directory,) = struct.unpack("<Q", data[40:48]) if large else struct.unpack("<I", end[12:16])
    if directory > MAX_DIRECTORY_BYTES:
        raise MalformedFeed(
            f"expected a bundle with a directory of at most {MAX_DIRECTORY_BYTES} bytes"
        )
