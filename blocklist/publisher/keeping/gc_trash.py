"""What `gc` is about to delete, kept on this machine until it is certain that nobody needs it.

    BLOCKLIST_HOME/gc/trash.zip   the objects of one batch by key, uncompressed
    BLOCKLIST_HOME/gc/running     nonce of a run that has begun
    BLOCKLIST_HOME/gc/lock        one run at a time on this machine
    private/gc/running.json       in the storage: one run at a time on all machines

The mark in the storage is there as long as a trash may hold what has to be put back. So a run that
was interrupted is finished by the next one of the same home, and no other one begins before that.
"""

import json
import os
import secrets
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blocklist.core import documents
from blocklist.core.errors import Busy, FeedError, LocalError, StoreError
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from blocklist.store.localfiles import (
    local_errors,
    read_limited,
    sweep,
    sync_folder,
    temporary_file,
    write_atomic,
)
from blocklist.store.locks import file_lock

FORMAT = 1
MAX_MARK_BYTES = 4_096


class Trash:
    """The objects of one batch.

    Args:
        folder: `gc` in the home; it exists.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "trash.zip"

    def fill(self, objects: Iterable[tuple[str, bytes]]) -> list[str]:
        """Keep objects durably, and return their keys.

        Raises:
            LocalError: They could not be kept; nothing may be deleted.
        """
        with (
            local_errors(f"write {self._file}"),
            temporary_file(self._folder, b"", 0o600) as temporary,
        ):
            with zipfile.ZipFile(temporary, "w") as archive:
                for key, data in objects:
                    archive.writestr(key, data)
                kept = archive.namelist()
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(self._file)
            sync_folder(self._folder)
        return kept

    def objects(self) -> Iterator[tuple[str, bytes]]:
        """Yield key and bytes of what is kept, nothing when the trash is empty.

        Raises:
            LocalError: It is damaged.
        """
        if not self._file.exists():
            return
        with local_errors(f"read {self._file}"):
            try:
                with zipfile.ZipFile(self._file) as archive:
                    for key in archive.namelist():
                        yield key, archive.read(key)
            except (zipfile.BadZipFile, EOFError) as error:
                raise LocalError(f"{self._file} is damaged") from error

    def clear(self) -> None:
        """Forget everything: the end of a batch."""
        with local_errors(f"remove {self._file}"):
            self._file.unlink(missing_ok=True)
            sync_folder(self._folder)

    @property
    def empty(self) -> bool:
        """Whether nothing is kept."""
        return not self._file.exists()


@contextmanager
def running(repository: Repository, *, take_over: bool) -> Iterator[Trash]:
    """Be the only `gc` on this storage; the trash of an interrupted run is still full.

    Args:
        repository: Where.
        take_over: Begin although another home has not ended; that home must be gone.

    Raises:
        Busy: Another one has begun and not ended.
    """
    folder = repository.home.gc_folder()
    with file_lock(folder / "lock", wait_seconds=0.0, what="gc in BLOCKLIST_HOME"):
        with local_errors(f"clean {folder}"):
            sweep(folder)
        trash = Trash(folder)
        _mark(repository, folder / "running", take_over=take_over)
        try:
            yield trash
        finally:
            if trash.empty:
                with suppress(StoreError, OSError):  # the next run of this home finds its mark
                    repository.store.delete(layout.GC_RUNNING)
                    (folder / "running").unlink()


def _mark(repository: Repository, own: Path, *, take_over: bool) -> None:
    """Leave the mark of this home, or find it."""
    nonce = (read_limited(own, MAX_MARK_BYTES) or b"").decode("ascii", "replace")
    if not nonce:
        nonce = secrets.token_hex(16)
        write_atomic(own, nonce.encode())
    document = {
        "format": FORMAT,
        "nonce": nonce,
        "who": repository.who,
        "started": documents.format_time(repository.clock()),
    }
    if take_over:
        repository.store.delete(layout.GC_RUNNING)
    if repository.store.put_new(layout.GC_RUNNING, json.dumps(document).encode()):
        return
    found = repository.store.get(layout.GC_RUNNING, limit=MAX_MARK_BYTES)
    try:
        other = documents.parse("the mark of gc", found.data if found is not None else b"{}")
        if other.get("nonce") == nonce:
            return
        who, started = (documents.field(other, name, str) for name in ("who", "started"))
    except FeedError:
        who, started = "another machine", "some time"
    raise Busy(
        f"gc on this storage was begun by {who} at {started} and has not ended; "
        "if it was interrupted, run it there again (if that home is lost: --take-over)"
    )
