"""The index over the records: what it answers, and that it is never wrong, lost or in the way."""

import random
import sqlite3
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest

from blocklist.core.errors import (
    Busy,
    DigestMismatch,
    InputError,
    LocalError,
    MalformedFeed,
    UnknownList,
)
from blocklist.publisher import index as indexing
from blocklist.publisher.index import Index, Range, open_index
from blocklist.store.locks import file_lock
from tests.fakes import SimulatedCrash
from tests.history_kit import Past
from tests.publisher_kit import LIST, TEST_LINE, Kit, without_sync

A, B, C = "u a.example/x", "h b.example", "d c.example"


@pytest.fixture(autouse=True)
def _without_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sync(monkeypatch)


@pytest.fixture
def past(tmp_path: Path) -> Past:
    """Version 1 has the test entry; A comes, is withdrawn, comes back, goes; B is withdrawn."""
    past = Past.made(tmp_path)
    past.release(added=[A, B], reason="weekly", reasons={A: "case 7"})  # 2
    past.release(removed=[A], operation="withdraw", reason="mistaken")  # 3
    past.release(added=[A, C], version=7)
    past.release(removed=[A], reasons={A: "gone"}, reason="clean-up")  # 8
    past.release(removed=[B], operation="withdraw", reason="mistaken too")  # 9
    past.commit()
    return past


def at(past: Past) -> Path:
    return past.kit.folder / "home" / "index" / f"{LIST}.sqlite"


def ranges(index: Index, *lines: str) -> list[tuple[str, int, int | None]]:
    return [(one.line.decode(), one.first, one.last) for one in index.ranges(encoded(lines))]


def encoded(lines: Iterable[str]) -> set[bytes]:
    return {line.encode() for line in lines}


def reads(past: Past, part: str) -> int:
    return sum(part in done.key for done in past.kit.memory.journal if done.op == "get")


def test_ranges_tell_from_when_to_when_an_entry_was_listed_and_why(past: Past) -> None:
    with open_index(past.kit.repository(), LIST) as index:
        found = index.ranges(encoded([A]))
        assert ranges(index, A, C) == [(A, 2, 2), (C, 7, None), (A, 7, 7)]
    created = {version: role.signed.targets for version, role in past.roles.items()}
    assert len(created) == 6
    first, second = found
    assert (first.reason, second.reason) == ("case 7", None)
    assert first.removal is not None
    assert (first.removal.version, first.removal.operation) == (3, "withdraw")
    assert first.removal.reason == "mistaken"
    assert first.removal.created - first.first_created == timedelta(minutes=2)
    assert first.last_created == first.first_created
    assert second.removal is not None
    assert (second.removal.version, second.removal.reason) == (8, "gone")


def test_a_range_ends_with_the_last_release_that_held_it_not_with_a_missing_number(
    past: Past,
) -> None:
    past.release(removed=[C], version=12)
    past.commit()
    with open_index(past.kit.repository(), LIST) as index:
        assert ranges(index, C) == [(C, 7, 9)]


def test_what_was_withdrawn_and_is_not_listed(past: Past) -> None:
    with open_index(past.kit.repository(), LIST) as index:
        assert index.withdrawn() == encoded([B])  # A was removed for another reason after that
        assert index.withdrawn_since(0) == encoded([A, B])
        assert index.withdrawn_since(2) == encoded([A, B])
        assert index.withdrawn_since(3) == encoded([B])
        assert index.withdrawn_since(9) == frozenset()


def test_what_is_listed_again_is_not_withdrawn(past: Past) -> None:
    past.release(added=[A, B])
    past.commit()
    with open_index(past.kit.repository(), LIST) as index:
        assert index.withdrawn() == index.withdrawn_since(0) == frozenset()


def test_removed_tells_the_last_removal_of_what_is_not_listed(past: Past) -> None:
    with open_index(past.kit.repository(), LIST) as index:
        found = index.removed(encoded([A, B, C, TEST_LINE, "h never.example"]))
    told = {line.decode(): (one.version, one.operation, one.reason) for line, one in found.items()}
    assert told == {A: (8, "publish", "gone"), B: (9, "withdraw", "mistaken too")}


