"""The limit in one process is exact; between processes it is as good as the last two flushes."""

import random
from collections import deque
from collections.abc import Callable

import pytest

from blocklist.api import limiter as module
from blocklist.api.limiter import Limiter
from blocklist.api.problems import TOO_MANY_REQUESTS, Problem
from blocklist.api.settings import ApiSettings
from blocklist.store.shared import SharedStateDown
from tests.api_repo import Clock, sha256

ONE, OTHER = sha256(b"one"), sha256(b"other")
LIMIT = 10


class Exchange:
    """What `SharedState.count` does, in memory; `down` makes it fail, `flush` forget."""

    def __init__(self) -> None:
        self.down = False
        self.held: dict[tuple[str, int], dict[str, dict[str, int]]] = {}

    def flush(self) -> None:
        self.held.clear()

    def count(
        self, topic: str, holder: str, counts: dict[int, dict[str, int]], slots: range
    ) -> dict[int, dict[str, int]]:
        if self.down:
            raise SharedStateDown("down")
        for slot, names in counts.items():
            self.held.setdefault((topic, slot), {})[holder] = names
        return {slot: self._others(topic, slot, holder) for slot in slots}

    def _others(self, topic: str, slot: int, holder: str) -> dict[str, int]:
        sums: dict[str, int] = {}
        for who, names in self.held.get((topic, slot), {}).items():
            for name, count in names.items() if who != holder else ():
                sums[name] = sums.get(name, 0) + count
        return sums


