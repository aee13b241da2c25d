"""Redis stopped, killed, paused, full, loading, locked, flushed: one error, and back by itself."""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import redis

from blocklist.store.shared import PAUSE_SECONDS, SharedState, SharedStateDown
from scripts.services import install
from scripts.services.process import HOST, Daemon, free_ports, until
from scripts.services.redis import Redis
from tests.services import started, used

WAIT = 60.0
PASSWORD = "correct horse"


class Ticks:
    """Seconds that go by when a test says so: nobody waits out a pause."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self) -> None:
        self.now += PAUSE_SECONDS


class Custom:
    """A Redis with other settings, also on a Unix socket."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(exist_ok=True)
        self._socket = folder / "redis.sock"
        fixed = ["--dir", str(folder), "--save", "", "--unixsocket", str(self._socket)]
        self.daemon = Daemon(folder, "custom", ["redis-server", *fixed, *options])

    def start(self) -> None:
        install.require(("redis-server", "redis-cli"), ("redis-server", "redis-tools"))
        self.daemon.start()
        assert until(self._socket.exists, WAIT), self.daemon.said()

    def stop(self) -> None:
        self.daemon.stop()


@contextmanager
def running(request: pytest.FixtureRequest, folder: Path, *options: str) -> Iterator[Custom]:
    used(request, "Redis")
    custom = Custom(folder, *options)
    try:
        started(custom, "Redis")
        yield custom
    finally:
        custom.stop()


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def shared(own_redis: Redis, ticks: Ticks) -> Iterator[SharedState]:
    made = SharedState.open(own_redis.url, ticks)
    yield made
    made.close()


def fails(shared: SharedState, said: str) -> None:
    """Check that every operation fails alike; without asking again, since no time passes."""
    calls: list[Callable[[], object]] = [
        lambda: shared.count("t", "a", {1: {"x": 1}}, [1]),
        lambda: shared.post({"a": "1"}),
        lambda: shared.posted(["a"]),
        shared.board,
        lambda: shared.forget(["a"]),
        lambda: shared.watch("a", 60, "head"),
        lambda: shared.get_blob("a"),
        lambda: shared.put_blob("a", b"1", 60),
    ]
    for call in calls:
        with pytest.raises(SharedStateDown, match=said):
            call()
    assert not shared.up()


def works(shared: SharedState) -> None:
    shared.post({"a": "1"})
    assert shared.posted(["a"]) == {"a": "1"}
    assert shared.watch("a", 60, "head").announced == "head"
    assert shared.count("t", "a", {1: {"x": 1}}, [1]) == {}
    assert shared.up()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_gone_and_back(shared: SharedState, own_redis: Redis, ticks: Ticks, end: str) -> None:
    works(shared)
    getattr(own_redis, end)()
    fails(shared, "cannot be reached")
    own_redis.start()
    fails(shared, "cannot be reached")  # nobody asks yet
    ticks.pause()
    works(shared)


def test_a_restart_that_nobody_saw_is_no_failure(shared: SharedState, own_redis: Redis) -> None:
    works(shared)
    own_redis.stop()
    own_redis.start()
    works(shared)


def test_never_there_and_then_there(own_redis: Redis, ticks: Ticks) -> None:
    own_redis.stop()
    shared = SharedState.open(own_redis.url, ticks)
    fails(shared, "cannot be reached")
    own_redis.start()
    ticks.pause()
    works(shared)
    shared.close()


