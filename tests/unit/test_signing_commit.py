"""Commits: what clients would refuse is never written, and nothing is ever taken over."""

from pathlib import Path

import pytest
from tuf.api.metadata import Targets

from blocklist.core.errors import OutcomeUnknown, StoreUnreachable
from blocklist.store.layout import METADATA, TIMESTAMP
from signing import commit, create, policy, roles
from signing.errors import (
    Burned,
    LostRace,
    Malformed,
    Rollback,
    SignaturesMissing,
    Tampered,
)
from tests.fakes import Fault, SimulatedCrash, fault_at, no_faults
from tests.signing_kit import World, key, target

GARBAGE = b"left by a vandal"


@pytest.fixture
def world() -> World:
    """A repository with a list that has no release: targets 2, snapshot metadata 2."""
    world = World()
    world.delegate()
    return world


def test_the_commit_is_the_last_write(world: World) -> None:
    start = len(world.memory.writes)
    world.release()
    written = [name.removeprefix(METADATA) for name in world.memory.writes[start:]]
    assert written == ["1.demo.json", "3.snapshot.json", "timestamp.json"]


def test_planning_writes_nothing(world: World) -> None:
    before = world.memory.objects
    world.plan(changed=[world.role()])
    assert world.memory.objects == before


def test_a_start_that_is_written_again_adopts_what_is_equal(world: World) -> None:
    fresh = World()
    create.write(fresh.store, fresh.files)
    with pytest.raises(LostRace, match="another repository"):
        create.write(world.store, fresh.files)


def test_a_start_does_not_touch_another_repository(world: World) -> None:
    before = world.memory.objects
    with pytest.raises(LostRace):
        create.write(world.store, World().files)
    assert world.memory.objects == before


@pytest.mark.parametrize(("keys", "signed"), [(2, 1), (2, 0), (1, 0)])
def test_a_threshold_that_is_not_met_is_missing_signatures(keys: int, signed: int) -> None:
    world = World()
    world.delegate("four-eyes", keys=keys, threshold=keys)
    role = world.role("four-eyes", signers=world.lists["four-eyes"][:signed])
    before = world.memory.objects
    with pytest.raises(SignaturesMissing, match=f"{keys} signatures") as caught:
        world.plan(changed=[role])
    assert caught.value.exit_code == 24
    assert world.memory.objects == before


def test_a_threshold_of_two_is_met_by_two_of_three(tmp_path: Path) -> None:
    world = World()
    world.delegate("four-eyes", keys=3, threshold=2)
    role = world.role("four-eyes", signers=world.lists["four-eyes"][1:])
    world.plan(changed=[role]).write(world.store)
    assert world.client(tmp_path, "four-eyes").versions["four-eyes"] == 1


def test_a_signature_of_a_stranger_does_not_count(world: World) -> None:
    with pytest.raises(SignaturesMissing):
        world.plan(changed=[world.role(signers=[key()])])


def test_a_wrong_online_key_is_missing_signatures(world: World) -> None:
    with pytest.raises(SignaturesMissing, match="timestamp"):
        commit.plan(world.store, world.head(), key(), world.now)


def test_a_wrong_targets_key_is_missing_signatures(world: World) -> None:
    top = world.delegated("other")
    with pytest.raises(SignaturesMissing, match="targets"):
        world.plan(targets=roles.seal("targets", top.signed, [key()]))


@pytest.mark.parametrize(
    "path", ["other/clear/list", "demo/list", "demo/clear/a/b", "demo", "demo/other/list"]
)
def test_a_path_outside_the_delegation_is_refused(world: World, path: str) -> None:
    role = world.role("demo", 1, roles.Target(path, 1, "0" * 64))
    with pytest.raises(Malformed, match="inside its paths"):
        world.plan(changed=[role])


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_that_does_not_rise_is_refused(world: World, version: int) -> None:
    world.release(version=2)
    with pytest.raises(Malformed, match="above version 2"):
        world.plan(changed=[world.role("demo", version, target(length=9))])


def test_a_delegation_under_which_a_list_no_longer_verifies_is_refused(world: World) -> None:
    """Whoever changes the delegations must not make another list vanish at the clients."""
    world.release()
    head = world.head()
    broken = Targets.from_dict(head.targets.signed.to_dict())
    broken.version += 1
    broken.revoke_key(world.lists["demo"][0].public_key.keyid, "demo")
    broken.add_key(key().public_key, "demo")
    with pytest.raises(Tampered, match="demo"):
        world.plan(targets=roles.seal("targets", broken, [world.targets]))