class Untouchable:
    """A shared state that fails the test when it is asked anything."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"asked Redis: {name}")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


def make(clock: Clock, shared: object = None, limit: int = LIMIT) -> Limiter:
    settings = ApiSettings(requests_per_minute=limit, unauthenticated_per_minute=limit)
    return Limiter(settings, clock, shared)  # type: ignore[arg-type]


def refused(call: Callable[[str], None], name: str = ONE) -> int | None:
    """Return the `Retry-After` of a refusal, None when it was let through."""
    problem = None
    try:
        call(name)
    except Problem as raised:
        problem = raised
    if problem is None:
        return None
    assert problem.kind == TOO_MANY_REQUESTS
    assert problem.headers.keys() == {"Retry-After"}
    assert name not in problem.detail
    return int(problem.headers["Retry-After"])


def allowed(limiter: Limiter, tries: int = 3 * LIMIT, name: str = ONE) -> int:
    return sum(refused(limiter.check, name) is None for _ in range(tries))


# -- one process ---------------------------------------------------------------------------------


def test_as_many_as_the_limit_are_let_through_and_no_more(clock: Clock) -> None:
    limiter = make(clock)
    assert allowed(limiter) == LIMIT
    assert allowed(limiter, name=OTHER) == LIMIT


def test_retry_after_is_when_it_is_let_through_again_and_not_before(clock: Clock) -> None:
    limiter = make(clock)
    assert allowed(limiter) == LIMIT
    wait = refused(limiter.check)
    assert wait == 61
    clock.tick(wait - 0.001)
    assert refused(limiter.check) == 1
    clock.tick(0.001)
    assert refused(limiter.check) is None


def test_retry_after_names_the_first_request_that_gets_old(clock: Clock) -> None:
    limiter = make(clock, limit=3)
    for _ in range(3):
        assert refused(limiter.check) is None
        clock.tick(10)
    assert refused(limiter.check) == 31
    clock.tick(31)
    assert refused(limiter.check) is None
    assert refused(limiter.check) == 10


def test_what_was_refused_does_not_count(clock: Clock) -> None:
    limiter = make(clock)
    for _ in range(122):
        refused(limiter.check)
        clock.tick(0.5)
    assert refused(limiter.check) is None


@pytest.mark.parametrize("seed", range(5))
def test_no_sixty_seconds_ever_let_through_more_and_every_retry_after_is_kept(
    clock: Clock, seed: int
) -> None:
    rng = random.Random(seed)
    limiter = make(clock)
    passed: deque[float] = deque()
    promised = None
    for _ in range(3_000):
        clock.tick(rng.choice([0, 0, 0.01, 0.3, 1, rng.random() * 20]))
        now = clock.now.timestamp()
        wait = refused(limiter.check)
        if wait is None:
            promised = None
            passed.append(now)
        else:
            assert 1 <= wait <= 61
            assert promised is None or now < promised
            promised = min(promised or now + wait, now + wait)
        while passed and passed[0] <= now - 60:
            passed.popleft()
        assert len(passed) <= LIMIT


def test_a_steady_subscriber_just_under_the_limit_is_never_refused(clock: Clock) -> None:
    limiter = make(clock, limit=600)
    for _ in range(2_000):
        assert refused(limiter.check) is None
        clock.tick(61 / 599)


@pytest.mark.parametrize("back", [0.5, 30, 3_600, 86_400])
def test_a_clock_that_was_set_back_neither_locks_out_nor_opens(clock: Clock, back: float) -> None:
    limiter = make(clock)
    assert allowed(limiter) == LIMIT
    clock.tick(-back)
    allowed(limiter)
    assert refused(limiter.check) is not None
    clock.tick(61 + 30)
    assert allowed(limiter) == LIMIT


def test_many_names_do_not_grow_the_memory_and_leave_who_is_active_alone(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, exchange: Exchange
) -> None:
    monkeypatch.setattr(module, "MAX_CALLERS", 50)
    monkeypatch.setattr(module, "MAX_ADDRESSES", 50)
    limiter = make(clock, exchange)
    exchange.down = True
    for _ in range(LIMIT):
        limiter.failed("192.0.2.1")
    for number in range(5_000):
        limiter.failed(f"198.51.{number // 250}.{number % 250}")
        limiter.check(sha256(str(number).encode()))
        assert refused(limiter.check_address, "192.0.2.1") is not None
    for limit in (limiter._callers, limiter._addresses):
        assert len(limit._tallies) == 50
        assert len(limit._touched) <= 51


# -- addresses -----------------------------------------------------------------------------------


def test_an_address_is_refused_after_its_failures_only(clock: Clock) -> None:
    limiter = make(clock)
    for _ in range(LIMIT):
        assert refused(limiter.check_address, "192.0.2.1") is None
        limiter.failed("192.0.2.1")
    assert refused(limiter.check_address, "192.0.2.1") == 61
    assert refused(limiter.check_address, "192.0.2.2") is None
    clock.tick(61)
    assert refused(limiter.check_address, "192.0.2.1") is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:0:8000::", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "no address", True),
        ("192.0.2.1", "", False),
    ],
)
def test_what_one_customer_is_given_is_one_address(
    clock: Clock, one: str, other: str, same: bool
) -> None:
    limiter = make(clock, limit=1)
    limiter.failed(one)
    assert (refused(limiter.check_address, other) is not None) is same


def test_a_token_and_an_address_are_counted_apart(clock: Clock) -> None:
    limiter = make(clock)
    for _ in range(LIMIT):
        limiter.failed("192.0.2.1")
    assert allowed(limiter) == LIMIT


# -- several processes ---------------------------------------------------------------------------


def test_no_request_asks_redis(clock: Clock) -> None:
    limiter = make(clock, Untouchable())
    assert allowed(limiter) == LIMIT
    limiter.failed("192.0.2.1")
    assert refused(limiter.check_address, "192.0.2.1") is None


def test_after_two_flushes_the_limit_is_one_for_all(clock: Clock, exchange: Exchange) -> None:
    processes = [make(clock, exchange) for _ in range(3)]
    assert [allowed(process, 3) for process in processes] == [3, 3, 3]
    for _ in range(2):
        for process in processes:
            process.flush()
    assert [allowed(process) for process in processes] == [1, 1, 1]  # the leak of one interval
    for _ in range(2):
        for process in processes:
            process.flush()
    assert [allowed(process) for process in processes] == [0, 0, 0]
    assert {refused(process.check) for process in processes} == {61}


@pytest.mark.parametrize("seed", range(5))
def test_the_leak_is_what_the_others_let_through_in_two_intervals(seed: int) -> None:
    """Any 60 seconds, any order of flushes: limit + what others passed since two flushes back."""
    rng = random.Random(seed)
    clock, exchange = Clock(), Exchange()
    processes = [make(clock, exchange, 40) for _ in range(3)]
    flushes: dict[int, deque[float]] = {n: deque([0.0, 0.0], 2) for n in range(3)}
    passed: list[tuple[float, int]] = []
    for _ in range(4_000):
        clock.tick(rng.choice([0, 0.02, 0.1]))
        now = clock.now.timestamp()
        for number, process in enumerate(processes):
            if now - flushes[number][-1] >= 1:
                process.flush()
                flushes[number].append(now)
        number = rng.randrange(3)
        if refused(processes[number].check) is None:
            # known here: its own, and of the others what they told before our last flush
            known = 0
            for at, by in passed:
                if at > now - 60:
                    told = by == number or at < now - 2.2
                    known += told
            assert known < 40
            passed.append((now, number))
    assert len(passed) > 40


def test_a_new_process_learns_the_whole_last_minute(clock: Clock, exchange: Exchange) -> None:
    old = make(clock, exchange)
    for _ in range(LIMIT):
        assert refused(old.check) is None
        clock.tick(5)
    old.flush()
    new = make(clock, exchange)
    new.flush()
    assert refused(new.check) == refused(old.check) == 11


def test_what_redis_missed_is_made_up_for(clock: Clock, exchange: Exchange) -> None:
    one, other = make(clock, exchange), make(clock, exchange)
    exchange.down = True
    for _ in range(LIMIT):
        assert refused(one.check) is None
        clock.tick(3)
        with pytest.raises(SharedStateDown):
            one.flush()
        with pytest.raises(SharedStateDown):
            other.flush()
    exchange.down = False
    one.flush()
    other.flush()
    assert refused(other.check) == refused(one.check) == 31


def test_without_redis_each_process_holds_the_limit_alone(clock: Clock, exchange: Exchange) -> None:
    exchange.down = True
    for process in (make(clock, exchange), make(clock, exchange), make(clock)):
        assert allowed(process) == LIMIT
    make(clock).flush()


def test_a_flush_of_redis_takes_back_nothing_that_was_heard(
    clock: Clock, exchange: Exchange
) -> None:
    one, other = make(clock, exchange), make(clock, exchange)
    assert allowed(one, 6) == 6
    one.flush()
    other.flush()
    exchange.flush()
    other.flush()
    assert allowed(other) == 4
    other.flush()
    one.flush()
    assert refused(one.check) is not None


def test_what_was_heard_of_a_process_that_died_stays_heard(
    clock: Clock, exchange: Exchange
) -> None:
    one, other, dead = (make(clock, exchange) for _ in range(3))
    for process in (other, dead):
        assert allowed(process, 4) == 4
        process.flush()
    one.flush()
    exchange.flush()
    other.flush()
    one.flush()
    assert allowed(one) == 2


def test_telling_twice_counts_once(clock: Clock, exchange: Exchange) -> None:
    one, other = make(clock, exchange), make(clock, exchange)
    for _ in range(5):
        assert refused(one.check) is None
        for _ in range(3):
            one.flush()
            other.flush()
        clock.tick(0.3)
    assert allowed(other) == 5


def test_who_is_counted_in_the_same_second_after_a_flush_does_not_hide_who_was_before(
    clock: Clock, exchange: Exchange
) -> None:
    one = make(clock, exchange)
    assert allowed(one) == LIMIT
    one.flush()
    assert allowed(one, name=OTHER) == LIMIT
    one.flush()
    clock.tick(1)
    one.flush()
    late = make(clock, exchange)
    late.flush()
    assert allowed(late) == allowed(late, name=OTHER) == 0


def test_no_token_digest_and_no_address_is_told_in_full(clock: Clock, exchange: Exchange) -> None:
    one = make(clock, exchange)
    one.check(ONE)
    one.failed("192.0.2.1")
    one.flush()
    told = repr(exchange.held)
    assert ONE not in told
    assert "192.0.2.1" not in told