@pytest.mark.parametrize(
    ("version", "lines"),
    [
        (0, []),
        (1, [TEST_LINE]),
        (2, [TEST_LINE, A, B]),
        (3, [TEST_LINE, B]),
        (7, [TEST_LINE, A, B, C]),
        (9, [TEST_LINE, C]),
    ],
)
def test_the_lines_of_a_version_are_what_the_records_add_up_to(
    past: Past, version: int, lines: list[str]
) -> None:
    with open_index(past.kit.repository(), LIST) as index:
        assert index.lines_at(version) == encoded(lines)


@pytest.mark.parametrize("version", [-1, 4, 6, 10])
def test_the_lines_of_what_was_never_released_are_bad_input(past: Past, version: int) -> None:
    with (
        open_index(past.kit.repository(), LIST) as index,
        pytest.raises(InputError, match="never released"),
    ):
        index.lines_at(version)


def test_has_ever_finds_what_begins_so_at_any_time(past: Past) -> None:
    with open_index(past.kit.repository(), LIST) as index:
        assert index.has_ever(b"u a.example/")
        assert not index.has_ever(b"u a.exampl/")
        assert not index.has_ever(b"p a.example/")


def test_the_index_is_as_of_the_head_that_it_is_opened_with(past: Past) -> None:
    """Another command may have released meanwhile; its index must not answer for ours."""
    head = past.kit.head()
    past.release(added=[B], removed=[C], operation="withdraw")
    past.commit()
    with open_index(past.kit.repository(), LIST) as newer:
        assert newer.version == 10
        assert newer.withdrawn() == encoded([C])
    with open_index(past.kit.repository(), LIST, head=head) as index:
        assert index.version == 9
        assert index.withdrawn() == encoded([B])
        assert ranges(index, B, C) == [(B, 2, 8), (C, 7, None)]
        assert set(index.removed(encoded([A, B, C]))) == encoded([A, B])
        with pytest.raises(InputError):
            index.lines_at(10)


def test_the_index_of_a_list_without_release_is_empty(past: Past) -> None:
    past.kit.create("new")
    with open_index(past.kit.repository(), "new") as index:
        assert (index.version, index.lines_at(0), index.withdrawn()) == (0, set(), frozenset())
        assert index.ranges(encoded([A])) == []


def test_an_unknown_list_is_bad_input(past: Past) -> None:
    with pytest.raises(UnknownList), open_index(past.kit.repository(), "nosuch"):
        pass


def test_releases_of_the_publisher_are_indexed_like_any(tmp_path: Path) -> None:
    kit = Kit.made(tmp_path)
    kit.publish("a.example/x\nb.example", reason="the first")
    kit.publish(add=".c.example", remove="b.example", reason="moved")
    with open_index(kit.repository(), LIST) as index:
        assert ranges(index, A, B, C) == [(B, 1, 1), (A, 1, None), (C, 2, None)]
        assert {line.decode() for line in index.lines_at(2)} == set(kit.lines(2))


def test_only_its_owner_can_read_the_index(past: Past) -> None:
    with open_index(past.kit.repository(), LIST):
        pass
    assert at(past).stat().st_mode & 0o777 == 0o600
    assert at(past).parent.stat().st_mode & 0o777 == 0o700


# Up to date, at the cost of what is new.


def test_opening_it_again_reads_no_record(past: Past) -> None:
    with open_index(past.kit.repository(), LIST):
        pass
    before = reads(past, "private/records")
    with open_index(past.kit.repository(), LIST) as index:
        assert index.ranges(encoded([A]))
    assert reads(past, "private/records") == before


