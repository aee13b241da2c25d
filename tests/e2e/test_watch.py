"""`watch` as a service manager runs it: news within seconds, hooks, exports, signals."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocklist.core.entries import Feed
from blocklist.subscriber.exports import record
from blocklist.subscriber.state import State
from tests.cli_kit import World, arguments, enrol
from tests.cli_servers import serving
from tests.forks import Forks

PATIENCE_SECONDS = 60
END = (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%d")
NEVER = ("--interval", "600")  # minutes: all that happens is by news or signals
OFTEN = ("--interval", "0.02")


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


@dataclass
class Watch:
    """A running `watch`.

    Attributes:
        told: What it has told the service manager.
    """

    process: subprocess.Popen[bytes]
    manager: socket.socket
    log: Path
    told: list[str]

    def hears(self, text: str) -> None:
        """Wait until the service manager is told something."""
        while not any(one.startswith(text) for one in self.told):
            self.told.append(self.manager.recv(4096).decode())

    def ends(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE_SECONDS)


@contextmanager
def watching(world: World, state: str, *words: str, **environment: str) -> Iterator[Watch]:
    path = world.folder / "notify"
    log = world.folder / "watch.log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, log.open("wb") as output:
        manager.bind(os.path.relpath(path) if len(str(path)) > 100 else str(path))
        manager.settimeout(PATIENCE_SECONDS)
        process = subprocess.Popen(
            arguments("watch", *words),
            cwd=world.folder,
            env=world.env(state) | {"NOTIFY_SOCKET": str(path)} | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            yield Watch(process, manager, log, [])
        finally:
            process.kill()
            process.wait()
            path.unlink()


def version(world: World, state: str, feed: Feed = Feed.CLEAR) -> int:
    installed = State(world.folder / state).feed("demo", feed).read()
    return installed.current.version if installed else 0


def test_news_come_within_seconds_and_signals_are_obeyed(world: World, forks: Forks) -> None:
    with serving(world) as api:
        enrol(world, "live", "clear", api.url, by=forks)
        hook = "sh -c 'echo {lists} >>hooked; test -z \"$NOTIFY_SOCKET\"'"
        with watching(world, "live", *NEVER, "--hook", hook, WATCHDOG_USEC="900000") as watch:
            watch.hears("READY=1")
            watch.hears("WATCHDOG=1")
            until(lambda: version(world, "live") == 2)
            hooked = world.folder / "hooked"
            until(hooked.exists)
            world.done("publish", "demo", "--add", "-", given="new.example/page\n", by=forks)
            until(lambda: version(world, "live") == 3)
            until(lambda: hooked.read_text() == "demo\n" * 2)
            assert "version 3 is in force" in watch.log.read_text()
            before = api.requests()
            watch.process.send_signal(signal.SIGHUP)
            watch.hears("RELOADING=1")
            until(lambda: api.requests() > before)
            world.refused(23, "watch", state="live")
            assert watch.ends() == 0
            watch.hears("STOPPING=1")
        assert hooked.read_text() == "demo\n" * 2
        with watching(world, "live", *NEVER, "--hook", hook) as watch:
            watch.hears("READY=1")
            watch.hears("STATUS=watching")  # after a round
            assert watch.ends() == 0
        assert hooked.read_text() == "demo\n" * 2  # also a new start has nothing to do for it


def test_a_failed_hook_is_tried_again_although_nothing_is_new(world: World) -> None:
    hook = "sh -c 'echo x >>tries; test -e works'"
    tries = world.folder / "tries"
    with watching(world, "proxy", *OFTEN, "--hook", hook, "--prometheus", "list.prom") as watch:
        until(lambda: tries.exists() and len(tries.read_text()) >= 4)
        (world.folder / "works").touch()
        until(lambda: "the hook done for demo" in watch.log.read_text())
        assert "the hook failed and will be tried again" in watch.log.read_text()
        done = tries.read_text()
        world.done("exception", "add", "a.example", "--until", END, "--reason", "x", state="proxy")
        until(lambda: len(tries.read_text()) == len(done) + 2)  # what is spared has changed
        assert "blocklist_subscriber_health" in (world.folder / "list.prom").read_text()
        assert watch.ends() == 0


def test_exports_follow(world: World, forks: Forks) -> None:
    world.done("pull", state="proxy", by=forks)
    words = ("export", "rpz", "--out", "rpz.zone", "--zone", "rpz.example", "--check", "none")
    world.done(*words, "--hook", "sh -c 'echo x >>reloads'", state="proxy", by=forks)
    reloads = world.folder / "reloads"
    assert reloads.read_text() == "x\n"
    with watching(world, "proxy", *OFTEN) as watch:
        until(lambda: "export rpz done" in watch.log.read_text())
        assert reloads.read_text() == "x\n"  # the same names: nothing for the daemon
        world.done("publish", "demo", "--add", "-", given="new.example\n", by=forks)
        until(lambda: reloads.read_text() == "x\n" * 2)
        assert "new.example" in (world.folder / "rpz.zone").read_text()
        until(
            lambda: (
                (found := record.read(world.folder / "proxy", "rpz")) is not None
                and found.live is not None
                and found.live.versions == {"demo": 3}
            )
        )
        assert watch.ends() == 0


@pytest.mark.parametrize("moment", [0.3, 1.0])
def test_killed_at_any_moment_and_started_again(world: World, moment: float) -> None:
    with watching(world, "proxy", *OFTEN, "--hook", "true") as watch:
        watch.hears("READY=1")
        time.sleep(moment)
    with watching(world, "proxy", *OFTEN, "--hook", "true") as watch:
        watch.hears("READY=1")
        until(lambda: version(world, "proxy") == 2)
        assert watch.ends() == 0


def test_what_is_wrong_from_the_start(world: World, forks: Forks) -> None:
    world.refused(30, "watch", state="nowhere", by=forks)
    world.refused(2, "watch", "unknown", by=forks)
    world.refused(2, "watch", "--hook", "'", by=forks)
    world.refused(2, "watch", "--prometheus", "none/list.prom", by=forks)
