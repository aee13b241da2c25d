"""`fsck`: from the first root to the last digest, is the storage what it claims to be?

Reads every object under `feed/targets` against the digest in its name, every root from 1, all live
metadata, each release along the chain of `prev` with its record, and applies every stored delta
and snapshot of those releases to see that it gives the signed list. The newest release must have
its whole list stored while that is small enough, and the secrets that it was made with. Releases
that `gc` may have collected may lack objects, but have no wrong ones (`retention`).
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tuf.api.metadata import Root

from blocklist.core import delta, listbytes
from blocklist.core.entries import Feed
from blocklist.core.errors import BlocklistError, FeedError, StoreUnreachable
from blocklist.core.release import FeedRelease
from blocklist.publisher import chain, hash_keys, records
from blocklist.publisher.archive import Archive, Missing, expect_secret_of
from blocklist.publisher.keeping.retention import Retained, retain
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from blocklist.store.port import DEFAULT_OBJECT_LIMIT
from signing import names, policy, standing, verify
from signing.errors import TrustError
from signing.head import Head
from signing.roles import RoleFile


@dataclass(slots=True)
class Report:
    """What fsck found.

    Attributes:
        checked: Counts by what was checked.
        problems: What is wrong, a line each; empty when all is well.
    """

    checked: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def count(self, what: str) -> None:
        """Count one thing that was checked."""
        self.checked[what] = self.checked.get(what, 0) + 1


def fsck(repository: Repository) -> Report:
    """Check the whole storage.

    Raises:
        TrustError: The head itself cannot be verified.
        StoreError: The storage cannot be read.
    """
    report = Report()
    head = _head(repository, report)
    report.checked["live metadata"] = len(head.everything())
    _roots(repository, head, report)
    _objects(repository, report)
    for name in head.released():
        _list(repository, head, name, report)
    return report


def _head(repository: Repository, report: Report) -> Head:
    """Read the head, also past something at the next root's place that is no root."""
    try:
        return repository.head(None)
    except TrustError:
        metadata, trust = repository.metadata, repository.home.trust()
        root, problem = standing.walk_valid(metadata, trust.root)
        if problem is None:
            raise
        report.problems.append(
            f"{problem}; sign a new root and commit it with --replace-invalid-root"
        )
        return standing.live(metadata, trust, [root])


def _roots(repository: Repository, head: Head, report: Report) -> None:
    """Verify every root from 1, and see that nothing lies above the newest."""
    for listed in repository.metadata.list(""):
        number, _, rest = listed.key.partition(".")
        above = number.isdecimal() and int(number) > head.root.version + 1
        if above and rest == names.meta_name(names.ROOT):
            report.problems.append(f"{listed.key} lies above the newest root")
    root: RoleFile[Root] | None = None
    with _noting(report, "root"):
        for version in range(1, head.root.version + 1):
            file = names.file_name(names.ROOT, version)
            found = repository.metadata.get(file, limit=policy.MAX_ROOT_BYTES)
            if found is None:
                report.problems.append(f"{file} is missing")
                return
            if root is None:
                root = verify.self_signed_root(found.data)
            else:
                root = verify.next_root(root, found.data)
            report.count("roots")
        if root is None or root.data != head.root.data:
            report.problems.append("the roots in the storage do not lead to the trusted root")


def _objects(repository: Repository, report: Report) -> None:
    """Compare every object under feed/targets with the digest in its name."""
    for listed in repository.store.list(layout.TARGETS):
        parsed = layout.parse_target_key(listed.key)
        if parsed is None or listed.size > DEFAULT_OBJECT_LIMIT:
            report.problems.append(f"{listed.key} has no business there")
            continue
        found = repository.store.get(listed.key)
        report.count("objects")
        if found is None:
            report.problems.append(f"{listed.key} is missing")
        elif hashlib.sha256(found.data).hexdigest() != parsed[1]:
            report.problems.append(f"{listed.key} does not hold what its name says")


def _list(repository: Repository, head: Head, name: str, report: Report) -> None:
    """Check the releases of a list, newest first."""
    archive = Archive(repository, head, name)
    newest = head.roles[name].version
    with _noting(report, f"{name} secrets"):
        secret = repository.secret(name)
        expect_secret_of(archive, newest, secret)
        hash_keys.expect_announced(archive.release(Feed.HASHED, newest).facts, secret)
    for feed in Feed:
        with _noting(report, f"{name} {feed} version {newest} list"):
            whole = archive.release(feed, newest).content
            if whole.length < repository.settings.list_object_bytes:
                archive.blob(feed, whole)
    retained, links = Retained(name), list[chain.Link]()
    with _noting(report, name), chain.Reads(repository.store) as reads:
        retained = retain(repository, head, name, repository.clock())
        for link in chain.walk(reads, head.roles[name]):
            archive.know(link.role)
            links.append(link)
    for link in links:  # all of them proven: keys that are gone now have signed some
        report.count("releases")
        with _noting(report, f"{name} version {link.version}"):
            records.read(repository.store, name, link.facts.record)
            report.count("records")
        for feed in Feed:
            with _noting(report, f"{name} {feed} version {link.version}"):
                _feed(archive, archive.release(feed, link.version), retained, report)


def _feed(archive: Archive, release: FeedRelease, retained: Retained, report: Report) -> None:
    """Reproduce one feed's list bytes in every way that this release offers."""
    where = f"{release.list} {release.feed} version {release.version}"
    whole = retained.complete(release.feed, release.version)
    for start, blob in sorted(release.deltas.items()):
        required = retained.complete(release.feed, start)
        with _noting(report, f"{where} {blob.name}", required=required):
            old = archive.content(release.feed, start)
            _reproduces(release, old, archive.blob(release.feed, blob))
            report.count("deltas")
    if release.snapshot is not None and release.snapshot[0] == release.version:
        with _noting(report, f"{where} snapshot", required=whole):
            _reproduces(release, b"", archive.blob(release.feed, release.snapshot[1]))
            report.count("snapshots")
    with _noting(report, where, required=whole):
        content = archive.content(release.feed, release.version)
        listbytes.validate(release.feed, content)
        if listbytes.count(release.feed, content) != release.facts.entries:
            report.problems.append(f"{where}: the number of entries is not the signed one")


def _reproduces(release: FeedRelease, old: bytes, data: bytes) -> None:
    new = delta.apply(release.feed, old, data, max_bytes=listbytes.MAX_LIST_BYTES)
    if hashlib.sha256(new).hexdigest() != release.content.sha256:
        raise FeedError("it does not give the signed list")


@contextmanager
def _noting(report: Report, where: str, *, required: bool = True) -> Iterator[None]:
    """Note a failure as a problem and go on; what is not required may be missing."""
    try:
        yield
    except StoreUnreachable:
        raise
    except Missing as error:
        if required:
            report.problems.append(f"{where}: {error}")
        else:
            report.count("objects collected")
    except (BlocklistError, TrustError) as error:
        report.problems.append(f"{where}: {error}")
