"""Try again after a lost race: others release too, and numbers may be taken.

A burned number is known at once, so the next attempt takes the one after it. When somebody else
moved the head, the next attempt waits a random while, so that two do not meet again.
"""

import random
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from signing.errors import Burned, LostRace

T = TypeVar("T")

MAX_BURNED_ATTEMPTS = 50  # numbers found taken only when writing
FIRST_PAUSE_SECONDS = 0.5  # upper bound; doubles
LONGEST_PAUSE_SECONDS = 8.0


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
