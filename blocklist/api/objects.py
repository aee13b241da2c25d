"""Immutable objects, through a bounded memory.

The API copies: an object that does not match its digest is handed on as it is, so that the
subscriber sees the damage. Only what matched is remembered, so that a repair is seen at once. All
who want the same large object have the same bytes; a few such are read and judged at a time.
"""

import hashlib
from collections.abc import Callable

from blocklist.api.bodies import Bodies, Body, busy
from blocklist.api.cache import ByteLru
from blocklist.api.flights import Flights
from blocklist.api.heavy import Heavy, TooBusy
from blocklist.api.limits import IN_FLIGHT_BYTES, LARGE_BYTES, LARGE_WAIT_SECONDS
from blocklist.core.entries import Feed
from blocklist.core.errors import TooLarge
from blocklist.core.release import Blob
from blocklist.store import layout
from blocklist.store.port import Object, Store

Judge = Callable[[bytes], bool]


class Objects:
    """Reads immutable objects of a store.

    Args:
        store: Where.
        memory: For what matched.
        capacity: Bytes of different large bodies that may be in use.

    Attributes:
        bodies: The large bodies in use, also those that are made of objects.
    """

    def __init__(self, store: Store, memory: ByteLru, capacity: int = IN_FLIGHT_BYTES) -> None:
        self.bodies = Bodies(capacity)
        self._store = store
        self._memory = memory
        self._flights = Flights[Body | None]()
        self._heavy = Heavy(LARGE_WAIT_SECONDS)

    def read(self, key: str, limit: int, intact: Judge, length: int = 0) -> Body | None:
        """Return an object.

        Args:
            key: Its key.
            limit: Most bytes it may have.
            intact: Judges its bytes; of a large object in another thread.
            length: Bytes it should have, if known.

        Returns:
            The object; keep it as long as its bytes are used. None when there is none, or one of
            more than `limit` bytes: nobody released that.

        Raises:
            StoreError: The storage fails.
            Problem: 503: too many large objects are being read or sent.
        """
        known = self._memory.get(key)
        if known is not None:
            return self.bodies.of(key, known)
        try:
            if length <= LARGE_BYTES:
                return self._small(key, min(limit, LARGE_BYTES), intact)
        except TooLarge:
            if limit <= LARGE_BYTES:
                return None
        try:
            return self._flights.run(key, lambda: self._large(key, limit, intact, length))
        except TooBusy as error:
            raise busy() from error

    def _small(self, key: str, limit: int, intact: Judge) -> Body | None:
        held = self.bodies.get(key)  # not small at all
        if held is not None:
            return held
        stored = self._store.get(key, limit=limit)
        return self._judged(key, Body(stored.data, intact(stored.data))) if stored else None

    def _large(self, key: str, limit: int, intact: Judge, length: int) -> Body | None:
        held = self.bodies.get(key)
        if held is not None:
            return held
        with self._heavy.slot():
            self.bodies.expect_room(length)
            stored = self._get(key, limit)
            if stored is None:
                return None
            body = Body(stored.data, self._heavy.run(intact, stored.data))
            return self._judged(key, self.bodies.add(key, body))

    def _judged(self, key: str, body: Body) -> Body:
        if body.intact:
            self._memory.put(key, body.data)
        return body

    def _get(self, key: str, limit: int) -> Object | None:
        try:
            return self._store.get(key, limit=limit)
        except TooLarge:
            return None

    def target(
        self, list_name: str, feed: Feed, name: str, sha256: str, limit: int, length: int = 0
    ) -> Body | None:
        """Return a target object (`list`, `snapshot` or `delta-<from>`) by its digest."""
        key = layout.target_key(layout.target_path(list_name, feed, name), sha256)

        def intact(data: bytes) -> bool:
            return hashlib.sha256(data).hexdigest() == sha256

        return self.read(key, limit, intact, length)

    def blob(self, list_name: str, feed: Feed, blob: Blob, limit: int) -> Body | None:
        """Return the object that a release names."""
        return self.target(list_name, feed, blob.name, blob.sha256, limit, blob.length)
