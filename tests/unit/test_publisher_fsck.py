"""fsck: a clean repository is clean, and every single damage is found and named."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from blocklist.core.entries import Feed
from blocklist.core.errors import Exit, FeedError, StoreError
from blocklist.publisher import fsck
from blocklist.store import layout
from signing import names, roles
from signing.errors import TrustError
from tests.publisher_kit import LIST, Kit, named, urls, without_sync

Damage = Callable[[bytes], bytes | None]
EXPECTED = {Exit.TAMPERED, Exit.MALFORMED, Exit.UNREACHABLE}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """Five releases, one of them a renewal, a burned number, and a second list. Left as found."""
    with pytest.MonkeyPatch.context() as patch:
        without_sync(patch)
        kit = Kit.made(tmp_path_factory.mktemp("fsck"))
        kit.create("other")
        kit.create("unreleased")
        kit.publish(urls(range(100)))
        for number in range(2, 5):
            kit.publish(add=urls(range(1000 + number, 1001 + number)))
        kit.memory.plant(f"{layout.METADATA}5.demo.json", b"left by a crash")
        kit.publish(add=urls(range(5)), remove=urls(range(90, 95)))
        kit.clock.tick(days=50)
        kit.publish(add=urls(range(5)))
        kit.publish("a.example/x", name="other")
    return kit


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sync(monkeypatch)


def findings(kit: Kit) -> list[str]:
    """Return the problems; when the head itself cannot be read, that."""
    try:
        return kit.problems()
    except (TrustError, FeedError, StoreError) as error:
        return [str(error)] if error.exit_code in EXPECTED else []


def flipped(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGES: dict[str, Damage] = {
    "flipped": flipped,
    "truncated": lambda data: data[:-1],
    "emptied": lambda data: b"",
    "lengthened": lambda data: data + b"\n",
    "deleted": lambda data: None,
}


def with_damage(kit: Kit, key: str, damage: Damage) -> list[str]:
    """Return what fsck finds with one object damaged; the object is put back."""
    good = kit.objects()[key]
    bad = damage(good)
    if bad is None:
        kit.memory.uproot(key)
    else:
        kit.memory.plant(key, bad)
    try:
        return findings(kit)
    finally:
        kit.memory.plant(key, good)


def live_or_chained(kit: Kit) -> list[str]:
    """Return the metadata that matters: live, or on the way from the first root or release."""
    head = kit.head()
    keys = ["1.root.json", "timestamp.json"]
    keys += [names.file_name(role.name, role.version) for role in (head.snapshot, head.targets)]
    keys += [f"{version}.demo.json" for version in (1, 2, 3, 4, 6, 7)] + ["1.other.json"]
    return [layout.METADATA + key for key in keys]


def test_a_clean_repository_has_no_problems_and_everything_was_looked_at(shared: Kit) -> None:
    report = fsck.fsck(shared.repository())
    assert report.problems == []
    objects = shared.objects()
    assert report.checked["objects"] == len(list(named(objects, layout.TARGETS)))
    assert report.checked["releases"] == report.checked["records"] == 7
    assert report.checked["deltas"] + report.checked["snapshots"] == len(
        [key for key in named(objects, layout.TARGETS) if not key.endswith(".list")]
    )
    assert (report.checked["roots"], report.checked["live metadata"]) == (1, 5)


def test_fsck_writes_nothing(shared: Kit) -> None:
    before, writes = shared.objects(), len(shared.memory.writes)
    shared.problems()
    assert (shared.objects(), len(shared.memory.writes)) == (before, writes)


def test_an_expired_repository_is_whole_nevertheless(shared: Kit) -> None:
    shared.clock.tick(days=500)
    try:
        assert shared.problems() == []
    finally:
        shared.clock.tick(days=-500)


@pytest.mark.parametrize("how", DAMAGES)
def test_damage_to_metadata_is_found_and_named(shared: Kit, how: str) -> None:
    for key in live_or_chained(shared):
        if how == "lengthened" and key.endswith(("root.json", "timestamp.json")):
            continue  # nothing names their length: white space after the document is harmless
        found = with_damage(shared, key, DAMAGES[how])
        assert found, key
        role = key.rpartition("/")[2].split(".")[-2]
        assert any(role in problem for problem in found), (key, found)
    assert shared.problems() == []


@pytest.mark.parametrize("how", ["flipped", "truncated", "emptied", "lengthened"])
def test_altered_objects_are_found_and_named(shared: Kit, how: str) -> None:
    for key in named(shared.objects(), layout.TARGETS):
        found = with_damage(shared, key, DAMAGES[how])
        assert any(key in problem for problem in found), key


def test_missing_objects_are_found_and_named(shared: Kit) -> None:
    """But for superseded whole lists, which `gc` drops."""
    content = {
        blob.content.file
        for name, version in ((LIST, 7), ("other", 1))
        for blob in (shared.archive(name).release(feed, version) for feed in Feed)
    }
    dropped = 0
    for key in named(shared.objects(), layout.TARGETS):
        found = with_damage(shared, key, DAMAGES["deleted"])
        file = key.rpartition("/")[2]
        if file.endswith(".list") and file not in content:
            assert found == []
            dropped += 1
            continue
        assert any(re.search(r"missing", problem) for problem in found), key
        assert any(file.partition(".")[2] in problem for problem in found), key
    assert dropped


def test_every_damage_to_records_and_secrets_is_found(shared: Kit) -> None:
    keys = list(named(shared.objects(), layout.RECORDS))
    assert len(keys) == 7
    for key in keys:
        for damage in DAMAGES.values():
            (problem,) = with_damage(shared, key, damage)
            assert re.match(r"(demo|other) version \d", problem)
    for how in ("truncated", "emptied", "deleted"):
        key = layout.list_secret_key(LIST)
        found = with_damage(shared, key, lambda data, how=how: (DAMAGES[how](data) or b"")[:-2])
        assert any("secrets" in problem for problem in found)


def test_an_altered_hash_key_or_test_host_is_found(shared: Kit) -> None:
    key = layout.list_secret_key(LIST)
    secret = shared.repository().secret(LIST)
    word = secret.first_key.hex().encode()
    other = (b"0" if word[:1] != b"0" else b"1") + word[1:]
    for old, new in ((word, other), (b"test-entry.demo", b"victim")):
        (problem,) = with_damage(shared, key, lambda data, o=old, n=new: data.replace(o, n))
        assert problem.startswith("demo secrets")
        assert "victim" not in problem


@pytest.mark.parametrize(
    "key",
    [
        "feed/targets/stray",
        "feed/targets/demo/stray",
        "feed/targets/demo/clear/list",
        "feed/targets/demo/clear/00.list",
        "feed/targets/demo/other/" + "0" * 64 + ".list",
        "feed/targets/Demo/clear/" + "0" * 64 + ".list",
        "feed/targets/demo/clear/" + "A" * 64 + ".list",
    ],
)
def test_a_stray_object_is_found_and_named(shared: Kit, key: str) -> None:
    shared.memory.plant(key, b"stray")
    try:
        (problem,) = shared.problems()
        assert key in problem
    finally:
        shared.memory.uproot(key)


def test_an_object_under_a_digest_that_is_not_its_own_is_found(shared: Kit) -> None:
    key = layout.target_key("demo/clear/delta-9", "0" * 64)
    shared.memory.plant(key, b"planted")
    try:
        (problem,) = shared.problems()
        assert key in problem
    finally:
        shared.memory.uproot(key)


def test_unnamed_leftovers_are_no_problem(shared: Kit) -> None:
    """A crash leaves whole objects that nothing names; that is how crashes are harmless."""
    digest = hashlib.sha256(b"left").hexdigest()
    keys = [layout.target_key("demo/clear/delta-9", digest), f"{layout.METADATA}8.demo.json"]
    for key in keys:
        shared.memory.plant(key, b"left")
    try:
        assert shared.problems() == []
    finally:
        for key in keys:
            shared.memory.uproot(key)


@pytest.fixture
def rotated(tmp_path: Path) -> Kit:
    """A repository whose root was renewed twice."""
    kit = Kit.made(tmp_path)
    kit.publish("a.example/x")
    signers = [
        key.signer(lambda path: b"") for key in kit.home.key_files() if "root" in key.path.name
    ]
    root = kit.head().root.signed
    for version in (2, 3):
        root.version = version
        sealed = roles.seal(names.ROOT, root, signers)
        kit.memory.plant(f"{layout.METADATA}{version}.root.json", sealed.data)
    return kit


def test_every_root_from_the_first_is_verified(rotated: Kit) -> None:
    report = fsck.fsck(rotated.repository())
    assert (report.problems, report.checked["roots"]) == ([], 3)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_missing_root_is_found_and_named(rotated: Kit, number: int) -> None:
    """Whoever is pinned to an older one could not follow any more."""
    rotated.head()
    key = f"{layout.METADATA}{number}.root.json"
    assert any(
        f"{number}.root.json is missing" in p for p in with_damage(rotated, key, DAMAGES["deleted"])
    )


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_altered_root_is_found(rotated: Kit, number: int) -> None:
    rotated.head()
    key = f"{layout.METADATA}{number}.root.json"
    found = with_damage(rotated, key, flipped)
    assert any("root" in problem for problem in found)


def test_an_invalid_next_root_is_reported(rotated: Kit) -> None:
    rotated.memory.plant(f"{layout.METADATA}4.root.json", b"{}")
    assert any("root" in problem for problem in findings(rotated))


def test_other_roots_than_the_trusted_ones_are_reported(tmp_path: Path, rotated: Kit) -> None:
    other = Kit.made(tmp_path / "other")
    rotated.head()
    rotated.memory.plant(f"{layout.METADATA}1.root.json", other.root())
    assert any("root" in problem for problem in findings(rotated))
