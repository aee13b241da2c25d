"""Files of this machine: whole-file writes that a crash cannot halve, reads under a limit.

For the state of publisher and subscriber, and for the directory store. A crash leaves at most
temporary files called `.tmp-...`; `sweep` removes them once they are too old to be in use.
"""

import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blocklist.core.errors import LocalError

STALE_SECONDS = 3600  # no write of ours takes this long

_TEMPORARY = ".tmp-"


@contextmanager
def local_errors(what: str) -> Iterator[None]:
    """Turn an OSError of the block into `LocalError`: "cannot WHAT: reason".

    For file operations only: the exceptions of network libraries are OSErrors too.
    """
    try:
        yield
    except OSError as exc:
        raise LocalError(f"cannot {what}: {reason(exc)}") from exc


def reason(exc: OSError) -> str:
    """Return why the system refused, without the path that `str(exc)` would repeat."""
    return exc.strerror or type(exc).__name__


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Make `path` hold exactly `data`, durably; readers see the old file or the new one.

    Args:
        path: The file; its folder must exist. A symbolic link is replaced, not followed.
        data: The whole content.
        mode: Its permissions, whatever the umask.

    Raises:
        LocalError: Nothing was changed (unless only the last fsync of the folder failed).
    """
    with (
        local_errors(f"write {path}"),
        temporary_file(path.parent, data, mode, ignore_umask=True) as temporary,
    ):
        temporary.replace(path)
        sync_folder(path.parent)


def read_limited(path: Path, limit: int) -> bytes | None:
    """Return the bytes of a file, None when there is none.

    Raises:
        LocalError: More than `limit` bytes, or it cannot be read.
    """
    with local_errors(f"read {path}"):
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError:
            return None
    if len(data) > limit:
        raise LocalError(f"expected at most {limit} bytes in {path}, got more")
    return data


@contextmanager
def temporary_file(
    folder: Path, data: bytes, mode: int, *, ignore_umask: bool = False
) -> Iterator[Path]:
    """Yield a new, fully synced file with `data`; remove it afterwards unless it was renamed.

    Args:
        folder: Where; on the file system of the final place.
        data: The whole content.
        mode: Permissions, less the umask.
        ignore_umask: Permissions exactly as given.

    Raises:
        OSError: It could not be written; nothing is left.
    """
    path = folder / f"{_TEMPORARY}{secrets.token_hex(16)}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            if ignore_umask:
                os.fchmod(fd, mode)
            _write_synced(fd, data)
        finally:
            os.close(fd)
        yield path
    finally:
        with suppress(OSError):  # gone by rename, or scrap for `sweep`
            path.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a rename or link is not before its folder is.

    Raises:
        OSError: The system did not confirm it.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sweep(folder: Path, *, shared: bool = False) -> None:
    """Remove the temporary files that crashed writers left in a folder over an hour ago.

    Args:
        folder: Where to look.
        shared: Others write there too: only names that are certainly ours.

    Raises:
        OSError: The folder cannot be read or written.
    """
    oldest = time.time() - STALE_SECONDS
    for path in folder.glob(f"{_TEMPORARY}{'[0-9a-f]' * 32 if shared else '*'}"):
        with suppress(FileNotFoundError):  # another writer sweeps too
            found = path.lstat()
            if stat.S_ISREG(found.st_mode) and found.st_mtime < oldest:
                path.unlink()


def _write_synced(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]  # near a full disk it writes less than asked
    os.fsync(fd)
