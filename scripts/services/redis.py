"""A throw-away Redis: append-only file, so that what it held survives a stop and a start."""

import signal
import subprocess
from pathlib import Path

from scripts.services import install
from scripts.services.process import HOST, Daemon, answers, free_ports, require_until

START_SECONDS = 20.0


class Redis:
    """Redis on a port of loopback.

    Args:
        folder: Where its files are; made when missing.
        port: Its port; None takes a free one.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self.port = port if port is not None else free_ports(1)
        self._configuration = folder / "redis.conf"
        self._daemon = Daemon(folder, "redis", ["redis-server", str(self._configuration)])

    @property
    def url(self) -> str:
        """What BLOCKLIST_REDIS takes."""
        return f"redis://{HOST}:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            Unavailable: It cannot be installed, or does not start.
        """
        install.require(("redis-server", "redis-cli"), ("redis-server", "redis-tools"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._configuration.write_text(
            f"bind {HOST}\nport {self.port}\ndir {self.folder}\ndaemonize no\n"
            'appendonly yes\nappendfsync everysec\nsave ""\n'
        )
        self._daemon.start()
        require_until("Redis", self._ready, START_SECONDS, self._daemon)

    def stop(self) -> None:
        """Stop it; its data stay."""
        self._daemon.stop()

    def kill(self) -> None:
        """End it as a crash does."""
        self._daemon.stop(signal.SIGKILL)

    def flush(self) -> None:
        """Forget all data."""
        self._cli("flushall")

    def environment(self) -> dict[str, str]:
        """Return what a program of ours needs to use it."""
        return {"BLOCKLIST_REDIS": self.url}

    def _ready(self) -> bool:
        return answers(self.port) and self._cli("ping") == "PONG"

    def _cli(self, *words: str) -> str:
        argv = ["redis-cli", "-h", HOST, "-p", str(self.port), *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
        return done.stdout.strip()
