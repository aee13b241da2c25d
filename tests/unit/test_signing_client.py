"""The client: five outcomes, caps, a deadline, and the last good state kept in all of them."""

import itertools
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from signing import client, policy, roles
from signing.errors import (
    KeyTrouble,
    Malformed,
    Rollback,
    Stale,
    Tampered,
    TrustError,
    UnknownRole,
    Unreachable,
)
from tests.signing_kit import NOW, World, key, target


class SourceError(Exception):
    """What somebody's source raises."""


@pytest.fixture
def world() -> World:
    """A repository with one released list."""
    world = World()
    world.delegate()
    world.release()
    return world


def outcome(work: Callable[[], object]) -> type[TrustError]:
    with pytest.raises(TrustError) as caught:
        work()
    assert "\n" not in str(caught.value)
    return type(caught.value)


def replacing(world: World, file: str, chunks: Callable[[], Iterable[bytes]]) -> client.Fetch:
    return lambda name: chunks() if name == file else world.fetch(name)


def version(verified: client.Verified) -> int:
    assert verified.release is not None
    return verified.release.version


def known(verified: client.Verified) -> tuple[int, str]:
    assert verified.release is not None
    return verified.release.version, verified.release.digest


def test_a_client_gets_the_release_from_nothing_but_the_pinned_root(
    world: World, tmp_path: Path
) -> None:
    verified = world.client(tmp_path / "new" / "deep")
    assert verified.release is not None
    assert verified.release.targets == {"demo/clear/list": target()}
    assert verified.versions == {
        "root": 1, "timestamp": 3, "snapshot": 3, "targets": 2, "demo": 1,
    }  # fmt: skip
    assert set(verified.expires) == set(verified.versions)
    assert verified.dev


def test_what_was_verified_can_be_read_back_without_a_source(world: World, tmp_path: Path) -> None:
    verified = world.client(tmp_path)
    assert client.local(tmp_path, "demo") == verified


def test_reading_back_what_was_never_there_is_local_trouble(tmp_path: Path) -> None:
    with pytest.raises(KeyTrouble) as caught:
        client.local(tmp_path, "demo")
    assert caught.value.exit_code == 30


def test_local_versions_are_zero_for_what_is_not_held(world: World, tmp_path: Path) -> None:
    assert client.local_versions(tmp_path) == {"root": 0, "timestamp": 0, "targets": 0}
    world.client(tmp_path)
    assert client.local_versions(tmp_path) == {"root": 1, "timestamp": 3, "targets": 2}


def test_damaged_local_files_are_fetched_again(world: World, tmp_path: Path) -> None:
    world.client(tmp_path)
    for name in ("timestamp", "snapshot", "targets", "demo"):
        (tmp_path / f"{name}.json").write_bytes(b"damaged")
    assert version(world.client(tmp_path)) == 1


def test_nothing_new_costs_one_file(world: World, tmp_path: Path) -> None:
    world.client(tmp_path)
    asked: list[str] = []

    def fetch(name: str) -> list[bytes] | None:
        asked.append(name)
        return world.fetch(name)

    world.client(tmp_path, fetch=fetch)
    assert asked == ["2.root.json", "timestamp.json"]


def test_the_root_is_the_pinned_one_and_no_other(world: World, tmp_path: Path) -> None:
    """Another repository, however well signed, is tampering to a client of this one."""
    other = World()
    other.delegate()
    other.release()
    assert outcome(lambda: world.client(tmp_path, fetch=other.fetch)) is Tampered


def test_the_pin_counts_more_than_what_lies_in_the_directory(world: World, tmp_path: Path) -> None:
    other = World()
    other.delegate()
    other.release()
    other.client(tmp_path)
    assert version(world.client(tmp_path)) == 1


@pytest.mark.parametrize("pinned", [b"", b"{}", b"\xff" * 10])
def test_a_pin_that_is_no_root_is_malformed(world: World, tmp_path: Path, pinned: bytes) -> None:
    world.pinned = pinned
    assert outcome(lambda: world.client(tmp_path)) is Malformed


