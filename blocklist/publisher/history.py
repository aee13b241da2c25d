"""What happened: the releases of a list, what differs between two, and when a URL was covered."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from blocklist.core import ladder, listbytes, matching
from blocklist.core.canonical import canonical_host, split_url
from blocklist.core.defang import refang
from blocklist.core.entries import Feed
from blocklist.core.errors import FeedError, InputError, Undecided, UrlLimit
from blocklist.core.release import Facts
from blocklist.publisher import chain, records
from blocklist.publisher.accounts import Account
from blocklist.publisher.archive import Archive, verified
from blocklist.publisher.index import Range, open_index
from blocklist.publisher.live_account import live_account
from blocklist.publisher.records import Record
from blocklist.publisher.repository import Repository
from signing.errors import TrustError
from signing.head import Head


@dataclass(frozen=True, slots=True)
class Logged:
    """One release.

    Attributes:
        version: Its version.
        created: When it was made.
        entries: Entries in it, the test entry included.
        added, removed: How many entries came and went.
        operation: What was asked for, such as `withdraw`.
        who: Account and machine that ran the command.
        reason: Why, if a reason was given.
        overrides: Guards that were overridden, with the reason.
        account: Who approved it and made it live; None when that was lost.
        sealed: The account is the one that the record of the next release holds. That of the
            newest release is not sealed yet: only the statements in it vouch for it.
    """

    version: int
    created: datetime
    entries: int
    added: int
    removed: int
    operation: str
    who: str
    reason: str | None
    overrides: tuple[Mapping[str, str], ...]
    account: Account | None
    sealed: bool


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
    if name not in head.roles or limit == 0:
        return []
    account = live_account(repository, head, name)
    found: list[Logged] = []
    with chain.Reads(repository.store) as reads:
        walk = islice(chain.walk(reads, head.roles[name]), limit)
        releases = {link.version: (link.role.digest, link.facts) for link in walk}
        wanted = [(version, facts.record) for version, (_, facts) in releases.items()]
        for version, record in chain.with_records(reads, name, wanted):
            digest, facts = releases.pop(version)
            if account is not None and account.role != digest:
                account = None
            found.append(_logged(version, facts, record, account, sealed=bool(found)))
            account = record.previous
    return found


def _logged(
    version: int, facts: Facts, record: Record, account: Account | None, *, sealed: bool
) -> Logged:
    return Logged(
        version=version,
        created=facts.created,
        entries=facts.entries,
        added=len(record.added),
        removed=len(record.removed),
        operation=record.operation,
        who=record.who,
        reason=record.reason,
        overrides=record.overrides,
        account=account,
        sealed=sealed,
    )


def covering(repository: Repository, name: str, url: str) -> list[Range]:
    """Return when an entry covered a URL, oldest first.

    Args:
        repository: Where.
        name: The list.
        url: As found; defanged is fine.

    Raises:
        UnknownList: There is no such list.
        BadUrl: A malformed URL.
        Undecided: Path or query is beyond a limit, and its host has had narrower entries.
        MalformedFeed, DigestMismatch: A role file or record is missing or altered.
    """
    url = refang(url)
    path: list[bytes] | None = None
    try:
        parts = split_url(url)
        host, path = parts[0], list(matching.path_lines(*parts))
    except UrlLimit:
        host = canonical_host(url)
    with open_index(repository, name) as index:
        if path is None and any(index.has_ever(f"{kind} {host}/".encode()) for kind in "pu"):
            raise Undecided("expected a URL within the limits on a host that has had entries")
        return index.ranges([*matching.host_lines(host), *(path or ())])


def diff(repository: Repository, name: str, old: int, new: int) -> Difference:
    """Return what differs between two releases; version 0 is the empty list.

    Raises:
        UnknownList: There is no such list.
        InputError: A version that was never released.
    """
    head = repository.head([name])
    before, after = (released_lines(repository, head, name, version) for version in (old, new))
    return Difference(
        tuple(line.decode() for line in sorted(after - before)),
        tuple(line.decode() for line in sorted(before - after)),
    )


def released_lines(repository: Repository, head: Head, name: str, version: int) -> frozenset[bytes]:
    """Return the lines of a release; version 0 is the empty list.

    They come from the objects of lists and deltas, or add up from the records where `gc` took
    those, or the keys that signed them were rotated away.

    Raises:
        InputError: A version that was never released, or whose content is gone.
    """
    newest = head.roles[name].version if name in head.roles else 0
    if version == 0:
        return frozenset()
    if not 0 < version <= newest:
        raise InputError(f"expected a version from 0 to {newest}, got {version}")
    archive = Archive(repository, head, name)
    with suppress(FeedError, TrustError):
        if _was_released(archive, version, newest):
            return frozenset(listbytes.clear_lines(archive.content(Feed.CLEAR, version)))
    return _from_records(repository, head, name, version)


def _from_records(repository: Repository, head: Head, name: str, version: int) -> frozenset[bytes]:
    """Return the lines of a release as its records add up, if they give the signed digest."""
    try:
        with open_index(repository, name, head=head) as index:
            lines, digest = index.lines_at(version), index.role(version)
        archive = Archive(repository, head, name)
        archive.role(version, digest)
        data = listbytes.encode_clear(lines)
        verified(archive.release(Feed.CLEAR, version).content, data)
    except (FeedError, TrustError) as error:
        raise InputError(f"version {version} is gone: {error}") from error
    repository.home.cache(records.digest(data), data)
    return frozenset(lines)


def _was_released(archive: Archive, version: int, newest: int) -> bool:
    """Tell a release from a burned number, whose role file may be signed as well as any.

    Only stored deltas are asked, which is quick; a release that none leads to is in the index.
    """
    froms = lambda at: archive.froms(Feed.CLEAR, at)  # noqa: E731 - one line, one use
    return ladder.ceil_release(version, newest, froms) == version
