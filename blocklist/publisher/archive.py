"""Earlier releases of a list: their verified role files and their list bytes.

Roles are found along the names of stored deltas, each verified by its signatures under the keys of
the head; content is rebuilt from the cache, the stored list, or snapshot and ladder, and always
compared with the signed digest.
"""

import hashlib
from collections.abc import Iterable

from tuf.api.metadata import Targets

from blocklist.core import delta, ladder, listbytes
from blocklist.core.entries import Entry, Feed, Kind
from blocklist.core.errors import DigestMismatch, MalformedFeed
from blocklist.core.private import ListSecret
from blocklist.core.release import Blob, FeedRelease, read_release
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from signing import names, policy, verify
from signing.head import Head
from signing.roles import RoleFile, targets_of


class Missing(MalformedFeed):
    """An object of an earlier release is not in the storage: `gc` took it, or it is lost."""


class Archive:
    """The releases of one list up to the head.

    Args:
        repository: Where.
        head: A head that was read with this list.
        name: The list.
    """

    def __init__(self, repository: Repository, head: Head, name: str) -> None:
        self._repository = repository
        self._head = head
        self._name = name
        self._roles: dict[int, RoleFile[Targets]] = {}
        current = head.roles.get(name)
        if current is not None:
            self._roles[current.version] = current

    def role(self, version: int, digest: str | None = None) -> RoleFile[Targets]:
        """Return the role file of a release.

        Args:
            version: Its version.
            digest: Its digest, where the release after it has named it: that is proof too, also
                after the keys that signed it were rotated away.

        Raises:
            MalformedFeed: There is none.
            Tampered: The list's keys do not sign it.
        """
        if version not in self._roles:
            file = names.file_name(self._name, version)
            found = self._repository.metadata.get(file, limit=policy.MAX_TARGETS_BYTES)
            if found is None:
                raise MalformedFeed(f"expected {file} in the storage, it is missing")
            if digest is not None and hashlib.sha256(found.data).hexdigest() == digest:
                role = verify.parse(self._name, found.data, Targets)
            else:
                role = verify.delegated_alone(self._head.targets, self._name, found.data)
            if role.version != version:
                raise MalformedFeed(f"expected {self._name} version {version}, got {role.version}")
            self._roles[version] = role
        return self._roles[version]

    def know(self, role: RoleFile[Targets]) -> None:
        """Take the role file of a release that the chain has proven."""
        self._roles.setdefault(role.version, role)

    def release(self, feed: Feed, version: int) -> FeedRelease:
        """Return what signed metadata says of one feed of a release."""
        return read_release(self._name, feed, version, targets_of(self.role(version).signed))

    def froms(self, feed: Feed, version: int) -> Iterable[int]:
        """Return the versions from which stored deltas lead to `version`."""
        return self.release(feed, version).deltas

    def content(self, feed: Feed, version: int) -> bytes:
        """Return the list bytes of a release, verified against its signed digest.

        Raises:
            Missing, MalformedFeed, DigestMismatch: The storage cannot give them.
        """
        release = self.release(feed, version)
        home = self._repository.home
        cached = home.cached(release.content.sha256)
        if cached is not None:
            return cached
        try:
            data = self._stored(feed, release.content)
        except DigestMismatch:  # `fsck` names it; the deltas may still be good
            data = None
        if data is None:
            data = self._rebuilt(release)
        home.cache(release.content.sha256, data)
        return data

    def blob(self, feed: Feed, blob: Blob) -> bytes:
        """Return a stored object, verified.

        Raises:
            Missing: It is not there.
            DigestMismatch: It was altered.
        """
        data = self._stored(feed, blob)
        if data is None:
            raise Missing(f"expected {blob.name} of {self._name} {feed}, it is missing")
        return data

    def ladder_bytes(self, feed: Feed, start: int, end: int) -> int | None:
        """Return the bytes of the way from one release to another; None when there is none."""
        hops = ladder.walk(start, end, lambda version: self.froms(feed, version))
        if hops is None:
            return None
        return sum(self.release(feed, to).deltas[at].length for at, to in hops)

    def _stored(self, feed: Feed, blob: Blob) -> bytes | None:
        path = layout.target_path(self._name, feed, blob.name)
        found = self._repository.store.get(layout.target_key(path, blob.sha256))
        if found is None:
            return None
        verified(blob, found.data)
        return found.data

    def _rebuilt(self, release: FeedRelease) -> bytes:
        """Rebuild list bytes from the newest stored snapshot and the ladder after it."""
        feed, name = release.feed, f"{self._name} {release.feed} version {release.version}"
        if release.snapshot is None:
            raise MalformedFeed(f"expected a snapshot to rebuild {name} from, there is none")
        start, snapshot = release.snapshot
        hops = ladder.walk(start, release.version, lambda version: self.froms(feed, version))
        if hops is None:
            raise MalformedFeed(f"expected a way from the snapshot to {name}, there is none")
        steps = [snapshot, *(self.release(feed, to).deltas[at] for at, to in hops)]
        data = b""
        for step in steps:
            data = delta.apply(
                feed, data, self.blob(feed, step), max_bytes=listbytes.MAX_LIST_BYTES
            )
        verified(release.content, data)
        return data


def verified(blob: Blob, data: bytes) -> None:
    """Compare bytes with the length and digest that signed metadata names.

    Raises:
        DigestMismatch: They differ.
    """
    if len(data) != blob.length or hashlib.sha256(data).hexdigest() != blob.sha256:
        raise DigestMismatch(f"{blob.name} is not what signed metadata names")


def expect_secret_of(archive: Archive, version: int, secret: ListSecret) -> None:
    """Refuse secrets that are not those of a release: the storage may have altered them.

    They are not signed. Without this whoever writes to the storage could have any host signed, as
    test entry.

    Raises:
        DigestMismatch: Its hash key is not among them, or its test entry is another one.
    """
    signed = archive.release(Feed.HASHED, version).facts.hash_key_id
    lines = listbytes.clear_lines(archive.content(Feed.CLEAR, version))
    known = secret.key_of(signed) is not None
    if not known or Entry(Kind.HOST, secret.test_host).line not in lines:
        raise DigestMismatch(f"the secrets of {secret.name} are not those of its last release")