def test_a_changed_delegation_may_come_with_the_list_signed_anew(
    world: World, tmp_path: Path
) -> None:
    world.release()
    fresh = key()
    new = Targets.from_dict(world.head().targets.signed.to_dict())
    new.version += 1
    new.revoke_key(world.lists["demo"][0].public_key.keyid, "demo")
    new.add_key(fresh.public_key, "demo")
    again = world.role("demo", 2, signers=[fresh])
    top = roles.seal("targets", new, [world.targets])
    world.plan(targets=top, changed=[again]).write(world.store)
    assert world.client(tmp_path).versions["demo"] == 2


def test_a_delegation_change_needs_every_list_in_the_storage(world: World) -> None:
    world.release()
    top = world.delegated("other")
    head = world.head([])
    world.uproot("1.demo.json")
    with pytest.raises(Malformed, match="missing"):
        commit.plan(world.store, head, world.online, world.now, targets=top)


@pytest.mark.parametrize("damage", [None, b"", GARBAGE])
def test_one_misbehaving_list_does_not_block_another(
    world: World, tmp_path: Path, damage: bytes | None
) -> None:
    world.delegate("good")
    world.release("demo")
    if damage is None:
        world.uproot("1.demo.json")
    else:
        world.plant("1.demo.json", damage)
    head = world.head(["good"])
    plan = commit.plan(world.store, head, world.online, world.now, changed=[world.role("good")])
    plan.write(world.store)
    assert world.client(tmp_path, "good").versions["good"] == 1


@pytest.mark.parametrize("leftovers", [1, 5])
def test_leftovers_at_the_next_role_numbers_are_skipped(
    world: World, tmp_path: Path, leftovers: int
) -> None:
    world.release()
    world.client(tmp_path)
    for number in range(2, 2 + leftovers):
        world.plant(f"{number}.demo.json", GARBAGE)
    world.release()
    verified = world.client(tmp_path)
    assert verified.versions["demo"] == 2 + leftovers
    assert world.get("2.demo.json") == GARBAGE


def test_a_leftover_that_is_signed_is_not_adopted_either(world: World, tmp_path: Path) -> None:
    """After a crash the role file may be perfect; still its number is burned."""
    left = world.role("demo", 1, target(length=77))
    world.plant("1.demo.json", left.data)
    head = world.release(length=78)
    assert head.roles["demo"].version == 2
    verified = world.client(tmp_path)
    assert verified.release is not None
    assert verified.release.targets["demo/clear/list"].length == 78
    assert world.get("1.demo.json") == left.data


def test_leftovers_at_snapshot_numbers_are_skipped(world: World, tmp_path: Path) -> None:
    for number in (3, 4):
        world.plant(f"{number}.snapshot.json", GARBAGE)
    assert world.release().snapshot.version == 5
    assert world.client(tmp_path).versions["snapshot"] == 5
    assert world.get("3.snapshot.json") == GARBAGE


def test_leftovers_at_targets_numbers_are_skipped(world: World, tmp_path: Path) -> None:
    world.plant("3.targets.json", GARBAGE)
    version = commit.free_version(world.store, "targets", world.head().targets.version)
    top = world.delegated("other")
    top.signed.version = version
    world.plan(targets=roles.seal("targets", top.signed, [world.targets])).write(world.store)
    assert world.client(tmp_path, "other").versions["targets"] == 4


def test_a_huge_leftover_is_skipped_like_any_other(world: World) -> None:
    """Whoever may write to the storage must not be able to stop releases with one object."""
    world.plant("1.demo.json", b"x" * (policy.MAX_TARGETS_BYTES + 1))
    assert commit.free_version(world.store, "demo", 0) == 2


@pytest.mark.parametrize("taken", ["1.demo.json", "3.snapshot.json"])
def test_a_number_that_is_taken_after_planning_is_burned(world: World, taken: str) -> None:
    plan = world.plan(changed=[world.role()])
    world.plant(taken, GARBAGE)
    stamp = world.get("timestamp.json")
    with pytest.raises(Burned, match="taken") as caught:
        plan.write(world.store)
    assert caught.value.exit_code == 21
    assert (world.get("timestamp.json"), world.get(taken)) == (stamp, GARBAGE)


def test_too_many_leftovers_are_malformed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "MAX_BURNED", 3)
    for number in range(1, 4):
        world.plant(f"{number}.demo.json", GARBAGE)
    assert commit.free_version(world.store, "demo", 0) == 4
    world.plant("4.demo.json", GARBAGE)
    with pytest.raises(Malformed, match="3 leftovers"):
        commit.free_version(world.store, "demo", 0)


