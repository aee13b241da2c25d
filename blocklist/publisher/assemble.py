"""Assemble a version: from the release it is made on and the lines it shall have, all that is
stored and signed, with nothing written yet.

`publish`, `stage` and `approve` all come through here, so that what one person signs is made, and
what another one checks is made again, by the same code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tuf.api.metadata import Targets

from blocklist.core import listbytes
from blocklist.core.entries import Entry, Feed, Kind
from blocklist.core.errors import DigestMismatch
from blocklist.core.private import ListSecret
from blocklist.core.release import Facts
from blocklist.publisher import records
from blocklist.publisher.archive import Archive, expect_secret_of
from blocklist.publisher.build import Build, Feeds, build
from blocklist.publisher.hash_keys import Keying
from blocklist.publisher.live_account import live_account
from blocklist.publisher.records import Record
from blocklist.publisher.repository import Repository
from blocklist.publisher.request import Outcome
from signing import policy
from signing.head import Head
from signing.roles import new_delegated


@dataclass(frozen=True, slots=True)
class Base:
    """The release that a new one is made on.

    Attributes:
        head: The verified head, with the list.
        archive: The list's releases.
        secret: Its hash keys and test host.
        version: Its version; None before the first release.
        lines: Its entry lines.
        feeds: Its list bytes; None before the first release.
    """

    head: Head
    archive: Archive
    secret: ListSecret
    version: int | None
    lines: frozenset[bytes]
    feeds: Feeds | None

    @property
    def name(self) -> str:
        """The list."""
        return self.secret.name

    @property
    def reference(self) -> tuple[int, str] | None:
        """Version and digest of its role file."""
        role = self.head.roles.get(self.name)
        return (role.version, role.digest) if role is not None else None

    @property
    def delegation(self) -> tuple[int, str]:
        """Version and digest of the targets role that says who may sign."""
        return self.head.targets.version, self.head.targets.digest

    @property
    def test_line(self) -> bytes:
        """The line of the test entry."""
        return Entry(Kind.HOST, self.secret.test_host).line

    @property
    def hashed(self) -> Facts | None:
        """What it says of the hashed feed; None before the first release."""
        if self.version is None:
            return None
        return self.archive.release(Feed.HASHED, self.version).facts


@dataclass(frozen=True, slots=True)
class Assembled:
    """A version that may be signed.

    Attributes:
        base: What it is made on.
        version: Its number.
        signed: Its role, unsigned.
        record: Its record.
        sealed: The bytes of the record, whose digest the role names.
        feeds: Its list bytes.
        built: The objects it stores, and what the role vouches for.
    """

    base: Base
    version: int
    signed: Targets
    record: Record
    sealed: bytes
    feeds: Feeds
    built: Build


@dataclass(frozen=True, slots=True)
class Told:
    """What only people know of a version; it goes into the record.

    Attributes:
        operation: `publish`, `withdraw`, `rollback`, ..
        who: Account and machine that asked for it.
        created: When.
        reason: Why.
        source: Facts about the source files.
        overrides: Guards that are overridden, with finding and reason.
        reasons: Why an entry is listed, by line, where a source says so.
    """

    operation: str
    who: str
    created: datetime
    reason: str | None
    source: Mapping[str, Any]
    overrides: tuple[Mapping[str, str], ...]
    reasons: Mapping[str, str]


def read_base(repository: Repository, name: str) -> Base:
    """Read and verify the newest release of a list, to build on.

    Raises:
        UnknownList: There is no such list.
        DigestMismatch: Its secrets are not those of its release, or of this home.
        TrustError, FeedError: The storage is not what it was.
    """
    head = repository.head([name])
    secret = repository.secret(name)
    archive = Archive(repository, head, name)
    role = head.roles.get(name)
    if role is not None:
        expect_secret_of(archive, role.version, secret)
    if not repository.home.agrees_with(secret, released=role is not None):
        raise DigestMismatch(f"the secrets of {name} are not those that this home knows")
    if role is None:
        return Base(head, archive, secret, None, frozenset(), None)
    feeds = Feeds({feed: archive.content(feed, role.version) for feed in Feed})
    lines = frozenset(listbytes.clear_lines(feeds.content[Feed.CLEAR]))
    return Base(head, archive, secret, role.version, lines, feeds)


def assemble(
    repository: Repository,
    base: Base,
    outcome: Outcome,
    feeds: Feeds,
    keying: Keying,
    told: Told,
    version: int,
) -> Assembled:
    """Return a version with all that it stores, each delta applied and compared.

    Args:
        repository: Where; nothing is written.
        base: What it is made on.
        outcome: The lines it shall have, and which come and go.
        feeds: The list bytes of these lines.
        keying: How the hashed one was made.
        told: For the record.
        version: Its number.
    """
    record = record_of(repository, base, outcome, feeds, told)
    sealed = record.to_bytes()
    facts = Facts(
        entries=len(outcome.lines),
        created=told.created,
        record=records.digest(sealed),
        prev=base.reference,
        hash_key_id=keying.key.id,
        next_hash_key=keying.following,
    )
    size, key = repository.settings.list_object_bytes, keying.key
    built = build(base.name, version, feeds, facts, key, base.archive, list_object_bytes=size)
    signed = new_delegated(version, built.targets, told.created)
    return Assembled(base, version, signed, record, sealed, feeds, built)


def record_of(
    repository: Repository, base: Base, outcome: Outcome, feeds: Feeds, told: Told
) -> Record:
    """Return the record of a version: what people said, and what follows from the lines."""
    return Record(
        list=base.name,
        created=told.created,
        who=told.who,
        reason=told.reason,
        added=tuple(line.decode() for line in outcome.added),
        removed=tuple(line.decode() for line in outcome.removed),
        entries=len(outcome.lines),
        base=base.reference,
        source=told.source,
        overrides=told.overrides,
        reasons=told.reasons,
        digests=feeds.digests,
        operation=told.operation,
        delegation=base.delegation,
        previous=live_account(repository, base.head, base.name),
    )


def renewal_due(base: Base, now: datetime) -> bool:
    """Tell whether less than half of the release's life is left."""
    role = base.head.roles[base.name]
    left = policy.life_left(role.signed.expires, policy.LIST_LIFETIME, now)
    return left < policy.RENEW_BELOW
