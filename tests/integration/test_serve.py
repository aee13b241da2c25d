"""The real thing: `serve` as a process on loopback, with gunicorn and gevent."""

import gzip
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocklist.core import delta
from blocklist.core.enrolment import EnrolledList, Enrolment, SourceUrl
from blocklist.core.entries import Feed
from blocklist.core.update import Update
from blocklist.subscriber.enrol import enrol
from blocklist.subscriber.pull import pull
from blocklist.subscriber.state import State
from tests.api_process import STOP_SECONDS, Poll, Server, document, rest, running
from tests.api_repo import KEY, NOW, TOKEN, content, until

SECRET = "bad.example"
UPDATE = "/v1/lists/demo/hashed/update"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("serve")) as server:
        yield server


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
    assert set(document(answer)) <= {"type", "title", "status", "detail"}
    assert SECRET.encode() not in answer
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
        until("it is served", lambda: server.get("/v1/lists/demo/hashed").headers["ETag"] == '"9"')
        (followed,) = pull(state)
    assert (installed.to, installed.requests) == (6, 1)
    assert (same.changed, same.requests) == (False, 1)
    assert (followed.to, followed.requests, followed.way) == (9, 1, "ladder")


def test_it_runs_one_worker_and_stops_on_sigterm(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert server.get("/v1/lists/demo/clear?").status == 200
        server.process.send_signal(signal.SIGTERM)
        printed, _ = server.process.communicate(timeout=STOP_SECONDS)
    assert server.process.returncode == 0
    assert printed == ""
    assert server.log.read_text().count("Booting worker") == 1
    assert server.accessed()[-1]["path"] == "/v1/lists/demo/clear"


# -- what the server itself refuses --------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "slug"),
    [
        ("GET /v1/lists\r\n\r\n", "bad-request"),
        ("GET /v1/lists HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", "bad-request"),
        ("GET /v1/lists HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n", "bad-request"),
        ("GET /v1/lists HTTP/1.1\r\nHost: x\r\nX-Y: a\nb: c\r\n\r\n", "bad-request"),
        ("GET /v1/lists HTTP/1.1\r\nHost: x\r\nX-Y: a\rb: c\r\n\r\n", "bad-request"),
        ("GET /v1/lists HTTP/1.1\r\nHost: x\r\nX-Y: a\0b\r\n\r\n", "bad-request"),
        ("GET /v1/lists HTTP/1.1\r\nHost: x\r\nX\rY: a\r\n\r\n", "bad-request"),
        ("get /v1/lists HTTP/1.1\r\nHost: x\r\n\r\n", "bad-request"),
        (f"GET /{'a' * 5000} HTTP/1.1\r\nHost: x\r\n\r\n", "uri-too-long"),
        (f"GET / HTTP/1.1\r\nHost: x\r\nX: {'a' * 9000}\r\n\r\n", "headers-too-large"),
        ("GET / HTTP/1.1\r\nHost: x\r\n" + "X: y\r\n" * 99 + "\r\n", "headers-too-large"),
        ("TRACE /v1/lists HTTP/1.1\r\nHost: x\r\n\r\n", "method-not-allowed"),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "not-found"),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", "body-not-allowed"),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
         "body-not-allowed"),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
         "bad-request"),
        ("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", "bad-request"),
        ("GET / HTTP/1.1\r\nHost: x\r\nExpect: x\r\n\r\n", "refused"),
    ],
)  # fmt: skip
def test_every_refusal_is_a_problem_document_and_closes_what_is_not_understood(
    server: Server, raw: str, slug: str
) -> None:
    answer = server.send(raw.encode("latin-1"))
    assert document(answer)["type"] == f"/problems/{slug}"
    assert answer.count(b"HTTP/1.") == 1
    assert b"x-request-id: " in answer.lower()


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a%0d%0aX-Evil: 1", "\u00e9", "a\tb"])
def test_an_id_that_would_add_a_header_does_not(server: Server, value: str) -> None:
    raw = f"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: {value}\r\n\r\n"
    answer = server.send(raw.encode("latin-1"))
    assert b"X-Evil" not in answer
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_every_line_of_the_access_log_is_json_and_carries_the_id(server: Server) -> None:
    answer = server.get("/healthz", X_Request_Id="followed-1")
    assert answer.headers["X-Request-Id"] == "followed-1"
    until("it is logged", lambda: "followed-1" in server.log.read_text())
    (line,) = (line for line in server.accessed() if line["request_id"] == "followed-1")
    assert (line["method"], line["path"], line["status"]) == ("GET", "/healthz", 200)


