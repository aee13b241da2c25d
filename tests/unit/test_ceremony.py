"""Ceremonies from the first to the last write: a repository, its lists, and homes that join."""

from pathlib import Path

import pytest

from blocklist.core.errors import InputError, UnknownList
from blocklist.publisher import start, upkeep
from blocklist.publisher.audit.run import audit_list
from blocklist.publisher.ceremonies import trustees
from blocklist.store import layout
from signing.errors import (
    KeyTrouble,
    Malformed,
    SignaturesMissing,
    Tampered,
    UnknownRole,
    Unsafe,
)
from signing.proposals import ListChange, RootChange
from signing.trust import TrustState
from tests.ceremony_kit import LEAD, LISTS, ONLINE, ROOTS, TARGETS, Hotline
from tests.fakes import Fault, FaultyStore, SimulatedCrash, fault_at
from tests.publisher_kit import LIST, Kit, without_sync

START_WRITES = 4  # root, targets, snapshot metadata, timestamp
NEW_LIST_WRITES = 4  # secrets, targets, snapshot metadata, timestamp
CRASHES = [Fault.CRASH_BEFORE, Fault.CRASH_AFTER]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sync(monkeypatch)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Hotline:
    with pytest.MonkeyPatch.context() as patch:
        without_sync(patch)
        return Hotline.started(tmp_path_factory.mktemp("ceremony") / "hotline")


@pytest.fixture
def hotline(shared: Hotline, tmp_path: Path) -> Hotline:
    return shared.copied(tmp_path / "hotline")


@pytest.fixture
def assembled(tmp_path: Path) -> Hotline:
    return Hotline.assembled(tmp_path / "assembled")


def new_list(hotline: Hotline, name: str = "other") -> ListChange:
    return ListChange(name, [hotline.key(LISTS)], paths=start.list_paths(name))


# The start.


@pytest.mark.parametrize("fault", CRASHES)
@pytest.mark.parametrize("at", range(1, START_WRITES + 1))
def test_a_start_that_dies_is_finished_by_running_it_again(
    assembled: Hotline, at: int, fault: Fault
) -> None:
    draft = assembled.signed(assembled.first(), "ann", "ben", TARGETS)
    with pytest.raises(SimulatedCrash):
        assembled.commit(draft, store=FaultyStore(assembled.store, fault_at(at, fault)))
    assembled.clock.tick(minutes=5)
    done = assembled.commit(draft)
    assert not done.unchanged
    assert assembled.kit().problems() == []
    assert b"x-blocklist" not in assembled.kit().root()
    assert assembled.commit(draft).unchanged


@pytest.mark.parametrize(
    "people", [["ann", "ben"], ["ann", TARGETS], [TARGETS], ["ann", "ben", "cyd"]]
)
def test_a_start_without_all_signatures_writes_nothing(
    assembled: Hotline, people: list[str]
) -> None:
    with pytest.raises(SignaturesMissing):
        assembled.commit(assembled.signed(assembled.first(), *people))
    assert assembled.memory.objects == {}


def test_a_start_needs_the_online_key(assembled: Hotline) -> None:
    draft = assembled.signed(assembled.first(), "ann", "ben", TARGETS)
    (assembled.folder / LEAD / "home/keys" / ONLINE).unlink()
    with pytest.raises(SignaturesMissing, match="the online key here"):
        assembled.commit(draft)
    assert assembled.memory.objects == {}


def test_a_storage_that_holds_another_repository_is_not_touched(
    hotline: Hotline, assembled: Hotline
) -> None:
    before = hotline.memory.objects
    draft = assembled.signed(assembled.first(), "ann", "ben", TARGETS)
    with pytest.raises(InputError, match="another repository"):
        assembled.commit(draft, store=hotline.store)
    assert hotline.memory.objects == before


def test_a_home_that_knows_a_repository_begins_no_other(hotline: Hotline) -> None:
    hotline.clock.tick(days=1)
    draft = hotline.first()
    with pytest.raises(InputError, match="knows another repository"):
        hotline.signed(draft, "ann")


def test_an_interrupted_start_is_not_mixed_with_another_draft(assembled: Hotline) -> None:
    first = assembled.signed(assembled.first(), "ann", "ben", TARGETS)
    with pytest.raises(SimulatedCrash):
        assembled.commit(first, store=FaultyStore(assembled.store, fault_at(1, Fault.CRASH_BEFORE)))
    assembled.clock.tick(days=1)
    other = assembled.signed(assembled.first(), "ann", "ben", TARGETS)
    with pytest.raises(InputError, match="began another repository"):
        assembled.commit(other)


# Lists.


