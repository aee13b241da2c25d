"""Worlds that the tests copy instead of making them anew.

prepared   list `demo` at version 2, installed by both subscribers
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli_kit import FEEDS, World, made, pages
from tests.forks import Forks


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


@pytest.fixture(scope="session")
def prepared(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> World:
    world = made(tmp_path_factory.mktemp("prepared"), forks)
    for version in (1, 2):
        world.file(f"v{version}.txt", pages(version, version + 40))
        world.done("publish", "demo", f"v{version}.txt", by=forks)
    for state in FEEDS:
        world.done("pull", state=state, by=forks)
    return world


@pytest.fixture
def world(prepared: World, tmp_path: Path) -> World:
    """A copy of the prepared world."""
    return prepared.copied(tmp_path)
