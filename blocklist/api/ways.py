"""The stored objects that lead from the version a subscriber holds to the live one.

The ladder first; else the newest stored snapshot and the ladder after it. Role files name the
deltas that end at their version. Names of earlier versions are hints: the signed digest decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from blocklist.api.limits import MAX_UPDATE_BYTES
from blocklist.api.live import Live
from blocklist.api.reader import FeedReader
from blocklist.core import ladder
from blocklist.core.release import Blob, FeedRelease
from signing import names

Hops = list[tuple[int, int]]


@dataclass(slots=True)
class Way:
    """What to send, being collected.

    Attributes:
        files: Role files of the hops by file name.
        objects: Objects by the last segment of their key.
        left: Bytes that may still be added.
        whole: Whether everything is there and undamaged.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    left: int = MAX_UPDATE_BYTES
    whole: bool = True

    def add_file(self, name: str, data: bytes) -> None:
        """Add a role file, if there is room."""
        if self._take(data):
            self.files[name] = data

    def add_object(self, name: str, data: bytes) -> None:
        """Add an object, if there is room; without it the subscriber fetches it singly."""
        if self._take(data):
            self.objects[name] = data

    def _take(self, data: bytes) -> bool:
        if len(data) > self.left:
            return False
        self.left -= len(data)
        return True


@dataclass(frozen=True, slots=True)
class Plan:
    """A way that is not read yet.

    Attributes:
        start: Version it starts from, 0: from nothing; None: there is no way.
        hops: Steps of the ladder.
        blobs: Objects in the order of use, with their digests and lengths.
    """

    start: int | None
    hops: Hops = field(default_factory=list)
    blobs: tuple[Blob, ...] = ()

    @property
    def length(self) -> int:
        """Bytes of the objects that will be sent, by what role files say: a hint."""
        return min(sum(blob.length for blob in self.blobs), MAX_UPDATE_BYTES)


class WayFinder:
    """Finds ways to one release.

    Args:
        reader: The repository.
        live: The state that `release` is of.
        release: Where the ways lead.
    """

    def __init__(self, reader: FeedReader, live: Live, release: FeedRelease) -> None:
        self._reader = reader
        self._live = live
        self._release = release

    def plans(self, have: int) -> Iterator[Plan]:
        """Yield the ways from version `have` (0: nothing), the best first, at last an empty one.

        At or above the release nothing is needed. All whom the ladder does not help have the
        same way: the one from nothing.

        Raises:
            StoreError: The storage failed.
        """
        if have >= self._release.version:
            yield Plan(have)
            return
        if have and (hops := self._hops(have)) is not None:
            yield self._plan(have, hops, ())
        if self._release.snapshot is not None:
            of, blob = self._release.snapshot
            if (hops := self._hops(of)) is not None:
                yield self._plan(0, hops, (blob,))
        yield Plan(None)

    def collect(self, plan: Plan) -> Way | None:
        """Read the objects of a way in the order of use; None when one is missing.

        Raises:
            StoreError: The storage failed.
            Problem: 503: too many large objects are being read.
        """
        name = self._release.list
        way = Way(whole=plan.start is not None)
        for _, to in plan.hops:
            data = self._reader.role_data(self._live, name, to)
            if data is not None:
                way.add_file(names.file_name(name, to), data)
        for blob in plan.blobs:
            if blob.length > way.left:
                continue
            found = self._reader.objects.blob(name, self._release.feed, blob, MAX_UPDATE_BYTES)
            if found is None:
                return None
            way.whole = way.whole and found.intact
            way.add_object(blob.file, found.data)
        return way

    def _plan(self, start: int, hops: Hops, first: tuple[Blob, ...]) -> Plan:
        return Plan(start, hops, (*first, *(self._deltas(to)[at] for at, to in hops)))

    def _hops(self, have: int) -> Hops | None:
        return ladder.walk(have, self._release.version, lambda at: self._deltas(at))

    def _deltas(self, version: int) -> dict[int, Blob]:
        found = self._reader.release_at(self._live, self._release.list, self._release.feed, version)
        return dict(found.deltas) if found is not None else {}
