"""The parts of `watch`: what is due, what the service manager hears, who is asked for news."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest

from blocklist.core.errors import Busy, HookFailed, LocalError, NotInstalled
from blocklist.store.locks import file_lock
from blocklist.subscriber import excepting, pull, settings
from blocklist.subscriber.state import State
from blocklist.subscriber.watching import consumers
from blocklist.subscriber.watching.consumers import Consumer
from blocklist.subscriber.watching.daemon import Daemon
from blocklist.subscriber.watching.notify import Notifier
from blocklist.subscriber.watching.registry import registry
from blocklist.subscriber.watching.rounds import Rounds
from blocklist.subscriber.watching.waiting import Waiters, back_off, jittered
from tests.subscriber_http import running
from tests.subscriber_repo import Repo, enrolled, lines_of

PATIENCE_SECONDS = 30
DAY = timedelta(days=1)


@pytest.fixture(name="repo")
def _repo() -> Repo:
    repo = Repo(lists=("demo", "other"))
    repo.release(lines_of(1))
    repo.release(lines_of(1), "other")
    return repo


@pytest.fixture(name="state")
def _state(tmp_path: Path, repo: Repo) -> State:
    state = enrolled(tmp_path / "state", repo, f"file:{repo.write(tmp_path / 'repo')}")
    pull(state)
    return state


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is waited for takes long."""
    monkeypatch.setattr(settings, "TICK_SECONDS", 0.05)
    monkeypatch.setattr(settings, "FIRST_BACK_OFF_SECONDS", 0.05)
    monkeypatch.setattr(settings, "SPREAD_SECONDS", 0.05)
    monkeypatch.setattr(settings, "NEWS_SECONDS", 0.05)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def due(state: State, *there: Consumer, now: datetime | None = None) -> list[tuple[str, ...]]:
    return [one.changed for one in consumers.due(state, there, now or datetime.now(UTC))]


def done(state: State, *there: Consumer) -> None:
    for one in consumers.due(state, there, datetime.now(UTC)):
        consumers.mark(state, one)


def consumer(*lists: str, versions: bool = False, pending: bool = False) -> Consumer:
    return Consumer("one", lists, lambda _: None, versions=versions, pending=pending)


class TestConsumers:
    def test_the_first_time_everything_has_changed(self, state: State) -> None:
        assert due(state, consumer()) == [("demo", "other")]
        assert due(state, consumer("demo")) == [("demo",)]

    def test_then_only_what_has(self, state: State, repo: Repo) -> None:
        both, other = consumer(), Consumer("two", ("other",), lambda _: None)
        done(state, both, other)
        assert due(state, both, other) == []
        repo.release(lines_of(2))
        repo.write(state.directory.parent / "repo")
        pull(state)
        assert due(state, both, other) == [("demo",)]

    def test_a_version_without_changes(self, state: State, repo: Repo) -> None:
        by_version = Consumer("two", (), lambda _: None, versions=True)
        done(state, consumer(), by_version)
        repo.resign()
        repo.write(state.directory.parent / "repo")
        pull(state)
        assert due(state, consumer()) == []
        assert due(state, by_version) == [("demo",)]

    def test_exceptions_come_and_end(self, state: State) -> None:
        now = datetime.now(UTC)
        done(state, consumer())
        excepting.add(state, ["a.example"], until=now + DAY, reason="x", now=now)
        assert due(state, consumer(), now=now) == [("demo", "other")]
        done(state, consumer())
        assert due(state, consumer(), now=now) == []
        assert due(state, consumer(), now=now + DAY) == [("demo", "other")]

    def test_what_failed_elsewhere_is_due(self, state: State) -> None:
        done(state, consumer())
        assert due(state, consumer(pending=True)) == [()]

    def test_nothing_in_force_is_nothing_to_run_for(self, tmp_path: Path, repo: Repo) -> None:
        assert due(enrolled(tmp_path / "state", repo, "https://feed.example"), consumer()) == []

    @pytest.mark.parametrize("damage", [b"", b"{", b'{"done": 1}', b'{"done": {"one": 1}}'])
    def test_a_damaged_file_makes_them_run_once_more(self, state: State, damage: bytes) -> None:
        done(state, consumer())
        (state.directory / consumers.FILE).write_bytes(damage)
        assert due(state, consumer()) == [("demo", "other")]
        done(state, consumer())
        assert due(state, consumer()) == []


