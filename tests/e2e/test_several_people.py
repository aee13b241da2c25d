"""stage, review, approve, release, void, withdraw and rollback as three people type them."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli_kit import Ran, World, digest, lines, pages
from tests.forks import Forks

PEOPLE = ("ann", "ben", "cyd")
BASE = pages(0, 30)


@dataclass(frozen=True)
class Office:
    """Three people, each with a machine of their own, and the machine with the online key."""

    world: World
    forks: Forks

    def at(self, who: str) -> World:
        """Return the world as somebody's machine has it."""
        home = "home" if who == "hotline" else who
        return replace(self.world, environment=self.world.environment | {"BLOCKLIST_HOME": home})

    def run(self, who: str, *words: str, given: str | None = None) -> Ran:
        return self.at(who).run(*words, given=given, by=self.forks)

    def done(self, who: str, *words: str, given: str | None = None) -> Any:
        return self.at(who).done(*words, given=given, by=self.forks)

    def refused(self, who: str, code: int, *words: str, given: str | None = None) -> str:
        """Run what must end with this code, in one line, and change nothing anywhere."""
        before = self.standing()
        ran = self.run(who, *words, given=given)
        assert ran.code == code, ran
        assert self.standing() == before
        return ran.complaint

    def standing(self) -> dict[str, str]:
        folders = [self.world.store, *(self.world.folder / who for who in (*PEOPLE, "home"))]
        scrap = {"cache", "index", "voids", ".tmp"}
        return {
            str(path.relative_to(self.world.folder)): digest(path.read_bytes())
            for folder in folders
            for path in folder.rglob("*")
            if path.is_file() and "lock" not in path.name and scrap.isdisjoint(path.parts)
            if path.name != "trust.json"
        }

    def staged(self, who: str, *words: str, given: str | None = None) -> str:
        return str(self.done(who, "stage", "demo", *words, given=given)["candidate"])

    def released(self, candidate: str, *signers: str) -> int:
        for who in signers:
            self.done(who, "approve", "demo", candidate)
        return int(self.done("hotline", "release", "demo", candidate)["version"])


