"""Reading the head: every wrong byte has its outcome, and a publisher forgets nothing."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tuf.api.metadata import Root

from signing import names, policy, roles, verify
from signing.errors import (
    KeyTrouble,
    Malformed,
    Rollback,
    Tampered,
    TrustError,
    UnknownRole,
)
from signing.trust import TrustState
from tests.signing_kit import World, key, target

ROLES = ["timestamp.json", "3.snapshot.json", "2.targets.json", "1.demo.json"]


@pytest.fixture
def world() -> World:
    """A repository with one released list: targets 2, snapshot metadata 3, timestamp 3."""
    world = World()
    world.delegate()
    world.release()
    world.head()
    return world


def outcome(world: World, lists: list[str] | None = None) -> type[TrustError]:
    before = world.trust
    with pytest.raises(TrustError) as caught:
        world.head(lists)
    assert world.trust is before
    return type(caught.value)


def test_the_head_of_a_whole_repository_reads(world: World) -> None:
    head = world.head()
    assert head.released() == ["demo"]
    versions = {role.name: role.version for role in head.everything()}
    assert versions == {"timestamp": 3, "snapshot": 3, "targets": 2, "demo": 1}
    assert head.roles["demo"].signed.targets["demo/clear/list"].length == 3


def test_only_the_lists_asked_for_are_read(world: World) -> None:
    world.delegate("other")
    world.release("other")
    assert set(world.head(["demo"]).roles) == {"demo"}
    assert set(world.head([]).roles) == set()
    assert set(world.head(iter(["other"])).roles) == {"other"}  # any iterable
    assert set(world.head(None).roles) == {"demo", "other"}


def test_a_list_without_release_is_no_error(world: World) -> None:
    world.delegate("new")
    assert set(world.head(["new"]).roles) == set()


def test_an_unknown_list_is_named(world: World) -> None:
    with pytest.raises(UnknownRole, match="nosuch") as caught:
        world.head(["nosuch"])
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("file", ROLES)
def test_a_missing_file_is_malformed(world: World, file: str) -> None:
    world.uproot(file)
    assert outcome(world) is Malformed


@pytest.mark.parametrize("file", ROLES[1:])
@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_file_is_tampered(world: World, file: str, keep: int) -> None:
    world.plant(file, world.get(file)[:keep])
    assert outcome(world) is Tampered


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_timestamp_is_malformed(world: World, keep: int) -> None:
    world.plant("timestamp.json", world.get("timestamp.json")[:keep])
    assert outcome(world) is Malformed


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 99,
        b"null",
        b"[]",
        b"{}",
        b"1e999",
        b"[" * 4000,
        b'{"signed": 1, "signatures": 2}',
        b'{"signatures": [], "signed": {"_type": "timestamp", "version": true}}',
    ],
)
def test_garbage_for_a_timestamp_is_malformed(world: World, garbage: bytes) -> None:
    world.plant("timestamp.json", garbage)
    assert outcome(world) is Malformed


def test_garbage_for_another_role_is_tampered(world: World) -> None:
    """Signed metadata names length and digest of every file but the timestamp."""
    for file in ROLES[1:]:
        intact = world.get(file)
        world.plant(file, b"\x00" * len(intact))
        assert outcome(world) is Tampered
        world.plant(file, intact)


def test_another_role_in_place_of_the_timestamp_is_malformed(world: World) -> None:
    world.plant("timestamp.json", world.get("3.snapshot.json"))
    assert outcome(world) is Malformed


def test_a_timestamp_with_an_altered_field_is_tampered(world: World) -> None:
    def later(signed: dict[str, Any]) -> None:
        signed["version"] += 1

    world.plant("timestamp.json", world.altered("timestamp.json", later))
    assert outcome(world) is Tampered


def test_a_timestamp_of_another_key_is_tampered(world: World) -> None:
    stamp = roles.next_timestamp(9, world.head().snapshot, world.now)
    world.plant("timestamp.json", roles.seal("timestamp", stamp, [key()]).data)
    assert outcome(world) is Tampered


def test_one_signature_given_twice_counts_once(world: World) -> None:
    world.delegate("pair", keys=2, threshold=2)
    role = world.role("pair")
    document = json.loads(role.data)
    document["signatures"] = [document["signatures"][0]] * 2
    parent = world.head().targets
    with pytest.raises(TrustError):
        verify.delegated_alone(parent, "pair", json.dumps(document).encode())
    assert verify.delegated_alone(parent, "pair", role.data).version == 1


def test_a_role_signed_by_the_keys_of_another_list_is_tampered(world: World) -> None:
    world.delegate("other")
    forged = world.role("demo", 1, signers=world.lists["other"])
    with pytest.raises(Tampered):
        verify.delegated_alone(world.head().targets, "demo", forged.data)


def test_nobody_may_sign_as_a_role_that_is_not_delegated(world: World) -> None:
    with pytest.raises(Tampered, match="nobody"):
        verify.delegated_alone(world.head().targets, "nosuch", world.role().data)


def test_snapshot_metadata_without_digests_is_malformed(world: World) -> None:
    snap = world.head().snapshot
    snap.signed.meta["demo.json"].hashes = None
    with pytest.raises(Malformed, match="sha256"):
        verify.delegated(world.head().targets, snap, "demo", world.get("1.demo.json"))


def test_an_older_timestamp_is_a_rollback(world: World) -> None:
    old = world.get("timestamp.json")
    world.release()
    world.head()
    world.plant("timestamp.json", old)
    assert outcome(world) is Rollback


def test_an_older_snapshot_under_a_newer_timestamp_is_a_rollback(world: World) -> None:
    """The online key alone cannot roll lists back unnoticed."""
    old = world.head().snapshot
    world.release()
    version = world.head().timestamp.version + 1
    stamp = roles.seal("timestamp", roles.next_timestamp(version, old, world.now), [world.online])
    world.plant("timestamp.json", stamp.data)
    assert outcome(world) is Rollback


def test_an_older_list_under_newer_snapshot_metadata_is_a_rollback(world: World) -> None:
    old = world.head().roles["demo"]
    world.release()
    head = world.head()
    signed = roles.next_snapshot(head.snapshot.signed, head.snapshot.version + 1, [old], world.now)
    snap = roles.seal("snapshot", signed, [world.online])
    stamp = roles.next_timestamp(head.timestamp.version + 1, snap, world.now)
    world.plant(names.file_name("snapshot", snap.version), snap.data)
    world.plant("timestamp.json", roles.seal("timestamp", stamp, [world.online]).data)
    assert outcome(world, ["demo"]) is Rollback


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "demo"])
def test_one_version_with_two_contents_is_tampered(world: World, role: str) -> None:
    head = world.head()
    (file,) = [found for found in head.everything() if found.name == role]
    seen = {**world.trust.seen, role: (file.version, "0" * 64)}
    world.trust = TrustState(world.trust.root, seen)
    assert outcome(world) is Tampered


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "demo"])
def test_a_role_below_what_was_seen_is_a_rollback(world: World, role: str) -> None:
    world.trust = TrustState(world.trust.root, {**world.trust.seen, role: (99, "0" * 64)})
    assert outcome(world) is Rollback


def test_trust_survives_being_kept(world: World) -> None:
    again = TrustState.from_bytes(world.trust.to_bytes())
    assert again.seen == world.trust.seen
    assert again.root.data == world.trust.root.data
    assert set(again.seen) == {"timestamp", "snapshot", "targets", "demo"}


def test_trust_in_lists_that_were_not_read_is_kept(world: World) -> None:
    seen = world.trust.seen["demo"]
    world.head([])
    assert world.trust.seen["demo"] == seen


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.clear(),
        lambda d: d.update(format=2),
        lambda d: d.pop("seen"),
        lambda d: d.update(seen=[]),
        lambda d: d.update(seen={"demo": 1}),
        lambda d: d.update(seen={"demo": [1]}),
        lambda d: d.update(seen={"demo": ["x", "y"]}),
        lambda d: d.update(root=1),
        lambda d: d.update(root="{}"),
    ],
)
def test_damaged_trust_is_local_trouble(
    world: World, change: Callable[[dict[str, Any]], None]
) -> None:
    document = json.loads(world.trust.to_bytes())
    change(document)
    with pytest.raises(KeyTrouble) as caught:
        TrustState.from_bytes(json.dumps(document).encode())
    assert caught.value.exit_code == 30


@pytest.mark.parametrize("data", [b"", b"\xff", b"null", b"[]", b'{"format": 1'])
def test_trust_that_is_no_document_is_local_trouble(data: bytes) -> None:
    with pytest.raises(KeyTrouble):
        TrustState.from_bytes(data)


def test_a_root_that_its_own_keys_do_not_sign_cannot_be_pinned(world: World) -> None:
    document = json.loads(world.pinned)
    document["signatures"] = document["signatures"][:1]
    with pytest.raises(Tampered):
        TrustState.pin(json.dumps(document).encode())


def test_the_roots_are_followed_one_by_one(world: World) -> None:
    second = world.rotated_root(2)
    world.plant("2.root.json", second)
    assert world.head().root.data == second
    assert world.trust.root.version == 2


def test_a_new_root_may_replace_the_online_key(world: World) -> None:
    fresh = key()

    def replaced(root: Root) -> None:
        for name in (names.SNAPSHOT, names.TIMESTAMP):
            root.revoke_key(world.online.public_key.keyid, name)
            root.add_key(fresh.public_key, name)

    head = world.head()
    world.plant("2.root.json", world.rotated_root(2, replaced))
    assert outcome(world) is Tampered  # the old online key has lost its say at once
    signed = roles.next_snapshot(head.snapshot.signed, 4, [], world.now)
    snap = roles.seal("snapshot", signed, [fresh])
    stamp = roles.seal("timestamp", roles.next_timestamp(4, snap, world.now), [fresh])
    world.plant("4.snapshot.json", snap.data)
    world.plant("timestamp.json", stamp.data)
    assert world.head().root.version == 2


def test_a_root_with_a_skipped_number_is_not_found(world: World) -> None:
    world.plant("3.root.json", world.rotated_root(3))
    assert world.head().root.version == 1


def test_a_root_that_claims_a_skipped_number_is_a_rollback(world: World) -> None:
    world.plant("2.root.json", world.rotated_root(3))
    assert outcome(world) is Rollback


def test_a_root_signed_by_its_own_new_keys_only_is_tampered(world: World) -> None:
    thieves = [key(), key(), key()]

    def stolen(root: Root) -> None:
        for old in list(root.roles["root"].keyids):
            root.revoke_key(old, "root")
        for thief in thieves:
            root.add_key(thief.public_key, "root")

    world.plant("2.root.json", world.rotated_root(2, stolen, thieves))
    assert outcome(world) is Tampered


def test_a_root_signed_by_the_old_keys_only_is_tampered(world: World) -> None:
    """Without this nobody would know that the new keys exist (5.3.4)."""

    def exchanged(root: Root) -> None:
        for old in world.roots[1:]:
            root.revoke_key(old.public_key.keyid, "root")
            root.add_key(key().public_key, "root")

    world.plant("2.root.json", world.rotated_root(2, exchanged, world.roots))
    assert outcome(world) is Tampered


def test_one_of_three_root_keys_is_not_enough(world: World) -> None:
    world.plant("2.root.json", world.rotated_root(2, signers=world.roots[:1]))
    assert outcome(world) is Tampered


def test_too_many_roots_at_once_are_malformed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "MAX_ROOT_ROTATIONS", 1)
    world.plant("2.root.json", world.rotated_root(2))
    assert outcome(world) is Malformed


@pytest.mark.parametrize("days", [1.5, 10, 100])
def test_an_expired_head_reads_and_says_what_has_expired(world: World, days: float) -> None:
    world.tick(days=days)
    expired = verify.expired(world.head().everything(), world.now)
    assert "timestamp" in expired
    assert ("snapshot" in expired) is (days > 7)
    assert ("demo" in expired) is (days > 90)


def test_the_target_of_a_wrong_path_is_named(world: World) -> None:
    role = world.role("demo", 2, target("other"))
    with pytest.raises(Malformed, match="other/clear/list"):
        verify.paths_in_pattern(world.head().targets, role)


@pytest.mark.parametrize("role", ["targets", "demo"])
def test_a_file_whose_version_is_not_the_named_one_is_tampered(world: World, role: str) -> None:
    """A number in snapshot metadata and another in the file: one of them would be a rollback."""
    head = world.head()
    (file,) = [found for found in head.everything() if found.name == role]
    signed = roles.next_snapshot(head.snapshot.signed, 4, [file], world.now)
    signed.meta[names.meta_name(role)].version = 9
    snap = roles.seal("snapshot", signed, [world.online])
    stamp = roles.seal("timestamp", roles.next_timestamp(4, snap, world.now), [world.online])
    world.plant("4.snapshot.json", snap.data)
    world.plant("timestamp.json", stamp.data)
    world.plant(f"9.{role}.json", file.data)
    assert outcome(world) is Tampered


def test_a_snapshot_file_whose_version_is_not_the_named_one_is_tampered(world: World) -> None:
    head = world.head()
    stamp = roles.next_timestamp(4, head.snapshot, world.now)
    stamp.snapshot_meta.version = 9
    world.plant("timestamp.json", roles.seal("timestamp", stamp, [world.online]).data)
    world.plant("9.snapshot.json", head.snapshot.data)
    assert outcome(world) is Tampered