@pytest.mark.parametrize("fault", CRASHES)
@pytest.mark.parametrize("at", range(1, NEW_LIST_WRITES + 1))
def test_a_new_list_that_dies_halfway_is_finished_by_running_it_again(
    hotline: Hotline, at: int, fault: Fault
) -> None:
    draft = hotline.signed(hotline.propose_lists(new_list(hotline)), TARGETS)
    with pytest.raises(SimulatedCrash):
        hotline.commit(draft, store=FaultyStore(hotline.store, fault_at(at, fault)))
    assert hotline.client("any").release is not None  # the other list is unharmed
    hotline.commit(draft)
    secret = hotline.repository().secret("other")
    assert secret.test_host == "test-entry.other.example"
    assert hotline.kit().publish("b.example/y", name="other").version == 1
    assert hotline.commit(draft).unchanged
    assert hotline.repository().secret("other") == secret


def test_a_new_list_has_the_secrets_that_list_create_makes(
    hotline: Hotline, tmp_path: Path
) -> None:
    hotline.change_lists(new_list(hotline))
    dev = Kit.made(tmp_path / "dev")
    ours, theirs = hotline.repository().secret("other"), dev.repository().secret(LIST)
    assert type(ours) is type(theirs)
    assert len(ours.to_bytes()) - len("other") * 2 == len(theirs.to_bytes()) - len(LIST) * 2
    assert hotline.home(LEAD).agrees_with(ours, released=False)


def test_a_list_is_dropped_and_its_subscribers_are_told(hotline: Hotline) -> None:
    hotline.client("existing")
    hotline.change_lists(ListChange(LIST, remove=True))
    for name in ("existing", "fresh"):
        with pytest.raises(UnknownRole):
            hotline.client(name)
    meta = hotline.kit().head().snapshot.signed.meta
    assert "demo.json" in meta  # for ever: clients refuse metadata that forgets it
    upkeep.refresh(hotline.repository())
    with pytest.raises(UnknownList):
        hotline.kit().publish("c.example/z")


def test_a_dropped_list_comes_back_only_with_keys_that_sign_its_last_version(
    hotline: Hotline,
) -> None:
    hotline.new_key(LEAD, "list-2")
    hotline.change_lists(ListChange(LIST, remove=True))
    other = ListChange(LIST, [hotline.key("list-2")], paths=start.list_paths(LIST))
    with pytest.raises(Unsafe, match="version 1 of demo has 0 signatures"):
        hotline.propose_lists(other)
    hotline.change_lists(new_list(hotline, LIST))
    assert hotline.kit().publish("c.example/z").version == 2
    assert hotline.client("any").release is not None


def test_list_create_and_remove_say_where_the_targets_key_is(hotline: Hotline) -> None:
    before = hotline.memory.objects
    with pytest.raises(SignaturesMissing, match="trust propose DRAFT --new-list"):
        start.create_list(hotline.repository(), "other")
    with pytest.raises(SignaturesMissing, match="--drop-list"):
        start.remove_list(hotline.repository(), LIST)
    assert hotline.memory.objects == before
    assert not (hotline.folder / LEAD / "home/keys/list-other").exists()


def test_list_remove_with_the_targets_key_at_hand(tmp_path: Path) -> None:
    kit = Kit.made(tmp_path)
    kit.publish("a.example/x")
    start.remove_list(kit.repository(), LIST)
    with pytest.raises(UnknownRole):
        kit.client(tmp_path / "client")
    with pytest.raises(UnknownList):
        start.remove_list(kit.repository(), LIST)
    assert kit.problems() == []


@pytest.mark.parametrize("fault", CRASHES)
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_list_remove_that_dies_is_run_again(tmp_path: Path, at: int, fault: Fault) -> None:
    kit = Kit.made(tmp_path)
    with pytest.raises(SimulatedCrash):
        start.remove_list(kit.repository(FaultyStore(kit.store, fault_at(at, fault))), LIST)
    if (at, fault) != (3, Fault.CRASH_AFTER):  # then it was done
        start.remove_list(kit.repository(), LIST)
    with pytest.raises(UnknownRole):
        kit.client(tmp_path / "client")


def test_a_commit_of_lists_beside_a_release_keeps_both(hotline: Hotline) -> None:
    draft = hotline.signed(hotline.propose_lists(new_list(hotline)), TARGETS)
    released = []

    def meddling(number: int, op: str, key: str) -> Fault | None:
        if key == layout.TIMESTAMP and not released:
            released.append(hotline.kit("other machine").publish("c.example/z").version)
        return None

    hotline.kit().twin(hotline.folder / "other machine")
    hotline.commit(draft, store=FaultyStore(hotline.store, meddling))
    found = hotline.client("any").release
    assert released == [2]
    assert found is not None
    assert found.version == 2
    assert hotline.kit().publish("b.example/y", name="other").version == 1


def test_a_number_of_targets_that_was_taken_is_proposed_again(hotline: Hotline) -> None:
    draft = hotline.signed(hotline.propose_lists(None), TARGETS)
    hotline.memory.plant(f"{layout.METADATA}3.targets.json", b"left by somebody")
    with pytest.raises(Malformed, match="propose the change again"):
        hotline.commit(draft)
    assert hotline.change_lists(None).versions == {"targets": 4}


