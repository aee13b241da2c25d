"""What happened: the releases of a list along the chain of `prev`, and what differs between two."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from blocklist.core import ladder, listbytes
from blocklist.core.entries import Feed
from blocklist.core.errors import DigestMismatch, FeedError, InputError
from blocklist.core.release import Facts
from blocklist.publisher import records
from blocklist.publisher.archive import Archive
from blocklist.publisher.records import Record
from blocklist.publisher.repository import Repository
from signing.errors import TrustError


@dataclass(frozen=True, slots=True)
class Logged:
    """One release.

    Attributes:
        version: Its version.
        created: When it was made.
        entries: Entries in it, the test entry included.
        record: Its private record.
    """

    version: int
    created: datetime
    entries: int
    record: Record


@dataclass(frozen=True, slots=True)
class Difference:
    """Lines of list bytes that come and go from one version to another, sorted."""

    add: tuple[str, ...]
    remove: tuple[str, ...]


def log(repository: Repository, name: str, limit: int | None = None) -> list[Logged]:
    """Return the releases of a list, newest first.

    Raises:
        UnknownList: There is no such list.
        MalformedFeed, DigestMismatch: A role file or record is missing or altered.
    """
    head = repository.head([name])
    archive = Archive(repository, head, name)
    found: list[Logged] = []
    for version, facts in chain(archive, head.roles[name].version if name in head.roles else None):
        if limit is not None and len(found) == limit:
            break
        record = records.read(repository.store, name, facts.record)
        found.append(Logged(version, facts.created, facts.entries, record))
    return found


def chain(archive: Archive, newest: int | None) -> Iterator[tuple[int, Facts]]:
    """Walk from the newest release back to the first, verifying each digest in the chain.

    Raises:
        DigestMismatch: A role file is not the one that its successor was built on.
    """
    version, expected = newest, None
    while version is not None:
        role = archive.role(version, expected)
        if expected is not None and role.digest != expected:
            raise DigestMismatch(f"version {version} is not the one that its successor names")
        facts = archive.release(Feed.CLEAR, version).facts
        yield version, facts
        version, expected = facts.prev if facts.prev is not None else (None, None)


def diff(repository: Repository, name: str, old: int, new: int) -> Difference:
    """Return what differs between two releases; version 0 is the empty list.

    Raises:
        UnknownList: There is no such list.
        InputError: A version that was never released.
    """
    head = repository.head([name])
    archive = Archive(repository, head, name)
    newest = head.roles[name].version if name in head.roles else 0
    before, after = (_lines(archive, version, newest) for version in (old, new))
    return Difference(
        tuple(line.decode() for line in sorted(after - before)),
        tuple(line.decode() for line in sorted(before - after)),
    )


def _lines(archive: Archive, version: int, newest: int) -> frozenset[bytes]:
    if version == 0:
        return frozenset()
    if not 0 < version <= newest:
        raise InputError(f"expected a version from 0 to {newest}, got {version}")
    try:
        if not _was_released(archive, version, newest):
            raise InputError(f"version {version} was never released")
        content = archive.content(Feed.CLEAR, version)
    except (FeedError, TrustError) as error:
        raise InputError(f"version {version} is gone: {error}") from error
    return frozenset(listbytes.clear_lines(content))


def _was_released(archive: Archive, version: int, newest: int) -> bool:
    """Tell a release from a burned number, whose role file may be signed as well as any."""
    froms = lambda at: archive.froms(Feed.CLEAR, at)  # noqa: E731 - one line, one use
    return ladder.ceil_release(version, newest, froms) == version
