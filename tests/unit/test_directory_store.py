"""What only the directory store promises: crashes, full disks, permissions, links, lost roots."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

import blocklist
from blocklist.core.errors import (
    Busy,
    Exit,
    LocalError,
    OutcomeUnknown,
    StoreUnreachable,
)
from blocklist.store import directory, localfiles
from blocklist.store.directory import DirectoryStore
from blocklist.store.layout import TIMESTAMP
from blocklist.store.locks import file_lock
from blocklist.store.port import Object
from tests.fakes import Fault, FaultyStore, MemoryStore, SimulatedCrash, fault_at, fault_on

REPOSITORY = Path(blocklist.__file__).parents[1]
Fail = Callable[..., None]


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    store = DirectoryStore(tmp_path / "store")
    assert store.put_new("private/a", b"old")
    assert store.put_new(TIMESTAMP, b"1")
    return store


def read(store: DirectoryStore, key: str) -> Object:
    found = store.get(key)
    assert found is not None
    return found


def scrap(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "store" / ".tmp").iterdir())


def keys(store: DirectoryStore) -> list[str]:
    return [one.key for one in store.list("")]


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def failing(number: int) -> Fail:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def run_python(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


# -- crashes ------------------------------------------------------------------------------------

DIE_AT_STEP = """
import os, signal, sys
from pathlib import Path
from blocklist.store.directory import DirectoryStore
from blocklist.store.layout import TIMESTAMP

fatal, steps = int(sys.argv[2]), 0
def step():
    global steps
    steps += 1
    if steps == fatal:
        os.kill(os.getpid(), signal.SIGKILL)

def with_steps(call):
    def stepped(*args, **kwargs):
        step()
        result = call(*args, **kwargs)
        step()
        return result
    return stepped

