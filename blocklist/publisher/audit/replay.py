"""The records of a list added up, newest first, to see that they give the signed list."""

import hashlib
from collections.abc import Iterable

_NEWEST = 1  # the newest release has the line
_ADDED = 2  # the oldest change seen adds it, so the one before that must remove it


class Replay:
    """Lines as the records change them, from the newest record back.

    It holds every line that was ever listed once, in memory.
    """

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}

    def back(self, added: Iterable[str], removed: Iterable[str]) -> int:
        """Take in the changes of the next older release.

        Returns:
            How many of them contradict a newer one: an entry that is added or removed twice.
        """
        wrong = 0
        for line in added:
            state = self._lines.get(line)
            wrong += state is not None and bool(state & _ADDED)
            self._lines[line] = _ADDED | (_NEWEST if state is None else state & _NEWEST)
        for line in removed:
            state = self._lines.get(line)
            wrong += state is not None and not state & _ADDED
            self._lines[line] = 0 if state is None else state & _NEWEST
        return wrong

    def never_added(self) -> int:
        """Return how many lines were removed, but not added before that."""
        return sum(not state & _ADDED for state in self._lines.values())

    def digest(self) -> str:
        """Return the digest of the list bytes of the clear feed of the newest release."""
        digest = hashlib.sha256()
        for line in sorted(line for line, state in self._lines.items() if state & _NEWEST):
            digest.update(line.encode() + b"\n")
        return digest.hexdigest()
