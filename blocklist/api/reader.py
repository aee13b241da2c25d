"""The head as this process sees it, and earlier versions by name.

A `watch.Watcher` looks at `timestamp.json` all the time; without one requests do, twice a second
at most. A new head that does not verify is not taken: the old one stays in force, readiness ends,
and the reason is logged once. When the storage does not answer, what is in memory is still served.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Hashable
from datetime import datetime, timedelta

from tuf.api.metadata import Targets

from blocklist.api.cache import ByteLru
from blocklist.api.limits import HEAD_CHECK, OBJECT_CACHE_BYTES, ROOT_CHECK
from blocklist.api.live import Live, NotServable, load
from blocklist.api.objects import Objects
from blocklist.core.entries import Feed
from blocklist.core.errors import BlocklistError, FeedError
from blocklist.core.release import FeedRelease, read_release
from blocklist.store.layout import METADATA
from blocklist.store.port import Store
from blocklist.store.prefixed import Prefixed
from signing import names, policy, verify
from signing.errors import Malformed, TrustError
from signing.roles import targets_of
from signing.trust import TrustState

Clock = Callable[[], datetime]
"""The present time, aware."""

HEAD = "the head"
CATCH_UP_SECONDS = 0.1  # between two looks that callers ask for by saying what they have seen

log = logging.getLogger(__name__)


class FeedReader:
    """Reads one repository.

    Args:
        store: Where.
        root: The root to pin; None: the storage's own first root.
        clock: The present time.

    Attributes:
        objects: Immutable objects.
        watched: Whether somebody calls `look` all the time, so that requests need not.
    """

    def __init__(self, store: Store, root: bytes | None, clock: Clock) -> None:
        self.watched = False
        self.objects = Objects(store, ByteLru(OBJECT_CACHE_BYTES))
        self._metadata = Prefixed(store, METADATA)
        self._root = root
        self._clock = clock
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._trust: TrustState | None = None
        self._checked: datetime | None = None
        self._begun = float("-inf")  # the last look, by the monotonic clock
        self._root_checked: datetime | None = None
        self._trouble: dict[str, str] = {}  # what cannot be served: why

    def live(self) -> Live:
        """Return the newest verified state, at most half a second old where the storage answers.

        Raises:
            NotServable: No state was ever verified.
        """
        if (
            (self._live is None or not self.watched)
            and self._due()
            and self._lock.acquire(blocking=self._live is None)
        ):
            try:
                if self._due():  # somebody else may just have looked
                    self._look()
            finally:
                self._lock.release()
        if self._live is None:
            raise NotServable("the storage has no head that can be read and verifies")
        return self._live

    def catch_up(self) -> None:
        """Look now: somebody has seen more than this process, from another one or the storage.

        Returns after a look that began after the call, so that an honest caller never gets an
        older state than it has. Calls at the same time share one look, and there are ten a second
        at most, whatever callers say.
        """
        asked = time.monotonic()
        with self._lock:
            if self._begun < asked:
                time.sleep(max(0.0, self._begun + CATCH_UP_SECONDS - asked))
                self._look()

    def look(self) -> None:
        """Look at the storage now; what goes wrong ends readiness and is logged, not raised."""
        with self._lock:
            self._look()

    def seen(self) -> str | None:
        """Return what stands for the state, the same in every process; None: not all is well."""
        live = self._live
        if live is None or self._trouble:
            return None
        digest = hashlib.sha256(live.head.timestamp.data).hexdigest()
        return f"{live.head.root.version}-{digest}"

    def state(self) -> Hashable:
        """Return what changes whenever an answer to somebody may."""
        live = self._live
        if live is None:
            return None
        return live.head.root.version, live.head.timestamp.version, frozenset(live.refused)

    def ready(self) -> bool:
        """Tell whether the head in the storage is readable and verifies."""
        try:
            self.live()
        except NotServable:
            return False
        return HEAD not in self._trouble

    def metadata(self, name: str, limit: int) -> bytes | None:
        """Return a metadata file as it is stored, unverified; None when there is none."""
        stored = self._metadata.get(name, limit=limit)
        return stored.data if stored is not None else None

    def role_data(self, live: Live, list_name: str, version: int) -> bytes | None:
        """Return the role file of one version of a list; None when there is none.

        The live one is verified. Earlier ones are copied: hints, which a subscriber does not trust.
        """
        current = live.roles.get(list_name)
        if current is not None and current.version == version:
            return current.data
        key = METADATA + names.file_name(list_name, version)

        def signed(data: bytes) -> bool:
            try:
                role = verify.delegated_alone(live.head.targets, list_name, data)
            except TrustError:
                return False  # altered, or by keys that were rotated away: not remembered
            return role.version == version

        found = self.objects.read(key, policy.MAX_TARGETS_BYTES, signed)
        return found.data if found is not None else None

    def release_at(
        self, live: Live, list_name: str, feed: Feed, version: int
    ) -> FeedRelease | None:
        """Return what the role file of a version says of a feed; None when it cannot be read."""
        current = live.releases.get((list_name, feed))
        if current is not None and current.version == version:
            return current
        data = self.role_data(live, list_name, version)
        if data is None:
            return None
        try:
            role = verify.parse(list_name, data, Targets)
            return read_release(list_name, feed, version, targets_of(role.signed))
        except (TrustError, FeedError):
            return None

    def _due(self) -> bool:
        """Tell whether it is time to look."""
        return self._passed(self._checked, HEAD_CHECK)

    def _passed(self, since: datetime | None, span: timedelta) -> bool:
        """Tell whether that much time has passed; also when the clock was set back."""
        return since is None or not timedelta(0) <= self._clock() - since < span

    def _look(self) -> None:
        trouble: dict[str, str] = {}
        self._begun = time.monotonic()
        try:
            self._update()
        except (BlocklistError, TrustError) as error:
            trouble[HEAD] = str(error)
        if self._live is not None:
            trouble |= {f"list {name}": why for name, why in self._live.refused.items()}
        self._note(trouble)
        self._checked = self._clock()

    def _update(self) -> None:
        """Take the head in the storage unless it is the one we have, without blemish."""
        if self._live is not None and not self._trouble and self._same(self._live):
            return
        self._root_checked = self._clock()
        trust = self._trust if self._trust is not None else self._pin()
        self._live, self._trust = load(self._metadata, trust)

    def _same(self, live: Live) -> bool:
        """Tell whether that is still the head; a new root may come without a new timestamp."""
        stamp = self._metadata.get(names.TIMESTAMP_FILE, limit=policy.MAX_TIMESTAMP_BYTES)
        if stamp is None or stamp.token != live.head.token:
            return False
        if not self._passed(self._root_checked, ROOT_CHECK):
            return True
        self._root_checked = self._clock()
        above = names.file_name(names.ROOT, live.head.root.version + 1)
        return self.metadata(above, policy.MAX_ROOT_BYTES) is None

    def _pin(self) -> TrustState:
        root = self._root
        if root is None:
            first = names.file_name(names.ROOT, 1)
            root = self.metadata(first, policy.MAX_ROOT_BYTES)
        if root is None:
            raise Malformed("expected a repository in the storage, found no root")
        return TrustState.pin(root)

    def _note(self, trouble: dict[str, str]) -> None:
        """Remember what is wrong and log what has changed, not the same twice a second."""
        for what, why in trouble.items():
            if self._trouble.get(what) != why:
                log.error("%s cannot be served: %s", what, why)
        for what in self._trouble.keys() - trouble.keys():
            log.info("%s can be served again", what)
        self._trouble = trouble
