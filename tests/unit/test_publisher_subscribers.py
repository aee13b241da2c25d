"""Who has access, until when, and how it is taken back: whatever others do meanwhile."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocklist.core.entries import Feed
from blocklist.core.errors import Busy, InputError, LocalError, OutcomeUnknown, StoreUnreachable
from blocklist.core.private import Subscription
from blocklist.publisher.subscribers import (
    MAX_REASON,
    Change,
    add_subscriber,
    list_subscribers,
    renew_subscriber,
    revoke_subscriber,
)
from blocklist.store import layout
from blocklist.store.locks import file_lock
from blocklist.store.port import Store
from signing.errors import LostRace
from tests.fakes import Fault, FaultyStore, fault_at
from tests.publisher_kit import LIST, Kit, without_sync

NAME = "isp"
WEEK = timedelta(days=7)


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    without_sync(monkeypatch)
    monkeypatch.setattr("blocklist.publisher.racing.FIRST_PAUSE_SECONDS", 0.001)
    kit = Kit.made(tmp_path)
    add(kit)
    return kit


def add(kit: Kit, name: str = NAME) -> None:
    """Give somebody access."""
    add_subscriber(kit.repository(), name, [LIST], [Feed.CLEAR], [])


def renew(kit: Kit, expires: datetime | None, *, store: Store | None = None) -> Change:
    return renew_subscriber(kit.repository(store), NAME, expires)


def revoke(kit: Kit, reason: str | None = None, *, store: Store | None = None) -> Change:
    return revoke_subscriber(kit.repository(store), NAME, reason)


def found(kit: Kit) -> list[Subscription]:
    return list(list_subscribers(kit.repository()).found)


def states(kit: Kit) -> list[tuple[str, str]]:
    return [(one.name, one.state(kit.clock.now)) for one in found(kit)]


def key_of(kit: Kit, number: int = 0) -> str:
    return layout.enrolment_key(found(kit)[number].token_digest)


def replaced(kit: Kit) -> int:
    """Return how often a document of a subscriber was replaced."""
    changes = [at for at in kit.memory.journal if at.op == "replace_if" and at.done]
    return sum(at.key.startswith(layout.ENROLMENTS) for at in changes)


class Meddled(FaultyStore):
    """A store on which somebody else is faster, as often as there are `others`."""

    def __init__(self, inner: Store, *others: Callable[[], object]) -> None:
        super().__init__(inner)
        self.others = list(others)

    def replace_if(self, key: str, data: bytes, token: str) -> str | None:
        if self.others:
            self.others.pop(0)()
        return super().replace_if(key, data, token)


# Renewing.


@pytest.mark.parametrize("later", [WEEK, timedelta(seconds=1)])
def test_the_same_token_gets_another_end(kit: Kit, later: timedelta) -> None:
    (before,) = found(kit)
    done = renew(kit, kit.clock.now + later)
    (after,) = found(kit)
    assert done == Change(after, changed=True)
    assert (after.expires, after.token_digest) == (kit.clock.now + later, before.token_digest)
    assert (after.lists, after.created, after.revoked) == (before.lists, before.created, None)


@pytest.mark.parametrize("until", [WEEK, None])
def test_an_expired_one_is_good_again(kit: Kit, until: timedelta | None) -> None:
    renew(kit, kit.clock.now + WEEK)
    kit.clock.tick(days=7)
    assert states(kit) == [(NAME, "expired")]
    renew(kit, kit.clock.now + until if until else None)
    assert states(kit) == [(NAME, "valid")]


def test_an_end_that_it_has_already_is_nothing_new(kit: Kit) -> None:
    end = kit.clock.now + WEEK
    assert renew(kit, end).changed
    before = kit.objects()
    assert not renew(kit, end).changed
    assert not renew(kit, end + timedelta(microseconds=7)).changed  # documents have seconds
    assert kit.objects() == before


def test_an_end_in_the_past_is_refused(kit: Kit) -> None:
    before = kit.objects()
    with pytest.raises(InputError, match="in the future"):
        renew(kit, kit.clock.now)
    assert kit.objects() == before


def test_a_revoked_one_is_not_renewed(kit: Kit) -> None:
    revoke(kit)
    before = kit.objects()
    with pytest.raises(InputError, match="subscriber add"):
        renew(kit, None)
    assert kit.objects() == before


def test_no_document_ever_comes_back_with_the_same_bytes(kit: Kit) -> None:
    """Else a compare-and-swap could take it for the one that it has read (`Store`, "Tokens")."""
    key, seen = key_of(kit), set()
    for end in (WEEK, None, WEEK, None, 2 * WEEK, WEEK):
        renew(kit, kit.clock.now + end if end else None)
        seen.add(kit.objects()[key])
    assert len(seen) == 6
    revoke(kit)
    assert kit.objects()[key] not in seen


# Revoking.


def test_a_revoked_token_is_good_for_nothing(kit: Kit) -> None:
    add(kit, "other")
    done = revoke(kit, "the key was lost")
    assert (done.changed, done.subscription.revoked) == (True, kit.clock.now)
    assert states(kit) == [(NAME, "revoked"), ("other", "valid")]
    assert not found(kit)[0].valid(kit.clock.now)
    assert found(kit)[0].reason == "the key was lost"


def test_revoking_again_keeps_the_first_time_and_reason(kit: Kit) -> None:
    first = revoke(kit, "first")
    before = kit.objects()
    kit.clock.tick(days=1)
    again = revoke(kit, "second")
    assert again == Change(first.subscription, changed=False)
    assert kit.objects() == before


def test_an_expired_one_can_be_revoked(kit: Kit) -> None:
    renew(kit, kit.clock.now + WEEK)
    kit.clock.tick(days=8)
    assert revoke(kit).changed
    assert states(kit) == [(NAME, "revoked")]


def test_the_name_is_free_again_and_the_record_stays(kit: Kit) -> None:
    (old,) = found(kit)
    revoke(kit)
    kit.clock.tick(days=1)
    add(kit)
    assert found(kit)[0].token_digest == old.token_digest != found(kit)[1].token_digest
    assert states(kit) == [(NAME, "revoked"), (NAME, "valid")]
    assert renew(kit, kit.clock.now + WEEK).changed
    assert [one.expires for one in found(kit)] == [None, kit.clock.now + WEEK]
    assert revoke(kit).changed
    assert states(kit) == [(NAME, "revoked")] * 2
    assert revoke(kit) == Change(found(kit)[1], changed=False)


def test_the_name_of_an_expired_one_is_not_free(kit: Kit) -> None:
    renew(kit, kit.clock.now + WEEK)
    kit.clock.tick(days=8)
    with pytest.raises(InputError, match="already"):
        add(kit)


def test_all_tokens_of_a_name_are_revoked(kit: Kit) -> None:
    """Two homes gave the name away at the same moment."""
    twin = Subscription(NAME, "ab" * 32, {LIST: (Feed.CLEAR,)}, kit.clock.now)
    assert kit.store.put_new(layout.enrolment_key(twin.token_digest), twin.to_bytes())
    with pytest.raises(InputError, match="2 tokens"):
        renew(kit, None)
    assert revoke(kit).changed
    assert states(kit) == [(NAME, "revoked")] * 2


@pytest.mark.parametrize("change", [revoke, lambda kit: renew(kit, None)])
def test_an_unknown_name(tmp_path: Path, change: Callable[[Kit], Change]) -> None:
    kit = Kit.made(tmp_path)
    add(kit, "other")
    with pytest.raises(InputError, match="no subscriber 'isp'"):
        change(kit)
    assert states(kit) == [("other", "valid")]


def test_a_reason_of_any_length_is_not_kept(kit: Kit) -> None:
    with pytest.raises(InputError, match="reason"):
        revoke(kit, "x" * (MAX_REASON + 1))
    assert states(kit) == [(NAME, "valid")]
    assert revoke(kit, "x" * MAX_REASON).changed


# Others at the same time, and a storage that fails.


def test_a_lost_race_is_tried_again_and_loses_no_change_of_others(kit: Kit) -> None:
    ends = [kit.clock.now + WEEK, kit.clock.now + 2 * WEEK]
    other = kit.twin(kit.folder / "other")
    store = Meddled(kit.store, *(lambda end=end: renew(other, end) for end in ends))
    assert revoke(kit, store=store).changed
    (one,) = found(kit)
    assert (one.state(kit.clock.now), one.expires) == ("revoked", ends[-1])


def test_renewing_does_not_undo_a_revocation_by_somebody_else(kit: Kit) -> None:
    other = kit.twin(kit.folder / "other")
    with pytest.raises(InputError, match="revoked for good"):
        renew(kit, kit.clock.now + WEEK, store=Meddled(kit.store, lambda: revoke(other)))
    assert [(one.state(kit.clock.now), one.expires) for one in found(kit)] == [("revoked", None)]


def test_two_who_revoke_agree(kit: Kit) -> None:
    other = kit.twin(kit.folder / "other")
    done = revoke(kit, "mine", store=Meddled(kit.store, lambda: revoke(other, "theirs")))
    assert (done.changed, done.subscription.reason) == (False, "theirs")
    assert replaced(kit) == 1


def test_who_always_loses_gives_up(tmp_path: Path) -> None:
    kit = Kit.made(tmp_path, race_seconds=0.0)
    add(kit)
    other = kit.twin(kit.folder / "other")
    others = [lambda days=days: renew(other, kit.clock.now + days * WEEK) for days in range(1, 9)]
    with pytest.raises(LostRace) as lost:
        revoke(kit, store=Meddled(kit.store, *others))
    assert lost.value.exit_code == 21
    assert states(kit) == [(NAME, "valid")]


@pytest.mark.parametrize(
    ("fault", "error", "exit_code", "after"),
    [
        (Fault.LANDED_BUT_ERRORED, OutcomeUnknown, 22, "revoked"),
        (Fault.LOST, StoreUnreachable, 10, "valid"),
    ],
)
def test_a_storage_that_fails(
    kit: Kit, fault: Fault, error: type[OutcomeUnknown], exit_code: int, after: str
) -> None:
    with pytest.raises(error) as failure:
        revoke(kit, store=FaultyStore(kit.store, fault_at(1, fault)))
    assert failure.value.exit_code == exit_code
    assert states(kit) == [(NAME, after)]
    assert revoke(kit).changed == (after == "valid")


# What is not needed, and what is damaged.


def test_neither_keys_nor_a_sound_head_are_needed(kit: Kit) -> None:
    home = kit.folder / "home"
    for name in ("keys", "journal", "lists"):
        shutil.rmtree(home / name)
    kit.clock.tick(days=900)
    kit.memory.plant(layout.TIMESTAMP, b"{")
    assert renew(kit, kit.clock.now + WEEK).changed
    assert revoke(kit).changed
    assert states(kit) == [(NAME, "revoked")]


@pytest.mark.parametrize("change", [revoke, lambda kit: renew(kit, None), found])
def test_a_home_that_knows_nothing_is_not_made(kit: Kit, change: Callable[[Kit], object]) -> None:
    stranger = Kit(kit.folder / "mistyped", kit.store, kit.clock, kit.settings)
    with pytest.raises(LocalError, match="no repository"):
        change(stranger)
    assert not (stranger.folder / "home").exists()
    assert states(kit) == [(NAME, "valid")]


@pytest.mark.parametrize("change", [revoke, lambda kit: renew(kit, None)])
def test_one_command_at_a_time(tmp_path: Path, change: Callable[[Kit], Change]) -> None:
    kit = Kit.made(tmp_path, lock_seconds=0.05)
    add(kit)
    with file_lock(tmp_path / "home" / "lock", wait_seconds=1, what="home"), pytest.raises(Busy):
        change(kit)
    assert len(found(kit)) == 1  # looking does not wait


@pytest.mark.parametrize("bytes_of", ["damaged", "of-another", "of-a-newer-version"])
def test_one_bad_document_does_not_keep_the_others_from_being_changed(
    kit: Kit, bytes_of: str
) -> None:
    key = layout.enrolment_key("ee" * 32)
    good = kit.objects()[key_of(kit)]
    newer = json.dumps(json.loads(good) | {"format": 2}).encode()
    data = {"damaged": b"{", "of-another": good, "of-a-newer-version": newer}[bytes_of]
    kit.memory.plant(key, data)
    assert list_subscribers(kit.repository()).unreadable == (key,)
    add(kit, "next")
    assert renew(kit, kit.clock.now + WEEK).changed
    assert revoke(kit).changed
    assert states(kit) == [(NAME, "revoked"), ("next", "valid")]
    assert kit.objects()[key] == data
    with pytest.raises(InputError, match="no subscriber 'lost'; 1 documents"):
        revoke_subscriber(kit.repository(), "lost")


def test_a_document_that_is_gone_meanwhile(kit: Kit) -> None:
    key = key_of(kit)
    with pytest.raises(InputError, match="removed"):
        revoke(kit, store=Meddled(kit.store, lambda: kit.memory.uproot(key)))
    assert found(kit) == []


def test_a_document_of_an_older_version_is_changed_too(kit: Kit) -> None:
    key = key_of(kit)
    old = json.loads(kit.objects()[key])
    del old["reason"], old["revision"]
    kit.memory.plant(key, json.dumps(old).encode())
    assert states(kit) == [(NAME, "valid")]
    assert revoke(kit).subscription.revision == 1


def test_documents_say_what_they_were_made_from() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    whole = Subscription(
        *(NAME, "ab" * 32, {LIST: (Feed.CLEAR, Feed.HASHED)}, moment, moment + WEEK, moment),
        admin=True,
        reason="a \u201creason\u201d",
        revision=7,
    )
    assert Subscription.from_bytes(whole.to_bytes()) == whole
