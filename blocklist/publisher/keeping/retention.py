"""Which objects of a list are needed: by its newest releases, and by the ways to them.

A release is **kept** while it is among the `keep_versions` newest, younger than `keep_days`, or
superseded less than two days ago; so they are all from some version `oldest` on. Each feed has a
**floor**: the version of the snapshot that `oldest` names. Needed are

    snapshots   that a kept release names
    deltas      of every release from the floor on that start at the floor or above
    lists       of the newest release, and those superseded less than two days ago

A way from a kept version N takes, at every release, the smallest `from` that is not below N. So
all ways between kept versions, now and whatever is released later, go along those deltas; so does
the way from each kept snapshot. Nothing else is needed, whatever the numbers in between.
What the newest release names itself is kept in any case.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from blocklist.core import release
from blocklist.core.entries import Feed
from blocklist.core.release import FeedRelease, read_release
from blocklist.publisher.chain import Link, Reads, walk
from blocklist.publisher.repository import Repository
from blocklist.publisher.settings import Settings
from signing.head import Head
from signing.roles import targets_of

SUPERSEDED = timedelta(days=2)
"""How long a client may still ask for a whole list, or for snapshot metadata, that was replaced."""


@dataclass(frozen=True, slots=True)
class Retained:
    """What is needed of a list.

    Attributes:
        list: The list.
        newest: Its newest release; 0 for none.
        digest: Digest of the role file of that; None for none.
        oldest: The oldest kept release; 0 for none.
        floors: By feed, the oldest version that deltas may have to start from.
        superseded: When a kept release, by digest of its role file, had a successor.
        since: When the oldest kept release was made; None without a release.
    """

    list: str
    newest: int = 0
    digest: str | None = None
    oldest: int = 0
    floors: Mapping[Feed, int] = field(default_factory=dict)
    superseded: Mapping[str, datetime] = field(default_factory=dict)
    since: datetime | None = None
    _named: frozenset[bytes] = frozenset()  # digests: 32 bytes each, some six a release
    _live: frozenset[bytes] = frozenset()

    def needs(self, feed: Feed, name: str, sha256: str) -> bool:
        """Tell whether an object is needed.

        Args:
            feed: Its feed.
            name: `list`, `snapshot` or `delta-<from>`.
            sha256: Its digest.
        """
        digest = bytes.fromhex(sha256)
        if digest in self._live:
            return True
        start = release.parse_delta_name(name)
        if start is not None and start < self.floors.get(feed, 1):
            return False
        return digest in self._named

    def stale_since(self, base: str | None) -> datetime | None:
        """Return when what was made on a release could no longer be released, at the latest.

        Args:
            base: Digest of the role file of that release; None: made before the first.

        Returns:
            None while it still could.
        """
        if base == self.digest:
            return None
        return self.superseded.get(base, self.since) if base is not None else self.since

    def complete(self, feed: Feed, version: int) -> bool:
        """Tell whether a release has to be there with all that is needed."""
        return version >= self.floors.get(feed, 1)


def retain(repository: Repository, head: Head, name: str, now: datetime) -> Retained:
    """Return what is needed of a list; reads the role files from the floor on.

    Raises:
        MalformedFeed, DigestMismatch: One of them is missing or altered.
    """
    found = _Found(repository.settings, now)
    if name in head.roles:
        with Reads(repository.store) as reads:
            for link in walk(reads, head.roles[name]):
                if not found.take(link):
                    break
    return found.result(name)


@dataclass(slots=True)
class _Found:
    """What is known on the way from the newest release back."""

    settings: Settings
    now: datetime
    newest: Link | None = None
    oldest: Link | None = None
    after: Link | None = None
    keeping: bool = True
    kept: int = 0
    floors: dict[Feed, int] = field(default_factory=dict)
    superseded: dict[str, datetime] = field(default_factory=dict)
    named: set[bytes] = field(default_factory=set)

    def take(self, at: Link) -> bool:
        """Look at the release before those that were looked at; False: it is not needed."""
        when = _created(self.after) if self.after is not None else None
        fresh = when is None or self.now - when < SUPERSEDED
        self.keeping = self.keeping and (fresh or self._kept(at))
        if not self.keeping and at.version < min(self.floors.values()):
            return False
        self.newest = self.newest or at
        if self.keeping:
            self.oldest, self.kept = at, self.kept + 1
            for feed, found in _feeds(at).items():
                of = found.snapshot[0] if found.snapshot is not None else 1
                self.floors[feed] = min(self.floors.get(feed, of), of)
            if when is not None:
                self.superseded[at.role.digest] = when
        self.named |= set(_needed(at, keeping=self.keeping, fresh=fresh))
        self.after = at
        return True

    def result(self, name: str) -> Retained:
        if self.newest is None or self.oldest is None:
            return Retained(name)
        return Retained(
            list=name,
            newest=self.newest.version,
            digest=self.newest.role.digest,
            oldest=self.oldest.version,
            floors=self.floors,
            superseded=self.superseded,
            since=_created(self.oldest),
            _named=frozenset(self.named),
            _live=frozenset(_everything(self.newest)),
        )

    def _kept(self, at: Link) -> bool:
        """Tell whether the policy keeps a release."""
        young = self.now - _created(at) < timedelta(days=self.settings.keep_days)
        return young or self.kept < max(1, self.settings.keep_versions)


def _created(at: Link) -> datetime:
    return at.facts.created


def _feeds(at: Link) -> dict[Feed, FeedRelease]:
    """Return what a release says of each feed."""
    role = at.role
    hashed = read_release(role.name, Feed.HASHED, at.version, targets_of(role.signed))
    return {Feed.CLEAR: at.clear, Feed.HASHED: hashed}


def _needed(at: Link, *, keeping: bool, fresh: bool) -> Iterator[bytes]:
    """Yield the digests of what a release names, but for a list that is long superseded."""
    for found in _feeds(at).values():
        for blob in found.deltas.values():
            yield bytes.fromhex(blob.sha256)
        if found.snapshot is not None and keeping:
            yield bytes.fromhex(found.snapshot[1].sha256)
        if fresh:
            yield bytes.fromhex(found.content.sha256)


def _everything(newest: Link) -> Iterator[bytes]:
    for found in _feeds(newest).values():
        yield from (bytes.fromhex(blob.sha256) for blob in _blobs(found))


def _blobs(found: FeedRelease) -> Iterator[release.Blob]:
    yield found.content
    yield from found.deltas.values()
    if found.snapshot is not None:
        yield found.snapshot[1]
