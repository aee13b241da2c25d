"""Daemons that are ours: started in a session of their own, known and stopped by their pid."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scripts.services.install import Unavailable

STOP_SECONDS = 20.0
HOST = "127.0.0.1"

_given: set[int] = set()  # ports that this process has handed out; not all are in use yet


class Daemon:
    """One process, with its pid in `<folder>/<name>.pid` and its output in `<name>.out`.

    Args:
        folder: Where its files are.
        name: What it is called there.
        argv: The program and its arguments.
        environment: Added to our own.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        argv: Sequence[str],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._argv = list(argv)
        self._environment = dict(environment or {})
        self._pid = folder / f"{name}.pid"
        self._out = folder / f"{name}.out"
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.alive():
            return
        with self._out.open("ab") as out:
            self._child = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, **self._environment},
            )
        self._pid.write_text(f"{self._child.pid}\n")

    @property
    def pid(self) -> int | None:
        """Its process, if it runs."""
        if self._child is not None:
            return self._child.pid if self._child.poll() is None else None
        try:
            pid = int(self._pid.read_text())
            started = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
            dead = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        # The pid may have been given to somebody else since.
        ours = Path(started.split()[0] if started else "").name == Path(self._argv[0]).name
        return None if dead or not ours else pid

    def alive(self) -> bool:
        """Tell whether it runs."""
        return self.pid is not None

    def stop(self, sign: int = signal.SIGTERM) -> None:
        """Stop it by its pid and wait until it is gone."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, sign)
            if not until(lambda: not self.alive(), STOP_SECONDS):
                os.kill(pid, signal.SIGKILL)
                until(lambda: not self.alive(), STOP_SECONDS)
        self._pid.unlink(missing_ok=True)

    def said(self) -> str:
        """Return the end of what it wrote, for a message."""
        return self._out.read_text(errors="replace")[-1_000:] if self._out.exists() else ""


def until(done: Callable[[], bool], seconds: float) -> bool:
    """Wait until `done`, for that long; tell whether it is."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def require_until(what: str, done: Callable[[], bool], seconds: float, daemon: Daemon) -> None:
    """Wait until `done`.

    Raises:
        Unavailable: The daemon died, or it was not so in time.
    """
    if not until(lambda: done() or not daemon.alive(), seconds) or not daemon.alive():
        raise Unavailable(f"{what} did not start: {daemon.said()}")


def free_ports(count: int) -> int:
    """Return the first of `count` ports in a row that are free on loopback and given to nobody."""
    for base in range(20_000 + os.getpid() % 9_000, 32_000, count):
        wanted = range(base, base + count)
        if _given.isdisjoint(wanted) and all(_free(port) for port in wanted):
            _given.update(wanted)
            return base
    raise Unavailable(f"expected {count} free ports in a row on {HOST}")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    """Tell whether something accepts connections on that port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0
