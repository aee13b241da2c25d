"""Whole-file writes, limited reads, and locks between processes."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import blocklist
from blocklist.core.errors import Busy, Exit, LocalError
from blocklist.store import localfiles
from blocklist.store.localfiles import local_errors, read_limited, sweep, write_atomic
from blocklist.store.locks import file_lock

REPOSITORY = Path(blocklist.__file__).parents[1]
OLD = localfiles.STALE_SECONDS + 60


def failing(number: int) -> object:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run_python(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


# -- writing ------------------------------------------------------------------------------------


def test_write_creates_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for body in (b"one", b"", b"two" * 100_000):
        write_atomic(path, body)
        assert path.read_bytes() == body
    assert names(tmp_path) == ["state"]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_mode_is_the_one_asked_for_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "secret", b"x")
        write_atomic(tmp_path / "shared", b"x", mode=0o640)
    finally:
        os.umask(before)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o640


def test_link_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomic(tmp_path / "link", b"new")
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"old"


def test_reader_with_the_old_file_open_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_atomic(path, b"old" * 1000)
    with path.open("rb") as reader:
        assert reader.read(3) == b"old"
        write_atomic(path, b"new" * 1000)
        assert reader.read() == b"old" * 999


@pytest.mark.parametrize("call", ["open", "write", "fsync", "fchmod"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_failed_write_keeps_the_old_file_and_leaves_no_scrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    path = tmp_path / "state"
    write_atomic(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(number))
        with pytest.raises(LocalError) as failed:
            write_atomic(path, b"new")
    assert str(failed.value) == f"cannot write {path}: {os.strerror(number)}"
    assert failed.value.exit_code is Exit.LOCAL
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["state"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:7])))
    write_atomic(tmp_path / "state", bytes(range(100)))
    assert (tmp_path / "state").read_bytes() == bytes(range(100))


def test_body_is_synced_before_the_rename_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, os.replace

    def noting_fsync(fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        events.append("folder" if path == tmp_path else "body")
        fsync(fd)

    def noting_rename(*args: Any, **kwargs: Any) -> None:
        rename(*args, **kwargs)
        events.append("rename")

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "replace", noting_rename)
    write_atomic(tmp_path / "state", b"x")
    assert events == ["body", "rename", "folder"]


def test_write_into_a_missing_folder_is_a_local_error(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="No such file or directory"):
        write_atomic(tmp_path / "none" / "state", b"x")


def test_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands in for the disk: the kernel cuts one write short, refuses the next."""
    path = tmp_path / "state"
    write_atomic(path, b"old")
    script = """
import resource, sys
from pathlib import Path
from blocklist.core.errors import LocalError
from blocklist.store.localfiles import write_atomic
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_atomic(Path(sys.argv[1]), b"n" * 5000)
except LocalError as exc:
    print(exc)
"""
    with run_python(script, path) as child:
        said, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert said == f"cannot write {path}: File too large\n"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["state"]


def test_sweep_removes_only_old_scrap(tmp_path: Path) -> None:
    for name in (".tmp-old", ".tmp-new", "state", ".tmp"):
        (tmp_path / name).write_bytes(b"x")
        if name != ".tmp-new":
            time = (tmp_path / name).stat().st_mtime - OLD
            os.utime(tmp_path / name, (time, time))
    sweep(tmp_path, shared=True)
    assert ".tmp-old" in names(tmp_path), "in a shared folder it may be somebody else's"
    sweep(tmp_path)
    assert names(tmp_path) == [".tmp", ".tmp-new", "state"]


# -- reading ------------------------------------------------------------------------------------


def test_read_under_the_limit(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"12345")
    assert read_limited(tmp_path / "state", 5) == b"12345"
    assert read_limited(tmp_path / "none", 5) is None
    with pytest.raises(LocalError, match="expected at most 4 bytes"):
        read_limited(tmp_path / "state", 4)


def test_read_of_a_folder_is_a_local_error(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="Is a directory"):
        read_limited(tmp_path, 4)


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO]
)
def test_os_errors_become_local_errors_that_say_what_and_why(number: int) -> None:
    with pytest.raises(LocalError) as failed, local_errors("swap the list"):
        raise OSError(number, os.strerror(number), "/some/path")
    assert str(failed.value) == f"cannot swap the list: {os.strerror(number)}"
    assert isinstance(failed.value.__cause__, OSError)


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(ZeroDivisionError), local_errors("swap the list"):
        raise ZeroDivisionError


# -- locks --------------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from blocklist.store.locks import file_lock
with file_lock(Path(sys.argv[1]), wait_seconds=0, what="the store"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_lock_of_another_process_makes_busy_until_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with run_python(HOLD, path) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with (
            pytest.raises(Busy, match=r"another command has used the store for 0\.1 s") as busy,
            file_lock(path, wait_seconds=0.1, what="the store"),
        ):
            pass
        assert busy.value.exit_code is Exit.BUSY
        child.communicate(timeout=60)
    with file_lock(path, wait_seconds=0, what="the store"):
        pass


def test_kernel_releases_the_lock_of_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with run_python(HOLD, path) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        child.kill()
        child.wait(timeout=60)
        with file_lock(path, wait_seconds=0, what="the store"):
            pass


def test_lock_file_stays_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with file_lock(path, wait_seconds=0, what="the store"):
        inode = path.stat().st_ino
    with file_lock(path, wait_seconds=0, what="the store"):
        assert path.stat().st_ino == inode
    assert path.stat().st_mode & 0o777 == 0o600


def test_lock_is_released_when_its_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError), file_lock(path, wait_seconds=0, what="the store"):
        raise ZeroDivisionError
    with file_lock(path, wait_seconds=0, what="the store"):
        pass


def test_waiting_thread_gets_the_lock_when_the_holder_lets_go(tmp_path: Path) -> None:
    path, entered = tmp_path / "lock", threading.Event()

    def wait() -> None:
        with file_lock(path, wait_seconds=60, what="the store"):
            entered.set()

    waiter = threading.Thread(target=wait)
    with file_lock(path, wait_seconds=0, what="the store"):
        waiter.start()
        assert not entered.wait(0.05)
    waiter.join(timeout=60)
    assert entered.is_set()


def test_lock_in_a_missing_folder_or_on_a_link_is_a_local_error(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for path in (tmp_path / "none" / "lock", tmp_path / "link"):
        with (
            pytest.raises(LocalError, match="cannot lock"),
            file_lock(path, wait_seconds=0, what="the store"),
        ):
            pass
    assert not (tmp_path / "target").exists()
