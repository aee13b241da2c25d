"""One hash key follows another: what a release stores, names and refuses; what approvers see."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from blocklist.core import delta, documents, ladder, listbytes
from blocklist.core.entries import Feed
from blocklist.core.errors import DigestMismatch
from blocklist.core.hashing import HashKey, hash_lines
from blocklist.core.private import ListSecret
from blocklist.core.release import Facts
from blocklist.publisher import hash_keys
from blocklist.publisher.hash_keys import ANNOUNCE, EARLY, NOTICE, ROTATE, Keying, Step
from blocklist.publisher.publish import publish
from blocklist.publisher.racing import Superseded
from blocklist.publisher.request import Options, Request
from blocklist.store import layout
from tests.publisher_kit import LIST, Clock, Kit, urls, without_sync

ONE, TWO, THREE = (HashKey(bytes([n]) * 32) for n in (1, 2, 3))
NOW = Clock().now
BEFORE = 5
ROTATED = 8
LAST = 40


def change(kit: Kit, operation: str, key: HashKey, early: str | None = None) -> int:
    """Release one step with a key that is put into the secrets first; return the version."""
    secret = kit.repository().secret(LIST)
    if secret.key_of(key.id) is None:
        more = replace(secret, hash_keys=(*secret.hash_keys, key))
        kit.memory.plant(layout.list_secret_key(LIST), more.to_bytes())
    facts = kit.archive().release(Feed.HASHED, kit.head().roles[LIST].version).facts
    step = Step(operation, facts.hash_key_id or "", key.id, early)
    done = publish(
        kit.repository(), Request(LIST, None, (), (), Options(), {"files": []}, hash_key=step)
    )
    assert done.version is not None
    return done.version


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sync(monkeypatch)


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    kit = Kit.made(tmp_path)
    kit.publish(urls(range(9)))
    return kit


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """A key is announced in version 6 and used from version 8 on, of 40."""
    with pytest.MonkeyPatch.context() as patch:
        without_sync(patch)
        kit = Kit.made(tmp_path_factory.mktemp("long"))
        kit.publish(urls(range(150)))
        for version in range(2, LAST + 1):
            if version == BEFORE + 1:
                change(kit, ANNOUNCE, TWO)
            elif version == ROTATED:
                kit.clock.tick(hours=48)
                change(kit, ROTATE, TWO)
            else:
                kit.publish(add=urls(range(1000 + version, 1001 + version)))
        return kit


def test_signed_metadata_says_when_the_key_changes_and_when_it_has(long: Kit) -> None:
    archive = long.archive()
    facts = {n: archive.release(Feed.HASHED, n).facts for n in range(1, LAST + 1)}
    one = facts[1].hash_key_id
    assert {n for n, found in facts.items() if found.hash_key_id == one} == set(range(1, ROTATED))
    assert {facts[n].hash_key_id for n in range(ROTATED, LAST + 1)} == {TWO.id}
    announced = {n: found.next_hash_key for n, found in facts.items() if found.next_hash_key}
    start = facts[BEFORE + 1].created + NOTICE
    assert announced == {BEFORE + 1: (TWO.id, start), BEFORE + 2: (TWO.id, start)}
    for version in range(1, LAST + 1):
        clear = archive.release(Feed.CLEAR, version).facts
        assert (clear.hash_key_id, clear.next_hash_key) == (None, None)


def test_records_say_what_was_asked_for(long: Kit) -> None:
    found = {n: long.record(n).operation for n in (BEFORE, BEFORE + 1, BEFORE + 2, ROTATED)}
    assert list(found.values()) == ["publish", ANNOUNCE, "publish", ROTATE]
    assert long.record(ROTATED).overrides == ()


def test_no_delta_leads_across_the_change_but_the_clear_ladder_goes_on(long: Kit) -> None:
    archive = long.archive()
    for version in range(1, LAST + 1):
        for start in archive.froms(Feed.HASHED, version):
            assert (start < ROTATED) == (version < ROTATED)
    assert list(archive.froms(Feed.HASHED, ROTATED)) == []
    assert set(archive.froms(Feed.CLEAR, ROTATED)) == {7, 6, 4, 1}
    snapshot = archive.release(Feed.HASHED, ROTATED).snapshot
    assert snapshot is not None
    assert snapshot[0] == ROTATED


def test_everybody_behind_finds_a_way_or_the_snapshot(long: Kit) -> None:
    archive = long.archive()
    froms = {f: {n: list(archive.froms(f, n)) for n in range(1, LAST + 1)} for f in Feed}
    for have in range(1, LAST + 1):
        assert ladder.walk(have, LAST, froms[Feed.CLEAR].__getitem__) is not None
        way = ladder.walk(have, LAST, froms[Feed.HASHED].__getitem__)
        assert (way is not None) == (have >= ROTATED)
        assert len(way or []) <= 8
    snapshot = archive.release(Feed.HASHED, LAST).snapshot
    assert snapshot is not None
    assert snapshot[0] >= ROTATED
    assert ladder.walk(snapshot[0], LAST, froms[Feed.HASHED].__getitem__) is not None


@pytest.mark.parametrize("version", [ROTATED - 1, ROTATED, ROTATED + 1, LAST])
def test_the_hashed_feed_has_the_entries_of_the_clear_one_under_its_key(
    long: Kit, version: int
) -> None:
    """Also when only snapshot and deltas are left: former keys stay in the secrets."""
    archive = long.archive()
    release = archive.release(Feed.HASHED, version)
    key = long.repository().secret(LIST).key_of(release.facts.hash_key_id)
    assert key is not None
    lines = listbytes.clear_lines(archive.content(Feed.CLEAR, version))
    rebuilt = archive._rebuilt(release)
    assert rebuilt == archive.content(Feed.HASHED, version) == hash_lines(lines, key)


def test_a_storage_with_a_change_of_keys_has_no_problems(long: Kit) -> None:
    assert long.problems() == []


def test_a_burned_number_does_not_disturb_a_rotation(kit: Kit) -> None:
    change(kit, ANNOUNCE, TWO)
    kit.clock.tick(hours=48)
    kit.memory.plant(f"{layout.METADATA}3.demo.json", b"left by a crash")
    assert change(kit, ROTATE, TWO) == 4
    archive = kit.archive()
    assert list(archive.froms(Feed.HASHED, 4)) == []
    data = archive.blob(Feed.HASHED, archive.release(Feed.HASHED, 4).snapshot[1])
    new = delta.apply(Feed.HASHED, b"", data, max_bytes=1 << 20)
    assert new == archive.content(Feed.HASHED, 4)
    assert kit.problems() == []


# -- what follows from what was signed -------------------------------------------------------------

SECRET = ListSecret(LIST, "test-entry.demo.example", (THREE, ONE, TWO))
LATER = NOW + NOTICE


def facts(key: HashKey = ONE, following: HashKey | None = None, created: datetime = NOW) -> Facts:
    announced = (following.id, LATER) if following is not None else None
    return Facts(2, created, "0" * 64, (1, "0" * 64), key.id, next_hash_key=announced)


def step(operation: str, key: HashKey, early: str | None = None, current: HashKey = ONE) -> Step:
    return Step(operation, current.id, key.id, early)


def test_before_the_first_release_the_first_key_is_in_use() -> None:
    assert hash_keys.current_key(None, SECRET) == THREE
    assert hash_keys.keying(None, None, SECRET, NOW) == Keying(THREE)


def test_a_release_keeps_the_key_and_carries_the_announcement_on() -> None:
    assert hash_keys.keying(None, facts(), SECRET, NOW) == Keying(ONE)
    carried = hash_keys.keying(None, facts(ONE, TWO), SECRET, LATER)
    assert carried == Keying(ONE, (TWO.id, LATER))


def test_an_announcement_is_48_hours_ahead_in_whole_seconds() -> None:
    moment = NOW + timedelta(microseconds=1)
    found = hash_keys.keying(step(ANNOUNCE, TWO), facts(), SECRET, moment)
    assert found == Keying(ONE, (TWO.id, LATER + timedelta(seconds=1)))


@pytest.mark.parametrize(
    ("wanted", "base", "now"),
    [
        (step(ANNOUNCE, TWO), facts(ONE, THREE), NOW),
        (step(ANNOUNCE, TWO, current=THREE), facts(), NOW),
        (step(ROTATE, TWO, current=THREE), facts(ONE, TWO), LATER),
        (step(ROTATE, TWO), facts(), LATER),
        (step(ROTATE, TWO), facts(ONE, THREE), LATER),
        (step(ROTATE, TWO), facts(ONE, TWO), LATER - timedelta(seconds=1)),
        (step(ROTATE, TWO, "leaked"), facts(THREE), LATER),
        (step(ANNOUNCE, TWO), None, NOW),
    ],
    ids=["announced", "another key", "another key in use", "not announced", "another announced",
         "too early", "rotated meanwhile", "no release"],
)  # fmt: skip
def test_a_step_that_does_not_fit_any_more_is_not_taken(
    wanted: Step, base: Facts | None, now: datetime
) -> None:
    with pytest.raises(Superseded):
        hash_keys.keying(wanted, base, SECRET, now)


@pytest.mark.parametrize("wanted", [step(ANNOUNCE, TWO), step(ROTATE, TWO, "leaked"), None])
def test_no_key_is_used_that_the_secrets_lack(wanted: Step | None) -> None:
    for keys in ((THREE,), (THREE, TWO) if wanted is None else (ONE,), (THREE, TWO)):
        with pytest.raises(DigestMismatch):
            hash_keys.keying(wanted, facts(), replace(SECRET, hash_keys=keys), NOW)


# -- what whoever signs expects --------------------------------------------------------------------


def early(finding: str) -> tuple[dict[str, str], ...]:
    return ({"guard": EARLY, "finding": finding, "reason": "leaked"},)


UNANNOUNCED = early("the hash key was not announced")
EARLY_ROTATION = early(f"the hash key was announced for {documents.format_time(LATER)}")


@pytest.mark.parametrize(
    ("operation", "claimed", "base", "overrides"),
    [
        ("publish", facts(), facts(), ()),
        ("publish", facts(ONE, TWO), facts(ONE, TWO), ()),
        ("publish", facts(THREE), None, ()),
        (ANNOUNCE, facts(ONE, TWO), facts(), ()),
        (ROTATE, facts(TWO, created=LATER), facts(ONE, TWO), ()),
        (ROTATE, facts(TWO), facts(ONE, TWO), EARLY_ROTATION),
        (ROTATE, facts(TWO), facts(), UNANNOUNCED),
    ],
)
def test_a_version_is_hashed_as_its_operation_says(
    operation: str, claimed: Facts, base: Facts | None, overrides: tuple[dict[str, str], ...]
) -> None:
    found = hash_keys.expected(operation, overrides, claimed, base, SECRET)
    assert (found.key.id, found.following) == (claimed.hash_key_id, claimed.next_hash_key)


_SOON = facts(TWO, created=LATER - timedelta(seconds=1))
_SHORT = replace(facts(), next_hash_key=(TWO.id, LATER - timedelta(seconds=1)))
_STRANGE = replace(facts(), next_hash_key=("0" * 64, LATER))
_POSTPONED = replace(facts(), next_hash_key=(TWO.id, LATER + timedelta(seconds=1)))


@pytest.mark.parametrize(
    ("operation", "claimed", "base", "overrides"),
    [
        ("publish", facts(TWO), facts(), ()),
        ("publish", facts(TWO), facts(ONE, TWO), EARLY_ROTATION),
        ("publish", facts(ONE, TWO), facts(), ()),
        ("withdraw", facts(), facts(ONE, TWO), ()),
        ("publish", _POSTPONED, facts(ONE, TWO), ()),
        ("publish", facts(ONE), None, ()),
        (ANNOUNCE, facts(), facts(), ()),
        (ANNOUNCE, facts(TWO, THREE), facts(), ()),
        (ANNOUNCE, facts(ONE, ONE), facts(), ()),
        (ANNOUNCE, facts(ONE, TWO), facts(ONE, THREE), ()),
        (ANNOUNCE, facts(THREE, TWO), None, ()),
        (ANNOUNCE, _SHORT, facts(), ()),
        (ANNOUNCE, _STRANGE, facts(), ()),
        (ROTATE, facts(TWO), facts(ONE, TWO), ()),
        (ROTATE, _SOON, facts(ONE, TWO), ()),
        (ROTATE, facts(TWO), facts(ONE, TWO), UNANNOUNCED),
        (ROTATE, facts(TWO), facts(ONE, TWO), EARLY_ROTATION * 2),
        (ROTATE, facts(TWO, created=LATER), facts(ONE, TWO), EARLY_ROTATION),
        (ROTATE, facts(TWO), facts(), ()),
        (ROTATE, facts(THREE, created=LATER), facts(ONE, TWO), ()),
        (ROTATE, facts(ONE, created=LATER), facts(ONE, TWO), EARLY_ROTATION),
        (ROTATE, facts(TWO, THREE, created=LATER), facts(ONE, TWO), EARLY_ROTATION),
        (ROTATE, replace(facts(), hash_key_id="0" * 64), facts(), UNANNOUNCED),
        (ROTATE, facts(THREE), None, UNANNOUNCED),
    ],
)
def test_a_version_that_is_hashed_otherwise_is_not_signed(
    operation: str, claimed: Facts, base: Facts | None, overrides: tuple[dict[str, str], ...]
) -> None:
    with pytest.raises(DigestMismatch, match="hash key"):
        hash_keys.expected(operation, overrides, claimed, base, SECRET)


def test_secrets_without_the_key_in_use_are_no_ground_to_sign() -> None:
    secret = replace(SECRET, hash_keys=(TWO, THREE))
    with pytest.raises(DigestMismatch):
        hash_keys.expected(ROTATE, EARLY_ROTATION, facts(TWO), facts(ONE), secret)
