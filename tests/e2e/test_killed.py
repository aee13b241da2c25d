"""Killed between any two writes: nothing is lost, and a rerun finishes the job.

The command kills itself (SIGKILL) instead of its n-th link or rename, which
is what puts a file in its place, for each n until it lives through them all.
"""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli_kit import FEEDS, ISP, PROXY, World, made, pages
from tests.forks import Forks

MOST_CALLS = 200
NEXT = pages(3, 43)
ALWAYS, GONE, NEW = (f"http://site-{n % 13}.example/page/{n}" for n in (5, 2, 42))
CHANGES = ("--add", "added.txt", "--remove", "removed.txt")


def deaths(
    world: World, folder: Path, forks: Forks, *words: str, state: str = ISP
) -> Iterator[World]:
    """Yield a copy of the world for every moment at which the command can be killed."""
    for at in range(1, MOST_CALLS):
        copy = world.copied(folder / "copy")
        ran = copy.killed(at, *words, by=forks, state=state)
        if ran.code == 0:
            assert at > 1
            return
        assert (ran.code, ran.out, ran.err) == (-signal.SIGKILL, "", "")
        yield copy
        shutil.rmtree(copy.folder)
    raise AssertionError("it never ended")


def judged(world: World, forks: Forks, state: str = ISP) -> list[bool]:
    ran = world.run("check", ALWAYS, GONE, NEW, "--json", state=state, by=forks)
    return [item["listed"] for item in ran.json]


@pytest.mark.parametrize("words", [("next.txt",), CHANGES], ids=["whole", "changes"])
def test_publish(world: World, forks: Forks, tmp_path: Path, words: tuple[str, ...]) -> None:
    world.file("next.txt", NEXT)
    world.file("added.txt", f"{NEW}\n")
    world.file("removed.txt", f"{GONE}\n")
    versions, live = set(), set()
    for killed in deaths(world, tmp_path, forks, "publish", "demo", *words):
        seen = killed.done("pull", by=forks)["lists"][0]["to"]
        assert judged(killed, forks) == [True, seen == 2, seen > 2]
        again = words if seen == 2 or words != CHANGES else ("next.txt",)
        done = killed.done("publish", "demo", *again, by=forks)
        assert (done["unchanged"], done["version"] > 2) == (seen > 2, True)
        assert killed.done("fsck", by=forks)["problems"] == []
        assert killed.done("pull", by=forks)["lists"][0]["to"] == done["version"]
        assert judged(killed, forks) == [True, False, True]
        versions.add(done["version"])
        live.add(seen)
    assert versions == {3, 4}  # the number that a dead one has taken is left out
    assert live == {2, 3}


@pytest.mark.parametrize("state", FEEDS)
def test_pull(world: World, forks: Forks, tmp_path: Path, state: str) -> None:
    world.done("publish", "demo", "-", given=NEXT, by=forks)
    seen = []
    for killed in deaths(world, tmp_path, forks, "pull", state=state):
        before = judged(killed, forks, state)
        assert before in ([True, True, False], [True, False, True])
        seen.append(before[2])
        (pulled,) = killed.done("pull", state=state, by=forks)["lists"]
        assert (pulled["to"], pulled["changed"]) == (3, not before[2])
        assert judged(killed, forks, state) == [True, False, True]
        assert not list((killed.folder / state).rglob(".tmp-*"))
        assert not list((killed.folder / state / "trust").rglob("tmp*"))
    assert set(seen) == {False, True}
    assert seen == sorted(seen)


def test_the_first_pull(world: World, forks: Forks, tmp_path: Path) -> None:
    shutil.rmtree(world.folder / PROXY)
    world.done("enrol", f"{PROXY}.json", "--accept-dev", state=PROXY, by=forks)
    for killed in deaths(world, tmp_path, forks, "pull", state=PROXY):
        assert killed.run("check", ALWAYS, state=PROXY, by=forks).code in (1, 30)
        assert killed.done("pull", state=PROXY, by=forks)["lists"][0]["to"] == 2
        assert killed.run("check", ALWAYS, state=PROXY, by=forks).code == 1


def test_export(world: World, forks: Forks, tmp_path: Path) -> None:
    """The resolver's file is the old one or the new one, and the hook runs in the end."""
    out, seen = tmp_path / "zone", tmp_path / "seen-by-the-resolver"
    hook = ("--hook", f"cp {out} {seen}")
    words = ("export", "rpz", "--zone", "rpz.example", "--check", "none", "--out", str(out), *hook)
    world.done(*words, state=PROXY, by=forks)
    old = out.read_bytes()
    world.done("publish", "demo", "-", given=NEXT + "new.example\n", by=forks)
    world.done("pull", state=PROXY, by=forks)
    placed = []
    for killed in deaths(world, tmp_path, forks, *words, state=PROXY):
        placed.append(out.read_bytes() != old)
        assert (b"new.example" in out.read_bytes()) == placed[-1]
        assert seen.read_bytes() in (old, out.read_bytes())
        (again,) = killed.done("export", "run", state=PROXY, by=forks)["exports"]
        assert (again["live"], again["pending"]) == ({"demo": 3}, False)
        assert b"new.example" in seen.read_bytes()
        assert seen.read_bytes() == out.read_bytes()
        for path in (out, seen):
            path.write_bytes(old)
    assert set(placed) == {False, True}


def test_the_start_of_a_repository(forks: Forks, tmp_path: Path) -> None:
    """From `init` on, each command is finished by running it again."""
    (tmp_path / "world").mkdir()
    world = World(tmp_path / "world")
    for words in (("init", "--dev"), ("list", "create", "demo")):
        for killed in deaths(world, tmp_path, forks, *words):
            ran = killed.run(*words, by=forks)
            assert ran.code == 0 or "already" in ran.complaint
            if words[0] == "init":
                killed.done("list", "create", "demo", by=forks)
            done = killed.done("publish", "demo", "-", given="a.example\n", by=forks)
            assert done["version"] == 1
            assert killed.done("fsck", by=forks)["problems"] == []
        world.done(*words, by=forks)


def test_giving_and_taking_access(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    world = made(tmp_path / "world", forks)
    world.done("publish", "demo", "-", given="a.example\n", by=forks)
    add = ("subscriber", "add", "new", "--list", "demo", "--feed", "hashed", "--out", "new.json")
    for killed in deaths(world, tmp_path, forks, *add):
        ran = killed.run(*add, by=forks)
        assert ran.code == 0 or "new.json exists" in ran.complaint
    world.done(*add, "--source", "file:repo/feed", by=forks)
    enrol = ("enrol", "new.json", "--accept-dev")
    for killed in deaths(world, tmp_path, forks, *enrol, state="new"):
        killed.done(*enrol, state="new", by=forks)
        assert killed.done("pull", state="new", by=forks)["lists"][0]["to"] == 1
