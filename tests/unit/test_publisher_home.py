"""The home: one command at a time, keys that are refused, memory that only grows."""

import hashlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from blocklist.core.errors import Busy, LocalError
from blocklist.publisher import home as homes
from blocklist.publisher import repository as repositories
from blocklist.publisher import start, upkeep
from signing import keys
from signing.errors import KeyTrouble, Rollback, SignaturesMissing, Tampered
from signing.trust import TrustState
from tests.publisher_kit import LIST, Kit, urls, without_sync

Work = Callable[[Kit], object]


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    without_sync(monkeypatch)
    kit = Kit.made(tmp_path)
    kit.publish("a.example/x")
    return kit


def publishing(kit: Kit) -> object:
    return kit.publish(add="b.example/y")


COMMANDS: dict[str, Work] = {
    "publish": publishing,
    "refresh": lambda kit: upkeep.refresh(kit.repository()),
    "create": lambda kit: kit.create("new"),
    "init": lambda kit: start.init_dev(kit.repository()),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_command_on_the_home_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    without_sync(monkeypatch)
    kit = Kit.made(tmp_path, lock_seconds=0.02)
    before = kit.objects()
    with kit.home.lock(0), pytest.raises(Busy, match="BLOCKLIST_HOME") as caught:
        COMMANDS[command](kit)
    assert caught.value.exit_code == 23
    assert kit.objects() == before


def test_a_second_command_waits_for_the_first(kit: Kit) -> None:
    done = threading.Event()
    with kit.home.lock(0):
        waiting = threading.Thread(target=lambda: (publishing(kit), done.set()))
        waiting.start()
        assert not done.wait(0.1)
    assert done.wait(30)
    waiting.join()
    assert kit.lines(2)[-1] == "u b.example/y"


def test_looking_needs_no_lock(kit: Kit) -> None:
    with kit.home.lock(0):
        assert upkeep.status(kit.repository()).lists
        assert kit.problems() == []


def exchange_keys(kit: Kit, tmp_path: Path) -> None:
    """Give the home the keys of another repository."""
    other = Kit.made(tmp_path / "other")
    shutil.rmtree(kit.home.keys_directory)
    shutil.copytree(other.home.keys_directory, kit.home.keys_directory)


@pytest.mark.parametrize("command", ["publish", "refresh"])
def test_the_keys_of_another_home_sign_nothing(kit: Kit, tmp_path: Path, command: str) -> None:
    exchange_keys(kit, tmp_path)
    before = kit.objects()
    with pytest.raises(SignaturesMissing) as caught:
        COMMANDS[command](kit)
    assert caught.value.exit_code == 24
    assert kit.objects() == before


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("publish", "list-demo"),
        ("publish", "online"),
        ("refresh", "online"),
        ("create", "online"),
        ("create", "targets"),
    ],
)
@pytest.mark.parametrize("half", ["", ".pub"])
def test_a_missing_key_file_is_missing_signatures(
    kit: Kit, command: str, key: str, half: str
) -> None:
    (kit.home.keys_directory / f"{key}{half}").unlink()
    before = set(kit.objects())
    with pytest.raises(SignaturesMissing) as caught:
        COMMANDS[command](kit)
    assert caught.value.exit_code == 24
    assert not [key for key in set(kit.objects()) - before if key.startswith("feed/")]


@pytest.mark.parametrize("key", ["list-demo", "online"])
@pytest.mark.parametrize("damage", ["readable", "truncated"])
def test_a_key_file_that_is_not_safe_is_local_trouble(kit: Kit, key: str, damage: str) -> None:
    path = kit.home.keys_directory / key
    if damage == "readable":
        path.chmod(0o640)
    else:
        path.write_bytes(path.read_bytes()[:50])
    before = kit.objects()
    with pytest.raises(KeyTrouble) as caught:
        publishing(kit)
    assert caught.value.exit_code == 30
    assert kit.objects() == before


