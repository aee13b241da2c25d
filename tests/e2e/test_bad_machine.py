"""Keys, disks, locks and clocks that are not as they should be."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.cli_inside import publish_whole, repository, without_sync
from tests.cli_kit import FILLER, HOME, ISP, PROXY, STORE, Ran, World, lines, pages, small_disk
from tests.forks import Forks

DAY_AND_MORE = timedelta(hours=25)
DISK_BYTES = 1 << 20
PAGE_BYTES = 4096
NEXT = pages(3, 43)
FIRST_OF_NEXT, GONE = "http://site-3.example/page/42", "http://site-2.example/page/2"


class TestKeys:
    @pytest.fixture(name="keys")
    def _keys(self, world: World) -> Path:
        return world.folder / HOME / "keys"

    def test_the_list_key_of_another_home(self, world: World, keys: Path, forks: Forks) -> None:
        stranger = World(world.folder / "stranger")
        stranger.folder.mkdir()
        stranger.done("init", "--dev", by=forks)
        stranger.done("list", "create", "demo", by=forks)
        for name in ("list-demo", "list-demo.pub"):
            shutil.copy(stranger.folder / HOME / "keys" / name, keys / name)
        complaint = world.refused(24, "publish", "demo", "-", given=NEXT)
        assert complaint == "expected a key that may sign for demo, found none of them here"

    def test_no_list_key(self, world: World, keys: Path, forks: Forks) -> None:
        (keys / "list-demo").unlink()
        assert "may sign for demo" in world.refused(
            24, "publish", "demo", "-", given=NEXT, by=forks
        )

    def test_no_online_key(self, world: World, keys: Path, forks: Forks) -> None:
        (keys / "online").unlink()
        for words in (("refresh",), ("publish", "demo", "v1.txt")):
            assert "may sign for timestamp" in world.refused(24, *words, by=forks)

    def test_a_key_that_is_not_the_one_beside_it(
        self, world: World, keys: Path, forks: Forks
    ) -> None:
        shutil.copy(keys / "root-1", keys / "list-demo")
        assert ".pub" in world.refused(30, "publish", "demo", "-", given=NEXT, by=forks)

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
    def test_a_key_file_that_others_may_read(
        self, world: World, keys: Path, forks: Forks, mode: int
    ) -> None:
        (keys / "list-demo").chmod(mode)
        complaint = world.refused(30, "publish", "demo", "-", given=NEXT, by=forks)
        assert complaint.endswith(f"keys/list-demo to have mode 0600, got {mode:04o}")

    def test_a_damaged_key_file(self, world: World, keys: Path, forks: Forks) -> None:
        (keys / "list-demo").write_bytes(os.urandom(400))
        assert "damaged" in world.refused(30, "publish", "demo", "-", given=NEXT, by=forks)

    def test_damaged_trust(self, world: World, forks: Forks) -> None:
        world.file(f"{HOME}/trust.json", os.urandom(400))
        assert "trust state" in world.refused(30, "publish", "demo", "-", given=NEXT, by=forks)


class TestFullDisk:
    """Whatever is left, at every size of what is left, the command fails whole or succeeds."""

    @pytest.fixture(name="sizes")
    def _sizes(self) -> Iterator[int]:
        return iter(range(0, 64 * 256, 256))

    def test_publishing_with_a_limit_on_files(self, world: World, forks: Forks) -> None:
        sizes = iter(range(0, 64 * 1024, 1024))  # the index of the records is the largest file

        def publish(limit: int) -> Ran:
            return world.run("publish", "demo", "-", given=NEXT, by=forks, file_limit=limit)

        assert _until_it_publishes(world, publish, sizes, forks) > 3

    def test_pulling_with_a_limit_on_files(
        self, world: World, forks: Forks, sizes: Iterator[int]
    ) -> None:
        world.done("publish", "demo", "-", given=NEXT, by=forks)

        def pull(limit: int) -> Ran:
            return world.run("pull", by=forks, file_limit=limit)

        assert _until_it_pulls(world, pull, sizes, forks) > 3

    def test_publishing_to_a_full_disk(self, world: World, forks: Forks) -> None:
        with _disk_of(world, STORE) as room:

            def publish(size: int) -> Ran:
                limit = room(size)
                return world.run("publish", "demo", "-", given=NEXT, by=forks, file_limit=limit)

            assert _until_it_publishes(world, publish, iter(range(64)), forks) > 1

    def test_pulling_to_a_full_disk(self, world: World, forks: Forks) -> None:
        world.done("publish", "demo", "-", given=NEXT, by=forks)
        with _disk_of(world, ISP) as room:

            def pull(size: int) -> Ran:
                return world.run("pull", by=forks, file_limit=room(size))

            assert _until_it_pulls(world, pull, iter(range(64)), forks) > 1

    def test_the_first_pull_to_a_full_disk(self, world: World, forks: Forks) -> None:
        """Nothing is installed, or all of it with success."""
        shutil.rmtree(world.folder / ISP)
        world.done("enrol", "isp.json", "--accept-dev", by=forks)
        with _disk_of(world, ISP) as room:
            for size in range(64):
                ran = world.run("pull", by=forks, file_limit=room(size))
                installed = world.run("check", GONE, by=forks).code
                assert (ran.code, installed) in ((30, 30), (0, 1)), ran
                if ran.code == 0:
                    break
            assert size > 1

    @pytest.mark.parametrize("full", ["zones", PROXY])
    def test_exporting_to_a_full_disk(self, world: World, forks: Forks, full: str) -> None:
        """Of the resolver's folder or the state: what is live stays, or is replaced as a whole."""
        (world.folder / "zones").mkdir()
        given = NEXT + lines(f"host-{at}.{'a' * 60}.example" for at in range(150))
        words = ("export", "rpz", "--zone", "rpz.example", "--check", "none", "--out")
        zone = world.folder / "zones" / "rpz.zone"
        world.done(*words, str(zone), state=PROXY, by=forks)
        old = zone.read_bytes()
        world.done("publish", "demo", "-", given=given, by=forks)
        world.done("pull", state=PROXY, by=forks)
        with _disk_of(world, full) as room:
            for size in range(64):
                ran = world.run("export", "run", state=PROXY, by=forks, file_limit=room(size))
                assert ran.code in (0, 30), ran
                whole = b"host-149." in zone.read_bytes()
                assert whole or zone.read_bytes() == old
                if ran.code == 0:
                    break
            assert whole
            assert size > 0

    def test_as_a_person_sees_it(self, world: World) -> None:
        complaint = world.refused(30, "publish", "demo", "-", given=NEXT, file_limit=0)
        assert "the disk refuses" in complaint
        world.done("publish", "demo", "-", given=NEXT)
        ran = world.run("pull", file_limit=0)
        assert ran.code == 30
        assert ran.complaint.endswith("; the installed list stays in force")
        assert world.run("check", GONE).code == 1

    def test_what_else_is_written(self, world: World, forks: Forks) -> None:
        """Enrolments, new lists and new subscribers are all or nothing too."""
        words = ("subscriber", "add", "new", "--list", "demo", "--feed", "clear")
        for limit in (0, 300):
            world.refused(30, *words, "--out", "new.json", by=forks, file_limit=limit)
            assert not (world.folder / "new.json").exists()
            enrolment = ("enrol", "isp.json", "--accept-dev")
            world.refused(30, *enrolment, state=ISP, by=forks, file_limit=limit)
            world.refused(30, "refresh", by=forks, file_limit=limit)
        assert world.run("list", "create", "more", by=forks, file_limit=300).code == 30
        world.done(*words, "--out", "new.json", by=forks)
        world.done("list", "create", "more", by=forks)
        assert world.run("fsck", by=forks).code == 0


