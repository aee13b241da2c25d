"""Waiting for news, and which process looks at the storage."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis as RedisClient
from werkzeug.test import TestResponse

from blocklist.api import limits, reader, watch
from blocklist.api.limits import MAX_WAIT_SECONDS
from blocklist.api.reader import FeedReader
from blocklist.api.watch import Watcher
from blocklist.api.ways import Plan, WayFinder
from blocklist.core.errors import StoreUnreachable
from blocklist.store.shared import SharedState
from scripts.services.redis import Redis
from tests.api_repo import NOW, TOKEN, Api, QuickStore, Repo, assert_problem, until

STAMP = "feed/metadata/timestamp.json"
ENOUGH = 50  # seconds to wait in requests that must not be answered by time


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Version 2, root 1, targets 2, timestamp 3."""
    repo = Repo(tmp_path_factory.mktemp("template") / "store")
    repo.releases(2)
    repo.refresh()
    return repo


@pytest.fixture
def held(template: Repo) -> str:
    """What a subscriber that has everything asks."""
    stamp = template.head().timestamp.version
    return f"/v1/lists/demo/hashed/update?from=2&root=1&targets=2&timestamp={stamp}"


@pytest.fixture
def api(template: Repo, tmp_path: Path) -> Iterator[Api]:
    api = Api(template.copy(tmp_path / "store"))
    with api.started():
        yield api


class Poll:
    """A request that is under way."""

    def __init__(self, api: Api, path: str, seconds: int = ENOUGH, **more: str) -> None:
        self.answers: list[TestResponse] = []
        self._before = waiting(api)
        self._api = api
        client = api.app.test_client()
        headers = {**api.headers, "Prefer": f"wait={seconds}"}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}

        def ask() -> None:
            self.answers.append(client.get(path, headers=headers))

        self._thread = threading.Thread(target=ask)
        self._thread.start()

    def held(self) -> "Poll":
        """Wait until it is held."""
        until("it is held", lambda: waiting(self._api) > self._before or bool(self.answers))
        assert not self.answers, self.answers[0].status
        return self

    def answer(self) -> TestResponse:
        self._thread.join(ENOUGH - 10)
        assert self.answers, "it was not answered before its time"
        return self.answers[0]


def waiting(api: Api) -> int:
    lines = api.client.get("/metrics").text.splitlines()
    (line,) = (line for line in lines if line.startswith("blocklist_waiting_polls "))
    return int(float(line.split()[1]))


# -- the preference ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait=1", "wait=1"), ("WAIT=1", "wait=1"), ('wait="1"', "wait=1"),
        ("wait = 1", "wait=1"), ("wait=1; x=y", "wait=1"), ("wait=001", "wait=1"),
        ("respond-async, wait=1", "wait=1"), ('a="x, wait=9", wait=1', "wait=1"),
        ("wait=1, wait=50", "wait=1"), ("handling=lenient;wait=50, wait=1", "wait=1"),
        ("wait=0", None), ("wait", None), ("wait=", None), ("wait=-1", None), ("wait=x", None),
        ("wait=1.5", None), ("wait=\u0661", None), ("wait=x, wait=50", None), ('wait="1', None),
        ("await=50", None), ('"wait=50"', None), ("wait=99999999999999999999", None),
        (",;=,", None), ("wait=50" + " " * 2000, None), ('a="' + "\\" * 500, None),
    ],
)  # fmt: skip
def test_a_preference_that_is_malformed_or_not_known_is_ignored(
    api: Api, held: str, prefer: str, applied: str | None
) -> None:
    answer = api.get(held, Prefer=prefer)
    assert (answer.status_code, answer.data) == (304, b"")
    assert answer.headers.get("Preference-Applied") == applied


def test_more_than_the_most_is_clipped(api: Api) -> None:
    answer = api.get("/v1/lists/demo/hashed/update?from=1", Prefer="wait=3600")
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == f"wait={MAX_WAIT_SECONDS}"


