"""HTTP servers on loopback for the subscriber's tests: a static folder, and a fake of our API."""

import base64
import gzip
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from blocklist.core.entries import Feed
from blocklist.core.update import Update
from signing.names import file_name
from tests.subscriber_repo import Repo, ladder_of


class Handler(BaseHTTPRequestHandler):
    """Static files under /feed/, and our API under /v1/ as docs/spec.md has it."""

    protocol_version = "HTTP/1.1"
    repo: Repo
    log: list[str]
    authorizations: list[str | None]
    authorization: str | None = None

    def do_GET(self) -> None:
        self.log.append(self.path)
        self.authorizations.append(self.headers.get("Authorization"))
        parts = urlsplit(self.path)
        if self.authorization not in (None, self.authorizations[-1]):
            self._send(401, b"")
        elif parts.path.endswith("/update"):
            self._update(
                parts.path.split("/"), {k: int(v[0]) for k, v in parse_qs(parts.query).items()}
            )
        else:
            data = self.repo.objects.get(
                "feed/" + parts.path.removeprefix("/v1/").removeprefix("/feed/")
            )
            self._send(404 if data is None else 200, data or b"")

    def _update(self, path: list[str], at: dict[str, int]) -> None:
        name, feed = path[-3], Feed(path[-2])
        now = self.repo.head()
        done = self.repo.history.get(name, [])
        version = done[-1].version if done else 0
        if (at["from"], at["timestamp"], at["root"]) == (
            version,
            now.timestamp.version,
            now.root.version,
        ):
            self._send(304, b"")
            return
        files = {"timestamp.json": now.timestamp.data}
        for role in (now.snapshot, now.targets):
            files[file_name(role.name, role.version)] = role.data
        for number in range(at["root"] + 1, now.root.version + 1):
            files[file_name("root", number)] = self._object("metadata/" + file_name("root", number))
        objects: dict[str, bytes] = {}
        if done:
            hops = ladder_of(self.repo, at["from"], feed) if at["from"] else None
            blobs = []
            if hops is None:
                of, blob = done[-1].snapshot[feed]
                blobs, hops = [blob], ladder_of(self.repo, of, feed) or []
            by_version = {one.version: one for one in done}
            for start, to in [*hops, (0, version)]:
                files[file_name(name, to)] = self._object("metadata/" + file_name(name, to))
                blobs += [by_version[to].deltas[feed][start]] if start else []
            for blob in blobs:
                objects[blob.file] = self._object(f"targets/{name}/{feed}/{blob.file}")
        self._send(200, Update(name, feed, version or None, files, objects).to_bytes())

    def _object(self, key: str) -> bytes:
        return self.repo.objects.get("feed/" + key, b"")

    def _send(self, status: int, data: bytes) -> None:
        zipped = bool(data) and "gzip" in self.headers.get("Accept-Encoding", "")
        body = gzip.compress(data, 1) if zipped else data
        self.send_response(status)
        if zipped:
            self.send_header("Content-Encoding", "gzip")
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Served:
    """A repository that is served.

    Attributes:
        url: Where.
        log: The paths asked for.
        authorizations: The header that came with each.
    """

    url: str
    log: list[str]
    authorizations: list[str | None]


@contextmanager
def serve(
    repo: Repo,
    token: str | None = None,
    *,
    login: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Served]:
    """Serve a repository on loopback, statically and as the API.

    `token` or `login` (`user:password`) is asked for.
    """
    wanted = f"Bearer {token}" if token is not None else None
    if login is not None:
        wanted = f"Basic {base64.b64encode(login.encode()).decode()}"
    served = Served("", [], [])
    own = {"repo": repo, "log": served.log, "authorizations": served.authorizations}
    handler = type("Handler", (Handler,), {**own, "authorization": wanted})
    with running(handler, tls) as url:
        yield replace(served, url=url)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that go away, as those do that do not trust a certificate."""


@contextmanager
def running(
    handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Run an HTTP server on loopback; give its URL."""
    server = _Server(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        scheme = "https" if tls is not None else "http"
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
