"""The adapters that the contract suite holds to the port, each as a way to open it again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from blocklist.store.directory import DirectoryStore
from blocklist.store.port import Store
from blocklist.store.prefixed import Prefixed
from tests.fakes import FaultyStore, MemoryStore

Open = Callable[[], Store]
"""Opens the same empty storage once more, as another process would."""


def _directory(folder: Path) -> Open:
    return lambda: DirectoryStore(folder / "store")


def _memory(folder: Path) -> Open:
    store = MemoryStore()
    return lambda: store


def _prefixed(folder: Path) -> Open:
    """A view into a store with neighbours that no test may see or hit."""
    inner = DirectoryStore(folder / "store")
    for neighbour in ("view.json", "vie/x", "view-x/x", "viewa"):
        assert inner.put_new(f"private/{neighbour}", b"neighbour")
    return lambda: Prefixed(DirectoryStore(folder / "store"), "private/view/")


def _faultless(folder: Path) -> Open:
    inner = _directory(folder)
    return lambda: FaultyStore(inner())


ADAPTERS: dict[str, Callable[[Path], Open]] = {
    "directory": _directory,
    "memory": _memory,
    "prefixed": _prefixed,
    "faultless": _faultless,
}


@pytest.fixture(params=sorted(ADAPTERS))
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Return what opens the storage under test."""
    return ADAPTERS[request.param](tmp_path)


@pytest.fixture
def store(open_again: Open) -> Store:
    """Return one client of the storage under test; the storage exists and is empty."""
    store = open_again()
    assert store.put_new("private/first", b"makes the root")
    assert store.delete("private/first")
    return store
