"""gc, mirror and restore as a person runs them, with subscribers that pull before and after."""

import shutil
from pathlib import Path

from tests.cli_kit import FEEDS, ISP, PROXY, World, pages
from tests.forks import Forks

MARGIN = 1_000


def grown(world: World, forks: Forks, to: int) -> None:
    for version in range(3, to + 1):
        world.file("next.txt", pages(version, version + 40))
        world.done("publish", "demo", "next.txt", by=forks)


def test_gc_says_what_would_go_and_takes_nothing_that_is_young(world: World, forks: Forks) -> None:
    grown(world, forks, 6)
    settled = world.with_config("[publisher]\nkeep_versions = 1\nkeep_days = 0\n")
    before = settled.standing()
    said = settled.done("gc", "--dry-run", by=forks)
    assert said["gone"] == {}  # all of it was live within the last two days
    assert said["kept"]["demo"]["newest"] == 6
    assert settled.done("gc", by=forks)["gone"] == {}
    left = {name: made for name, made in settled.standing().items() if "home/gc/" not in name}
    assert left == before
    for state in FEEDS:
        assert settled.done("pull", state=state, by=forks)["lists"][0]["to"] == 6


def test_gc_with_settings_that_cannot_be_meant(world: World, forks: Forks) -> None:
    hasty = world.with_config("[publisher]\ngc_grace_days = 0\n")
    assert "1 or more" in hasty.refused(2, "gc", by=forks)


def test_a_mirror_is_a_storage_and_a_source(world: World, forks: Forks) -> None:
    done = world.done("mirror", "backup", by=forks)
    assert (done["damaged"], done["lists"]) == ([], {"demo": 2})
    assert world.done("mirror", "backup", by=forks)["copied"] == 0
    there = ("--storage", "file:backup")
    assert world.done("fsck", *there, by=forks)["problems"] == []
    assert [row["version"] for row in world.done("log", "demo", *there, by=forks)] == [2, 1]


def test_a_mirror_of_something_damaged_ends_with_13(world: World, forks: Forks) -> None:
    damaged = next((world.store / "feed/targets/demo/clear").glob("*.delta-1"))
    damaged.write_bytes(b"other bytes")
    ran = world.run("mirror", "backup", "--json", by=forks)
    assert ran.code == 13
    assert damaged.name in ran.json["damaged"][0]
    assert damaged.name in ran.err


def test_a_folder_of_somebody_else_is_refused(world: World, forks: Forks, tmp_path: Path) -> None:
    (world.folder / "mine").mkdir()
    (world.folder / "mine" / "letters").mkdir()
    (world.folder / "mine" / "letters" / "one.txt").write_text("Dear")
    assert "something else" in world.refused(2, "mirror", "mine", by=forks)


def test_a_lost_bucket_comes_back_above_all_that_was_seen(world: World, forks: Forks) -> None:
    world.done("mirror", "backup", by=forks)
    grown(world, forks, 4)
    for state in FEEDS:
        assert world.done("pull", state=state, by=forks)["lists"][0]["to"] == 4
    shutil.rmtree(world.store)
    world.store.mkdir()
    said = world.done("restore", "backup", "--dry-run", by=forks)
    assert said["floors"]["demo"] == 4 + MARGIN
    assert [*world.store.iterdir()] == []
    done = world.done("restore", "backup", by=forks)
    assert done["lists"] == {"demo": 4 + MARGIN + 1}
    assert done["waiting"] == done["damaged"] == []
    assert world.done("fsck", by=forks)["problems"] == []
    for state in (ISP, PROXY):
        pulled = world.done("pull", state=state, by=forks)["lists"][0]
        assert (pulled["from"], pulled["to"]) == (4, 4 + MARGIN + 1)
    row = world.done("log", "demo", by=forks)[0]
    assert (row["reason"], row["added"], row["removed"]) == ("restored from a backup", 0, 0)


def test_somebody_may_have_seen_more_than_this_machine(world: World, forks: Forks) -> None:
    world.done("mirror", "backup", by=forks)
    done = world.done("restore", "backup", "--seen", "demo=70", "--seen", "demo=90", by=forks)
    assert done["lists"] == {"demo": 90 + MARGIN + 1}


def test_restore_that_is_not_meant_so(world: World, forks: Forks) -> None:
    world.done("mirror", "backup", by=forks)
    world.refused(2, "restore", by=forks)
    world.refused(2, "restore", "backup", "--accept", by=forks)
    world.refused(2, "restore", "backup", "--seen", "demo", by=forks)
    world.refused(2, "restore", "backup", "--seen", "demo=-3", by=forks)
    world.refused(2, "restore", "backup", "--seen", "nothing=3", by=forks)
    world.refused(2, "restore", "elsewhere", by=forks)
    done = world.run("restore", "backup", by=forks)
    assert (done.code, "no number jumps" in done.out) == (0, True)
