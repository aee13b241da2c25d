"""The stored objects that lead from the version a subscriber holds to the live one.

The ladder first; else the newest stored snapshot and the ladder after it. Role files name the
deltas that end at their version. Names of earlier versions are hints: the signed digest decides.
"""

from collections.abc import Iterable
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

    def way(self, have: int) -> Way:
        """Return the way from version `have` (0: nothing), an empty one when none is complete.

        At or above the release nothing is needed.

        Raises:
            StoreError: The storage failed.
        """
        if have >= self._release.version:
            return Way()
        hops = self._hops(have) if have else None
        way = self._collect([], hops) if hops is not None else None
        if way is None and self._release.snapshot is not None:
            of, blob = self._release.snapshot
            hops = self._hops(of)
            way = self._collect([blob], hops) if hops is not None else None
        return way if way is not None else Way(whole=False)

    def _hops(self, have: int) -> Hops | None:
        return ladder.walk(have, self._release.version, lambda at: self._deltas(at))

    def _deltas(self, version: int) -> dict[int, Blob]:
        found = self._reader.release_at(self._live, self._release.list, self._release.feed, version)
        return dict(found.deltas) if found is not None else {}

    def _collect(self, first: Iterable[Blob], hops: Hops) -> Way | None:
        """Read the objects of a way in the order of use; None when one is missing."""
        name = self._release.list
        way = Way()
        for _, to in hops:
            data = self._reader.role_data(self._live, name, to)
            if data is not None:
                way.add_file(names.file_name(name, to), data)
        for blob in [*first, *(self._deltas(to)[start] for start, to in hops)]:
            if blob.length > way.left:
                continue
            found = self._reader.objects.blob(name, self._release.feed, blob, MAX_UPDATE_BYTES)
            if found is None:
                return None
            way.whole = way.whole and found.intact
            way.add_object(blob.file, found.data)
        return way
