"""Guards as a publish meets them, and the settings that move their bounds."""

import math
from pathlib import Path
from typing import Any

import pytest

from blocklist.core.errors import GuardRefused, InputError
from blocklist.publisher.guards import GuardsRefused
from blocklist.publisher.settings import Settings
from tests.publisher_kit import Kit, urls, without_sync


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


WIDE = "drive.google.com\n.co.uk\n192.168.1.1\nintranet\n.iana.org\n"
CODES = ["public-suffix", "single-label", "address", "protected", "shared-platform"]


def test_all_that_refuse_are_told_at_once_and_no_entry_is_named(kit: Kit) -> None:
    kit.publish(urls(range(40)))
    before = kit.objects()
    with pytest.raises(GuardsRefused) as caught:
        kit.publish(urls(range(5)) + WIDE)
    assert [finding.guard for finding in caught.value.findings] == ["shrink", *CODES]
    assert caught.value.code == "shrink"
    message = str(caught.value)
    assert all(f"--allow {code}" in message for code in ["shrink", *CODES])
    assert not any(word in message for word in ("google", "co.uk", "192.168", "intranet", "iana"))
    assert kit.objects() == before


def test_skip_bad_leaves_out_what_guards_of_entries_refuse(kit: Kit) -> None:
    kit.publish(urls(range(3)))
    done = kit.publish(urls(range(4)) + WIDE, skip_bad=True)
    assert (done.version, done.added, done.removed) == (2, 1, 0)
    assert [note for note in done.notes if "left out" in note] == [
        f"1 x {code} left out" for code in CODES
    ]
    assert kit.record(2).source["left_out"] == dict.fromkeys(CODES, 1)
    assert kit.record(2).overrides == ()


def test_skip_bad_keeps_what_is_allowed(kit: Kit) -> None:
    kit.publish(urls(range(3)))
    kit.publish(add=WIDE, skip_bad=True, allowed={"shared-platform": "court order"})
    assert kit.record(2).added == ("h drive.google.com",)
    (override,) = kit.record(2).overrides
    assert (override["guard"], override["reason"]) == ("shared-platform", "court order")


def test_what_is_listed_already_is_not_judged_again(kit: Kit) -> None:
    kit.publish(urls(range(3)) + WIDE, allowed=dict.fromkeys(CODES, "agreed"))
    assert kit.publish(urls(range(4)) + WIDE).added == 1
    assert kit.record(2).overrides == ()
    assert kit.publish(urls(range(4))).removed == 5


def test_the_test_entry_is_never_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An organisation may protect the name that its test host is below."""
    without_sync(monkeypatch)
    file = tmp_path / "protected.txt"
    file.write_text(".demo.example\n")
    kit = Kit.made(tmp_path, protected_file=str(file))
    assert kit.publish(urls(range(3)), skip_bad=True).added == 4
    with pytest.raises(GuardRefused, match="protected"):
        kit.publish(add="other.demo.example")


def test_a_guard_file_that_does_not_parse_stops_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_sync(monkeypatch)
    file = tmp_path / "allow.txt"
    file.write_text("good.example\n*.bad.example\n")
    kit = Kit.made(tmp_path, allow_file=str(file))
    before = kit.objects()
    with pytest.raises(InputError, match=r"(?s)allow\.txt .*line 2: expected no \*") as caught:
        kit.publish(urls(range(3)))
    assert "bad.example" not in str(caught.value)
    assert kit.objects() == before


def test_no_table_gives_the_defaults() -> None:
    assert Settings.from_table({}) == Settings()


def test_settings_are_read_and_whole_numbers_do_for_shares() -> None:
    read = Settings.from_table({"shrink_share": 1, "churn_entries": 7, "lock_seconds": 0.5})
    assert read == Settings(shrink_share=1.0, churn_entries=7, lock_seconds=0.5)
    assert isinstance(read.shrink_share, float)


def test_guard_files_begin_at_the_folder_of_the_configuration_file(tmp_path: Path) -> None:
    table = {"protected_file": "a.txt", "platforms_file": "/etc/b.txt", "allow_file": ""}
    read = Settings.from_table(table, tmp_path)
    assert read.protected_file == str(tmp_path / "a.txt")
    assert read.platforms_file == "/etc/b.txt"
    assert read.allow_file == ""


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
        {"protected_file": 1},
        {"allow_file": ["a.txt"]},
        {"platforms_file": "a\0b"},
        {"lock_seconds": 10**400},
    ],
)
def test_a_wrong_setting_is_refused_by_name(table: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"publisher\.") as caught:
        Settings.from_table(table)
    assert caught.value.exit_code == 2
