"""Roots are replaced so that no client breaks: killed before and after every single write.

After each crash a client with state and a fresh one come by; then the command is run again.
docs/adr/0013-rotation-of-the-online-key.md states the figures that are counted here.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blocklist.core.errors import OutcomeUnknown, StoreUnreachable
from blocklist.publisher import upkeep
from blocklist.store import layout
from signing import commit, roles
from signing.drafts import Draft
from signing.errors import SignaturesMissing, Tampered, TrustError
from signing.proposals import RootChange
from tests.ceremony_kit import LEAD, ONLINE, ROOTS, TARGETS, Hotline
from tests.fakes import Fault, FaultyStore, SimulatedCrash, fault_at
from tests.publisher_kit import without_sync

CHANGES: dict[str, tuple[int, Callable[[Hotline], tuple[RootChange, list[str]]]]] = {
    "online": (5, lambda h: (RootChange(online=[h.key("online-2")]), ["ann", "ben"])),
    "targets": (
        4,
        lambda h: (RootChange(targets=[h.key("tgt-2")]), ["ann", "ben", TARGETS, "tgt-2"]),
    ),
    "everything": (
        6,
        lambda h: (
            RootChange(
                [h.key("dee")],
                [h.key("cyd").keyid],
                targets=[h.key("tgt-2")],
                online=[h.key("online-2")],
            ),
            ["ann", "ben", TARGETS, "tgt-2"],
        ),
    ),
    "root": (1, lambda h: (RootChange([h.key("dee")], [h.key("cyd").keyid]), ["ann", "ben"])),
}
POINTS = [(kind, at) for kind, (writes, _) in CHANGES.items() for at in range(1, writes + 1)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hotline]:
    """A hotline with a release, a client, and the next keys made. Left as found."""
    with pytest.MonkeyPatch.context() as patch:
        without_sync(patch)
        hotline = Hotline.started(tmp_path_factory.mktemp("shared") / "hotline")
        for who, name in ((LEAD, "online-2"), ("tgt-2", "tgt-2"), ("dee", "dee")):
            hotline.new_key(who, name)
        hotline.pin("tgt-2", "dee")
        hotline.client("existing")
        yield hotline


@pytest.fixture
def hotline(shared: Hotline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hotline:
    without_sync(monkeypatch)
    return shared.copied(tmp_path / "hotline")


def drafted(hotline: Hotline, kind: str) -> Draft:
    change, people = CHANGES[kind][1](hotline)
    return hotline.signed(hotline.propose(change), *people)


def assert_well(hotline: Hotline, root: int | None = None) -> None:
    """Both kinds of clients accept what is live."""
    found = [hotline.client(name) for name in ("existing", "fresh")]
    assert all(one.release is not None for one in found)
    if root is not None:
        assert {one.versions["root"] for one in found} == {root}


def signers_of(hotline: Hotline, file: str) -> set[str]:
    document = json.loads(hotline.kit().metadata(file))
    return {signature["keyid"] for signature in document["signatures"]}


def live(hotline: Hotline) -> list[str]:
    head = hotline.kit("dee" if hotline.home("dee").has_trust() else LEAD).head()
    return [f"{head.snapshot.version}.snapshot.json", "timestamp.json"]


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_of_root_takes_so_many_writes(hotline: Hotline, kind: str) -> None:
    store = FaultyStore(hotline.store)
    hotline.commit(drafted(hotline, kind), store=store)
    assert store.writes == CHANGES[kind][0]
    assert_well(hotline, root=2)


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
@pytest.mark.parametrize(("kind", "at"), POINTS)
def test_no_client_breaks_wherever_it_dies(
    hotline: Hotline, kind: str, at: int, fault: Fault
) -> None:
    draft = drafted(hotline, kind)
    with pytest.raises(SimulatedCrash):
        hotline.commit(draft, store=FaultyStore(hotline.store, fault_at(at, fault)))
    assert_well(hotline)
    hotline.commit(draft)
    assert_well(hotline, root=2)
    if kind in ("online", "everything"):
        for file in live(hotline):
            assert signers_of(hotline, file) == {hotline.key("online-2").keyid}
    assert hotline.commit(draft).unchanged
    assert hotline.kit().problems() == []


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.LANDED_BUT_ERRORED])
@pytest.mark.parametrize("at", range(1, 7))
def test_a_write_whose_answer_is_lost_is_done_again(
    hotline: Hotline, at: int, fault: Fault
) -> None:
    draft = drafted(hotline, "everything")
    with pytest.raises((StoreUnreachable, OutcomeUnknown)):
        hotline.commit(draft, store=FaultyStore(hotline.store, fault_at(at, fault)))
    assert_well(hotline)
    hotline.commit(draft)
    assert_well(hotline, root=2)


@pytest.mark.parametrize("at", range(1, 6))
def test_the_machine_with_the_old_key_may_refresh_at_any_moment(
    hotline: Hotline, tmp_path: Path, at: int
) -> None:
    """Also between the last look and the write of the root: the end is well."""
    old = hotline.kit().twin(tmp_path / "old machine")
    draft = drafted(hotline, "online")
    refreshed = []

    def meddling(number: int, op: str, key: str) -> Fault | None:
        if number == at:
            with suppress(TrustError):
                upkeep.refresh(old.repository())
                refreshed.append(number)
        return None

    hotline.commit(draft, store=FaultyStore(hotline.store, meddling))
    assert refreshed or at > 3  # once the root is there, it finds that it may not sign
    assert_well(hotline, root=2)
    for file in live(hotline):
        assert signers_of(hotline, file) == {hotline.key("online-2").keyid}


def test_the_old_key_signs_nothing_afterwards(hotline: Hotline) -> None:
    draft = drafted(hotline, "online")
    hotline.commit(draft)
    (hotline.folder / LEAD / "home/keys/online-2").unlink()
    with pytest.raises(SignaturesMissing):
        upkeep.refresh(hotline.repository())


def test_the_naive_order_breaks_clients_at_four_of_its_six_crash_points(
    hotline: Hotline, tmp_path: Path
) -> None:
    """What the order of `signing.rotate` is for: the new root first, then its refresh."""
    draft = drafted(hotline, "online")
    broken = 0
    for at in range(1, 4):
        for fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            world = hotline.copied(tmp_path / f"{at} {fault}")
            store = FaultyStore(world.store, fault_at(at, fault))
            with pytest.raises(SimulatedCrash):
                naive(world, draft, store)
            for name in ("existing", "fresh"):
                with suppress(Tampered):
                    world.client(name)
                    continue
                broken += 1
    assert broken == 2 * 4


def naive(hotline: Hotline, draft: Draft, store: FaultyStore) -> None:
    repository = hotline.repository(store=store)
    head = repository.head(None)
    assert draft.root is not None
    new = roles.RoleFile("root", draft.root.to_bytes(roles.SERIALIZER), draft.root)
    repository.metadata.put_new("2.root.json", new.data)
    online = hotline.signer("online-2")
    commit.plan(repository.metadata, replace(head, root=new), online, hotline.clock()).write(
        repository.metadata
    )


def test_without_the_old_key_it_says_where_to_run(hotline: Hotline) -> None:
    draft = drafted(hotline, "online")
    (hotline.folder / LEAD / "home/keys/online").unlink()
    before = hotline.memory.objects
    with pytest.raises(SignaturesMissing, match=r"on a machine with both.*--old-key-lost"):
        hotline.commit(draft)
    assert hotline.memory.objects == before


@pytest.mark.parametrize("kind", ["online", "targets"])
def test_a_lost_key_costs_clients_an_error_between_two_writes(hotline: Hotline, kind: str) -> None:
    change, people = CHANGES[kind][1](hotline)
    draft = hotline.signed(hotline.propose(change), *[p for p in people if p != TARGETS])
    if kind == "online":
        (hotline.folder / LEAD / "home/keys/online").unlink()
    store = FaultyStore(hotline.store, fault_at(1, Fault.CRASH_AFTER))
    with pytest.raises(SimulatedCrash):
        hotline.commit(draft, store=store, key_lost=True)
    for name in ("existing", "fresh"):
        with pytest.raises(Tampered):
            hotline.client(name)
    hotline.commit(draft, key_lost=True)
    assert_well(hotline, root=2)


def test_a_targets_key_that_did_not_sign_is_asked_for(hotline: Hotline) -> None:
    change, _ = CHANGES["targets"][1](hotline)
    draft = hotline.signed(hotline.propose(change), "ann", "ben", "tgt-2")
    before = hotline.memory.objects
    with pytest.raises(SignaturesMissing, match=r"old targets key.*--old-key-lost"):
        hotline.commit(draft)
    assert hotline.memory.objects == before


def test_a_release_between_the_crash_and_the_rerun_is_kept(hotline: Hotline) -> None:
    draft = drafted(hotline, "online")
    with pytest.raises(SimulatedCrash):
        hotline.commit(draft, store=FaultyStore(hotline.store, fault_at(2, Fault.CRASH_AFTER)))
    hotline.kit().publish("a.example/x\nb.example/y")
    hotline.commit(draft)
    found = hotline.client("existing")
    assert found.release is not None
    assert (found.release.version, found.versions["root"]) == (2, 2)


def test_something_at_the_number_that_people_signed_is_not_overwritten(hotline: Hotline) -> None:
    draft = drafted(hotline, "targets")
    hotline.memory.plant(f"{layout.METADATA}3.targets.json", b"left by somebody")
    with pytest.raises(TrustError, match=r"lies at 3\.targets\.json: propose the change again"):
        hotline.commit(draft)
    assert_well(hotline)
    again = drafted(hotline, "targets")
    assert again.targets is not None
    assert again.targets.signed.version == 4
    hotline.commit(again)
    assert_well(hotline, root=2)


def plant_root(hotline: Hotline, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(hotline.kit().metadata("1.root.json"))
    change(document["signed"])
    data = json.dumps(document, separators=(",", ":")).encode()
    hotline.memory.plant(f"{layout.METADATA}2.root.json", data)


def test_an_invalid_next_root_is_reported_and_replaced_only_on_demand(hotline: Hotline) -> None:
    plant_root(hotline, lambda signed: signed.update(version=2))
    with pytest.raises(Tampered):
        hotline.client("existing")
    (problem,) = hotline.kit().problems()
    assert "2.root.json is no root that version 1 signs" in problem
    assert "--replace-invalid-root" in problem
    draft = drafted(hotline, "root")
    with pytest.raises(Tampered, match="--replace-invalid-root"):
        hotline.commit(draft)
    hotline.commit(draft, replace_invalid_root=True)
    assert_well(hotline, root=2)
    assert hotline.kit().problems() == []


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
def test_replacing_an_invalid_root_may_die_anywhere(
    hotline: Hotline, at: int, fault: Fault
) -> None:
    plant_root(hotline, lambda signed: signed.update(version=2))
    draft = drafted(hotline, "root")
    store = FaultyStore(hotline.store, fault_at(at, fault))
    with pytest.raises(SimulatedCrash):
        hotline.commit(draft, store=store, replace_invalid_root=True)
    hotline.commit(draft, replace_invalid_root=True)
    assert_well(hotline, root=2)


def test_a_valid_next_root_is_never_replaced(hotline: Hotline) -> None:
    first, second = drafted(hotline, "root"), drafted(hotline, "online")
    hotline.commit(first)
    before = hotline.memory.objects
    with pytest.raises(TrustError, match=r"version 1.*version 2 is known|came first"):
        hotline.commit(second, replace_invalid_root=True)
    assert hotline.memory.objects == before


def test_a_root_far_above_is_reported(hotline: Hotline) -> None:
    hotline.memory.plant(f"{layout.METADATA}7.root.json", b"anything")
    assert hotline.kit().problems() == ["7.root.json lies above the newest root"]


def test_copies_that_were_signed_apart_are_put_together(hotline: Hotline) -> None:
    change, _ = CHANGES["root"][1](hotline)
    draft = hotline.propose(change)
    apart = [hotline.signed(draft, who) for who in ROOTS[:2]]
    with pytest.raises(SignaturesMissing, match="expected 2 signatures on root, got 1"):
        hotline.commit(apart[0])
    hotline.commit(*apart)
    assert_well(hotline, root=2)
    assert hotline.commit(*apart[::-1]).unchanged


def test_the_online_key_may_be_two_for_a_while(hotline: Hotline) -> None:
    """A way without an error when the old one is lost: both, a refresh, then the new one alone."""
    both = RootChange(online=[hotline.key(ONLINE), hotline.key("online-2")])
    hotline.change_root(both, "ann", "ben")
    (hotline.folder / LEAD / "home/keys/online").rename(hotline.folder / "lost")
    upkeep.refresh(hotline.repository())
    assert_well(hotline, root=2)
    hotline.change_root(RootChange(online=[hotline.key("online-2")]), "ann", "cyd")
    assert_well(hotline, root=3)
