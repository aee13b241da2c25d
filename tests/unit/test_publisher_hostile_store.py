"""What a storage that is not ours to trust can do to a publisher, and what it cannot."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from blocklist.core.errors import DigestMismatch
from blocklist.core.private import ListSecret
from blocklist.publisher import upkeep
from blocklist.publisher.publish import publish as release
from blocklist.publisher.racing import Superseded
from blocklist.publisher.request import Options, read_request
from blocklist.store import layout
from signing.errors import Malformed, Stale
from tests.publisher_kit import LIST, Kit, without_sync


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    without_sync(monkeypatch)
    kit = Kit.made(tmp_path)
    kit.publish("bad.example\na.example/x")
    return kit


def test_the_test_entry_cannot_be_swapped_for_a_listed_host(kit: Kit) -> None:
    """Whoever writes to the storage could otherwise keep a host listed for ever."""
    secret = kit.repository().secret(LIST)
    swapped = ListSecret(LIST, "bad.example", secret.hash_keys)
    kit.memory.plant(layout.list_secret_key(LIST), swapped.to_bytes())
    with pytest.raises(DigestMismatch):
        kit.publish("a.example/x")


def test_a_home_that_released_a_list_remembers_its_test_entry(kit: Kit, tmp_path: Path) -> None:
    twin = kit.twin(tmp_path / "two")
    twin.publish(add="b.example/y")
    secret = kit.repository().secret(LIST)
    kit.memory.plant(
        layout.list_secret_key(LIST),
        ListSecret(LIST, "bad.example", secret.hash_keys).to_bytes(),
    )
    with pytest.raises(DigestMismatch):
        twin.publish(add="c.example/z")


@pytest.mark.parametrize("name", ["2.demo.json", "4.snapshot.json"])
def test_a_folder_at_the_next_number_costs_one_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Reading sees nothing there, writing finds it taken: the next attempt passes it by."""
    without_sync(monkeypatch)
    kit = Kit.made(tmp_path, directory=True)
    kit.publish("a.example/x")
    (tmp_path / "store" / "feed" / "metadata" / name).mkdir()
    done = kit.publish(add="b.example/y")
    assert done.version in (2, 3)
    assert "u b.example/y" in kit.lines(done.version)


def test_a_link_at_the_next_number_is_passed_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_sync(monkeypatch)
    kit = Kit.made(tmp_path, directory=True)
    kit.publish("a.example/x")
    (tmp_path / "store" / "feed" / "metadata" / "2.demo.json").symlink_to("/dev/null")
    assert kit.publish(add="b.example/y").version == 3


@pytest.mark.parametrize("value", ['"x":1.5', '"x":"\\ud800"'])
def test_a_timestamp_without_canonical_form_is_malformed(kit: Kit, value: str) -> None:
    data = kit.metadata("timestamp.json").decode()
    altered = data.replace('"signed":{', '"signed":{' + value + ",", 1)
    assert altered != data
    json.loads(altered)
    kit.memory.plant(layout.TIMESTAMP, altered.encode())
    with pytest.raises(Malformed):
        kit.head()


def test_a_clock_that_is_behind_signs_nothing(kit: Kit) -> None:
    before = kit.objects()
    kit.clock.tick(days=-1)
    for attempt in (
        lambda: kit.publish(add="b.example/y"),
        lambda: upkeep.refresh(kit.repository()),
    ):
        with pytest.raises(Stale) as refused:
            attempt()
        assert refused.value.exit_code == 11
    assert kit.objects() == before


def test_a_clock_may_be_trusted_against_the_repository(kit: Kit) -> None:
    """If it was the other clock that went wrong, somebody must be able to go on."""
    kit.clock.tick(days=-1)
    kit.settings = replace(kit.settings, trust_clock=True)
    assert kit.publish(add="b.example/y").version == 2


def test_a_whole_list_computed_before_another_release_is_refused(kit: Kit) -> None:
    """It was read before the lock was waited for; publishing it would undo the other release."""
    request = read_request(LIST, ("whole.txt", b"a.example/x\n"), [], [], Options(), base=1)
    kit.publish(add="urgent.example/x")
    with pytest.raises(Superseded) as refused:
        release(kit.repository(), request)
    assert refused.value.exit_code == 21
    assert "u urgent.example/x" in kit.lines(kit.head().roles[LIST].version)


def test_what_others_committed_meanwhile_is_no_failure_of_ours(kit: Kit, tmp_path: Path) -> None:
    """Between commit and remembering, this home may have seen a newer head already."""
    after = kit.head()
    twin = kit.twin(tmp_path / "two")
    twin.clock.tick(hours=1)
    upkeep.refresh(twin.repository())
    newer = kit.head()
    kit.repository().remember(after)
    assert kit.home.trust().seen["timestamp"][0] == newer.timestamp.version
