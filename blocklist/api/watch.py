"""Keeps the head fresh for all requests of a process, and holds those that wait for news.

Of several processes one watches the storage, elected through Redis; it announces what it sees, and
the others read the storage when that is not what they have. Redis is not believed more than that:
without an announcement, with one that differs, and every half minute in any case a process looks
for itself. So with Redis down everybody reads, and a wrong announcement costs half a minute.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable

from blocklist.api.limits import FOLLOWER_LOOK_SECONDS, LEASE_SECONDS, MAX_WAITING
from blocklist.api.metrics import Metrics
from blocklist.api.reader import FeedReader
from blocklist.store.shared import SharedState, SharedStateDown

log = logging.getLogger(__name__)


class Watcher:
    """Watches one repository for one process.

    Args:
        reader: What is kept fresh.
        shared: Where processes agree on who watches; None: this one does.
        metrics: Counts those that wait.

    Attributes:
        leader: Whether this process watches for all.
    """

    def __init__(self, reader: FeedReader, shared: SharedState | None, metrics: Metrics) -> None:
        self.leader = shared is None
        self._reader = reader
        self._shared = shared
        self._metrics = metrics
        self._holder = secrets.token_hex(8)
        self._looked = float("-inf")
        self._lock = threading.Lock()
        self._open = False
        self._waiting = 0
        self._change = threading.Event()
        self._told = reader.state()

    def tick(self) -> None:
        """Look once, as a background job; wake everybody who waits when there is something new."""
        if self._shared is None:
            self._look()
        else:
            self._follow(self._shared)
        state = self._reader.state()
        if state != self._told:  # also when a request made the reader look meanwhile
            self._told = state
            self._wake()

    def open(self) -> None:
        """Begin to hold requests; from now on `tick` is called all the time."""
        self._reader.watched = True
        self._open = True

    def close(self) -> None:
        """Answer all that wait, now and from now on: the process is about to end."""
        self._open = False
        self._reader.watched = False
        self._wake()

    def wait(self, seconds: float, news: Callable[[], bool]) -> None:
        """Return as soon as there is news, the time is over, or the process is about to end.

        Args:
            seconds: How long.
            news: Whether there is news for this caller; asked when anything changed and at the
                end. What it raises ends the waiting.
        """
        if not self._enter():
            return
        try:
            self._wait(time.monotonic() + seconds, news)
        finally:
            self._leave()

    def _wait(self, end: float, news: Callable[[], bool]) -> None:
        while True:
            change = self._change  # before asking, so that nothing is missed in between
            if news() or not self._open or time.monotonic() >= end:
                return
            change.wait(end - time.monotonic())

    def _enter(self) -> bool:
        with self._lock:
            if not self._open or self._waiting >= MAX_WAITING:
                return False
            self._waiting += 1
        self._metrics.waiting(1)
        return True

    def _leave(self) -> None:
        with self._lock:
            self._waiting -= 1
        self._metrics.waiting(-1)

    def _wake(self) -> None:
        """Let everybody look: one event, whoever comes later waits for the next one."""
        change, self._change = self._change, threading.Event()
        change.set()

    def _follow(self, shared: SharedState) -> None:
        led = self.leader
        if led:
            self._look()
        announced = self._announced(shared)
        overdue = time.monotonic() - self._looked >= FOLLOWER_LOOK_SECONDS
        other = announced is None or announced != self._reader.seen()
        if not led and (self.leader or overdue or other):
            self._look()

    def _announced(self, shared: SharedState) -> str | None:
        """Ask Redis who leads, say so if it is us, and return what the leader has seen."""
        seen = self._reader.seen() if self.leader else None
        try:
            answer = shared.watch(self._holder, LEASE_SECONDS, seen)
        except SharedStateDown:
            self._lead(False)
            return None
        self._lead(answer.leader)
        return answer.announced

    def _lead(self, leader: bool) -> None:
        if leader != self.leader:
            log.info("this process %s the head for all", "watches" if leader else "stops watching")
        self.leader = leader

    def _look(self) -> None:
        self._looked = time.monotonic()
        self._reader.look()
