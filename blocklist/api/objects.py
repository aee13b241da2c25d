"""Immutable objects, through a bounded memory.

The API copies: an object that does not match its digest is handed on as it is, so that the
subscriber sees the damage. Only what matched is remembered, so that a repair is seen at once.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from blocklist.api.cache import ByteLru
from blocklist.core.entries import Feed
from blocklist.core.errors import TooLarge
from blocklist.core.release import Blob
from blocklist.store import layout
from blocklist.store.port import Object, Store


@dataclass(frozen=True, slots=True)
class Found:
    """A stored object.

    Attributes:
        data: Its bytes.
        intact: Whether it is what its name or signature says.
    """

    data: bytes
    intact: bool


class Objects:
    """Reads immutable objects of a store.

    Args:
        store: Where.
        memory: For what matched.
    """

    def __init__(self, store: Store, memory: ByteLru) -> None:
        self._store = store
        self._memory = memory

    def read(self, key: str, limit: int, intact: Callable[[bytes], bool]) -> Found | None:
        """Return an object; `intact` judges its bytes.

        None when there is none, or one of more than `limit` bytes: nobody released that.

        Raises:
            StoreError: The storage fails.
        """
        known = self._memory.get(key)
        if known is not None:
            return Found(known, intact=True)
        stored = self._get(key, limit)
        if stored is None:
            return None
        found = Found(stored.data, intact(stored.data))
        if found.intact:
            self._memory.put(key, found.data)
        return found

    def _get(self, key: str, limit: int) -> Object | None:
        try:
            return self._store.get(key, limit=limit)
        except TooLarge:
            return None

    def target(
        self, list_name: str, feed: Feed, name: str, sha256: str, limit: int
    ) -> Found | None:
        """Return a target object (`list`, `snapshot` or `delta-<from>`) by its digest."""
        key = layout.target_key(layout.target_path(list_name, feed, name), sha256)
        return self.read(key, limit, lambda data: hashlib.sha256(data).hexdigest() == sha256)

    def blob(self, list_name: str, feed: Feed, blob: Blob, limit: int) -> Found | None:
        """Return the object that a release names."""
        return self.target(list_name, feed, blob.name, blob.sha256, limit)
