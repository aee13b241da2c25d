"""The real client against the real API's limit: it is told once, and stays away."""

from tests.cli_kit import STORE, World, enrol
from tests.cli_servers import serving
from tests.forks import Forks


def test_a_pull_that_comes_too_often(world: World, forks: Forks) -> None:
    limited = world.with_config("[api]\nrequests_per_minute = 1\n")
    with serving(limited) as api:
        enrol(world, "eager", "clear", api.url, by=forks)
        world.done("pull", state="eager", by=forks)
        refused = [world.run("pull", "--json", state="eager", by=forks) for _ in range(3)]
        assert api.requests() == 2  # the first one that was refused, and no other
    for ran in refused:
        (failed,) = ran.json["failed"]
        (source,) = failed["sources"]
        assert (ran.code, failed["exit"], source["outcome"]) == (10, 10, "throttled")
        assert source["not_before"] is not None
    assert f"not asked before {source['not_before']}" in refused[-1].err
    standing = world.run("status", state="eager", by=forks)
    assert f"throttled, not asked before {source['not_before']}" in standing.out


def test_another_source_helps(world: World, forks: Forks) -> None:
    limited = world.with_config("[api]\nrequests_per_minute = 1\n")
    with serving(limited) as api:
        enrol(world, "eager", "clear", api.url, f"file:{STORE}/feed", by=forks)
        pulls = [world.done("pull", state="eager", by=forks) for _ in range(3)]
        assert api.requests() == 2
    words = [[one["outcome"] for one in done["lists"][0]["sources"]] for done in pulls]
    assert words == [["used"], ["throttled", "used"], ["throttled", "used"]]
