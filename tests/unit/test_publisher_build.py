"""What a release stores: deltas by the ladder, snapshots by the rule, and all of it reproduces."""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from blocklist.core import delta, ladder
from blocklist.core.entries import Feed
from blocklist.core.errors import DigestMismatch, FeedError
from blocklist.core.release import FeedRelease
from blocklist.publisher.archive import Archive
from blocklist.store import layout
from signing.roles import targets_of
from tests.publisher_kit import LIST, TEST_LINE, Kit, named, urls, without_sync

LAST = 70
SMALL = range(1)


def made(folder: Path, **settings: float) -> Kit:
    with pytest.MonkeyPatch.context() as patch:
        without_sync(patch)
        return Kit.made(folder, **settings)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sync(monkeypatch)


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return made(tmp_path)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """Versions 1 to 70 of a list to which each release adds one entry."""
    with pytest.MonkeyPatch.context() as patch:
        without_sync(patch)
        kit = Kit.made(tmp_path_factory.mktemp("long"))
        kit.publish(urls(range(150)))
        for version in range(2, LAST + 1):
            kit.publish(add=urls(range(1000 + version, 1001 + version)))
    return kit


def expected_froms(version: int) -> set[int]:
    """docs/spec.md, "Ladder": from the last release, and 2^k back where 2^k divides."""
    steps = [1 << k for k in range(11) if version % (1 << k) == 0]
    return {max(1, version - step) for step in steps} | {version - 1} if version > 1 else set()


def release(kit: Kit, feed: Feed, version: int) -> FeedRelease:
    return kit.archive().release(feed, version)


def reproduces(archive: Archive, feed: Feed, version: int) -> int:
    """Apply all that a release stores; returns how many objects that was."""
    found = archive.release(feed, version)
    ways = {at: archive.blob(feed, blob) for at, blob in found.deltas.items()}
    for start, data in ways.items():
        new = delta.apply(feed, archive.content(feed, start), data, max_bytes=1 << 30)
        assert hashlib.sha256(new).hexdigest() == found.content.sha256
    return len(ways)


@pytest.mark.parametrize("feed", Feed)
def test_every_version_stores_the_deltas_of_its_ladder(long: Kit, feed: Feed) -> None:
    archive = long.archive()
    stored = {version: set(archive.froms(feed, version)) for version in range(1, LAST + 1)}
    assert stored == {version: expected_froms(version) for version in range(1, LAST + 1)}


def test_deltas_are_named_for_the_version_they_start_from(long: Kit) -> None:
    paths = set(targets_of(long.archive().role(64).signed))
    for feed in Feed:
        mine = {path for path in paths if path.startswith(f"demo/{feed}/")}
        starts = (63, 62, 60, 56, 48, 32, 1)
        names = ["list", "snapshot", *(f"delta-{start}" for start in starts)]
        assert mine == {f"demo/{feed}/{name}" for name in names}


@pytest.mark.parametrize("feed", Feed)
def test_every_stored_delta_gives_the_signed_list(long: Kit, feed: Feed) -> None:
    archive = long.archive()
    applied = sum(reproduces(archive, feed, version) for version in range(1, LAST + 1))
    assert applied == sum(len(expected_froms(version)) for version in range(1, LAST + 1))


@pytest.mark.parametrize("feed", Feed)
def test_every_stored_snapshot_gives_the_list_of_its_version(long: Kit, feed: Feed) -> None:
    archive = long.archive()
    seen = set()
    for version in range(1, LAST + 1):
        snapshot = archive.release(feed, version).snapshot
        assert snapshot is not None
        of, blob = snapshot
        content = delta.apply(feed, b"", archive.blob(feed, blob), max_bytes=1 << 30)
        assert content == archive.content(feed, of)
        seen.add(of)
    assert 1 in seen
    assert 1 < len(seen) < LAST - 10  # some are kept, some are new


@pytest.mark.parametrize("feed", Feed)
def test_a_snapshot_is_new_exactly_when_the_ladder_outweighs_a_quarter(
    long: Kit, feed: Feed
) -> None:
    archive = long.archive()
    for version in range(2, LAST + 1):
        before = archive.release(feed, version - 1).snapshot
        now = archive.release(feed, version).snapshot
        assert before is not None
        assert now is not None
        way = archive.ladder_bytes(feed, before[0], version)
        assert way is not None
        due = 4 * way > before[1].length
        assert now[0] == (version if due else before[0])


