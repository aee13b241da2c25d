"""A store that tells how often it failed, and that lets others go on after each read.

Under gevent nothing else runs while a job reads thousands of small files one after the other, and
what a directory store opened on the way is closed only when the loop runs (`gevent.os.close`).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from blocklist.core.errors import LocalError, StoreError, TooLarge
from blocklist.store.port import DEFAULT_OBJECT_LIMIT, Listed, Object, Store


class CountingStore:
    """A view of a store for who only reads; writing is left as it is.

    Args:
        store: Where the objects are.
        failed: Called for each read that failed.
    """

    def __init__(self, store: Store, failed: Callable[[], None]) -> None:
        self._store = store
        self._failed = failed
        self.put_new = store.put_new
        self.replace_if = store.replace_if
        self.delete = store.delete

    def get(self, key: str, *, limit: int = DEFAULT_OBJECT_LIMIT) -> Object | None:
        """Return the object; see `Store.get`."""
        with self._counted():
            found = self._store.get(key, limit=limit)
        time.sleep(0)
        return found

    def list(self, prefix: str) -> Iterator[Listed]:
        """Iterate over objects; see `Store.list`."""
        with self._counted():
            yield from self._store.list(prefix)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except TooLarge:
            raise
        except (StoreError, LocalError):
            self._failed()
            raise
