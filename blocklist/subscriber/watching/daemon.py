"""When the next round is due: by the interval, by news, after failures, by signals.

One thread decides, and keeps the watchdog quiet; another one runs the round. A round that takes
longer than an hour is taken for stuck: the watchdog then hears nothing more.
"""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from blocklist.core.errors import BlocklistError
from blocklist.store.locks import file_lock
from blocklist.subscriber import settings
from blocklist.subscriber.watching.notify import Notifier
from blocklist.subscriber.watching.rounds import Ended, Rounds
from blocklist.subscriber.watching.waiting import Waiters, back_off, jittered, spread


@dataclass(frozen=True, slots=True)
class _News:
    name: str


@dataclass(frozen=True, slots=True)
class _Reload:
    pass


@dataclass(frozen=True, slots=True)
class _Stop:
    pass


class Daemon:
    """The loop of `watch`.

    Args:
        rounds: What to do.
        names: Which lists; empty for all.
        interval: Seconds between two pulls of everything, news or not.
        notifier: Whom to tell.
    """

    def __init__(
        self, rounds: Rounds, names: tuple[str, ...], interval: float, notifier: Notifier
    ) -> None:
        self._rounds = rounds
        self._names = names
        self._interval = interval
        self._notify = notifier
        # `put` of this queue may be called in a signal handler, whatever it interrupts.
        self._events: SimpleQueue[_News | _Reload | _Stop | Ended] = SimpleQueue()
        self._waiters: Waiters | None = None
        self._running_since: float | None = None
        self._all_due = 0.0  # a pull of everything; times are those of `time.monotonic`
        self._news: set[str] = set()
        self._news_due = 0.0
        self._local_due = 0.0  # consumers without a pull, once something has changed
        self._failed_pulls = 0
        self._failed_consumers = 0

    def stop(self) -> None:
        """Let `run` return soon; may be called from a signal handler or another thread."""
        self._events.put(_Stop())

    def reload(self) -> None:
        """Read the enrolment again and pull at once; may be called as `stop`."""
        self._events.put(_Reload())

    def run(self) -> None:
        """Go on until `stop`.

        Raises:
            NotInstalled, LocalError, UnknownFormat: There is no enrolment to begin with.
            Busy: Another one runs on this state.
            Exception: A bug in a round, which ends the daemon.
        """
        self._rounds.state.enrolment()  # before a lock file is made where nothing is enrolled
        lock = self._rounds.state.directory / "watch.lock"
        with file_lock(lock, wait_seconds=0, what="this state, with `watch`,"):
            self._watch()

    def _watch(self) -> None:
        self._restart_waiters()
        self._notify.ready("watching")
        try:
            while not isinstance(event := self._next_event(), _Stop):
                if event is not None:
                    self._take(event)
                self._look_around()
        finally:
            self._notify.stopping()
            self._end()

    def _next_event(self) -> _News | _Reload | _Stop | Ended | None:
        tick = settings.TICK_SECONDS
        if self._notify.watchdog_seconds is not None:
            tick = min(tick, self._notify.watchdog_seconds / 3)
        if self._running_since is None:
            dues = [self._all_due, *([self._news_due] if self._news else [])]
            tick = min(tick, max(min(dues) - time.monotonic(), 0))
        with suppress(Empty):
            return self._events.get(timeout=tick)
        return None

    def _take(self, event: _News | _Reload | Ended) -> None:
        if isinstance(event, _News):
            if not self._news:
                self._news_due = time.monotonic() + spread(settings.SPREAD_SECONDS)
            self._news.add(event.name)
        elif isinstance(event, _Reload):
            self._notify.reloading()
            try:
                self._restart_waiters()
            except BlocklistError as error:
                self._rounds.tell(f"{error}; what was enrolled before is watched")
            self._all_due = self._local_due = 0.0
            self._notify.ready("watching")
        else:
            self._ended(event)

    def _ended(self, done: Ended) -> None:
        """Take note of how a round ended: what failed is tried again, ever later."""
        self._running_since = None
        if done.bug is not None:
            raise done.bug
        now = time.monotonic()
        if done.pulled is not None:
            self._failed_pulls = 0 if done.pulled else self._failed_pulls + 1
        self._failed_consumers = 0 if done.consumed else self._failed_consumers + 1
        if done.pulled is False:
            self._all_due = min(self._all_due, now + self._back_off(self._failed_pulls))
        self._local_due = now
        if not done.consumed:
            self._local_due += self._back_off(self._failed_consumers)
        good = not self._failed_pulls and not self._failed_consumers
        self._notify.status("watching" if good else "the last round has failed, see the journal")

    def _back_off(self, failures: int) -> float:
        return back_off(failures, self._interval)

    def _look_around(self) -> None:
        """Keep the watchdog quiet, and begin a round that is due."""
        now = time.monotonic()
        if self._running_since is not None:
            if now - self._running_since < settings.ROUND_SECONDS:
                self._notify.alive()
            return
        self._notify.alive()
        if now >= self._all_due:
            self._all_due = now + jittered(self._interval)
            self._news.clear()
            self._begin(frozenset(self._names) or None)
        elif self._news and now >= self._news_due:
            names = frozenset(self._news)
            self._news.clear()
            self._begin(names)
        elif now >= self._local_due and self._rounds.due():
            self._begin(frozenset())

    def _begin(self, names: frozenset[str] | None) -> None:
        self._running_since = time.monotonic()

        def work() -> None:
            try:
                self._events.put(self._rounds.run(names))
            except Exception as error:  # raised again in `_ended`
                self._events.put(Ended(False, False, error))

        threading.Thread(target=work, name="blocklist-round", daemon=True).start()

    def _restart_waiters(self) -> None:
        state = self._rounds.state
        enrolment = state.enrolment()
        if self._waiters is not None:
            self._waiters.stop()
        self._waiters = Waiters(state, enrolment, self._names, self._interval, self._hear)

    def _hear(self, name: str) -> None:
        self._events.put(_News(name))

    def _end(self) -> None:
        """Give a round that runs some time; whatever happens then leaves a list in force."""
        if self._waiters is not None:
            self._waiters.stop()
        end = time.monotonic() + settings.STOP_SECONDS
        while self._running_since is not None and (left := end - time.monotonic()) > 0:
            with suppress(Empty):
                if isinstance(self._events.get(timeout=left), Ended):
                    self._running_since = None
