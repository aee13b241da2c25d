"""`serve --workers 2` on a real Redis: gunicorn, gevent, two processes, one limit and one board."""

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import redis

from blocklist.core.private import Subscription
from blocklist.store import layout
from scripts.services.process import until
from scripts.services.redis import Redis
from tests.api_repo import NOW, Repo, sha256

SERVE = """
import sys
from pathlib import Path
from blocklist.api.serve import serve
url, redis, config = sys.argv[1:]
serve(url, "127.0.0.1:0", workers=2, redis_url=redis, config=Path(config))
"""
LIMIT = 24
PACE_SECONDS = 0.3
WAIT = 120.0
OPS = "token-of-ops"


@dataclass
class Workers:
    """A running API of two workers."""

    port: int
    redis: Redis
    repo: Repo

    def get(self, path: str, token: str) -> tuple[int, Any]:
        """GET on a connection of its own; return status and document."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def burst(self, token: str, count: int, path: str = "/v1/lists") -> Counter[int]:
        """Send requests side by side, so that both workers get some; count the statuses."""
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda _: self.get(path, token), range(count))
            return Counter(status for status, _ in answers)

    def told(self, token: str) -> dict[str, int]:
        """Return what each worker told Redis that it let through of a token."""
        sums: Counter[str] = Counter()
        with redis.Redis.from_url(self.redis.url, decode_responses=True) as raw:
            for key in raw.keys("blocklist:limit:callers:*"):
                for holder, text in raw.hgetall(key).items():
                    sums[holder] += json.loads(text).get(sha256(token.encode())[:32], 0)
        return {holder: count for holder, count in sums.items() if count}


@pytest.fixture
def workers(own_redis: Redis, tmp_path: Path, limit: int) -> Iterator[Workers]:
    repo = Repo(tmp_path / "store")
    repo.releases(3)
    ops = Subscription("ops", sha256(OPS.encode()), {}, NOW, admin=True)
    assert repo.store.put_new(layout.enrolment_key(ops.token_digest), ops.to_bytes())
    config, log = tmp_path / "config.toml", tmp_path / "log"
    config.write_text(f"[api]\nrequests_per_minute = {limit}\n")
    argv = [sys.executable, "-c", SERVE, repo.url, own_redis.url, str(config)]
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output, env=dict(os.environ))
    try:
        assert until(lambda: _port(log) is not None or process.poll() is not None, WAIT)
        port = _port(log)
        assert port is not None, log.read_text()
        yield Workers(port, own_redis, repo)
    finally:
        process.terminate()
        process.wait(timeout=WAIT)


def _port(log: Path) -> int | None:
    found = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", log.read_text())
    return int(found[1]) if found else None


@pytest.mark.parametrize("limit", [LIMIT])
def test_two_workers_hold_one_limit(workers: Workers) -> None:
    token = "token-1"
    workers.repo.enrol(token)
    passed = 0

    def told_all() -> bool:
        return sum(workers.told(token).values()) == passed

    for _ in range(4):  # which worker takes a connection is chance
        passed += workers.burst(token, 4)[200]
        assert until(told_all, WAIT)
        if len(workers.told(token)) == 2:
            break
    while workers.get("/v1/lists", token)[0] == 200:
        passed += 1
        time.sleep(PACE_SECONDS)  # slowly, so that few fall between two flushes

    def refused() -> bool:
        nonlocal passed
        answers = workers.burst(token, 8)
        passed += answers[200]
        return answers == {429: 8}

    assert until(refused, WAIT)
    # Two that do not hear of each other would have let through twice the limit.
    assert LIMIT <= passed < 1.5 * LIMIT


@pytest.mark.parametrize("limit", [100_000])
def test_both_workers_show_one_board_and_serve_while_redis_is_away(workers: Workers) -> None:
    names = [f"token-{number}" for number in range(10)]
    for number, token in enumerate(names):
        workers.repo.enrol(token)
        path = f"/v1/lists/demo/hashed/update?from={1 + number % 3}"
        assert workers.get(path, token)[0] == 200

    def whole() -> bool:
        for _ in range(4):
            status, document = workers.get("/v1/subscribers", OPS)
            assert status == 200
            held = [row["version"] for row in document["subscribers"] if row["feed"] == "hashed"]
            if not document["complete"] or Counter(held) != Counter({1: 4, 2: 3, 3: 3}):
                return False
        return True

    assert until(whole, WAIT)
    workers.redis.kill()
    for token in names:
        assert workers.burst(token, 8) == {200: 8}
    assert workers.get("/readyz", OPS)[0] == 200
    assert workers.get("/v1/subscribers", OPS)[1]["complete"] is False
    workers.redis.start()
    assert until(whole, WAIT)
