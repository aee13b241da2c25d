"""Everything that is known here of how a subscriber stands; none of it is a listed URL."""

from dataclasses import dataclass
from datetime import datetime

from blocklist.core.errors import BlocklistError
from blocklist.subscriber.decisions import Decisions, decisions
from blocklist.subscriber.exports import Record, record
from blocklist.subscriber.state import State
from blocklist.subscriber.status import FeedStatus, status


@dataclass(frozen=True, slots=True)
class Report:
    """How a subscriber stands.

    Attributes:
        now: When this was found.
        feeds: Every enrolled feed.
        decided: Local decisions.
        exports: Every export, as its last run wrote it down.
        troubles: What could not be read of the exports, a line each.
    """

    now: datetime
    feeds: tuple[FeedStatus, ...]
    decided: Decisions
    exports: tuple[Record, ...] = ()
    troubles: tuple[str, ...] = ()


def report(state: State, now: datetime) -> Report:
    """Return how a subscriber stands; what is damaged is told in it.

    Raises:
        LocalError: The state cannot be read.
    """
    feeds = tuple(status(state, now))
    exports: list[Record] = []
    troubles: list[str] = []
    for name in record.names(state.directory):
        try:
            found = record.read(state.directory, name)
        except BlocklistError as error:
            troubles.append(f"export {name}: its record cannot be read: {error}")
        else:
            exports += [found] if found is not None else []
    return Report(now, feeds, decisions(state.directory, now), tuple(exports), tuple(troubles))
