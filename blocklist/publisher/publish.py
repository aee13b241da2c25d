"""The release: from a request to a new signed version, all or nothing.

Order of the writes (a crash between any two of them is harmless):

    1. blobs      content-addressed objects; nothing names them yet
    2. record     the private account; named by digest only
    3. role       M.<list>.json; taken means burned, and the whole release is built for M + 1;
                  then a look at the blobs again: `gc` may have taken one (see `reuse`)
    4. snapshot metadata, then timestamp.json by compare-and-swap: the commit

A release by changes that lost the race is applied again to the new head; a whole list is tied to
the version it was computed from and ends with `LostRace`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from blocklist.core import listbytes
from blocklist.core.entries import Entry, Feed, Kind
from blocklist.core.errors import DigestMismatch
from blocklist.core.hashing import HashKey
from blocklist.core.private import ListSecret
from blocklist.core.release import Facts
from blocklist.publisher import guards, hash_keys, records
from blocklist.publisher.archive import Archive, expect_secret_of
from blocklist.publisher.build import Build, Feeds, build, build_feeds
from blocklist.publisher.guards import GuardFiles
from blocklist.publisher.hash_keys import Keying
from blocklist.publisher.racing import Superseded, commit_roles, until_committed
from blocklist.publisher.records import Record
from blocklist.publisher.repository import Repository
from blocklist.publisher.request import Outcome, Request, apply_request, reasons
from blocklist.publisher.reuse import Blobs
from blocklist.store import layout
from signing import commit, policy
from signing.head import Head
from signing.roles import new_delegated, seal


@dataclass(frozen=True, slots=True)
class Published:
    """What a publish did.

    Attributes:
        list: The list.
        version: Its version now; None for a first dry run.
        unchanged: The list was as asked already.
        entries: Entries now, the test entry included.
        added, removed: How many entries came and went.
        digests: SHA-256 of the list bytes by feed.
        notes: What an admin should know, in words.
        bytes: Length by what was stored: `clear delta-1`.
    """

    list: str
    version: int | None
    unchanged: bool
    entries: int
    added: int
    removed: int
    digests: Mapping[str, str]
    notes: tuple[str, ...] = ()
    stored: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Base:
    """The release that a new one is made on."""

    head: Head
    archive: Archive
    secret: ListSecret
    version: int | None
    lines: frozenset[bytes]
    feeds: Feeds | None

    @property
    def hashed(self) -> Facts | None:
        """What it says of the hashed feed; None when there is no release."""
        if self.version is None:
            return None
        return self.archive.release(Feed.HASHED, self.version).facts


def publish(repository: Repository, request: Request) -> Published:
    """Release a new version of a list.

    Raises:
        UnknownList, InputError, BadSource: The request is wrong.
        GuardRefused: It would do harm.
        SignaturesMissing: This home cannot sign as many times as the list needs.
        LostRace: Somebody else released first.
        OutcomeUnknown: The commit may or may not have happened.
    """
    settings = repository.settings
    files = GuardFiles.load(settings)
    base_version = request.base

    def attempt(taken: Mapping[str, int]) -> Published:
        nonlocal base_version
        base = _base(repository, request.list)
        found = base.version or 0
        base_version = found if base_version is None else base_version
        if request.whole is not None and found != base_version:
            raise Superseded("another release came first; look at it and publish again")
        return _attempt(repository, request, files, base, taken)

    with repository.home.lock(settings.lock_seconds):
        return until_committed(attempt, settings.race_seconds)


def _base(repository: Repository, name: str) -> _Base:
    """Read the release to build on."""
    head = repository.head([name])
    secret = repository.secret(name)
    archive = Archive(repository, head, name)
    role = head.roles.get(name)
    if role is not None:
        expect_secret_of(archive, role.version, secret)
    if not repository.home.agrees_with(secret, released=role is not None):
        raise DigestMismatch(f"the secrets of {name} are not those that this home knows")
    if role is None:
        return _Base(head, archive, secret, None, frozenset(), None)
    feeds = Feeds({feed: archive.content(feed, role.version) for feed in Feed})
    lines = frozenset(listbytes.clear_lines(feeds.content[Feed.CLEAR]))
    return _Base(head, archive, secret, role.version, lines, feeds)


def _attempt(
    repository: Repository,
    request: Request,
    files: GuardFiles,
    base: _Base,
    taken: Mapping[str, int],
) -> Published:
    """Release once on this base."""
    test_line = Entry(Kind.HOST, base.secret.test_host).line
    outcome = apply_request(request, base.lines, test_line)
    if request.options.skip_bad:
        outcome = outcome.without_refused(test_line, files, request.options.allowed)
    bad, read = request.bad_and_read
    change = guards.Change(
        before=len(base.lines) if base.version is not None else None,
        source=len(outcome.lines - {test_line}),
        added=outcome.added,
        removed=outcome.removed,
        bad=bad,
        read=read,
        test_line=test_line,
    )
    overrides: list[Mapping[str, str]] = []
    if request.hash_key is None:
        overrides += guards.check(change, repository.settings, files, request.options.allowed)
    now = repository.signing_time(base.head)
    keying = hash_keys.keying(request.hash_key, base.hashed, base.secret, now)
    feeds = build_feeds(outcome.lines, keying.key)
    unchanged = base.feeds is not None and feeds.digests == base.feeds.digests
    result = _result(request, base.version, outcome, feeds, unchanged=unchanged)
    due = not unchanged or request.hash_key is not None or _renewal_due(base, request.list, now)
    if request.options.dry_run or not due:
        return result
    facts = _facts(base, request.list, len(outcome.lines), keying, now)
    record = Record(
        list=request.list,
        created=now,
        who=repository.who,
        reason=request.options.reason,
        added=tuple(line.decode() for line in outcome.added),
        removed=tuple(line.decode() for line in outcome.removed),
        entries=len(outcome.lines),
        base=facts.prev,
        source=outcome.told(request.source),
        overrides=(*overrides, *keying.overrides),
        reasons=reasons(request),
        digests=feeds.digests,
        operation=request.hash_key.operation if request.hash_key else "publish",
        delegation=(base.head.targets.version, base.head.targets.digest),
    )
    version, built = _release(repository, base, feeds, keying.key, facts, record, taken)
    sizes = {target.path: target.length for target in built.targets}
    return replace(result, version=version, stored=sizes)


def _release(
    repository: Repository,
    base: _Base,
    feeds: Feeds,
    key: HashKey,
    facts: Facts,
    record: Record,
    taken: Mapping[str, int],
) -> tuple[int, Build]:
    """Build, sign, preflight, write and commit; returns the version and what it stored."""
    name, metadata = record.list, repository.metadata
    version = commit.free_version(metadata, name, base.version or 0, taken)
    sealed = record.to_bytes()
    facts = replace(facts, record=records.digest(sealed))
    size = repository.settings.list_object_bytes
    built = build(name, version, feeds, facts, key, base.archive, list_object_bytes=size)
    signed = new_delegated(version, built.targets, facts.created)
    role = seal(name, signed, repository.list_signers(base.head, name))
    online = repository.online_signer(base.head)
    plan = commit.plan(metadata, base.head, online, facts.created, changed=[role], taken=taken)
    for content in feeds.content.values():  # before the commit: the disk may be full
        repository.home.cache(records.digest(content), content)
    blobs = Blobs(repository.store, repository.clock)
    for key_name, data in built.blobs.items():
        blobs.put(key_name, data)
    blobs.put(layout.record_key(name, facts.record), sealed)
    commit_roles(repository, plan, [name], online, taken, blobs.confirm)
    repository.home.pin_secret(base.secret)
    return version, built


def _facts(base: _Base, name: str, entries: int, keying: Keying, now: datetime) -> Facts:
    """Return the signed facts but for the record's digest."""
    role = base.head.roles.get(name)
    prev = (role.version, role.digest) if role is not None else None
    return Facts(
        entries=entries,
        created=now,
        record="",
        prev=prev,
        hash_key_id=keying.key.id,
        next_hash_key=keying.following,
    )


def _renewal_due(base: _Base, name: str, now: datetime) -> bool:
    """Tell whether less than half of the release's life is left."""
    role = base.head.roles[name]
    left = policy.life_left(role.signed.expires, policy.LIST_LIFETIME, now)
    return left < policy.RENEW_BELOW


def _result(
    request: Request, version: int | None, outcome: Outcome, feeds: Feeds, *, unchanged: bool
) -> Published:
    notes = []
    if outcome.listed_already:
        notes.append(f"{outcome.listed_already} entries to add were listed already")
    if outcome.missing:
        notes.append(f"{outcome.missing} entries to remove were not listed")
    for file in request.source["files"]:
        for what in ("dropped", "skipped"):
            notes += [f"{count} x {code} {what}" for code, count in sorted(file[what].items())]
        if file["duplicates"]:
            notes.append(f"{file['duplicates']} duplicate lines")
    notes += [f"{count} x {code} left out" for code, count in outcome.left_out.items()]
    notes += request.notes
    return Published(
        request.list,
        version,
        unchanged,
        len(outcome.lines),
        len(outcome.added),
        len(outcome.removed),
        feeds.digests,
        tuple(notes),
    )
