"""What nginx costs with the configuration that ships: processor time for each request.

A 20 kB object that nginx keeps, asked for with a token whose authorisation is kept too, against the
same bytes served from a folder by the barest nginx server, in the same worker in turns. The token
is not the first one that asked, so that nginx has to look twice for its answer (authorise.conf).
No TLS: it costs both the same and would flatter the ratio. `python3 -m scripts.bench_nginx`
"""

import os
import re
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request, urlopen

from scripts.services import install
from scripts.services.nginx import Nginx
from scripts.services.process import HOST

OBJECT_BYTES = 20_000
ROUNDS = 5
SECONDS = 2
CONNECTIONS = 32

_OBJECT = "/v1/targets/demo/hashed/" + "0" * 64 + ".snapshot"
_STATIC = "/object"
_DONE = re.compile(r"(\d+) requests in ")
_BAD = re.compile(r"Non-2xx|Socket errors")


@dataclass(frozen=True, slots=True)
class Figures:
    """Processor time of nginx for a request, in microseconds, and how they compare.

    Attributes:
        static: The bytes from a folder.
        kept: The object, authorised and from the cache.
        ratio: Median of the ratios of each round.
    """

    static: float
    kept: float
    ratio: float


def measure() -> Figures:
    """Run nginx and measure; takes half a minute.

    Raises:
        Unavailable: nginx or wrk cannot be had here.
    """
    install.require(("wrk",), ("wrk",))
    with tempfile.TemporaryDirectory() as folder, _api() as api:
        nginx = _nginx(Path(folder), api)
        try:
            nginx.start()
            return _measured(nginx)
        finally:
            nginx.stop()


def _measured(nginx: Nginx) -> Figures:
    for token in ("first", "second"):
        headers = {"Authorization": f"Bearer {token}"}
        with urlopen(Request(nginx.plain_url + _OBJECT, headers=headers), timeout=10) as answer:
            answer.read()
    rounds = [(_cost(nginx, _STATIC, None), _cost(nginx, _OBJECT, "second")) for _ in range(ROUNDS)]
    static, kept = (statistics.median(column) for column in zip(*rounds, strict=True))
    return Figures(static, kept, statistics.median(b / a for a, b in rounds))


def _cost(nginx: Nginx, path: str, token: str | None) -> float:
    """Return microseconds of processor time that the worker takes for a request."""
    port = int(nginx.plain_url.rpartition(":")[2]) + (0 if token else 1)
    argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", f"http://{HOST}:{port}{path}"]
    if token:
        argv += ["-H", f"Authorization: Bearer {token}"]
    before = _processor_seconds(nginx)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    spent = _processor_seconds(nginx) - before
    count = _DONE.search(done.stdout)
    if count is None or _BAD.search(done.stdout):
        raise RuntimeError(f"expected good answers only, got: {done.stdout}")
    return spent * 1e6 / int(count[1])


def _processor_seconds(nginx: Nginx) -> float:
    """Return what the workers have used so far."""
    children = Path(f"/proc/{nginx.pid}/task/{nginx.pid}/children").read_text().split()
    ticks = 0
    for pid in children:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime, proc(5)
    return ticks / os.sysconf("SC_CLK_TCK")


def _nginx(folder: Path, api: str) -> Nginx:
    """Return an nginx with one worker, without the limits, and with a bare server beside it."""
    (folder / "bare").mkdir(mode=0o755)
    folder.chmod(0o755)
    (folder / "bare" / _STATIC.strip("/")).write_bytes(os.urandom(OBJECT_BYTES))
    edits = {
        "rate=20r/s": "rate=1000000r/s",
        "burst=200": "burst=100000",
        "worker_processes auto;": "worker_processes 1;",
    }
    nginx = Nginx(folder / "nginx", api, edits)
    bare = f"server {{ listen {HOST}:{nginx.port + 2}; root {folder}/bare; }}\n"
    (folder / "nginx/conf.d").mkdir(parents=True)
    (folder / "nginx/conf.d/bare.conf").write_text(bare)
    return nginx


class _Api(BaseHTTPRequestHandler):
    """An API that permits everything for an hour and has one object."""

    protocol_version = "HTTP/1.1"
    body = os.urandom(OBJECT_BYTES)

    def do_GET(self) -> None:
        """Answer as the API would."""
        if self.path.startswith("/internal/"):
            self._send(204, b"", "max-age=3600")
        else:
            self._send(200, self.body, "private, max-age=31536000, immutable")

    def _send(self, status: int, body: bytes, cache: str) -> None:
        self.send_response(status)
        self.send_header("Cache-Control", cache)
        self.send_header("Vary", "Authorization")
        self.send_header("ETag", '"0"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


@contextmanager
def _api() -> Iterator[str]:
    """Run the API until the block ends; yield its address."""
    with ThreadingHTTPServer((HOST, 0), _Api) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"{HOST}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    print(measure())
