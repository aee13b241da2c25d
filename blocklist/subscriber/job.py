"""The pull of one feed, step by step.

1. What is installed, and is its file intact?
2. Ask the sources in order until one leads to a verified version M. Those that want to be left
   alone for a while are passed over.
3. Read M's facts: history (`prev`), hash key, rules. They are signed: no other source helps.
   A hash key that is not enrolled is asked for (`hash_keys`).
   A hold ends it here, unless nothing usable is installed: a list in force comes first.
4. Reach M's list bytes (`ways`), or ask the next source.
5. Validate, make the matcher file, install. Only this changes what is in force.
6. Make the matcher file of what is in force, if it is missing or damaged.
7. Ask for the hash key that M announces, if it is not enrolled; without it the pull succeeded all
   the same, with a warning.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from blocklist.core import documents
from blocklist.core.enrolment import EnrolledList
from blocklist.core.entries import Feed
from blocklist.core.errors import (
    FeedError,
    LocalError,
    NotAuthorised,
    TransportError,
)
from blocklist.core.hashing import HashKey
from blocklist.core.matcherfile import record_key
from blocklist.core.release import FeedRelease, read_release
from blocklist.subscriber import matcher_files, outcomes, settings, ways
from blocklist.subscriber.attempt import ask
from blocklist.subscriber.hash_keys import HashKeys
from blocklist.subscriber.holds import Hold
from blocklist.subscriber.installed import FeedFolder, Version
from blocklist.subscriber.outcomes import FAILURES, Failure, NextHashKey, Outcome, Tried
from blocklist.subscriber.sources import Source
from blocklist.subscriber.state import State
from blocklist.subscriber.supply import Supply
from blocklist.subscriber.throttle import SourceDown, Waits
from signing.client import Release, Verified
from signing.errors import KeyTrouble, Tampered, TrustError, UnknownRole

SAME = "same"  # the new version has the bytes that are installed


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull did for one feed.

    Attributes:
        list, feed: Which.
        from_: Version installed before, None for none.
        to: Version installed now, None when the list has no release yet.
        changed: Whether list bytes were installed that were not in force before.
        entries: Number of entries installed.
        digest: Hex SHA-256 of the list bytes installed, None for none.
        bytes: Bytes received.
        requests: Requests made.
        objects: Stored objects used.
        way: `ladder`, `snapshot`, `list` or `same`; None when nothing was to be done.
        warnings: Lines for people.
        sources: What came of each source that was tried, in order; the last one was used.
        held_back: The newest version, verified, when a hold keeps it out of force; else None.
    """

    list: str
    feed: Feed
    from_: int | None
    to: int | None
    changed: bool
    entries: int
    digest: str | None
    bytes: int
    requests: int
    objects: int
    way: str | None
    warnings: tuple[str, ...]
    sources: tuple[Tried, ...] = ()
    held_back: int | None = None


@dataclass(frozen=True, slots=True)
class _Result:
    """Where a source led to."""

    verified: Verified
    version: Version | None
    way: str | None
    objects: int
    next_hash_key: NextHashKey | None = None
    held_back: int | None = None