def test_a_passphrase_is_asked_for_by_key_file(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "BCRYPT_ROUNDS", 1)
    asked: list[str] = []

    def ask(path: Path) -> bytes:
        asked.append(path.name)
        return b"horse"

    sealed = keys.create(kit.home.keys_directory / "list-sealed", passphrase=b"horse")
    start.create_list(kit.repository(), "sealed", public_keys=[sealed.public])
    monkeypatch.setattr("tests.publisher_kit.no_passphrase", ask)
    assert kit.publish("a.example/x", name="sealed").version == 1
    assert asked == ["list-sealed"]


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"format": 1}'])
def test_a_damaged_trust_state_is_local_trouble(kit: Kit, data: bytes) -> None:
    """Starting over by itself would forget what protects against rollback."""
    (kit.folder / "home" / "trust.json").write_bytes(data)
    with pytest.raises(KeyTrouble) as caught:
        publishing(kit)
    assert caught.value.exit_code == 30


def test_a_home_without_trust_knows_no_repository(kit: Kit) -> None:
    (kit.folder / "home" / "trust.json").unlink()
    with pytest.raises(LocalError, match="blocklist init"):
        publishing(kit)


def test_a_slow_look_does_not_make_the_home_forget(kit: Kit) -> None:
    """`status` needs no lock: what it saw before a release must not replace what came after."""
    slow = kit.home.trust()
    old = kit.metadata("timestamp.json")
    publishing(kit)
    kit.home.save_trust(slow)
    kit.memory.plant("feed/metadata/timestamp.json", old)
    with pytest.raises(Rollback):
        publishing(kit)


def test_two_looks_at_two_worlds_are_tampering(kit: Kit) -> None:
    trust = kit.home.trust()
    version, _ = trust.seen[LIST]
    other = TrustState(trust.root, {**trust.seen, LIST: (version, "0" * 64)})
    with pytest.raises(Tampered):
        kit.home.save_trust(other)
    assert kit.home.trust().seen == trust.seen


def test_a_merge_keeps_the_newest_of_each_role(kit: Kit) -> None:
    trust = kit.home.trust()
    ahead = TrustState(trust.root, {**trust.seen, "timestamp": (99, "a"), "new": (1, "b")})
    behind = TrustState(trust.root, {"timestamp": (1, "c"), LIST: trust.seen[LIST]})
    for merged in (ahead.merged(behind), behind.merged(ahead)):
        assert merged.seen == {**trust.seen, "timestamp": (99, "a"), "new": (1, "b")}


def test_the_cache_drops_what_was_used_longest_ago(kit: Kit) -> None:
    home = homes.Home(kit.folder / "small", lambda path: b"", cache_bytes=250)
    digests = []
    for number in range(4):
        data = bytes([number]) * 100
        digests.append(hashlib.sha256(data).hexdigest())
        home.cache(digests[-1], data)
    assert [home.cached(digest) is not None for digest in digests] == [False, False, True, True]


def test_a_cache_that_cannot_be_written_stops_a_release_before_the_commit(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release must not be reported as failed when it is live."""

    def full(path: Path, data: bytes) -> None:
        raise LocalError("no space left on device")

    before = kit.objects()
    monkeypatch.setattr(homes, "write_atomic", full)
    with pytest.raises(LocalError):
        publishing(kit)
    assert kit.objects() == before


def test_a_release_that_is_live_is_no_failure_although_it_could_not_be_remembered(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(home: homes.Home, state: TrustState) -> None:
        if state.seen["timestamp"][0] > 3:
            raise LocalError("no space left on device")

    monkeypatch.setattr(repositories.Home, "save_trust", full)
    assert kit.head().timestamp.version == 3
    assert publishing(kit) is not None
    with pytest.raises(LocalError):  # the next command fails before it changes anything
        kit.publish(urls(range(5)))
    monkeypatch.undo()
    assert kit.head().roles[LIST].version == 2
