"""`exception` as people type it: listed, spared until a date, listed again."""

from datetime import UTC, datetime, timedelta

from tests.cli_kit import TEST_HOST, World
from tests.forks import Forks

SOON = (datetime.now(UTC) + timedelta(days=3)).strftime("%Y-%m-%d")


def test_spared_until_a_date_and_listed_again(world: World, forks: Forks) -> None:
    page = f"http://{TEST_HOST}/page"
    words = ("exception", "add", "-", "--until", SOON, "--reason", "complaint 4711")
    added = world.done(*words, given=f"hxxp://{TEST_HOST}/page\n", by=forks)["added"]
    assert [(one["entry"], one["kind"]) for one in added] == [(f"u {TEST_HOST}/page", "url")]
    (verdict,) = world.done("check", "-", given=page, by=forks)
    assert verdict["listed"] is False
    assert verdict["exception"]["reason"] == "complaint 4711"
    shown = world.run("check", "-", given=page, by=forks)
    assert shown.out.startswith("spared")
    assert world.run("check", f"http://{TEST_HOST}/other", by=forks).code == 1
    listed = world.run("exception", "list", by=forks).out
    assert "complaint 4711" in listed
    assert TEST_HOST not in listed  # defanged for people
    world.done("exception", "remove", page, by=forks)
    assert world.run("check", "-", given=page, by=forks).code == 1


def test_what_is_wrong_changes_nothing(world: World, forks: Forks) -> None:
    end = ("--until", SOON, "--reason", "x")
    world.refused(2, "exception", "add", "*.host.example", *end, by=forks)
    world.refused(2, "exception", "add", "host.example", "--until", "2020-01-01", "--reason", "x")
    world.refused(2, "exception", "add", "host.example", "--until", SOON, "--reason", " ", by=forks)
    world.refused(2, "exception", "add", "host.example", "--until", SOON, by=forks)
    world.refused(2, "exception", "remove", "host.example", by=forks)
    (world.folder / "isp" / "exceptions.json").write_bytes(b"damaged")
    world.refused(30, "check", "http://host.example/", by=forks)
    world.refused(30, "exception", "list", by=forks)


def test_a_hold_is_loud_until_it_is_released(world: World, forks: Forks) -> None:
    end = ("--until", SOON, "--reason", "resolver restarts")
    world.done("publish", "demo", "--add", "-", given="new.example/page\n", by=forks)
    world.done("pull", by=forks)
    (held,) = world.done("hold", "--version", "2", *end, by=forks)["held"]
    assert (held["list"], held["version"], held["ended"]) == ("demo", 2, False)
    pulled = world.run("pull", by=forks)
    assert pulled.code == 0
    assert "HELD at version 2" in pulled.out
    assert "resolver restarts" in pulled.err
    (one,) = world.done("pull", by=forks)["lists"]
    assert (one["to"], one["changed"], one["held_back"]) == (2, False, 3)
    shown = world.run("status", by=forks)
    assert "HELD at version 2" in shown.err
    assert world.done("status", by=forks)["decisions"]["holds"] == [held]
    world.refused(2, "hold", "--release", "--reason", "x", by=forks)
    world.refused(2, "hold", "--until", SOON, by=forks)
    world.refused(2, "hold", "other", *end, by=forks)
    world.done("hold", "--release", by=forks)
    (one,) = world.done("pull", by=forks)["lists"]
    assert (one["to"], one["changed"], one["held_back"]) == (3, True, None)
