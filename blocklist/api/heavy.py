"""Work that takes the processor for long, away from the loop that answers requests.

Under gevent it runs in threads of the operating system; brotli and hashing let go of the
interpreter there, and the rest is interrupted every few milliseconds, so that waiting polls and
other requests go on. Such work is given bytes and returns bytes: what it would read, or lock,
belongs to the loop. A few run at a time, some wait, the others are told to come back.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from gevent import monkey
from gevent.threadpool import ThreadPool

from blocklist.core.errors import BlocklistError

T = TypeVar("T")

SLOTS = 2  # at a time in one process
MAX_WAITING = 16  # for a slot, in one process


class TooBusy(BlocklistError):
    """Too much is being computed already."""

    http_status = 503
    retryable = True


class Heavy:
    """Bounded heavy work of one process.

    Args:
        seconds: How long somebody waits for a slot.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._free = threading.Semaphore(SLOTS)
        self._lock = threading.Lock()
        self._waiting = 0
        self._pool: Any = None

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one of the slots; what is read for the work, and its memory, counts as well.

        Raises:
            TooBusy: Too many wait, or none became free in time.
        """
        self._wait()
        try:
            yield
        finally:
            self._free.release()

    def run(self, work: Callable[..., T], *args: object) -> T:
        """Return what `work` makes of `args`; call it while holding a slot."""
        if not monkey.is_module_patched("threading"):
            return work(*args)
        if self._pool is None:
            self._pool = ThreadPool(SLOTS)
        result: T = self._pool.apply(work, args)
        return result

    def _wait(self) -> None:
        with self._lock:
            if self._waiting >= MAX_WAITING:
                raise TooBusy("too many wait for a computation")
            self._waiting += 1
        try:
            free = self._free.acquire(timeout=self._seconds)
        finally:
            with self._lock:
                self._waiting -= 1
        if not free:
            raise TooBusy("no computation ended in time")