def test_paused_is_not_answering_and_nothing_old_is_read_afterwards(
    shared: SharedState, own_redis: Redis, ticks: Ticks
) -> None:
    works(shared)
    with redis.Redis.from_url(own_redis.url) as client:
        pid = client.info()["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        fails(shared, "did not answer within")
        ticks.pause()
        fails(shared, "did not answer within")
    finally:
        os.kill(pid, signal.SIGCONT)
    ticks.pause()
    works(shared)
    shared.put_blob("one", b"1", 60)
    assert shared.get_blob("one") == b"1"


def test_full(shared: SharedState, own_redis: Redis, ticks: Ticks) -> None:
    works(shared)
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        for write in (
            lambda: shared.count("t", "a", {1: {"x": 1}}, [1]),
            lambda: shared.post({"a": "1"}),
            lambda: shared.watch("a", 60, "head"),
            lambda: shared.put_blob("a", b"1", 60),
        ):
            with pytest.raises(SharedStateDown, match="Redis is full"):
                write()
            ticks.pause()
        client.config_set("maxmemory", 0)
    works(shared)


def test_a_replica(shared: SharedState, own_redis: Redis, ticks: Ticks) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.replicaof(HOST, free_ports(1))
        with pytest.raises(SharedStateDown, match="replica"):
            shared.post({"a": "1"})
        client.replicaof("NO", "ONE")
    ticks.pause()
    works(shared)


def test_loading(request: pytest.FixtureRequest, tmp_path: Path, ticks: Ticks) -> None:
    folder, port = tmp_path / "slow", free_ports(1)
    options = ["--port", str(port), "--bind", HOST]
    url = f"redis://{HOST}:{port}"
    with running(request, folder, *options), redis.Redis.from_url(url) as client:
        client.mset({f"key {n}": os.urandom(2_000) for n in range(40)})
        client.save()
    slow = ["--key-load-delay", "100000", "--loading-process-events-interval-bytes", "2048"]
    with running(request, folder, *options, *slow):
        shared = SharedState.open(url, ticks)
        fails(shared, "is loading")

        def loaded() -> bool:
            ticks.pause()
            return shared.up()

        assert until(loaded, WAIT)
        works(shared)
        shared.close()


def test_flushed_is_only_forgotten(shared: SharedState, own_redis: Redis) -> None:
    works(shared)
    own_redis.flush()
    assert shared.board() == {}
    assert shared.get_blob("a") is None
    works(shared)


@pytest.mark.parametrize("given", ["", ":wrong@", "stranger:wrong@"])
def test_a_wrong_password_is_named_as_a_fault_of_the_configuration(
    request: pytest.FixtureRequest, tmp_path: Path, ticks: Ticks, given: str
) -> None:
    port = free_ports(1)
    with running(
        request, tmp_path / "r", "--port", str(port), "--bind", HOST, "--requirepass", PASSWORD
    ):
        shared = SharedState.open(f"redis://{given}{HOST}:{port}/0", ticks)
        fails(shared, "refuses user or password: correct BLOCKLIST_REDIS")
        shared.close()
        right = SharedState.open(f"redis://:correct%20horse@{HOST}:{port}/0")
        works(right)
        right.close()


def test_a_user_without_the_permissions_is_named(own_redis: Redis, ticks: Ticks) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.acl_setuser("poor", enabled=True, passwords=["+pw"], keys=["*"], commands=["+ping"])
    shared = SharedState.open(own_redis.url.replace("//", "//poor:pw@"), ticks)
    assert shared.up()
    with pytest.raises(SharedStateDown, match="does not allow this user"):
        shared.board()
    shared.close()


def test_a_unix_socket(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with running(request, tmp_path / "r", "--port", "0"):
        shared = SharedState.open(f"unix://{tmp_path}/r/redis.sock?db=3")
        works(shared)
        shared.close()


def test_tls_is_used_and_verified(
    request: pytest.FixtureRequest, tmp_path: Path, ticks: Ticks
) -> None:
    key, certificate, port = tmp_path / "key.pem", tmp_path / "cert.pem", free_ports(1)
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=redis.test", "-keyout", str(key)),
            *("-addext", f"subjectAltName=IP:{HOST}", "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    tls = ["--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    url = f"rediss://{HOST}:{port}/0"
    with running(request, tmp_path / "r", "--port", "0", *tls, "--tls-auth-clients", "no"):
        shared = SharedState.open(f"{url}?ssl_ca_certs={certificate}")
        works(shared)
        stranger = SharedState.open(url, ticks)
        fails(stranger, "certificate of Redis is not trusted")
        missing = SharedState.open(f"{url}?ssl_ca_certs={tmp_path}/none.pem", ticks)
        with pytest.raises(SharedStateDown) as caught:
            missing.board()
        assert "none.pem" not in str(caught.value)
        plain = SharedState.open(url.replace("rediss", "redis"), ticks)
        with pytest.raises(SharedStateDown):
            plain.board()
        for state in (shared, stranger, missing, plain):
            state.close()


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$99999999999\r\nx", b"*-7\r\n", b"\xff" * 99],
    ids=["nothing", "http", "endless", "negative", "noise"],
)
def test_something_else_on_that_port(ticks: Ticks, answer: bytes) -> None:
    with something(answer, hang_up=False) as (url, _):
        shared = SharedState.open(url, ticks)
        fails(shared, "Redis")
        shared.close()


def test_nothing_is_sent_twice(ticks: Ticks) -> None:
    with something(b"", hang_up=True) as (url, heard):
        shared = SharedState.open(url, ticks)
        fails(shared, "cannot be reached")
        shared.close()
        assert len(heard) == 1


@contextmanager
def something(answer: bytes, *, hang_up: bool) -> Iterator[tuple[str, list[bytes]]]:
    """Run a server that gives one answer to whatever it is told; return what it heard too."""
    heard: list[bytes] = []
    with ExitStack() as held, socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            with suppress(OSError):  # the end of the test
                while True:
                    connection = held.enter_context(listener.accept()[0])
                    heard.append(connection.recv(65_536))
                    connection.sendall(answer)
                    if hang_up:
                        connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"redis://{HOST}:{listener.getsockname()[1]}", heard
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
