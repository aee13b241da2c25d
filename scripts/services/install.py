"""Debian packages, installed when a program is missing and we are allowed to."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

APT_SECONDS = 900


class Unavailable(Exception):
    """A real service that cannot be had on this machine, and why."""


def require(programs: tuple[str, ...], packages: tuple[str, ...]) -> None:
    """Make sure that all programs are there; as root on Debian, install the packages.

    Args:
        programs: Names to find in PATH or the system's own folders.
        packages: The Debian packages that bring them.

    Raises:
        Unavailable: They are missing and cannot be installed.
    """
    if not missing(programs):
        return
    names = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Unavailable(
            f"expected {', '.join(missing(programs))}; as root: apt-get install {names}"
        )
    with _alone():  # tests run in several processes, and apt in one at a time
        if missing(programs):
            _install(packages)
    if missing(programs):
        raise Unavailable(f"expected {', '.join(missing(programs))} after installing {names}")


def _install(packages: tuple[str, ...]) -> None:
    print(f"setup: installing {' '.join(packages)}", flush=True)
    # Services of a package must not start by themselves: ours listen on their own ports.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(
            ["apt-get", "-qq", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=APT_SECONDS,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"apt-get {words[0]} failed: {done.stderr.strip()[-500:]}")


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other process of ours installs anything."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    lock = os.open(Path(tempfile.gettempdir()) / "blocklist-install.lock", flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def missing(programs: tuple[str, ...]) -> list[str]:
    """Return the programs that are not there."""
    return [name for name in programs if find(name) is None]


def find(program: str) -> str | None:
    """Return the path of a program, also from the folders that only root has in PATH."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
