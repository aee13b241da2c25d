"""Releases on a real folder, ended at every write: all or nothing, and the rerun converges."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import blocklist
from blocklist.core.entries import Feed
from blocklist.core.errors import OutcomeUnknown, StoreUnreachable
from blocklist.publisher import history, upkeep
from blocklist.publisher.publish import Published
from blocklist.store import layout
from blocklist.store.port import Store
from signing import client
from signing.errors import TrustError
from tests.fakes import Fault, FaultyStore, SimulatedCrash, fault_at
from tests.publisher_kit import LIST, Kit, urls, without_sync

REPOSITORY = Path(blocklist.__file__).parents[1]
CRASHES = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)
ERRORS = (Fault.LOST, Fault.LANDED_BUT_ERRORED)
COMMIT = 11  # the number of the last write of the release below
OLD = urls(range(2))  # so small that every release stores two new snapshots
ADDED = "new.example/entry"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sync(monkeypatch)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """A repository in a folder with one release, and a client that has it."""
    with pytest.MonkeyPatch.context() as patch:
        without_sync(patch)
        kit = Kit.made(tmp_path_factory.mktemp("template") / "kit", directory=True)
        kit.publish(OLD)
        kit.client(kit.folder / "client")
    return kit


@pytest.fixture
def kit(template: Kit, tmp_path: Path) -> Kit:
    return template.copied(tmp_path / "kit")


def change(kit: Kit, store: Store | None = None) -> Published:
    return kit.publish(add=ADDED, store=store)


def replace(kit: Kit, store: Store | None = None) -> Published:
    return kit.publish(OLD + ADDED, store=store)


def seen(kit: Kit) -> set[int]:
    """Return the versions that an existing and a fresh client get, each verified and whole."""
    found = set()
    fresh = kit.folder / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    for folder in (kit.folder / "client", fresh):
        verified = kit.client(folder)
        assert verified.release is not None
        entries = 3 if verified.release.version == 1 else 4
        assert len(kit.whole(verified, Feed.CLEAR).splitlines()) == entries
        assert len(kit.whole(verified, Feed.HASHED)) == 16 * entries
        found.add(verified.release.version)
    return found


def ended(kit: Kit, work: Callable[[Kit, Store], Published], at: int, fault: Fault) -> None:
    """Run a release whose write number `at` meets the fault."""
    store = FaultyStore(kit.store, fault_at(at, fault))
    if fault in CRASHES:
        with pytest.raises(SimulatedCrash):
            work(kit, store)
    elif fault is Fault.LOST or at < COMMIT:  # before the commit nothing can be live
        with pytest.raises(StoreUnreachable) as lost:
            work(kit, store)
        assert lost.value.exit_code == 10
    else:
        with pytest.raises(OutcomeUnknown) as unknown:
            work(kit, store)
        assert unknown.value.exit_code == 22


def test_the_number_of_writes_is_as_the_crash_tests_believe(kit: Kit) -> None:
    store = FaultyStore(kit.store)
    change(kit, store)
    assert store.writes == COMMIT


@pytest.mark.parametrize("work", [change, replace])
@pytest.mark.parametrize("fault", [*CRASHES, *ERRORS])
@pytest.mark.parametrize("at", range(1, COMMIT + 1))
def test_a_release_that_ends_at_any_write_is_all_or_nothing(
    kit: Kit, at: int, fault: Fault, work: Callable[..., Published]
) -> None:
    """Clients see the old or the new version whole; fsck sees nothing but unnamed leftovers."""
    ended(kit, work, at, fault)
    live = at == COMMIT and fault in {Fault.CRASH_AFTER, Fault.LANDED_BUT_ERRORED}
    assert kit.problems() == []
    assert seen(kit) == ({2} if live else {1})

    again = work(kit)
    written = fault in {Fault.CRASH_AFTER, Fault.LANDED_BUT_ERRORED}
    burned = at > COMMIT - 2 or (at == COMMIT - 2 and written)  # the role's number
    assert again.version == (2 if live or not burned else 3)
    assert again.unchanged is live
    assert kit.problems() == []
    assert seen(kit) == {again.version}
    assert kit.lines(again.version).count("u new.example/entry") == 1
    assert [one.version for one in history.log(kit.repository(), LIST)] == [again.version, 1]


@pytest.mark.parametrize("fault", CRASHES)
def test_a_release_that_crashes_again_and_again_gets_there(kit: Kit, fault: Fault) -> None:
    for at in range(1, COMMIT):
        ended(kit, change, at, fault)
        assert seen(kit) == {1}
    done = change(kit)
    assert done.version is not None
    assert done.version > 2
    assert seen(kit) == {done.version}
    assert kit.problems() == []


@pytest.mark.parametrize("fault", [*CRASHES, *ERRORS])
@pytest.mark.parametrize("at", [1, 2])
def test_a_refresh_that_ends_at_any_write_is_harmless(kit: Kit, at: int, fault: Fault) -> None:
    kit.clock.tick(days=4)
    store = FaultyStore(kit.store, fault_at(at, fault))
    with pytest.raises((SimulatedCrash, StoreUnreachable, OutcomeUnknown)):
        upkeep.refresh(kit.repository(store))
    assert kit.problems() == []
    assert seen(kit) == {1}
    upkeep.refresh(kit.repository())
    assert kit.problems() == []
    assert seen(kit) == {1}


CHILD = """
import os, signal, sys
from pathlib import Path
from blocklist.store.directory import DirectoryStore
from tests.fakes import FaultyStore
from tests.publisher_kit import Kit

