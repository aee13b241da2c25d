"""The library: is this URL listed, by the lists installed in a state directory.

A `Blocklist` follows what pulls install: at most once a second it looks whether `installed.json`
was replaced, and swaps a reference. Readers never wait for it and never see half a list; the list
bytes are mapped, verified once, and stay readable after their file is gone. When a newer version
cannot be read, the one in force stays and a warning is logged. Safe for threads.

What a local exception spares (`exceptions`) is not listed.
"""

import logging
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from blocklist.core.entries import Feed, Kind
from blocklist.core.errors import BlocklistError, LocalError, NotInstalled, Undecided
from blocklist.core.matching import ClearIndex, HashedIndex, Index, find, find_host
from blocklist.subscriber import settings
from blocklist.subscriber.exceptions import Excepted, FollowedExceptions, spared_host
from blocklist.subscriber.installed import FeedFolder, Version
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
    index: Index
    seen: tuple[int, int] | None


class _Follower:
    """One feed of one list: the version in force, replaced as newer ones appear."""

    def __init__(self, state: State, list_name: str, feed: Feed) -> None:
        self.list = list_name
        self.feed = feed
        self._state = state
        self._folder = state.feed(list_name, feed)
        self._lock = threading.Lock()
        self._next_look = time.monotonic() + settings.FOLLOW_SECONDS
        self._in_force = self._open()

    def current(self) -> _InForce:
        """Return the version in force; one thread may look for a newer one first."""
        if time.monotonic() >= self._next_look and self._lock.acquire(blocking=False):
            try:
                self._follow()
            finally:
                self._lock.release()
        return self._in_force

    def _follow(self) -> None:
        self._next_look = time.monotonic() + settings.FOLLOW_SECONDS
        if _seen(self._folder) == self._in_force.seen:
            return
        try:
            self._in_force = self._open()
        except BlocklistError as error:
            _LOG.warning("%s stays at version %d: %s", self.list, self._version, error)

    @property
    def _version(self) -> int:
        return self._in_force.version.version

    def _open(self) -> _InForce:
        seen = _seen(self._folder)  # before reading: what comes in between is found next time
        installed, data = self._folder.map_current()
        if self.feed is Feed.CLEAR:
            return _InForce(installed.current, ClearIndex(data), seen)
        key_id = installed.current.hash_key_id or ""
        item = self._state.enrolment().lists.get(self.list)
        if item is None or key_id not in item.hash_keys:
            raise LocalError(
                f"expected the hash key of {self.list} in the enrolment, it is missing"
            )
        return _InForce(installed.current, HashedIndex(data, item.hash_keys[key_id]), seen)


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
        for follower in self._followers:
            in_force = follower.current()
            try:
                kind = find(in_force.index, url)
            except Undecided as error:
                undecided = error  # another list may still decide
                continue
            if kind is not None:
                spared = self.exception(url)
                return Match(follower.list, kind, in_force.version.version) if not spared else None
        if undecided is not None and not self.exception(url):
            raise undecided
        return None

    def match_host(self, name: str) -> Match | None:
        """Tell whether all of a bare host name or address is listed; raises as `match`."""
        for follower in self._followers:
            in_force = follower.current()
            kind = find_host(in_force.index, name)
            if kind is not None and spared_host(self._exceptions.current(), name) is None:
                return Match(follower.list, kind, in_force.version.version)
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