def test_who_loses_the_race_changes_nothing(world: World, tmp_path: Path) -> None:
    world.delegate("other")
    mine = world.plan(changed=[world.role("demo", 1, target(length=5))])
    world.release("other")
    live = world.get("timestamp.json")
    with pytest.raises(LostRace) as caught:
        commit.Plan(mine.before, mine.after, mine.files[:1]).write(world.store)
    assert not isinstance(caught.value, Burned)
    assert caught.value.exit_code == 21
    assert world.get("timestamp.json") == live
    assert world.client(tmp_path).release is None


def test_the_loser_of_two_equal_plans_finds_its_number_burned(world: World) -> None:
    plans = [world.plan(changed=[world.role(length)]) for length in ("demo", "demo")]
    plans[0].write(world.store)
    with pytest.raises(Burned):
        plans[1].write(world.store)


def test_the_head_after_a_commit_is_the_one_that_is_read(world: World) -> None:
    written, read = world.release(), world.head()
    assert written.token == read.token
    assert [f.data for f in written.everything()] == [f.data for f in read.everything()]


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_crash_at_any_write_leaves_the_old_or_the_new_head(
    world: World, tmp_path: Path, at: int, fault: Fault
) -> None:
    world.client(tmp_path / "old")
    plan = world.plan(changed=[world.role()])
    world.memory.faults = fault_at(at, fault)
    with pytest.raises(SimulatedCrash):
        plan.write(world.store)
    world.memory.faults = no_faults
    landed = at == 3 and fault is Fault.CRASH_AFTER
    for folder in ("old", "new"):
        assert (world.client(tmp_path / folder).release is not None) is landed
    assert world.release().roles["demo"].version == (
        1 if at == 1 and fault is Fault.CRASH_BEFORE else 2
    )
    assert world.client(tmp_path / "old").release is not None


def test_a_commit_whose_answer_was_lost_is_unknown(world: World, tmp_path: Path) -> None:
    plan = world.plan(changed=[world.role()])
    world.memory.faults = lambda n, op, at: Fault.LANDED_BUT_ERRORED if at == TIMESTAMP else None
    with pytest.raises(OutcomeUnknown):
        plan.write(world.store)
    assert world.client(tmp_path).versions["demo"] == 1


def test_a_commit_that_was_lost_changed_nothing(world: World, tmp_path: Path) -> None:
    plan = world.plan(changed=[world.role()])
    world.memory.faults = lambda n, op, at: Fault.LOST if at == TIMESTAMP else None
    with pytest.raises(StoreUnreachable):
        plan.write(world.store)
    assert world.client(tmp_path).release is None


def test_a_refresh_writes_only_the_timestamp_while_snapshot_metadata_is_young(
    world: World,
) -> None:
    world.tick(days=3.4)
    start = len(world.memory.writes)
    head = world.refresh()
    assert world.memory.writes[start:] == [TIMESTAMP]
    assert (head.timestamp.version, head.snapshot.version) == (3, 2)


def test_a_refresh_signs_snapshot_metadata_again_under_half_of_its_life(world: World) -> None:
    world.tick(days=3.6)
    head = world.refresh()
    assert (head.timestamp.version, head.snapshot.version) == (3, 3)
    assert head.snapshot.signed.meta.keys() == {"targets.json", "demo.json"} - {"demo.json"}


@pytest.mark.parametrize("outage", [1, 10])
def test_an_expired_head_is_renewed_after_an_outage(tmp_path: Path, outage: int) -> None:
    """The publisher's clock was right all the time; clients accept the renewed head."""
    world = World()
    world.tick(days=-outage - 0.1)
    world = World(world.now)
    world.delegate()
    world.release()
    world.tick(days=outage + 0.1)
    world.refresh()
    assert world.client(tmp_path).versions["demo"] == 1


def test_an_older_clock_does_not_make_older_versions(world: World) -> None:
    """Versions rise by number, not by time: a clock set back shortens lives and nothing else."""
    world.tick(days=-3)
    assert world.release().timestamp.version == 3


def test_a_rolled_back_storage_is_noticed_before_anything_is_signed_on_it(world: World) -> None:
    old = world.get("timestamp.json")
    world.release()
    world.head()
    world.plant("timestamp.json", old)
    with pytest.raises(Rollback) as caught:
        world.release()
    assert caught.value.exit_code == 12
