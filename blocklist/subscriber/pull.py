"""Pull: bring every enrolled feed to the newest version that can be verified.

Whatever fails, the installed list stays in force, the outcome is written down, and the other feeds
are tried all the same. `job` has the steps for one feed.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from blocklist.core.enrolment import EnrolledList, Enrolment
from blocklist.core.entries import Feed
from blocklist.core.errors import BlocklistError, Exit, UnknownList
from blocklist.subscriber import outcomes
from blocklist.subscriber.hash_keys import HashKeys
from blocklist.subscriber.holds import Holds
from blocklist.subscriber.job import Job, Pulled
from blocklist.subscriber.outcomes import FAILURES, Failure, Tried
from blocklist.subscriber.sources import open_source
from blocklist.subscriber.state import State
from blocklist.subscriber.throttle import Waits

__all__ = ["Failed", "PullFailed", "Pulled", "pull"]


@dataclass(frozen=True, slots=True)
class Failed:
    """A feed that could not be brought up to date; what was installed stays.

    Attributes:
        list, feed: Which.
        error: Why.
        warnings: Lines for people, such as what each source said.
        sources: What came of each source, in order.
    """

    list: str
    feed: Feed
    error: Failure
    warnings: tuple[str, ...] = ()
    sources: tuple[Tried, ...] = ()


class PullFailed(BlocklistError):
    """At least one feed failed; has exit code and message of the most serious failure.

    Attributes:
        worst: The most serious failure.
        pulled: The feeds that succeeded.
        failed: The feeds that did not.
        retry_after: Seconds a source asked us to wait, None where none did.
    """

    def __init__(self, pulled: list[Pulled], failed: list[Failed]) -> None:
        self.worst = outcomes.most_serious([item.error for item in failed])
        which = next(item for item in failed if item.error is self.worst)
        super().__init__(f"{which.list}/{which.feed}: {self.worst}")
        self.pulled = pulled
        self.failed = failed
        self.exit_code = Exit(self.worst.exit_code)
        self.http_status = self.worst.http_status
        self.retryable = self.worst.retryable
        waits = [getattr(item.error, "retry_after", None) for item in failed]
        self.retry_after: float | None = max((w for w in waits if w is not None), default=None)


def pull(
    state: State | str | os.PathLike[str],
    *,
    now: datetime | None = None,
    names: Collection[str] | None = None,
) -> list[Pulled]:
    """Pull every enrolled feed, or those of the lists named.

    Args:
        state: The state directory.
        now: The time to record, by default now; expiry is judged by the system's clock.
        names: Lists; None for all.

    Raises:
        PullFailed: At least one feed failed; all were tried.
        NotInstalled: Nothing is enrolled.
        UnknownList: A name that is not enrolled.
        InputError, LocalError, UnknownFormat: The enrolment, or the file of holds, cannot be used.
        Busy: Another pull is running.
    """
    state = state if isinstance(state, State) else State(Path(state))
    now = now or datetime.now(UTC)
    state.enrolment()  # before a lock file is made where nothing is enrolled
    pulled: list[Pulled] = []
    failed: list[Failed] = []
    with state.locked(), ExitStack() as opened:
        enrolment = state.enrolment()
        wanted = list(_wanted(enrolment, names))
        holds = Holds.load(state.directory, now)
        state.tidy()
        sources = [open_source(source, enrolment.token) for source in enrolment.sources]
        for source in sources:
            opened.callback(source.close)
        waits = Waits(state.directory)
        keys = HashKeys(state, sources, waits, now)
        for item, feed in wanted:
            job = Job(
                state, enrolment.root, sources, waits, keys, item, feed, now, holds.on(item.name)
            )
            try:
                pulled.append(job.run())
            except FAILURES as error:
                told = (tuple(job.warnings), tuple(job.tried))
                failed.append(Failed(item.name, feed, error, *told))
    if failed:
        raise PullFailed(pulled, failed)
    return pulled


def _wanted(
    enrolment: Enrolment, names: Collection[str] | None
) -> Iterator[tuple[EnrolledList, Feed]]:
    for name in dict.fromkeys(enrolment.lists if names is None else names):
        if name not in enrolment.lists:
            raise UnknownList(f"expected an enrolled list, got {name!r}")
        item = enrolment.lists[name]
        for feed in item.feeds:
            yield item, feed