def half_write(fd, data, write=os.write):
    step()
    done = write(fd, bytes(data[: max(1, len(data) // 2)]))
    step()
    return done

os.write = half_write
for name in ("mkdir", "fsync", "link", "replace", "unlink"):
    setattr(os, name, with_steps(getattr(os, name)))

store = DirectoryStore(Path(sys.argv[1]))
store.put_new("feed/metadata/2.snapshot.json", b"new" * 100)
found = store.get(TIMESTAMP)
store.replace_if(TIMESTAMP, b"second", found.token)
store.delete("private/doomed")
print("survived", flush=True)
"""


def test_kill_at_every_step_of_a_writer_leaves_whole_objects_in_order(tmp_path: Path) -> None:
    """SIGKILL before and after each system call that changes something, one run for each."""
    survived, step, states = False, 0, []
    while not survived:
        step += 1
        root = tmp_path / str(step)
        before = DirectoryStore(root)
        before.put_new(TIMESTAMP, b"first")
        before.put_new("private/doomed", b"doomed")
        with run_python(DIE_AT_STEP, root, step) as child:
            said, _ = child.communicate(timeout=60)
        survived = said == "survived\n"
        assert survived or child.returncode == -signal.SIGKILL
        states.append({one.key: read(before, one.key).data for one in before.list("")})
        _assert_next_writer_can_go_on(DirectoryStore(root))
    first, second = {TIMESTAMP: b"first"}, {TIMESTAMP: b"second"}
    doomed, new = {"private/doomed": b"doomed"}, {"feed/metadata/2.snapshot.json": b"new" * 100}
    allowed = [first | doomed, first | doomed | new, second | doomed | new, second | new]
    seen = [allowed.index(state) for state in states]
    assert seen == sorted(seen)
    assert set(seen) == {0, 1, 2, 3}


def _assert_next_writer_can_go_on(store: DirectoryStore) -> None:
    assert store.put_new("private/next", b"next")
    store.put_new("feed/metadata/2.snapshot.json", b"new" * 100)
    assert store.replace_if(TIMESTAMP, b"third", read(store, TIMESTAMP).token)


WRITE_ON = """
import sys
from hashlib import sha256
from itertools import count
from pathlib import Path
from blocklist.store.directory import DirectoryStore
from blocklist.store.layout import TIMESTAMP
store, writer = DirectoryStore(Path(sys.argv[1])), sys.argv[2]
for number in count():
    body = f"{writer}.{number};".encode() * 9_000
    found = store.get(TIMESTAMP)
    assert store.replace_if(TIMESTAMP, body, found.token)
    assert store.put_new(f"private/{sha256(body).hexdigest()}", body)
    print(number, flush=True)
"""


def test_writers_killed_anywhere_leave_only_whole_objects(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    store.put_new(TIMESTAMP, b"begin;")
    for writer in range(6):
        with run_python(WRITE_ON, tmp_path / "store", writer) as child:
            assert child.stdout is not None
            for _ in range(3 + 4 * writer):
                assert child.stdout.readline()
            child.kill()
    listed = list(store.list("private/"))
    assert len(listed) >= sum(3 + 4 * writer for writer in range(6))
    for one in listed:
        body = read(store, one.key).data
        assert one.key == f"private/{sha256(body).hexdigest()}"
    head = read(store, TIMESTAMP).data
    assert head == (head.partition(b";")[0] + b";") * 9_000


RACE = """
import sys
from pathlib import Path
from blocklist.store.directory import DirectoryStore
from blocklist.store.layout import TIMESTAMP
store, writer, done, won = DirectoryStore(Path(sys.argv[1])), sys.argv[2], 0, []
print("ready", flush=True)
sys.stdin.readline()
for number in range(30):
    if store.put_new(f"private/race/{number}", writer.encode() * 500):
        won.append(number)
while done < 50:
    found = store.get(TIMESTAMP)
    done += bool(store.replace_if(TIMESTAMP, b"%d" % (int(found.data) + 1), found.token))
print(*won)
"""


def test_eight_processes_have_one_winner_a_key_and_lose_no_increment(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    store.put_new(TIMESTAMP, b"0")
    children = [run_python(RACE, tmp_path / "store", writer) for writer in range(8)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [child.communicate(timeout=120)[0] for child in children]
    assert [child.returncode for child in children] == [0] * 8
    won = [(int(number), writer) for writer, line in enumerate(said) for number in line.split()]
    assert sorted(number for number, _ in won) == list(range(30))
    for number, writer in won:
        assert read(store, f"private/race/{number}").data == str(writer).encode() * 500
    assert int(read(store, TIMESTAMP).data) == 400


def test_scrap_is_under_no_key_and_goes_after_an_hour(
    store: DirectoryStore, tmp_path: Path
) -> None:
    for name, age in ((".tmp-old", localfiles.STALE_SECONDS + 60), (".tmp-new", 0)):
        path = tmp_path / "store" / ".tmp" / name
        path.write_bytes(b"scrap")
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert keys(store) == [TIMESTAMP, "private/a"]
    reopened = DirectoryStore(tmp_path / "store")
    reopened.get("private/a")
    assert scrap(tmp_path) == [".tmp-new", ".tmp-old"], "readers change nothing"
    reopened.put_new("private/b", b"x")
    assert scrap(tmp_path) == [".tmp-new"]


def test_nothing_but_objects_lies_under_feed(store: DirectoryStore, tmp_path: Path) -> None:
    store.replace_if(TIMESTAMP, b"2", read(store, TIMESTAMP).token)
    root = tmp_path / "store"
    assert sorted(path.name for path in root.iterdir()) == [".lock", ".tmp", "feed", "private"]
    assert [path for path in (root / "feed").rglob("*") if path.is_file()] == [root / TIMESTAMP]
    assert scrap(tmp_path) == []


# -- disk and system errors ---------------------------------------------------------------------

FULL_DISK = """
import resource, sys
from pathlib import Path
from blocklist.core.errors import LocalError
from blocklist.store.directory import DirectoryStore
from blocklist.store.layout import TIMESTAMP
store = DirectoryStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for write in (
    lambda: store.put_new("private/b", b"n" * 5000),
    lambda: store.replace_if(TIMESTAMP, b"n" * 5000, store.get(TIMESTAMP).token),
):
    try:
        write()
    except LocalError as exc:
        print(int(exc.exit_code), exc)
"""


def test_full_disk_changes_nothing_and_says_so(store: DirectoryStore, tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for the disk: the kernel cuts one write short, refuses the next."""
    root = tmp_path / "store"
    with run_python(FULL_DISK, root) as child:
        said, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert said.splitlines() == [
        f"30 cannot write private/b in {root}: File too large",
        f"30 cannot replace {TIMESTAMP} in {root}: File too large",
    ]
    assert keys(store) == [TIMESTAMP, "private/a"]
    assert read(store, TIMESTAMP).data == b"1"
    assert scrap(tmp_path) == []


LOCAL = ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM")


@pytest.mark.parametrize("call", ["write", "fsync", "open"])
@pytest.mark.parametrize("name", [*LOCAL, "EIO", "ESTALE"])
def test_error_before_the_commit_changes_nothing(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, name: str
) -> None:
    token, number = read(store, TIMESTAMP).token, getattr(errno, name)
    expected = LocalError if name in LOCAL else StoreUnreachable
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(number))
        with pytest.raises(expected, match=os.strerror(number)) as created:
            store.put_new("private/b", b"new")
        with pytest.raises(expected, match=os.strerror(number)) as replaced:
            store.replace_if(TIMESTAMP, b"2", token)
    assert created.value.exit_code is (Exit.LOCAL if name in LOCAL else Exit.UNREACHABLE)
    assert not isinstance(replaced.value, OutcomeUnknown)
    assert "private/b" in str(created.value)
    assert TIMESTAMP in str(replaced.value)
    assert keys(store) == [TIMESTAMP, "private/a"]
    assert read(store, TIMESTAMP).data == b"1"
    assert scrap(tmp_path) == []


@pytest.mark.parametrize("name", ["EACCES", "EIO"])
def test_errors_of_reading_listing_and_deleting(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    expected = LocalError if name == "EACCES" else StoreUnreachable
    monkeypatch.setattr(os, "open", failing(getattr(errno, name)))
    with pytest.raises(expected, match="cannot read private/a in"):
        store.get("private/a")
    with pytest.raises(expected, match="cannot list private/ in"):
        list(store.list("private/"))
    with pytest.raises(expected, match="cannot delete private/a in"):
        store.delete("private/a")


def test_visible_write_that_is_not_confirmed_is_unknown(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file itself was synced; only the folder's sync fails, after link, rename, unlink."""
    store.put_new("private/warm", b"x")
    token, fsync = read(store, TIMESTAMP).token, os.fsync

    def files_only(fd: int) -> None:
        if Path(f"/proc/self/fd/{fd}").is_dir():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", files_only)
        for write in (
            lambda: store.put_new("private/b", b"new"),
            lambda: store.replace_if(TIMESTAMP, b"2", token),
            lambda: store.delete("private/warm"),
        ):
            with pytest.raises(OutcomeUnknown, match="did not confirm") as unknown:
                write()
            assert unknown.value.exit_code is Exit.OUTCOME_UNKNOWN
    assert read(store, "private/b").data == b"new"
    assert read(store, TIMESTAMP).data == b"2"
    assert store.get("private/warm") is None
    assert scrap(tmp_path) == []


@pytest.mark.parametrize("name", ["EEXIST", "EIO", "ESTALE"])
def test_lost_answer_of_a_write_that_landed_is_success(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """NFS repeats a request whose answer was lost and reports the outcome of the repetition."""

    def landing(call: Callable[..., None]) -> Fail:
        def land_and_fail(*args: object, **kwargs: object) -> None:
            call(*args, **kwargs)
            failing(getattr(errno, name))()

        return land_and_fail

    token = read(store, TIMESTAMP).token
    monkeypatch.setattr(os, "link", landing(os.link))
    monkeypatch.setattr(os, "replace", landing(os.replace))
    assert store.put_new("private/b", b"new") is True
    assert store.put_new("private/a", b"new") is False
    assert store.replace_if(TIMESTAMP, b"2", token) == read(store, TIMESTAMP).token
    assert read(store, TIMESTAMP).data == b"2"
    assert read(store, "private/a").data == b"old"


@pytest.mark.parametrize("name", ["EIO", "ESTALE"])
def test_lost_answer_of_a_write_that_did_not_land_is_unreachable(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    token = read(store, TIMESTAMP).token
    monkeypatch.setattr(os, "link", failing(getattr(errno, name)))
    monkeypatch.setattr(os, "replace", failing(getattr(errno, name)))
    with pytest.raises(StoreUnreachable):
        store.put_new("private/b", b"new")
    with pytest.raises(StoreUnreachable):
        store.replace_if(TIMESTAMP, b"2", token)
    assert store.get("private/b") is None
    assert read(store, TIMESTAMP).data == b"1"


def test_lost_answer_that_cannot_be_read_back_is_unknown(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = os.stat

    def unreadable(path: str, **kwargs: object) -> os.stat_result:
        if path == "b":
            failing(errno.EIO)()
        return stat(path, **kwargs)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(os, "link", failing(errno.EIO))
    monkeypatch.setattr(os, "stat", unreadable)
    with pytest.raises(OutcomeUnknown, match="cannot tell whether b was written"):
        store.put_new("private/b", b"new")


@pytest.mark.parametrize("call", ["link", "replace"])
def test_folder_is_synced_before_a_write_returns(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The order that makes a write durable: body, name, folder of the name."""
    events: list[str] = []
    token = read(store, TIMESTAMP).token
    fsync, named = os.fsync, getattr(os, call)

    def noting_fsync(fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        events.append("body" if path.parent.name == ".tmp" else str(path))
        fsync(fd)

    def noting_name(*args: object, **kwargs: object) -> None:
        named(*args, **kwargs)
        events.append(call)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, call, noting_name)
    if call == "link":
        assert store.put_new("feed/new/folder/1", b"x")
        above = [str(tmp_path / "store" / name) for name in ("feed", "feed/new")]
        assert events == ["body", *above, call, str(tmp_path / "store/feed/new/folder")]
    else:
        assert store.replace_if(TIMESTAMP, b"2", token)
        assert events == ["body", call, str(tmp_path / "store/feed/metadata")]


def test_false_of_put_new_is_synced_too(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rerun builds on what its crashed predecessor linked but had no time to sync."""
    synced: list[Path] = []
    fsync = os.fsync

    def noting_fsync(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    rerun = DirectoryStore(tmp_path / "store")
    monkeypatch.setattr(os, "fsync", noting_fsync)
    assert rerun.put_new(TIMESTAMP, b"2") is False
    root = tmp_path / "store"
    assert synced[1:] == [root, root / "feed", root / "feed/metadata"]


# -- the root -----------------------------------------------------------------------------------


def test_missing_root_is_unreachable_for_all_but_the_first_put_new(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "store"
    store = DirectoryStore(root)
    for operation in (
        lambda: store.get("private/a"),
        lambda: store.replace_if("private/a", b"x", "token"),
        lambda: list(store.list("")),
        lambda: store.delete("private/a"),
    ):
        with pytest.raises(StoreUnreachable, match=f"expected a directory at {root}"):
            operation()
    assert list(tmp_path.iterdir()) == []
    assert store.put_new("private/a", b"x")
    assert store.get("private/a") is not None


def test_new_root_is_synced_in_the_folders_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    fsync = os.fsync

    def noting_fsync(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    DirectoryStore(tmp_path / "deep" / "store").put_new("private/a", b"x")
    assert synced[:2] == [tmp_path, tmp_path / "deep"]


def test_root_that_vanished_is_not_begun_anew(store: DirectoryStore, tmp_path: Path) -> None:
    token = read(store, TIMESTAMP).token
    (tmp_path / "store").rename(tmp_path / "unmounted")
    for operation in (
        lambda: store.get("private/a"),
        lambda: store.put_new("private/b", b"x"),
        lambda: store.replace_if(TIMESTAMP, b"2", token),
        lambda: list(store.list("")),
        lambda: store.delete("private/a"),
    ):
        with pytest.raises(StoreUnreachable):
            operation()
    assert not (tmp_path / "store").exists()


def test_root_that_is_a_file_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"")
    with pytest.raises(StoreUnreachable, match="expected a directory"):
        DirectoryStore(tmp_path / "store").get("private/a")
    with pytest.raises((LocalError, StoreUnreachable)):
        DirectoryStore(tmp_path / "store").put_new("private/a", b"x")


def test_root_may_be_reached_through_a_link(store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "store")
    linked = DirectoryStore(tmp_path / "link")
    assert linked.put_new("private/b", b"x")
    assert keys(linked) == keys(store)


def test_reading_creates_no_file(store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    reader = DirectoryStore(tmp_path / "empty")
    assert reader.get("private/a") is None
    assert list(reader.list("")) == []
    assert reader.delete("private/a") is False
    assert reader.replace_if("private/a", b"x", "token") is None
    assert list((tmp_path / "empty").iterdir()) == []


def test_folder_removed_by_an_operator_is_made_again(store: DirectoryStore, tmp_path: Path) -> None:
    store.delete("private/a")
    (tmp_path / "store" / "private").rmdir()
    assert store.get("private/a") is None
    assert store.put_new("private/a", b"new")


# -- permissions and links ------------------------------------------------------------------------


def test_private_is_for_the_owner_and_feed_for_readers(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        store, root = DirectoryStore(tmp_path / "store"), tmp_path / "store"
        store.put_new("private/lists/demo.json", b"x")
        store.put_new(TIMESTAMP, b"1")
        store.replace_if(TIMESTAMP, b"2", read(store, TIMESTAMP).token)
    finally:
        os.umask(before)
    assert [mode(root / name) for name in ("private", "private/lists", ".tmp")] == [0o700] * 3
    assert [mode(root / name) for name in ("private/lists/demo.json", ".lock")] == [0o600] * 2
    assert [mode(root / name) for name in (".", "feed", "feed/metadata")] == [0o755] * 3
    assert mode(root / TIMESTAMP) == 0o644


def test_strict_umask_narrows_feed_as_well(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        DirectoryStore(tmp_path / "store").put_new(TIMESTAMP, b"1")
    finally:
        os.umask(before)
    assert mode(tmp_path / "store" / TIMESTAMP) == 0o600
    assert mode(tmp_path / "store" / "feed") == 0o700


def _outside(tmp_path: Path) -> Path:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    return outside


def test_key_through_a_linked_folder_is_refused(store: DirectoryStore, tmp_path: Path) -> None:
    outside = _outside(tmp_path)
    (tmp_path / "store" / "private" / "link").symlink_to(outside)
    for operation in (
        lambda: store.get("private/link/secret"),
        lambda: store.put_new("private/link/new", b"x"),
        lambda: store.replace_if("private/link/secret", b"x", sha256(b"secret").hexdigest()),
        lambda: store.delete("private/link/secret"),
        lambda: list(store.list("private/link/")),
    ):
        with pytest.raises(LocalError, match="a symbolic link"):
            operation()
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"
    assert keys(store) == [TIMESTAMP, "private/a"]


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
def test_key_that_is_no_plain_file_is_refused_and_stays_taken(
    store: DirectoryStore, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "store" / "private" / "odd"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(_outside(tmp_path) / ("secret" if kind == "link" else "none"))
    for operation in (
        lambda: store.get("private/odd"),
        lambda: store.replace_if("private/odd", b"x", sha256(b"secret").hexdigest()),
        lambda: store.delete("private/odd"),
    ):
        with pytest.raises(LocalError, match="in the way"):
            operation()
    assert store.put_new("private/odd", b"x") is False
    assert keys(store) == [TIMESTAMP, "private/a"]


def test_object_below_another_object_is_refused(store: DirectoryStore) -> None:
    with pytest.raises(LocalError, match="in the way"):
        store.put_new("private/a/b", b"x")
    assert read(store, "private/a").data == b"old"


def test_files_that_no_key_names_are_not_listed(store: DirectoryStore, tmp_path: Path) -> None:
    for name in ("private/a~", "private/b c", "private/ü", ".hidden"):
        (tmp_path / "store" / name).write_bytes(b"x")
    assert keys(store) == [TIMESTAMP, "private/a"]


# -- the lock -----------------------------------------------------------------------------------


def test_replace_behind_a_stopped_holder_is_busy_and_changes_nothing(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "LOCK_WAIT_SECONDS", 0.05)
    token = read(store, TIMESTAMP).token
    with (
        file_lock(tmp_path / "store" / ".lock", wait_seconds=0, what="the store"),
        pytest.raises(Busy, match="another command has used the storage directory"),
    ):
        store.replace_if(TIMESTAMP, b"2", token)
    assert read(store, TIMESTAMP).data == b"1"
    assert store.replace_if(TIMESTAMP, b"2", token)


def test_who_has_lost_and_who_creates_need_no_lock(store: DirectoryStore, tmp_path: Path) -> None:
    with file_lock(tmp_path / "store" / ".lock", wait_seconds=0, what="the store"):
        assert store.replace_if(TIMESTAMP, b"2", "stale") is None
        assert store.put_new("private/b", b"x")


# -- the fakes that others test with ------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error", "written"),
    [
        (Fault.CRASH_BEFORE, SimulatedCrash, False),
        (Fault.CRASH_AFTER, SimulatedCrash, True),
        (Fault.LOST, StoreUnreachable, False),
        (Fault.LANDED_BUT_ERRORED, OutcomeUnknown, True),
    ],
)
def test_fault_hits_the_planned_write_of_either_fake(
    store: DirectoryStore, fault: Fault, error: type[BaseException], written: bool
) -> None:
    memory = MemoryStore(fault_at(2, fault))
    for faulty in (FaultyStore(store, fault_at(2, fault)), memory):
        assert faulty.put_new("private/1", b"x")
        with pytest.raises(error):
            faulty.put_new("private/2", b"x")
        if error is SimulatedCrash:
            with pytest.raises(SimulatedCrash, match="already"):
                faulty.get("private/1")
    memory.faults = fault_on("private/3", fault)
    for rerun in (store, memory):
        assert (rerun.get("private/2") is not None) is written
    assert memory.put_new("private/4", b"x")
    with pytest.raises(error):
        memory.put_new("private/3", b"x")


def test_memory_store_fails_the_test_on_misuse() -> None:
    store = MemoryStore()
    body, target = b"body", f"feed/targets/demo/clear/{sha256(b'body').hexdigest()}.list"
    store.put_new(target, body)
    store.put_new(TIMESTAMP, b"1")
    token = store.replace_if(TIMESTAMP, b"2", sha256(b"1").hexdigest())
    assert token is not None
    for misuse in (
        lambda: store.replace_if(target, b"other", sha256(body).hexdigest()),
        lambda: store.replace_if(TIMESTAMP, b"1", token),
        lambda: store.delete(TIMESTAMP),
        lambda: store.put_new("feed/metadata/1.root.json", b""),
        lambda: store.put_new(f"feed/targets/demo/clear/{'0' * 64}.list", body),
        lambda: store.put_new(f"{TIMESTAMP}/x", b"x"),
        lambda: store.put_new("feed/metadata", b"x"),
    ):
        with pytest.raises(AssertionError):
            misuse()
    store.delete(target)
    assert store.get(target) is None
    store.forbid_deleted_reads = True
    with pytest.raises(AssertionError, match="read of deleted"):
        store.get(target)
    assert store.writes == [target, TIMESTAMP, TIMESTAMP]