@pytest.mark.parametrize("feed", Feed)
@pytest.mark.parametrize("have", [1, 2, 7, 33, 63, 69])
def test_a_subscriber_far_behind_gets_there_in_few_steps(long: Kit, feed: Feed, have: int) -> None:
    archive = long.archive()
    hops = ladder.walk(have, LAST, lambda at: archive.froms(feed, at))
    assert hops is not None
    assert len(hops) <= 8
    content = archive.content(feed, have)
    for start, end in hops:
        blob = archive.release(feed, end).deltas[start]
        content = delta.apply(feed, content, archive.blob(feed, blob), max_bytes=1 << 30)
    assert content == archive.content(feed, LAST)


def test_a_snapshot_is_due_after_so_many_releases_in_any_case(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ladder.SNAPSHOT_RELEASES == 256
    monkeypatch.setattr(ladder, "SNAPSHOT_RELEASES", 3)
    kit.publish(urls(range(300)))
    for number in range(2, 9):
        kit.publish(add=urls(range(1000 + number, 1001 + number)))
    snapshots = [release(kit, Feed.HASHED, version).snapshot for version in range(1, 9)]
    assert [found[0] for found in snapshots if found] == [1, 1, 1, 4, 4, 4, 7, 7]


def test_a_renewal_stores_nothing_but_its_small_deltas(kit: Kit) -> None:
    kit.publish(urls(range(300)))
    before = kit.objects()
    kit.clock.tick(days=50)
    kit.publish(urls(range(300)))
    new = set(named(kit.objects(), "/targets/")) - set(before)
    assert {key.rpartition(".")[2] for key in new} == {"delta-1"}
    assert all(len(kit.objects()[key]) < 100 for key in new)
    for feed in Feed:
        assert release(kit, feed, 1).content == release(kit, feed, 2).content
        assert release(kit, feed, 1).snapshot == release(kit, feed, 2).snapshot


def test_whole_lists_are_stored_only_under_the_size_setting(tmp_path: Path) -> None:
    kit = made(tmp_path, list_object_bytes=400)
    kit.publish(urls(range(5)))
    kit.publish(urls(range(20)))
    content = {v: kit.archive().content(Feed.CLEAR, v) for v in (1, 2)}
    assert len(content[1]) < 400 <= len(content[2])
    stored = {key.rpartition("/")[2] for key in named(kit.objects(), "/clear/")}
    digests = {v: hashlib.sha256(data).hexdigest() for v, data in content.items()}
    assert f"{digests[1]}.list" in stored
    assert f"{digests[2]}.list" not in stored
    assert release(kit, Feed.CLEAR, 2).content.sha256 == digests[2]
    assert kit.problems() == []


def test_the_size_setting_excludes_its_own_value(tmp_path: Path) -> None:
    kit = made(tmp_path)
    kit.publish(urls(SMALL))
    size = release(kit, Feed.CLEAR, 1).content.length
    for bound, stored in ((size, False), (size + 1, True)):
        other = made(tmp_path / str(bound), list_object_bytes=bound)
        other.publish(urls(SMALL))
        key = layout.target_key("demo/clear/list", release(other, Feed.CLEAR, 1).content.sha256)
        assert (key in other.objects()) is stored


def forget(kit: Kit, *, lists: bool = True) -> None:
    """Delete the cache, and the `list` objects of superseded releases."""
    shutil.rmtree(kit.folder / "home" / "cache")
    head = {release(kit, feed, kit.head().roles[LIST].version).content.sha256 for feed in Feed}
    for key in [key for key in kit.objects() if key.endswith(".list")]:
        if lists and not any(digest in key for digest in head):
            kit.store.delete(key)


@pytest.mark.parametrize("lists", [False, True])
def test_deltas_are_built_without_cache_and_superseded_lists(kit: Kit, lists: bool) -> None:
    kit.publish(urls(range(200)))
    for number in range(2, 8):
        kit.publish(add=urls(range(1000 + number, 1001 + number)))
    forget(kit, lists=lists)
    kit.publish(add="http://eight.example/")
    assert set(kit.archive().froms(Feed.HASHED, 8)) == {1, 4, 6, 7}
    assert kit.problems() == []


def test_the_previous_list_is_rebuilt_when_whole_lists_are_never_stored(tmp_path: Path) -> None:
    kit = made(tmp_path, list_object_bytes=0, cache_bytes=0)
    kit.publish(urls(range(100)))
    for number in range(2, 6):
        kit.publish(add=urls(range(1000 + number, 1001 + number)))
    assert not list(named(kit.objects(), ".list"))
    assert len(kit.lines(5)) == 105
    assert kit.problems() == []


def test_rebuilt_content_is_compared_with_the_signed_digest(tmp_path: Path) -> None:
    kit = made(tmp_path, list_object_bytes=0)
    kit.publish(urls(range(100)))
    kit.publish(add="http://two.example/")
    shutil.rmtree(kit.folder / "home" / "cache")
    (key,) = [k for k in kit.objects() if k.endswith(".delta-1") and "/clear/" in k]
    kit.memory.plant(key, b"BLC1" + bytes(40))
    with pytest.raises(FeedError):
        kit.archive().content(Feed.CLEAR, 2)


def test_rebuilt_content_must_be_the_signed_one_though_every_object_is_right(
    tmp_path: Path,
) -> None:
    kit = made(tmp_path, list_object_bytes=0)
    kit.publish(urls(range(100)))
    kit.publish(add="http://two.example/")
    shutil.rmtree(kit.folder / "home" / "cache")
    archive = kit.archive()
    archive.role(2).signed.targets["demo/clear/list"].hashes = {"sha256": "0" * 64}
    with pytest.raises(DigestMismatch):
        archive.content(Feed.CLEAR, 2)


@pytest.mark.parametrize("damage", ["altered", "truncated"])
def test_a_damaged_cache_is_not_believed(kit: Kit, damage: str) -> None:
    kit.publish(urls(range(20)))
    for path in (kit.folder / "home" / "cache").iterdir():
        data = path.read_bytes()
        path.write_bytes(b"x" * len(data) if damage == "altered" else data[:-1])
    kit.publish(add="http://two.example/")
    assert len(kit.lines(2)) == 22
    assert kit.problems() == []


def remove_old(kit: Kit, version: int) -> None:
    kit.memory.uproot(f"{layout.METADATA}{version}.demo.json")


def alter_old(kit: Kit, version: int) -> None:
    kit.memory.plant(f"{layout.METADATA}{version}.demo.json", b"{}")


@pytest.mark.parametrize("damage", [remove_old, alter_old])
@pytest.mark.parametrize("version", [1, 2, 5, 6])
def test_a_damaged_old_release_does_not_block_new_ones(
    kit: Kit, damage: object, version: int
) -> None:
    """A subscriber there takes the snapshot; the list must still be releasable."""
    kit.publish(urls(range(300)))
    for number in range(2, 8):
        kit.publish(add=urls(range(1000 + number, 1001 + number)))
    assert callable(damage)
    damage(kit, version)
    done = kit.publish(add="http://eight.example/")
    assert done.version == 8
    froms = set(kit.archive().froms(Feed.CLEAR, 8))
    assert 7 in froms
    assert froms <= {1, 4, 6, 7}
    snapshot = release(kit, Feed.CLEAR, 8).snapshot
    assert snapshot is not None
    assert kit.lines(8).count(TEST_LINE) == 1


def test_a_burned_number_is_jumped_over_by_the_ladder(kit: Kit) -> None:
    kit.publish(urls(range(100)))
    for number in range(2, 12):
        if number in (4, 7, 8):
            kit.memory.plant(f"{layout.METADATA}{number}.demo.json", b"a vandal's")
        else:
            kit.publish(add=urls(range(1000 + number, 1001 + number)))
    archive = kit.archive()
    released = [1, 2, 3, 5, 6, 9, 10, 11]
    for have in released:
        hops = ladder.walk(have, 11, lambda at: archive.froms(Feed.HASHED, at))
        assert hops is not None
        assert {version for hop in hops for version in hop} <= set(released)
        assert len(hops) <= 4
    assert kit.problems() == []


def test_what_a_release_reports_as_stored_is_what_it_signs(kit: Kit) -> None:
    stored: Mapping[str, int] = kit.publish(urls(range(20))).stored
    signed = targets_of(kit.head().roles[LIST].signed)
    assert stored == {path: target.length for path, target in signed.items()}
