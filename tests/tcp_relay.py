"""A wire between a client and a server on loopback that can be cut after a number of bytes.

    with relaying("127.0.0.1", 7480) as relay:
        relay.cut_up(100_000, server.kill)      after that many bytes to the server: this, and cut
        relay.cut_down(100_000)                 after that many bytes to the client: cut

It knows nothing of HTTP, so TLS goes through it as well. A cut happens once, then all goes through.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_CHUNK = 1 << 14


def _nothing() -> None:
    pass


@dataclass
class _Cut:
    """One direction: bytes left until the cut, None for no cut."""

    left: int | None = None
    action: Callable[[], None] = _nothing
    lock: threading.Lock = field(default_factory=threading.Lock)

    def passing(self, count: int) -> bool:
        """Tell whether these bytes may pass; when they may not, the action is done."""
        with self.lock:
            if self.left is None:
                return True
            self.left -= count
            if self.left >= 0:
                return True
            self.left = None
        self.action()
        return False


class Relay:
    """The wire.

    Attributes:
        port: Where clients connect on loopback.
        connections: How many they have made.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._up, self._down = _Cut(), _Cut()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_up(self, count: int, action: Callable[[], None] = _nothing) -> None:
        """After `count` bytes to the server do something, then cut."""
        self._up.action, self._up.left = action, count

    def cut_down(self, count: int) -> None:
        """After `count` bytes to the client cut."""
        self._down.left = count

    def close(self) -> None:
        """End it."""
        for one in (self._listener, *self._open):
            _end(one)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                try:
                    server = socket.create_connection(self._server)
                except OSError:  # it is down: so is the wire
                    _end(client)
                    continue
                self._open += [client, server]
                for here, there, cut in ((client, server, self._up), (server, client, self._down)):
                    threading.Thread(target=_pump, args=(here, there, cut), daemon=True).start()


def _pump(here: socket.socket, there: socket.socket, cut: _Cut) -> None:
    with suppress(OSError):
        while data := here.recv(_CHUNK):
            if not cut.passing(len(data)):
                break
            there.sendall(data)
    _end(here)
    _end(there)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def relaying(host: str, port: int) -> Iterator[Relay]:
    """Hold a wire to a server while the block runs."""
    relay = Relay(host, port)
    try:
        yield relay
    finally:
        relay.close()
