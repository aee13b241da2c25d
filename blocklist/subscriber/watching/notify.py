"""What systemd is told: READY, RELOADING, STOPPING, STATUS, WATCHDOG (sd_notify(3)).

Datagrams on the socket that the environment names; nothing where it names none. Failures are
ignored, as the manual asks for: a service also runs without its manager.
"""

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress


class Notifier:
    """Tells the service manager. It takes its variables out of the environment: hooks are not us.

    Attributes:
        watchdog_seconds: How often it must hear of us; None: not at all.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        ours = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        known = ours and microseconds.isascii() and microseconds.isdigit()
        self.watchdog_seconds = int(microseconds) / 1e6 if known else None

    def ready(self, status: str) -> None:
        """Say that start or reload is done."""
        self._send("READY=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        """Say in one line what we are at."""
        self._send(f"STATUS={text}")

    def reloading(self) -> None:
        """Say that a reload has begun."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}")

    def stopping(self) -> None:
        """Say that we are about to end."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Keep the watchdog quiet."""
        if self.watchdog_seconds is not None:
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):  # abstract
            address = f"\0{address[1:]}"
        data = "\n".join(" ".join(line.split()) for line in lines).encode()
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)  # never hang on a manager that does not read
            sender.sendto(data, address)
