"""Records, `log` and `diff`: what happened can be told, and tampering with the account shows."""

import getpass
import gzip
import hashlib
import json
from pathlib import Path

import pytest

from blocklist.core.errors import FeedError, InputError, MalformedFeed, UnknownFormat, UnknownList
from blocklist.publisher import history, records
from blocklist.publisher.records import Record
from blocklist.store import layout
from signing.errors import TrustError
from tests.fakes import Fault, SimulatedCrash, fault_on, no_faults
from tests.publisher_kit import LIST, TEST_LINE, Kit, named, without_sync

LINE_A, LINE_B, LINE_C = "u a.example/x", "u b.example/y", "u c.example/z"


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    """Three releases: a, then a and b, then b and c."""
    without_sync(monkeypatch)
    kit = Kit.made(tmp_path)
    kit.publish("a.example/x", reason="the first")
    kit.clock.tick(hours=1)
    kit.publish(add="b.example/y")
    kit.clock.tick(hours=1)
    kit.publish(add="c.example/z", remove="a.example/x", reason="moved")
    return kit


def record_key(kit: Kit, version: int) -> str:
    return layout.record_key(LIST, records.digest(kit.record(version).to_bytes()))


def test_the_record_of_a_release_tells_who_what_when_why_and_from_which_source(kit: Kit) -> None:
    record = kit.record(3)
    assert (record.list, record.who, record.reason) == (LIST, "tester", "moved")
    assert record.created == kit.clock.now
    assert (record.added, record.removed, record.entries) == ((LINE_C,), (LINE_A,), 3)
    assert record.base == (2, kit.archive().role(2).digest)
    assert record.overrides == ()
    add, remove = record.source["files"]
    assert add["sha256"] == hashlib.sha256(b"c.example/z").hexdigest()
    assert (add["role"], add["bytes"], remove["role"]) == ("add", 11, "remove")
    assert record.digests == kit.publish(add="c.example/z").digests


def test_the_first_record_has_the_test_entry_and_no_base(kit: Kit) -> None:
    record = kit.record(1)
    assert record.base is None
    assert record.added == (TEST_LINE, LINE_A)


def test_records_lie_in_private_under_their_digest(kit: Kit) -> None:
    stored = {key: data for key, data in kit.objects().items() if "records" in key}
    assert len(stored) == 3
    for key, data in stored.items():
        assert key == f"private/records/demo/{hashlib.sha256(data).hexdigest()}.json.gz"


def test_no_listed_url_is_in_readable_metadata(kit: Kit) -> None:
    for key in named(kit.objects(), "feed/metadata/"):
        assert b"a.example" not in kit.objects()[key]


def test_a_record_survives_being_kept(kit: Kit) -> None:
    for version in (1, 2, 3):
        record = kit.record(version)
        assert Record.from_bytes(record.to_bytes()) == record
        assert record.to_bytes() == record.to_bytes()  # no time of compression in it


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no gzip",
        gzip.compress(b"{}", mtime=0)[:-3],
        gzip.compress(b"[]", mtime=0),
        gzip.compress(b"{", mtime=0),
    ],
)
def test_what_is_no_record_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedFeed):
        Record.from_bytes(data)


def test_a_record_of_a_newer_version_needs_a_newer_client(kit: Kit) -> None:
    document = json.loads(gzip.decompress(kit.record(1).to_bytes()))
    document["format"] = 2
    with pytest.raises(UnknownFormat):
        Record.from_bytes(gzip.compress(json.dumps(document).encode()))


def test_a_record_that_unpacks_to_too_much_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 10_000)
    with pytest.raises(MalformedFeed, match="at most"):
        Record.from_bytes(gzip.compress(b" " * 10_001))


def test_the_log_is_newest_first_with_counts(kit: Kit) -> None:
    log = history.log(kit.repository(), LIST)
    told = [(one.version, one.entries, one.added, one.removed) for one in log]
    assert told == [(3, 3, 1, 1), (2, 3, 1, 0), (1, 2, 2, 0)]
    assert [one.reason for one in log] == ["moved", None, "the first"]
    assert [one.created for one in log] == sorted((one.created for one in log), reverse=True)


@pytest.mark.parametrize("limit", [0, 1, 2, 9])
def test_the_log_can_be_cut_short(kit: Kit, limit: int) -> None:
    log = history.log(kit.repository(), LIST, limit)
    assert [one.version for one in log] == [3, 2, 1][:limit]


def test_a_short_log_does_not_read_older_records(kit: Kit) -> None:
    kit.memory.uproot(record_key(kit, 1))
    assert len(history.log(kit.repository(), LIST, 2)) == 2


def test_the_log_of_a_list_without_release_is_empty(kit: Kit) -> None:
    kit.create("new")
    assert history.log(kit.repository(), "new") == []


def test_the_log_of_an_unknown_list_is_an_error(kit: Kit) -> None:
    with pytest.raises(UnknownList):
        history.log(kit.repository(), "nosuch")


