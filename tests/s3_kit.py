"""An S3 server for tests that fails on demand: in memory, or in front of a real one.

    with serving(FakeS3(conditions="ignored")) as server:      a server as others than AWS are
        store = server.store()
    with serving(Upstream("http://127.0.0.1:7480")) as server:  a real one behind a bad line
        server.plan = faults("PUT", Fault.CUT_AFTER)            the first PUT gets no answer

The plan is asked for every request. It may also do things, such as write behind our back.
"""

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import Enum, auto
from functools import cache
from hashlib import md5
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

import boto3
import botocore.session
from botocore.loaders import Loader, create_loader

from blocklist.store.s3 import S3Store
from blocklist.store.s3_client import Patience
from blocklist.store.s3_url import S3Location

BUCKET = "bucket"
WHEN = datetime(2026, 1, 1, tzinfo=UTC)
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
QUICK = Patience(reads=2, writes=3, first_pause_seconds=0.001, longest_pause_seconds=0.001)
HASTY = replace(QUICK, answer_seconds=0.5)  # for tests of servers that fall silent

Headers = dict[str, str]


@dataclass(frozen=True)
class Request:
    """What a client asks."""

    method: str
    path: str
    headers: Headers
    body: bytes

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}").removeprefix("/")


@dataclass(frozen=True)
class Answer:
    """What a server says; a status of 0 says nothing and ends the connection."""

    status: int
    body: bytes = b""
    headers: Headers = field(default_factory=dict)


class Fault(Enum):
    """What happens to one request; BEFORE it is carried out, or AFTER."""

    CUT_BEFORE = auto()
    CUT_AFTER = auto()
    SILENT_BEFORE = auto()
    SILENT_AFTER = auto()
    FAIL_BEFORE = auto()
    FAIL_AFTER = auto()
    HALF_BODY = auto()


Backend = Callable[[Request], Answer]
Plan = Callable[[Request], Fault | Answer | None]


def faults(method: str, *wanted: Fault | Answer | None, key: str = "private/a") -> Plan:
    """Let the requests of a method on one key meet these faults, one after another, then none."""
    left = list(wanted)
    return lambda at: left.pop(0) if left and (at.method, at.key) == (method, key) else None


def always(method: str, fault: Fault | Answer, key: str = "private/a") -> Plan:
    """Let every request of a method on one key meet a fault."""
    return lambda at: fault if (at.method, at.key) == (method, key) else None


def refusal(status: int, code: str) -> Answer:
    """Return an error as S3 says it; a code of "" leaves the body empty."""
    text = f"<Error><Code>{escape(code)}</Code><Message>said</Message></Error>" if code else ""
    return Answer(status, text.encode(), {"Content-Type": "application/xml"})


class FakeS3:
    """S3 in memory, with one bucket.

    Args:
        conditions: `quoted`, `bare`, `ignored`, `refused` (501), or `half` (only If-None-Match).
        metadata: Whether it keeps metadata.

    Attributes:
        losers: The answer to who lost a race.
        objects: Bytes and headers by key.
    """

    def __init__(self, conditions: str = "quoted", *, metadata: bool = True) -> None:
        self.conditions = conditions
        self.metadata = metadata
        self.losers = refusal(412, "PreconditionFailed")
        self.objects: dict[str, tuple[bytes, Headers]] = {}
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Answer:
        with self._lock:
            if request.method == "GET" and "list-type" in request.path:
                return self._list(parse_qs(urlsplit(request.path).query))
            does = {"PUT": self._put, "DELETE": self._delete}.get(request.method, self._get)
            return does(request)

    def _put(self, request: Request) -> Answer:
        match, none_match = (request.headers.get(name) for name in ("if-match", "if-none-match"))
        refused = {"refused": match or none_match, "half": match}.get(self.conditions)
        if refused is not None:
            return refusal(501, "NotImplemented")
        now = self.objects.get(request.key)
        etag = _etag(now[0]) if now else None
        wanted = match if self.conditions == "bare" else (match or "").strip('"')
        lost = (none_match and now) or (match and etag != wanted)
        if lost and self.conditions != "ignored":
            return self.losers
        kept = {name: value for name, value in request.headers.items() if _is_kept(name)}
        if not self.metadata:
            kept = {name: value for name, value in kept.items() if not name.startswith("x-amz")}
        self.objects[request.key] = (request.body, kept)
        return Answer(200, b"", {"ETag": f'"{_etag(request.body)}"'})

    def _get(self, request: Request) -> Answer:
        found = self.objects.get(request.key)
        if found is None:
            return refusal(404, "NoSuchKey")
        return Answer(200, found[0], {**_FACTS, "ETag": f'"{_etag(found[0])}"', **found[1]})

    def _delete(self, request: Request) -> Answer:
        self.objects.pop(request.key, None)
        return Answer(204)

    def _list(self, query: dict[str, list[str]]) -> Answer:
        prefix = query.get("prefix", [""])[0]
        rows = "".join(
            f"<Contents><Key>{quote(key)}</Key><Size>{len(data)}</Size>"
            f"<LastModified>{WHEN:%Y-%m-%dT%H:%M:%S}.000Z</LastModified></Contents>"
            for key, (data, _) in sorted(self.objects.items())
            if key.startswith(prefix)
        )
        text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
        return Answer(200, text.encode(), {"Content-Type": "application/xml"})


