"""mirror: the folder is a repository like the storage, at every moment and whatever is damaged."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from blocklist.core.entries import Feed
from blocklist.core.errors import InputError
from blocklist.core.private import Subscription
from blocklist.publisher import fsck
from blocklist.publisher.home import Home
from blocklist.publisher.keeping import gc
from blocklist.publisher.keeping.mirror import Mirrored, mirror
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from blocklist.store.directory import DirectoryStore
from blocklist.store.port import Store
from signing.errors import Rollback
from signing.trust import TrustState
from tests.keep_kit import Side, aged, catch_up, copied, later
from tests.publisher_kit import LIST, Kit, named, no_passphrase, without_sync


@pytest.fixture(scope="module", name="old")
def _old(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    with pytest.MonkeyPatch.context() as patch:
        without_sync(patch)
        kit = aged(tmp_path_factory.mktemp("mirror"), 5)
        kit.create("other")
    return kit


@pytest.fixture(name="kit")
def _kit(old: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    without_sync(monkeypatch)
    return copied(old, tmp_path / "kit")


def mirrored(kit: Kit, folder: Path) -> Mirrored:
    return mirror(kit.repository(), folder)


def mirror_from(kit: Kit, folder: Path, store: Store) -> None:
    mirror(kit.repository(store), folder)


def stranger(kit: Kit, folder: Path, home: Path) -> Repository:
    """Return the folder as somebody sees it who knows the root and has no key."""
    place = Home(home, no_passphrase)
    with place.lock(1.0):
        place.save_trust(TrustState.pin(kit.root()))
    return Repository(DirectoryStore(folder), place, kit.clock, "analyst", kit.settings)


def objects(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.relative_to(folder).parts[0].startswith(".")
    }


def test_a_mirror_holds_all_and_is_a_storage_for_who_has_no_other(kit: Kit, tmp_path: Path) -> None:
    done = mirrored(kit, tmp_path / "copy")
    assert objects(tmp_path / "copy") == kit.objects()
    assert (done.lists, done.report.damaged) == ({LIST: 5}, [])
    analyst = stranger(kit, tmp_path / "copy", tmp_path / "analyst")
    assert fsck.fsck(analyst).problems == []


def test_the_next_one_copies_what_is_new(kit: Kit, tmp_path: Path) -> None:
    mirrored(kit, tmp_path / "copy")
    before = kit.objects()
    again = mirrored(kit, tmp_path / "copy").report
    assert (again.copied, again.bytes) == (0, 0)
    kit.publish(add="new.example/page")
    new = set(kit.objects()) - set(before)
    assert mirrored(kit, tmp_path / "copy").report.copied == len(new)
    assert objects(tmp_path / "copy") == kit.objects()


def test_what_gc_takes_stays_in_the_mirror(kit: Kit, tmp_path: Path) -> None:
    mirrored(kit, tmp_path / "copy")
    before = objects(tmp_path / "copy")
    later(kit, days=200)
    kit.settings = kit.settings.__class__(keep_versions=1, keep_days=0)
    assert gc.collect(kit.repository()).gone
    mirrored(kit, tmp_path / "copy")
    after = objects(tmp_path / "copy")
    assert {key: after[key] for key in before if key != layout.TIMESTAMP} == {
        key: data for key, data in before.items() if key != layout.TIMESTAMP
    }


def test_a_release_at_any_moment_leaves_a_whole_repository(
    old: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_sync(monkeypatch)
    for at in range(0, 200, 17):
        kit = copied(old, tmp_path / f"{at}")
        folder = tmp_path / f"{at}" / "copy"
        side = Side(
            kit.store,
            at,
            lambda store, kit=kit, folder=folder: mirror(kit.repository(store), folder),
        )
        kit.publish(add="new.example/page")
        side.finish()
        analyst = stranger(kit, folder, tmp_path / f"{at}" / "analyst")
        assert fsck.fsck(analyst).problems == [], at
        mirrored(kit, folder)
        assert fsck.fsck(analyst).problems == []
        assert objects(folder) == kit.objects()


def test_an_interrupted_one_is_finished_by_the_next(kit: Kit, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    for at in (0, 20, 40):
        side = Side(kit.store, at, partial(mirror_from, kit, folder))
        side.die()
    assert not (folder / layout.TIMESTAMP).exists()
    mirrored(kit, folder)
    assert objects(folder) == kit.objects()


@pytest.mark.parametrize("what", ["delta-3", ".list", "private/records", "3.demo.json"])
def test_what_is_damaged_is_named_and_no_good_copy_is_lost(
    kit: Kit, tmp_path: Path, what: str
) -> None:
    key = next(named(kit.objects(), what))
    good = kit.objects()[key]
    mirrored(kit, tmp_path / "earlier")
    kit.memory.plant(key, good + b"\n")
    for folder in ("earlier", "new"):
        done = mirrored(kit, tmp_path / folder)
        assert any(key in line for line in done.report.damaged)
    assert objects(tmp_path / "earlier")[key] == good
    assert key not in objects(tmp_path / "new")


def test_a_damaged_first_root_is_named(kit: Kit, tmp_path: Path) -> None:
    mirrored(kit, tmp_path / "copy")
    key = f"{layout.METADATA}1.root.json"
    good = kit.objects()[key]
    kit.memory.plant(key, b"{}")
    damaged = mirrored(kit, tmp_path / "copy").report.damaged
    assert any("root" in line for line in damaged)
    assert objects(tmp_path / "copy")[key] == good


def test_another_repository_is_refused(kit: Kit, tmp_path: Path) -> None:
    mirrored(Kit.made(tmp_path / "two"), tmp_path / "copy")
    before = objects(tmp_path / "copy")
    with pytest.raises(InputError, match="another repository"):
        mirrored(kit, tmp_path / "copy")
    assert objects(tmp_path / "copy") == before


@pytest.mark.parametrize("file", ["letters/to-mother", "feed/metadata/timestamp.json"])
def test_a_folder_with_something_else_is_refused(kit: Kit, tmp_path: Path, file: str) -> None:
    path = tmp_path / "copy" / file
    path.parent.mkdir(parents=True)
    path.write_text("Dear")
    with pytest.raises(InputError, match="something else"):
        mirrored(kit, tmp_path / "copy")
    assert objects(tmp_path / "copy") == {file: b"Dear"}


def test_a_folder_that_is_newer_is_left_alone(kit: Kit, tmp_path: Path) -> None:
    older = copied(kit, tmp_path / "older")
    kit.publish(add="new.example/page")
    mirrored(kit, tmp_path / "copy")
    before = objects(tmp_path / "copy")
    with pytest.raises(Rollback, match="the folder is newer"):
        mirrored(older, tmp_path / "copy")
    assert objects(tmp_path / "copy")[layout.TIMESTAMP] == before[layout.TIMESTAMP]


def test_documents_that_change_are_brought_up_to_date_and_never_back(
    kit: Kit, tmp_path: Path
) -> None:
    given = Subscription("isp", "a" * 64, {LIST: (Feed.HASHED,)}, kit.clock.now)
    revoked = replace(given, revoked=kit.clock.now, revision=1)
    key = layout.enrolment_key("a" * 64)
    for state in (given, revoked):
        kit.memory.plant(key, state.to_bytes())
        assert mirrored(kit, tmp_path / "copy").report.copied >= 1
        assert objects(tmp_path / "copy")[key] == state.to_bytes()
    kit.memory.plant(key, given.to_bytes())
    assert mirrored(kit, tmp_path / "copy").report.damaged == []
    kit.memory.plant(key, b"{}")
    assert any(key in line for line in mirrored(kit, tmp_path / "copy").report.damaged)
    assert objects(tmp_path / "copy")[key] == revoked.to_bytes()


def test_secrets_of_another_list_do_not_take_the_place_of_good_ones(
    kit: Kit, tmp_path: Path
) -> None:
    mirrored(kit, tmp_path / "copy")
    key = layout.list_secret_key(LIST)
    good = kit.objects()[key]
    kit.memory.plant(key, kit.objects()[layout.list_secret_key("other")])
    assert any(key in line for line in mirrored(kit, tmp_path / "copy").report.damaged)
    assert objects(tmp_path / "copy")[key] == good


def test_marks_and_scraps_stay_behind(kit: Kit, tmp_path: Path) -> None:
    kit.store.put_new(layout.GC_RUNNING, b"{}")
    kit.store.put_new(f"{layout.PROBES}{'0' * 32}", b"x")
    mirrored(kit, tmp_path / "copy")
    assert not any(key.startswith((layout.GC, layout.PROBES)) for key in objects(tmp_path / "copy"))


def test_a_subscriber_reads_from_a_mirror(kit: Kit, tmp_path: Path) -> None:
    mirrored(kit, tmp_path / "copy")
    kit.store = DirectoryStore(tmp_path / "copy")
    assert catch_up(kit, tmp_path / "tuf", Feed.HASHED)[0] == "snapshot"
