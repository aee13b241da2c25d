"""Long polls: a thread for each list asks the API to answer when there is a new version.

What the API says is not verified; it is a reason to pull. Other sources cannot wait, and lists that
only have those are pulled by the interval alone.
"""

import threading
import time
from collections.abc import Callable
from secrets import SystemRandom

from blocklist.core.enrolment import EnrolledList, Enrolment
from blocklist.core.entries import Feed
from blocklist.core.errors import BlocklistError
from blocklist.subscriber import settings
from blocklist.subscriber.sources import ApiSource, open_source
from blocklist.subscriber.state import State

_RANDOM = SystemRandom()


def jittered(seconds: float) -> float:
    """Return about so many seconds, so that subscribers do not march in step."""
    return _RANDOM.uniform(0.8, 1.2) * seconds


def spread(seconds: float) -> float:
    """Return at most so many seconds."""
    return _RANDOM.uniform(0, seconds)


def back_off(failures: int, longest: float) -> float:
    """Return how long to leave alone what has failed so many times in a row."""
    doubled = settings.FIRST_BACK_OFF_SECONDS * 2.0 ** min(failures - 1, 16)
    return _RANDOM.uniform(0.5, 1.0) * min(doubled, longest)


class Waiters:
    """The threads for one enrolment.

    Args:
        state: Whose versions in force are known.
        enrolment: Lists, and sources of which the first that is our API is asked.
        names: Which lists; empty for all.
        longest: The longest back-off, in seconds.
        news: Called with the list's name, from any thread.
    """

    def __init__(
        self,
        state: State,
        enrolment: Enrolment,
        names: tuple[str, ...],
        longest: float,
        news: Callable[[str], None],
    ) -> None:
        self._state = state
        self._enrolment = enrolment
        self._longest = longest
        self._news = news
        self._stop = threading.Event()
        for name, item in enrolment.lists.items():
            if not names or name in names:
                run = threading.Thread(
                    target=self._wait,
                    args=(item, item.feeds[0]),
                    name="blocklist-wait",
                    daemon=True,
                )
                run.start()

    def stop(self) -> None:
        """Let the threads end after the poll that they are in; none of them calls `news` again."""
        self._stop.set()

    def _source(self) -> ApiSource | None:
        """Return the API, opened for one thread."""
        for one in self._enrolment.sources:
            source = open_source(one, self._enrolment.token)
            if isinstance(source, ApiSource):
                return source
        return None

    def _wait(self, item: EnrolledList, feed: Feed) -> None:
        try:
            source = self._source()
        except BlocklistError:  # a pull says so aloud
            return
        if source is None:
            return
        known, failures, pause = self._in_force(item.name, feed), 0, 0.0
        while not self._stop.wait(pause):
            began = time.monotonic()
            source.begin(settings.LONG_POLL_SECONDS + settings.READ_TIMEOUT_SECONDS)
            try:
                offered = source.news(item.name, feed, known, settings.LONG_POLL_SECONDS)
            except BlocklistError as error:
                failures += 1
                asked = getattr(error, "retry_after", None) or 0.0
                pause = max(back_off(failures, self._longest), asked)
                continue
            failures, pause = 0, 0.0
            if offered is not None and offered != known:
                known, pause = offered, settings.NEWS_SECONDS
                if not self._stop.is_set():
                    self._news(item.name)
            elif time.monotonic() - began < settings.LONG_POLL_SECONDS / 2:
                pause = jittered(settings.LONG_POLL_SECONDS)  # it does not wait: be polite
        source.close()

    def _in_force(self, name: str, feed: Feed) -> int:
        try:
            installed = self._state.feed(name, feed).read()
        except BlocklistError:
            return 0
        return installed.current.version if installed else 0
