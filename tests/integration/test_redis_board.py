"""The board of several processes on a real Redis: merged, forgotten, filled again, and nameless."""

from collections.abc import Iterator

import pytest
import redis

from blocklist.api.board.board import KEPT, Board
from blocklist.api.reader import FeedReader
from blocklist.core.entries import Feed
from blocklist.core.private import Subscription
from blocklist.store import layout
from blocklist.store.shared import PAUSE_SECONDS, SharedState, SharedStateDown
from scripts.services.redis import Redis
from tests.api_repo import NOW, Clock, Repo, sha256

NAME, TOKEN = "A Provider Ltd", "token-of-the-provider"
ISP = Subscription(NAME, sha256(TOKEN.encode()), {"demo": (Feed.HASHED,)}, NOW)


class Ticks:
    """Seconds that go by when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Process:
    """The board of one process."""

    def __init__(self, repo: Repo, url: str, clock: Clock) -> None:
        self.ticks = Ticks()
        self.shared = SharedState.open(url, self.ticks)
        self.clock = clock
        self.board = Board(FeedReader(repo.store, None, clock), repo.store, clock, self.shared)
        self.flush = self.board.flush

    def note(self, version: int, after: float = 0) -> str:
        """Hear a version after some seconds; return the moment as the board writes it."""
        self.clock.tick(after)
        self.board.note(ISP, "demo", Feed.HASHED, version)
        return self.clock.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def row(self) -> tuple[int | None, str | None, str | None]:
        view = self.board.view()
        assert view.complete
        (row,) = view.rows
        return row["version"], row["since"], row["seen"]

    def wait(self) -> None:
        """Let the pause after a failure end."""
        self.ticks.now += PAUSE_SECONDS


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    repo = Repo(tmp_path_factory.mktemp("template") / "store")
    repo.releases(3)
    assert repo.store.put_new(layout.enrolment_key(ISP.token_digest), ISP.to_bytes())
    return repo


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url(redis_server: Redis) -> str:
    return redis_server.url


@pytest.fixture
def pair(template: Repo, url: str, clock: Clock) -> Iterator[list[Process]]:
    made = [Process(template, url, clock) for _ in range(2)]
    yield made
    for process in made:
        process.shared.close()


def test_what_one_heard_the_other_shows(pair: list[Process]) -> None:
    one, other = pair
    at = one.note(2)
    assert other.row() == (None, None, None)
    one.flush()
    assert one.row() == other.row() == (2, at, at)


def test_since_is_the_first_word_of_anybody_and_seen_the_last(pair: list[Process]) -> None:
    one, other = pair
    first = one.note(2)
    one.flush()
    last = other.note(2, after=60)
    other.flush()
    assert one.row() == other.row() == (2, first, last)
    last = one.note(2, after=60)
    one.flush()
    assert one.row() == other.row() == (2, first, last)


def test_the_later_word_counts_whoever_flushes_first(pair: list[Process]) -> None:
    one, other = pair
    one.note(2)
    late = other.note(3, after=60)
    other.flush()
    one.flush()
    assert one.row() == other.row() == (3, late, late)


def test_what_redis_forgot_is_posted_again(pair: list[Process], redis_server: Redis) -> None:
    one, other = pair
    at = one.note(2)
    one.flush()
    redis_server.flush()
    assert other.row() == (None, None, None)
    one.flush()
    assert other.row() == (2, at, at)


def test_a_new_process_shows_what_the_old_ones_heard(
    pair: list[Process], template: Repo, url: str, clock: Clock
) -> None:
    at = pair[0].note(2)
    pair[0].flush()
    new = Process(template, url, clock)
    assert new.row() == (2, at, at)
    last = new.note(2, after=60)
    new.flush()
    assert pair[0].row() == (2, at, last)
    new.shared.close()


def test_without_redis_it_shows_its_own_and_says_so(
    own_redis: Redis, template: Repo, clock: Clock
) -> None:
    one, other = (Process(template, own_redis.url, clock) for _ in range(2))
    at = one.note(2)
    one.flush()
    other.note(2, after=60)
    other.flush()
    own_redis.kill()
    (row,) = other.board.view().rows
    assert row["since"] == at  # as it heard, not as it saw for itself
    late = one.note(3, after=60)
    for process, version in ((one, 3), (other, 2)):
        view = process.board.view()
        assert not view.complete
        assert [row["version"] for row in view.rows] == [version]
    with pytest.raises(SharedStateDown):
        one.flush()
    own_redis.start()
    for process in (one, other):
        process.wait()
        process.flush()
    assert one.row() == other.row() == (3, late, late)
    assert late != at
    for process in (one, other):
        process.shared.close()


def test_the_old_and_the_unreadable_are_taken_off(
    pair: list[Process], redis_server: Redis, clock: Clock
) -> None:
    at = pair[0].note(2)
    pair[0].flush()
    old = int((NOW - KEPT).timestamp())
    good = f"{ISP.token_digest} demo hashed"
    strange = {
        f"{'a' * 64} demo hashed": f"1 {old - 1} {old - 1}",
        f"{'b' * 64} demo hashed": f"1 {old} {old}",
        f"{'c' * 64} demo hashed": "one two three",
        f"{'d' * 64} demo hashed": f"{2**53} {old} {old}",
        f"{'e' * 64} demo other": f"1 {old} {old}",
        f"{'f' * 64} demo": f"1 {old} {old}",
        "": "",
    }
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as raw:
        raw.hset("blocklist:board", mapping=strange)
        assert pair[1].row() == (2, at, at)
        assert set(raw.hkeys("blocklist:board")) == {good, f"{'b' * 64} demo hashed"}


def test_redis_learns_no_name_and_no_token(pair: list[Process], redis_server: Redis) -> None:
    pair[0].note(2)
    pair[0].flush()
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as raw:
        held = {key: raw.hgetall(key) for key in raw.keys("*")}
    assert list(held) == ["blocklist:board"]
    assert ISP.token_digest in str(held)
    assert NAME not in str(held)
    assert TOKEN not in str(held)


def test_everybody_is_posted_in_few_round_trips(pair: list[Process], redis_server: Redis) -> None:
    for number in range(5_000):
        who = Subscription("x", sha256(str(number).encode()), {}, NOW)
        pair[0].board.note(who, "demo", Feed.HASHED, 3)
    with redis.Redis.from_url(redis_server.url) as raw:
        before = raw.info("stats")["total_commands_processed"]
        pair[0].flush()
        assert raw.info("stats")["total_commands_processed"] - before < 20
        assert raw.hlen("blocklist:board") == 5_000
