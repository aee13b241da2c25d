"""The real thing: `serve` as a process on loopback, with gunicorn and gevent."""

import gzip
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

from blocklist.core import delta
from blocklist.core.enrolment import EnrolledList, Enrolment, SourceUrl
from blocklist.core.entries import Feed
from blocklist.core.update import Update
from blocklist.subscriber.enrol import enrol
from blocklist.subscriber.pull import pull
from blocklist.subscriber.state import State
from tests.api_repo import KEY, NOW, TOKEN, Repo, content

SERVE = "import sys; from blocklist.api.serve import serve; serve(sys.argv[1], '127.0.0.1:0')"
START_SECONDS = 60
STOP_SECONDS = 60
SECRET = "bad.example"


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    data: bytes


@dataclass
class Server:
    """A running API."""

    process: subprocess.Popen[str]
    port: int
    log: Path
    repo: Repo
    headers: dict[str, str]

    def get(self, path: str, **headers: str) -> Answer:
        sent = {**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}}
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", path, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())

    def send(self, raw: bytes) -> bytes:
        """Send bytes as they are; return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65_536), b""))


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Run the API on a new repository until the block ends."""
    repo = Repo(folder / "store")
    repo.releases(6)
    headers = repo.enrol()
    log = folder / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, repo.url],
            stderr=errors,
            stdout=subprocess.PIPE,
            text=True,
            # An operator's settings must not lead to a second process.
            env={**os.environ, "WEB_CONCURRENCY": "3", "GUNICORN_CMD_ARGS": "--workers 3"},
        )
    try:
        yield Server(process, _port(process, log), log, repo, headers)
    finally:
        process.terminate()
        process.communicate(timeout=STOP_SECONDS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("serve")) as server:
        yield server


def _port(process: subprocess.Popen[str], log: Path) -> int:
    """Wait until it says where it listens."""
    for _ in range(START_SECONDS * 10):
        found = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", log.read_text())
        if found:
            return int(found[1])
        try:
            process.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError(f"the server did not start:\n{log.read_text()}")


def test_it_is_alive_and_ready(server: Server) -> None:
    assert server.get("/healthz").status == 200
    assert server.get("/readyz").status == 200


def test_an_update_comes_through_whole(server: Server) -> None:
    answer = server.get("/v1/lists/demo/hashed/update?from=4", Accept_Encoding="gzip")
    assert (answer.status, answer.headers["Content-Encoding"]) == (200, "gzip")
    update = Update.from_bytes(gzip.decompress(answer.data))
    data = content(Feed.HASHED, 4)
    for blob in update.objects.values():
        data = delta.apply(Feed.HASHED, data, blob, max_bytes=1 << 20)
    assert data == content(Feed.HASHED, 6)


def test_304_has_no_body(server: Server) -> None:
    etag = server.get("/v1/lists/demo/clear").headers["ETag"]
    answer = server.get("/v1/lists/demo/clear", If_None_Match=etag)
    assert (answer.status, answer.data) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/metadata/../../private/lists/demo.json",
        "/v1/metadata/%2e%2e/%2e%2e/private/lists/demo.json",
        "/v1/metadata/..%2f..%2fprivate%2flists%2fdemo.json",
        "/v1/targets/demo/clear/..%2f..%2f..%2f..%2fprivate%2flists%2fdemo.json",
        "/v1/targets/../metadata/1.root.json",
        "//etc/passwd",
    ],
)
def test_no_path_leaves_the_feed(server: Server, path: str) -> None:
    assert server.get(path).status == 404


@pytest.mark.parametrize(
    "raw",
    [
        f"GET /{SECRET} x HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET /v1/lists HTTP/1.1\r\nHost: x\r\nA{SECRET} b: {TOKEN}\r\n\r\n",
        f"GET /{SECRET}/{'a' * 5000} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET /v1/lists?q={SECRET} HTTP/1.1\r\nHost: x\r\nX: {SECRET * 1000}\r\n\r\n",
        f"GET /v1/lists?token={TOKEN} HTTP/1.1\r\nHost: {SECRET}\r\n\r\n",
        f"GET /{SECRET}%0aforged HTTP/1.1\r\nHost: x\r\n\r\n",
        f"POST /v1/lists HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n{SECRET}",
        f"\x16\x03{SECRET}\r\n\r\n",
    ],
)
def test_senseless_requests_are_refused_and_leave_nothing_in_the_log(
    server: Server, raw: str
) -> None:
    answer = server.send(raw.encode("latin-1"))
    assert re.match(rb"HTTP/1\.[01] 4\d\d ", answer)
    assert server.get("/healthz").status == 200
    log = server.log.read_text()
    assert SECRET not in log
    assert TOKEN not in log
    assert "\nforged" not in log


def test_a_subscriber_needs_one_request_to_install_to_follow_and_when_nothing_is_new(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as server:
        state = State(tmp_path / "state")
        source = SourceUrl(f"http://127.0.0.1:{server.port}")
        demo = EnrolledList("demo", (Feed.HASHED,), {KEY.id: KEY}, "v1.example")
        enrolment = Enrolment("isp", (source,), TOKEN, server.repo.root, {"demo": demo})
        enrol(state, enrolment, accept_dev=True, now=NOW)
        (installed,) = pull(state)
        (same,) = pull(state)
        server.repo.releases(3)
        _until_seen(server, 9)
        (followed,) = pull(state)
    assert (installed.to, installed.requests) == (6, 1)
    assert (same.changed, same.requests) == (False, 1)
    assert (followed.to, followed.requests, followed.way) == (9, 1, "ladder")


def _until_seen(server: Server, version: int) -> None:
    """Ask until the API serves that version: it looks at the head twice a second."""
    for _ in range(600):
        if server.get("/v1/lists/demo/hashed").headers["ETag"] == f'"{version}"':
            return
        time.sleep(0.1)
    raise AssertionError(f"version {version} was never served")


def test_it_runs_one_worker_and_stops_on_sigterm(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert server.get("/v1/lists/demo/clear?").status == 200
        server.process.send_signal(signal.SIGTERM)
        printed, _ = server.process.communicate(timeout=STOP_SECONDS)
    assert server.process.returncode == 0
    assert printed == ""
    log = server.log.read_text()
    assert log.count("Booting worker") == 1
    assert '"path": "/v1/lists/demo/clear"' in log
