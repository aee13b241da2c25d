"""`list rotate-hash-key` as a person runs it, and what a subscriber without our API sees of it."""

from pathlib import Path

import pytest

from signing import keys
from tests.cli_kit import HOME, ISP, World, made, pages
from tests.forks import Forks

LISTED = "http://site-5.example/page/5"
ROTATE = ("list", "rotate-hash-key", "demo")


@pytest.fixture
def world(tmp_path: Path, forks: Forks) -> World:
    """`demo` is released and pulled."""
    world = made(tmp_path, by=forks)
    world.done("publish", "demo", "-", given=pages(0, 40), by=forks)
    world.done("pull", by=forks)
    return world


def test_announced_waited_for_and_at_once(world: World, forks: Forks) -> None:
    first = world.done(*ROTATE, by=forks)
    assert (first["state"], first["changed"], first["version"]) == ("announced", True, 2)
    again = world.done(*ROTATE, by=forks)
    assert again == {**first, "state": "waiting", "changed": False}
    assert first["next_hash_key"]["from"] in world.run(*ROTATE, by=forks).out
    listed = world.done("status", by=forks)["repository"]["lists"]
    assert listed[0]["next_hash_key"] == first["next_hash_key"]["from"]

    (told,) = world.done("pull", by=forks)["lists"]
    assert any(first["next_hash_key"]["from"] in line for line in told["warnings"])
    (standing,) = world.done("status", by=forks)["subscriber"]
    assert standing["next_hash_key"] == {**first["next_hash_key"], "held": False}

    done = world.done(*ROTATE, "--now", "--reason", "leaked", by=forks)
    assert (done["state"], done["version"], done["next_hash_key"]) == ("rotated", 3, None)
    assert done["hash_key_id"] == first["next_hash_key"]["id"]
    assert world.done("log", "demo", by=forks)[0]["reason"] == "leaked"

    assert world.run("pull", by=forks).code == 15
    assert world.run("check", LISTED, by=forks).code == 1  # with the list that it has
    world.done("subscriber", "add", "renewed", "--list", "demo", "--feed", "hashed",
               "--out", "renewed.json", by=forks)  # fmt: skip
    world.done("enrol", "renewed.json", "--accept-dev", state=ISP, by=forks)
    world.done("pull", by=forks)
    assert world.run("check", LISTED, by=forks).code == 1
    assert world.run("fsck", by=forks).code == 0


def test_a_list_without_release_gets_another_key(world: World, forks: Forks) -> None:
    made_with = world.done("list", "create", "new", by=forks)["hash_key_id"]
    done = world.done("list", "rotate-hash-key", "new", by=forks)
    assert (done["state"], done["version"]) == ("replaced", None)
    assert done["hash_key_id"] != made_with
    assert world.run("publish", "new", "-", given=pages(0, 3), by=forks).code == 0


def test_it_says_what_comes_next(world: World, forks: Forks) -> None:
    for words, said in ((ROTATE, "announces"), (ROTATE, "is announced")):
        out = world.run(*words, by=forks).out
        assert said in out
        assert "run `blocklist list rotate-hash-key demo` again" in out
    assert (
        "is released under a new hash key"
        in world.run(*ROTATE, "--now", "--reason", "leaked", by=forks).out
    )


def test_two_people_change_the_hash_key(world: World, forks: Forks) -> None:
    """What the second one signs is told, though no entry changes."""
    for person in ("ann", "ben"):
        keys.create(world.folder / HOME / "keys" / person)
    public = [word for one in ("ann", "ben") for word in ("--key", f"{HOME}/keys/{one}.pub")]
    world.done("list", "create", "two", "--threshold", "2", *public, by=forks)
    digest = world.done("stage", "two", "-", given=pages(0, 9), by=forks)["candidate"]
    for person in ("ann", "ben"):
        world.done("approve", "two", digest, "--key", person, by=forks)
    world.done("release", "two", digest, by=forks)

    done = world.done("list", "rotate-hash-key", "two", "--key", "ann", by=forks)
    assert (done["state"], done["version"], done["next_hash_key"]) == ("staged", 1, None)
    digest = done["staged"]["candidate"]
    seen = world.done("review", "two", digest, by=forks)
    assert (seen["operation"], seen["approvals"]) == ("announce-hash-key", 1)
    told = world.run("review", "two", digest, by=forks).out
    assert f"announces the hash key {seen['hash_key']['id']}" in told
    world.done("approve", "two", digest, "--key", "ben", by=forks)
    world.done("release", "two", digest, by=forks)
    waiting = world.done("list", "rotate-hash-key", "two", by=forks)
    announced = {name: seen["hash_key"][name] for name in ("id", "from")}
    assert (waiting["state"], waiting["next_hash_key"]) == ("waiting", announced)

    words = ("list", "rotate-hash-key", "two", "--key", "ann", "--now", "--reason", "leaked")
    digest = world.done(*words, by=forks)["staged"]["candidate"]
    told = world.run("review", "two", digest, by=forks).out
    assert "puts the hash key" in told
    assert "the hash key was announced for" in told
    assert "(override early-rotation)" in told
    assert world.run("approve", "two", digest, "--key", "ben", by=forks).code == 20
    allowed = ("--key", "ben", "--allow", "early-rotation")
    world.done("approve", "two", digest, *allowed, by=forks)
    assert world.done("release", "two", digest, by=forks)["version"] == 3
    assert world.run("fsck", by=forks).code == 0
