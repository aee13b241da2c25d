"""`init --dev` and `list create`: once, also when it takes several attempts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from blocklist.core.errors import DigestMismatch, InputError, LocalError, UnknownList
from blocklist.core.private import ListSecret
from blocklist.publisher import home as homes
from blocklist.publisher import start
from blocklist.store import layout
from signing import keys
from signing.errors import KeyTrouble, SignaturesMissing
from tests.fakes import Fault, SimulatedCrash, fault_at, no_faults
from tests.publisher_kit import LIST, TEST_LINE, Kit, without_sync

FIRST_FILES = ["1.root.json", "1.targets.json", "1.snapshot.json", "timestamp.json"]
CREATE_WRITES = 4  # secrets, targets, snapshot metadata, timestamp


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sync(monkeypatch)


@pytest.fixture
def empty(tmp_path: Path) -> Kit:
    return Kit.empty(tmp_path)


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit.made(tmp_path)


def crash(*_args: object, **_kwargs: object) -> None:
    raise SimulatedCrash


def key_ids(kit: Kit) -> dict[str, str]:
    return {key.path.name: key.public.keyid for key in kit.home.key_files()}


def test_init_makes_a_dev_repository_that_verifies(empty: Kit) -> None:
    trust = start.init_dev(empty.repository())
    assert [key.removeprefix(layout.METADATA) for key in empty.memory.writes] == FIRST_FILES
    assert trust.root.data == empty.root()
    assert empty.problems() == []
    assert b'"x-blocklist":{"dev":true}' in empty.root()


def test_init_keys_are_for_the_owner_only(empty: Kit) -> None:
    start.init_dev(empty.repository())
    modes = {key.path.stat().st_mode & 0o777 for key in empty.home.key_files()}
    assert modes == {0o600}
    assert set(key_ids(empty)) == {"root-1", "root-2", "root-3", "targets", "online"}


def test_init_twice_is_refused_and_changes_nothing(kit: Kit) -> None:
    before = kit.objects(), key_ids(kit)
    with pytest.raises(InputError, match="already") as caught:
        start.init_dev(kit.repository())
    assert caught.value.exit_code == 2
    assert (kit.objects(), key_ids(kit)) == before


def test_init_on_a_storage_that_holds_another_repository_is_refused(
    kit: Kit, tmp_path: Path
) -> None:
    before = kit.objects()
    other = Kit(tmp_path / "other", kit.store)
    with pytest.raises(InputError, match="another repository"):
        start.init_dev(other.repository())
    assert kit.objects() == before
    assert not other.home.has_trust()


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_init_is_finished_by_a_rerun(empty: Kit, at: int, fault: Fault) -> None:
    """Root numbers must be consecutive: the rerun adopts what the crash left, byte for byte."""
    empty.memory.faults = fault_at(at, fault)
    with pytest.raises(SimulatedCrash):
        start.init_dev(empty.repository())
    empty.memory.faults = no_faults
    left, made = empty.objects(), key_ids(empty)
    empty.clock.tick(hours=1)
    start.init_dev(empty.repository())
    assert left.items() <= empty.objects().items()
    assert key_ids(empty) == made
    assert len(empty.objects()) == len(FIRST_FILES)
    assert empty.problems() == []


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.LANDED_BUT_ERRORED])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_init_is_repeated_after_a_failed_write(empty: Kit, at: int, fault: Fault) -> None:
    empty.memory.faults = fault_at(at, fault)
    with pytest.raises(Exception, match=r"lost|no answer"):
        start.init_dev(empty.repository())
    empty.memory.faults = no_faults
    start.init_dev(empty.repository())
    assert empty.problems() == []


@pytest.mark.parametrize("where", ["_write_new", "create"])
def test_a_crash_while_keys_are_made_leaves_none(
    empty: Kit, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    made = 0
    real: Callable[..., object] = getattr(keys, where)

    def third(*args: object, **kwargs: object) -> object:
        nonlocal made
        made += 1
        return crash() if made == 3 else real(*args, **kwargs)

    monkeypatch.setattr(keys, where, third)
    with pytest.raises(SimulatedCrash):
        start.init_dev(empty.repository())
    assert key_ids(empty) == {}
    monkeypatch.setattr(keys, where, real)
    start.init_dev(empty.repository())
    assert empty.problems() == []


def test_a_crash_between_keys_and_journal_keeps_the_keys(
    empty: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homes, "write_atomic", crash)
    with pytest.raises(SimulatedCrash):
        start.init_dev(empty.repository())
    made = key_ids(empty)
    assert len(made) == 5
    assert empty.objects() == {}
    monkeypatch.undo()
    start.init_dev(empty.repository())
    assert key_ids(empty) == made
    assert empty.problems() == []


def test_a_crash_before_trust_is_kept_is_finished_by_a_rerun(
    empty: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homes.Home, "save_trust", crash)
    with pytest.raises(SimulatedCrash):
        start.init_dev(empty.repository())
    monkeypatch.undo()
    start.init_dev(empty.repository())
    assert empty.problems() == []


def test_the_journal_is_written_before_the_first_object(empty: Kit) -> None:
    empty.memory.faults = fault_at(1, Fault.CRASH_BEFORE)
    with pytest.raises(SimulatedCrash):
        start.init_dev(empty.repository())
    assert (empty.folder / "home" / "journal" / "init.json").exists()


def test_a_damaged_journal_is_local_trouble(empty: Kit) -> None:
    empty.memory.faults = fault_at(1, Fault.CRASH_BEFORE)
    with pytest.raises(SimulatedCrash):
        start.init_dev(empty.repository())
    empty.memory.faults = no_faults
    (empty.folder / "home" / "journal" / "init.json").write_bytes(b"{damaged")
    with pytest.raises(LocalError, match="damaged"):
        start.init_dev(empty.repository())


def test_init_does_not_mix_with_keys_that_somebody_put_there(empty: Kit) -> None:
    keys.create(empty.home.keys_directory / "online")
    with pytest.raises(InputError, match="root-1"):
        start.init_dev(empty.repository())
    assert empty.objects() == {}


def test_nothing_works_before_init(empty: Kit) -> None:
    with pytest.raises(LocalError, match="blocklist init") as caught:
        empty.create("demo")
    assert caught.value.exit_code == 30


def test_a_new_list_has_secrets_and_a_delegation_but_no_release(kit: Kit) -> None:
    head = kit.head()
    assert head.released() == []
    assert kit.repository().secret(LIST).test_host == "test-entry.demo.example"
    assert kit.publish("x.example/a").version == 1
    assert TEST_LINE in kit.lines(1)


def test_lists_have_keys_of_their_own(kit: Kit) -> None:
    kit.create("other")
    secrets = [kit.repository().secret(name) for name in (LIST, "other")]
    assert secrets[0].first_key.id != secrets[1].first_key.id
    made = key_ids(kit)
    assert made["list-demo"] != made["list-other"]
    kit.publish("x.example/a", name="other")
    assert kit.problems() == []


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Demo",
        "a b",
        "a.b",
        "a/b",
        "../x",
        "é",
        "root",
        "targets",
        "snapshot",
        "timestamp",
        "demo\n",
        "a_b",
    ],
)
def test_a_bad_list_name_is_refused_before_anything_is_made(kit: Kit, name: str) -> None:
    before = kit.objects(), key_ids(kit)
    with pytest.raises(InputError, match="list name") as caught:
        start.create_list(kit.repository(), name)
    assert caught.value.exit_code == 2
    assert (kit.objects(), key_ids(kit)) == before


@pytest.mark.parametrize("name", ["a", "0", "-", "x" * 32, "list-1"])
def test_good_list_names_can_be_released(kit: Kit, name: str) -> None:
    start.create_list(kit.repository(), name)
    assert kit.publish("x.example/a", name=name).version == 1


@pytest.mark.parametrize("released", [False, True])
def test_a_list_is_created_once(kit: Kit, released: bool) -> None:
    if released:
        kit.publish("x.example/a")
    before = kit.objects()
    with pytest.raises(InputError, match="exists already"):
        start.create_list(kit.repository(), LIST)
    assert kit.objects() == before


@pytest.mark.parametrize(
    "host",
    [
        "http://x.example/page",
        "x.example/?q",
        "192.0.2.1",
        "[2001:db8::1]",
        "0xc0000201",
        "example",
        "http://",
        "x" * 300 + ".example",
        "www.iana.org",  # protected
        "github.io",  # a public suffix, and a platform
    ],
)
def test_a_test_host_must_be_a_bare_name(kit: Kit, host: str) -> None:
    before = kit.objects(), key_ids(kit)
    with pytest.raises(InputError, match="test host"):
        start.create_list(kit.repository(), "new", test_host=host)
    assert (kit.objects(), key_ids(kit)) == before


def test_the_test_host_is_canonical_in_the_list(kit: Kit) -> None:
    start.create_list(kit.repository(), "new", test_host="TEST.Hotline.example.")
    kit.publish("x.example/a", name="new")
    assert "h test.hotline.example" in kit.lines(1, "new")


@pytest.mark.parametrize("threshold", [0, -1, 2])
def test_a_threshold_above_the_keys_is_refused(kit: Kit, threshold: int) -> None:
    with pytest.raises(InputError, match="threshold"):
        start.create_list(kit.repository(), "new", threshold=threshold)


def test_a_list_of_four_eyes_cannot_be_released_from_one_home(kit: Kit, tmp_path: Path) -> None:
    here = keys.create(kit.home.keys_directory / "list-pair")
    there = keys.create(tmp_path / "elsewhere" / "list-pair")
    publics = [here.public, there.public]
    start.create_list(kit.repository(), "pair", threshold=2, public_keys=publics)
    before = kit.objects()
    with pytest.raises(SignaturesMissing, match="several people"):
        kit.publish("x.example/a", name="pair")
    assert kit.objects() == before


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
@pytest.mark.parametrize("at", range(1, CREATE_WRITES + 1))
def test_an_interrupted_list_is_made_by_a_rerun_with_the_same_hash_key(
    kit: Kit, at: int, fault: Fault
) -> None:
    kit.memory.faults = fault_at(at, fault)
    with pytest.raises(SimulatedCrash):
        kit.create("new")
    kit.memory.faults = no_faults
    left = kit.objects().get(layout.list_secret_key("new"))
    assert (left is None) is (at == 1 and fault is Fault.CRASH_BEFORE)
    if at == CREATE_WRITES and fault is Fault.CRASH_AFTER:
        with pytest.raises(InputError, match="exists already"):
            kit.create("new")
    else:
        kit.create("new")
    assert left in {None, kit.objects()[layout.list_secret_key("new")]}
    assert kit.publish("x.example/a", name="new").version == 1
    assert kit.problems() == []


def test_the_number_of_writes_is_as_the_crash_test_believes(kit: Kit) -> None:
    before = len(kit.memory.writes)
    kit.create("new")
    assert len(kit.memory.writes) - before == CREATE_WRITES


def test_a_rerun_cannot_change_the_test_host(kit: Kit) -> None:
    kit.memory.faults = fault_at(2, Fault.CRASH_BEFORE)
    with pytest.raises(SimulatedCrash):
        start.create_list(kit.repository(), "new", test_host="one.example")
    kit.memory.faults = no_faults
    with pytest.raises(InputError, match=r"one\.example"):
        start.create_list(kit.repository(), "new", test_host="two.example")
    start.create_list(kit.repository(), "new", test_host="one.example")


def test_a_crash_between_private_and_public_key_does_not_block_the_list(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_with_public", crash)
    with pytest.raises(SimulatedCrash):
        kit.create("new")
    private = kit.home.keys_directory / "list-new"
    secret = private.read_bytes()
    monkeypatch.undo()
    kit.create("new")
    assert private.read_bytes() == secret
    assert kit.publish("x.example/a", name="new").version == 1


def test_leftovers_at_the_next_targets_numbers_are_skipped(kit: Kit) -> None:
    for number in (3, 4):
        kit.memory.plant(f"{layout.METADATA}{number}.targets.json", b"a vandal's")
    kit.create("new")
    assert kit.head().targets.version == 5
    assert kit.metadata("3.targets.json") == b"a vandal's"


def test_a_list_is_not_delegated_with_a_readable_key(kit: Kit) -> None:
    (kit.home.keys_directory / "targets").chmod(0o644)
    with pytest.raises(KeyTrouble) as caught:
        kit.create("new")
    assert caught.value.exit_code == 30
    assert "new" not in str(kit.head().targets.data)


def test_an_unknown_list_cannot_be_published(kit: Kit) -> None:
    with pytest.raises(UnknownList, match="nosuch") as caught:
        kit.publish("x.example/a", name="nosuch")
    assert caught.value.exit_code == 2


def test_what_interrupted_creation_left_is_no_list(kit: Kit) -> None:
    kit.memory.faults = fault_at(2, Fault.CRASH_BEFORE)
    with pytest.raises(SimulatedCrash):
        kit.create("new")
    kit.memory.faults = no_faults
    with pytest.raises(UnknownList):
        kit.publish("x.example/a", name="new")


def test_secrets_altered_before_the_first_release_are_noticed(kit: Kit) -> None:
    """Nothing signed vouches for them yet, so the home that made the list remembers them."""
    secret = kit.repository().secret(LIST)
    forged = ListSecret(secret.name, "forged.example", secret.hash_keys)
    kit.memory.plant(layout.list_secret_key(secret.name), forged.to_bytes())
    with pytest.raises(DigestMismatch) as refused:
        kit.publish("a.example/x")
    assert refused.value.exit_code == 13
