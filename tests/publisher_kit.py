"""A publisher for tests: a repository in memory or in a folder, with a clock that the test moves.

kit = Kit.made(tmp_path)                    # init --dev and list create demo
kit.publish("a.example/x")                  # a whole list
kit.publish(add="b.example/y")              # changes
kit.clock.tick(days=50)
kit.publish("a.example/x", store=FaultyStore(kit.store, plan))
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from blocklist.core.entries import Feed
from blocklist.publisher import fsck, records, start
from blocklist.publisher.archive import Archive
from blocklist.publisher.home import Home
from blocklist.publisher.publish import Published
from blocklist.publisher.publish import publish as release
from blocklist.publisher.records import Record
from blocklist.publisher.repository import Repository
from blocklist.publisher.request import Options, read_request
from blocklist.publisher.settings import Settings
from blocklist.store import layout
from blocklist.store.directory import DirectoryStore
from blocklist.store.port import Store
from signing import client as trusting
from signing.head import Head
from tests.fakes import MemoryStore

LIST = "demo"
TEST_LINE = "h test-entry.demo.example"
QUICK = Settings(lock_seconds=5.0, race_seconds=5.0)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime | None = None) -> None:
        self.now = (now or datetime.now(UTC)).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now

    def tick(self, **time: float) -> None:
        self.now += timedelta(**time)


def no_passphrase(path: Path) -> bytes:
    raise AssertionError(f"asked for a passphrase of {path}")


def open_home(folder: Path, settings: Settings = QUICK) -> Home:
    return Home(folder, no_passphrase, cache_bytes=settings.cache_bytes)


@dataclass
class Kit:
    """One publisher on one storage.

    Attributes:
        folder: Holds `home`, and `store` when that is a directory.
        store: The storage.
        clock: What the publisher takes for the time.
    """

    folder: Path
    store: Store
    clock: Clock = field(default_factory=Clock)
    settings: Settings = QUICK

    @classmethod
    def empty(
        cls, folder: Path, *, directory: bool = False, clock: Clock | None = None, **settings: Any
    ) -> "Kit":
        """Return a kit without a repository yet."""
        store: Store = DirectoryStore(folder / "store") if directory else MemoryStore()
        return cls(folder, store, clock or Clock(), replace(QUICK, **settings))

    @classmethod
    def made(
        cls, folder: Path, *, directory: bool = False, clock: Clock | None = None, **settings: Any
    ) -> "Kit":
        """Return a kit with a repository and the list `demo`, not yet released."""
        kit = cls.empty(folder, directory=directory, clock=clock, **settings)
        start.init_dev(kit.repository())
        start.create_list(kit.repository(), LIST)
        return kit

    @property
    def home(self) -> Home:
        return open_home(self.folder / "home", self.settings)

    @property
    def memory(self) -> MemoryStore:
        """The storage, when it is the one in memory."""
        assert isinstance(self.store, MemoryStore)
        return self.store

    def repository(self, store: Store | None = None) -> Repository:
        """Return what a new process would open."""
        return Repository(store or self.store, self.home, self.clock, "tester", self.settings)

    def publish(
        self,
        whole: str | None = None,
        *,
        add: str | None = None,
        remove: str | None = None,
        name: str = LIST,
        store: Store | None = None,
        **options: Any,
    ) -> Published:
        """Publish text: a whole list, or changes."""
        request = read_request(
            name,
            ("whole.txt", whole.encode()) if whole is not None else None,
            [("add.txt", add.encode())] if add is not None else [],
            [("remove.txt", remove.encode())] if remove is not None else [],
            Options(**options),
        )
        return release(self.repository(store), request)

    def create(self, name: str) -> None:
        """Create another list."""
        start.create_list(self.repository(), name)

    def objects(self) -> dict[str, bytes]:
        """Return everything stored."""
        found = {}
        for listed in self.store.list(""):
            stored = self.store.get(listed.key)
            assert stored is not None
            found[listed.key] = stored.data
        return found

    def head(self) -> Head:
        return self.repository().head(None)

    def archive(self, name: str = LIST) -> Archive:
        return Archive(self.repository(), self.repository().head([name]), name)

    def lines(self, version: int, name: str = LIST) -> list[str]:
        """Return the lines of a version's clear feed."""
        return self.archive(name).content(Feed.CLEAR, version).decode().splitlines()

    def record(self, version: int, name: str = LIST) -> Record:
        """Return the private record of a release."""
        facts = self.archive(name).release(Feed.CLEAR, version).facts
        return records.read(self.store, name, facts.record)

    def problems(self) -> list[str]:
        return fsck.fsck(self.repository()).problems

    def root(self) -> bytes:
        """Return the first root: what people compare and pin."""
        return self.metadata("1.root.json")

    def metadata(self, file: str) -> bytes:
        stored = self.store.get(layout.METADATA + file)
        assert stored is not None, file
        return stored.data

    def fetch(self, file: str) -> list[bytes] | None:
        """A source of metadata for `signing.client`: the storage itself."""
        stored = self.store.get(layout.METADATA + file)
        return [stored.data] if stored is not None else None

    def client(
        self,
        folder: Path,
        name: str = LIST,
        known: tuple[int, str] | None = None,
    ) -> trusting.Verified:
        """Bring a TUF client in `folder` up to date from the storage."""
        return trusting.refresh(folder, self.root(), name, self.fetch, known=known)

    def whole(self, verified: trusting.Verified, feed: Feed) -> bytes:
        """Return the stored list bytes that a client's verified release names."""
        assert verified.release is not None
        path = layout.target_path(verified.release.name, feed, "list")
        target = verified.release.targets[path]
        stored = self.store.get(layout.target_key(path, target.sha256))
        assert stored is not None
        return stored.data

    def twin(self, folder: Path) -> "Kit":
        """Return another machine with the same keys and trust, on the same storage."""
        shutil.copytree(self.folder / "home", folder / "home")
        return replace(self, folder=folder)

    def copied(self, folder: Path) -> "Kit":
        """Return a copy of home and directory storage: another world with the same past."""
        shutil.copytree(self.folder, folder)
        return replace(self, folder=folder, store=DirectoryStore(folder / "store"))


def urls(numbers: range) -> str:
    """Return a source of that many harmless URLs."""
    return "".join(f"http://site-{n:04}.example/page/{n}\n" for n in numbers)


def named(objects: Mapping[str, bytes], part: str) -> Iterator[str]:
    """Return the keys that contain `part`."""
    return (key for key in objects if part in key)


def without_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fsync cost nothing: these tests end processes, not machines."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