@pytest.mark.parametrize(
    "head", ["Content-Length: 1000000000", "Transfer-Encoding: chunked", "Content-Length: 5"]
)
def test_a_body_is_refused_before_it_is_sent(server: Server, head: str) -> None:
    raw = f"POST /v1/lists HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n"
    with server.connect(raw.encode()) as connection:
        assert document(rest(connection))["status"] == 413  # and the connection is closed


def test_a_body_without_end_is_not_read(server: Server) -> None:
    head = b"POST /v1/lists HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
    sent = 0
    with server.connect(head) as connection:
        try:
            while sent < 1_000_000_000:
                sent += connection.send(bytes(1 << 20))
        except OSError:
            pass
    assert sent < 100_000_000  # what fits into the kernel's buffers, and little more
    assert server.get("/healthz").status == 200


# -- waiting -------------------------------------------------------------------------------------


def held(server: Server) -> str:
    """Return what who has everything asks."""
    stamp = server.repo.head().timestamp.version
    return f"{UPDATE}?from=6&root=1&targets=2&timestamp={stamp}"


def waiting(server: Server, count: int) -> None:
    until("they wait", lambda: server.figure("waiting_polls") == count)


def test_polls_are_held_and_answered_by_a_release(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        polls = [Poll(server, held(server), Prefer="wait=55") for _ in range(30)]
        waiting(server, len(polls))
        assert server.get("/healthz").status == 200
        server.repo.release()
        answers = [poll.answer() for poll in polls]
        waiting(server, 0)
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
    updates = {answer.partition(b"\r\n\r\n")[2] for answer in answers}
    (update,) = (Update.from_bytes(body) for body in updates)
    assert update.version == 7


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_a_worker_that_is_to_end_answers_all_who_wait_and_closes_idle_connections(
    tmp_path: Path, how: signal.Signals
) -> None:
    with running(tmp_path, settings={"header_seconds": 600}) as server:
        (worker,) = server.workers()
        poll = Poll(server, held(server), Prefer="wait=55")
        waiting(server, 1)
        with server.connect(server.request("/healthz")) as idle, server.connect(b"GET /") as half:
            assert b"".join(iter(lambda: idle.recv(1), b"}")).startswith(b"HTTP/1.1 200 ")
            server.process.send_signal(how)
            assert poll.answer().startswith(b"HTTP/1.1 304 ")
            assert (rest(idle), rest(half)) == (b"\n", b"")
        if how is signal.SIGHUP:
            until("another works", lambda: server.workers() not in ([], [worker]))
            until("alone", lambda: len(server.workers()) == 1)
            assert server.get(UPDATE).status == 200
        else:
            assert server.process.wait(STOP_SECONDS) == 0


def test_a_reload_loses_no_request(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert server.get("/healthz").status == 200
        (worker,) = server.workers()
        server.process.send_signal(signal.SIGHUP)
        until("the old one has ended", lambda: _answered(server) and worker not in server.workers())


def _answered(server: Server) -> bool:
    assert [server.get("/healthz").status for _ in range(5)] == [200] * 5
    return True


# -- slow clients --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose patience is short."""
    settings = {"header_seconds": 1, "send_seconds": 1}
    with running(tmp_path_factory.mktemp("hasty"), settings=settings) as server:
        yield server


def test_a_header_that_trickles_in_is_cut_and_holds_nobody(hasty: Server) -> None:
    with hasty.connect(b"GET /healthz HTTP/1.1\r\nHost: x\r\n") as connection:

        def is_cut() -> bool:
            try:
                connection.sendall(b"X: y\r\n")
                connection.settimeout(0.1)
                return connection.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        assert hasty.get("/healthz").status == 200
        until("it is cut", is_cut)


def test_an_idle_connection_is_closed(hasty: Server) -> None:
    with hasty.connect() as connection:
        assert rest(connection) == b""


def test_a_body_that_trickles_in_is_answered_and_cut(hasty: Server) -> None:
    head = b"POST /v1/lists HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx"
    with hasty.connect(head) as connection:
        assert document(rest(connection))["status"] == 413


def test_a_client_that_does_not_read_is_cut_and_holds_nobody(hasty: Server) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", hasty.port))
        connection.setblocking(False)
        requests = memoryview(hasty.request(UPDATE) * 10_000)  # 35 MB of answers

        def is_cut() -> bool:
            nonlocal requests
            try:
                requests = requests[connection.send(requests or b"x") :]
            except BlockingIOError:
                return False
            except ConnectionError:
                return True
            return False

        assert not is_cut()
        assert hasty.get("/healthz").status == 200
        until("it is cut", is_cut)