class Upstream:
    """A real server; requests are forwarded as they came, signatures stay good."""

    def __init__(self, endpoint: str) -> None:
        self._host = urlsplit(endpoint).netloc

    def __call__(self, request: Request) -> Answer:
        connection = HTTPConnection(self._host, timeout=60)
        try:
            connection.putrequest(
                request.method, request.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in request.headers.items():
                if name not in {"expect", "connection"}:
                    connection.putheader(name, value)
            connection.endheaders(request.body)
            answer = connection.getresponse()
            headers = {k: v for k, v in answer.getheaders() if k.lower() not in _OWN}
            if request.method == "HEAD":
                headers["Content-Length"] = answer.getheader("Content-Length", "0")
            return Answer(answer.status, answer.read(), headers)
        finally:
            connection.close()


class Server(ThreadingHTTPServer):
    """The server; `plan` is asked for every request, `requests` has them all.

    Attributes:
        endpoint: What clients call it.
        patience: Of new clients.
        refuse_bodies: Whether it hangs up once the first byte of a body has come.
        released: Set to let go of silent connections.
    """

    daemon_threads = True

    def __init__(self, backend: Backend) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.backend = backend
        self.plan: Plan = lambda request: None
        self.requests: list[Request] = []
        self.released = threading.Event()
        self.refuse_bodies = False
        self.patience = QUICK
        self._connections: list[Any] = []
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.append(request)
        super().process_request(request, client_address)

    def hang_up(self) -> None:
        """End all connections that are open."""
        for connection in self._connections:
            with suppress(OSError):  # closed already
                connection.shutdown(SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # who asked has given up
            super().handle_error(request, client_address)

    def store(self, *, bucket: str = BUCKET, single_writer: bool = False) -> S3Store:
        """Return a new client of it."""
        location = S3Location(bucket, endpoint_url=self.endpoint, region="us-east-1")
        return S3Store(location, single_writer=single_writer, patience=self.patience)

    def sent(self, method: str, key: str = "private/a") -> int:
        """Return how many requests of a method came for a key."""
        return sum((at.method, at.key) == (method, key) for at in self.requests)

    def answer(self, request: Request) -> Answer:
        """Carry a request out as the plan has it."""
        self.requests.append(request)
        fault = self.plan(request)
        if isinstance(fault, Answer):
            return fault
        if fault is Fault.SILENT_BEFORE:
            self.released.wait(60)
        if fault in {Fault.CUT_BEFORE, Fault.SILENT_BEFORE}:
            return Answer(0)
        if fault is Fault.FAIL_BEFORE:
            return refusal(500, "InternalError")
        answer = self.backend(request)
        if fault is Fault.SILENT_AFTER:
            self.released.wait(60)
        if fault in {Fault.CUT_AFTER, Fault.SILENT_AFTER}:
            return Answer(0)
        if fault is Fault.HALF_BODY:
            long = {"Content-Length": str(len(answer.body))}
            return Answer(
                answer.status, answer.body[: len(answer.body) // 2], answer.headers | long
            )
        return refusal(500, "InternalError") if fault is Fault.FAIL_AFTER else answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def _any(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        if self.server.refuse_bodies:
            self.rfile.read(1)
            self._hang_up()
            return
        body = self.rfile.read(int(headers.get("content-length", 0)))
        answer = self.server.answer(Request(self.command, self.path, headers, body))
        if not answer.status:
            self._hang_up()
            return
        self.send_response_only(answer.status)
        whole = {"Content-Length": str(len(answer.body)), **answer.headers}
        for name, value in whole.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        if int(whole["Content-Length"]) > len(answer.body) and self.command != "HEAD":
            self.close_connection = True

    def _hang_up(self) -> None:
        self.connection.shutdown(SHUT_RDWR)
        self.close_connection = True

    def do_GET(self) -> None:
        self._any()

    def do_HEAD(self) -> None:
        self._any()

    def do_PUT(self) -> None:
        self._any()

    def do_DELETE(self) -> None:
        self._any()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(backend: Backend, credentials: Mapping[str, str] = CREDENTIALS) -> Iterator[Server]:
    """Serve on a free port of loopback, with credentials in the environment, for the block."""
    server = Server(backend)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with patch.dict(os.environ, credentials), quick_sessions():
            yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.hang_up()
        server.server_close()


@contextmanager
def quick_sessions() -> Iterator[None]:
    """Let boto3 read its descriptions of S3 once, not for each of many clients (60 ms each)."""
    with patch("blocklist.store.s3_client.boto3.session.Session", _session):
        yield


def _session(real: Any = boto3.session.Session) -> Any:
    inner = botocore.session.get_session()
    inner.register_component("data_loader", _loader())
    return real(botocore_session=inner)


@cache
def _loader() -> Loader:
    return create_loader()


_OWN = {"connection", "content-length", "date", "server", "transfer-encoding"}  # this server's
_FACTS = {"Last-Modified": format_datetime(WHEN, usegmt=True)}
_KEPT = re.compile(r"x-amz-meta-.*|content-type|cache-control")


def _is_kept(name: str) -> bool:
    return _KEPT.fullmatch(name) is not None


def _etag(data: bytes) -> str:
    return md5(data).hexdigest()
