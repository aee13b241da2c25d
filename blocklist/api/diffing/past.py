"""Earlier releases of a list: which there were, as the live one proves, and their list bytes.

A number was released when the way back from the live release, by the names of stored deltas, passes
through it; a burned number is never named. The way is that of the clear feed: the hashed one begins
anew with each hash key. Each role file on that way must be proven (`chain`).
List bytes come from anywhere and must have the signed digest (docs/spec.md, "Ladder" and "Diff").
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from blocklist.api.diffing.chain import Chain, Gone, sha256
from blocklist.api.heavy import Heavy
from blocklist.api.limits import MAX_OBJECT_BYTES
from blocklist.api.objects import Objects
from blocklist.core import delta, ladder, listbytes
from blocklist.core.entries import Feed
from blocklist.core.errors import FeedError
from blocklist.core.release import Blob, FeedRelease
from blocklist.store import layout


class Past:
    """The releases of one list, up to the live one; for one request, which holds a slot.

    Args:
        chain: The role files that are proven.
        objects: Where list bytes come from.
        name: The list.
        heavy: Where to compute.
    """

    def __init__(self, chain: Chain, objects: Objects, name: str, heavy: Heavy) -> None:
        self._chain = chain
        self._objects = objects
        self._name = name
        self._heavy = heavy
        self._read: dict[tuple[Feed, int], FeedRelease] = {}

    def release(self, feed: Feed, version: int) -> FeedRelease | None:
        """Return a release; None for a number that never was one.

        Raises:
            Gone: That cannot be told any more, or the release cannot be proven.
            StoreError: The storage failed.
        """

        def froms(at: int) -> Iterable[int]:
            return self._release(Feed.CLEAR, at).deltas

        if ladder.ceil_release(version, self._chain.head, froms) != version:
            return None
        return self._release(feed, version)

    def content(self, release: FeedRelease, held: tuple[int, bytes] | None = None) -> bytes:
        """Return the list bytes of a release.

        Args:
            release: A proven one.
            held: Version and list bytes of an earlier release, if there are any.

        Raises:
            Gone: What the storage has does not lead to them.
            StoreError: The storage failed.
        """
        stored = self._blobs(release, [release.content])
        if stored is not None:
            return stored[0]
        for start, base, first in _beginnings(release, held):
            deltas = self._way(release, start, first)
            data = self._heavy.run(rebuild, release, base, deltas) if deltas is not None else None
            if data is not None:
                return data
        raise Gone(f"version {release.version} of {self._name} cannot be rebuilt")

    def _release(self, feed: Feed, version: int) -> FeedRelease:
        found = self._read.get((feed, version))
        if found is None:
            found = self._read[feed, version] = self._chain.release(feed, version)
        return found

    def _way(
        self, release: FeedRelease, start: int, first: Sequence[Blob]
    ) -> Sequence[bytes] | None:
        """Return `first` and the deltas from one version to a release; None when any is missing."""

        def deltas(at: int) -> Mapping[int, Blob]:
            try:
                return self._release(release.feed, at).deltas
            except Gone:
                return {}

        hops = ladder.walk(start, release.version, deltas)
        if hops is None:
            return None
        return self._blobs(release, [*first, *(deltas(to)[at] for at, to in hops)])

    def _blobs(self, release: FeedRelease, blobs: Sequence[Blob]) -> Sequence[bytes] | None:
        found = []
        for blob in blobs:
            data = self._blob(release.feed, blob)
            if data is None:
                return None
            found.append(data)
        return found

    def _blob(self, feed: Feed, blob: Blob) -> bytes | None:
        """Return an object, hashed away from the loop; None when it is missing or altered."""

        def intact(data: bytes) -> bool:
            return self._heavy.run(sha256, data) == blob.sha256

        key = layout.target_key(layout.target_path(self._name, feed, blob.name), blob.sha256)
        stored = self._objects.read(key, MAX_OBJECT_BYTES, intact)
        return stored.data if stored is not None and stored.intact else None


def _beginnings(
    release: FeedRelease, held: tuple[int, bytes] | None
) -> Iterator[tuple[int, bytes, Sequence[Blob]]]:
    """Yield from where a release may be reached: version, its list bytes, what to apply first."""
    if held is not None and held[0] < release.version:
        yield *held, ()
    if release.snapshot is not None:
        version, blob = release.snapshot
        yield version, b"", (blob,)


def rebuild(release: FeedRelease, base: bytes, deltas: Sequence[bytes]) -> bytes | None:
    """Return the list bytes that deltas make of others, None unless they are those of the release.

    Deltas come from anywhere, and may lead anywhere.
    """
    data = base
    try:
        for step in deltas:
            data = delta.apply(release.feed, data, step, max_bytes=listbytes.MAX_LIST_BYTES)
    except FeedError:
        return None
    return data if sha256(data) == release.content.sha256 else None
