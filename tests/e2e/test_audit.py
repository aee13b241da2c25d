"""`history` and `audit` as a person types them, and what scripts rely on in `--json`."""

import json
from pathlib import Path

import pytest

from tests.cli_kit import World
from tests.forks import Forks

PAGE = "http://www.a.example/page"
CLEAR = "a.example"


@pytest.fixture(name="world")
def _world(tmp_path: Path, forks: Forks) -> World:
    """Three releases: a page with its reason, a domain instead of it, nothing of either."""
    world = World(tmp_path)
    world.done("init", "--dev", by=forks)
    world.done("list", "create", "demo", by=forks)
    world.file("one.csv", f"url,reason\n{PAGE},case 7\nhttp://b.example/x,\n")
    world.done("publish", "demo", "one.csv", "--reason", "weekly", by=forks)
    world.file("domain.txt", ".a.example\n")
    world.file("page.txt", f"{PAGE}\n")
    words = ("--add", "domain.txt", "--remove", "page.txt", "--reason", "all of it")
    world.done("publish", "demo", *words, by=forks)
    world.done("publish", "demo", "--remove", "domain.txt", by=forks)
    return world


def test_history_tells_versions_kinds_and_reasons(world: World, forks: Forks) -> None:
    page, domain = world.done("history", "demo", "-", given="hxxp://www.a[.]example/page", by=forks)
    assert (page["from"], page["to"], page["kind"], page["reason"]) == (1, 1, "url", "case 7")
    assert (domain["from"], domain["to"], domain["kind"]) == (2, 2, "domain")
    assert domain["reason"] == page["removed_reason"] == "all of it"
    assert (page["removed"], page["removed_by"]) == (2, "publish")
    (other,) = world.done("history", "demo", "http://b.example/x?y", by=forks)
    assert (other["to"], other["to_created"], other["removed"]) == (None, None, None)
    assert world.done("history", "demo", "never.example", by=forks) == []


def test_history_shows_people_defanged_urls_only(world: World, forks: Forks) -> None:
    ran = world.run("history", "demo", PAGE, by=forks)
    assert ran.code == 0
    assert "version 1 to 1: url    www[.]a[.]example/page" in ran.out
    assert "case 7" in ran.out
    assert CLEAR not in ran.out + ran.err


@pytest.mark.parametrize("given", ["", "\n\n", "a.example\nb.example", "http:///page"])
def test_history_wants_one_good_url(world: World, forks: Forks, given: str) -> None:
    complaint = world.refused(2, "history", "demo", "-", given=given, by=forks)
    assert CLEAR not in complaint


def test_log_tells_what_was_asked_for_and_who_released_it(world: World, forks: Forks) -> None:
    rows = world.done("log", "demo", by=forks)
    assert [row["operation"] for row in rows] == ["publish"] * 3
    assert [row["sealed"] for row in rows] == [False, True, True]
    assert all({"approvals", "released", "overrides"} <= set(row) for row in rows)


def test_audit_finds_a_record_that_was_taken_away(world: World, forks: Forks) -> None:
    before = world.run("audit", "verify", "demo", "--json", by=forks)
    record = next((world.store / "private/records/demo").iterdir())
    record.unlink()
    ran = world.run("audit", "verify", "demo", "--json", by=forks)
    assert ran.code == 13
    assert not ran.json["ok"]
    fresh = [one for one in ran.json["problems"] if one not in before.json["problems"]]
    assert [one for one in fresh if "missing" in one["problem"]]
    told = world.run("audit", "verify", "demo", by=forks)
    assert "PROBLEM: version" in told.out
    assert told.code == 13


def test_a_bundle_is_verified_without_storage_by_whoever_has_the_root(
    world: World, tmp_path: Path, forks: Forks
) -> None:
    made = world.done("audit", "export", "demo", "--from", "2", "--out", "demo.zip", by=forks)
    assert (made["from"], made["to"]) == (2, 3)
    assert (world.folder / "demo.zip").stat().st_mode & 0o777 == 0o600
    complaint = world.refused(30, "audit", "export", "demo", "--out", "demo.zip", by=forks)
    assert "not touched" in complaint
    auditor = World(tmp_path / "auditor", {"BLOCKLIST_STORAGE": "file:nowhere"})
    auditor.folder.mkdir()
    for name in ("demo.zip", "repo/feed/metadata/1.root.json"):
        auditor.file(Path(name).name, (world.folder / name).read_bytes())
    words = ("audit", "verify", "demo.zip", "--json")
    whole = auditor.run(*words, "--root", "1.root.json", by=forks).json
    assert (whole["list"], whole["from"], whole["to"]) == ("demo", 2, 3)
    digest = whole["fingerprint"]
    again = auditor.run(*words, "--fingerprint", digest.upper(), by=forks).json
    assert again == whole
    at_home = world.run("audit", "verify", "./demo.zip", "--json", by=forks).json
    assert at_home == whole
    for code, trust in ((2, ("--fingerprint", "0" * 64)), (2, ("--fingerprint", "x")), (30, ())):
        assert auditor.run(*words, *trust, by=forks).code == code


def test_a_word_is_a_file_if_it_has_a_dot_or_slash_and_a_list_if_not(
    world: World, forks: Forks
) -> None:
    world.file("bundle", b"x")
    assert "does not exist" not in world.refused(2, "audit", "verify", "bundle", by=forks)
    world.refused(14, "audit", "verify", "./bundle", by=forks)
    world.refused(2, "audit", "verify", "nosuch.zip", by=forks)
    world.refused(2, "audit", "verify", "demo", "--fingerprint", "0" * 64, by=forks)
    assert json.loads((world.folder / "home" / "trust.json").read_text())
