"""Several workers on one Redis: they agree, and their figures add up."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.services.redis import Redis
from tests.api_process import Poll, Server, running
from tests.api_repo import until
from tests.cli_kit import World, arguments

UPDATE = "/v1/lists/demo/hashed/update"
ROUTE = "/v1/lists"
ENOUGH = 40  # requests, so that each of two workers gets some


@pytest.fixture
def server(tmp_path: Path, own_redis: Redis) -> Iterator[Server]:
    with running(tmp_path, workers=2, redis_url=own_redis.url) as server:
        until("both work", lambda: len(answering(server)) == 2)
        until("one leads", lambda: server.figure("leader") == 1)
        yield server


def answering(server: Server) -> set[str]:
    """Return which processes answer, by the beginning of the ids that they give."""
    answers = [server.get("/healthz") for _ in range(10)]
    return {answer.headers["X-Request-Id"].partition("-")[0] for answer in answers}


def requests(server: Server, count: int = ENOUGH) -> None:
    for _ in range(count):
        assert server.get(ROUTE).status == 200


def counted(server: Server) -> float:
    return server.figure("requests_total", route=ROUTE)


def test_counts_of_both_workers_add_up_whoever_is_asked(server: Server) -> None:
    requests(server)
    assert {counted(server) for _ in range(10)} == {ENOUGH}
    assert server.figure("request_seconds_count", route=ROUTE) == ENOUGH
    # what both see alike is told once
    assert {server.figure("list_version", list="demo") for _ in range(10)} == {6}
    assert {server.figure("ready") for _ in range(10)} == {1}
    assert server.figure("redis_up") == 1


def test_a_killed_worker_keeps_its_counts_and_another_leads(server: Server) -> None:
    requests(server)
    for worker in server.workers():
        os.kill(worker, signal.SIGKILL)
        until("it is replaced", lambda w=worker: replaced(server, w))
    assert counted(server) == ENOUGH
    until("one leads", lambda: server.figure("leader") == 1)
    server.repo.release()
    until("all see it", lambda: seen(server) == {'"7"'})


def replaced(server: Server, worker: int) -> bool:
    workers = server.workers()
    return len(workers) == 2 and worker not in workers and server.get("/healthz").status == 200


def seen(server: Server) -> set[str]:
    return {server.get("/v1/lists/demo/clear").headers["ETag"] for _ in range(10)}


def test_those_who_wait_at_both_workers_are_counted_and_answered(server: Server) -> None:
    stamp = server.repo.head().timestamp.version
    path = f"{UPDATE}?from=6&root=1&targets=2&timestamp={stamp}"
    polls = [Poll(server, path, Prefer="wait=55") for _ in range(20)]
    until("all are held", lambda: server.figure("waiting_polls") == len(polls))
    server.repo.release()
    answers = [poll.answer() for poll in polls]
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
    until("none is held", lambda: server.figure("waiting_polls") == 0)


def test_redis_may_die_and_return_under_load(server: Server, own_redis: Redis) -> None:
    own_redis.kill()
    until("it is noticed", lambda: server.figure("redis_up") == 0)
    requests(server)
    server.repo.release()
    until("all see it", lambda: seen(server) == {'"7"'})
    until("nobody leads", lambda: server.figure("leader") == 0)
    own_redis.start()
    own_redis.flush()
    until("it is noticed", lambda: server.figure("redis_up") == 1)
    until("one leads", lambda: server.figure("leader") == 1)
    server.repo.release()
    until("all see it", lambda: seen(server) == {'"8"'})
    assert "Traceback" not in server.log.read_text()


def test_a_limit_holds_for_both_workers_together(tmp_path: Path, own_redis: Redis) -> None:
    limit = {"requests_per_minute": 30}
    with running(tmp_path, workers=2, redis_url=own_redis.url, settings=limit) as server:
        until("both work", lambda: len(answering(server)) == 2)
        refused = 0

        def enough() -> bool:
            nonlocal refused
            refused += [server.get(ROUTE).status for _ in range(10)].count(429)
            return refused >= 100

        until("nearly all are refused", enough)
        assert server.figure("rate_limited_total") == refused
        assert "Retry-After" in server.get(ROUTE).headers


def test_a_worker_more_is_started_by_signal_with_redis_only(
    tmp_path: Path, own_redis: Redis
) -> None:
    (tmp_path / "with").mkdir()
    with running(tmp_path / "with", redis_url=own_redis.url) as server:
        server.process.send_signal(signal.SIGTTIN)
        until("there are two", lambda: len(answering(server)) == 2)
    (tmp_path / "without").mkdir()
    with running(tmp_path / "without") as server:
        assert len(answering(server)) == 1  # gunicorn overlooks signals while a worker starts
        (worker,) = server.workers()
        server.process.send_signal(signal.SIGTTIN)
        until("it is heard", lambda: "Handling signal: ttin" in server.log.read_text())
        server.process.send_signal(signal.SIGHUP)
        until("another works", lambda: server.workers() not in ([], [worker]))
        until("it is alone", lambda: len(server.workers()) == len(answering(server)) == 1)


@pytest.mark.parametrize("by_hand", [False, True])
def test_several_workers_without_redis_are_bad_usage(tmp_path: Path, by_hand: bool) -> None:
    world = World(tmp_path)
    world.done("init", "--dev")
    serve = arguments("serve", "--bind", "127.0.0.1:0", "--workers", "2")
    gunicorn = [serve[0], "-m", "gunicorn", "-c", "python:blocklist.api.gunicorn_conf"]
    done = subprocess.run(
        [*gunicorn, "--workers", "2", "--bind", "127.0.0.1:0"] if by_hand else serve,
        cwd=world.folder,
        env=world.env(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "more than one worker needs Redis" in done.stderr
    assert "Traceback" not in done.stderr
