"""The gunicorn worker of the API: gevent, with patience that ends.

Added to gunicorn's own: what it refuses by itself is a problem document that repeats nothing, a
client that reads too slowly is cut, a connection that carries a body is closed without reading
it, and when the worker is told to stop, waiting polls are answered and idle connections closed at
once. Nothing else of ours may be imported here: gunicorn loads this before gevent patches.
"""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import gevent
from gunicorn.http import errors
from gunicorn.workers.base_async import AsyncWorker
from gunicorn.workers.ggevent import GeventWorker

_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (errors.LimitRequestLine, 414),
    (errors.LimitRequestHeaders, 431),
    (errors.ExpectationFailed, 417),
    (errors.UnsupportedTransferCoding, 501),
    (errors.ConfigurationProblem, 500),
    (errors.InvalidResponseHeader, 500),  # a fault of ours, though it is an InvalidHeader
    (errors.InvalidResponseHeaderName, 500),
    (errors.ParseException, 400),
)
_BODY = frozenset({"CONTENT-LENGTH", "TRANSFER-ENCODING"})
_LAST_SECONDS = 2.0  # for a request to come in when the worker is about to end
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 1 << 18


class ApiWorker(GeventWorker):  # type: ignore[misc] # gunicorn is not typed
    """A worker; gunicorn makes it."""

    send_seconds = 30  # how long a client may take for one piece; set by `gunicorn_conf`

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reading: dict[gevent.Greenlet, gevent.Timeout] = {}
        self._served: set[gevent.Greenlet] = set()  # connections that had an answer
        self._stopping = False

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection, with a deadline for everything that is sent."""
        client.settimeout(max(self.send_seconds, self.cfg.keepalive + 1))
        try:
            AsyncWorker.handle(self, listener, client, addr)  # not GeventWorker: it takes that off
        finally:
            self._served.discard(gevent.getcurrent())

    @contextlib.contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Limit how long a connection may be idle, or take to send a request's header."""
        this = gevent.getcurrent()
        seconds = _LAST_SECONDS if self._stopping else self.cfg.keepalive
        with gevent.Timeout(seconds, False) as patience:
            self._reading[this] = patience
            try:
                yield
            finally:
                del self._reading[this]

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer one request; after one with a body the connection is closed."""
        self._served.add(gevent.getcurrent())
        if not _BODY.isdisjoint(name for name, _ in req.headers):
            req.force_close()
        try:
            super().handle_request(listener_name, req, sock, addr)
        except TimeoutError as error:  # the client does not read
            raise StopIteration from error
        except StopIteration:  # the connection ends here
            if not _BODY.isdisjoint(name for name, _ in req.headers):
                _linger(sock)
            raise

    def handle_error(self, _req: Any, client: Any, _addr: Any, exc: BaseException) -> None:
        """Answer a request that could not be read, or in which gunicorn itself failed."""
        # What is ours is imported now, in a worker that has patched.
        from blocklist.api import access, problems

        status = next((code for kind, code in _STATUS if isinstance(exc, kind)), 500)
        if status == 500:
            self.log.error("unexpected %s in the server", type(exc).__name__)
        request_id = access.refused(status)
        kind = problems.of_status(status)
        body = problems.body(kind)
        head = (
            f"HTTP/1.1 {status} {kind.title}\r\nConnection: close\r\nCache-Control: no-store\r\n"
            f"Content-Type: {problems.MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n"
            f"X-Content-Type-Options: nosniff\r\n{access.REQUEST_ID}: {request_id}\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            client.sendall(head.encode("ascii") + body)
            _linger(client)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop: as gunicorn does, and let go of all who wait."""
        super().handle_exit(sig, frame)
        gevent.spawn(self._let_go)  # not in the signal's own context, which may not switch

    def _let_go(self) -> None:
        from blocklist.api.app import stop

        self._stopping = True
        loop = gevent.get_hub().loop
        for greenlet, patience in list(self._reading.items()):
            if greenlet in self._served:
                loop.run_callback(self._cut, greenlet, patience)
            else:  # it has just come, and its request may be on the way
                gevent.spawn_later(_LAST_SECONDS, loop.run_callback, self._cut, greenlet, patience)
        if self.wsgi is not None:
            stop(self.wsgi)

    def _cut(self, greenlet: gevent.Greenlet, patience: gevent.Timeout) -> None:
        """End the patience with a connection, if it is still the one that is waited for."""
        if self._reading.get(greenlet) is patience:
            greenlet.throw(patience)


def _linger(client: Any) -> None:
    """Let the client read the answer: closing over unread bytes would take it away (RFC 9112, 9.6).

    What comes in is thrown away, for a second and 256 KiB at most.
    """
    left = _LINGER_BYTES
    with contextlib.suppress(OSError), gevent.Timeout(_LINGER_SECONDS, False):
        client.shutdown(socket.SHUT_WR)
        while left > 0 and (data := client.recv(16_384)):
            left -= len(data)
