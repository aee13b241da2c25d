"""The main job as a person types it, and what scripts rely on in `--json`."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.cli_kit import ISP, PROXY, TEST_HOST, Ran, World, digest, lines
from tests.forks import Forks

PAGE, QUERY, FOLDER = "http://a.example/page", "http://b.example/x?id=7", "c.example/dir/*"
ADDED, LATER = "hxxps://new[.]example/page", "http://later.example/page"
V1 = lines([PAGE, QUERY, FOLDER, "host.example", ".domain.example"])
V2 = lines([PAGE, QUERY, FOLDER, "host.example", ".domain.example", LATER])
LISTED = {
    "http://a.example/page?any=1": "url",
    "http://b.example/x?id=7": "url",
    "hxxp://c[.]example/dir/below": "prefix",
    "host.example": "host",
    "www.domain.example": "domain",
    "https://new.example/page": "url",
    f"http://{TEST_HOST}/": "host",
}
UNLISTED = ("http://a.example/", "http://www.host.example/", LATER, f"http://sibling.{TEST_HOST}/")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass
class Story:
    """The commands of the main job, and how each ended."""

    world: World
    ran: dict[str, Ran] = field(default_factory=dict)

    def tell(self, command: str, **options: Any) -> None:
        self.ran[command] = self.world.run(*command.split(), "--json", **options)

    def document(self, command: str) -> Any:
        return self.ran[command].json


@pytest.fixture(scope="module", name="story")
def _story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    story = Story(World(tmp_path_factory.mktemp("story")))
    for name, text in (("v1", V1), ("v2", V2), ("a", f"{ADDED}\n"), ("r", f"{LATER}\n")):
        story.world.file(f"{name}.txt", text)
    for command in (
        "init --dev",
        "list create demo",
        "publish demo v1.txt",
        "publish demo v2.txt",
        "publish demo --add a.txt --remove r.txt",
        "log demo",
        "diff demo 1 2",
        "subscriber add isp --list demo --feed hashed --out isp.json",
        "enrol isp.json --accept-dev",
        "pull",
        f"check {' '.join(LISTED)}",
        f"check {' '.join(UNLISTED)}",
        "check http:// http://a.example/page",
        "check http://",
        "fsck",
        "status",
        "refresh",
    ):
        story.tell(command)
    return story


def test_every_command_prints_one_document_and_ends_as_documented(story: Story) -> None:
    codes = {command: ran.code for command, ran in story.ran.items() if ran.code}
    assert codes == {
        f"check {' '.join(LISTED)}": 1,
        "check http:// http://a.example/page": 1,
        "check http://": 2,
    }
    for command, ran in story.ran.items():
        assert isinstance(ran.json, dict | list), command
        bad = "blocklist: URL 1: expected a host, got an empty one\n"
        assert ran.err == (bad if command == "check http://" else ""), command


def test_publish_says_what_scripts_rely_on(story: Story) -> None:
    facts = {
        "publish demo v1.txt": (1, 6, 6, 0),
        "publish demo v2.txt": (2, 7, 1, 0),
        "publish demo --add a.txt --remove r.txt": (3, 7, 1, 1),
    }
    for command, expected in facts.items():
        done = story.document(command)
        got = tuple(done[name] for name in ("version", "entries", "added", "removed"))
        assert (got, done["list"], done["unchanged"]) == (expected, "demo", False)
        for feed in ("clear", "hashed"):
            name = f"{done['digests'][feed]}.list"
            stored = story.world.store / "feed" / "targets" / "demo" / feed / name
            assert digest(stored.read_bytes()) == done["digests"][feed]


def test_log_has_the_newest_first(story: Story) -> None:
    rows = story.document("log demo")
    assert [row["version"] for row in rows] == [3, 2, 1]
    assert [(row["entries"], row["added"], row["removed"]) for row in rows] == [
        (7, 1, 1),
        (7, 1, 0),
        (6, 6, 0),
    ]
    assert all(TIME.fullmatch(row["created"]) and row["reason"] is None for row in rows)


def test_diff_is_exact_in_json(story: Story) -> None:
    document = story.document("diff demo 1 2")
    assert document["add"] == ["u later.example/page"]
    assert document["remove"] == []


def test_pull_says_what_scripts_rely_on(story: Story) -> None:
    (pulled,) = story.document("pull")["lists"]
    published = story.document("publish demo --add a.txt --remove r.txt")
    assert pulled["bytes"] > 0
    assert pulled["requests"] > 0
    wanted = ("list", "feed", "from", "to", "changed", "entries", "digest")
    assert tuple(pulled[name] for name in wanted) == (
        *("demo", "hashed", None, 3, True, 7),
        published["digests"]["hashed"],
    )


def test_check_judges_and_names_the_entry(story: Story) -> None:
    listed = story.document(f"check {' '.join(LISTED)}")
    assert listed == [
        {"url": url, "listed": True, "list": "demo", "kind": kind, "version": 3}
        for url, kind in LISTED.items()
    ]
    unlisted = story.document(f"check {' '.join(UNLISTED)}")
    nothing = {"listed": False, "list": None, "kind": None, "version": None}
    assert unlisted == [{"url": url, **nothing} for url in UNLISTED]


def test_a_url_that_cannot_be_judged_is_null_with_the_reason(story: Story) -> None:
    bad, good = story.document("check http:// http://a.example/page")
    assert (bad["listed"], bad["error"]) == (None, "empty-host")
    assert good["listed"] is True
    assert story.document("check http://") == [bad]


def test_the_storage_is_sound_and_the_enrolment_is_secret(story: Story) -> None:
    assert story.document("fsck")["ok"] is True
    assert story.document("fsck")["checked"]["releases"] == 3
    given = story.document("subscriber add isp --list demo --feed hashed --out isp.json")
    enrolled = story.document("enrol isp.json --accept-dev")
    root = (story.world.metadata / "1.root.json").read_bytes()
    assert given["fingerprint"] == enrolled["fingerprint"] == digest(root)
    for secret in (story.world.folder / "isp.json", story.world.folder / ISP / "enrolment.json"):
        assert secret.stat().st_mode & 0o777 == 0o600


def test_standard_input_instead_of_a_file(world: World, tmp_path: Path) -> None:
    """For publish, check and enrol: so nothing listed is in the list of processes."""
    done = world.done("publish", "demo", "-", given=(tmp_path / "v1.txt").read_text())
    assert (done["version"], done["added"], done["removed"]) == (3, 1, 1)
    added = world.done("publish", "demo", "--add", "-", given="hxxp://added[.]example/x\n")
    assert (added["version"], added["added"]) == (4, 1)
    enrolment = (tmp_path / f"{PROXY}.json").read_text()
    enrolled = world.done("enrol", "-", "--accept-dev", given=enrolment, state="fresh")
    assert enrolled["lists"] == [{"list": "demo", "feed": "clear"}]
    world.done("pull", state="fresh")
    asked = "hxxp://added[.]example/x\r\n\nhttp://other.example/\n"
    ran = world.run("check", "-", "--json", given=asked, state="fresh")
    assert (ran.code, [item["listed"] for item in ran.json]) == (1, [True, False])


def test_nothing_new_is_success(world: World, forks: Forks) -> None:
    same = world.done("publish", "demo", "v2.txt", by=forks)
    assert (same["version"], same["unchanged"], same["added"], same["removed"]) == (2, True, 0, 0)
    (pulled,) = world.done("pull", by=forks)["lists"]
    assert (pulled["from"], pulled["to"], pulled["changed"]) == (2, 2, False)


def test_a_dry_run_says_what_would_be_and_writes_nothing(world: World, forks: Forks) -> None:
    before = world.standing()
    would = world.done("publish", "demo", "--add", "-", "--dry-run", given="x.example\n", by=forks)
    assert (would["entries"], would["added"], would["dry_run"]) == (42, 1, True)
    assert world.standing() == before


def test_nothing_released_yet_is_no_failure(world: World, forks: Forks) -> None:
    world.done("list", "create", "other", by=forks)
    words = ("subscriber", "add", "early", "--list", "other", "--feed", "clear")
    world.done(*words, "--source", "file:repo/feed", "--out", "early.json", by=forks)
    world.done("enrol", "early.json", "--accept-dev", state="early", by=forks)
    (pulled,) = world.done("pull", state="early", by=forks)["lists"]
    assert (pulled["from"], pulled["to"], pulled["changed"]) == (None, None, False)
    assert world.run("check", "x.example", state="early", by=forks).code == 30


def test_the_listed_is_defanged_for_people(world: World, forks: Forks) -> None:
    url, shown = "http://site-5.example/page/5", "hxxp://site-5[.]example/page/5"
    words = ("publish", "demo", "--remove", "-", "--reason", f"somebody asked to remove {url}")
    said = {"publish": world.run(*words, given=f"{url}\n", by=forks)}
    said["diff"] = world.run("diff", "demo", "1", "3", by=forks)
    said["check"] = world.run("check", url, "not-listed.example", by=forks)
    for command in ("log demo", "pull", "status", "fsck"):
        said[command] = world.run(*command.split(), by=forks)
    assert {name: ran.code for name, ran in said.items() if ran.code} == {"check": 1}
    assert f"LISTED      {shown}" in said["check"].out
    assert f"remove {shown}" in said["log demo"].out
    assert "- url    site-5[.]example/page/5" in said["diff"].out.splitlines()
    for ran in said.values():
        assert ran.out
        assert not re.search(r"https?://|site-5\.example", ran.out + ran.err), ran
