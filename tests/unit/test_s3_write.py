"""What `put_new` and `replace_if` conclude on S3, whatever becomes of requests and answers."""

from collections.abc import Callable, Iterator

import pytest

from blocklist.core.errors import LocalError, OutcomeUnknown, StoreUnreachable
from blocklist.store.s3_bucket import NONCE
from tests.s3_kit import (
    HASTY,
    QUICK,
    Answer,
    FakeS3,
    Fault,
    Request,
    Server,
    always,
    faults,
    refusal,
    serving,
)

KEY = "private/a"
AFTER = (Fault.CUT_AFTER, Fault.FAIL_AFTER)
BEFORE = (Fault.CUT_BEFORE, Fault.FAIL_BEFORE)
SILENT = (Fault.SILENT_BEFORE, Fault.SILENT_AFTER)
Act = Callable[[Server], str | bool | None]


@pytest.fixture(params=["metadata-kept", "metadata-dropped"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving(FakeS3(metadata=request.param == "metadata-kept")) as server:
        yield server


def create(server: Server) -> bool:
    return server.store().put_new(KEY, b"mine")


def replace(server: Server) -> str | None:
    """Replace `old`, which nobody's nonce marks."""
    memory(server).objects[KEY] = (b"old", {})
    store = server.store()
    found = store.get(KEY)
    assert found is not None
    return store.replace_if(KEY, b"mine", found.token)


def stored(server: Server) -> bytes | None:
    return memory(server).objects.get(KEY, (None,))[0]


def memory(server: Server) -> FakeS3:
    assert isinstance(server.backend, FakeS3)
    return server.backend


def theirs(server: Server, data: bytes = b"theirs") -> None:
    """Let somebody else write."""
    kept = {f"x-amz-meta-{NONCE}": "theirs"} if memory(server).metadata else {}
    memory(server).objects[KEY] = (data, kept)


# -- an answer is lost --------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [*AFTER, *BEFORE])
@pytest.mark.parametrize("act", [create, replace])
def test_it_is_sent_again_and_succeeds(server: Server, act: Act, fault: Fault) -> None:
    server.plan = faults("PUT", fault)
    assert act(server)
    assert server.sent("PUT") == 2
    assert stored(server) == b"mine"


@pytest.mark.parametrize("fault", BEFORE)
@pytest.mark.parametrize("act", [create, replace])
def test_somebody_else_wins_meanwhile(server: Server, act: Act, fault: Fault) -> None:
    def plan(at: Request) -> Fault | None:
        if (at.method, at.key) != ("PUT", KEY) or server.sent("PUT") > 1:
            return None
        theirs(server)
        return fault

    server.plan = plan
    assert not act(server)
    assert stored(server) == b"theirs"


def test_equal_bytes_of_somebody_else_are_lost_where_nonces_tell() -> None:
    with serving(FakeS3()) as server:
        server.plan = faults("PUT", Fault.CUT_BEFORE)
        store = server.store()
        store.probe()
        theirs(server, b"mine")
        assert store.put_new(KEY, b"mine") is False


@pytest.mark.parametrize("act", [create, replace])
def test_first_refusal_is_looked_into(act: Act) -> None:
    """A proxy in between sent the request twice: the answer is that of the second."""
    with serving(FakeS3()) as server:

        def plan(at: Request) -> Answer | None:
            if (at.method, at.key) == ("PUT", KEY):
                server.backend(at)
                return server.backend(at)
            return None

        server.plan = plan
        assert act(server)
        assert stored(server) == b"mine"


@pytest.mark.parametrize("act", [create, replace])
def test_refusal_while_nothing_has_changed_is_sent_again(server: Server, act: Act) -> None:
    server.plan = faults("PUT", refusal(412, "PreconditionFailed"))
    assert act(server)
    assert stored(server) == b"mine"


@pytest.mark.parametrize(
    "answer",
    [
        refusal(503, "SlowDown"),
        refusal(409, "ConditionalRequestConflict"),
        refusal(429, "TooManyRequests"),
        refusal(400, "BadDigest"),
        refusal(400, "RequestTimeout"),
        refusal(502, ""),
        Answer(500, b"<html>no S3"),
        Answer(200),  # without an entity tag
    ],
)
@pytest.mark.parametrize("act", [create, replace])
def test_trouble_of_a_moment_is_survived(server: Server, act: Act, answer: Answer) -> None:
    server.plan = faults("PUT", answer)
    assert act(server)
    assert stored(server) == b"mine"


def test_server_that_answers_500_to_losers_still_has_one_winner() -> None:
    """As Ceph 16 does in a tight race."""
    with serving(FakeS3()) as server:
        store = server.store()
        assert store.put_new(KEY, b"mine") is True
        server.requests.clear()
        memory(server).losers = refusal(500, "UnknownError")
        assert store.put_new(KEY, b"second") is False
        assert server.sent("PUT") == QUICK.writes
        assert stored(server) == b"mine"


# -- no answer ever -----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", AFTER)
@pytest.mark.parametrize("act", [create, replace])
def test_landed_and_never_answered_is_success(server: Server, act: Act, fault: Fault) -> None:
    server.plan = always("PUT", fault)
    assert act(server)
    assert server.sent("PUT") == QUICK.writes
    assert stored(server) == b"mine"


@pytest.mark.parametrize("fault", BEFORE)
@pytest.mark.parametrize(("act", "before"), [(create, None), (replace, b"old")])
def test_never_landed_is_unreachable_and_changed_nothing(
    server: Server, act: Act, before: bytes | None, fault: Fault
) -> None:
    server.plan = always("PUT", fault)
    with pytest.raises(StoreUnreachable, match=f"cannot write {KEY}"):
        act(server)
    assert stored(server) == before


@pytest.mark.parametrize("fault", [*AFTER, *BEFORE])
@pytest.mark.parametrize("act", [create, replace])
def test_unreadable_afterwards_is_unknown(server: Server, act: Act, fault: Fault) -> None:
    def plan(at: Request) -> Fault | None:
        if at.key != KEY or not server.sent("PUT"):
            return None
        return fault if at.method == "PUT" else Fault.CUT_BEFORE

    server.plan = plan
    with pytest.raises(OutcomeUnknown, match=f"cannot tell whether {KEY} was written"):
        act(server)


def test_nothing_listens_is_unreachable() -> None:
    with serving(FakeS3()) as server:
        store = server.store()
        store.probe()
    with pytest.raises(StoreUnreachable, match="cannot be connected to"):
        store.put_new(KEY, b"mine")


def test_large_body_that_broke_off_was_not_written() -> None:
    """Known without reading back: the server has never had all of it."""
    with serving(FakeS3()) as server:
        store = server.store()
        store.probe()
        server.requests.clear()
        server.refuse_bodies = True
        with pytest.raises(StoreUnreachable, match="connection to the storage broke"):
            store.put_new(KEY, b"x" * 20_000_000)
        assert server.requests == []


# -- silence ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", SILENT)
@pytest.mark.parametrize("act", [create, replace])
def test_it_is_sent_again_after_silence(act: Act, fault: Fault) -> None:
    with serving(FakeS3()) as server:
        server.plan, server.patience = faults("PUT", fault), HASTY
        assert act(server)
        assert stored(server) == b"mine"


@pytest.mark.parametrize("act", [create, replace])
def test_silence_to_the_end_is_success_when_it_landed(act: Act) -> None:
    with serving(FakeS3()) as server:
        server.plan, server.patience = always("PUT", Fault.SILENT_AFTER), HASTY
        assert act(server)


@pytest.mark.parametrize("act", [create, replace])
def test_silence_to_the_end_is_unknown_otherwise(act: Act) -> None:
    """The request may be in a queue, and carried out after we have looked."""
    with serving(FakeS3()) as server:
        server.plan, server.patience = always("PUT", Fault.SILENT_BEFORE), HASTY
        with pytest.raises(OutcomeUnknown, match="may still write"):
            act(server)


# -- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal(403, "AccessDenied"), "not allowed"),
        (refusal(403, "InvalidAccessKeyId"), "credentials are not accepted"),
        (refusal(403, "RequestTimeTooSkewed"), "set the clock"),
        (refusal(404, "NoSuchBucket"), "no such bucket"),
        (refusal(404, ""), "no S3 server"),
        (refusal(301, "PermanentRedirect"), "another region"),
        (refusal(501, "NotImplemented"), "does not do this"),
        (refusal(400, "EntityTooLarge"), "does not do this"),
    ],
)
def test_what_will_never_work_is_said_at_once(answer: Answer, words: str) -> None:
    with serving(FakeS3()) as server:
        server.plan = always("PUT", answer)
        with pytest.raises(LocalError, match=words) as refused:
            create(server)
        assert server.sent("PUT") == 1
        assert "said" not in str(refused.value), "what the server wrote is not repeated"


def test_refused_after_an_unclear_answer_is_settled_by_reading(server: Server) -> None:
    server.plan = faults("PUT", Fault.CUT_AFTER, refusal(403, "AccessDenied"))
    assert create(server) is True
    server.plan = faults("PUT", Fault.CUT_BEFORE, refusal(403, "AccessDenied"))
    with pytest.raises(LocalError, match="not allowed"):
        replace(server)


@pytest.mark.parametrize(
    "token", ["", "*", '"', "a, b", 'a"', "W/x y", "ü", "t" * 129, "a\r\nb: c"]
)
def test_token_that_was_never_given_is_not_sent(token: str) -> None:
    """As a condition it might match anything, or be none."""
    with serving(FakeS3()) as server:
        create(server)
        server.requests.clear()
        assert server.store().replace_if(KEY, b"new", token) is None
        assert server.requests == []