def test_the_log_skips_burned_numbers(kit: Kit) -> None:
    for number in (4, 5):
        kit.memory.plant(f"{layout.METADATA}{number}.demo.json", b"a vandal's")
    kit.publish(add="d.example/")
    assert [one.version for one in history.log(kit.repository(), LIST)] == [6, 3, 2, 1]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_missing_record_is_noticed_by_log_and_fsck(kit: Kit, version: int) -> None:
    kit.memory.uproot(record_key(kit, version))
    with pytest.raises(MalformedFeed, match="missing") as caught:
        history.log(kit.repository(), LIST)
    assert caught.value.exit_code == 14
    (problem,) = kit.problems()
    assert problem.startswith(f"demo version {version}")


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("how", ["rewritten", "flipped", "truncated", "swapped"])
def test_an_altered_record_is_noticed_by_log_and_fsck(kit: Kit, version: int, how: str) -> None:
    """Also when the account is rewritten by somebody who knows the format."""
    key, record = record_key(kit, version), kit.record(version)
    data = record.to_bytes()
    other = kit.record(version % 3 + 1).to_bytes()
    document = json.loads(gzip.decompress(data))
    document["who"] = "somebody else"
    rewritten = gzip.compress(json.dumps(document).encode(), mtime=0)
    altered = {
        "rewritten": rewritten,
        "flipped": data[:30] + bytes([data[30] ^ 1]) + data[31:],
        "truncated": data[:-1],
        "swapped": other,
    }
    kit.memory.plant(key, altered[how])
    with pytest.raises(MalformedFeed, match="altered"):
        history.log(kit.repository(), LIST)
    (problem,) = kit.problems()
    assert problem.startswith(f"demo version {version}")


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_release_put_under_another_number_breaks_the_chain(kit: Kit, version: int) -> None:
    files = {n: kit.metadata(f"{n}.demo.json") for n in (1, 2)}
    kit.memory.plant(f"{layout.METADATA}{version}.demo.json", files[3 - version])
    with pytest.raises((FeedError, TrustError)):
        history.log(kit.repository(), LIST)
    assert kit.problems()


def test_a_release_that_was_signed_but_never_live_cannot_be_slipped_into_the_chain(
    kit: Kit,
) -> None:
    """The chain names digests: another well signed version is not the one that was built on."""
    kit.memory.faults = fault_on(layout.TIMESTAMP, Fault.CRASH_BEFORE)
    with pytest.raises(SimulatedCrash):
        kit.publish(add="never.example/live")
    kit.memory.faults = no_faults
    kit.publish(add="d.example/")
    fork = kit.metadata("4.demo.json")
    assert [one.version for one in history.log(kit.repository(), LIST)] == [5, 3, 2, 1]
    kit.memory.plant(f"{layout.METADATA}3.demo.json", fork)
    with pytest.raises(FeedError):
        history.log(kit.repository(), LIST)


@pytest.mark.parametrize(
    ("old", "new", "add", "remove"),
    [
        (1, 2, (LINE_B,), ()),
        (2, 3, (LINE_C,), (LINE_A,)),
        (1, 3, (LINE_B, LINE_C), (LINE_A,)),
        (3, 1, (LINE_A,), (LINE_B, LINE_C)),
        (0, 1, (TEST_LINE, LINE_A), ()),
        (1, 0, (), (TEST_LINE, LINE_A)),
        (2, 2, (), ()),
        (0, 0, (), ()),
    ],
)
def test_diff_is_what_comes_and_goes(
    kit: Kit, old: int, new: int, add: tuple[str, ...], remove: tuple[str, ...]
) -> None:
    assert history.diff(kit.repository(), LIST, old, new) == history.Difference(add, remove)


@pytest.mark.parametrize(("old", "new"), [(-1, 1), (1, 4), (4, 1), (10**18, 0), (3, -3)])
def test_diff_of_a_version_out_of_range_is_bad_input(kit: Kit, old: int, new: int) -> None:
    with pytest.raises(InputError, match="from 0 to 3") as caught:
        history.diff(kit.repository(), LIST, old, new)
    assert caught.value.exit_code == 2


def test_diff_of_a_list_without_release_knows_version_0_only(kit: Kit) -> None:
    kit.create("new")
    assert history.diff(kit.repository(), "new", 0, 0) == history.Difference((), ())
    with pytest.raises(InputError, match="from 0 to 0"):
        history.diff(kit.repository(), "new", 0, 1)


def test_diff_of_a_burned_number_is_bad_input(kit: Kit) -> None:
    kit.memory.plant(f"{layout.METADATA}4.demo.json", b"a vandal's")
    kit.publish(add="d.example/")
    with pytest.raises(InputError, match="version 4 was never released"):
        history.diff(kit.repository(), LIST, 4, 5)
    assert history.diff(kit.repository(), LIST, 3, 5).add == ("u d.example/",)


def test_diff_of_what_a_crash_left_is_bad_input_however_well_it_is_signed(kit: Kit) -> None:
    """A burned number must not look like a release: nobody ever had that list."""
    kit.memory.faults = fault_on(layout.TIMESTAMP, Fault.CRASH_BEFORE)
    with pytest.raises(SimulatedCrash):
        kit.publish(add="never.example/live")
    kit.memory.faults = no_faults
    kit.publish(add="d.example/")
    assert kit.metadata("4.demo.json")
    with pytest.raises(InputError, match="version 4 was never released"):
        history.diff(kit.repository(), LIST, 4, 5)


def test_diff_of_a_release_whose_objects_are_gone_says_so(kit: Kit) -> None:
    kit.memory.uproot(f"{layout.METADATA}1.demo.json")
    with pytest.raises(InputError, match="version 1"):
        history.diff(kit.repository(), LIST, 1, 2)


def test_messages_of_diff_and_log_hold_no_listed_url(kit: Kit) -> None:
    kit.memory.plant(record_key(kit, 2), b"x")
    for work in (
        lambda: history.log(kit.repository(), LIST),
        lambda: history.diff(kit.repository(), LIST, 1, 9),
    ):
        with pytest.raises((InputError, FeedError)) as caught:
            work()
        assert ".example" not in str(caught.value)
        assert getpass.getuser() not in str(caught.value)
