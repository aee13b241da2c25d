"""One round: pull, then run the consumers for which something has changed.

A pull that fails does not keep consumers from running: what is in force may have changed by hand,
an exception may have ended, a hook may have failed the last time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from blocklist.core.errors import BlocklistError
from blocklist.subscriber.decisions import decisions
from blocklist.subscriber.pull import Pulled, PullFailed, pull
from blocklist.subscriber.state import State
from blocklist.subscriber.watching import consumers
from blocklist.subscriber.watching.consumers import Registry

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a round ended.

    Attributes:
        pulled: Its pull succeeded; None without one.
        consumed: Every consumer that was due succeeded.
        bug: What was not foreseen; None as a rule.
    """

    pulled: bool | None
    consumed: bool
    bug: Exception | None = None


@dataclass(frozen=True, slots=True)
class Rounds:
    """What rounds need.

    Attributes:
        state: Where.
        registry: Returns the consumers.
        tell: Called with a line for people, which may hold free text.
        after: Called at the end of each round; raises BlocklistError.
    """

    state: State
    registry: Registry
    tell: Tell
    after: Callable[[], None]

    def run(self, names: frozenset[str] | None) -> Ended:
        """Run a round.

        Args:
            names: Lists to pull: None for all, empty for no pull.
        """
        pulled = self._pull(names) if names is None or names else None
        consumed = self._consume()
        try:
            self.after()
        except BlocklistError as error:
            self.tell(str(error))
            consumed = False
        return Ended(pulled, consumed)

    def due(self) -> bool:
        """Tell whether a consumer is due; what cannot be read is for a round to tell."""
        try:
            return bool(consumers.due(self.state, self.registry(), datetime.now(UTC)))
        except BlocklistError:
            return True

    def _pull(self, names: frozenset[str] | None) -> bool:
        try:
            done = pull(self.state, names=sorted(names) if names is not None else None)
        except PullFailed as error:
            self._pulled(error.pulled)
            for failed in error.failed:
                kept = "the installed list stays in force"
                self.tell(f"{failed.list}/{failed.feed}: {failed.error}; {kept}")
            return False
        except BlocklistError as error:
            self.tell(str(error))
            return False
        self._pulled(done)
        return True

    def _pulled(self, done: list[Pulled]) -> None:
        for one in done:
            name = f"{one.list}/{one.feed}"
            for warning in one.warnings:
                self.tell(f"{name}: warning: {warning}")
            if one.changed:
                self.tell(f"{name}: version {one.to} is in force, {one.entries} entries")
        if any(one.changed or one.held_back for one in done):
            for line in decisions(self.state.directory, datetime.now(UTC)).warnings:
                self.tell(f"warning: {line}")

    def _consume(self) -> bool:
        try:
            there = consumers.due(self.state, self.registry(), datetime.now(UTC))
        except BlocklistError as error:
            self.tell(str(error))
            return False
        good = True
        for one in there:
            try:
                one.consumer.run(one.changed)
                consumers.mark(self.state, one)
            except BlocklistError as error:
                self.tell(f"{one.consumer.name} failed and will be tried again: {error}")
                good = False
            else:
                self.tell(f"{one.consumer.name} done for {', '.join(one.changed) or 'less'}")
        return good