def test_several_headers_are_one_list(api: Api, held: str) -> None:
    headers = [*api.headers.items(), ("Prefer", "respond-async"), ("Prefer", "wait=1")]
    answer = api.client.get(held, headers=headers)
    assert answer.headers["Preference-Applied"] == "wait=1"


def test_without_the_work_in_the_background_nothing_is_held(template: Repo, held: str) -> None:
    assert Api(template).get(held, Prefer=f"wait={ENOUGH}").status_code == 304


# -- what ends the waiting -----------------------------------------------------------------------


def test_a_release_is_answered_with_the_step_to_it(api: Api, held: str) -> None:
    poll = Poll(api, held).held()
    api.repo.release()
    answer = poll.answer()
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == f"wait={ENOUGH}"
    assert answer.json["version"] == 3
    assert [name.partition(".")[2] for name in answer.json["objects"]] == ["delta-2"]


def test_a_validator_is_compared_with_what_comes(api: Api) -> None:
    etag = api.get("/v1/lists/demo/hashed/update?root=1").headers["ETag"]
    path = "/v1/lists/demo/hashed/update?from=2&root=1"
    poll = Poll(api, path, If_None_Match=etag).held()
    api.repo.release()
    assert poll.answer().headers["ETag"] != etag


def test_a_refreshed_timestamp_is_news(api: Api, held: str) -> None:
    poll = Poll(api, held).held()
    api.repo.refresh()
    assert poll.answer().json["objects"] == {}


def test_a_new_root_is_news_also_without_a_new_timestamp(api: Api, held: str) -> None:
    poll = Poll(api, held).held()
    api.repo.rotate_root()
    api.clock.tick(reader.ROOT_CHECK.total_seconds())
    answer = poll.answer()
    assert "2.root.json" in answer.json["files"]


def test_a_release_of_another_list_is_news_since_the_timestamp_is_new(api: Api, held: str) -> None:
    api.repo.delegate("other")
    until("it is seen", lambda: api.get(held).status_code == 200)
    stamp = api.repo.head().timestamp.version
    path = f"/v1/lists/demo/hashed/update?from=2&root=1&targets=3&timestamp={stamp}"
    poll = Poll(api, path).held()
    api.repo.release("other")
    assert poll.answer().json["version"] == 2


def test_one_feed_can_be_waited_for_too(api: Api) -> None:
    poll = Poll(api, "/v1/lists/demo/clear", If_None_Match='"2"').held()
    api.repo.refresh()  # no news for who asks for the version only
    api.repo.release()
    assert poll.answer().headers["ETag"] == '"3"'


def test_the_index_of_a_feed_is_not_waited_for_without_a_validator(api: Api) -> None:
    answer = api.get("/v1/lists/demo/clear", Prefer=f"wait={ENOUGH}")
    assert answer.status_code == 200


def test_a_token_that_is_revoked_meanwhile_gets_no_news(api: Api, held: str) -> None:
    poll = Poll(api, held).held()
    api.repo.enrol(revoked=NOW)
    api.clock.tick(limits.TOKEN_LIFE.total_seconds())
    api.repo.release()
    assert_problem(poll.answer(), 401, "not-authenticated")


def test_a_token_that_is_revoked_meanwhile_is_refused_at_the_end(api: Api, held: str) -> None:
    poll = Poll(api, held, 2).held()
    api.repo.enrol(revoked=NOW)
    api.clock.tick(limits.TOKEN_LIFE.total_seconds())
    assert_problem(poll.answer(), 401, "not-authenticated")


def test_a_scope_that_is_taken_away_meanwhile_ends_it(api: Api, held: str) -> None:
    poll = Poll(api, held).held()
    api.repo.enrol(lists={})
    api.clock.tick(limits.TOKEN_LIFE.total_seconds())
    api.repo.release()
    assert_problem(poll.answer(), 403, "outside-scope")


def test_it_ends_with_the_life_of_the_token(api: Api, held: str) -> None:
    api.headers = api.repo.enrol("expiring-token", expires=NOW + timedelta(seconds=2))
    poll = Poll(api, held).held()
    api.clock.tick(2)
    assert_problem(poll.answer(), 401, "not-authenticated")


