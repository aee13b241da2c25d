"""restore: whatever is left, clients that have seen more accept what comes after."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from blocklist.core.entries import Feed
from blocklist.core.errors import InputError
from blocklist.publisher.curation import staging
from blocklist.publisher.curation.checking import Stale as CandidateStale
from blocklist.publisher.keeping import remains
from blocklist.publisher.keeping import restore as restoring
from blocklist.publisher.keeping.mirror import mirror
from blocklist.publisher.keeping.remains import MARGIN
from blocklist.publisher.keeping.restore import Restored, restore
from blocklist.publisher.request import Options, read_request
from blocklist.store import layout
from blocklist.store.directory import DirectoryStore
from signing.errors import Rollback, SignaturesMissing, Stale, TrustError
from signing.trust import TrustState
from tests.curation_kit import Team
from tests.fakes import Fault, FaultyStore, MemoryStore, SimulatedCrash, fault_at
from tests.keep_kit import aged, catch_up, copied, later
from tests.publisher_kit import LIST, Kit, without_sync

BACKED_UP, RELEASED = 5, 9


@pytest.fixture(scope="module", name="old")
def _old(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """Nine releases; the mirror in `copy` is of the fifth."""
    with pytest.MonkeyPatch.context() as patch:
        without_sync(patch)
        kit = aged(tmp_path_factory.mktemp("restore"), 3)
        mirror(kit.repository(), kit.folder / "older")
        for number in range(3, BACKED_UP):
            kit.publish(add=f"meanwhile-{number}.example/page")
        mirror(kit.repository(), kit.folder / "copy")
        for number in range(BACKED_UP, RELEASED):
            kit.clock.tick(hours=1)
            kit.publish(add=f"later-{number}.example/page")
    return kit


@pytest.fixture(name="kit")
def _kit(old: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    without_sync(monkeypatch)
    return world(old, tmp_path / "kit")


def world(old: Kit, folder: Path) -> Kit:
    kit = copied(old, folder)
    for mirrored in ("older", "copy"):
        shutil.copytree(old.folder / mirrored, folder / mirrored)
    return kit


def lost(kit: Kit) -> Kit:
    """Return the same with an empty bucket."""
    return replace(kit, store=MemoryStore(clock=kit.clock))


def rolled_back(kit: Kit) -> Kit:
    """Return the same with a bucket that came back as it was at the third release."""
    store = MemoryStore(clock=kit.clock)
    older = DirectoryStore(kit.folder / "older")
    for listed in older.list(""):
        found = older.get(listed.key)
        assert found is not None
        store.plant(listed.key, found.data)
    return replace(kit, store=store)


def restored(kit: Kit, seen: dict[str, int] | None = None, dry: bool = False) -> Restored:
    return restore(kit.repository(), kit.folder / "copy", seen or {}, dry=dry)


def newcomer(kit: Kit, home: Path) -> Kit:
    """Return a machine that has the keys and the fingerprint of the root, and nothing else."""
    other = replace(kit, folder=home)
    other.home.replace_trust(
        TrustState.pin((kit.folder / "copy/feed/metadata/1.root.json").read_bytes())
    )
    shutil.copytree(kit.folder / "home" / "keys", home / "home" / "keys")
    return other


def test_clients_that_saw_more_accept_the_restored_one(kit: Kit, tmp_path: Path) -> None:
    held = kit.archive().content(Feed.HASHED, RELEASED)
    catch_up(kit, tmp_path / "tuf", Feed.HASHED)
    content = kit.archive().content(Feed.HASHED, BACKED_UP)
    kit = lost(kit)
    done = restored(kit)
    assert done.lists == {LIST: RELEASED + MARGIN + 1}
    assert (done.origin, done.waiting, done.notes) == ("backup", [], [])
    assert kit.problems() == []
    way, data = catch_up(kit, tmp_path / "tuf", Feed.HASHED, (RELEASED, held))
    assert (way, data) == ("snapshot", content)
    assert catch_up(kit, tmp_path / "fresh", Feed.HASHED)[1] == content


def test_the_home_may_be_lost_too_when_somebody_tells_what_was_seen(
    kit: Kit, tmp_path: Path
) -> None:
    held = kit.archive().content(Feed.CLEAR, RELEASED)
    catch_up(kit, tmp_path / "tuf", Feed.CLEAR)
    seen = {role.name: role.version for role in kit.head().everything()}
    kit = newcomer(lost(kit), tmp_path / "machine")
    shutil.copytree(tmp_path / "kit" / "copy", kit.folder / "copy")
    done = restored(kit, {LIST: seen[LIST]})
    assert done.lists == {LIST: RELEASED + MARGIN + 1}
    assert kit.problems() == []
    assert catch_up(kit, tmp_path / "tuf", Feed.CLEAR, (RELEASED, held))[0] == "snapshot"


def test_who_saw_more_than_the_margin_is_told_rollback(kit: Kit, tmp_path: Path) -> None:
    catch_up(kit, tmp_path / "tuf", Feed.CLEAR)
    kit = newcomer(lost(kit), tmp_path / "machine")
    shutil.copytree(tmp_path / "kit" / "copy", kit.folder / "copy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remains, "MARGIN", 2)
        restored(kit)
    with pytest.raises(Rollback):
        catch_up(kit, tmp_path / "tuf", Feed.CLEAR)


def test_a_bucket_that_came_back_older_is_brought_up_to_the_backup(
    kit: Kit, tmp_path: Path
) -> None:
    catch_up(kit, tmp_path / "tuf", Feed.CLEAR)
    content = kit.archive().content(Feed.CLEAR, BACKED_UP)
    kit = rolled_back(kit)
    with pytest.raises(Rollback):
        kit.head()
    done = restored(kit)
    assert (done.origin, done.behind) == ("backup", True)
    assert catch_up(kit, tmp_path / "tuf", Feed.CLEAR)[1] == content
    assert kit.problems() == []


def test_a_storage_newer_than_the_backup_and_older_than_what_was_seen(
    kit: Kit, tmp_path: Path
) -> None:
    """Its own head is the newest that is left: nothing that it has is undone."""
    content = kit.archive().content(Feed.CLEAR, RELEASED)
    done = restored(kit, {LIST: 5000})
    assert (done.origin, done.lists) == ("storage", {LIST: 5000 + MARGIN + 1})
    assert catch_up(kit, tmp_path / "fresh", Feed.CLEAR)[1] == content
    assert kit.problems() == []


def test_nothing_jumps_where_nothing_is_lost(kit: Kit) -> None:
    before = kit.objects()
    done = restored(kit)
    assert (done.behind, done.lists, done.report.copied) == (False, {}, 0)
    assert kit.objects() == before


def test_what_is_missing_beside_a_good_head_is_copied(kit: Kit) -> None:
    before = kit.objects()
    gone = [key for key in before if key.startswith(layout.RECORDS)][:2]
    gone += [f"{layout.METADATA}3.{LIST}.json"]
    old = [key for key in gone if (kit.folder / "copy" / key).exists()]
    assert old
    for key in old:
        kit.memory.uproot(key)
    assert restored(kit).report.copied == len(old)
    assert kit.objects() == before


def test_other_bytes_at_a_key_are_named_and_left(kit: Kit) -> None:
    key = f"{layout.METADATA}2.{LIST}.json"
    kit.memory.plant(key, b"{}")
    assert any(key in line for line in restored(kit).report.damaged)
    assert kit.objects()[key] == b"{}"


def test_a_dry_run_changes_nothing(kit: Kit) -> None:
    kit = lost(kit)
    trust = kit.home.trust().to_bytes()
    said = restored(kit, dry=True)
    assert kit.objects() == {}
    assert kit.home.trust().to_bytes() == trust
    assert said.floors[LIST] == RELEASED + MARGIN
    assert said.report.copied == restored(kit).report.copied


def test_an_interrupted_one_is_finished_by_the_next(
    old: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_sync(monkeypatch)
    whole = FaultyStore(MemoryStore())
    counted = world(old, tmp_path / "count")
    restore(counted.repository(whole), counted.folder / "copy", {})
    last = whole.writes - 14  # the copies before are all alike
    steps = [1, last // 2, *range(last, whole.writes + 1)]
    for at in steps:
        kit = lost(world(old, tmp_path / f"{at}"))
        store = FaultyStore(kit.store, fault_at(at, Fault.CRASH_AFTER))
        with pytest.raises(SimulatedCrash):
            restore(kit.repository(store), kit.folder / "copy", {})
        done = restored(kit)
        assert done.report.damaged == []
        assert kit.problems() == [], at
        version = kit.head().roles[LIST].version
        assert version > RELEASED + MARGIN
        assert catch_up(kit, tmp_path / f"{at}" / "tuf", Feed.CLEAR)
        later(kit, hours=1)
        kit.publish(add="next.example/page")


def test_releases_go_on_after_it(kit: Kit, tmp_path: Path) -> None:
    kit = lost(kit)
    first = restored(kit).lists[LIST]
    kit.clock.tick(hours=1)
    held = kit.archive().content(Feed.CLEAR, first)
    assert kit.publish(add="next.example/page").version == first + 1
    assert catch_up(kit, tmp_path / "tuf", Feed.CLEAR, (first, held))[0] == "ladder"
    assert kit.home.trust().floors == {}


def test_a_list_that_was_made_after_the_backup_begins_above_what_was_seen(kit: Kit) -> None:
    kit.create("young")
    kit.publish("a.example/x", name="young")
    kit.publish("b.example/x", name="young")
    kit = lost(kit)
    done = restored(kit)
    assert any("list young was made after the backup" in note for note in done.notes)
    kit.create("young")
    assert kit.publish("a.example/x", name="young").version == 2 + MARGIN + 1
    assert kit.problems() == []


def test_it_takes_the_online_key(kit: Kit) -> None:
    kit = lost(kit)
    (kit.folder / "home" / "keys" / "online").unlink()
    with pytest.raises((SignaturesMissing, TrustError)):
        restored(kit)
    assert layout.TIMESTAMP not in kit.objects()


def test_a_folder_that_is_no_mirror_is_refused(kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected a mirror"):
        restore(kit.repository(), tmp_path / "empty", {})
    with pytest.raises(InputError, match="expected timestamp, snapshot, targets or a list"):
        restored(kit, {"demon": 7})


def test_a_list_of_several_people_is_released_by_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its head is restored, the floor is remembered; homes that saw more accept that knowingly."""
    without_sync(monkeypatch)
    team = Team.made(tmp_path / "team")
    released(team, "a.example/x")
    mirror(team.kit.repository(), tmp_path / "copy")
    stale = team.stage("ann", add="stale.example/x")
    team.approve("ann", stale)
    team.approve("ben", stale)
    stale_bytes = team.kit.objects()
    released(team, "a.example/x", "b.example/y")
    catch_up(team.kit, tmp_path / "tuf", Feed.CLEAR)
    for person in ("ann", "ben"):
        team.at(person).head([LIST])

    team.kit.store = MemoryStore()
    done = restore(team.kit.repository(), tmp_path / "copy", {})
    assert (done.lists, done.waiting) == ({}, [LIST])
    assert team.kit.head().roles[LIST].version == 1
    assert team.kit.home.trust().floors == {LIST: 2 + MARGIN}
    with pytest.raises(Rollback):
        catch_up(team.kit, tmp_path / "tuf", Feed.CLEAR)
    for person in ("ann", "ben"):
        with pytest.raises(Rollback):
            team.at(person).head([LIST])
        restoring.accept(team.at(person))

    for key, data in stale_bytes.items():  # signed by two, but for a number that clients have seen
        if key.startswith((layout.CANDIDATES, layout.APPROVALS)):
            team.kit.store.put_new(key, data)
    with pytest.raises(CandidateStale, match="above version 1002"):
        team.release(stale)
    request = read_request(LIST, None, [], [], Options())
    digest = staging.stage(team.kit.repository(), request).digest  # where the floor is known
    team.approve("ann", digest)
    team.approve("ben", digest)
    team.release(digest)
    assert team.kit.head().roles[LIST].version == 2 + MARGIN + 1
    assert catch_up(team.kit, tmp_path / "tuf", Feed.CLEAR)[0] == "snapshot"
    assert team.kit.problems() == []


def released(team: Team, *urls: str) -> None:
    digest = team.stage("cyd", whole="".join(f"{url}\n" for url in urls))
    team.approve("ann", digest)
    team.approve("ben", digest)
    team.release(digest)


def test_an_expired_storage_is_not_accepted(kit: Kit) -> None:
    kit.clock.tick(days=2)
    with pytest.raises(Stale):
        restoring.accept(kit.repository())