def test_a_rotated_root_is_followed(world: World, tmp_path: Path) -> None:
    world.client(tmp_path)
    world.plant("2.root.json", world.rotated_root(2))
    assert world.client(tmp_path).versions["root"] == 2
    world.uproot("2.root.json")
    assert world.client(tmp_path).versions["root"] == 2  # and kept


@pytest.mark.parametrize("forge", ["thief", "one-signature", "garbage", "truncated"])
def test_a_forged_root_is_refused_and_the_old_one_kept(
    world: World, tmp_path: Path, forge: str
) -> None:
    world.client(tmp_path)
    forged = {
        "thief": world.rotated_root(2, signers=[key(), key(), key()]),
        "one-signature": world.rotated_root(2, signers=world.roots[:1]),
        "garbage": b"\x00" * 100,
        "truncated": world.rotated_root(2)[:-9],
    }
    world.plant("2.root.json", forged[forge])
    expected = Tampered if forge in {"thief", "one-signature"} else Malformed
    assert outcome(lambda: world.client(tmp_path)) is expected
    world.uproot("2.root.json")
    assert world.client(tmp_path).versions["root"] == 1


def test_a_root_that_skips_a_number_is_not_followed(world: World, tmp_path: Path) -> None:
    world.plant("3.root.json", world.rotated_root(3))
    assert world.client(tmp_path).versions["root"] == 1


def test_no_answer_is_unreachable(world: World, tmp_path: Path) -> None:
    assert outcome(lambda: world.client(tmp_path, fetch=lambda name: None)) is Unreachable


@pytest.mark.parametrize(
    "file", ["timestamp.json", "3.snapshot.json", "2.targets.json", "1.demo.json"]
)
def test_a_missing_file_is_unreachable(world: World, tmp_path: Path, file: str) -> None:
    world.uproot(file)
    assert outcome(lambda: world.client(tmp_path)) is Unreachable


def test_expired_metadata_is_stale(tmp_path: Path) -> None:
    world = World()
    world.tick(days=-2)
    old = World(world.now)
    old.delegate()
    old.release()
    assert outcome(lambda: old.client(tmp_path)) is Stale


def test_an_expired_list_is_stale(tmp_path: Path) -> None:
    world = World(World().now)
    world.tick(days=-91)
    old = World(world.now)
    old.delegate()
    old.release()
    old.now = NOW
    old.refresh()
    assert outcome(lambda: old.client(tmp_path)) is Stale


def test_an_older_timestamp_is_a_rollback_and_the_newer_one_stays(
    world: World, tmp_path: Path
) -> None:
    old = world.get("timestamp.json")
    world.release()
    world.client(tmp_path)
    new = world.get("timestamp.json")
    world.plant("timestamp.json", old)
    assert outcome(lambda: world.client(tmp_path)) is Rollback
    assert client.local(tmp_path, "demo").versions["demo"] == 2
    world.plant("timestamp.json", new)
    assert version(world.client(tmp_path)) == 2


def test_an_older_list_under_a_newer_timestamp_is_a_rollback(world: World, tmp_path: Path) -> None:
    old = world.head().roles["demo"]
    world.release()
    head = world.head()
    world.client(tmp_path)
    signed = roles.next_snapshot(head.snapshot.signed, 5, [old], world.now)
    snap = roles.seal("snapshot", signed, [world.online])
    stamp = roles.seal("timestamp", roles.next_timestamp(5, snap, world.now), [world.online])
    world.plant("5.snapshot.json", snap.data)
    world.plant("timestamp.json", stamp.data)
    assert outcome(lambda: world.client(tmp_path)) is Rollback


def test_the_installed_list_counts_although_the_trust_directory_was_lost(
    world: World, tmp_path: Path
) -> None:
    assert outcome(lambda: world.client(tmp_path, known=(9, "0" * 64))) is Rollback


