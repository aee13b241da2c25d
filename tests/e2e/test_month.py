"""A month: three analysts of whom two release, two lists, somebody who writes into the storage and,
from the middle of it on, has one of the list signing keys.

No subscriber ever accepts a version that two honest keys did not sign; `Month.inspect` looks after
every pull of every one of them. Honest people lose time at most: each day ends with everybody at
the head. In the first days somebody lists a whole platform by mistake, and in the end the commands
tell the story.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocklist.publisher import history
from tests import month_days as days
from tests import month_thief as thief
from tests.cli_kit import World
from tests.forks import Forks
from tests.month_days import FORCED, GUILTY, INNOCENT, WITHDRAWN
from tests.month_kit import CHANCE, LISTS, Month
from tests.publisher_kit import LIST, Clock, without_sync

DAYS = 30


@pytest.fixture(scope="module", name="month")
def _month(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Month]:
    """The month, as it was played; it ends about now, so that commands can look back on it."""
    with pytest.MonkeyPatch.context() as patch:
        without_sync(patch)
        clock = Clock(datetime.now(UTC) - timedelta(days=DAYS + 1))
        month = Month.begun(tmp_path_factory.mktemp("month"), patch, clock)
        for number, event in enumerate(_calendar(), 1):
            midnight = clock.now
            clock.tick(hours=6)
            month.refresh()
            month.everybody()
            clock.tick(hours=3)
            event(month)
            month.everybody()
            month.released(LISTS[number % 2], by=days.pair(month))
            month.everybody()
            clock.now = max(midnight + timedelta(hours=20), clock.now)
            month.refresh()
            clock.now = max(midnight + timedelta(days=1), clock.now)
        month.everybody()
        yield month


def _calendar() -> list[Callable[[Month], None]]:
    """Return what happens, day by day."""
    attacks = [
        days.own_candidate,
        days.altered_after_approval,
        days.approvals_deleted,
        days.number_taken,
        days.timestamp_replaced,
        days.releases_mixed,
        days.objects_replaced,
        days.hash_keys_swapped,
        days.rolled_back,
    ]
    planned = [
        days.first_releases,
        *attacks[:4],
        days.platform_listed,
        days.platform_withdrawn,
        days.whole_file,
        *attacks[4:],
        days.evidence_deleted,
        days.voided,
        days.busy_day,
        thief.alone,
        thief.signs_a_role,
        thief.is_noticed,
        thief.key_is_revoked,
        thief.is_nobody,
        days.frozen,
    ]
    return [*planned, *CHANCE.sample(attacks, DAYS - len(planned))]


def test_no_subscriber_ever_held_what_two_honest_keys_did_not_sign(month: Month) -> None:
    """Each of these pulls was inspected; here is that there were many, and that all went on."""
    assert month.pulls > 300
    for subscriber in month.people:
        assert subscriber.seen == month.live
        assert len(subscriber.proven) > 2 * DAYS
        assert all(len(known.keys) >= 2 for known in subscriber.proven.values())
    assert sum(month.live.values()) > 2 * DAYS


def test_the_storage_is_sound_after_all_that(month: Month) -> None:
    assert month.team.kit.problems() == []
    for name in LISTS:
        whole = history.diff(month.team.kit.repository(), name, 0, month.live[name])
        assert set(whole.add) == month.meant[name]


# The story of the mistake, as commands tell it.


@pytest.fixture(name="world")
def _world(month: Month) -> World:
    """The machine with the online key."""
    store = {"BLOCKLIST_STORAGE": f"file:{month.eve.store}"}
    return World(month.team.kit.folder, store)


def test_history_says_when_the_platform_was_listed_and_why_no_more(
    world: World, forks: Forks
) -> None:
    [told] = world.done("history", LIST, "-", given=INNOCENT, by=forks)
    assert (told["kind"], told["entry"], told["reason"]) == (
        "domain",
        "shared.example",
        "report 17",
    )
    assert (told["removed_by"], told["removed_reason"]) == ("withdraw", WITHDRAWN)
    assert told["from"] < told["removed"]
    days = [datetime.fromisoformat(told[f"{end}_created"]) for end in ("from", "removed")]
    assert (days[1] - days[0]).days == 1
    kinds = {item["kind"] for item in world.done("history", LIST, "-", given=GUILTY, by=forks)}
    assert kinds == {"domain", "url"}


def test_log_says_who_listed_who_let_it_pass_and_who_withdrew(world: World, forks: Forks) -> None:
    [told] = world.done("history", LIST, "-", given=INNOCENT, by=forks)
    rows = {row["version"]: row for row in world.done("log", LIST, by=forks)}
    listed, withdrawn = rows[told["from"]], rows[told["removed"]]
    assert (listed["operation"], listed["who"]) == ("publish", "ann@desk")
    [override] = listed["overrides"]
    assert (override["guard"], override["reason"]) == ("shared-platform", FORCED)
    approved = {item["who"]: item["allowed"] for item in listed["approvals"]}
    assert approved == {"ann@desk": ["shared-platform"], "ben@desk": ["shared-platform"]}
    assert (withdrawn["operation"], withdrawn["who"]) == ("withdraw", "cyd@desk")
    assert (withdrawn["reason"], withdrawn["removed"]) == (WITHDRAWN, 1)
    assert {item["who"] for item in withdrawn["approvals"]} == {"cyd@desk", "ben@desk"}
    assert listed["sealed"]
    assert withdrawn["sealed"]


@pytest.mark.parametrize("name", LISTS)
def test_audit_verify_finds_the_whole_month_in_order(
    month: Month, world: World, forks: Forks, name: str
) -> None:
    report = world.done("audit", "verify", name, by=forks)
    assert (report["ok"], report["problems"]) == (True, [])
    assert (report["from"], report["to"]) == (1, month.live[name])


def test_a_bundle_tells_the_same_to_an_auditor_without_storage(
    month: Month, world: World, forks: Forks, tmp_path: Path
) -> None:
    bundle = tmp_path / "demo.zip"
    world.done("audit", "export", LIST, "--out", str(bundle), by=forks)
    root = tmp_path / "1.root.json"
    root.write_bytes(month.team.kit.root())
    alone = World(tmp_path, {"BLOCKLIST_STORAGE": "file:nowhere", "BLOCKLIST_HOME": "none"})
    report = alone.done("audit", "verify", "demo.zip", "--root", "1.root.json", by=forks)
    assert (report["ok"], report["to"]) == (True, month.live[LIST])
    assert report["checked"] == world.done("audit", "verify", LIST, by=forks)["checked"]
    damaged = bytearray(bundle.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "bad.zip").write_bytes(damaged)
    assert alone.run("audit", "verify", "bad.zip", "--root", "1.root.json", by=forks).code != 0
