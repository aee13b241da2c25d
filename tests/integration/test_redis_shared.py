"""`SharedState` on a real Redis: what several processes tell each other, and for how long."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from blocklist.store.shared import (
    BOARD_SECONDS,
    COUNT_SECONDS,
    MAX_BLOB_BYTES,
    MAX_CONNECTIONS,
    SharedState,
    SharedStateDown,
    Watch,
)
from scripts.services.process import until
from scripts.services.redis import Redis
from tests.api_repo import sha256

LONG = 3_600.0
DIGEST = sha256(b"token")
WAIT = 60.0


@pytest.fixture
def shared(redis_server: Redis) -> Iterator[SharedState]:
    made = SharedState.open(redis_server.url)
    yield made
    made.close()


@pytest.fixture
def other(redis_server: Redis) -> Iterator[SharedState]:
    """What another process has."""
    made = SharedState.open(redis_server.url)
    yield made
    made.close()


@pytest.fixture
def raw(redis_server: Redis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        yield client


def test_it_is_up(shared: SharedState) -> None:
    assert shared.up()


# -- counts --------------------------------------------------------------------------------------


def test_counts_of_all_others_are_summed_and_own_ones_left_out(shared: SharedState) -> None:
    assert shared.count("t", "a", {7: {"x": 1, "y": 5}, 8: {"x": 2}}, [7, 8]) == {}
    assert shared.count("t", "b", {8: {"x": 10}}, [7, 8]) == {7: {"x": 1, "y": 5}, 8: {"x": 2}}
    assert shared.count("t", "c", {}, [8, 9]) == {8: {"x": 12}}
    assert shared.count("t", "a", {}, [7, 8]) == {8: {"x": 10}}


def test_telling_again_replaces_and_topics_are_apart(shared: SharedState) -> None:
    for _ in range(3):
        shared.count("t", "a", {7: {"x": 4}}, [])
    assert shared.count("t", "b", {}, [7]) == {7: {"x": 4}}
    assert shared.count("other", "b", {}, [7]) == {}


def test_counts_are_forgotten(shared: SharedState, raw: redis.Redis) -> None:
    shared.count("t", "a", {7: {"x": 1}}, [])
    (key,) = raw.keys("*")
    assert 0 < raw.ttl(key) <= COUNT_SECONDS


@pytest.mark.parametrize(
    "told",
    [
        "", "{", "7", "[1]", "null", '{"x": "1"}', '{"x": -1}', '{"x": 1.5}', '{"x": true}',
        '{"x": 99999999999999}', '{"x": null}', "\x00", "[" * 100_000,
    ],
)  # fmt: skip
def test_counts_that_are_none_count_nothing(
    shared: SharedState, raw: redis.Redis, told: str
) -> None:
    shared.count("t", "a", {7: {"y": 1}}, [])
    raw.hset("blocklist:limit:t:7", "strange", told)
    assert shared.count("t", "b", {}, [7]) == {7: {"y": 1}}


# -- board ---------------------------------------------------------------------------------------


def test_the_board_keeps_what_was_posted_until_it_is_forgotten(
    shared: SharedState, other: SharedState, raw: redis.Redis
) -> None:
    shared.post({"a": "1", "b": "2"})
    other.post({"b": "3", "c": "4"})
    assert shared.board() == {"a": "1", "b": "3", "c": "4"}
    assert shared.posted(["a", "none", "c"]) == {"a": "1", "c": "4"}
    shared.forget(["a", "none"])
    assert other.board() == {"b": "3", "c": "4"}
    assert 0 < raw.ttl("blocklist:board") <= BOARD_SECONDS


def test_bytes_that_are_no_text_do_no_harm(shared: SharedState, raw: redis.Redis) -> None:
    raw.hset("blocklist:board", b"\xff", b"\xfe")
    assert shared.board() == {"\ufffd": "\ufffd"}


# -- leader --------------------------------------------------------------------------------------


def test_one_leads_and_the_others_hear_what_it_announced(
    shared: SharedState, other: SharedState
) -> None:
    assert shared.watch("a", LONG, None) == Watch(leader=True, announced=None)
    assert other.watch("b", LONG, "mine") == Watch(leader=False, announced=None)
    assert shared.watch("a", LONG, "head 1") == Watch(leader=True, announced="head 1")
    assert other.watch("b", LONG, "head 0") == Watch(leader=False, announced="head 1")
    assert shared.watch("a", LONG, "head 2") == Watch(leader=True, announced="head 2")
    assert other.watch("b", LONG, None) == Watch(leader=False, announced="head 2")


def test_of_many_at_once_one_leads(redis_server: Redis) -> None:
    states = [SharedState.open(redis_server.url) for _ in range(16)]
    at_once = threading.Barrier(len(states))

    def run(number: int) -> bool:
        at_once.wait(WAIT)
        return states[number].watch(str(number), LONG, str(number)).leader

    with ThreadPoolExecutor(len(states)) as pool:
        leaders = list(pool.map(run, range(len(states))))
    assert leaders.count(True) == 1
    heard = {states[n].watch(str(n), LONG, None).announced for n in range(len(states))}
    assert heard == {str(leaders.index(True))}
    for state in states:
        state.close()


def test_only_the_holder_renews_the_lease(shared: SharedState, raw: redis.Redis) -> None:
    shared.watch("a", LONG, None)
    raw.pexpire("blocklist:leader", 1_000_000)
    shared.watch("b", LONG, None)
    assert raw.pttl("blocklist:leader") <= 1_000_000
    shared.watch("a", LONG, None)
    assert 1_000_000 < raw.pttl("blocklist:leader") <= LONG * 1_000


def test_another_takes_over_when_the_lease_has_ended(
    shared: SharedState, other: SharedState
) -> None:
    assert shared.watch("a", 0.2, "head 1").leader
    assert until(lambda: other.watch("b", LONG, None).leader, WAIT)
    assert shared.watch("a", 0.2, "head 1") == Watch(leader=False, announced=None)


def test_an_announcement_gets_old_before_the_lease_ends(
    shared: SharedState, other: SharedState, raw: redis.Redis
) -> None:
    shared.watch("a", LONG, "head 1")
    assert raw.pttl("blocklist:head") <= LONG * 1_000 / 2 < raw.pttl("blocklist:leader")
    shared.watch("a", 0.2, "head 2")
    assert until(lambda: raw.exists("blocklist:head") == 0, WAIT)
    assert shared.watch("a", LONG, None) == Watch(leader=True, announced=None)
    assert other.watch("b", LONG, None) == Watch(leader=False, announced=None)


# -- blobs ---------------------------------------------------------------------------------------


def test_blobs_are_bytes_with_an_end(
    shared: SharedState, other: SharedState, raw: redis.Redis
) -> None:
    data = bytes(range(256))
    assert shared.get_blob("demo") is None
    shared.put_blob("demo", data, 100)
    assert other.get_blob("demo") == data
    assert 0 < raw.ttl("blocklist:blob:demo") <= 100


def test_the_largest_blob_fits_and_a_larger_one_is_not_kept(shared: SharedState) -> None:
    largest = bytes(MAX_BLOB_BYTES)
    shared.put_blob("demo", largest, 100)
    shared.put_blob("too large", largest + b"x", 100)
    assert shared.get_blob("demo") == largest
    assert shared.get_blob("too large") is None


# -- all of it -----------------------------------------------------------------------------------


def test_all_keys_are_ours_and_all_end(shared: SharedState, raw: redis.Redis) -> None:
    shared.count("callers", "a", {7: {"x": 1}}, [7])
    shared.post({f"{DIGEST} demo clear": "1 2 3"})
    shared.watch("a", LONG, "head")
    shared.put_blob("demo", b"x", 60)
    keys = raw.keys("*")
    assert len(keys) == 5
    assert all(key.startswith("blocklist:") for key in keys)
    assert all(raw.pttl(key) > 0 for key in keys)


def test_many_threads_share_few_connections(
    shared: SharedState, redis_server: Redis, raw: redis.Redis
) -> None:
    before = raw.info("clients")["connected_clients"]

    def run(number: int) -> bool:
        shared.post({str(number): json.dumps(number)})
        return shared.posted([str(number)]) == {str(number): json.dumps(number)}

    with ThreadPoolExecutor(4 * MAX_CONNECTIONS) as pool:
        assert all(pool.map(run, range(500)))
    assert raw.info("clients")["connected_clients"] - before <= MAX_CONNECTIONS


def test_a_key_of_another_kind_is_a_failure_and_no_crash(
    shared: SharedState, raw: redis.Redis
) -> None:
    raw.set("blocklist:board", "not a hash")
    with pytest.raises(SharedStateDown, match="ResponseError"):
        shared.board()