def plan(number, op, key):
    if number == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[1])
store = FaultyStore(DirectoryStore(folder / "store"), plan)
Kit(folder, store).publish(add=sys.argv[3])
"""


def child(script: str, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *map(str, args)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("at", [1, 5, 9, 10, 11])
def test_a_killed_release_leaves_the_old_version_and_no_lock(kit: Kit, at: int) -> None:
    """kill -9 between two writes, in a process of its own."""
    done = child(CHILD, kit.folder, at, ADDED)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert kit.problems() == []
    assert seen(kit) == {1}
    again = change(kit)
    assert again.version == (3 if at > 9 else 2)
    assert seen(kit) == {again.version}
    assert kit.problems() == []


def test_a_child_that_is_not_killed_releases(kit: Kit) -> None:
    """The script of the test above does what it should up to the kill."""
    done = child(CHILD, kit.folder, 99, ADDED)
    assert (done.returncode, done.stderr) == (0, "")
    assert seen(kit) == {2}


FULL = """
import resource, sys
from pathlib import Path
from blocklist.core.errors import BlocklistError
from blocklist.store.directory import DirectoryStore
from tests.publisher_kit import Kit, urls

folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    Kit(folder, DirectoryStore(folder / "store")).publish(add=urls(range(1000, 1200)))
except BlocklistError as error:
    print(error, file=sys.stderr)
    sys.exit(int(error.exit_code))
"""


def test_a_full_disk_ends_a_release_and_changes_nothing(kit: Kit) -> None:
    """Whichever file is the first that does not fit any more: home, blob, record or metadata."""
    before = kit.objects()
    for limit in (0, 1000, 2000, 3300):
        done = child(FULL, kit.folder, limit)
        assert done.returncode == 30, (limit, done.stderr)
        assert len(done.stderr.splitlines()) == 1
        assert "site-" not in done.stderr
        assert before.items() <= kit.objects().items()
        assert kit.objects()[layout.TIMESTAMP] == before[layout.TIMESTAMP]
        assert kit.problems() == []
        assert not list((kit.folder / "store" / ".tmp").iterdir())
    assert seen(kit) == {1}
    assert child(FULL, kit.folder, resource.RLIM_INFINITY).returncode == 0
    assert kit.head().roles[LIST].version >= 2
    assert kit.problems() == []


def test_machines_that_add_at_the_same_time_lose_nothing(kit: Kit, tmp_path: Path) -> None:
    twins = [kit.twin(tmp_path / f"twin-{number}") for number in range(3)]
    failures: list[BaseException] = []

    def work(number: int, twin: Kit) -> None:
        try:
            for step in range(3):
                twin.publish(add=f"from-{number}.example/{step}")
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=item) for item in enumerate(twins)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=100)
    assert failures == []
    lines = kit.lines(kit.head().roles[LIST].version)
    assert sum("from-" in line for line in lines) == 9
    assert kit.problems() == []
    assert all(twin.problems() == [] for twin in twins)


def test_clients_never_see_half_a_release(kit: Kit) -> None:
    """A client that looks before every single write always gets one whole version."""
    versions: list[set[int]] = []

    def look(number: int, op: str, key: str) -> None:
        versions.append(seen(kit))

    change(kit, FaultyStore(kit.store, look))
    assert versions == [{1}] * COMMIT


def test_a_client_in_the_middle_of_an_update_is_not_disturbed_by_a_release(kit: Kit) -> None:
    """Immutable files: what a timestamp names stays there."""
    releases = 0

    def fetch(name: str) -> list[bytes] | None:
        nonlocal releases
        found = kit.fetch(name)
        if name != "2.root.json":
            releases += 1
            kit.publish(add=f"later-{releases}.example/")
        return found

    verified = client.refresh(kit.folder / "fresh", kit.root(), LIST, fetch)
    assert releases == 4
    assert verified.release is not None
    assert verified.release.version == 1


def test_a_storage_restored_from_an_old_copy_is_refused_by_all(kit: Kit, tmp_path: Path) -> None:
    shutil.copytree(kit.folder / "store", tmp_path / "backup")
    change(kit)
    kit.client(kit.folder / "client")
    shutil.rmtree(kit.folder / "store")
    shutil.copytree(tmp_path / "backup", kit.folder / "store")
    for work in (lambda: change(kit), lambda: kit.client(kit.folder / "client")):
        with pytest.raises(TrustError) as caught:
            work()
        assert caught.value.exit_code == 12


def test_files_of_the_storage_are_readable_only_where_they_may_be(kit: Kit) -> None:
    before = os.umask(0o022)
    try:
        change(kit)
    finally:
        os.umask(before)
    store = kit.folder / "store"
    for path in store.rglob("*"):
        if path.is_file() and ".tmp" not in path.parts and path.name != ".lock":
            public = path.is_relative_to(store / "feed")
            assert bool(path.stat().st_mode & 0o004) is public, path
