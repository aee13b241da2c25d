"""A mistaken entry goes: two people, real commands, the API, a subscriber; in under a minute."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli_kit import ISP, Ran, World, digest, enrol, pages
from tests.cli_servers import serving
from tests.forks import Forks

PEOPLE = ("ann", "ben", "cyd")
MISTAKE, COVERED = ".club.example", "http://news.club.example/today"
KEPT = "http://site-3.example/page/3"
BOUND_SECONDS = 60  # with the needed people present
_NEXT = re.compile(r"next: blocklist (\w+) demo ([0-9a-f]{64})$", re.MULTILINE)


def at(world: World, who: str) -> World:
    """Return the world as somebody's machine has it."""
    return replace(world, environment=world.environment | {"BLOCKLIST_HOME": who})


@pytest.fixture(name="world")
def _world(tmp_path: Path, forks: Forks) -> World:
    """A list that two of three people release, whose newest version blocks a whole club."""
    world = World(tmp_path)
    world.done("init", "--dev", by=forks)
    root = world.metadata / "1.root.json"
    words = []
    for who in PEOPLE:
        pin = ("trust", "pin", str(root), "--fingerprint", digest(root.read_bytes()))
        at(world, who).done(*pin, by=forks)
        at(world, who).done("keys", "new", who, "--no-passphrase", by=forks)
        words += ["--key", f"{who}/keys/{who}.pub"]
    world.done("list", "create", "demo", "--threshold", "2", *words, by=forks)
    given = pages(0, 60) + MISTAKE
    staged = at(world, "ann").done("stage", "demo", "-", given=given, by=forks)["candidate"]
    for who in ("ann", "ben"):
        at(world, who).done("approve", "demo", staged, by=forks)
    world.done("release", "demo", staged, by=forks)
    return world


def test_a_mistake_is_gone_within_a_minute(world: World, forks: Forks) -> None:
    """`withdraw` (stage and sign), a second person who looks and signs, `release`, one pull."""
    with serving(world) as api:
        enrol(world, ISP, "clear", api.url, by=forks)
        token = json.loads((world.folder / f"{ISP}.json").read_text())["token"]
        assert judged(world, forks) == (1, {COVERED: True, KEPT: True})
        begun = time.monotonic()

        withdrawn = at(world, "cyd").run("withdraw", "demo", COVERED, "--reason", "a club, no page")
        assert "- domain club[.]example" in withdrawn.out
        assert "1 of 2 approvals" in withdrawn.out
        candidate = following(withdrawn, "review")
        assert judged(world, forks) == (1, {COVERED: True, KEPT: True})

        reviewed = at(world, "ben").run("review", "demo", candidate)
        assert following(reviewed, "approve") == candidate
        approved = at(world, "ben").run("approve", "demo", candidate)
        assert following(approved, "release") == candidate
        assert judged(world, forks) == (1, {COVERED: True, KEPT: True})

        released = world.run("release", "demo", candidate)
        assert "version 2 is released, approved by" in released.out
        api.until_seen(2, token)
        assert judged(world, forks) == (2, {COVERED: False, KEPT: True})

        seconds = time.monotonic() - begun
        print(f"gone {seconds:.1f} s after somebody sat down")  # pytest -rP shows it
        assert seconds < BOUND_SECONDS


def following(ran: Ran, verb: str) -> str:
    """Return the candidate of the command that is said to come next, which is this one."""
    assert ran.code == 0, ran
    found = _NEXT.search(ran.out)
    assert found is not None, ran
    assert found[1] == verb
    return found[2]


def judged(world: World, forks: Forks) -> tuple[int, dict[str, bool]]:
    """Pull once; return the version in force and what it says of both URLs."""
    [pulled] = world.done("pull", by=forks)["lists"]
    told = world.run("check", COVERED, KEPT, "--json", by=forks).json
    return pulled["to"], {item["url"]: item["listed"] for item in told}
