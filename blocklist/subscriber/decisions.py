"""What an operator has decided locally, told aloud: exceptions, holds, and what is wrong with them.

`pull` and `status` repeat it every time, so that nobody forgets that less is blocked than released.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from blocklist.core.documents import format_time
from blocklist.core.errors import BlocklistError
from blocklist.subscriber.exceptions import Exceptions
from blocklist.subscriber.holds import Hold, Holds

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Decisions:
    """The local decisions of a state directory.

    Attributes:
        exceptions: None when their file cannot be read.
        holds: None when their file cannot be read.
        troubles: Why, a line each.
    """

    exceptions: Exceptions | None
    holds: Holds | None
    troubles: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Lines for people, none of them with a listed URL."""
        lines = list(self.troubles)
        if self.exceptions is not None and (there := self.exceptions.in_force):
            soonest = format_time(min(one.until for one in there))
            lines.append(f"{_count(len(there))} in force, the next one ends {soonest}")
        if self.exceptions is not None and (ended := self.exceptions.ended):
            lines.append(f"{_count(len(ended))} ended and do not count: remove them, or add again")
        if self.holds is not None:
            lines += [held(one) for one in self.holds.in_force]
            lines += [
                f"the hold on {one.list} ended {format_time(one.until)}: "
                "`hold --release` removes this line"
                for one in self.holds.ended
            ]
        return tuple(lines)


def decisions(state_directory: Path, now: datetime) -> Decisions:
    """Return the local decisions; what cannot be read is among the troubles."""
    troubles: list[str] = []

    def read(load: Callable[[Path, datetime], T]) -> T | None:
        try:
            return load(state_directory, now)
        except BlocklistError as error:
            troubles.append(str(error))
            return None

    exceptions, holds = read(Exceptions.load), read(Holds.load)
    return Decisions(exceptions, holds, tuple(troubles))


def held(one: Hold) -> str:
    """Return a line about a hold in force."""
    version = f"version {one.version}" if one.version is not None else "the version in force"
    return f"{one.list} is HELD at {version} until {format_time(one.until)}: {one.reason}"


def _count(number: int) -> str:
    return f"{number} exception{'' if number == 1 else 's'}"
