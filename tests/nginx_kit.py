"""nginx as it ships in front of an API, and an API that answers about tokens as a test wants."""

import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests

from scripts.services.nginx import Nginx
from tests.services import program, started

CLEAR = "/v1/targets/demo/clear/" + "a" * 64 + ".snapshot"
HASHED = "/v1/targets/demo/hashed/" + "b" * 64 + ".delta-7"
IMMUTABLE = "private, max-age=31536000, immutable"
PROBLEM = "application/problem+json"
_KNOWN = re.compile(r"/v1/(lists|(targets/[a-z]+/[a-z]+|metadata)/[0-9a-z.-]+)")


@contextmanager
def running(folder: Path, api: str, edits: Mapping[str, str] | None = None) -> Iterator[Nginx]:
    """Run nginx until the block ends; `api` is `HOST:PORT` or a URL."""
    nginx = Nginx(folder, api.removeprefix("http://"), edits)
    try:
        started(nginx, "nginx")
        yield nginx
    finally:
        nginx.stop()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def get(
    nginx: Nginx, path: str, token: str | None = None, method: str = "GET", **headers: str
) -> requests.Response:
    """Ask; `headers` have `_` for `-`."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    sent |= bearer(token) if token is not None else {}
    return requests.request(
        method,
        nginx.url + path,
        headers=sent,
        verify=str(nginx.ca_file),
        timeout=90,
        allow_redirects=False,
    )


def assert_problem(answer: requests.Response, status: int, slug: str) -> None:
    """Check that an answer is a problem document with what every answer has."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, PROBLEM)
    assert answer.json()["type"] == f"/problems/{slug}"
    assert answer.json()["status"] == status
    assert answer.headers["Cache-Control"] == "no-store"
    for name in ("X-Request-Id", "Content-Security-Policy", "Strict-Transport-Security"):
        assert len(answer.headers[name].split(", ")) == 1


def files_holding(folder: Path, secret: str) -> list[str]:
    """Return the files below a folder that hold a text, or its common encodings."""
    pattern = re.compile(re.escape(secret.encode()), re.IGNORECASE)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if pattern.search(path.read_bytes())]


def curl(nginx: Nginx, *words: str) -> str:
    """Return what curl prints: for requests that a library would not send."""
    argv = [program("curl", "curl"), "-sS", "--path-as-is", "--cacert", str(nginx.ca_file), *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout


class FakeApi:
    """An API in the test's hands: what it says of tokens, and objects made of their own path.

    Attributes:
        permissions: What `/internal/authorise..` answers, by token; others are refused.
        object_headers: Headers of every object.
        asked: Path and token of all requests.
        headers: Their headers.
    """

    def __init__(self) -> None:
        self.permissions: dict[str | None, tuple[int, dict[str, str]]] = {}
        self.object_headers = {"Cache-Control": IMMUTABLE, "ETag": '"0"'}
        self.asked: list[tuple[str, str | None]] = []
        self.headers: list[Message] = []
        # HTTP/1.0: no connection stays, so that one who has stopped answers nobody.
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def permit(self, token: str, cache: str = "max-age=60", vary: str = "Authorization") -> None:
        self.permissions[token] = (204, {"Cache-Control": cache, "Vary": vary})

    def refuse(self, token: str, status: int = 401, **headers: str) -> None:
        kept = {"Cache-Control": "max-age=1", "Vary": "Authorization"}
        self.permissions[token] = (
            status,
            kept | {name.replace("_", "-"): value for name, value in headers.items()},
        )

    def questions(self, token: str) -> int:
        """Return how often it was asked about a token."""
        return sum(path.startswith("/internal/") and of == token for path, of in self.asked)

    def answer(self, path: str, token: str | None) -> tuple[int, dict[str, str], bytes]:
        self.asked.append((path, token))
        if path.startswith("/internal/"):
            refused = (401, {"Cache-Control": "max-age=1", "Vary": "Authorization"})
            return (*self.permissions.get(token, refused), b"")
        if not _KNOWN.fullmatch(path):
            return 404, {"Cache-Control": "no-store"}, b""
        return 200, self.object_headers, path.encode() * 10


class _Handler(BaseHTTPRequestHandler):
    api: FakeApi

    def do_GET(self) -> None:
        token = (self.headers["Authorization"] or "").removeprefix("Bearer ") or None
        self.api.headers.append(self.headers)
        status, headers, body = self.api.answer(self.path, token)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""
