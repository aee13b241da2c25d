"""gc: only what nobody needs goes, and whoever needs anything still gets it."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from blocklist.core.entries import Feed
from blocklist.core.errors import Busy, InputError, MalformedFeed, StoreUnreachable
from blocklist.publisher import history
from blocklist.publisher.curation.candidate import Candidate
from blocklist.publisher.keeping import gc
from blocklist.publisher.settings import Settings
from blocklist.store import layout
from signing import names
from signing.errors import Stale
from signing.roles import new_delegated
from tests.curation_kit import Team
from tests.fakes import Fault, FaultyStore, SimulatedCrash, fault_at
from tests.keep_kit import aged, catch_up, copied, later, made
from tests.publisher_kit import LIST, Kit, named, urls, without_sync

RELEASES, KEPT = 40, 8


@pytest.fixture(scope="module", name="old")
def _old(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """Forty releases, the last of them two days ago, of which eight are kept. Left as found."""
    with pytest.MonkeyPatch.context() as patch:
        without_sync(patch)
        kit = aged(tmp_path_factory.mktemp("gc"), RELEASES, keep_versions=KEPT, keep_days=0)
        later(kit, days=2.1)
    return kit


@pytest.fixture(name="kit")
def _kit(old: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    without_sync(monkeypatch)
    return copied(old, tmp_path / "copy")


def contents(kit: Kit, feed: Feed) -> dict[int, bytes]:
    archive = kit.archive()
    return {version: archive.content(feed, version) for version in range(1, RELEASES + 1)}


def forget(kit: Kit) -> None:
    """Lose the cache of the home, so that all is rebuilt from the storage."""
    shutil.rmtree(kit.folder / "home" / "cache")


@pytest.mark.parametrize("feed", Feed)
def test_kept_versions_take_the_ladder_and_older_ones_the_snapshot(
    kit: Kit, tmp_path: Path, feed: Feed
) -> None:
    held = contents(kit, feed)
    done = gc.collect(kit.repository())
    oldest, newest = done.kept[LIST]
    assert (oldest, newest) == (RELEASES - KEPT + 1, RELEASES)
    ways = {}
    for version, data in held.items():
        ways[version], reached = catch_up(kit, tmp_path / "tuf", feed, (version, data))
        assert reached == held[newest]
    assert all(ways[version] == "ladder" for version in range(oldest, newest + 1))
    assert ways[1] == ways[8] == "snapshot"
    assert catch_up(kit, tmp_path / "fresh", feed) == ("snapshot", held[newest])


def test_kept_versions_can_be_rebuilt_and_fsck_is_content(kit: Kit) -> None:
    held = contents(kit, Feed.CLEAR)
    oldest, newest = gc.collect(kit.repository()).kept[LIST]
    forget(kit)
    archive = kit.archive()
    for version in range(oldest, newest + 1):
        assert archive.content(Feed.CLEAR, version) == held[version]
    with pytest.raises(MalformedFeed, match="is missing"):
        archive.content(Feed.CLEAR, 3)
    assert kit.problems() == []


def test_what_was_collected_is_told_from_the_records(kit: Kit) -> None:
    """`diff` and `rollback` need no objects: changes add up, and the digest is signed."""
    held = contents(kit, Feed.CLEAR)
    gc.collect(kit.repository())
    forget(kit)
    lines = history.released_lines(kit.repository(), kit.head(), LIST, 3)
    assert lines == frozenset(held[3].splitlines())
    found = history.diff(kit.repository(), LIST, 3, RELEASES)
    assert (len(found.add), len(found.remove)) == (RELEASES - 3, 0)


@pytest.mark.parametrize("cached", [True, False])
def test_releases_go_on_and_the_ladder_with_them(kit: Kit, tmp_path: Path, cached: bool) -> None:
    """Every later head is reached by the ladder from every version that is still kept."""
    held = contents(kit, Feed.HASHED)
    for number in range(RELEASES + 1, RELEASES + 11):
        if number % 5 == 1:
            oldest, _ = gc.collect(kit.repository()).kept[LIST]
        if not cached:
            forget(kit)
        kit.clock.tick(hours=2)
        kit.publish(add=urls(range(2000 + number, 2001 + number)))
        held[number] = kit.archive().content(Feed.HASHED, number)
        for version in range(oldest, number):
            at = (version, held[version])
            assert catch_up(kit, tmp_path / "tuf", Feed.HASHED, at) == ("ladder", held[number])
    assert kit.problems() == []


def test_what_is_needed_stays_and_all_else_goes(kit: Kit) -> None:
    before = kit.objects()
    gc.collect(kit.repository())
    after = kit.objects()
    assert all(after[key] == before[key] for key in after)
    gone = set(before) - set(after)
    kinds = {key.rpartition(".")[2].partition("-")[0] for key in gone if key.startswith("feed/t")}
    assert kinds == {"list", "delta", "snapshot"}
    files = {names.parse_file_name(key.rpartition("/")[2]) for key in gone if "/metadata/" in key}
    assert {file[0] for file in files if file} == {names.SNAPSHOT}
    assert not any(key.startswith("private/") for key in gone)
    left = [key for key in named(after, "clear/") if key.endswith(".list")]
    assert len(left) == 1  # the newest; the others were superseded over two days ago
    assert len(list(named(after, ".snapshot.json"))) == 1


def test_a_dry_run_says_the_same_and_does_nothing(kit: Kit) -> None:
    before = kit.objects()
    said = gc.dry_run(kit.repository())
    assert kit.objects() == before
    assert said == gc.collect(kit.repository())
    gone = set(before) - set(kit.objects())
    assert sum(number for number, _ in said.gone.values()) == len(gone)
    assert sum(size for _, size in said.gone.values()) == sum(len(before[key]) for key in gone)


def test_a_second_run_finds_nothing(kit: Kit) -> None:
    gc.collect(kit.repository())
    before = kit.objects()
    assert gc.collect(kit.repository()).gone == {}
    assert kit.objects() == before


def test_young_releases_are_kept_however_many(tmp_path: Path) -> None:
    kit = aged(tmp_path, 12, hours=24, keep_versions=1, keep_days=5)
    later(kit, hours=1)
    assert gc.collect(kit.repository()).kept == {LIST: (8, 12)}
    assert kit.problems() == []


def test_replaced_lists_and_snapshot_metadata_stay_two_days(tmp_path: Path) -> None:
    kit = made(tmp_path, keep_versions=1, keep_days=0)
    kit.publish("a.example/x")
    kit.clock.tick(days=5)
    kit.publish("b.example/x")
    later(kit, days=1.9)
    assert gc.collect(kit.repository()).gone.keys() == {"snapshot metadata"}  # of `list create`
    later(kit, days=0.2)
    gone = gc.collect(kit.repository()).gone
    assert {kind: number for kind, (number, _) in gone.items()} == {
        "lists": 2,
        "snapshots": 2,
        "snapshot metadata": 1,
    }


def test_leftovers_go_after_the_grace(kit: Kit, tmp_path: Path) -> None:
    gc.collect(kit.repository())
    before = set(kit.objects())
    store = FaultyStore(kit.store, lambda n, op, key: _crash_on_role(key))
    with pytest.raises(SimulatedCrash):
        kit.publish(add="left.example/over", store=store)
    left = set(kit.objects()) - before
    assert {key for key in left if key.startswith(layout.TARGETS)}
    later(kit, hours=23)
    gc.collect(kit.repository())
    assert left <= set(kit.objects())
    later(kit, hours=2)
    gc.collect(kit.repository())
    assert not any(key.startswith(layout.TARGETS) for key in left & set(kit.objects()))
    assert kit.problems() == []
    assert catch_up(kit, tmp_path / "fresh", Feed.CLEAR)[0] == "snapshot"


def test_what_an_unfinished_release_names_stays_until_another_takes_its_place(kit: Kit) -> None:
    before = set(kit.objects())
    store = FaultyStore(kit.store, lambda n, op, key: _crash_on_snapshot(key))
    with pytest.raises(SimulatedCrash):
        kit.publish(add="left.example/over", store=store)
    left = {key for key in set(kit.objects()) - before if key.startswith(layout.TARGETS)}
    later(kit, days=3)
    gc.collect(kit.repository())
    assert left <= set(kit.objects())
    kit.publish(add="other.example/page")  # at the number after
    later(kit, days=3)
    gc.collect(kit.repository())
    assert not left & set(kit.objects())
    assert kit.problems() == []


def test_nothing_is_old_to_a_clock_that_runs_ahead(kit: Kit) -> None:
    before = kit.objects()
    kit.clock.tick(days=100)
    with pytest.raises(Stale, match="clock is ahead"):
        gc.collect(kit.repository())
    assert kit.objects() == before


def test_age_is_told_by_the_clock_of_the_storage(kit: Kit) -> None:
    """A storage that says all was written just now: nothing is old enough."""
    for key, data in kit.objects().items():
        kit.memory.plant(key, data)
    later(kit, hours=1)
    assert gc.dry_run(kit.repository()).gone == {}


@pytest.mark.parametrize("file", ["36.demo.json", "33.demo.json"])
def test_a_broken_history_stops_it(kit: Kit, file: str) -> None:
    kit.memory.uproot(layout.METADATA + file)
    before = kit.objects()
    with pytest.raises(MalformedFeed, match="is missing"):
        gc.collect(kit.repository())
    assert kit.objects() == before


def test_keys_of_other_shapes_and_other_lists_are_left_alone(kit: Kit) -> None:
    strange = [
        "feed/targets/demo/clear/README",
        f"feed/targets/gone/clear/{'0' * 64}.list",
        "feed/elsewhere/file",
        "private/elsewhere/file",
    ]
    for key in strange:
        kit.memory.plant(key, b"x")
    later(kit, days=30)
    gc.collect(kit.repository())
    assert set(strange) <= set(kit.objects())


def test_a_damaged_object_is_left_for_fsck(kit: Kit) -> None:
    key = next(key for key in named(kit.objects(), "delta-2") if "/clear/" in key)
    kit.memory.plant(key, b"other bytes")
    later(kit, days=2)
    assert gc.collect(kit.repository()).damaged == [key]
    assert any(key in problem for problem in kit.problems())


def test_a_probe_that_was_killed_is_cleared_away(kit: Kit) -> None:
    kit.store.put_new(f"{layout.PROBES}{'0' * 32}", b"x")
    assert "probes" not in gc.collect(kit.repository()).gone
    later(kit, days=1)
    assert gc.collect(kit.repository()).gone["probes"] == (1, 1)


def candidate(kit: Kit, digest: str, base: tuple[int, str] | None) -> str:
    """Store what looks like a candidate, with one approval and a void."""
    signed = new_delegated(1, [], kit.clock())
    data = Candidate(LIST, 1, base, signed, b"a record", {}).to_bytes()
    kit.store.put_new(layout.candidate_key(LIST, digest), data)
    kit.store.put_new(layout.approval_key(LIST, digest, "f" * 64), b"{}")
    kit.store.put_new(layout.void_key(LIST, digest), b"{}")
    return digest


def test_stale_candidates_go_with_their_approvals(kit: Kit) -> None:
    head = kit.head().roles[LIST]
    pending = candidate(kit, "a" * 64, (head.version, head.digest))
    kit.clock.tick(hours=1)
    kit.publish(add="next.example/page")
    now = kit.head().roles[LIST]
    stale = pending
    pending = candidate(kit, "b" * 64, (now.version, now.digest))
    first = candidate(kit, "c" * 64, None)
    kit.store.put_new(layout.candidate_key(LIST, "d" * 64), b"no zip file")
    data = kit.objects()[layout.candidate_key(LIST, first)]
    misled = data[:-6] + b"\xf0\xff\xff\x7f\0\0"  # its directory would begin before the file
    kit.store.put_new(layout.candidate_key(LIST, "e" * 64), misled)
    kit.store.put_new(layout.approval_key(LIST, "0" * 64, "f" * 64), b" " * (2 << 20))
    later(kit, days=29.9)
    assert "candidates" not in gc.collect(kit.repository()).gone
    later(kit, days=0.2)
    gone = gc.collect(kit.repository()).gone
    assert gone["candidates"][0] == gone["approvals"][0] == 2
    left = set(kit.objects())
    assert layout.candidate_key(LIST, pending) in left
    assert layout.approval_key(LIST, pending, "f" * 64) in left
    assert {layout.candidate_key(LIST, digit * 64) for digit in "de"} <= left
    assert {layout.void_key(LIST, digest) for digest in (stale, first, pending)} <= left


def test_real_candidates_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What people staged and approved: the pending one can be released after any gc."""
    without_sync(monkeypatch)
    team = Team.made(tmp_path, keep_versions=1, keep_days=0)
    team.kit.memory._clock = team.kit.clock
    team.publish("a.example/x")
    stale = team.stage("ann", add="b.example/y")
    team.approve("ann", stale)
    team.publish(add="c.example/z")
    later(team.kit, days=40)
    pending = team.stage("ann", add="d.example/w")
    team.approve("ann", pending)
    gone = gc.collect(team.kit.repository()).gone
    left = team.kit.objects()
    assert gone["candidates"][0] == 3  # two of them were released
    assert layout.candidate_key(LIST, stale) not in left
    assert not list(named(left, f"{layout.APPROVALS}{LIST}/{stale}"))
    team.approve("ben", pending)
    assert team.release(pending).version == 3
    assert team.kit.problems() == []


