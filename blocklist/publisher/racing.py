"""Try again after a lost race: others release too, and numbers may be taken.

A burned number is known at once, so the next attempt takes the one after it. When somebody else
moved the head, the next attempt waits a random while, so that two do not meet again. What was built
is built anew only when its own list has moved; for all else the commit alone is repeated, in a
fraction of the time, so that nobody is starved by a busy neighbour.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from securesystemslib.signer import Signer

from blocklist.core.errors import OutcomeUnknown, StoreUnreachable
from blocklist.publisher.repository import Repository
from signing import commit
from signing.commit import Plan
from signing.errors import Burned, LostRace

T = TypeVar("T")

MAX_BURNED_ATTEMPTS = 50  # numbers found taken only when writing
FIRST_PAUSE_SECONDS = 0.5  # upper bound; doubles
LONGEST_PAUSE_SECONDS = 4.0
COMMIT_PAUSE_SECONDS = 0.2  # upper bound between two tries of the commit alone


class Superseded(LostRace):
    """The list was released by somebody else since this release was computed: look at it first."""


def until_committed(attempt: Callable[[Mapping[str, int]], T], seconds: float) -> T:
    """Return what `attempt` returns, calling it again after lost races for `seconds`.

    Args:
        attempt: Reads the head and commits; gets the highest number known to be taken, by role.
        seconds: How long others may keep winning.

    Raises:
        Superseded: At once: trying again would undo somebody's release.
        LostRace: Others kept winning, or too many numbers were taken.
    """
    give_up = time.monotonic() + seconds
    pause, burned = FIRST_PAUSE_SECONDS, 0
    taken: dict[str, int] = {}
    while True:
        try:
            return attempt(taken)
        except Superseded:
            raise
        except Burned as error:
            burned += 1
            if burned > MAX_BURNED_ATTEMPTS:
                raise
            taken[error.role] = error.version
        except LostRace:
            if time.monotonic() > give_up:
                raise
            time.sleep(random.uniform(0, pause))  # noqa: S311 - jitter
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


@contextmanager
def before_commit() -> Iterator[None]:
    """Call a write that may or may not have landed a failure: nothing names its object yet."""
    try:
        yield
    except OutcomeUnknown as error:
        raise StoreUnreachable(f"nothing was released, run it again: {error}") from error


def commit_roles(
    repository: Repository,
    planned: Plan,
    lists: Iterable[str],
    online: Signer,
    taken: Mapping[str, int],
    confirm: Callable[[], None] = lambda: None,
    *,
    written: bool = False,
) -> None:
    """Write a plan and make it live, again and again while others only move other roles.

    Args:
        repository: Where.
        planned: Passed preflight; its blobs and records are stored.
        lists: Lists to read with the head; those of the plan.
        online: Signs snapshot metadata and timestamp.
        taken: Highest numbers known to be taken, by role.
        confirm: Sees to it, once the role files name them, that the objects are still there.
        written: The role files are there already.

    Raises:
        Burned: A number of a role was taken; build it again for the next.
        LostRace: The head moved in these roles too, or others kept winning.
    """
    metadata, names = repository.metadata, tuple(lists)
    give_up = time.monotonic() + repository.settings.race_seconds
    if not written:
        with before_commit():
            planned.write_roles(metadata)
    confirm()
    known = dict(taken)
    while True:
        try:
            with before_commit():
                planned.write_snapshot(metadata)
            repository.remember(planned.commit(metadata))
        except LostRace as error:
            if time.monotonic() > give_up:
                raise
            if isinstance(error, Burned):
                known[error.role] = error.version
            time.sleep(random.uniform(0, COMMIT_PAUSE_SECONDS))  # noqa: S311 - jitter
            head = repository.head(names)
            now = repository.signing_time(head)
            planned = commit.plan_again(metadata, planned, head, online, now, known)
        else:
            return
