"""Debian packages, installed when a program is missing and we are allowed to."""

import os
import shutil
import subprocess

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
    print(f"setup: installing {names}", flush=True)
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
    if missing(programs):
        raise Unavailable(f"expected {', '.join(missing(programs))} after installing {names}")


def missing(programs: tuple[str, ...]) -> list[str]:
    """Return the programs that are not there."""
    return [name for name in programs if find(name) is None]


def find(program: str) -> str | None:
    """Return the path of a program, also from the folders that only root has in PATH."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
