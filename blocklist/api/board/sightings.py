"""What subscribers said they hold: one process's memory, and how two memories become one."""

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from blocklist.core.documents import MAX_INTEGER

MAX_SIGHTINGS = 65_536  # of one process; the one not heard of for longest is forgotten

Key = tuple[str, str, str]
"""Digest of the token, list, feed."""

_TEXT = re.compile(r"(0|[1-9][0-9]{0,15}) ([0-9]{1,11}) ([0-9]{1,11})")
_FIELD = re.compile(r"([0-9a-f]{64}) ([a-z0-9-]{1,32}) (clear|hashed)")


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one token was seen to hold of one feed.

    Attributes:
        version: The version; 0: nothing.
        since: When it was first seen at that version, in seconds since 1970.
        seen: When last.
    """

    version: int
    since: int
    seen: int

    def to_text(self) -> str:
        """Return it as the board has it."""
        return f"{self.version} {self.since} {self.seen}"


class Sightings:
    """The sightings of one process, and which of them nobody else knows yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Key, Sighting] = OrderedDict()
        self._new: set[Key] = set()

    def note(self, key: Key, version: int, now: int) -> None:
        """Take what was said at `now`."""
        with self._lock:
            before = self._known.get(key)
            same = before is not None and before.version == version
            since = before.since if before is not None and same else now
            self._known[key] = Sighting(version, since, now)
            self._known.move_to_end(key)
            self._new.add(key)
            if len(self._known) > MAX_SIGHTINGS:
                gone, _ = self._known.popitem(last=False)
                self._new.discard(gone)

    def all(self) -> dict[Key, Sighting]:
        """Return all sightings."""
        with self._lock:
            return dict(self._known)

    def take_new(self) -> dict[Key, Sighting]:
        """Return what was noted since the last time."""
        with self._lock:
            new, self._new = self._new, set()
            return {key: self._known[key] for key in new}

    def put_back(self, keys: Iterable[Key]) -> None:
        """Let these be new again, because nobody could be told."""
        with self._lock:
            self._new |= self._known.keys() & set(keys)

    def correct(self, merged: Mapping[Key, Sighting]) -> None:
        """Take over since when a version is held, where another process knew it for longer."""
        with self._lock:
            for key, other in merged.items():
                mine = self._known.get(key)
                if mine is not None and mine.version == other.version:
                    self._known[key] = replace(mine, since=min(mine.since, other.since))

    def forget_before(self, end: int) -> None:
        """Forget who was last seen before `end`."""
        with self._lock:
            for key in [key for key, one in self._known.items() if one.seen < end]:
                del self._known[key]
                self._new.discard(key)


def merge(one: Sighting, other: Sighting | None) -> Sighting:
    """Return what two processes know together: the later word counts."""
    if other is None:
        return one
    earlier, later = sorted((other, one), key=lambda item: item.seen)
    if earlier.version != later.version:
        return later
    return replace(later, since=min(earlier.since, later.since))


def to_field(key: Key) -> str:
    """Return the name of an entry on the shared board."""
    return " ".join(key)


def read_board(fields: Mapping[str, str]) -> dict[Key, Sighting]:
    """Return the entries of a shared board; what is not readable is left out."""
    found = {}
    for field, text in fields.items():
        key, value = _FIELD.fullmatch(field), _TEXT.fullmatch(text)
        if key is not None and value is not None:
            version, since, seen = (int(number) for number in value.groups())
            if version <= MAX_INTEGER:
                found[key[1], key[2], key[3]] = Sighting(version, since, seen)
    return found
