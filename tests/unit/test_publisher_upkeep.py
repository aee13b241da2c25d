"""`refresh` and `status`: the head stays fresh, whatever happens to one list."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from blocklist.publisher import upkeep
from blocklist.store import layout
from signing.errors import Malformed, Rollback, TrustError
from tests.publisher_kit import LIST, Clock, Kit, without_sync


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    without_sync(monkeypatch)
    kit = Kit.made(tmp_path)
    kit.publish("a.example/x")
    return kit


def versions(kit: Kit) -> tuple[int, int]:
    head = kit.repository().head()
    return head.timestamp.version, head.snapshot.version


def aged(kit: Kit, **time: float) -> list[str]:
    """Let the time pass and refresh; returns the warnings."""
    kit.clock.tick(**time)
    return upkeep.refresh(kit.repository())[1]


def test_a_refresh_signs_the_timestamp_again_for_a_day(kit: Kit) -> None:
    before = versions(kit)
    assert aged(kit, hours=20) == []
    assert versions(kit) == (before[0] + 1, before[1])
    assert kit.head().timestamp.signed.expires == kit.clock.now + timedelta(hours=24)


@pytest.mark.parametrize(("hours", "again"), [(83, 0), (85, 1)])
def test_a_refresh_signs_snapshot_metadata_again_under_half_of_its_life(
    kit: Kit, hours: int, again: int
) -> None:
    before = versions(kit)
    aged(kit, hours=hours)
    assert versions(kit) == (before[0] + 1, before[1] + again)


@pytest.mark.parametrize("days", [1.1, 3, 10, 60])
def test_a_refresh_after_an_outage_makes_all_fresh_again(kit: Kit, days: float) -> None:
    assert aged(kit, days=days) == []
    states = {role.name: role.state for role in upkeep.status(kit.repository()).roles}
    assert states["timestamp"] == states["snapshot"] == "fresh"


def test_clients_accept_a_head_that_was_renewed_after_an_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_sync(monkeypatch)
    clock = Clock()
    clock.tick(days=-10)
    kit = Kit.made(tmp_path / "kit", clock=clock)
    kit.publish("a.example/x")
    with pytest.raises(TrustError):
        kit.client(tmp_path / "client")
    clock.tick(days=10)
    upkeep.refresh(kit.repository())
    verified = kit.client(tmp_path / "client")
    assert verified.release is not None
    assert verified.release.version == 1


def test_a_refresh_makes_no_new_version_of_a_list(kit: Kit) -> None:
    for _ in range(5):
        aged(kit, days=3)
    assert kit.head().roles[LIST].version == 1
    assert not [key for key in kit.objects() if key.endswith("/2.demo.json")]


@pytest.mark.parametrize(("days", "warned"), [(67, False), (68, True), (89, True)])
def test_a_list_under_a_quarter_of_its_life_is_warned_of(
    kit: Kit, days: float, warned: bool
) -> None:
    warnings = aged(kit, days=days)
    assert [LIST in text for text in warnings] == [True] * warned
    assert all("expires" in text and "blocklist list renew demo" in text for text in warnings)


def test_an_expired_list_is_said_to_have_expired(kit: Kit) -> None:
    (warning,) = aged(kit, days=91)
    assert "demo expired" in warning


def test_publishing_silences_the_warning(kit: Kit) -> None:
    assert aged(kit, days=80)
    kit.publish("a.example/x")
    assert upkeep.status(kit.repository()).warnings == []


def test_root_and_targets_are_warned_of_too(kit: Kit) -> None:
    kit.clock.tick(days=350)
    kit.publish("a.example/x")
    warnings = upkeep.refresh(kit.repository())[1]
    assert {text.split()[0] for text in warnings} == {"root", "targets"}
    assert all("ceremony" in text for text in warnings)


def test_status_tells_lists_and_roles(kit: Kit) -> None:
    kit.create("new")
    status = upkeep.status(kit.repository())
    assert status.dev
    assert status.lists == (
        upkeep.ListStatus(LIST, 1, 2, kit.clock.now),
        upkeep.ListStatus("new", None, None, None),
    )
    assert {role.name for role in status.roles} == {
        "root", "timestamp", "snapshot", "targets", LIST,
    }  # fmt: skip
    assert {role.state for role in status.roles} == {"fresh"}
    assert all(isinstance(role.expires, datetime) for role in status.roles)


def test_status_writes_nothing(kit: Kit) -> None:
    before, writes = kit.objects(), len(kit.memory.writes)
    upkeep.status(kit.repository())
    assert (kit.objects(), len(kit.memory.writes)) == (before, writes)


def test_status_after_a_day_without_refresh_says_what_to_do(kit: Kit) -> None:
    kit.clock.tick(days=2)
    (warning,) = upkeep.status(kit.repository()).warnings
    assert warning.startswith("timestamp expired")
    assert "blocklist refresh" in warning


@pytest.mark.parametrize("damage", [None, b"", b"{}"])
def test_one_damaged_list_does_not_make_the_others_stale(
    kit: Kit, tmp_path: Path, damage: bytes | None
) -> None:
    kit.create("good")
    kit.publish("b.example/y", name="good")
    key = f"{layout.METADATA}1.demo.json"
    if damage is None:
        kit.memory.uproot(key)
    else:
        kit.memory.plant(key, damage)
    before = versions(kit)
    warnings = aged(kit, days=5)
    assert any("fsck" in text for text in warnings)
    assert versions(kit) == (before[0] + 1, before[1] + 1)
    assert kit.client(tmp_path / "client", "good").versions["good"] == 1


def test_nothing_is_signed_on_a_rolled_back_storage(kit: Kit) -> None:
    old = kit.metadata("timestamp.json")
    kit.publish(add="b.example/y")
    kit.memory.plant(layout.TIMESTAMP, old)
    before = kit.objects()
    for work in (lambda: upkeep.refresh(kit.repository()), lambda: kit.publish(add="c.example/")):
        with pytest.raises(Rollback) as caught:
            work()
        assert caught.value.exit_code == 12
    assert kit.objects() == before


def test_a_storage_that_lost_its_repository_is_malformed(kit: Kit) -> None:
    kit.memory.uproot(layout.TIMESTAMP)
    with pytest.raises(Malformed):
        upkeep.refresh(kit.repository())


def test_a_burned_snapshot_number_is_skipped(kit: Kit, tmp_path: Path) -> None:
    before = versions(kit)
    left = f"{layout.METADATA}{before[1] + 1}.snapshot.json"
    kit.memory.plant(left, b"a vandal's")
    aged(kit, days=4)
    assert versions(kit) == (before[0] + 1, before[1] + 2)
    assert kit.objects()[left] == b"a vandal's"
