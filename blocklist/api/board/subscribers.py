"""Everybody who was ever given a token, read from the storage and remembered."""

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from blocklist.api.limits import CLOCKS_APART, MAX_ENROLMENT_BYTES
from blocklist.api.reader import Clock
from blocklist.core.errors import FeedError, TooLarge
from blocklist.core.private import Subscription
from blocklist.store import layout
from blocklist.store.port import Listed, Store

READERS = 8  # enrolments read at a time

log = logging.getLogger(__name__)

_Read = tuple[Listed, Subscription | None]


class Subscribers:
    """The enrolments of a storage; one is read again when its listing shows another time.

    Args:
        store: Where.
        clock: The present time.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._known: Mapping[str, _Read] = {}
        self._damaged = 0

    def all(self) -> list[Subscription]:
        """Return all subscriptions by name, revoked and expired ones too.

        Those that cannot be read are left out, and their number is logged.

        Raises:
            StoreError: The storage failed.
        """
        with self._lock:
            now = self._clock()
            listed = list(self._store.list(layout.ENROLMENTS))
            known = {one.key: self._known[one.key] for one in listed if self._fresh(one, now)}
            known |= self._read_all(one for one in listed if one.key not in known)
            self._known = known
            found = [item for _, item in known.values() if item is not None]
            self._note(len(known) - len(found))
        return sorted(found, key=lambda item: (item.name, item.token_digest))

    def _fresh(self, listed: Listed, now: datetime) -> bool:
        """Tell whether what is remembered still holds.

        An object written a moment ago may be written again with the same time.
        """
        known = self._known.get(listed.key)
        return known is not None and known[0] == listed and now - listed.modified > CLOCKS_APART

    def _read_all(self, listed: Iterable[Listed]) -> dict[str, _Read]:
        with ThreadPoolExecutor(READERS, "enrolments") as pool:
            return {one.key: (one, item) for one, item in pool.map(self._read, listed)}

    def _read(self, listed: Listed) -> _Read:
        time.sleep(0)  # under gevent: other requests may pass
        try:
            stored = self._store.get(listed.key, limit=MAX_ENROLMENT_BYTES)
            item = Subscription.from_bytes(stored.data) if stored is not None else None
        except (FeedError, TooLarge):
            return listed, None
        ours = item is not None and layout.enrolment_key(item.token_digest) == listed.key
        return listed, item if ours else None

    def _note(self, damaged: int) -> None:
        if damaged != self._damaged:
            log.warning("%d enrolments cannot be read", damaged)
        self._damaged = damaged
