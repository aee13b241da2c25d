"""The library: is this URL listed, by the lists installed in a state directory.

A `Blocklist` follows what pulls install: at most once a second it looks whether `installed.json`
was replaced, and swaps a reference. Readers never wait for it and never see half a list: a
question that has begun ends with the version it began with, whose file stays readable after its
name is gone. When a newer version cannot be read, the one in force stays and a warning is logged.

Threads may share a `Blocklist`. So may processes: open it before or after a fork, each follows
for itself from then on. A matcher file that is damaged underneath is made again, or the list
bytes answer (`matcher_files`); when these are damaged too, the question ends with `NotInstalled`.

What a local exception spares (`exceptions`) is not listed.
"""

import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Self

from blocklist.core.entries import Feed, Kind
from blocklist.core.errors import BlocklistError, LocalError, NotInstalled, Undecided
from blocklist.core.hashing import HashKey
from blocklist.core.matcherfile import record_key
from blocklist.subscriber import settings
from blocklist.subscriber.exceptions import Excepted, FollowedExceptions, spared_host
from blocklist.subscriber.fastindex import Damaged
from blocklist.subscriber.following import FollowLock
from blocklist.subscriber.installed import READER_TRIES, FeedFolder, Version
from blocklist.subscriber.matcher_files import open_index
from blocklist.subscriber.searcher import AFTER_SCHEME, Searcher
from blocklist.subscriber.state import State

_LOG = logging.getLogger(__name__)
_PREFERRED = (Feed.CLEAR, Feed.HASHED)  # clear needs no secret and no hashing


@dataclass(frozen=True, slots=True)
class Match:
    """A URL or host is listed.

    Attributes:
        list: By which list.
        kind: By an entry of which kind.
        version: In which version of the list.
    """

    list: str
    kind: Kind
    version: int


@dataclass(frozen=True, slots=True)
class ListInfo:
    """A list in force.

    Attributes:
        list, feed: Which.
        version: The version in force, and what is known of it.
    """

    list: str
    feed: Feed
    version: Version


@dataclass(frozen=True, slots=True)
class _InForce:
    """One version, ready to be searched."""

    version: Version
    searcher: Searcher
    clean: set[str]  # of the searcher: one step less where it counts
    seen: tuple[int, int] | None


class _Follower:
    """One feed of one list: the version in force, replaced as newer ones appear.

    Attributes:
        next_look: When to look for a newer version, by the monotonic clock.
        in_force: The version in force; take it once for each question.
    """

    __slots__ = ("_folder", "_lock", "_state", "feed", "in_force", "list", "next_look")

    def __init__(self, state: State, list_name: str, feed: Feed) -> None:
        self.list = list_name
        self.feed = feed
        self._state = state
        self._folder = state.feed(list_name, feed)
        self._lock = FollowLock()
        self.next_look = monotonic() + settings.FOLLOW_SECONDS
        self.in_force = self._open()

    def look(self) -> None:
        """Look for a newer version, unless another thread does."""
        if self._lock.acquire(blocking=False):
            try:
                self._follow()
            finally:
                self._lock.release()

    def current(self) -> _InForce:
        """Return the version in force, after looking for a newer one if it is time."""
        if monotonic() >= self.next_look:
            self.look()
        return self.in_force

    def match(self, url: str) -> Match | None:
        """Tell whether a URL is listed; raises as `Blocklist.match`."""
        in_force = self.in_force
        try:
            kind = in_force.searcher.find(url)
        except Damaged as error:
            in_force = self._replaced(in_force, error)
            kind = in_force.searcher.find(url)
        return None if kind is None else Match(self.list, kind, in_force.version.version)

    def match_host(self, name: str) -> Match | None:
        """Tell whether all of a host is listed; raises as `Blocklist.match_host`."""
        in_force = self.current()
        try:
            kind = in_force.searcher.find_host(name)
        except Damaged as error:
            in_force = self._replaced(in_force, error)
            kind = in_force.searcher.find_host(name)
        return None if kind is None else Match(self.list, kind, in_force.version.version)

    def _follow(self) -> None:
        self.next_look = monotonic() + settings.FOLLOW_SECONDS
        if _seen(self._folder) == self.in_force.seen:
            return
        try:
            self.in_force = self._open()
        except BlocklistError as error:
            version = self.in_force.version.version
            _LOG.warning("%s stays at version %d: %s", self.list, version, error)

    def _replaced(self, damaged: _InForce, error: Damaged) -> _InForce:
        """Return what is in force instead of an index that turned out to be damaged."""
        with self._lock:
            if self.in_force is damaged:
                _LOG.warning("%s: %s", self.list, error)
                self.in_force = self._open(distrusted=damaged.version.digest)
            return self.in_force

    def _open(self, distrusted: str | None = None) -> _InForce:
        """Open what is installed; `distrusted` is the digest of a version with a damaged file."""
        for _ in range(READER_TRIES):
            seen = _seen(self._folder)  # before reading: what comes in between is found next time
            found = self._folder.read()
            if found is None:
                raise NotInstalled(f"nothing is installed in {self._folder.path}: pull first")
            current = found.current
            key = record_key(self.feed, current.digest, self._hash_key(current))
            doubt = current.digest == distrusted
            with suppress(FileNotFoundError):  # a newer version came and the files were removed
                index = open_index(self._folder, current, key, distrusted=doubt)
                searcher = Searcher(index)
                return _InForce(current, searcher, searcher.clean, seen)
        raise NotInstalled(f"the installed list in {self._folder.path} is missing: pull again")

    def _hash_key(self, version: Version) -> HashKey | None:
        if self.feed is Feed.CLEAR:
            return None
        item = self._state.enrolment().lists.get(self.list)
        key = item.hash_keys.get(version.hash_key_id or "") if item is not None else None
        if key is None:
            raise LocalError(
                f"expected the hash key of {self.list} in the enrolment, it is missing"
            )
        return key


