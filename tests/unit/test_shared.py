"""After a failure of Redis one caller a second tries, and nobody else waits."""

import threading

import pytest
from redis import exceptions

from blocklist.core.errors import StoreError
from blocklist.store.shared import MAX_BLOB_BYTES, PAUSE_SECONDS, SharedState, SharedStateDown


class Client:
    """Answers `ping` as it is told."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked = 0
        self.may_answer = threading.Event()
        self.may_answer.set()

    def ping(self) -> bool:
        self.asked += 1
        assert self.may_answer.wait(60)
        if self.error is not None:
            raise self.error
        return True


class Ticks:
    """Seconds that go by when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def shared(client: Client, ticks: Ticks) -> SharedState:
    return SharedState(client, ticks)  # type: ignore[arg-type]


def test_while_redis_is_down_it_is_asked_once_a_second(
    shared: SharedState, client: Client, ticks: Ticks
) -> None:
    client.error = exceptions.ConnectionError("refused")
    for second in range(3):
        ticks.now = second * PAUSE_SECONDS
        assert [shared.up() for _ in range(100)] == [False] * 100
        assert client.asked == second + 1
    client.error = None
    assert not shared.up()
    ticks.now += PAUSE_SECONDS
    assert [shared.up() for _ in range(100)] == [True] * 100
    assert client.asked == 103


def test_while_one_tries_again_nobody_waits_with_it(
    shared: SharedState, client: Client, ticks: Ticks
) -> None:
    client.error = exceptions.TimeoutError("late")
    assert not shared.up()
    ticks.now += PAUSE_SECONDS
    client.may_answer.clear()
    trying = threading.Thread(target=shared.up)
    trying.start()
    while client.asked < 2:
        trying.join(0.01)
    assert not shared.up()  # answered although the one that tries still waits
    assert trying.is_alive()
    assert client.asked == 2
    client.may_answer.set()
    trying.join()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (exceptions.AuthenticationError("s3cret"), "refuses user or password"),
        (exceptions.AuthenticationError("s3cret"), "BLOCKLIST_REDIS"),
        (exceptions.NoPermissionError("s3cret"), "does not allow"),
        (exceptions.BusyLoadingError("s3cret"), "is loading"),
        (exceptions.OutOfMemoryError("s3cret"), "is full"),
        (exceptions.ReadOnlyError("s3cret"), "replica"),
        (exceptions.TimeoutError("s3cret"), "did not answer within"),
        (exceptions.ConnectionError("s3cret"), "cannot be reached"),
        (exceptions.ConnectionError("CERTIFICATE_VERIFY_FAILED s3cret"), "is not trusted"),
        (exceptions.InvalidResponse("s3cret"), "InvalidResponse"),
        (exceptions.ResponseError("MISCONF s3cret"), "ResponseError"),
        (FileNotFoundError("s3cret"), "FileNotFoundError"),
    ],
)
def test_failures_have_one_type_and_say_nothing_that_was_sent(
    shared: SharedState, client: Client, error: Exception, said: str
) -> None:
    client.error = error
    for _ in range(2):  # when it happens, and while it is not asked
        with pytest.raises(SharedStateDown, match=said) as caught:
            shared._ask(client.ping)
        assert "s3cret" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert isinstance(caught.value, StoreError)
    assert (caught.value.http_status, caught.value.retryable) == (503, True)


def test_a_fault_of_ours_is_not_taken_for_a_failure_of_redis(
    shared: SharedState, client: Client
) -> None:
    client.error = KeyError("x")
    with pytest.raises(KeyError):
        shared._ask(client.ping)
    client.error = None
    assert shared.up()


def test_a_blob_beyond_the_cap_is_not_even_sent(shared: SharedState) -> None:
    shared.put_blob("demo", bytes(MAX_BLOB_BYTES + 1), 60)  # the client has no `set`


def test_nothing_to_say_asks_nothing(shared: SharedState) -> None:
    shared.post({})
    shared.forget([])
    assert shared.posted([]) == {}