@dataclass(slots=True)
class Job:
    """The pull of one feed; the state's lock is held.

    Attributes:
        state: Where.
        root: The pinned root.
        sources: In order.
        waits: Which of them want to be left alone.
        hash_keys: Asks for hash keys.
        item, feed: What to pull.
        now: The time, to be recorded.
        hold: What keeps newer versions out of force; None without one.
        warnings: Lines for people, collected while it runs.
        tried: What came of each source, collected while it runs.
    """

    state: State
    root: bytes
    sources: Sequence[Source]
    waits: Waits
    hash_keys: HashKeys
    item: EnrolledList
    feed: Feed
    now: datetime
    hold: Hold | None = None
    warnings: list[str] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)

    def run(self) -> Pulled:
        """Pull, and write down how it ended.

        Raises:
            BlocklistError, TrustError: What was installed stays in force.
        """
        before = [(source.requests, source.received) for source in self.sources]
        known: Version | None = None
        try:
            known = self._installed()
            result = self._pull(known)
            self._keep_matcher_file(result)
        except FAILURES as error:
            with suppress(LocalError):  # on a full disk: the error itself matters more
                last = outcomes.read(self._folder.path)
                outcome = outcomes.failed(error, last, self.now, self.tried)
                outcomes.write(self._folder.path, outcome)
            raise
        pulled = self._report(known, result, before)
        self._folder.tidy()
        try:
            outcomes.write(self._folder.path, self._outcome(pulled, result))
        except LocalError as error:  # what was pulled is in force all the same
            return replace(pulled, warnings=(*pulled.warnings, str(error)))
        return pulled

    @property
    def _folder(self) -> FeedFolder:
        return self.state.feed(self.item.name, self.feed)

    def _installed(self) -> Version | None:
        try:
            found = self._folder.read()
        except LocalError as error:
            self.warnings.append(str(error))
            return None
        return found.current if found else None

    def _pull(self, known: Version | None) -> _Result:
        usable = known is not None and self._folder.intact(known)
        if known is not None and not usable:
            self.warnings.append("the installed list was damaged and is fetched again")
        failures: list[Failure] = []
        for source in self.sources:
            try:
                self._expect_no_wait(source)
                result = self._prepared(source, self._from(source, known, usable))
            except _SourceFault as fault:
                failures.append(fault.error)
                self._note(source, fault.error)
            else:
                self.tried.append(Tried(source.place, outcomes.USED))
                return result
        raise outcomes.most_serious(failures)

    def _expect_no_wait(self, source: Source) -> None:
        """Pass over a source that has asked to be left alone, by an earlier pull or feed."""
        until = self.waits.until(source.url, self.now)
        if until is not None:
            left = (until - self.now).total_seconds()
            moment = documents.format_time(until)
            text = f"{source.place} is not asked before {moment}, as it wished"
            raise _SourceFault(SourceDown(text, left))

    def _note(self, source: Source, error: Failure) -> None:
        """Keep what came of a source that failed, and for how long it is left alone."""
        word, until = outcomes.word(error), self.waits.until(source.url, self.now)
        if source.asked_wait is not None:
            # Times are kept in whole seconds: up, so that it is not asked too early.
            until = self.now.replace(microsecond=0) + timedelta(seconds=source.asked_wait + 1)
            try:
                self.waits.put(source.url, until, self.now)
            except LocalError as failure:  # the pull itself may still succeed
                self.warnings.append(str(failure))
        if until is not None and word == outcomes.UNREACHABLE:
            word = outcomes.THROTTLED
        message = str(error)
        self.tried.append(Tried(source.place, word, int(error.exit_code), message, until))
        self.warnings.append(f"{source.place}: {message}")

    def _from(self, source: Source, known: Version | None, usable: bool) -> _Result:
        """Advance by one source; its own faults come as `_SourceFault`."""
        source.begin(settings.SOURCE_SECONDS)
        try:
            answered = ask(self.state, self.root, source, self.item.name, self.feed, known, usable)
        except (KeyTrouble, UnknownRole):
            raise  # this machine's trouble, and what verified metadata says
        except (TransportError, FeedError, TrustError) as error:
            raise _SourceFault(error) from error
        verified = answered.verified
        if verified.release is None:
            return _Result(verified, None, None, 0)
        release = self._inspect(source, verified.release, known)
        held = known if usable else None
        new = self._version(release, verified.release)
        if held is not None and held.version == new.version:
            return _Result(verified, held, None, 0)
        if self.hold is not None and held is not None:
            self.warnings.append(f"version {new.version} is verified and NOT in force: a hold")
            return _Result(verified, held, None, 0, held_back=new.version)
        if held is not None and held.digest == new.digest:
            self._folder.install(new, None)
            return _Result(verified, new, SAME, 0)
        way = self._install(release, new, held, answered.supply)
        return _Result(verified, new, way, answered.supply.objects)

    def _prepared(self, source: Source, result: _Result) -> _Result:
        """Get ready for the hash key that is announced, if one is; nothing here is a failure."""
        role = result.verified.release
        if role is None:
            return result
        facts = read_release(self.item.name, self.feed, role.version, role.targets).facts
        if facts.next_hash_key is None or self.feed is not Feed.HASHED:
            return result
        key_id, start = facts.next_hash_key
        try:
            self.item = self.hash_keys.with_key(self.item, key_id, source, self.warnings)
        except LocalError as error:
            self.warnings.append(str(error))
        announced = NextHashKey(key_id, start, key_id in self.item.hash_keys)
        if announced.warning:
            self.warnings.append(announced.warning)
        return replace(result, next_hash_key=announced)

    def _inspect(self, source: Source, role: Release, known: Version | None) -> FeedRelease:
        """Read the facts of the verified version and hold them against what we know."""
        release = read_release(self.item.name, self.feed, role.version, role.targets)
        facts = release.facts
        if known is not None and facts.prev is not None:
            version, digest = facts.prev
            if version == known.version and digest != known.role_digest:
                raise Tampered(
                    f"version {role.version} follows another version {version} than ours"
                )
        if facts.hash_key_id is not None:
            wanted = facts.hash_key_id
            self.item = self.hash_keys.with_key(self.item, wanted, source, self.warnings)
            if wanted not in self.item.hash_keys:
                raise NotAuthorised(
                    f"version {role.version} needs a hash key that is not enrolled: "
                    "ask for a renewed enrolment"
                )
        if facts.created > self.now + settings.CLOCK_SLACK:
            self.warnings.append("the release is from the future: this clock may be behind")
        return release

    def _install(
        self, release: FeedRelease, new: Version, held: Version | None, supply: Supply
    ) -> str:
        """Get the list bytes, validate them and put them in force; return the way."""
        base = (held.version, self._folder.load(held)) if held is not None else None
        try:
            reached = ways.reach(release, base, supply)
        except (TransportError, Tampered) as error:
            raise _SourceFault(error) from error
        ways.validate(release, reached.data)
        self._make_matcher_file(new, reached.data)
        self._folder.install(new, reached.data)
        return reached.way

    def _keep_matcher_file(self, result: _Result) -> None:
        """Make the matcher file of what is in force again, if it is not whole."""
        version = result.version
        if version is not None and not matcher_files.whole(
            self._folder, version, self._key(version)
        ):
            with suppress(LocalError):  # told by whoever reads the list
                self._make_matcher_file(version, self._folder.load(version))

    def _make_matcher_file(self, version: Version, data: bytes) -> None:
        """Write a matcher file; a list without it is in force all the same, only slower."""
        try:
            matcher_files.write(self._folder, version, data, self._key(version))
        except LocalError as error:
            self.warnings.append(f"checking URLs will be slow: {error}")

    def _key(self, version: Version) -> HashKey:
        secret = self.item.hash_keys.get(version.hash_key_id or "")
        return record_key(self.feed, version.digest, secret)

    def _version(self, release: FeedRelease, role: Release) -> Version:
        return Version(
            version=release.version,
            role_digest=role.digest,
            digest=release.content.sha256,
            length=release.content.length,
            entries=release.facts.entries,
            created=release.facts.created,
            hash_key_id=release.facts.hash_key_id,
            installed_at=self.now,
        )

    def _report(
        self, known: Version | None, result: _Result, before: list[tuple[int, int]]
    ) -> Pulled:
        version = result.version
        spent = zip(self.sources, before, strict=True)
        requests, received = (
            sum(column)
            for column in zip(
                *(
                    (source.requests - requests, source.received - received)
                    for source, (requests, received) in spent
                ),
                strict=True,
            )
        )
        return Pulled(
            list=self.item.name,
            feed=self.feed,
            from_=known.version if known else None,
            to=version.version if version else None,
            changed=result.way not in (None, SAME),
            entries=version.entries if version else 0,
            digest=version.digest if version else None,
            bytes=received,
            requests=requests,
            objects=result.objects,
            way=result.way,
            warnings=tuple(self.warnings),
            sources=tuple(self.tried),
            held_back=result.held_back,
        )

    def _outcome(self, pulled: Pulled, result: _Result) -> Outcome:
        word = outcomes.UPDATED if pulled.changed else outcomes.CURRENT
        if pulled.held_back is not None:
            word = outcomes.HELD
        if pulled.to is None:
            word = outcomes.UNRELEASED
        roles = (result.verified.versions, result.verified.expires)
        announced = result.next_hash_key
        return Outcome(self.now, word, 0, "", self.now, *roles, tuple(self.tried), announced)


class _SourceFault(Exception):
    """A failure that another source may not have."""

    def __init__(self, error: TransportError | FeedError | TrustError) -> None:
        super().__init__(str(error))
        self.error = error
