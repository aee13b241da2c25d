"""The lock of whoever follows files: a child process never inherits it locked."""

import os
import threading
from types import TracebackType
from weakref import WeakSet


class FollowLock:
    """A lock that is free in the child of a fork, even if a thread of the parent held it.

    That thread does not exist in the child: an ordinary lock would stay locked for ever.
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self.renew()
        _LOCKS.add(self)

    def renew(self) -> None:
        """Forget who holds it."""
        self._lock = threading.Lock()

    def acquire(self, *, blocking: bool) -> bool:
        """Take the lock; tell whether it was free, or wait for it."""
        return self._lock.acquire(blocking=blocking)

    def release(self) -> None:
        """Give it back."""
        self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()


_LOCKS: "WeakSet[FollowLock]" = WeakSet()


def _renew_all() -> None:
    for lock in list(_LOCKS):
        lock.renew()


os.register_at_fork(after_in_child=_renew_all)
