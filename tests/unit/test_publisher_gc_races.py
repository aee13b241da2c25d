"""gc beside publishers: each stopped at every operation, in both orders, and nothing is lost.

The storage holds what a killed release and old lists have left. The publisher uses exactly that
again: its lists, deltas and snapshots are "already there", while gc is about to delete them.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from blocklist.core.entries import Feed
from blocklist.publisher.keeping import gc
from blocklist.publisher.keeping.reuse import Blobs
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from blocklist.store.port import Store
from signing import names
from tests.fakes import Fault, FaultyStore, SimulatedCrash
from tests.keep_kit import Side, Steps, both, catch_up, copied, later, made
from tests.publisher_kit import LIST, Kit, without_sync

OLD = "a.example/x\nb.example/y"


@pytest.fixture(scope="module", name="old")
def _old(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """Version 3, and all that is left of a release that would list again what version 1 did."""
    with pytest.MonkeyPatch.context() as patch:
        without_sync(patch)
        kit = made(tmp_path_factory.mktemp("races"), keep_versions=1, keep_days=0)
        kit.publish(OLD)
        kit.publish("b.example/y\nc.example/z")
        kit.publish("c.example/z")
        with pytest.raises(SimulatedCrash):
            kit.publish(OLD, store=FaultyStore(kit.store, lambda n, op, key: _before_role(key)))
        later(kit, days=3)
    return kit


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sync(monkeypatch)


def _before_role(key: str) -> Fault | None:
    parsed = names.parse_file_name(key.removeprefix(layout.METADATA))
    return Fault.CRASH_BEFORE if parsed is not None and parsed[0] == LIST else None


def publish(kit: Kit, store: Store) -> None:
    kit.publish(OLD, store=store)


def collect(kit: Kit, store: Store) -> None:
    gc.collect(Repository(store, kit.home, kit.clock, "janitor", kit.settings))


def operations(old: Kit, folder: Path, command: Callable[[Kit, Store], None]) -> list[str]:
    """Return what a command does alone, an operation a line."""
    world = copied(old, folder)
    steps = Steps(world.store)
    command(world, steps)
    return [f"{op} {key}" for op, key in steps.done]


def telling(done: list[str]) -> list[int]:
    """Return the operations on one object that is used again, and those on role files."""
    used = next(line for line in done if line.endswith(".delta-3")).partition(" ")[2]
    reads = f"list {layout.METADATA}"
    return [
        at
        for at, line in enumerate(done)
        if line.endswith(used) or line == reads or line.startswith(("put_new feed/m", "replace"))
    ]


def fine(kit: Kit, folder: Path) -> list[str]:
    """Return what is wrong at the end: damage, or a newcomer that gets another list."""
    problems = kit.problems()
    try:
        _, data = catch_up(kit, folder, Feed.CLEAR)
    except Exception as error:
        return [*problems, str(error)]
    expected = kit.archive().content(Feed.CLEAR, kit.head().roles[LIST].version)
    return problems if data == expected else [*problems, "another list"]


def outcomes(old: Kit, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield what is wrong after both sides have stopped somewhere, and gone on in either order."""
    ours = telling(operations(old, folder / "publish", publish))
    theirs = telling(operations(old, folder / "collect", collect))
    for i, j in product(ours, theirs):
        for gc_first in (True, False):
            place = folder / f"{i}-{j}-{gc_first}"
            kit = copied(old, place)
            writer, janitor = (i, partial(publish, kit)), (j, partial(collect, kit))
            both(kit.store, *((janitor, writer) if gc_first else (writer, janitor)))
            yield place.name, fine(kit, place / "tuf")


def test_a_gc_at_any_moment_of_a_release(old: Kit, tmp_path: Path) -> None:
    for at in range(len(operations(old, tmp_path / "alone", publish))):
        kit = copied(old, tmp_path / f"{at}")
        side = Side(kit.store, at, partial(publish, kit))
        collect(kit, kit.store)
        side.finish()
        assert fine(kit, tmp_path / f"{at}" / "tuf") == [], at


def test_a_release_at_any_moment_of_a_gc(old: Kit, tmp_path: Path) -> None:
    for at in range(len(operations(old, tmp_path / "alone", collect))):
        kit = copied(old, tmp_path / f"{at}")
        side = Side(kit.store, at, partial(collect, kit))
        publish(kit, kit.store)
        side.finish()
        assert fine(kit, tmp_path / f"{at}" / "tuf") == [], at


def test_both_stop_anywhere_and_go_on_in_either_order(old: Kit, tmp_path: Path) -> None:
    bad = {at: wrong for at, wrong in outcomes(old, tmp_path) if wrong}
    assert bad == {}


def test_it_takes_the_look_of_the_publisher(
    old: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Blobs, "confirm", lambda self: None)
    assert any(wrong for _, wrong in outcomes(old, tmp_path))


def test_it_takes_the_look_of_gc(old: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "_put_back", lambda repository, used, trash, report: trash.clear())
    assert any(wrong for _, wrong in outcomes(old, tmp_path))


def test_a_gc_that_dies_beside_a_release_is_finished_by_the_next(old: Kit, tmp_path: Path) -> None:
    """It has deleted what the release uses, and has not looked; the next run puts that back."""
    done = operations(old, tmp_path / "alone", collect)
    for at in telling(done):
        kit = copied(old, tmp_path / f"{at}")
        side = Side(kit.store, at, partial(collect, kit))
        publish(kit, kit.store)
        side.die()
        collect(kit, kit.store)
        assert fine(kit, tmp_path / f"{at}" / "tuf") == []
