"""Everything a release stores: list bytes of both feeds, deltas by the ladder, snapshots.

Each delta is applied again and compared with the signed digest before anything is written.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from blocklist.core import delta, ladder, listbytes, release
from blocklist.core.entries import Feed
from blocklist.core.errors import DigestMismatch, FeedError, InputError
from blocklist.core.hashing import HashKey, hash_lines
from blocklist.core.release import Blob, Facts
from blocklist.publisher.archive import Archive
from blocklist.store import layout
from signing.errors import TrustError
from signing.roles import Target


@dataclass(frozen=True, slots=True)
class Feeds:
    """The list bytes of one version, by feed."""

    content: Mapping[Feed, bytes]

    @property
    def digests(self) -> dict[str, str]:
        """Hex SHA-256 by feed name."""
        return {feed.value: _sha256(data) for feed, data in self.content.items()}


@dataclass(frozen=True, slots=True)
class Build:
    """What one release adds to the storage.

    Attributes:
        blobs: Bytes by object key.
        targets: What the list role vouches for.
    """

    blobs: Mapping[str, bytes]
    targets: tuple[Target, ...]


def build_feeds(lines: Iterable[bytes], key: HashKey) -> Feeds:
    """Return both feeds' list bytes of these entry lines."""
    ordered = listbytes.ordered(lines)
    clear = listbytes.encode_ordered(ordered)
    if len(clear) > listbytes.MAX_LIST_BYTES:
        raise InputError(f"expected list bytes of at most {listbytes.MAX_LIST_BYTES}")
    return Feeds({Feed.CLEAR: clear, Feed.HASHED: hash_lines(ordered, key)})


def build(
    name: str,
    version: int,
    feeds: Feeds,
    facts: Facts,
    key: HashKey,
    archive: Archive,
    *,
    list_object_bytes: int,
) -> Build:
    """Return the objects and targets of a version.

    Args:
        name: The list.
        version: Its number; the ladder depends on it.
        feeds: The list bytes.
        facts: Signed facts; `prev` names the release that the ladder leads back to. What they say
            of hash keys goes to the hashed feed only.
        key: The hash key of this version. Under another one than the last release had, the hashed
            feed begins anew: a snapshot, and no delta.
        archive: Earlier releases.
        list_object_bytes: Whole lists are stored too while under this size.
    """
    blobs: dict[str, bytes] = {}
    targets: list[Target] = []
    for feed, content in feeds.content.items():
        key_id = key.id if feed is Feed.HASHED else None
        following = facts.next_hash_key if feed is Feed.HASHED else None
        feed_facts = replace(facts, hash_key_id=key_id, next_hash_key=following)
        path = layout.target_path(name, feed, release.LIST)
        targets.append(_target(path, content, feed_facts.to_custom()))
        if len(content) < list_object_bytes:
            blobs[layout.target_key(path, _sha256(content))] = content
        for part in _parts(version, feed, content, _ladder_end(feed, feed_facts, archive), archive):
            path = layout.target_path(name, feed, part.name)
            custom = {"version": part.version} if part.version is not None else None
            targets.append(Target(path, part.blob.length, part.blob.sha256, custom))
            if part.data is not None:
                blobs[layout.target_key(path, part.blob.sha256)] = part.data
    return Build(blobs, tuple(targets))


@dataclass(frozen=True, slots=True)
class _Part:
    """A delta or snapshot; `data` is None when it is stored already."""

    name: str
    blob: Blob
    data: bytes | None
    version: int | None = None


def _ladder_end(feed: Feed, facts: Facts, archive: Archive) -> int | None:
    """Return the release that this one's deltas lead on from; None: there is none to lead from.

    Under another hash key all entry hashes are others: a delta would be larger than a snapshot.
    """
    if facts.prev is None:
        return None
    version = facts.prev[0]
    before = archive.release(feed, version).facts.hash_key_id
    return version if before == facts.hash_key_id else None


def _parts(
    version: int, feed: Feed, content: bytes, prev: int | None, archive: Archive
) -> Iterable[_Part]:
    """Return the deltas by the ladder, and the snapshot: a new one when it is due."""
    deltas = []
    if prev is not None:
        for start in _starts(version, prev, feed, archive):
            old = archive.content(feed, start)
            deltas.append(_delta_part(release.delta_name(start), feed, old, content))
    yield from deltas
    snapshot = _kept_snapshot(version, feed, prev, deltas, archive)
    if snapshot is None:
        part = _delta_part(release.SNAPSHOT, feed, b"", content)
        snapshot = replace(part, version=version)
    yield snapshot


def _starts(version: int, prev: int, feed: Feed, archive: Archive) -> list[int]:
    """Return the releases that this version's deltas start from, newest first.

    A rung whose release cannot be verified any more (its keys were rotated away, its objects are
    gone) is left out: a subscriber there takes the snapshot. The previous release is never left
    out. Walking back ends at the release that took a new hash key: nothing leads to it.
    """
    starts = [prev]
    for rung in ladder.rungs(version, prev):
        try:
            start = ladder.ceil_release(rung, prev, lambda at: archive.froms(feed, at))
            if start not in starts:
                archive.content(feed, start)
                starts.append(start)
        except (FeedError, TrustError):
            continue
    return starts


def _kept_snapshot(
    version: int,
    feed: Feed,
    prev: int | None,
    deltas: list[_Part],
    archive: Archive,
) -> _Part | None:
    """Return the last stored snapshot, or None when a new one is due."""
    if prev is None:
        return None
    kept = archive.release(feed, prev).snapshot
    if kept is None:
        return None
    of, blob = kept
    froms = {release.parse_delta_name(part.name) or 0: part.blob.length for part in deltas}
    last = ladder.next_from(froms, of)
    try:
        way = archive.ladder_bytes(feed, of, last) if last is not None else None
    except (FeedError, TrustError):  # as in `_starts`: an old release must not block a new one
        return None
    if last is None or way is None:
        return None
    if ladder.snapshot_due(blob.length, way + froms[last], version - of):
        return None
    return _Part(release.SNAPSHOT, blob, None, of)


def _delta_part(name: str, feed: Feed, old: bytes, new: bytes) -> _Part:
    """Encode a delta and prove that it gives the new list."""
    data = delta.encode(feed, old, new)
    if delta.apply(feed, old, data, max_bytes=listbytes.MAX_LIST_BYTES) != new:
        raise DigestMismatch(f"a {feed} delta does not reproduce the list; nothing was published")
    return _Part(name, Blob(name, len(data), _sha256(data)), data)


def _target(path: str, content: bytes, custom: dict[str, object]) -> Target:
    return Target(path, len(content), _sha256(content), custom)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
