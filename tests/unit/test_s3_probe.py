"""How the dialect of conditional writes is found, and which storages are refused."""

from datetime import UTC, datetime, timedelta

import pytest

from blocklist.core.errors import LocalError, StoreUnreachable
from blocklist.store.layout import PROBES
from blocklist.store.port import Probing
from tests.s3_kit import FakeS3, Fault, Plan, Request, Server, refusal, serving

SECOND = timedelta(seconds=1)


def at_write(number: int, fault: Fault) -> Plan:
    """Let one of the probe's writes meet a fault, counted from 1 over all probes."""
    writes = iter(range(1, 1000))

    def plan(at: Request) -> Fault | None:
        probing = at.method == "PUT" and at.key.startswith(PROBES)
        return fault if probing and next(writes) == number else None

    return plan


def rests(server: Server) -> list[str]:
    assert isinstance(server.backend, FakeS3)
    return sorted(server.backend.objects)


@pytest.mark.parametrize(
    ("conditions", "found"), [("quoted", "If-Match quoted"), ("bare", "If-Match bare")]
)
def test_dialect_is_found_and_spoken(conditions: str, found: str) -> None:
    with serving(FakeS3(conditions)) as server:
        store = server.store()
        told = store.probe()
        assert (told.storage, told.conditions, told.usable, told.warning) == (
            "s3://bucket",
            found,
            True,
            None,
        )
        assert rests(server) == []
        assert store.put_new("private/a", b"1")
        held = store.get("private/a")
        assert held is not None
        token = store.replace_if("private/a", b"2", held.token)
        assert token
        assert store.replace_if("private/a", b"3", held.token) is None
        assert store.replace_if("private/a", b"3", token)


def test_store_is_a_probing_one() -> None:
    with serving(FakeS3()) as server:
        assert isinstance(server.store(), Probing)


def test_one_probe_for_each_client_before_its_first_write_and_none_for_reading() -> None:
    with serving(FakeS3()) as server:
        store = server.store()
        store.get("private/a")
        list(store.list(""))
        store.delete("private/a")
        assert not any(at.method == "PUT" for at in server.requests)
        store.put_new("private/a", b"1")
        before = len(server.requests)
        store.put_new("private/b", b"1")
        assert [at.key for at in server.requests[before:]] == ["private/b"]


@pytest.mark.parametrize(
    ("conditions", "word"), [("ignored", "ignored"), ("refused", "refused"), ("half", "refused")]
)
def test_storage_without_conditions_is_not_written_to(conditions: str, word: str) -> None:
    with serving(FakeS3(conditions)) as server:
        store = server.store()
        told = store.probe()
        assert (told.conditions, told.usable) == (word, False)
        for write in (
            lambda: store.put_new("private/a", b"1"),
            lambda: store.replace_if("private/a", b"1", "token"),
        ):
            with pytest.raises(LocalError, match=f"{word} by s3://bucket.*single_writer = true"):
                write()
        assert rests(server) == []


@pytest.mark.parametrize("conditions", ["ignored", "refused", "half"])
def test_single_writer_looks_and_writes(conditions: str) -> None:
    with serving(FakeS3(conditions)) as server:
        store = server.store(single_writer=True)
        told = store.probe()
        assert told.usable
        assert "releases are lost" in (told.warning or "")
        assert store.put_new("private/a", b"1") is True
        assert store.put_new("private/a", b"2") is False
        held = store.get("private/a")
        assert held is not None
        assert held.data == b"1"
        token = store.replace_if("private/a", b"2", held.token)
        assert token
        assert store.replace_if("private/a", b"3", held.token) is None
        assert store.replace_if("private/b", b"3", token) is None
        assert rests(server) == ["private/a"]


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.FAIL_AFTER])
def test_single_writer_survives_lost_answers(fault: Fault) -> None:
    with serving(FakeS3("ignored")) as server:
        store = server.store(single_writer=True)
        store.probe()
        left = [fault]
        server.plan = lambda at: left.pop() if left and at.method == "PUT" else None
        assert store.put_new("private/a", b"1") is True


def test_single_writer_changes_nothing_where_conditions_hold() -> None:
    with serving(FakeS3()) as server:
        store = server.store(single_writer=True)
        assert store.probe().warning is None
        store.put_new("private/a", b"1")
        assert server.requests[-1].headers["if-none-match"] == "*"


@pytest.mark.parametrize(
    "fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.FAIL_BEFORE, Fault.FAIL_AFTER]
)
@pytest.mark.parametrize("conditions", ["quoted", "bare", "ignored"])
def test_trouble_in_mid_probe_changes_no_verdict(conditions: str, fault: Fault) -> None:
    expected = {"quoted": "If-Match quoted", "bare": "If-Match bare", "ignored": "ignored"}
    for number in (1, 2, 3, 4):
        with serving(FakeS3(conditions)) as server:
            server.plan = at_write(number, fault)
            assert server.store().probe().conditions == expected[conditions]
            assert rests(server) == []


def test_storage_that_keeps_failing_is_unreachable_and_probed_again() -> None:
    with serving(FakeS3()) as server:
        store = server.store()
        server.plan = lambda at: Fault.FAIL_BEFORE
        with pytest.raises(StoreUnreachable):
            store.probe()
        server.plan = lambda at: None
        assert store.probe().usable


@pytest.mark.parametrize(
    ("answer", "words"),
    [(refusal(403, "AccessDenied"), "not allowed"), (refusal(404, "NoSuchBucket"), "no such buck")],
)
def test_no_right_to_write_is_no_verdict_on_conditions(answer: object, words: str) -> None:
    with serving(FakeS3()) as server:
        server.plan = lambda at: answer if at.method == "PUT" else None  # type: ignore[return-value] # an answer
        with pytest.raises(LocalError, match=words):
            server.store(single_writer=True).probe()


def test_rests_of_killed_probes_are_removed_after_an_hour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(FakeS3()) as server:
        assert isinstance(server.backend, FakeS3)
        server.backend.objects[f"{PROBES}rest"] = (b"1", {})
        server.backend.objects["private/other"] = (b"1", {})
        monkeypatch.setattr("tests.s3_kit.WHEN", datetime.now(UTC) - timedelta(minutes=50))
        server.store().probe()
        assert rests(server) == ["private/other", f"{PROBES}rest"]
        monkeypatch.setattr("tests.s3_kit.WHEN", datetime.now(UTC) - timedelta(minutes=70))
        server.store().probe()
        assert rests(server) == ["private/other"]
