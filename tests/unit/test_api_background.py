"""Jobs go on whatever happens, and say what is wrong once."""

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from blocklist.api.background import Background
from blocklist.core.errors import StoreUnreachable
from signing.errors import Stale

LONG = 3_600.0
WAIT = 60.0


@pytest.fixture
def background() -> Iterator[Background]:
    made = Background()
    yield made
    made.stop()


class Job:
    """Raises what it is given, in turn; then `done` is set and it goes on in peace."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.done = threading.Event()

    def __call__(self) -> None:
        if not self.errors:
            self.done.set()
            return
        error = self.errors.pop(0)
        if error is not None:
            raise error


def run(background: Background, *jobs: Callable[[], object]) -> None:
    for number, job in enumerate(jobs):
        background.add(f"job {number}", 0.001, job)
    background.start()


def test_nothing_runs_before_the_start_and_then_all_at_once(background: Background) -> None:
    begun = [threading.Event(), threading.Event()]
    for event in begun:
        background.add("job", LONG, event.set)
    assert not begun[0].wait(0.05)
    background.start()
    assert all(event.wait(WAIT) for event in begun)


def test_starting_twice_is_starting_once(background: Background) -> None:
    calls: list[int] = []
    done = threading.Event()
    background.add("job", LONG, lambda: (calls.append(1), done.set()))
    background.start()
    background.start()
    assert done.wait(WAIT)
    background.stop()
    assert calls == [1]


def test_after_stop_nothing_is_called_and_it_can_be_started_again(background: Background) -> None:
    calls: list[int] = []
    enough = threading.Event()

    def job() -> None:
        calls.append(1)
        if len(calls) % 3 == 0:
            enough.set()

    run(background, job)
    assert enough.wait(WAIT)
    background.stop()
    seen = len(calls)
    enough.clear()
    assert not enough.wait(0.05)
    assert len(calls) == seen
    background.start()
    assert enough.wait(WAIT)


def test_a_job_that_hangs_does_not_hold_up_the_others(background: Background) -> None:
    release = threading.Event()
    other = Job(*[None] * 10)
    run(background, lambda: release.wait(WAIT), other)
    assert other.done.wait(WAIT)
    release.set()


def test_a_failure_is_logged_when_it_changes_and_when_it_ends(
    background: Background, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    gone, old = StoreUnreachable("gone"), Stale("old")
    job = Job(gone, gone, gone, old, old, None, None, gone)
    run(background, job)
    assert job.done.wait(WAIT)
    background.stop()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "job 0: gone"),
        ("ERROR", "job 0: old"),
        ("INFO", "job 0: works again"),
        ("ERROR", "job 0: gone"),
        ("INFO", "job 0: works again"),
    ]


def test_a_fault_is_logged_by_type_and_place_but_never_by_its_text(
    background: Background, caplog: pytest.LogCaptureFixture
) -> None:
    job = Job(*(ValueError(f"http://listed.example/{n}") for n in range(5)))
    run(background, job)
    assert job.done.wait(WAIT)
    background.stop()
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage().startswith("job 0: unexpected ValueError\n")
    assert "test_api_background.py" in record.getMessage()
    assert "listed.example" not in caplog.text