def test_one_gc_at_a_time_on_a_storage(kit: Kit, tmp_path: Path) -> None:
    other = kit.twin(tmp_path / "other")
    with pytest.raises(SimulatedCrash):  # with objects in its trash
        gc.collect(kit.repository(FaultyStore(kit.store, fault_at(5, Fault.CRASH_AFTER))))
    with pytest.raises(Busy, match="run it there again"):
        gc.collect(other.repository())
    gc.collect(kit.repository())
    assert layout.GC_RUNNING not in kit.objects()
    assert gc.collect(other.repository()).gone == {}


def test_a_home_that_is_lost_can_be_succeeded(kit: Kit, tmp_path: Path) -> None:
    other = kit.twin(tmp_path / "other")
    with pytest.raises(SimulatedCrash):
        gc.collect(kit.repository(FaultyStore(kit.store, fault_at(5, Fault.CRASH_AFTER))))
    assert gc.collect(other.repository(), take_over=True).gone
    assert kit.problems() == []


def test_a_grace_of_less_than_a_day_is_refused() -> None:
    assert Settings.from_table({"gc_grace_days": 3}).gc_grace_days == 3
    with pytest.raises(InputError, match="1 or more"):
        Settings.from_table({"gc_grace_days": 0.5})


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOST])
def test_an_interrupted_run_is_finished_by_the_next(
    tmp_path: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_sync(monkeypatch)
    monkeypatch.setattr(gc, "BATCH_OBJECTS", 3)
    kit = aged(tmp_path / "one", 4, keep_versions=1, keep_days=0)
    later(kit, days=2.1)
    whole = FaultyStore(copied(kit, tmp_path / "whole").store)
    gc.collect(copied(kit, tmp_path / "count").repository(whole))
    for at in range(1, whole.writes + 1):
        world = copied(kit, tmp_path / f"{at}")
        store = FaultyStore(world.store, fault_at(at, fault))
        if at == whole.writes and fault is Fault.LOST:  # its mark stays, for the next run to find
            gc.collect(world.repository(store))
        else:
            with pytest.raises((SimulatedCrash, StoreUnreachable)):
                gc.collect(world.repository(store))
        gc.collect(world.repository())
        assert gc.dry_run(world.repository()).gone == {}
        assert layout.GC_RUNNING not in world.objects()
        assert not (world.folder / "home" / "gc" / "trash.zip").exists()
        assert world.problems() == []


def test_a_clock_that_stands_still_keeps_all(tmp_path: Path) -> None:
    kit = aged(tmp_path, 3, hours=0, keep_versions=1)
    assert kit.settings.keep_days == timedelta(days=90).days
    assert gc.collect(kit.repository()).gone == {}


def _crash_on_role(key: str) -> Fault | None:
    parsed = names.parse_file_name(key.removeprefix(layout.METADATA))
    return Fault.CRASH_BEFORE if parsed is not None and parsed[0] == LIST else None


def _crash_on_snapshot(key: str) -> Fault | None:
    parsed = names.parse_file_name(key.removeprefix(layout.METADATA))
    return Fault.CRASH_BEFORE if parsed is not None and parsed[0] == names.SNAPSHOT else None