class TestRegistry:
    def test_a_hook_learns_which_lists_changed(self, state: State, tmp_path: Path) -> None:
        out = tmp_path / "changed"
        (hook,) = registry(state, f"sh -c 'echo {{lists}} >{out}'", print)()
        hook.run(("demo", "other"))
        assert out.read_text() == "demo,other\n"

    def test_a_hook_that_fails(self, state: State) -> None:
        (hook,) = registry(state, "false", print)()
        with pytest.raises(HookFailed, match="ended with 1"):
            hook.run(())

    def test_a_damaged_export_fails_alone(self, state: State) -> None:
        (state.directory / "exports").mkdir()
        (state.directory / "exports" / "rpz.json").write_bytes(b"damaged")
        export, hook = registry(state, "true", print)()
        with pytest.raises(LocalError, match="damaged"):
            export.run(())
        hook.run(())


class TestNotifier:
    def test_what_it_says(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(tmp_path / "s"))
            manager.settimeout(PATIENCE_SECONDS)
            environment = {"NOTIFY_SOCKET": str(tmp_path / "s"), "WATCHDOG_USEC": "3000000"}
            notifier = Notifier(environment)
            assert environment == {}  # hooks do not speak for us
            assert notifier.watchdog_seconds == 3.0
            notifier.ready("a\nREADY=0")
            notifier.alive()
            notifier.reloading()
            notifier.stopping()
            heard = [manager.recv(999).decode() for _ in range(4)]
        assert heard[:2] == ["READY=1\nSTATUS=a READY=0", "WATCHDOG=1"]
        assert heard[2].startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert heard[3] == "STOPPING=1"

    def test_an_abstract_socket(self, tmp_path: Path) -> None:
        name = f"blocklist-{tmp_path.name}-{time.monotonic_ns()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(f"\0{name}")
            manager.settimeout(PATIENCE_SECONDS)
            Notifier({"NOTIFY_SOCKET": f"@{name}"}).status("well")
            assert manager.recv(99) == b"STATUS=well"

    @pytest.mark.parametrize("address", ["", "/nowhere/socket"])
    def test_without_a_manager_it_is_silent(self, address: str) -> None:
        notifier = Notifier({"NOTIFY_SOCKET": address} if address else {})
        assert notifier.watchdog_seconds is None
        notifier.ready("x")

    def test_a_watchdog_of_another_process(self) -> None:
        environment = {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}
        assert Notifier(environment).watchdog_seconds is None


