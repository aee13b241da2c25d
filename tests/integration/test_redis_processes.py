"""Two apps on one Redis that dies and returns under load: nobody notices but the log."""

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis
from flask import Flask

from blocklist.api import app as app_module
from blocklist.api.app import create_app, utc_now
from blocklist.api.settings import ApiSettings
from blocklist.core.private import Subscription
from blocklist.store import layout
from blocklist.store.shared import SharedState
from scripts.services.process import until
from scripts.services.redis import Redis
from tests.api_repo import NOW, Repo, sha256

WAIT = 120.0
LIMIT = 40
POLL = "/v1/lists/demo/hashed/update?from={}"
OPS = {"Authorization": "Bearer token-of-ops"}


class Counted(SharedState):
    """Remembers which threads ever asked Redis."""

    asked: ClassVar[Counter[str]] = Counter()

    def _ask(self, question: Any) -> Any:
        self.asked[threading.current_thread().name] += 1
        return super()._ask(question)


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = Repo(tmp_path / "store")
    made.releases(3)
    subscription = Subscription("ops", sha256(b"token-of-ops"), {}, NOW, admin=True)
    assert made.store.put_new(
        layout.enrolment_key(subscription.token_digest), subscription.to_bytes()
    )
    return made


@contextmanager
def serving(repo: Repo, url: str, **settings: int) -> Iterator[list[Flask]]:
    """Run two apps, as two workers are, each with its background."""
    Counted.asked = Counter()
    states = [Counted.open(url) for _ in range(2)]
    chosen = ApiSettings(**settings)
    apps = [
        create_app(repo.store, clock=utc_now, settings=chosen, shared=state) for state in states
    ]
    for one in apps:
        app_module.start(one)
    try:
        yield apps
    finally:
        for one in apps:
            app_module.stop(one)
        for state in states:
            state.close()


def statuses(app: Flask, headers: dict[str, str], count: int) -> Counter[int]:
    client = app.test_client()
    return Counter(client.get("/v1/lists", headers=headers).status_code for _ in range(count))


def versions(app: Flask) -> dict[str, int | None]:
    """Return what the board says, by name."""
    answer = app.test_client().get("/v1/subscribers", headers=OPS)
    rows = answer.get_json()["subscribers"]
    return {row["name"]: row["version"] for row in rows if row["feed"] == "hashed"}


class Load:
    """Threads that poll both apps all the time with a token each."""

    def __init__(self, apps: list[Flask], headers: list[dict[str, str]]) -> None:
        self.answers: Counter[int] = Counter()
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(app, one), name=f"load {number}")
            for number, one in enumerate(headers)
            for app in apps
        ]

    def _run(self, app: Flask, headers: dict[str, str]) -> None:
        client = app.test_client()
        while not self._ended.is_set():
            answer = client.get(POLL.format(2), headers=headers)
            self.answers[answer.status_code] += 1
            self._ended.wait(0.005)

    def more(self, count: int = 100) -> None:
        """Wait until that many more requests were answered."""
        goal = self.answers.total() + count
        assert until(lambda: self.answers.total() >= goal, WAIT)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(WAIT)


def test_redis_dies_and_returns_under_load_and_no_request_asks_it(
    repo: Repo, own_redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    headers = [repo.enrol(f"token-{number}") for number in range(2)]
    with serving(repo, own_redis.url, requests_per_minute=1_000_000) as apps:
        with Load(apps, headers) as load:
            load.more()
            assert until(lambda: leaders(apps) == 1, WAIT)
            own_redis.kill()
            assert until(lambda: leaders(apps) == 0, WAIT)
            load.more()
            repo.release()
            assert until(lambda: {head(app, headers[0]) for app in apps} == {4}, WAIT)
            own_redis.start()
            assert until(lambda: leaders(apps) == 1, WAIT)
            repo.release()
            assert until(lambda: {head(app, headers[0]) for app in apps} == {5}, WAIT)
            load.more()
        assert load.answers.keys() == {200}
        with redis.Redis.from_url(own_redis.url) as raw:
            assert until(lambda: raw.hlen("blocklist:board") == 2, WAIT)
    assert Counted.asked
    assert not [name for name in Counted.asked if name.startswith("load")]
    down = [r.getMessage() for r in caplog.records if "Redis" in r.getMessage()]
    assert 1 <= len(down) <= 12  # each job of each app, a reason or two; not each attempt


def leaders(apps: list[Flask]) -> int:
    return sum(app.extensions["blocklist"].watcher.leader for app in apps)


def head(app: Flask, headers: dict[str, str]) -> int:
    answer = app.test_client().get("/v1/lists/demo/hashed", headers=headers)
    return int(answer.headers["ETag"].strip('"'))


def test_the_limit_is_one_for_both_again_after_redis_returned(repo: Repo, own_redis: Redis) -> None:
    first, second = repo.enrol("token-1"), repo.enrol("token-2")
    with serving(repo, own_redis.url, requests_per_minute=LIMIT) as (one, other):
        assert statuses(one, first, LIMIT) == {200: LIMIT}
        # each try counts there until the word has come, so there are few of them
        assert until(lambda: refused(other, first), WAIT)
        own_redis.kill()
        assert refused(one, first)
        assert refused(other, first)  # what was heard stays heard
        assert statuses(one, second, LIMIT + 5) == {200: LIMIT, 429: 5}
        own_redis.start()
        assert until(lambda: refused(other, second), WAIT)


def refused(app: Flask, headers: dict[str, str]) -> bool:
    """Tell whether the app knows that the limit is reached, without a request of its own."""
    limiter = app.extensions["blocklist"].limiter
    digest = sha256(headers["Authorization"].removeprefix("Bearer ").encode())
    tally = limiter._callers._tallies.get(digest[:32])
    if tally is None or tally.total < LIMIT:
        return False
    answer = app.test_client().get("/v1/lists", headers=headers)
    assert int(answer.headers["Retry-After"]) >= 1
    return answer.status_code == 429


def test_the_board_is_whole_again_after_redis_lost_all(
    repo: Repo, own_redis: Redis, tmp_path: Path
) -> None:
    tokens = [repo.enrol("token-1")]
    with serving(repo, own_redis.url) as (one, other):
        assert one.test_client().get(POLL.format(2), headers=tokens[0]).status_code == 200
        assert until(lambda: versions(other).get("isp") == 2, WAIT)
        own_redis.kill()
        answer = other.test_client().get("/v1/subscribers", headers=OPS)
        assert answer.status_code == 200
        assert answer.get_json()["complete"] is False
        own_redis.start()
        own_redis.flush()
        assert until(lambda: versions(other).get("isp") == 2, WAIT)


@pytest.mark.parametrize("password", ["", ":wrong@"])
def test_an_api_whose_redis_refuses_it_serves_and_says_so(
    repo: Repo, own_redis: Redis, caplog: pytest.LogCaptureFixture, password: str
) -> None:
    headers = repo.enrol()
    with redis.Redis.from_url(own_redis.url) as raw:
        raw.config_set("requirepass", "right")
        with serving(repo, own_redis.url.replace("//", f"//{password}")) as apps:
            for app in apps:
                assert statuses(app, headers, 20) == {200: 20}
            assert until(lambda: "correct BLOCKLIST_REDIS" in caplog.text, WAIT)
        raw.config_set("requirepass", "")
    assert "wrong" not in caplog.text
