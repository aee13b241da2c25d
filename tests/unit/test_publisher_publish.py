"""Publishing: whole lists and changes, what is refused, and what a refusal leaves untouched."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blocklist.core.entries import Feed
from blocklist.core.errors import BadSource, DigestMismatch, GuardRefused, InputError
from blocklist.core.hashing import HashKey
from blocklist.core.private import ListSecret
from blocklist.publisher.publish import publish
from blocklist.publisher.request import Options, read_request
from blocklist.store import layout
from signing.roles import targets_of
from tests.publisher_kit import LIST, TEST_LINE, Kit, without_sync

A, B, C = "http://a.example/x", "http://b.example/y", "http://c.example/z"
LINE_A, LINE_B, LINE_C = "u a.example/x", "u b.example/y", "u c.example/z"


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    without_sync(monkeypatch)
    return Kit.made(tmp_path)


def source(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


def untouched(kit: Kit, error: type[Exception], match: str, **publish: Any) -> Exception:
    """Publish, expect this error, and that the storage is as it was."""
    before = kit.objects()
    with pytest.raises(error, match=match) as caught:
        kit.publish(**publish)
    assert kit.objects() == before
    return caught.value


def test_a_whole_list_is_what_the_file_says_and_the_test_entry(kit: Kit) -> None:
    done = kit.publish(source(A, B))
    assert (done.list, done.version, done.unchanged) == (LIST, 1, False)
    assert (done.entries, done.added, done.removed) == (3, 3, 0)
    assert kit.lines(1) == [TEST_LINE, LINE_A, LINE_B]
    done = kit.publish(source(B, C))
    assert (done.version, done.entries, done.added, done.removed) == (2, 3, 1, 1)
    assert kit.lines(2) == [TEST_LINE, LINE_B, LINE_C]


def test_the_digests_are_those_of_the_signed_list_targets(kit: Kit) -> None:
    done = kit.publish(source(A))
    signed = targets_of(kit.head().roles[LIST].signed)
    assert done.digests == {
        feed.value: signed[layout.target_path(LIST, feed, "list")].sha256 for feed in Feed
    }


def test_entries_are_added(kit: Kit) -> None:
    kit.publish(source(A))
    done = kit.publish(add=source(B, C))
    assert (done.version, done.added, done.removed) == (2, 2, 0)
    assert kit.lines(2) == [TEST_LINE, LINE_A, LINE_B, LINE_C]


def test_entries_are_removed(kit: Kit) -> None:
    kit.publish(source(A, B))
    done = kit.publish(remove=source(A))
    assert (done.version, done.added, done.removed) == (2, 0, 1)
    assert kit.lines(2) == [TEST_LINE, LINE_B]


def test_entries_are_added_and_removed_in_one_release(kit: Kit) -> None:
    kit.publish(source(A, B))
    done = kit.publish(add=source(C), remove=source(B))
    assert (done.version, done.added, done.removed) == (2, 1, 1)
    assert kit.lines(2) == [TEST_LINE, LINE_A, LINE_C]


def test_several_files_of_changes_make_one_release(kit: Kit) -> None:
    request = read_request(LIST, None, [("1", A.encode()), ("2", B.encode())], [], Options())
    assert publish(kit.repository(), request).version == 1
    assert kit.lines(1) == [TEST_LINE, LINE_A, LINE_B]


def test_the_first_release_may_be_an_addition(kit: Kit) -> None:
    done = kit.publish(add=source(A))
    assert (done.version, done.entries, done.added) == (1, 2, 2)
    assert kit.lines(1) == [TEST_LINE, LINE_A]


@pytest.mark.parametrize(
    "asked",
    [{"whole": "a.example/x", "add": "b.example/y"}, {"whole": "a.example/", "remove": ""}],
)
def test_a_request_is_a_whole_list_or_changes(kit: Kit, asked: dict[str, str]) -> None:
    error = untouched(kit, InputError, "either", **asked)
    assert isinstance(error, InputError)
    assert error.exit_code == 2


def test_a_request_without_sources_asks_for_the_list_as_it_is(kit: Kit) -> None:
    """Before the first release that is nothing at all; afterwards it only ever renews."""
    untouched(kit, GuardRefused, "empty")
    kit.publish(source(A))
    done = kit.publish()
    assert (done.version, done.unchanged) == (1, True)


def test_what_may_not_be_meant_is_said(kit: Kit) -> None:
    done = kit.publish(source("http://a.example/"))
    assert any("root pages" in note for note in done.notes)


def test_an_empty_whole_list_is_a_whole_list(kit: Kit) -> None:
    untouched(kit, GuardRefused, "empty", whole="")


@pytest.mark.parametrize(
    "again",
    [
        {"whole": source(A, B)},
        {"whole": source(B, A, A, "# comment", "")},
        {"add": source(A)},
        {"remove": source(C), "ignore_missing": True},
    ],
)
def test_an_unchanged_list_makes_no_version(kit: Kit, again: dict[str, Any]) -> None:
    kit.publish(source(A, B))
    before = kit.objects()
    done = kit.publish(**again)
    assert (done.version, done.unchanged, done.entries) == (1, True, 3)
    assert (done.added, done.removed) == (0, 0)
    assert kit.objects() == before


def test_an_unchanged_list_is_renewed_under_half_of_its_life(kit: Kit) -> None:
    first = kit.publish(source(A))
    kit.clock.tick(days=44)
    assert kit.publish(source(A)).version == 1
    kit.clock.tick(days=6)
    done = kit.publish(source(A))
    assert (done.version, done.unchanged, done.added, done.removed) == (2, True, 0, 0)
    assert done.digests == first.digests
    role = kit.head().roles[LIST]
    assert (role.signed.expires - kit.clock.now).days == 90
    assert kit.problems() == []


def test_a_renewal_by_changes_that_change_nothing_works_too(kit: Kit) -> None:
    kit.publish(source(A))
    kit.clock.tick(days=50)
    assert kit.publish(add=source(A)).version == 2


def test_a_list_that_expired_long_ago_can_be_released_again(kit: Kit) -> None:
    kit.publish(source(A))
    kit.clock.tick(days=200)
    assert kit.publish(add=source(B)).version == 2
    assert kit.problems() == []


def test_the_test_entry_is_not_lost_by_whole_files(kit: Kit) -> None:
    for lines in ((A,), (B,), (A, C)):
        done = kit.publish(source(*lines))
        assert done.version is not None
        assert TEST_LINE in kit.lines(done.version)


def test_the_test_entry_cannot_be_removed(kit: Kit) -> None:
    kit.publish(source(A))
    error = untouched(kit, InputError, "test entry", remove="test-entry.demo.example")
    assert "demo.example" not in str(error)


def test_the_test_entry_in_a_source_is_no_second_one(kit: Kit) -> None:
    done = kit.publish(source(A, "test-entry.demo.example"))
    assert done.entries == 2


def test_adding_what_is_listed_is_counted(kit: Kit) -> None:
    kit.publish(source(A, B))
    done = kit.publish(add=source(A, B, C))
    assert (done.version, done.added) == (2, 1)
    assert "2 entries to add were listed already" in done.notes


def test_removing_what_is_not_listed_is_refused(kit: Kit) -> None:
    kit.publish(source(A))
    error = untouched(kit, InputError, "1 entries to remove are not listed", remove=source(A, B))
    assert "b.example" not in str(error)
    assert isinstance(error, InputError)
    assert error.exit_code == 2


def test_removing_what_is_not_listed_can_be_ignored_and_is_counted(kit: Kit) -> None:
    kit.publish(source(A, C))
    done = kit.publish(remove=source(A, B), ignore_missing=True)
    assert (done.version, done.removed) == (2, 1)
    assert "1 entries to remove were not listed" in done.notes
    assert kit.lines(2) == [TEST_LINE, LINE_C]


def test_a_narrower_entry_is_not_removed_by_a_wider_one(kit: Kit) -> None:
    """Entries are removed as they are written; nothing is implied."""
    kit.publish(source(A, B))
    untouched(kit, InputError, "not listed", remove="a.example")


def test_the_same_entry_added_and_removed_is_refused(kit: Kit) -> None:
    kit.publish(source(A))
    error = untouched(
        kit, InputError, "added and removed, got 1", add=source(B, C), remove=source(C)
    )
    assert isinstance(error, InputError)
    assert error.exit_code == 2
    assert "c.example" not in str(error)


def test_one_bad_line_refuses_the_release_and_is_named_by_number(kit: Kit) -> None:
    error = untouched(kit, BadSource, "line 2", whole=source(A, "*.secret.example", B))
    assert str(error).startswith("whole.txt: ")
    assert "secret" not in str(error)
    assert isinstance(error, BadSource)
    assert error.exit_code == 2


def test_bad_lines_can_be_left_out_and_are_counted(kit: Kit) -> None:
    bad = ("*.x.example", "http://p.example:8080/", "http://")
    done = kit.publish(source(A, *bad), skip_bad=True)
    assert done.entries == 2
    skipped = kit.record(1).source["files"][0]["skipped"]
    assert sum(skipped.values()) == 3
    assert sum("skipped" in note for note in done.notes) == len(skipped)


def test_ports_can_be_dropped_and_are_counted(kit: Kit) -> None:
    untouched(kit, BadSource, "port", whole=source("http://p.example:8080/x"))
    done = kit.publish(source("http://p.example:8080/x", A), drop_ports=True)
    assert "u p.example/x" in kit.lines(1)
    assert kit.record(1).source["files"][0]["dropped"] == {"port": 1}
    assert "1 x port dropped" in done.notes


def test_duplicates_are_counted(kit: Kit) -> None:
    done = kit.publish(source(A, A, A, B))
    assert "2 duplicate lines" in done.notes
    assert kit.record(1).source["files"][0]["duplicates"] == 2


def test_csv_brings_reasons_into_the_record(kit: Kit) -> None:
    kit.publish("url,reason\nhttp://a.example/x,ticket 7\n", format="csv")
    assert kit.record(1).reasons == {LINE_A: "ticket 7"}


@pytest.mark.parametrize(
    "asked",
    [{"whole": source(B)}, {"add": source(B)}, {"remove": source(A)}],
)
def test_a_dry_run_says_what_would_be_and_writes_nothing(kit: Kit, asked: dict[str, str]) -> None:
    kit.publish(source(A, C))
    before, writes = kit.objects(), len(kit.memory.writes)
    would = kit.publish(**asked, dry_run=True)
    assert kit.objects() == before
    assert len(kit.memory.writes) == writes
    assert would.version == 1
    did = kit.publish(**asked)
    assert did.version == 2
    assert replace(would, version=2, stored=did.stored) == did


def test_a_first_dry_run_has_no_version(kit: Kit) -> None:
    before = kit.objects()
    assert kit.publish(source(A), dry_run=True).version is None
    assert kit.objects() == before


def test_a_dry_run_is_refused_as_the_run_would_be(kit: Kit) -> None:
    untouched(kit, GuardRefused, "empty", whole="", dry_run=True)


def test_lists_do_not_disturb_each_other(kit: Kit) -> None:
    kit.create("other")
    kit.publish(source(A))
    kit.publish(source(B), name="other")
    kit.publish(source(A, C))
    assert kit.lines(1, "other") == ["h test-entry.other.example", LINE_B]
    assert kit.head().roles["other"].version == 1
    assert kit.head().roles[LIST].version == 2


def test_both_feeds_have_the_same_entries_under_the_same_version(kit: Kit) -> None:
    done = kit.publish(source(A, B, "host.example", ".domain.example"))
    archive = kit.archive()
    hashed = archive.content(Feed.HASHED, 1)
    assert len(hashed) == 16 * done.entries
    assert archive.release(Feed.HASHED, 1).facts.entries == done.entries
    assert archive.release(Feed.CLEAR, 1).facts.hash_key_id is None
    key = kit.repository().secret(LIST).first_key
    assert archive.release(Feed.HASHED, 1).facts.hash_key_id == key.id


def test_a_release_names_its_predecessor(kit: Kit) -> None:
    kit.publish(source(A))
    first = kit.head().roles[LIST].digest
    kit.publish(source(B))
    assert kit.archive().release(Feed.CLEAR, 2).facts.prev == (1, first)
    assert kit.archive().release(Feed.CLEAR, 1).facts.prev is None


def test_signed_facts_are_ascii_without_floats(kit: Kit) -> None:
    """Every TUF implementation has to agree on the canonical JSON."""
    kit.publish(source(A))
    data = kit.metadata("1.demo.json")
    assert data.isascii()

    def refuse(text: str) -> float:
        raise AssertionError(f"a float: {text}")

    custom = json.loads(data, parse_float=refuse)["signed"]["targets"]["demo/clear/list"]["custom"]
    assert custom["created"] == kit.clock.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert set(custom) == {"canonical", "created", "entries", "record"}


def alter_secret(kit: Kit, **changes: Any) -> None:
    secret = replace(kit.repository().secret(LIST), **changes)
    kit.memory.plant(layout.list_secret_key(LIST), secret.to_bytes())


@pytest.mark.parametrize(
    "changes", [{"test_host": "victim.example"}, {"hash_keys": (HashKey(b"k" * 32),)}]
)
def test_secrets_that_the_storage_altered_are_not_published(
    kit: Kit, changes: dict[str, Any]
) -> None:
    """Secrets are not signed: a changed test host would become a signed entry of its choice."""
    kit.publish(source(A))
    alter_secret(kit, **changes)
    error = untouched(kit, DigestMismatch, "secrets of demo", add=source(B))
    assert isinstance(error, DigestMismatch)
    assert error.exit_code == 13
    assert "victim" not in str(error)


def test_secrets_of_another_list_are_refused(kit: Kit) -> None:
    kit.create("other")
    secret: ListSecret = kit.repository().secret("other")
    kit.memory.plant(layout.list_secret_key(LIST), secret.to_bytes())
    untouched(kit, Exception, "another list", whole=source(A))


def test_an_object_that_already_lies_there_altered_is_refused(kit: Kit) -> None:
    """Bytes under a digest that is not theirs are never adopted, whatever their size."""
    done = kit.publish(source(A))
    key = layout.target_key("demo/clear/list", done.digests["clear"])
    kit.publish(source(B))
    good = kit.objects()[key]
    for bad in (b"x" * len(good), good + b"longer", b""):
        kit.memory.plant(key, bad)
        untouched(kit, DigestMismatch, "fsck", whole=source(A))