def test_a_process_that_ends_answers_at_once(api: Api, held: str) -> None:
    polls = [Poll(api, held).held() for _ in range(3)]
    api.services.watcher.close()
    assert [poll.answer().status_code for poll in polls] == [304] * 3
    assert api.get(held, Prefer=f"wait={ENOUGH}").status_code == 304
    assert waiting(api) == 0


def test_more_than_can_be_held_are_answered_at_once(
    api: Api, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MAX_WAITING", 1)
    Poll(api, held).held()
    assert api.get(held, Prefer=f"wait={ENOUGH}").status_code == 304
    api.services.watcher.close()


def test_a_storage_that_fails_keeps_them_waiting(
    api: Api, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll = Poll(api, held).held()

    def down(*args: object, **more: object) -> None:
        raise StoreUnreachable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(QuickStore, "get", down)
        until("it is noticed", lambda: api.client.get("/readyz").status_code == 503)
    assert not poll.answers
    api.repo.release()
    assert poll.answer().json["version"] == 3


def test_all_who_waited_get_one_document_that_was_made_once(
    api: Api, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    collect = WayFinder.collect

    def count(finder: WayFinder, plan: Plan) -> object:
        made.append(plan.start)
        return collect(finder, plan)

    monkeypatch.setattr(WayFinder, "collect", count)
    polls = [Poll(api, held) for _ in range(20)]
    until("all are held", lambda: waiting(api) == len(polls))
    api.repo.release()
    bodies = {poll.answer().data for poll in polls}
    assert len(bodies) == 1
    assert made == [2]


def test_a_fault_in_one_request_ends_only_that_one(api: Api) -> None:
    watcher = api.services.watcher

    def fault() -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        watcher.wait(ENOUGH, fault)
    assert waiting(api) == 0


# -- who looks at the storage --------------------------------------------------------------------


class Process:
    """What one process of several would do, step by step."""

    def __init__(self, repo: Repo, shared: SharedState | None) -> None:
        self.api = Api(repo, shared=shared)
        self.looks = 0
        self.tick = self.api.services.watcher.tick
        self.reader: FeedReader = self.api.services.reader
        look = self.reader.look

        def count() -> None:
            self.looks += 1
            look()

        self.reader.look = count  # type: ignore[method-assign] # to count
        self.api.services.watcher.open()

    @property
    def leader(self) -> bool:
        return self.api.services.watcher.leader

    @property
    def version(self) -> int:
        return self.reader.live().roles["demo"].version


@pytest.fixture
def pair(template: Repo, tmp_path: Path, redis_server: Redis) -> list[Process]:
    repo = template.copy(tmp_path / "store")
    return [Process(repo, SharedState.open(redis_server.url)) for _ in range(2)]


def steps(processes: list[Process], count: int) -> list[int]:
    """Let all take steps; return how often each looked at the storage."""
    before = [process.looks for process in processes]
    for _ in range(count):
        for process in processes:
            process.tick()
    return [process.looks - old for process, old in zip(processes, before, strict=True)]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine must not look like a dead leader."""
    monkeypatch.setattr(watch, "LEASE_SECONDS", 60)


@pytest.mark.usefixtures("patient")
def test_only_the_leader_looks_when_nothing_is_new(pair: list[Process]) -> None:
    steps(pair, 3)
    assert [process.leader for process in pair] == [True, False]
    assert steps(pair, 5) == [5, 0]


@pytest.mark.usefixtures("patient")
def test_a_new_head_is_announced_and_the_others_look_once(pair: list[Process]) -> None:
    steps(pair, 3)
    pair[0].api.repo.release()
    assert steps(pair, 5) == [5, 1]
    assert [process.version for process in pair] == [3, 3]


@pytest.mark.usefixtures("patient")
def test_a_leader_that_cannot_serve_announces_nothing_and_all_look(
    pair: list[Process], redis_server: Redis
) -> None:
    steps(pair, 3)
    whole = pair[0].api.repo.damage(STAMP)
    pair[0].tick()
    with RedisClient.from_url(redis_server.url) as client:
        client.delete("blocklist:head")  # its lease would end it
    assert steps(pair, 3) == [3, 3]
    pair[0].api.repo.file(STAMP).write_bytes(whole)
    steps(pair, 2)
    assert steps(pair, 3) == [3, 0]


def test_a_leader_that_dies_is_followed_by_another(pair: list[Process]) -> None:
    steps(pair, 3)
    first, second = pair

    def taken_over() -> bool:
        second.tick()
        return second.leader

    first.api.repo.release()  # nobody announces it
    until("the other leads", taken_over)
    assert second.version == 3
    first.tick()
    assert not first.leader


@pytest.mark.usefixtures("patient")
def test_a_follower_looks_for_itself_now_and_then_whatever_redis_says(
    pair: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps(pair, 3)
    monkeypatch.setattr(watch, "FOLLOWER_LOOK_SECONDS", 0)
    assert steps(pair, 3) == [3, 3]


def test_without_redis_everybody_looks_and_agrees_again_when_it_is_back(
    template: Repo, tmp_path: Path, own_redis: Redis
) -> None:
    repo = template.copy(tmp_path / "store")
    pair = [Process(repo, SharedState.open(own_redis.url)) for _ in range(2)]
    steps(pair, 3)
    own_redis.kill()
    assert steps(pair, 3) == [3, 3]
    assert not any(process.leader for process in pair)
    repo.release()
    steps(pair, 1)
    assert [process.version for process in pair] == [3, 3]
    own_redis.start()

    def agreed() -> bool:
        steps(pair, 1)
        return sum(process.leader for process in pair) == 1

    until("one leads again", agreed)


def test_a_process_begins_without_redis_as_well(template: Repo) -> None:
    process = Process(template, SharedState.open("unix:///nonexistent/redis.sock"))
    assert steps([process], 3) == [3]
    assert process.version == 2


def test_processes_see_a_release_one_by_the_others_announcement(
    template: Repo, tmp_path: Path, redis_server: Redis
) -> None:
    repo = template.copy(tmp_path / "store")
    pair = [Api(repo, shared=SharedState.open(redis_server.url)) for _ in range(2)]
    with pair[0].started(), pair[1].started():
        until("one leads", lambda: sum(api.services.watcher.leader for api in pair) == 1)
        repo.release()
        for api in pair:
            until("it is seen", lambda api=api: etag(api) == '"3"')


def etag(api: Api) -> str:
    return api.get("/v1/lists/demo/clear").headers["ETag"]


def test_alone_a_process_leads(template: Repo) -> None:
    process = Process(template, None)
    assert process.leader
    assert steps([process], 4) == [4]


@pytest.mark.parametrize("change", [Repo.release, Repo.refresh, Repo.rotate_root])
def test_what_is_announced_changes_with_the_head(
    template: Repo, tmp_path: Path, change: Callable[[Repo], object]
) -> None:
    api = Api(template.copy(tmp_path / "store"))
    feeds = api.services.reader
    assert feeds.seen() is None
    feeds.look()
    before = feeds.seen()
    assert before is not None
    change(api.repo)
    api.clock.tick(60)
    feeds.look()
    assert feeds.seen() not in (None, before)
    assert TOKEN not in str(before)


def test_nobody_is_woken_when_nothing_is_new(template: Repo, tmp_path: Path) -> None:
    api = Api(template.copy(tmp_path / "store"))
    watcher: Watcher = api.services.watcher
    watcher.open()
    watcher.tick()
    asked: list[int] = []

    def news() -> bool:
        asked.append(1)
        return len(asked) == 3  # at first, when woken, and no third time but for a second change

    thread = threading.Thread(target=watcher.wait, args=(ENOUGH, news))
    thread.start()
    until("it waits", lambda: len(asked) == 1)
    for _ in range(5):
        watcher.tick()
    assert len(asked) == 1
    api.repo.release()
    watcher.tick()
    until("it was woken", lambda: len(asked) == 2)
    watcher.close()
    thread.join(ENOUGH - 10)
    assert not thread.is_alive()
