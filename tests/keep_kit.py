"""For the tests of gc, mirror and restore: many quick releases, subscribers in memory, two sides.

kit = aged(tmp_path, releases=40)         # two hours apart, the last one now
way = catch_up(kit, folder, Feed.CLEAR, 38)   # how a subscriber at version 38 reaches the head
both(publisher, collector, i, j)          # one stops before its operation i, the other before its j
"""

import shutil
import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from blocklist.core.entries import Feed
from blocklist.core.release import read_release
from blocklist.publisher import start, upkeep
from blocklist.store import layout
from blocklist.store.port import DEFAULT_OBJECT_LIMIT, Listed, Object, Store
from blocklist.subscriber.supply import Supply
from blocklist.subscriber.ways import reach
from tests.fakes import MemoryStore, SimulatedCrash
from tests.publisher_kit import LIST, Clock, Kit, urls

Result = TypeVar("Result")
WAIT_SECONDS = 30.0


def made(folder: Path, **settings: Any) -> Kit:
    """Return a repository in memory whose storage has the publisher's clock."""
    clock = Clock()
    kit = Kit.empty(folder, clock=clock, **settings)
    kit.store = MemoryStore(clock=clock)
    start.init_dev(kit.repository())
    start.create_list(kit.repository(), LIST)
    return kit


def later(kit: Kit, **time: float) -> None:
    """Let time pass, with the timestamp signed again as a timer would."""
    kit.clock.tick(**time)
    upkeep.refresh(kit.repository())


def aged(folder: Path, releases: int, hours: float = 2, **settings: Any) -> Kit:
    """Return a repository with so many releases; each lists one page more."""
    kit = made(folder, **settings)
    kit.publish(urls(range(60)))
    for number in range(1, releases):
        kit.clock.tick(hours=hours)
        kit.publish(add=urls(range(1000 + number, 1001 + number)))
    return kit


def copied(kit: Kit, folder: Path) -> Kit:
    """Return another world with the same past."""
    shutil.copytree(kit.folder / "home", folder / "home")
    clock = Clock(kit.clock.now)
    store = MemoryStore(clock=clock)
    store._objects = dict(kit.memory._objects)
    store._past = deepcopy(kit.memory._past)
    store._folders = set(kit.memory._folders)
    return replace(kit, folder=folder, store=store, clock=clock)


class StoreSource:
    """What a subscriber asks, answered by a storage itself."""

    place = "the storage"

    def __init__(self, store: Store) -> None:
        self._store = store

    def metadata(self, name: str) -> list[bytes] | None:
        found = self._store.get(layout.METADATA + name)
        return [found.data] if found is not None else None

    def object(self, list_name: str, feed: Feed, file: str, limit: int) -> bytes | None:
        found = self._store.get(layout.targets_prefix(list_name, feed) + file)
        return found.data if found is not None else None


def catch_up(
    kit: Kit,
    folder: Path,
    feed: Feed,
    held: tuple[int, bytes] | None = None,
    name: str = LIST,
) -> tuple[str, bytes]:
    """Return how a subscriber that holds a version reaches the head, and what it then has."""
    verified = kit.client(folder, name)
    assert verified.release is not None
    release = read_release(name, feed, verified.release.version, verified.release.targets)
    supply = Supply(StoreSource(kit.store), name, feed, None)  # type: ignore[arg-type]
    reached = reach(release, held, supply)
    return reached.way, reached.data


class Steps:
    """A view of a store that stops before one operation until it is told to go on.

    Attributes:
        done: Names of the operations so far, with their keys.
    """

    def __init__(self, inner: Store, stop_at: int | None = None) -> None:
        self.done: list[tuple[str, str]] = []
        self.stopped = threading.Event()
        self.resume = threading.Event()
        self.dead = False
        self._inner = inner
        self._stop_at = stop_at

    def get(self, key: str, *, limit: int = DEFAULT_OBJECT_LIMIT) -> Object | None:
        self._step("get", key)
        return self._inner.get(key, limit=limit)

    def put_new(self, key: str, data: bytes) -> bool:
        self._step("put_new", key)
        return self._inner.put_new(key, data)

    def replace_if(self, key: str, data: bytes, token: str) -> str | None:
        self._step("replace_if", key)
        return self._inner.replace_if(key, data, token)

    def list(self, prefix: str) -> Iterator[Listed]:
        self._step("list", prefix)
        return self._inner.list(prefix)

    def delete(self, key: str) -> bool:
        self._step("delete", key)
        return self._inner.delete(key)

    def _step(self, op: str, key: str) -> None:
        if len(self.done) == self._stop_at:
            self.stopped.set()
            assert self.resume.wait(WAIT_SECONDS)
        if self.dead:
            raise SimulatedCrash(f"before {op} {key}")
        self.done.append((op, key))


class Side:
    """One command on its own view of the store, in a thread of its own."""

    def __init__(self, store: Store, stop_at: int, command: Callable[[Store], object]) -> None:
        self.steps = Steps(store, stop_at)
        self.error: BaseException | None = None
        self._command = command
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self.steps.stopped.wait(WAIT_SECONDS)

    def finish(self) -> None:
        self.steps.resume.set()
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error

    def die(self) -> None:
        """Let the process end where it has stopped."""
        self.steps.dead = True
        with pytest.raises(SimulatedCrash):
            self.finish()

    def _run(self) -> None:
        try:
            self._command(self.steps)
        except BaseException as error:
            self.error = error
        finally:
            self.steps.stopped.set()  # also when it ended before


def both(
    store: Store,
    one: tuple[int, Callable[[Store], object]],
    other: tuple[int, Callable[[Store], object]],
) -> None:
    """Run two commands: one stops, the other stops; then the first ends, and the other."""
    first = Side(store, *one)
    second = Side(store, *other)
    first.finish()
    second.finish()