@pytest.fixture(scope="module")
def opened(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Office:
    """An office whose list is at version 1."""
    office = Office(World(tmp_path_factory.mktemp("office")), forks)
    office.done("hotline", "init", "--dev")
    root = office.world.metadata / "1.root.json"
    pin = ("trust", "pin", str(root), "--fingerprint", digest(root.read_bytes()))
    keys = []
    for who in PEOPLE:
        office.done(who, *pin)
        office.done(who, "keys", "new", who, "--no-passphrase")
        keys += ["--key", f"{who}/keys/{who}.pub"]
    office.done("hotline", "list", "create", "demo", "--threshold", "2", *keys)
    office.world.file("base.txt", BASE)
    assert office.released(office.staged("ann", "base.txt"), "ann", "ben") == 1
    return office


@pytest.fixture
def office(opened: Office, tmp_path: Path) -> Office:
    """A copy of it."""
    return Office(opened.world.copied(tmp_path), opened.forks)


# The way.


def test_the_printed_commands_lead_from_stage_to_release(office: Office) -> None:
    """Each command says exactly which one comes next; whoever has not looked yet, looks first."""
    ran = office.run("ann", "stage", "demo", "--add", "-", given="new.example/page")
    verbs = []
    for person in ("ben", "ben", "cyd", "cyd", "hotline"):
        found = re.search(r"next: blocklist (\w+) demo ([0-9a-f]{64})$", ran.out, re.MULTILINE)
        assert found is not None, ran
        verbs.append(found[1])
        ran = office.run(person, found[1], "demo", found[2])
        assert ran.code == 0, ran
    assert verbs == ["review", "approve", "review", "approve", "release"]
    assert "version 2 is released" in ran.out


def test_a_review_shows_what_the_reviewers_machine_made(office: Office) -> None:
    given = lines([".wide.example", "http://root.example/", "http://new.example/a?b"])
    candidate = office.staged("ann", "--add", "-", "--reason", "morning review", given=given)
    ran = office.run("ben", "review", "demo", candidate)
    assert ran.code == 0
    assert "wide[.]example" in ran.out
    assert "morning review" in ran.out
    assert "wide.example" not in ran.out
    assert "was the host meant?" in ran.out
    document = office.done("ben", "review", "demo", candidate[:8])
    assert document["operation"] == "publish"
    assert (document["base"], document["version"]) == (1, 2)
    assert (document["approvals"], document["needed"]) == (0, 2)
    assert document["review"]["add"] == [
        "d wide.example",
        "u new.example/a?b",
        "u root.example/",
    ]
    assert document["staged"]["source"]["files"][0]["role"] == "add"


def test_what_waits(office: Office) -> None:
    first = office.staged("ann", "--add", "-", given="one.example/1")
    second = office.staged("ben", "--add", "-", given="two.example/1")
    third = office.staged("cyd", "--add", "-", given="three.example/1")
    office.done("cyd", "void", "demo", third, "--reason", "a slip")
    assert office.released(first, "ann", "cyd") == 2
    states = {row["candidate"]: row["state"] for row in office.done("ben", "review", "demo")}
    assert states[first] == "released"
    assert states[second] == "stale"
    assert states[third] == "void"
    shown = office.run("ben", "review", "demo").out
    assert second[:12] in shown


def test_a_stale_candidate_is_made_anew(office: Office) -> None:
    old = office.staged("ann", "--add", "-", given="one.example/1")
    office.released(office.staged("ben", "--add", "-", given="two.example/1"), "ann", "ben")
    said = office.refused("ben", 21, "approve", "demo", old)
    assert "stage --rebase" in said
    new = office.done("ann", "stage", "demo", "--rebase", old)
    assert (new["version"], new["approvals"]) == (3, 0)
    assert office.released(new["candidate"], "ann", "cyd") == 3
    said = office.refused("ben", 2, "approve", "demo", old)
    assert "made anew" in said


def test_candidates_and_approvals_travel_as_files(office: Office) -> None:
    """Ben's machine has a copy of the storage only."""
    copy = office.world.folder / "stick"
    office.done("hotline", "mirror", str(copy))
    offline = replace(
        office.at("ben"),
        environment=office.at("ben").environment | {"BLOCKLIST_STORAGE": f"file:{copy}"},
    )
    staged = office.done(
        "ann", "stage", "demo", "--add", "-", "--out", "new.zip", given="one.example/1"
    )
    assert (staged["file"], staged["next"]) == ("new.zip", "blocklist review demo new.zip")
    office.done("ann", "approve", "demo", "new.zip", "--out", "ann.json")
    reviewed = offline.done("review", "demo", "new.zip", by=office.forks)
    assert reviewed["next"] == "blocklist approve demo new.zip"
    offline.done("approve", "demo", "new.zip", "--out", "ben.json", by=office.forks)
    approvals = ("--approval", "ann.json", "--approval", "ben.json")
    done = office.done("hotline", "release", "demo", "new.zip", *approvals)
    assert done["version"] == 2
    assert len(done["approvals"]) == 2


# In a hurry.


def test_a_withdrawal_says_what_goes_and_what_comes_next(office: Office) -> None:
    ran = office.run(
        "ann",
        "withdraw",
        "demo",
        "-",
        "--reason",
        "taken down",
        given="hxxp://site-3[.]example/page/3",
    )
    assert ran.code == 0, ran
    assert "- url    site-3[.]example/page/3" in ran.out
    found = re.search(r"1 of 2 approvals; next: (blocklist review demo \w+)$", ran.out.strip())
    assert found is not None
    office.done("ben", *found[1].split()[1:])
    office.done("ben", "approve", *found[1].split()[2:])
    done = office.done("hotline", "release", "demo", found[1].split()[-1])
    assert done["version"] == 2
    rows = office.done("hotline", "history", "demo", "-", given="http://site-3.example/page/3")
    assert [(row["from"], row["to"], row["removed_reason"]) for row in rows] == [
        (1, 1, "taken down")
    ]


def test_a_list_is_renewed_by_two_people(office: Office) -> None:
    done = office.done("ann", "list", "renew", "demo", "--reason", "a key goes")
    assert (done["released"], done["unchanged"], done["approvals"]) == (False, True, 1)
    assert office.released(done["candidate"], "ben") == 2


def test_a_rollback_by_two_people(office: Office) -> None:
    office.released(office.staged("ann", "--add", "-", given="one.example/1"), "ann", "ben")
    done = office.done("cyd", "rollback", "demo", "1", "--reason", "wrong file")
    assert not done["released"]
    assert done["removed_entries"] == [{"kind": "url", "expression": "one.example/1"}]
    assert office.released(done["candidate"], "ben") == 3
    difference = office.done("hotline", "diff", "demo", "1", "3")
    assert (difference["add"], difference["remove"]) == ([], [])


def test_a_rollback_leaves_out_what_was_withdrawn_if_asked(office: Office) -> None:
    done = office.done("ann", "withdraw", "demo", "http://site-3.example/page/3", "--reason", "x")
    office.released(done["candidate"], "ben")
    said = office.refused("cyd", 20, "rollback", "demo", "1", "--reason", "wrong file")
    assert "guard withdrawn" in said
    words = ("rollback", "demo", "1", "--reason", "wrong file", "--without-withdrawn")
    ran = office.run("cyd", *words, "--dry-run")
    assert (ran.code, "left out what was withdrawn since: 1" in ran.err) == (0, True)
    done = office.done("cyd", *words)
    assert (done["added_entries"], done["removed_entries"]) == ([], [])
    assert office.released(done["candidate"], "ben") == 3


def test_an_override_is_seen_by_the_second_person(office: Office) -> None:
    words = ("stage", "demo", "--add", "-")
    said = office.refused("ann", 20, *words, given="localhost")
    assert "single-label" in said
    forced = ("--allow", "single-label", "--reason", "court order 7")
    candidate = office.done("ann", *words, *forced, given="localhost")["candidate"]
    assert "court order 7" in office.run("ben", "review", "demo", candidate).out
    said = office.refused("ben", 20, "approve", "demo", candidate)
    assert "court order 7" in said
    for who in ("ann", "ben"):
        office.done(who, "approve", "demo", candidate, "--allow", "single-label")
    assert office.done("hotline", "release", "demo", candidate)["version"] == 2
    [newest, _] = office.done("hotline", "log", "demo")
    assert newest["overrides"][0]["reason"] == "court order 7"
    assert {item["allowed"][0] for item in newest["approvals"]} == {"single-label"}


# Wrong input.


def test_nobody_releases_alone(office: Office) -> None:
    for who in ("ann", "hotline"):
        said = office.refused(who, 24, "publish", "demo", "--add", "-", given="one.example/1")
        assert "blocklist stage demo" in said
    candidate = office.staged("ann", "--add", "-", given="one.example/1")
    said = office.refused("hotline", 24, "release", "demo", candidate)
    assert f"blocklist review demo {candidate}" in said
    office.done("ann", "approve", "demo", candidate)
    again = office.done("ann", "approve", "demo", candidate)
    assert (again["changed"], again["approvals"]) == (False, 1)
    office.refused("hotline", 24, "release", "demo", candidate)
    office.done("ben", "approve", "demo", candidate)
    said = office.refused("ann", 24, "release", "demo", candidate)  # no online key
    assert "timestamp" in said


WRONG = {
    "no such candidate": (2, ["approve", "demo", "0" * 64], "found none"),
    "too short": (2, ["approve", "demo", "abcdef"], "8 or more digits"),
    "some digits only": (2, ["approve", "demo", "BEGINNING"], "the whole digest"),
    "no digest": (2, ["approve", "demo", "newest"], "8 or more digits"),
    "no such file": (2, ["approve", "demo", "./nothing.zip"], "No such file"),
    "no candidate": (14, ["approve", "demo", "./base.txt"], "got no such file"),
    "no such list": (2, ["stage", "nothing", "base.txt"], "nothing"),
    "no such key": (2, ["approve", "demo", "CANDIDATE", "--key", "zoe"], "zoe"),
    "allow without override": (
        2,
        ["approve", "demo", "CANDIDATE", "--allow", "churn"],
        "expected --allow of what",
    ),
    "allow without reason": (2, ["stage", "demo", "base.txt", "--allow", "churn"], "--reason"),
    "an unknown guard": (
        2,
        ["stage", "demo", "base.txt", "--allow", "nonsense", "--reason", "x"],
        "unknown guard",
    ),
    "rebase with a file": (2, ["stage", "demo", "base.txt", "--rebase", "CANDIDATE"], "--rebase"),
    "void without a reason": (2, ["void", "demo", "CANDIDATE"], "--reason"),
    "withdraw nothing": (2, ["withdraw", "demo", "--reason", "x"], "at least one URL"),
    "withdraw what is not listed": (
        2,
        ["withdraw", "demo", "http://fine.example/", "--reason", "x"],
        "no entry covers",
    ),
    "withdraw nonsense": (2, ["withdraw", "demo", "http:///", "--reason", "x"], "URL 1"),
    "withdraw URLs and -": (2, ["withdraw", "demo", "a.example", "-", "--reason", "x"], "both"),
    "withdraw without a reason": (2, ["withdraw", "demo", "http://fine.example/"], "--reason"),
    "roll back to the newest": (2, ["rollback", "demo", "1", "--reason", "x"], "newest already"),
    "roll back to the future": (2, ["rollback", "demo", "9", "--reason", "x"], "from 0 to 1"),
    "an approval that is none": (
        2,
        ["release", "demo", "CANDIDATE", "--approval", "base.txt"],
        "base.txt",
    ),
}


@pytest.mark.parametrize(("code", "words", "said"), WRONG.values(), ids=WRONG)
def test_wrong_input(opened: Office, code: int, words: list[str], said: str) -> None:
    rows = opened.done("ann", "review", "demo")
    waiting = [row["candidate"] for row in rows if row["state"] == "open"]
    candidate = waiting[0] if waiting else opened.staged("ann", "--add", "-", given="w.example/1")
    names = {"CANDIDATE": candidate, "BEGINNING": candidate[:12]}
    complaint = opened.refused("ann", code, *(names.get(word, word) for word in words))
    assert said in complaint


def test_a_guard_file_that_does_not_parse_stops_everything(office: Office) -> None:
    candidate = office.staged("ann", "--add", "-", given="one.example/1")
    office.world.file("protected.txt", "fine.example\n*.bad.example\n")
    office.world.file("config.toml", '[publisher]\nprotected_file = "protected.txt"\n')
    world = replace(
        office.world, environment=office.world.environment | {"BLOCKLIST_CONFIG": "config.toml"}
    )
    with_file = Office(world, office.forks)
    for words in (["approve", "demo", candidate], ["stage", "demo", "base.txt"]):
        said = with_file.refused("ben", 2, *words)
        assert "protected.txt" in said


def test_another_file_is_not_overwritten(office: Office) -> None:
    office.world.file("taken.zip", "mine")
    words = ("stage", "demo", "--add", "-", "--out", "taken.zip")
    said = office.refused("ann", 30, *words, given="one.example/1")
    assert "taken.zip exists" in said
    assert (office.world.folder / "taken.zip").read_text() == "mine"


def test_a_failure_as_json(office: Office) -> None:
    ran = office.run("hotline", "release", "demo", "0" * 64, "--json")
    assert ran.code == 2
    assert json.loads(ran.out)["exit"] == 2