def test_history_is_whole_across_rotations_of_all_its_keys(hotline: Hotline) -> None:
    """What former keys signed is proven by what came after, for `fsck`, audit and deltas."""
    for who, name in ((LEAD, "online-2"), (LEAD, "list-2"), ("tgt-2", "tgt-2")):
        hotline.new_key(who, name)
    hotline.pin("tgt-2")
    kit = hotline.kit()
    hotline.change_root(RootChange(online=[hotline.key("online-2")]), "ann", "ben")
    kit.publish(add="b.example/y")
    hotline.change_lists(ListChange(LIST, [hotline.key("list-2")]))
    (hotline.folder / LEAD / "home/keys" / LISTS).rename(hotline.folder / "put away")
    kit.publish(add="c.example/y")
    hotline.change_lists(ListChange(LIST, drop=[hotline.key(LISTS).keyid]))
    replaced = RootChange(targets=[hotline.key("tgt-2")])
    hotline.change_root(replaced, "ben", "cyd", TARGETS, "tgt-2")
    kit.publish(add="d.example/y")
    assert kit.problems() == []
    report = audit_list(hotline.repository(), LIST)
    assert report.found == []
    assert report.checked["releases"] == 4
    found = hotline.client("any").release
    assert found is not None
    assert found.version == 4


# Homes.


def test_a_home_begins_with_a_root_that_was_compared(hotline: Hotline, tmp_path: Path) -> None:
    root = hotline.kit().root()
    digest = TrustState.pin(root).root.digest
    hotline.new_key("eve", "eve")
    spaced = " ".join(digest[at : at + 4].upper() for at in range(0, 64, 4))
    trustees.pin(hotline.home("eve"), root, spaced, 5.0)
    trustees.pin(hotline.home("eve"), root, digest, 5.0)  # again is no harm
    assert hotline.kit("eve").head().root.version == 1


@pytest.mark.parametrize("told", ["", "00" * 32, "0" * 63])
def test_another_fingerprint_pins_nothing(hotline: Hotline, told: str) -> None:
    with pytest.raises(InputError, match="not that of this root"):
        trustees.pin(hotline.home("eve"), hotline.kit().root(), told, 5.0)
    assert not hotline.home("eve").has_trust()


def test_a_root_that_nobody_signed_is_not_pinned(hotline: Hotline) -> None:
    edited = hotline.kit().root().replace(b'"threshold":2', b'"threshold":1')
    with pytest.raises(Tampered):
        trustees.pin(hotline.home("eve"), edited.replace(b'"sig":"', b'"sig":"00'), None, 5.0)
    with pytest.raises(Malformed):
        trustees.pin(hotline.home("eve"), b"{}", None, 5.0)


def test_a_pinned_home_is_not_turned_to_another_repository(
    hotline: Hotline, tmp_path: Path
) -> None:
    other = Hotline.started(tmp_path / "other")
    with pytest.raises(InputError, match="knows a repository"):
        trustees.pin(hotline.home("ann"), other.kit().root(), None, 5.0)


def test_who_may_sign_and_who_did(hotline: Hotline) -> None:
    found = trustees.trustees(hotline.repository("ann"))
    by_name = {role.name: role for role in found.roles}
    assert set(by_name) == {"root", "targets", "snapshot", "timestamp", LIST}
    root = by_name["root"]
    assert set(root.keys) == {hotline.key(name).keyid for name in ROOTS}
    assert set(root.signed) == {hotline.key(name).keyid for name in ("ann", "ben")}
    assert (root.threshold, root.days, root.state) == (2, 457, "fresh")
    assert found.names == {hotline.key("ann").keyid: "ann"}
    assert found.ours == {hotline.key("ann").keyid}
    assert not found.dev
    assert found.warnings == ()


def test_what_is_due_is_a_warning(hotline: Hotline) -> None:
    hotline.clock.tick(days=2)
    (warning,) = trustees.trustees(hotline.repository()).warnings
    assert warning.startswith("timestamp expired")


def test_a_former_online_key_on_live_files_is_a_warning(hotline: Hotline) -> None:
    """What a rotation leaves that died before its last step."""
    hotline.new_key(LEAD, "online-2")
    draft = hotline.signed(
        hotline.propose(RootChange(online=[hotline.key("online-2")])), "ann", "ben"
    )
    with pytest.raises(SimulatedCrash):
        hotline.commit(draft, store=FaultyStore(hotline.store, fault_at(4, Fault.CRASH_BEFORE)))
    warnings = trustees.trustees(hotline.repository("ann")).warnings
    assert [line for line in warnings if "former key: commit the root again" in line]
    hotline.commit(draft)
    assert trustees.trustees(hotline.repository("ann")).warnings == ()


def test_a_new_key_name_with_a_wrong_file_beside_is_not_used(hotline: Hotline) -> None:
    """Somebody else's public half beside our private one is noticed when it is loaded."""
    folder = hotline.home("ann").keys_directory
    (folder / "ann.pub").write_bytes((hotline.home("ben").keys_directory / "ben.pub").read_bytes())
    with pytest.raises(KeyTrouble, match="private half"):
        hotline.signed(hotline.propose(RootChange()), "ann")