class Offering(BaseHTTPRequestHandler):
    """An API that says which version it offers, and holds the request while that is known."""

    offered: ClassVar[dict[str, int]]
    broken = False
    asked: ClassVar[list[tuple[str, str | None, str | None]]]

    def do_GET(self) -> None:
        known, wait = self.headers.get("If-None-Match"), self.headers.get("Prefer")
        name = self.path.split("/")[3]
        self.asked.append((self.path, known, wait))
        if self.broken:
            self.send_error(500)
            return
        end = time.monotonic() + 0.2
        while known == f'"{self.offered[name]}"' and time.monotonic() < end:
            time.sleep(0.01)
        data = f'{{"version": {self.offered[name]}}}'.encode()
        self.send_response(304 if known == f'"{self.offered[name]}"' else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if known != f'"{self.offered[name]}"':
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


@pytest.fixture(name="api")
def _api() -> Iterator[tuple[str, type[Offering]]]:
    class Handler(Offering):
        asked: ClassVar[list[tuple[str, str | None, str | None]]] = []
        offered: ClassVar[dict[str, int]] = {"demo": 1, "other": 1}

    with running(Handler) as url:
        yield url, Handler


class TestWaiters:
    def waiting(self, state: State, repo: Repo, url: str, news: list[str]) -> Waiters:
        return Waiters(state, repo.enrolment(url, token="t"), (), 0.1, news.append)

    def test_each_list_is_waited_for(
        self,
        state: State,
        repo: Repo,
        api: tuple[str, type[Offering]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(settings, "LONG_POLL_SECONDS", 0.2)
        url, handler = api
        news: list[str] = []
        waiters = self.waiting(state, repo, url, news)
        until(lambda: len(handler.asked) >= 4)
        assert news == []
        assert {one[0] for one in handler.asked} == {
            "/v1/lists/demo/clear",
            "/v1/lists/other/clear",
        }
        assert {one[1:] for one in handler.asked} == {('"1"', "wait=0")}
        handler.offered["other"] = 7
        until(lambda: '"7"' in {one[1] for one in handler.asked})  # once: it is known now
        assert news == ["other"]
        waiters.stop()

    def test_a_broken_api_is_asked_ever_later_and_news_come_afterwards(
        self, state: State, repo: Repo, api: tuple[str, type[Offering]]
    ) -> None:
        url, handler = api
        handler.broken = True
        handler.offered["demo"] = 2
        news: list[str] = []
        waiters = self.waiting(state, repo, url, news)
        until(lambda: len(handler.asked) >= 4)
        assert news == []
        handler.broken = False
        until(lambda: news == ["demo"])
        waiters.stop()

    def test_other_sources_cannot_wait(self, state: State, repo: Repo) -> None:
        before = threading.active_count()
        Waiters(state, state.enrolment(), (), 0.1, lambda _: None)
        until(lambda: threading.active_count() == before)

    def test_times_vary_and_grow(self) -> None:
        assert len({jittered(100.0) for _ in range(9)}) > 1
        assert all(80 <= jittered(100.0) <= 120 for _ in range(99))
        first = settings.FIRST_BACK_OFF_SECONDS
        for failures, most in ((1, first), (3, 4 * first), (99, 10.0)):
            assert all(most / 2 <= back_off(failures, 10.0) <= most for _ in range(99))


class Running:
    """A daemon in a thread."""

    def __init__(
        self, state: State, hook: Callable[[tuple[str, ...]], None], *, pending: bool = False
    ) -> None:
        self.told: list[str] = []
        there = [Consumer("the hook", (), hook, pending=pending)]
        rounds = Rounds(state, lambda: there, self.told.append, lambda: None)
        self.daemon = Daemon(rounds, (), 3_600.0, Notifier({}))
        self.thread = threading.Thread(target=self.daemon.run, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.daemon.stop()
        self.thread.join(PATIENCE_SECONDS)
        assert not self.thread.is_alive()


class TestDaemon:
    def test_a_failed_consumer_is_tried_again_until_it_succeeds(self, state: State) -> None:
        tried: list[tuple[str, ...]] = []

        def hook(changed: tuple[str, ...]) -> None:
            tried.append(changed)
            if len(tried) < 4:
                raise HookFailed("not yet")

        one = Running(state, hook)
        until(lambda: "the hook done for demo, other" in one.told)
        assert tried == [("demo", "other")] * 4
        one.stop()
        one = Running(state, hook)
        time.sleep(10 * settings.TICK_SECONDS)
        one.stop()
        assert len(tried) == 4  # remembered over a restart

    def test_what_others_install_is_seen(self, state: State, repo: Repo) -> None:
        tried: list[tuple[str, ...]] = []
        one = Running(state, tried.append)
        until(lambda: tried == [("demo", "other")])
        repo.release(lines_of(2))
        repo.write(state.directory.parent / "repo")
        pull(state)  # by hand
        until(lambda: len(tried) > 1)
        assert set(tried[1:]) == {("demo",)}
        one.stop()

    def test_a_pull_that_fails_is_repeated_and_keeps_nobody_waiting(
        self, state: State, tmp_path: Path
    ) -> None:
        (tmp_path / "repo").rename(tmp_path / "away")
        tried: list[tuple[str, ...]] = []
        one = Running(state, tried.append)
        until(lambda: tried == [("demo", "other")])
        until(lambda: sum("stays in force" in line for line in one.told) >= 8)  # two rounds
        (tmp_path / "away").rename(tmp_path / "repo")
        one.daemon.reload()
        one.stop()

    def test_a_source_that_is_down_is_left_alone_ever_longer_whatever_a_hook_does(
        self, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "repo").rename(tmp_path / "away")
        asked: list[int] = []

        def back_off(failures: int, _: float) -> float:
            asked.append(failures)
            return 3 * settings.TICK_SECONDS

        monkeypatch.setattr("blocklist.subscriber.watching.daemon.back_off", back_off)
        # A consumer that is always due: rounds without a pull come in between.
        one = Running(state, lambda _: None, pending=True)
        until(lambda: 3 in asked)
        (tmp_path / "away").rename(tmp_path / "repo")
        one.stop()

    def test_a_damaged_decision_is_told_and_nothing_runs(self, state: State) -> None:
        (state.directory / "exceptions.json").write_bytes(b"damaged")
        tried: list[tuple[str, ...]] = []
        one = Running(state, tried.append)
        until(lambda: any("exceptions.json is damaged" in line for line in one.told))
        assert tried == []
        (state.directory / "exceptions.json").unlink()
        until(lambda: tried == [("demo", "other")])
        one.stop()

    def test_a_bug_ends_it(self, state: State) -> None:
        def hook(_: tuple[str, ...]) -> None:
            raise ZeroDivisionError

        there = [Consumer("the hook", (), hook)]
        rounds = Rounds(state, lambda: there, print, lambda: None)
        with pytest.raises(ZeroDivisionError):
            Daemon(rounds, (), 3_600.0, Notifier({})).run()

    def test_a_round_that_hangs_is_not_covered_up(
        self, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(settings, "ROUND_SECONDS", 0.5)
        hanging, go_on = threading.Event(), threading.Event()

        def hook(_: tuple[str, ...]) -> None:
            hanging.set()
            go_on.wait(PATIENCE_SECONDS)

        there = [Consumer("the hook", (), hook)]
        rounds = Rounds(state, lambda: there, print, lambda: None)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(tmp_path / "s"))
            manager.settimeout(1.0)
            heard: list[bytes] = []

            def listen() -> bool:
                """Hear all until it is silent for a second; tell whether it was."""
                end = time.monotonic() + PATIENCE_SECONDS
                while time.monotonic() < end:
                    try:
                        heard.append(manager.recv(999))
                    except TimeoutError:
                        return True
                return False

            environment = {"NOTIFY_SOCKET": str(tmp_path / "s"), "WATCHDOG_USEC": "300000"}
            daemon = Daemon(rounds, (), 3_600.0, Notifier(environment))
            thread = threading.Thread(target=daemon.run, daemon=True)
            thread.start()
            assert hanging.wait(PATIENCE_SECONDS)
            assert listen()
            assert b"WATCHDOG=1" in heard
            heard.clear()
            go_on.set()
            until(lambda: b"WATCHDOG=1" in (manager.recv(999), b""))
            daemon.stop()
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()

    def test_one_a_state(self, state: State, tmp_path: Path) -> None:
        rounds = Rounds(state, list, print, lambda: None)
        daemon = Daemon(rounds, (), 3_600.0, Notifier({}))
        with (
            file_lock(state.directory / "watch.lock", wait_seconds=0, what="it"),
            pytest.raises(Busy),
        ):
            daemon.run()
        nowhere = Rounds(State(tmp_path / "nowhere"), list, print, lambda: None)
        with pytest.raises(NotInstalled):
            Daemon(nowhere, (), 3_600.0, Notifier({})).run()