def test_only_new_releases_are_read(past: Past) -> None:
    with open_index(past.kit.repository(), LIST):
        pass
    before = reads(past, "private/records")
    past.release(added=["h e.example"])
    past.release(added=["h f.example"])
    past.commit()
    with open_index(past.kit.repository(), LIST) as index:
        assert ranges(index, "h f.example") == [("h f.example", 11, None)]
    assert reads(past, "private/records") == before + 2


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_an_interrupted_build_is_continued(
    past: Past, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "BATCH_RELEASES", batch)
    put = indexing.IndexFile.put
    puts = 0

    def killed(*given: object) -> None:
        nonlocal puts
        puts += 1
        if puts == 2:
            raise SimulatedCrash
        put(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(indexing.IndexFile, "put", killed)
        with pytest.raises(SimulatedCrash), open_index(past.kit.repository(), LIST):
            pass
    before = reads(past, "private/records")
    with open_index(past.kit.repository(), LIST) as index:
        assert ranges(index, A) == [(A, 2, 2), (A, 7, 7)]
    assert reads(past, "private/records") == before + len(past.roles) - batch


@pytest.mark.parametrize("version", [1, 3, 9])
@pytest.mark.parametrize("how", ["missing", "altered"])
def test_a_lost_record_stops_it_and_what_is_older_stays(
    past: Past, version: int, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "BATCH_RELEASES", 1)
    key = past.record_key(version)
    data = past.kit.memory.objects[key]
    if how == "missing":
        past.kit.memory.uproot(key)
    else:
        past.kit.memory.plant(key, past.kit.memory.objects[past.record_key(2)])
    with pytest.raises(MalformedFeed, match=how), open_index(past.kit.repository(), LIST):
        pass
    past.kit.memory.plant(key, data)
    before = reads(past, "private/records")
    with open_index(past.kit.repository(), LIST) as index:
        assert index.withdrawn() == encoded([B])
    again = [one for one in past.roles if one >= version]
    assert reads(past, "private/records") == before + len(again)


def test_with_a_lost_record_the_index_can_still_answer_from_what_is_older(past: Past) -> None:
    past.kit.memory.uproot(past.record_key(8))
    for _ in range(2):
        with open_index(past.kit.repository(), LIST, partly=True) as index:
            assert index.withdrawn_since(0) == frozenset()
            assert ranges(index, A) == [(A, 2, 2), (A, 7, None)]
    with pytest.raises(MalformedFeed), open_index(past.kit.repository(), LIST):
        pass


def test_with_a_lost_role_file_the_index_answers_from_what_it_holds(past: Past) -> None:
    past.kit.memory.uproot(past.role_key(1))
    with open_index(past.kit.repository(), LIST, partly=True) as index:
        assert ranges(index, A) == []
    past.kit.memory.plant(past.role_key(1), past.roles[1].data)
    before = whole(past)
    past.release()
    past.release()
    past.commit()
    past.kit.memory.uproot(past.role_key(10))
    with open_index(past.kit.repository(), LIST, partly=True) as index:
        assert index.ranges(encoded([TEST_LINE, A, B, C])) == before


def test_an_altered_role_file_stops_it(past: Past) -> None:
    past.kit.memory.plant(past.role_key(3), past.roles[2].data)
    with pytest.raises(DigestMismatch), open_index(past.kit.repository(), LIST):
        pass


@pytest.mark.parametrize(
    ("added", "removed"), [([A, C], []), ([], [A, "h never.example"]), ([], [B])]
)
def test_records_that_contradict_each_other_are_refused(
    past: Past, added: list[str], removed: list[str]
) -> None:
    """They are signed, so nobody may take the one half and drop the other."""
    past.release(added=added, removed=removed)
    past.commit()
    with pytest.raises(MalformedFeed, match="version 10"), open_index(past.kit.repository(), LIST):
        pass


def test_one_command_at_a_time_brings_it_up_to_date(past: Past) -> None:
    repository = past.kit.repository()
    past.kit.settings = repository.settings.__class__(lock_seconds=0.05)
    lock = repository.home.index() / f"{LIST}.lock"
    with (
        file_lock(lock, wait_seconds=0, what="it"),
        pytest.raises(Busy),
        open_index(past.kit.repository(), LIST),
    ):
        pass


# Lost, damaged, of another history: made again.


def whole(past: Past) -> list[Range]:
    with open_index(past.kit.repository(), LIST) as index:
        return index.ranges(encoded([TEST_LINE, A, B, C]))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no database, but as long as a header of one" * 9),
        lambda path: path.write_bytes(path.read_bytes()[:4096]),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 60_000),
        lambda path: drop(path, "ranges"),
        lambda path: drop(path, "releases"),
        lambda path: statement(path, "PRAGMA user_version = 99"),
        lambda path: statement(path, "UPDATE about SET list = 'other'"),
        lambda path: statement(path, "DELETE FROM about"),
    ],
)
def test_a_lost_or_damaged_index_is_made_again(past: Past, damage: object) -> None:
    before = whole(past)
    damage(at(past))  # type: ignore[operator]
    assert whole(past) == before
    assert at(past).stat().st_mode & 0o777 == 0o600


