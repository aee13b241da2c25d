"""Earlier releases of a list: which there were, as the live one proves, and their list bytes.

A number was released when the way back from the live release, by the names of stored deltas, passes
through it; a burned number is never named. Each role file on that way must be signed by the keys
that the list has now, or be named, with its digest, by the chain of `prev` from one that is: keys
are rotated, history stays. List bytes come from anywhere and must have the signed digest
(docs/spec.md, "Metadata" and "Ladder").
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from tuf.api.metadata import Targets

from blocklist.api.heavy import Heavy
from blocklist.api.limits import MAX_OBJECT_BYTES
from blocklist.api.live import Live
from blocklist.api.reader import FeedReader
from blocklist.core import delta, ladder, listbytes
from blocklist.core.entries import Feed
from blocklist.core.errors import BlocklistError, FeedError
from blocklist.core.release import Blob, FeedRelease, read_release
from signing import verify
from signing.errors import TrustError
from signing.roles import RoleFile, targets_of

MAX_CHAIN = 1_024  # role files read along `prev`, when keys do not prove a release


class Gone(BlocklistError):
    """An earlier release that cannot be proven or rebuilt any more; the snapshot can be had."""

    http_status = 303


class Past:
    """The releases of one list, up to the live one.

    Args:
        reader: The repository.
        live: The state that proves them; it has a release of the list.
        name: The list.
    """

    def __init__(self, reader: FeedReader, live: Live, name: str) -> None:
        self._reader = reader
        self._live = live
        self._name = name
        self._head = live.roles[name].version
        self._roles: dict[int, RoleFile[Targets]] = {self._head: live.roles[name]}

    def release(self, feed: Feed, version: int) -> FeedRelease | None:
        """Return a release; None for a number that never was one.

        Raises:
            Gone: That cannot be told any more, or the release cannot be proven.
            StoreError: The storage failed.
        """

        def froms(at: int) -> Iterable[int]:
            return self._release(feed, at).deltas

        if ladder.ceil_release(version, self._head, froms) != version:
            return None
        return self._release(feed, version)

    def content(
        self, release: FeedRelease, heavy: Heavy, held: tuple[int, bytes] | None = None
    ) -> bytes:
        """Return the list bytes of a release.

        Args:
            release: A proven one.
            heavy: Where to compute; a slot is held.
            held: Version and list bytes of an earlier release, if there are any.

        Raises:
            Gone: What the storage has does not lead to them.
            StoreError: The storage failed.
        """
        stored = self._objects(release, [release.content])
        if stored is not None:
            return stored[0]
        for start, base, first in _beginnings(release, held):
            deltas = self._way(release, start, first)
            data = heavy.run(rebuild, release, base, deltas) if deltas is not None else None
            if data is not None:
                return data
        raise Gone(f"version {release.version} of {self._name} cannot be rebuilt")

    def _release(self, feed: Feed, version: int) -> FeedRelease:
        role = self._roles.get(version) or self._prove(version)
        return self._read(feed, role)

    def _read(self, feed: Feed, role: RoleFile[Targets]) -> FeedRelease:
        try:
            return read_release(self._name, feed, role.version, targets_of(role.signed))
        except FeedError as error:
            raise Gone(f"version {role.version} of {self._name} cannot be read") from error

    def _prove(self, version: int) -> RoleFile[Targets]:
        """Return a role file by its signatures, else by the chain."""
        data = self._data(version)
        try:
            role = verify.delegated_alone(self._live.head.targets, self._name, data)
        except TrustError:
            return self._follow(version)
        if role.version != version:
            raise Gone(f"version {version} of {self._name} is another one")
        self._roles[version] = role
        return role

    def _follow(self, version: int) -> RoleFile[Targets]:
        """Return a role file by the digests that its successors name, from one that is proven."""
        at = min(known for known in self._roles if known > version)
        for _ in range(MAX_CHAIN):
            previous = self._read(Feed.CLEAR, self._roles[at]).facts.prev
            if previous is None or not version <= previous[0] < at:
                break
            at = previous[0]
            self._roles[at] = self._named(*previous)
            if at == version:
                return self._roles[at]
        raise Gone(f"version {version} of {self._name} is proven by neither keys nor history")

    def _named(self, version: int, digest: str) -> RoleFile[Targets]:
        data = self._data(version)
        if hashlib.sha256(data).hexdigest() != digest:
            raise Gone(f"version {version} of {self._name} is not the one in its history")
        try:
            return verify.parse(self._name, data, Targets)
        except TrustError as error:
            raise Gone(f"version {version} of {self._name} cannot be read") from error

    def _data(self, version: int) -> bytes:
        data = self._reader.role_data(self._live, self._name, version)
        if data is None:
            raise Gone(f"the role file of version {version} of {self._name} is missing")
        return data

    def _way(
        self, release: FeedRelease, start: int, first: Sequence[Blob]
    ) -> Sequence[bytes] | None:
        """Return `first` and the deltas from one version to a release; None when any is missing.

        Role files on this way are hints, since the digest of the release decides.
        """

        def deltas(at: int) -> dict[int, Blob]:
            found = self._reader.release_at(self._live, self._name, release.feed, at)
            return dict(found.deltas) if found is not None else {}

        hops = ladder.walk(start, release.version, deltas)
        if hops is None:
            return None
        return self._objects(release, [*first, *(deltas(to)[at] for at, to in hops)])

    def _objects(self, release: FeedRelease, blobs: Sequence[Blob]) -> Sequence[bytes] | None:
        objects = self._reader.objects
        found = []
        for blob in blobs:
            stored = objects.blob(self._name, release.feed, blob, MAX_OBJECT_BYTES)
            if stored is None or not stored.intact:
                return None
            found.append(stored.data)
        return found


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
    return data if hashlib.sha256(data).hexdigest() == release.content.sha256 else None