class TestBusy:
    def test_another_command_holds_the_home(self, world: World) -> None:
        quick = world.with_config("[publisher]\nlock_seconds = 0.2\n")
        with (world.folder / HOME / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            complaint = quick.refused(23, "publish", "demo", "-", given=NEXT)
        assert "another command" in complaint
        assert quick.done("publish", "demo", "-", given=NEXT)["version"] == 3

    def test_who_only_reads_does_not_wait(self, world: World, forks: Forks) -> None:
        with (world.folder / HOME / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for words in (("log", "demo"), ("diff", "demo", "1", "2"), ("status",), ("fsck",)):
                assert world.run(*words, by=forks).code == 0
        with (world.folder / ISP / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert world.run("check", GONE, by=forks).code == 1


class TestClocks:
    def test_a_day_ahead_of_the_publisher(self, world: World, forks: Forks) -> None:
        """Metadata has expired: the list stays, and the message says to look at the clock."""
        with without_sync():
            version = publish_whole(repository(world, ago=DAY_AND_MORE), NEXT)
        before = world.standing()
        ran = world.run("pull", "--json")
        assert (ran.code, ran.json["lists"], ran.json["failed"][0]["exit"]) == (11, [], 11)
        assert "the installed list stays in force" in ran.complaint
        assert world.standing() == before
        assert world.run("check", GONE, by=forks).code == 1
        assert "check this machine's clock" in world.run("status", by=forks).out
        world.done("refresh", by=forks)
        assert world.done("pull", by=forks)["lists"][0]["to"] == version

    def test_an_outage_of_a_day_is_no_trouble_for_the_publisher(
        self, world: World, forks: Forks
    ) -> None:
        with without_sync():
            publish_whole(repository(world, ago=DAY_AND_MORE), NEXT)
        assert "expired" in world.run("status", by=forks).err
        assert world.run("fsck", by=forks).code == 0
        done = world.done("publish", "demo", "-", given=pages(4, 44), by=forks)
        assert world.done("pull", by=forks)["lists"][0]["to"] == done["version"]

    def test_a_publisher_a_day_behind_the_last_release(self, world: World, forks: Forks) -> None:
        """What it signs would expire too early: refused, unless the other clock was wrong."""
        with without_sync():
            publish_whole(repository(world, ago=-DAY_AND_MORE), NEXT)
        for words in (("publish", "demo", "v1.txt"), ("publish", "demo"), ("refresh",)):
            assert "set the clock" in world.refused(11, *words, by=forks)
        sure = world.with_config("[publisher]\ntrust_clock = true\n")
        done = sure.done("publish", "demo", "-", given=pages(4, 44), by=forks)
        assert sure.done("pull", by=forks)["lists"][0]["to"] == done["version"]

    def test_a_day_behind_the_publisher(self, world: World, forks: Forks) -> None:
        """The release seems to come from the future: it is installed, with a warning."""
        with without_sync():
            version = publish_whole(repository(world, ago=-DAY_AND_MORE), NEXT)
        ran = world.run("pull", "--json", by=forks)
        assert (ran.code, ran.json["lists"][0]["to"]) == (0, version)
        assert "this clock may be behind" in ran.err

    def test_with_nothing_installed(self, world: World, forks: Forks) -> None:
        with without_sync():
            publish_whole(repository(world, ago=DAY_AND_MORE), NEXT)
        world.done("enrol", f"{PROXY}.json", "--accept-dev", state="new", by=forks)
        assert world.run("pull", state="new", by=forks).code == 11
        assert world.run("check", GONE, state="new", by=forks).code == 30


@contextmanager
def _disk_of(world: World, name: str) -> Iterator[Callable[[int], int | None]]:
    """Put a folder of a world on a small disk, and yield what leaves so many pages free there.

    Where this user may not mount one, files are limited instead: the limit is returned.
    """
    folder = world.folder / name
    aside = folder.rename(world.folder / "aside")
    folder.mkdir()
    with small_disk(folder, DISK_BYTES) as mounted:
        shutil.copytree(aside, folder, symlinks=True, dirs_exist_ok=True)
        yield (
            partial(_leave, folder / FILLER) if mounted else (lambda pages: pages * PAGE_BYTES // 8)
        )


def _leave(filler: Path, free: int) -> None:
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(PAGE_BYTES))
    os.truncate(filler, max(0, filler.stat().st_size - free * PAGE_BYTES))


LEFT_OVER = tuple(
    f"{STORE}/{folder}/"
    for folder in ("feed/targets", "feed/metadata", "private/records", "private/releases")
)


def _until_it_publishes(
    world: World, publish: Callable[[int], Ran], sizes: Iterator[int], forks: Forks
) -> int:
    """Publish with more and more room; return how often it failed, as it should."""
    for failures, size in enumerate(sizes):
        before = world.standing()
        ran = publish(size)
        if ran.code == 0:
            assert world.done("log", "demo", by=forks)[0]["version"] >= 3
            assert world.done("fsck", by=forks)["problems"] == []
            return failures
        assert ran.code == 30, ran
        assert ran.complaint
        after = world.standing()
        assert {name: after.get(name) for name in before} == before
        assert not list((world.store / ".tmp").glob("*"))
        for name in after.keys() - before.keys():  # objects that nothing names: the head stays
            assert name.startswith(LEFT_OVER), name
    raise AssertionError("it never published")


def _until_it_pulls(
    world: World, pull: Callable[[int], Ran], sizes: Iterator[int], forks: Forks
) -> int:
    """Pull with more and more room; return how often it failed, as it should."""
    for failures, size in enumerate(sizes):
        before = world.standing()
        ran = pull(size)
        after = world.standing()
        if ran.code == 0:
            assert after != before
            assert world.run("check", FIRST_OF_NEXT, by=forks).code == 1
            assert world.run("check", GONE, by=forks).code == 0
            return failures
        assert ran.code == 30, ran
        assert ran.complaint.endswith("; the installed list stays in force")
        assert {name: after.get(name) for name in before} == before
        assert world.run("check", GONE, by=forks).code == 1
    raise AssertionError("it never pulled")