def test_damage_that_shows_only_in_a_query_is_mended_too(past: Past) -> None:
    with open_index(past.kit.repository(), LIST) as index:
        before = index.ranges(encoded([A, B]))
        drop(at(past), "ranges")
        assert index.ranges(encoded([A, B])) == before


def drop(path: Path, table: str) -> None:
    statement(path, f"DROP TABLE {table}")


def statement(path: Path, sql: str) -> None:
    db = sqlite3.connect(path)
    db.execute(sql)
    db.commit()
    db.close()


def test_the_index_of_another_repository_is_made_again(past: Past, tmp_path: Path) -> None:
    other = Past.made(tmp_path / "other")
    for number in range(9):
        other.release(added=[f"h site-{number}.example"])
    other.commit()
    theirs = whole(other)
    whole(past)
    at(other).write_bytes(at(past).read_bytes())
    assert whole(other) == theirs


@pytest.mark.parametrize("known", [3, 8])
def test_the_index_of_a_history_that_forked_is_made_again(
    tmp_path: Path, past: Past, known: int
) -> None:
    """The storage was restored from an older backup and went on from there, by other numbers."""
    whole(past)
    with sqlite3.connect(at(past)) as db:
        db.execute("UPDATE releases SET role = ? WHERE version >= ?", ("0" * 64, known))
        db.execute("DELETE FROM ranges WHERE start >= ?", (known,))
    db.close()
    with open_index(past.kit.repository(), LIST) as index:
        assert ranges(index, A, B) == [(B, 2, 8), (A, 2, 2), (A, 7, 7)]


def test_an_index_newer_than_the_history_is_made_again(past: Past) -> None:
    whole(past)
    statement(at(past), f"UPDATE releases SET version = 50, role = '{'1' * 64}' WHERE version = 9")
    with open_index(past.kit.repository(), LIST) as index:
        assert ranges(index, B) == [(B, 2, 8)]


def test_a_folder_in_the_way_is_a_local_error(past: Past) -> None:
    path = past.kit.repository().home.index() / f"{LIST}.sqlite"
    path.mkdir()
    with pytest.raises(LocalError), open_index(past.kit.repository(), LIST):
        pass


# Many.


def test_two_thousand_releases_with_gaps_agree_with_a_plain_replay(tmp_path: Path) -> None:
    rng = random.Random(7)
    past = Past.made(tmp_path, signed=False, exact=False)
    pool = [f"h site-{number}.example" for number in range(300)]
    listed: dict[int, set[str]] = {1: set(past.lines)}
    removed_by: dict[str, str] = {}
    for _ in range(2_000):
        gone = set(rng.sample(sorted(past.lines - {TEST_LINE}), k=min(3, len(past.lines) - 1)))
        new = set(rng.sample(pool, k=5)) - past.lines
        operation = rng.choice(["publish", "publish", "withdraw"])
        step = rng.choice([1, 1, 1, 2, 40])
        assert past.prev is not None
        version = past.release(new, gone, version=past.prev[0] + step, operation=operation)
        listed[version] = set(past.lines)
        removed_by |= dict.fromkeys(gone, operation)
    past.commit()
    withdrawn = {
        line for line, how in removed_by.items() if how == "withdraw" and line not in past.lines
    }
    with open_index(past.kit.repository(), LIST) as index:
        assert index.withdrawn() == encoded(withdrawn)
        for version in rng.sample(sorted(listed), 20):
            assert index.lines_at(version) == encoded(listed[version])
        for line in rng.sample(pool, 20):
            held = {version for version, lines in listed.items() if line in lines}
            told = index.ranges({line.encode()})
            newest = index.version
            covered = {
                version
                for one in told
                for version in listed
                if one.first <= version <= (one.last or newest)
            }
            assert covered == held
