"""The feeds of a candidate: what its role would vouch for, with every delta and snapshot decoded.

Encoders need not agree from one release of a compressor to the next, so nothing is encoded again:
what the candidate carries is applied to verified list bytes of the version that it starts from,
and has to give the list bytes that were made on this machine.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from blocklist.core import delta, listbytes, release
from blocklist.core.entries import Feed
from blocklist.core.errors import DigestMismatch, FeedError
from blocklist.core.release import Blob, Facts, FeedRelease, read_release
from blocklist.publisher import records
from blocklist.publisher.assemble import Base
from blocklist.publisher.build import Build, Feeds
from blocklist.publisher.curation.candidate import Candidate
from blocklist.store import layout
from signing.roles import Target, targets_of


def claimed_of(candidate: Candidate, feed: Feed) -> FeedRelease:
    """Return what the role of a candidate says of a feed; nothing of it is verified.

    Raises:
        MalformedFeed, UnknownFormat: It has another shape.
    """
    targets = targets_of(candidate.signed)
    return read_release(candidate.list, feed, candidate.version, targets)


def decoded(
    candidate: Candidate, base: Base, facts: Facts, feeds: Feeds, *, list_object_bytes: int
) -> Build:
    """Return the objects of a candidate and what its role has to vouch for.

    Args:
        candidate: Carries deltas and snapshots.
        base: What it is made on.
        facts: The signed facts, as made on this machine; hash keys go to the hashed feed only.
        feeds: The list bytes, as made on this machine.
        list_object_bytes: Whole lists are stored too while under this size.

    Raises:
        DigestMismatch: An object is missing, is not what its name says, or gives another list; or
            one that subscribers need is not named; or one is carried that nothing names.
        MalformedFeed, UnknownFormat: The role has another shape.
    """
    blobs: dict[str, bytes] = {}
    targets: list[Target] = []
    for feed, content in feeds.content.items():
        keyed = facts
        if feed is Feed.CLEAR:
            keyed = replace(facts, hash_key_id=None, next_hash_key=None)
        one = _Feed(candidate, base, claimed_of(candidate, feed), content, blobs)
        whole = one.whole(keyed, list_object_bytes)
        targets += [whole, *one.deltas(keyed.hash_key_id), one.snapshot(keyed.hash_key_id)]
    if extra := candidate.objects.keys() - blobs.keys():
        raise DigestMismatch(f"the candidate carries {len(extra)} objects that nothing names")
    return Build(blobs, tuple(targets))


@dataclass(slots=True)
class _Feed:
    """One feed of a candidate.

    Attributes:
        candidate, base: As given.
        claimed: What the role says of it.
        content: Its list bytes, as made on this machine.
        blobs: Objects by key, collected.
    """

    candidate: Candidate
    base: Base
    claimed: FeedRelease
    content: bytes = field(repr=False)
    blobs: dict[str, bytes] = field(repr=False)

    def whole(self, facts: Facts, list_object_bytes: int) -> Target:
        """Return the `list` target."""
        path, digest = self._path(release.LIST), records.digest(self.content)
        if len(self.content) < list_object_bytes:
            self.blobs[layout.target_key(path, digest)] = self.content
        return Target(path, len(self.content), digest, facts.to_custom())

    def deltas(self, key_id: str | None) -> Iterator[Target]:
        """Yield the targets of all deltas, each decoded.

        Without the one from the release before, subscribers would lose their way.
        """
        froms, previous = self.claimed.deltas, self.base.version
        leads_on = previous is not None and self._key_of(previous) == key_id
        if leads_on and previous not in froms:
            raise DigestMismatch(f"the candidate has no {self._name} delta from {previous}")
        for start, blob in froms.items():
            if not leads_on or start > (previous or 0) or self._key_of(start) != key_id:
                raise DigestMismatch(f"the candidate has a {self._name} delta from nowhere")
            old = self.base.archive.content(self.claimed.feed, start)
            yield self._decoded(blob, old)

    def snapshot(self, key_id: str | None) -> Target:
        """Return the target of the snapshot: a new one, decoded, or that of the base release."""
        if self.claimed.snapshot is None:
            raise DigestMismatch(f"the candidate has no {self._name} snapshot")
        of, blob = self.claimed.snapshot
        if of == self.candidate.version:
            target = self._decoded(blob, b"")
        elif self._kept(key_id) == (of, blob):
            target = Target(self._path(blob.name), blob.length, blob.sha256)
        else:
            raise DigestMismatch(f"the candidate names a {self._name} snapshot that is not kept")
        return replace(target, custom={"version": of})

    @property
    def _name(self) -> str:
        return self.claimed.feed.value

    def _path(self, name: str) -> str:
        return layout.target_path(self.claimed.list, self.claimed.feed, name)

    def _key_of(self, version: int) -> str | None:
        """Return the id of the hash key of a release, None on the clear feed."""
        return self.base.archive.release(self.claimed.feed, version).facts.hash_key_id

    def _kept(self, key_id: str | None) -> tuple[int, Blob] | None:
        """Return the snapshot that the base release names, if it is of use under this hash key."""
        if self.base.version is None or self._key_of(self.base.version) != key_id:
            return None
        return self.base.archive.release(self.claimed.feed, self.base.version).snapshot

    def _decoded(self, blob: Blob, old: bytes) -> Target:
        """Apply a delta or snapshot of the candidate and compare what it gives."""
        path, what = self._path(blob.name), f"the {self._name} {blob.name} of the candidate"
        key = layout.target_key(path, blob.sha256)
        data = self.candidate.objects.get(key)
        if data is None:
            raise DigestMismatch(f"{what} is missing")
        if len(data) != blob.length or records.digest(data) != blob.sha256:
            raise DigestMismatch(f"{what} is not what it names")
        try:
            gives = delta.apply(self.claimed.feed, old, data, max_bytes=listbytes.MAX_LIST_BYTES)
        except FeedError as error:
            raise DigestMismatch(f"{what} cannot be decoded: {error}") from error
        if gives != self.content:
            raise DigestMismatch(f"{what} gives another list")
        self.blobs[key] = data
        return Target(path, blob.length, blob.sha256)
