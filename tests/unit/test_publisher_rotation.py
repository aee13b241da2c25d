"""`list rotate-hash-key`: announced, waited for, rotated; interrupted, raced, tampered with."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from blocklist.core import listbytes
from blocklist.core.entries import Feed
from blocklist.core.errors import (
    DigestMismatch,
    GuardRefused,
    InputError,
    OutcomeUnknown,
    StoreError,
    UnknownList,
)
from blocklist.core.hashing import HashKey, hash_lines
from blocklist.core.private import ListSecret
from blocklist.publisher import rotation, upkeep
from blocklist.publisher.curation.checking import Stale
from blocklist.publisher.hash_keys import ANNOUNCE, EARLY, ROTATE
from blocklist.publisher.publish import publish
from blocklist.publisher.racing import Superseded
from blocklist.publisher.request import Options, Request
from blocklist.publisher.rotation import (
    ANNOUNCED,
    REPLACED,
    ROTATED,
    STAGED,
    WAITING,
    Rotation,
)
from blocklist.store import layout
from blocklist.store.port import Store
from signing.errors import SignaturesMissing
from tests.curation_kit import Team
from tests.fakes import Fault, FaultyStore, SimulatedCrash, fault_at
from tests.publisher_kit import LIST, Kit, urls, without_sync

PLANTED = HashKey(b"p" * 32)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sync(monkeypatch)


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    kit = Kit.made(tmp_path / "one")
    kit.publish(urls(range(9)))
    return kit


def rotate(
    kit: Kit, *, store: Store | None = None, name: str = LIST, reason: str | None = None
) -> Rotation:
    """Run the command; with a reason at once."""
    at_once = reason is not None
    return rotation.rotate_hash_key(kit.repository(store), name, at_once=at_once, reason=reason)


def secret(kit: Kit) -> ListSecret:
    return kit.repository().secret(LIST)


def alter(kit: Kit, change: Callable[[tuple[HashKey, ...]], tuple[HashKey, ...]]) -> None:
    """Give the list other hash keys, as whoever writes to the storage may."""
    held = secret(kit)
    other = replace(held, hash_keys=change(held.hash_keys))
    kit.memory.plant(layout.list_secret_key(LIST), other.to_bytes())


def assert_sound(kit: Kit) -> None:
    """The live version is hashed with the key that it names, and fsck finds nothing."""
    archive, version = kit.archive(), kit.head().roles[LIST].version
    key = secret(kit).key_of(archive.release(Feed.HASHED, version).facts.hash_key_id)
    assert key is not None
    lines = listbytes.clear_lines(archive.content(Feed.CLEAR, version))
    assert archive.content(Feed.HASHED, version) == hash_lines(lines, key)
    assert kit.problems() == []


def test_a_key_is_announced_waited_for_and_put_in_use(kit: Kit) -> None:
    old = secret(kit).first_key.id
    first = rotate(kit)
    new = secret(kit).hash_keys[-1].id
    start = kit.clock.now + timedelta(hours=48)
    assert first == Rotation(LIST, ANNOUNCED, 2, old, (new, start))
    before = kit.objects()
    kit.clock.tick(hours=47, minutes=59)
    assert rotate(kit) == Rotation(LIST, WAITING, 2, old, (new, start))
    assert not rotate(kit).changed
    assert kit.objects() == before
    kit.publish(add="other.example/x")
    kit.clock.tick(minutes=1)
    assert rotate(kit) == Rotation(LIST, ROTATED, 4, new, None)
    assert [key.id for key in secret(kit).hash_keys] == [old, new]
    found = [kit.record(version) for version in (2, 3, 4)]
    assert [record.operation for record in found] == [ANNOUNCE, "publish", ROTATE]
    assert [(record.added, record.overrides) for record in (found[0], found[2])] == [((), ())] * 2
    assert_sound(kit)


def test_one_key_follows_another_again_and_again(kit: Kit) -> None:
    used = [secret(kit).first_key.id]
    for _ in range(3):
        assert rotate(kit).state == ANNOUNCED
        kit.clock.tick(days=2)
        used.append(rotate(kit).key_id)
    assert len(set(used)) == 4
    assert [key.id for key in secret(kit).hash_keys] == used
    assert_sound(kit)


def test_a_leaked_key_is_replaced_at_once_and_the_record_says_so(kit: Kit) -> None:
    old = secret(kit).first_key.id
    done = rotate(kit, reason="leaked")
    assert (done.state, done.version, done.following) == (ROTATED, 2, None)
    assert done.key_id != old
    (override,) = kit.record(2).overrides
    assert override == {
        "guard": EARLY,
        "finding": "the hash key was not announced",
        "reason": "leaked",
    }
    assert kit.record(2).reason == "leaked"
    assert_sound(kit)


def test_an_announced_key_is_used_early_when_told_to(kit: Kit) -> None:
    following = rotate(kit).following
    assert following is not None
    done = rotate(kit, reason="leaked")
    assert (done.state, done.key_id) == (ROTATED, following[0])
    (override,) = kit.record(3).overrides
    assert override["guard"] == EARLY
    assert len(secret(kit).hash_keys) == 2


def test_in_time_nothing_is_overridden(kit: Kit) -> None:
    rotate(kit)
    kit.clock.tick(days=2)
    assert rotate(kit, reason="anyhow").state == ROTATED
    assert kit.record(3).overrides == ()


def test_a_rotation_before_its_time_needs_a_reason(kit: Kit) -> None:
    before = kit.objects()
    for reason in (None, ""):
        with pytest.raises(InputError, match="reason"):
            rotation.rotate_hash_key(kit.repository(), LIST, at_once=True, reason=reason)
    assert kit.objects() == before


def test_a_list_without_release_has_another_key_at_once(tmp_path: Path) -> None:
    kit = Kit.made(tmp_path)
    old = secret(kit).first_key
    done = rotate(kit)
    assert (done.state, done.version, done.following) == (REPLACED, None, None)
    assert secret(kit).first_key.id == done.key_id != old.id
    rotate(kit)
    newest = rotate(kit)
    assert len(secret(kit).hash_keys) == 2
    kit.publish(urls(range(3)))
    assert kit.archive().release(Feed.HASHED, 1).facts.hash_key_id == newest.key_id
    assert_sound(kit)


def test_the_former_key_of_a_list_without_release_does_not_come_back(tmp_path: Path) -> None:
    kit = Kit.made(tmp_path)
    former = kit.objects()[layout.list_secret_key(LIST)]
    rotate(kit)
    kit.memory.plant(layout.list_secret_key(LIST), former)
    for attempt in (lambda: kit.publish(urls(range(3))), lambda: rotate(kit)):
        with pytest.raises(DigestMismatch):
            attempt()


def test_an_unknown_list_has_no_hash_key(kit: Kit) -> None:
    before = kit.objects()
    for name in ("other", "targets", "../demo"):
        with pytest.raises(UnknownList):
            rotate(kit, name=name)
    assert kit.objects() == before


def test_a_home_that_cannot_sign_makes_no_key(kit: Kit, tmp_path: Path) -> None:
    twin = kit.twin(tmp_path / "two")
    for path in twin.home.keys_directory.glob("list-*"):
        path.unlink()
    before = kit.objects()
    for reason in (None, "leaked"):
        with pytest.raises(SignaturesMissing):
            rotate(twin, reason=reason)
    assert kit.objects() == before


# -- a storage that is not ours to trust -----------------------------------------------------------


def test_the_order_of_the_keys_says_nothing(kit: Kit) -> None:
    rotate(kit)
    alter(kit, lambda keys: keys[::-1])
    kit.publish(add="other.example/x")
    kit.clock.tick(days=2)
    alter(kit, lambda keys: keys[::-1])
    assert rotate(kit).state == ROTATED
    alter(kit, lambda keys: keys[::-1])
    kit.publish(add="more.example/x")
    assert_sound(kit)


@pytest.mark.parametrize("keys", ["swapped", "dropped"])
def test_an_announced_key_that_was_altered_is_noticed_and_not_used(kit: Kit, keys: str) -> None:
    following = rotate(kit).following
    assert following is not None
    alter(kit, lambda held: held[:1] if keys == "dropped" else (held[0], PLANTED))
    assert any("announced" in problem for problem in kit.problems())
    kit.publish(add="urgent.example/x")  # what is urgent need not wait for it
    kit.clock.tick(days=3)
    before = kit.objects()
    with pytest.raises(DigestMismatch, match="backup"):
        rotate(kit)
    assert kit.objects() == before
    done = rotate(kit, reason="lost")
    assert done.key_id not in (following[0], PLANTED.id)
    assert_sound(kit)


@pytest.mark.parametrize("keys", ["swapped", "dropped"])
def test_nothing_is_released_without_the_key_in_use(kit: Kit, keys: str) -> None:
    rotate(kit)
    kit.clock.tick(days=2)
    alter(kit, lambda held: held[1:] if keys == "dropped" else (PLANTED, held[1]))
    before = kit.objects()
    for attempt in (
        lambda: rotate(kit),
        lambda: rotate(kit, reason="leaked"),
        lambda: kit.publish(add="other.example/x"),
    ):
        with pytest.raises(DigestMismatch, match="secrets of demo"):
            attempt()
    assert kit.objects() == before


def test_a_key_that_lies_in_the_storage_is_never_announced(kit: Kit) -> None:
    """Who put it there knows it."""
    alter(kit, lambda held: (*held, PLANTED))
    following = rotate(kit).following
    assert following is not None
    assert following[0] != PLANTED.id


# -- interruptions ---------------------------------------------------------------------------------


def writes_of(kit: Kit, run: Callable[[Store], object]) -> int:
    """Return how many writes a run begins."""
    store = FaultyStore(kit.store)
    run(store)
    return store.writes


@pytest.mark.parametrize(
    ("phase", "fault"),
    [
        (ANNOUNCED, Fault.CRASH_AFTER),
        (ANNOUNCED, Fault.LOST),
        (ANNOUNCED, Fault.LANDED_BUT_ERRORED),
        (ROTATED, Fault.CRASH_AFTER),
        (ROTATED, Fault.LANDED_BUT_ERRORED),
    ],
)
def test_whatever_is_interrupted_is_done_by_a_rerun(
    tmp_path: Path, phase: str, fault: Fault
) -> None:
    """At every write; and never more than one key is made."""
    template = Kit.made(tmp_path / "t", directory=True)
    template.publish(urls(range(9)))
    if phase == ROTATED:
        rotate(template)
        template.clock.tick(days=2)
    probe = template.copied(tmp_path / "probe")
    count = writes_of(probe, lambda store: rotate(probe, store=store))
    assert count >= 5
    for number in range(1, count + 1):
        kit = template.copied(tmp_path / f"{number}")
        with pytest.raises((SimulatedCrash, StoreError)) as failed:
            rotate(kit, store=FaultyStore(kit.store, fault_at(number, fault)))
        if fault in (Fault.LOST, Fault.CRASH_BEFORE):
            assert not isinstance(failed.value, OutcomeUnknown)
        kit.publish(add="between.example/x")
        kit.clock.tick(days=3 if phase == ROTATED else 0)
        again = rotate(kit).state  # it may have been done all the same: then the next thing is
        assert again in {ANNOUNCED: (ANNOUNCED, WAITING), ROTATED: (ROTATED, ANNOUNCED)}[phase]
        assert len(secret(kit).hash_keys) == (3 if (phase, again) == (ROTATED, ANNOUNCED) else 2)
        assert_sound(kit)


def test_a_list_without_release_survives_interruptions(tmp_path: Path) -> None:
    for fault in Fault:
        kit = Kit.made(tmp_path / fault.name)
        with pytest.raises((SimulatedCrash, StoreError)):
            rotate(kit, store=FaultyStore(kit.store, fault_at(1, fault)))
        kit.publish(urls(range(3)))
        assert_sound(kit)


def test_of_two_announcements_at_the_same_time_one_counts(kit: Kit, tmp_path: Path) -> None:
    twin = kit.twin(tmp_path / "two")
    steps = [
        rotation.next_step(one.repository(), LIST, at_once=False, reason=None)
        for one in (kit, twin)
    ]
    first, second = (
        Request(LIST, None, (), (), Options(), {"files": []}, hash_key=step) for step in steps
    )
    publish(kit.repository(), first)
    with pytest.raises(Superseded) as refused:
        publish(twin.repository(), second)
    assert refused.value.exit_code == 21
    kit.clock.tick(days=2)
    assert steps[0] is not None
    assert rotate(twin).key_id == steps[0].key_id
    with pytest.raises(Superseded):
        publish(twin.repository(), second)
    assert_sound(kit)


def test_status_says_that_a_key_is_announced_and_when_it_is_time(kit: Kit) -> None:
    following = rotate(kit).following
    assert following is not None
    (item,) = upkeep.status(kit.repository()).lists
    assert (item.next_hash_key, item.warning) == (following[1], "")
    kit.clock.tick(days=2)
    assert any("rotate-hash-key demo" in line for line in upkeep.status(kit.repository()).warnings)
    rotate(kit)
    (item,) = upkeep.status(kit.repository()).lists
    assert (item.next_hash_key, item.warning) == (None, "")


# -- several people --------------------------------------------------------------------------------


@pytest.fixture
def team(tmp_path: Path) -> Team:
    team = Team.made(tmp_path / "team")
    team.publish(urls(range(9)))
    return team


def staged(team: Team, person: str, reason: str | None = None) -> str:
    """Let somebody run the command; return the candidate, which that person has signed."""
    at_once = reason is not None
    done = rotation.rotate_hash_key(team.at(person), LIST, at_once=at_once, reason=reason)
    assert done.state == STAGED
    assert done.carried is not None
    assert done.carried.staged is not None
    assert done.carried.count is not None
    assert done.carried.count.missing == 1
    return done.carried.staged.digest


def carried_out(team: Team, digest: str, *codes: str) -> int:
    """Let the second person sign, and release."""
    team.approve("ben", digest, allowed=codes)
    return team.release(digest).version


def test_several_people_announce_a_key_and_put_it_in_use(team: Team) -> None:
    digest = staged(team, "ann")
    team.kit.clock.tick(hours=47)
    assert carried_out(team, digest) == 2
    following = team.kit.archive().release(Feed.HASHED, 2).facts.next_hash_key
    assert following is not None
    assert following[1] - team.kit.clock.now >= timedelta(hours=48)
    assert rotation.rotate_hash_key(team.at("cyd"), LIST).state == WAITING
    team.kit.clock.tick(days=3)
    assert carried_out(team, staged(team, "cyd")) == 3
    assert team.kit.archive().release(Feed.HASHED, 3).facts.hash_key_id == following[0]
    assert_sound(team.kit)


def test_an_announcement_that_waits_too_long_for_signatures_is_stale(team: Team) -> None:
    digest = staged(team, "ann")
    team.kit.clock.tick(hours=48, minutes=11)
    with pytest.raises(Stale, match="rotate-hash-key demo"):
        team.approve("ben", digest)
    again = staged(team, "ann")
    assert len(secret(team.kit).hash_keys) == 2  # with the same key
    team.approve("ben", again)
    team.kit.clock.tick(hours=48, minutes=11)
    with pytest.raises(Stale):
        team.release(again)


def test_a_rotation_at_once_is_signed_by_two_who_know_that_it_is_one(team: Team) -> None:
    digest = staged(team, "ann", "leaked")
    with pytest.raises(GuardRefused, match=EARLY):
        team.approve("ben", digest)
    assert carried_out(team, digest, EARLY) == 2
    assert_sound(team.kit)


def test_a_key_that_was_swapped_after_staging_is_not_signed(team: Team) -> None:
    digest = staged(team, "ann")
    alter(team.kit, lambda keys: (keys[0], PLANTED))
    with pytest.raises(DigestMismatch):
        team.approve("ben", digest)


def test_the_machine_with_the_online_key_makes_no_hash_key(team: Team) -> None:
    before = team.kit.objects()
    with pytest.raises(SignaturesMissing):
        rotation.rotate_hash_key(team.kit.repository(), LIST)
    assert team.kit.objects() == before
