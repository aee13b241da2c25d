"""Two bounded memories of one process: bytes by least use, and answers by age."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from blocklist.api.limits import CACHE_SHARE

V = TypeVar("V")


class ByteLru:
    """Keeps the bytes that were used last; for what never changes under its key.

    Args:
        capacity: Bytes in all.
        share: An item of more than this part of it, 1/4 unless told, is not kept.
    """

    def __init__(self, capacity: int, share: int = CACHE_SHARE) -> None:
        self._capacity = capacity
        self._most = capacity // share
        self._items: OrderedDict[Hashable, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> bytes | None:
        """Return what is kept under `key`, if anything."""
        with self._lock:
            data = self._items.get(key)
            if data is not None:
                self._items.move_to_end(key)
            return data

    def put(self, key: Hashable, data: bytes) -> None:
        """Keep `data`, and forget what was used longest ago."""
        if len(data) > self._most:
            return
        with self._lock:
            self._size += len(data) - len(self._items.pop(key, b""))
            self._items[key] = data
            while self._size > self._capacity:
                _, oldest = self._items.popitem(last=False)
                self._size -= len(oldest)


class AgeCache(Generic[V]):
    """Keeps answers for a time.

    Args:
        life: How long an answer may be used.
        most: How many are kept; the oldest go first.
    """

    def __init__(self, life: timedelta, most: int) -> None:
        self._life = life
        self._most = most
        self._items: OrderedDict[str, tuple[datetime, V]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, now: datetime) -> V | None:
        """Return the answer under `key` unless it is too old, or from the future (clock set)."""
        with self._lock:
            at, value = self._items.get(key, (None, None))
        return value if at is not None and self._usable(at, now) else None

    def fresh(self, now: datetime) -> dict[str, V]:
        """Return all answers that `get` would return."""
        with self._lock:
            items = list(self._items.items())
        return {key: value for key, (at, value) in items if self._usable(at, now)}

    def drop(self, key: str) -> None:
        """Forget an answer."""
        with self._lock:
            self._items.pop(key, None)

    def put(self, key: str, value: V, now: datetime) -> None:
        """Keep an answer that was found at `now`."""
        with self._lock:
            self._items.pop(key, None)
            self._items[key] = (now, value)
            while len(self._items) > self._most:
                self._items.popitem(last=False)

    def _usable(self, at: datetime, now: datetime) -> bool:
        return timedelta(0) <= now - at < self._life
