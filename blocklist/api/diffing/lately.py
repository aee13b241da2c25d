"""What could not be had a moment ago: not asked for again at once, but a repair is seen soon."""

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable

REFUSED_SECONDS = 30
_MOST = 4_096  # remembered; the oldest go first


class Lately:
    """Remembers for a short time why something could not be had."""

    def __init__(self) -> None:
        self._items: OrderedDict[Hashable, tuple[float, str]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> str | None:
        """Return why `key` could not be had, None when that is not known or too long ago."""
        with self._lock:
            at, why = self._items.get(key, (None, None))
        return why if at is not None and time.monotonic() - at < REFUSED_SECONDS else None

    def put(self, key: Hashable, why: str) -> None:
        """Remember why `key` cannot be had now."""
        with self._lock:
            self._items.pop(key, None)
            self._items[key] = (time.monotonic(), why)
            if len(self._items) > _MOST:
                self._items.popitem(last=False)