def test_an_installed_list_that_has_no_release_any_more_is_a_rollback(tmp_path: Path) -> None:
    world = World()
    world.delegate()
    assert outcome(lambda: world.client(tmp_path, known=(1, "0" * 64))) is Rollback


@pytest.mark.parametrize("file", ["3.snapshot.json", "2.targets.json", "1.demo.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "empty", "random"])
def test_a_file_that_is_not_the_signed_one_is_tampered(
    world: World, tmp_path: Path, file: str, damage: str
) -> None:
    data = world.get(file)
    damaged = {
        "flipped": data[:50] + bytes([data[50] ^ 1]) + data[51:],
        "cut": data[:-1],
        "longer": data + b" ",
        "empty": b"",
        "random": bytes(range(256)) * 2,
    }
    world.plant(file, damaged[damage])
    assert outcome(lambda: world.client(tmp_path)) is Tampered


@pytest.mark.parametrize("data", [b"", b"\x00" * 200, b"null", b"[" * 4000, b"{}"])
def test_a_timestamp_that_is_no_metadata_is_malformed(
    world: World, tmp_path: Path, data: bytes
) -> None:
    world.plant("timestamp.json", data)
    assert outcome(lambda: world.client(tmp_path)) is Malformed


def test_a_timestamp_of_another_key_is_tampered(world: World, tmp_path: Path) -> None:
    stamp = roles.next_timestamp(9, world.head().snapshot, world.now)
    world.plant("timestamp.json", roles.seal("timestamp", stamp, [key()]).data)
    assert outcome(lambda: world.client(tmp_path)) is Tampered


def test_another_content_under_the_installed_version_is_tampered(tmp_path: Path) -> None:
    """Two releases of one version: a stolen key, or a storage that shows two worlds."""
    world = World()
    world.delegate()
    ours, theirs = world.role(), world.role("demo", 1, target(length=666))
    base = world.head()
    world.plan(changed=[theirs]).write(world.store)
    seen = known(world.client(tmp_path / "fork"))
    world.uproot("1.demo.json")
    snap = roles.seal(
        "snapshot", roles.next_snapshot(base.snapshot.signed, 4, [ours], world.now), [world.online]
    )
    stamp = roles.next_timestamp(4, snap, world.now)
    world.plant("1.demo.json", ours.data)
    world.plant("4.snapshot.json", snap.data)
    world.plant("timestamp.json", roles.seal("timestamp", stamp, [world.online]).data)
    for _ in range(2):  # and it stays so
        assert outcome(lambda: world.client(tmp_path / "fork", known=seen)) is Tampered
    assert version(world.client(tmp_path / "fresh")) == 1


def test_the_installed_release_itself_is_fine(world: World, tmp_path: Path) -> None:
    seen = known(world.client(tmp_path))
    assert known(world.client(tmp_path, known=seen)) == seen


def test_a_list_that_is_delegated_but_unreleased_has_no_release(tmp_path: Path) -> None:
    world = World()
    world.delegate()
    verified = world.client(tmp_path)
    assert verified.release is None
    assert "demo" not in verified.versions
    assert client.local(tmp_path, "demo") == verified


def test_an_unknown_list_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(UnknownRole, match="nosuch") as caught:
        world.client(tmp_path, "nosuch")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["root", "targets", "snapshot", "timestamp", "../demo"])
def test_a_role_that_is_no_list_is_unknown(world: World, tmp_path: Path, name: str) -> None:
    assert outcome(lambda: world.client(tmp_path, name)) is UnknownRole


def test_one_damaged_list_does_not_disturb_clients_of_another(world: World, tmp_path: Path) -> None:
    world.delegate("good")
    world.release("good")
    world.plant("1.demo.json", b"damaged")
    assert version(world.client(tmp_path, "good")) == 1


@pytest.mark.parametrize(
    ("file", "limit"),
    [
        ("2.root.json", policy.MAX_ROOT_BYTES),
        ("timestamp.json", policy.MAX_TIMESTAMP_BYTES),
        ("3.snapshot.json", policy.MAX_SNAPSHOT_BYTES),
        ("1.demo.json", policy.MAX_TARGETS_BYTES),
    ],
)
def test_an_endless_body_is_cut_off(world: World, tmp_path: Path, file: str, limit: int) -> None:
    given = 0

    def endless() -> Iterator[bytes]:
        nonlocal given
        for chunk in itertools.repeat(b" " * 1024):
            given += len(chunk)
            yield chunk

    assert (
        outcome(lambda: world.client(tmp_path, fetch=replacing(world, file, endless))) is Tampered
    )
    assert given <= limit + 1024


def test_a_slow_source_is_stopped_by_the_deadline(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then is no progress: the whole update has one deadline."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def slow() -> Iterator[bytes]:
        nonlocal now
        for byte in world.get("timestamp.json"):
            now += 1.0
            yield bytes([byte])

    fetch = replacing(world, "timestamp.json", slow)
    assert outcome(lambda: world.client(tmp_path, fetch=fetch, seconds=60)) is Unreachable
    assert 60 <= now <= 62


def test_the_deadline_is_for_all_files_together(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def fetch(name: str) -> list[bytes] | None:
        nonlocal now
        now += 25.0
        return world.fetch(name)

    assert outcome(lambda: world.client(tmp_path, fetch=fetch, seconds=60)) is Unreachable
    assert version(world.client(tmp_path, fetch=fetch, seconds=130)) == 1


def test_what_the_source_raises_comes_back_unchanged(world: World, tmp_path: Path) -> None:
    error = SourceError("not authorised")

    def fetch(name: str) -> list[bytes] | None:
        if name == "3.snapshot.json":
            raise error
        return world.fetch(name)

    with pytest.raises(SourceError) as caught:
        world.client(tmp_path, fetch=fetch)
    assert caught.value is error


def test_what_the_source_raises_between_chunks_comes_back_unchanged(
    world: World, tmp_path: Path
) -> None:
    error = SourceError("connection lost")

    def broken() -> Iterator[bytes]:
        yield b"{"
        raise error

    with pytest.raises(SourceError) as caught:
        world.client(tmp_path, fetch=replacing(world, "timestamp.json", broken))
    assert caught.value is error


def test_a_source_that_fails_at_the_next_root_is_not_taken_for_the_end_of_roots(
    world: World, tmp_path: Path
) -> None:
    """Otherwise hiding a rotation would be as easy as an error page."""

    def fetch(name: str) -> list[bytes] | None:
        if name == "2.root.json":
            raise SourceError("503")
        return world.fetch(name)

    with pytest.raises(SourceError):
        world.client(tmp_path, fetch=fetch)


def test_a_failed_update_leaves_a_state_from_which_the_next_succeeds(
    world: World, tmp_path: Path
) -> None:
    world.client(tmp_path)
    world.release()
    for file in ("timestamp.json", "4.snapshot.json", "2.demo.json"):
        fetch = replacing(world, file, lambda: [b"noise"])
        with pytest.raises(TrustError):
            world.client(tmp_path, fetch=fetch)
    assert version(world.client(tmp_path)) == 2


@pytest.mark.parametrize("symlinks", [True, False])
def test_the_state_directory_survives_a_copy(world: World, tmp_path: Path, symlinks: bool) -> None:
    """Moving to another machine loses neither the newest root nor the memory of rollbacks."""
    world.plant("2.root.json", world.rotated_root(2))
    old = world.get("timestamp.json")
    world.release()
    world.client(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b", symlinks=symlinks)
    shutil.rmtree(tmp_path / "a")
    new = world.get("timestamp.json")
    world.plant("timestamp.json", old)
    assert outcome(lambda: world.client(tmp_path / "b")) is Rollback
    world.plant("timestamp.json", new)
    verified = world.client(tmp_path / "b")
    assert (verified.versions["root"], version(verified)) == (2, 2)


def test_a_trust_directory_that_cannot_be_written_is_local_trouble(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(KeyTrouble) as caught:
        world.client(tmp_path / "file" / "trust")
    assert caught.value.exit_code == 30
