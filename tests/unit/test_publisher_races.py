"""Lost races: changes are applied again to the new head, whole lists are not, nothing is lost."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from blocklist.core.errors import GuardRefused, InputError
from blocklist.publisher import start, upkeep
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from signing.errors import LostRace
from tests.fakes import Fault, FaultyStore
from tests.publisher_kit import LIST, TEST_LINE, Kit, urls, without_sync

WRITES = range(1, 12)  # of a release by changes on a list with one release: see the test below


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    without_sync(monkeypatch)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    kit = Kit.made(tmp_path / "one")
    kit.create("other")
    kit.publish("a.example/x\nb.example/y")
    return kit


@pytest.fixture
def twin(kit: Kit, tmp_path: Path) -> Kit:
    """Another machine with the same keys."""
    return kit.twin(tmp_path / "two")


def interrupted(
    kit: Kit, at: int | str, action: Callable[[], object], times: int = 1
) -> FaultyStore:
    """Return a view of the storage in which something else happens just before a write.

    `at` is the number of the write, or the operation before which it happens `times` times.
    """
    left = times

    def plan(number: int, op: str, key: str) -> Fault | None:
        nonlocal left
        if left and at in (number, op):
            left -= 1
            action()
        return None

    return FaultyStore(kit.store, plan)


def entries(kit: Kit) -> set[str]:
    return set(kit.lines(kit.head().roles[LIST].version)) - {TEST_LINE}


def test_the_number_of_writes_is_as_the_race_tests_believe(kit: Kit) -> None:
    store = FaultyStore(kit.store)
    kit.publish(add="c.example/z", store=store)
    assert store.writes == len(WRITES)


@pytest.mark.parametrize("at", WRITES)
def test_both_changes_survive(kit: Kit, twin: Kit, at: int) -> None:
    store = interrupted(kit, at, lambda: twin.publish(add="theirs.example/", remove="a.example/x"))
    done = kit.publish(add="ours.example/", remove="b.example/y", store=store)
    assert done.version is not None
    assert done.version >= 3
    assert (done.added, done.removed) == (1, 1)
    assert entries(kit) == {"u ours.example/", "u theirs.example/"}
    assert kit.problems() == twin.problems() == []


@pytest.mark.parametrize("at", WRITES)
def test_a_whole_list_does_not_undo_what_it_has_not_seen(kit: Kit, twin: Kit, at: int) -> None:
    store = interrupted(kit, at, lambda: twin.publish(add="theirs.example/"))
    with pytest.raises(LostRace, match="publish again") as caught:
        kit.publish("ours.example/", store=store)
    assert caught.value.exit_code == 21
    assert entries(kit) == {"u a.example/x", "u b.example/y", "u theirs.example/"}
    assert kit.problems() == []
    assert kit.publish("ours.example/").removed == 3


def test_a_first_whole_list_loses_too(kit: Kit, twin: Kit) -> None:
    action = lambda: twin.publish("theirs.example/", name="other")  # noqa: E731 - one line
    with pytest.raises(LostRace):
        kit.publish("ours.example/", name="other", store=interrupted(kit, "replace_if", action))
    assert kit.lines(2, "other")[-1] == "u theirs.example/"


@pytest.mark.parametrize("what", ["refresh", "other-list", "new-list"])
@pytest.mark.parametrize("asked", ["whole", "add"])
def test_a_race_with_something_else_is_no_obstacle(
    kit: Kit, twin: Kit, what: str, asked: str
) -> None:
    actions: dict[str, Callable[[], object]] = {
        "refresh": lambda: upkeep.refresh(twin.repository()),
        "other-list": lambda: twin.publish("theirs.example/", name="other"),
        "new-list": lambda: twin.create("new"),
    }
    store = interrupted(kit, "replace_if", actions[what])
    done = kit.publish(**{asked: "a.example/x\nc.example/z"}, store=store)
    assert done.version == 2  # what was built for it is made live on the new head
    assert "u c.example/z" in entries(kit)
    assert kit.problems() == []


def test_an_addition_that_the_winner_made_too_is_no_release(kit: Kit, twin: Kit) -> None:
    store = interrupted(kit, "replace_if", lambda: twin.publish(add="same.example/"))
    done = kit.publish(add="same.example/", store=store)
    assert done.unchanged
    assert done.version == kit.head().roles[LIST].version == 3


def test_a_removal_that_the_winner_made_too_is_refused_as_ever(kit: Kit, twin: Kit) -> None:
    store = interrupted(kit, "replace_if", lambda: twin.publish(remove="a.example/x"))
    with pytest.raises(InputError, match="not listed"):
        kit.publish(remove="a.example/x", store=store)
    assert entries(kit) == {"u b.example/y"}


def test_guards_look_at_the_new_head(kit: Kit, twin: Kit) -> None:
    """What was harmless on the old head may empty the list on the new one."""
    store = interrupted(kit, "replace_if", lambda: twin.publish(remove="a.example/x"))
    with pytest.raises(GuardRefused, match="empty"):
        kit.publish(remove="b.example/y", store=store)
    assert entries(kit) == {"u b.example/y"}


def test_who_loses_again_and_again_gets_there(kit: Kit, twin: Kit) -> None:
    numbers = iter(range(100))
    action = lambda: twin.publish(add=urls(range(n := next(numbers), n + 1)))  # noqa: E731
    kit.publish(add="ours.example/", store=interrupted(kit, "replace_if", action, times=4))
    assert len(entries(kit)) == 2 + 4 + 1
    assert kit.problems() == []


def test_who_always_loses_gives_up(kit: Kit, twin: Kit) -> None:
    kit.settings = type(kit.settings)(race_seconds=0.0)
    store = interrupted(kit, "replace_if", lambda: upkeep.refresh(twin.repository()), times=9**9)
    with pytest.raises(LostRace) as caught:
        kit.publish(add="ours.example/", store=store)
    assert caught.value.exit_code == 21
    assert caught.value.retryable
    assert entries(kit) == {"u a.example/x", "u b.example/y"}
    assert kit.problems() == []


def test_a_number_that_can_neither_be_taken_nor_read_does_not_hang(kit: Kit) -> None:
    """A storage may answer anything; a release ends all the same."""

    class Contrary(FaultyStore):
        def put_new(self, key: str, data: bytes) -> bool:
            return False if key.endswith(".demo.json") else super().put_new(key, data)

    kit.settings = type(kit.settings)(race_seconds=0.05)
    with pytest.raises(LostRace):
        kit.publish(add="ours.example/", store=Contrary(kit.store))


def test_a_refresh_that_lost_the_race_is_made_on_the_new_head(kit: Kit, twin: Kit) -> None:
    kit.clock.tick(hours=3)
    store = interrupted(kit, "replace_if", lambda: twin.publish(add="theirs.example/"))
    head, _ = upkeep.refresh(kit.repository(store))
    assert head.roles[LIST].version == 2
    assert head.timestamp.version == twin.head().timestamp.version
    assert "u theirs.example/" in entries(kit)


def test_a_refresh_that_always_loses_gives_up(kit: Kit, twin: Kit) -> None:
    kit.settings = type(kit.settings)(race_seconds=0.0)
    store = interrupted(kit, "replace_if", lambda: upkeep.refresh(twin.repository()), times=9**9)
    with pytest.raises(LostRace):
        upkeep.refresh(kit.repository(store))


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_two_lists_that_are_made_at_once_are_both_there(kit: Kit, twin: Kit, at: int) -> None:
    start.create_list(kit.repository(interrupted(kit, at, lambda: twin.create("theirs"))), "ours")
    assert upkeep.status(kit.repository()).lists[1].name == "other"
    assert {"ours", "theirs"} <= {one.name for one in upkeep.status(kit.repository()).lists}
    assert kit.problems() == []


def test_the_same_list_made_twice_at_once_is_made_once(kit: Kit, twin: Kit) -> None:
    store = interrupted(kit, "replace_if", lambda: twin.create("same"))
    with pytest.raises(InputError, match="exists already"):
        start.create_list(kit.repository(store), "same")
    twin.publish("a.example/", name="same")
    assert twin.problems() == []


def test_a_list_that_is_made_while_everything_moves_gives_up(kit: Kit, twin: Kit) -> None:
    store = interrupted(kit, "replace_if", lambda: upkeep.refresh(twin.repository()), times=9**9)
    with pytest.raises(LostRace):
        start.create_list(kit.repository(store), "new")
    assert "new" not in {one.name for one in upkeep.status(kit.repository()).lists}


def test_a_loser_sees_the_winner_in_its_trust(kit: Kit, twin: Kit) -> None:
    """After a lost race the home knows the winner's head: it cannot be rolled back any more."""
    store = interrupted(kit, "replace_if", lambda: twin.publish(add="theirs.example/"))
    with pytest.raises(LostRace):
        kit.publish("ours.example/", store=store)
    repository: Repository = kit.repository()
    assert repository.home.trust().seen[LIST][0] == twin.head().roles[LIST].version
    assert layout.TIMESTAMP in kit.objects()
