"""Guards at and just beyond their bounds, and the settings that move the bounds."""

import math
from pathlib import Path
from typing import Any

import pytest

from blocklist.core.errors import GuardRefused, InputError
from blocklist.publisher.guards import GUARDS, Change, check
from blocklist.publisher.settings import Settings
from tests.publisher_kit import Kit, urls, without_sync

DEFAULTS = Settings()


def refused_by(change: Change, settings: Settings = DEFAULTS) -> str | None:
    try:
        overrides = check(change, settings, {})
    except GuardRefused as error:
        return error.code if f"--allow {error.code}" in str(error) else "unclear"
    return None if overrides == [] else "overridden"


def change(before: int | None, added: int, removed: int) -> Change:
    return Change(before, (before or 0) + added - removed, added, removed)


@pytest.mark.parametrize(
    ("before", "added", "removed", "code"),
    [
        (100, 0, 25, None),  # at the count
        (100, 0, 26, "shrink"),
        (260, 0, 26, None),  # at the share
        (259, 0, 26, "shrink"),
        (1000, 0, 100, None),
        (1000, 0, 101, "shrink"),
        (1000, 20, 120, None),  # a net loss of a hundred
        (1000, 19, 120, "shrink"),
        (30, 0, 25, None),  # a small list may lose nearly all
        (1000, 100, 100, None),  # churn at the count
        (1000, 101, 100, "churn"),
        (2000, 200, 100, None),  # at the share
        (2000, 201, 100, "churn"),
        (2000, 301, 0, "churn"),  # growth counts too
        (200, 200, 0, None),
        (200, 201, 0, "churn"),
        (None, 10_000, 0, None),  # off while the list has no release
    ],
)
def test_bounds(before: int | None, added: int, removed: int, code: str | None) -> None:
    assert refused_by(change(before, added, removed)) == code


@pytest.mark.parametrize("before", [None, 1, 5])
def test_a_list_without_source_entry_is_always_refused(before: int | None) -> None:
    assert refused_by(Change(before, 0, 0, 0)) == "empty"


def test_bounds_are_settings() -> None:
    wide = Settings(shrink_share=0.5, churn_entries=10_000)
    assert refused_by(change(1000, 0, 400), wide) is None
    assert refused_by(change(1000, 0, 501), wide) == "shrink"
    tight = Settings(shrink_share=0.0, shrink_entries=0)
    assert refused_by(change(1000, 0, 0), tight) is None
    assert refused_by(change(1000, 0, 1), tight) == "shrink"


def test_an_override_is_returned_with_its_finding_and_reason() -> None:
    (override,) = check(change(1000, 0, 101), DEFAULTS, {"shrink": "court order"})
    assert override["guard"] == "shrink"
    assert override["reason"] == "court order"
    assert "101 of 1000" in override["finding"]


def test_an_override_of_one_guard_does_not_override_another() -> None:
    with pytest.raises(GuardRefused) as caught:
        check(change(1000, 0, 500), DEFAULTS, {"shrink": "why"})
    assert caught.value.code == "churn"
    both = check(change(1000, 0, 500), DEFAULTS, {"shrink": "why", "churn": "why"})
    assert [override["guard"] for override in both] == ["shrink", "churn"]


def test_an_override_that_was_not_needed_is_not_recorded() -> None:
    assert check(change(1000, 1, 1), DEFAULTS, dict.fromkeys(GUARDS, "just in case")) == []


def test_an_unknown_guard_is_bad_input() -> None:
    with pytest.raises(InputError, match="unknown guard 'shrnk'") as caught:
        check(change(1000, 1, 1), DEFAULTS, {"shrnk": "why"})
    assert caught.value.exit_code == 2


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    without_sync(monkeypatch)
    return Kit.made(tmp_path)


@pytest.mark.parametrize(
    ("code", "asked"),
    [
        ("empty", {"whole": "# nothing\n"}),
        ("empty", {"remove": urls(range(40))}),
        ("shrink", {"whole": urls(range(14))}),
        ("shrink", {"remove": urls(range(26))}),
        ("churn", {"add": urls(range(100, 301))}),
    ],
)
def test_a_refused_release_changes_nothing_and_an_allowed_one_is_recorded(
    kit: Kit, code: str, asked: dict[str, Any]
) -> None:
    kit.publish(urls(range(40)))
    before = kit.objects()
    with pytest.raises(GuardRefused) as caught:
        kit.publish(**asked)
    assert caught.value.code == code
    assert "site-" not in str(caught.value)
    assert kit.objects() == before
    allowed = {code: "it is right", "shrink": "it is right"}
    done = kit.publish(**asked, allowed=allowed, reason="as agreed")
    assert done.version == 2
    record = kit.record(2)
    assert code in {override["guard"] for override in record.overrides}
    assert {override["reason"] for override in record.overrides} == {"it is right"}
    assert record.reason == "as agreed"


def test_losing_25_of_40_entries_is_allowed(kit: Kit) -> None:
    kit.publish(urls(range(40)))
    assert kit.publish(urls(range(15))).removed == 25


def test_an_empty_first_release_is_refused(kit: Kit) -> None:
    with pytest.raises(GuardRefused, match="empty"):
        kit.publish("")


def test_a_first_release_of_any_size_is_allowed(kit: Kit) -> None:
    assert kit.publish(urls(range(500))).version == 1


def test_no_table_gives_the_defaults() -> None:
    assert Settings.from_table({}) == Settings()


def test_settings_are_read_and_whole_numbers_do_for_shares() -> None:
    read = Settings.from_table({"shrink_share": 1, "churn_entries": 7, "lock_seconds": 0.5})
    assert read == Settings(shrink_share=1.0, churn_entries=7, lock_seconds=0.5)
    assert isinstance(read.shrink_share, float)


@pytest.mark.parametrize(
    "table",
    [
        {"shrink_shares": 0.1},
        {"": 1},
        {"shrink_share": -0.1},
        {"shrink_entries": -1},
        {"shrink_entries": 2.5},
        {"shrink_entries": True},
        {"shrink_share": False},
        {"shrink_share": "0.1"},
        {"shrink_share": [0.1]},
        {"shrink_share": math.nan},  # would switch the guard off
        {"shrink_share": math.inf},
        {"lock_seconds": -1},
        {"lock_seconds": 10**400},
    ],
)
def test_a_wrong_setting_is_refused_by_name(table: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"publisher\.") as caught:
        Settings.from_table(table)
    assert caught.value.exit_code == 2
