"""One computation for all who ask at the same time, and a store that counts its failures."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from blocklist.api.counting import CountingStore
from blocklist.api.flights import Flights
from blocklist.core.errors import StoreUnreachable, TooLarge
from blocklist.store.directory import DirectoryStore
from tests.api_repo import until
from tests.fakes import MemoryStore


class Crowd:
    """Several who ask for the same key while it is being computed."""

    def __init__(self, make: Callable[[], str], size: int = 5) -> None:
        self.outcomes: list[object] = []
        self.calls = 0
        self._make = make
        self._flights = Flights[str]()
        self._everybody = threading.Event()
        self._asking = 0
        threads = [threading.Thread(target=self._ask) for _ in range(size)]
        for thread in threads:
            thread.start()
        until("all ask", lambda: self._asking == size)
        self._everybody.set()
        for thread in threads:
            thread.join(60)

    def _ask(self) -> None:
        self._asking += 1
        try:
            self.outcomes.append(self._flights.run("key", self._slow))
        except Exception as error:  # whatever it is, the test looks at it
            self.outcomes.append(type(error))

    def _slow(self) -> str:
        self.calls += 1
        self._everybody.wait(60)
        return self._make()


def test_all_who_ask_meanwhile_get_the_one_result() -> None:
    crowd = Crowd(lambda: "made")
    assert crowd.outcomes == ["made"] * 5
    assert crowd.calls < 5


def test_a_failure_of_ours_is_everybodys() -> None:
    def fail() -> str:
        raise StoreUnreachable("no answer")

    crowd = Crowd(fail)
    assert crowd.outcomes == [StoreUnreachable] * 5
    assert crowd.calls < 5


def test_a_fault_ends_only_the_one_who_met_it() -> None:
    def fault() -> str:
        raise ZeroDivisionError

    crowd = Crowd(fault)
    assert crowd.outcomes == [ZeroDivisionError] * 5
    assert crowd.calls == 5


def test_nothing_is_remembered_afterwards_and_keys_are_apart() -> None:
    flights = Flights[int]()
    numbers = iter(range(10))
    assert [flights.run("a", lambda: next(numbers)) for _ in range(3)] == [0, 1, 2]
    assert flights.run("a", lambda: flights.run("b", lambda: 7)) == 7


def test_failed_reads_are_counted_and_objects_that_are_too_large_are_not(tmp_path: Path) -> None:
    failures: list[int] = []
    store = CountingStore(DirectoryStore(tmp_path), lambda: failures.append(1))
    assert store.put_new("a/b", b"12345")
    assert store.get("a/b") is not None
    assert [listed.key for listed in store.list("a/")] == ["a/b"]
    with pytest.raises(TooLarge):
        store.get("a/b", limit=1)
    assert failures == []
    gone = CountingStore(DirectoryStore(tmp_path / "none"), lambda: failures.append(1))
    with pytest.raises(StoreUnreachable):
        gone.get("a/b")
    with pytest.raises(StoreUnreachable):
        list(gone.list("a/"))
    assert len(failures) == 2


def test_the_other_operations_are_those_of_the_store() -> None:
    inner = MemoryStore()
    store = CountingStore(inner, lambda: None)
    assert store.put_new("private/x", b"1")
    found = store.get("private/x")
    assert found is not None
    assert store.replace_if("private/x", b"2", found.token)
    assert store.delete("private/x")
    assert inner.objects == {}
