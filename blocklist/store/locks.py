"""Locks between processes: flock(2) on a file that stays.

The kernel releases the lock when its holder dies, so there is no stale lock to clean up; the file
is never deleted, or two commands could each lock a file of the same name.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blocklist.core.errors import Busy
from blocklist.store.localfiles import local_errors

_FIRST_PAUSE_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 0.05


@contextmanager
def file_lock(path: Path, *, wait_seconds: float, what: str) -> Iterator[None]:
    """Hold the exclusive lock on `path` (created with mode 0600; its folder must exist).

    Excludes threads as well as processes; it is not re-entrant.

    Args:
        path: The lock file.
        wait_seconds: How long to wait for it; 0 tries once.
        what: What the lock protects, for the message.

    Raises:
        Busy: Somebody else held it all the while.
        LocalError: The file cannot be opened or locked.
    """
    with local_errors(f"lock {path}"):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not _acquire(fd, path, time.monotonic() + wait_seconds):
            raise Busy(f"another command has used {what} for {wait_seconds:g} s")
        try:
            yield
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # closing is not enough while a forked child has it open
    finally:
        os.close(fd)


def _acquire(fd: int, path: Path, deadline: float) -> bool:
    pause = _FIRST_PAUSE_SECONDS
    while not _try_lock(fd, path):
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
    return True


def _try_lock(fd: int, path: Path) -> bool:
    with local_errors(f"lock {path}"):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