class Blocklist:
    """Lists in force; open one with `Blocklist.open` and keep it."""

    def __init__(self, followers: list[_Follower], exceptions: FollowedExceptions) -> None:
        self._followers = followers
        self._exceptions = exceptions

    @classmethod
    def open(
        cls, state: str | os.PathLike[str], *lists: str, feed: Feed | str | None = None
    ) -> Self:
        """Open installed lists.

        Args:
            state: The state directory of the subscriber.
            lists: Names, in the order in which they are asked; all enrolled ones by default.
            feed: Which feed; by default the clear one where it is installed, else the hashed one.

        Raises:
            NotInstalled: A list is not enrolled, not installed, or its file is damaged.
            LocalError: Files cannot be read, or the hash key is missing; the file of exceptions
                is damaged.
            UnknownFormat: A newer version of this program wrote the state.
        """
        where = State(Path(state))
        wanted = Feed(feed) if feed is not None else None
        enrolled = list(where.feeds())
        names = dict.fromkeys(lists or (name for name, _ in enrolled))
        if not names:
            raise NotInstalled(f"nothing is enrolled in {where.directory}: enrol first")
        followers = []
        for name in names:
            feeds = [f for n, f in enrolled if n == name and wanted in (None, f)]
            followers.append(_Follower(where, name, _choose(where, name, feeds)))
        return cls(followers, FollowedExceptions(where.directory))

    @property
    def info(self) -> tuple[ListInfo, ...]:
        """The lists and versions in force."""
        return tuple(ListInfo(f.list, f.feed, f.current().version) for f in self._followers)

    def exception(self, url: str) -> Excepted | None:
        """Return the local exception that spares a URL, listed or not; None without one.

        Raises:
            BadUrl: The URL cannot be understood.
        """
        return self._exceptions.current().url_exception(url)

    def match(self, url: str) -> Match | None:
        """Tell by which list and kind of entry a URL is listed, None when it is not or is spared.

        Raises:
            BadUrl: The URL cannot be understood; that is never "not listed".
            Undecided: It is beyond a limit and its host has narrower entries.
        """
        undecided: Undecided | None = None
        end = url.find("/", AFTER_SCHEME)  # as `searcher.start` does, without a call
        before_path = url[:end] if end > 0 else url
        for follower in self._followers:
            if monotonic() >= follower.next_look:
                follower.look()
            if before_path in follower.in_force.clean and url.isascii():
                continue
            try:
                match = follower.match(url)
            except Undecided as error:
                undecided = error  # another list may still decide
                continue
            if match is not None:
                return match if self.exception(url) is None else None
        if undecided is not None and not self.exception(url):
            raise undecided
        return None

    def match_host(self, name: str) -> Match | None:
        """Tell whether all of a bare host name or address is listed; raises as `match`."""
        for follower in self._followers:
            match = follower.match_host(name)
            if match is not None and spared_host(self._exceptions.current(), name) is None:
                return match
        return None

    def match_many(self, urls: Iterable[str]) -> list[Match | BlocklistError | None]:
        """Return for each URL what `match` returns or raises (BadUrl, Undecided), in order."""
        return [self._judge(url) for url in urls]

    def _judge(self, url: str) -> Match | BlocklistError | None:
        try:
            return self.match(url)
        except BlocklistError as error:
            return error


def _choose(state: State, name: str, feeds: list[Feed]) -> Feed:
    """Return the preferred feed that has something installed."""
    for feed in _PREFERRED:
        if feed in feeds and state.feed(name, feed).document.exists():
            return feed
    raise NotInstalled(f"{name!r} is not installed in {state.directory}: enrol and pull first")


def _seen(folder: FeedFolder) -> tuple[int, int] | None:
    """Return what changes when `installed.json` is replaced, None while it cannot be told."""
    try:
        status = folder.document.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
