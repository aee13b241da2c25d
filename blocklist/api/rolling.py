"""How often something happened within the last minute, here and in the other processes.

A minute is the present second and the 60 before it, so that any 60 seconds lie within. Counts of
one name take the same memory however many there are.
"""

from array import array

SLOTS = 61  # seconds that count
_MOST = (1 << 31) - 1  # of one slot


class Tally:
    """Counts of one name, by second.

    Attributes:
        total: Of all seconds that count, as of the newest one that was asked for.
    """

    __slots__ = ("_newest", "_others", "_own", "total")

    def __init__(self) -> None:
        self._newest = 0
        self._own = array("I", bytes(4 * SLOTS))
        self._others = array("I", bytes(4 * SLOTS))
        self.total = 0

    def advance(self, slot: int) -> None:
        """Let `slot` be the present second; what is older than a minute is forgotten.

        A clock that was set back within the minute goes on counting; by more: from nothing.
        """
        ahead = slot - self._newest
        if ahead >= SLOTS or ahead <= -SLOTS:
            self._clear()
        else:
            for passed in range(self._newest + 1, slot + 1):
                self._drop(passed % SLOTS)
        if ahead > 0 or ahead <= -SLOTS:
            self._newest = slot

    def add(self, slot: int) -> None:
        """Count once here, in the present second (`advance` comes first)."""
        self._own[slot % SLOTS] += 1
        self.total += 1

    def own(self, slot: int) -> int:
        """Return what was counted here in a second of the last minute."""
        return self._own[slot % SLOTS] if self._counts(slot) else 0

    def hear(self, slot: int, count: int) -> None:
        """Take what the others counted in a second of the last minute; it never gets less."""
        if not self._counts(slot):
            return
        at = slot % SLOTS
        more = min(count, _MOST) - self._others[at]
        if more > 0:
            self._others[at] += more
            self.total += more

    def below(self, limit: int) -> int:
        """Return the second with whose begin the total is below `limit`, if nothing is added."""
        left = self.total
        for slot in range(self._newest - SLOTS + 1, self._newest + 1):
            if left < limit:
                return slot + SLOTS - 1
            left -= self._own[slot % SLOTS] + self._others[slot % SLOTS]
        return self._newest + SLOTS

    def _counts(self, slot: int) -> bool:
        return self._newest - SLOTS < slot <= self._newest

    def _drop(self, at: int) -> None:
        self.total -= self._own[at] + self._others[at]
        self._own[at] = self._others[at] = 0

    def _clear(self) -> None:
        for at in range(SLOTS):
            self._drop(at)
