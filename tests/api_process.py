"""The API as it is served: `serve` as a process on loopback, with gunicorn and gevent."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.api_repo import Repo

SERVE = """
import sys; from pathlib import Path; from blocklist.api.serve import serve
serve(sys.argv[1], "127.0.0.1:0", workers=int(sys.argv[2]), redis_url=sys.argv[3] or None,
      config=Path(sys.argv[4]))
"""
START_SECONDS = 60
STOP_SECONDS = 60


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    data: bytes


@dataclass
class Server:
    """A running API.

    Attributes:
        headers: The token of a subscriber.
    """

    process: subprocess.Popen[str]
    port: int
    log: Path
    repo: Repo
    headers: dict[str, str]

    def get(self, path: str, **headers: str) -> Answer:
        sent = {**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}}
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("GET", path, headers=sent)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())

    def connect(self, sent: bytes = b"") -> socket.socket:
        """Return a connection on which something was sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        connection.sendall(sent)
        return connection

    def send(self, raw: bytes) -> bytes:
        """Send bytes as they are; return all that comes back."""
        with self.connect(raw) as connection:
            connection.shutdown(socket.SHUT_WR)
            return rest(connection)

    def request(self, path: str, **headers: str) -> bytes:
        """Return a request as bytes."""
        sent = {"Host": "x", **self.headers}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()

    def accessed(self) -> list[dict[str, Any]]:
        """Return the access log; every line of it must be a JSON object."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def figure(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels."""
        families = text_string_to_metric_families(self.get("/metrics").data.decode())
        samples = [sample for family in families for sample in family.samples]
        fits = (
            s
            for s in samples
            if s.name == f"blocklist_{name}" and labels.items() <= s.labels.items()
        )
        return sum(sample.value for sample in fits)

    def workers(self) -> list[int]:
        """Return the ids of the worker processes."""
        parent = str(self.process.pid)
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = status.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            if fields[1] == parent and fields[0] != "Z":
                found.append(int(status.parent.name))
        return sorted(found)


@contextmanager
def running(
    folder: Path,
    *,
    workers: int = 1,
    redis_url: str = "",
    settings: Mapping[str, int] | None = None,
    repo: Repo | None = None,
    storage: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run the API until the block ends.

    Args:
        folder: For its log and settings.
        workers, redis_url, settings: As for `serve`.
        repo: What is served; None: a new one of six releases.
        storage: Where that is for the API; None: in its directory.
        environment: Variables besides.
    """
    if repo is None:
        repo = Repo(folder / "store")
        repo.releases(6)
    headers = repo.enrol()
    log, config = folder / "log", folder / "config.toml"
    lines = (f"{name} = {value}\n" for name, value in (settings or {}).items())
    config.write_text("[api]\n" + "".join(lines))
    with log.open("w") as errors:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                SERVE,
                storage or repo.url,
                str(workers),
                redis_url,
                str(config),
            ],
            stderr=errors,
            stdout=subprocess.PIPE,
            text=True,
            # An operator's settings must not lead to another number of processes.
            env={
                **os.environ,
                "WEB_CONCURRENCY": "3",
                "GUNICORN_CMD_ARGS": "--workers 3",
                **(environment or {}),
            },
        )
    try:
        yield Server(process, _port(process, log), log, repo, headers)
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=STOP_SECONDS)


class Poll:
    """A request on its own connection, in a thread, until it is answered or cut."""

    def __init__(self, server: Server, path: str, **headers: str) -> None:
        self.answers: list[bytes] = []
        raw = server.request(path, Connection="close", **headers)

        def ask() -> None:
            with server.connect(raw) as connection:
                self.answers.append(rest(connection))

        self._thread = threading.Thread(target=ask)
        self._thread.start()

    def answer(self, seconds: float = 40) -> bytes:
        """Return what came, before a poll of 55 s would end by itself."""
        self._thread.join(seconds)
        assert self.answers, "it was not answered"
        return self.answers[0]


def rest(connection: socket.socket) -> bytes:
    """Return all that still comes; a connection that is reset has ended too."""
    found = bytearray()
    try:
        while data := connection.recv(65_536):
            found += data
    except ConnectionResetError:
        pass
    return bytes(found)


def document(answer: bytes) -> dict[str, Any]:
    """Return the problem document that a raw answer must be."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower(), answer
    assert b"cache-control: no-store" in head.lower()
    found: dict[str, Any] = json.loads(body)
    assert f" {found['status']} ".encode() in head.splitlines()[0]
    return found


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
