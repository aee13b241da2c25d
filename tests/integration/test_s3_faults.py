"""The S3 store on a real server that fails: lost answers, cut connections, a kill in mid-upload."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from blocklist.core.errors import OutcomeUnknown, StoreError, StoreUnreachable
from blocklist.store.s3 import S3Store
from blocklist.store.s3_client import Patience
from blocklist.store.s3_url import S3Location
from scripts.services import buckets
from scripts.services.ceph import REGION, Ceph
from tests.s3_kit import (
    HASTY,
    QUICK,
    Fault,
    Request,
    Server,
    Upstream,
    always,
    faults,
    serving,
)
from tests.services import CREDENTIALS, S3Server, absent, started, used
from tests.tcp_relay import Relay, relaying

KEY = "private/a"
OLD, NEW = b"old" * 100_000, b"new" * 1_000_000
HUGE = NEW * 16  # more than the buffers of the wire hold: it is known that it was not sent


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in CREDENTIALS:
        monkeypatch.setenv(name, s3_server.environment[name])
    return s3_server.new_bucket()


def opened(endpoint: str, bucket: str, ca: Path | None = None, how: Patience = QUICK) -> S3Store:
    ca_file = ca if endpoint.startswith("https") else None
    location = S3Location(bucket, endpoint_url=endpoint, region=REGION, ca_file=ca_file)
    return S3Store(location, patience=how)


# -- answers that get lost on the way -----------------------------------------------------------


@pytest.fixture
def line(request: pytest.FixtureRequest, s3_server: S3Server, bucket: str) -> Iterator[Server]:
    """A bad line to the real server; `/bucket/` in its keys is left out."""
    if "http" not in s3_server.endpoints:
        absent("S3 over http", "the server that was named does not speak it")
    used(request, "S3 over http")
    with serving(Upstream(s3_server.endpoints["http"]), s3_server.environment) as server:
        yield server


def puts(server: Server, bucket: str) -> int:
    return server.sent("PUT", f"{bucket}/{KEY}")


@pytest.mark.parametrize("fault", [Fault.CUT_AFTER, Fault.CUT_BEFORE, Fault.FAIL_AFTER])
def test_one_lost_answer_is_overcome(line: Server, bucket: str, fault: Fault) -> None:
    store = line.store(bucket=bucket)
    for done in (
        lambda: store.put_new(KEY, b"1"),
        lambda: store.replace_if(KEY, b"2", token(store)),
    ):
        line.plan = faults("PUT", fault, key=f"{bucket}/{KEY}")
        assert done()
    assert puts(line, bucket) == 4
    found = store.get(KEY)
    assert found is not None
    assert found.data == b"2"


def test_landed_and_never_answered_is_success(line: Server, bucket: str) -> None:
    store = line.store(bucket=bucket)
    line.plan = always("PUT", Fault.CUT_AFTER, key=f"{bucket}/{KEY}")
    assert store.put_new(KEY, b"1") is True
    following = store.replace_if(KEY, b"2", token(store))
    assert following == token(store)


def test_never_landed_is_unreachable(line: Server, bucket: str) -> None:
    store = line.store(bucket=bucket)
    store.probe()
    line.plan = always("PUT", Fault.CUT_BEFORE, key=f"{bucket}/{KEY}")
    with pytest.raises(StoreUnreachable):
        store.put_new(KEY, b"1")
    assert store.get(KEY) is None


def test_unreadable_is_unknown(line: Server, bucket: str) -> None:
    store = line.store(bucket=bucket)
    store.probe()

    def plan(at: Request) -> Fault | None:
        writing = at.key == f"{bucket}/{KEY}" and at.method == "PUT"
        return Fault.CUT_AFTER if writing else Fault.CUT_BEFORE

    line.plan = plan
    with pytest.raises(OutcomeUnknown):
        store.put_new(KEY, b"1")


def token(store: S3Store) -> str:
    found = store.get(KEY)
    assert found is not None
    return found.token


# -- connections that are cut, over http and TLS ------------------------------------------------


@pytest.fixture
def relay(s3_server: S3Server, scheme: str) -> Iterator[Relay]:
    parts = urlsplit(s3_server.endpoints[scheme])
    assert parts.hostname is not None
    with relaying(parts.hostname, parts.port or 443) as relay:
        yield relay


@pytest.fixture
def cut_store(s3_server: S3Server, scheme: str, relay: Relay, bucket: str) -> S3Store:
    """A client behind the relay; certificates are for the address, whatever the port."""
    store = opened(f"{scheme}://127.0.0.1:{relay.port}", bucket, s3_server.ca_file)
    assert store.put_new(KEY, OLD)
    return store


def test_body_cut_in_mid_read_is_read_again(cut_store: S3Store, relay: Relay) -> None:
    before = relay.connections
    relay.cut_down(len(OLD) // 2)
    found = cut_store.get(KEY)
    assert found is not None
    assert found.data == OLD
    assert relay.connections == before + 1


def test_upload_cut_in_mid_body_is_sent_again(cut_store: S3Store, relay: Relay) -> None:
    held = token(cut_store)
    relay.cut_up(len(NEW) // 2)
    following = cut_store.replace_if(KEY, NEW, held)
    found = cut_store.get(KEY)
    assert found is not None
    assert (found.data, found.token) == (NEW, following)


# -- a server of our own that dies --------------------------------------------------------------


@pytest.fixture
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ceph]:
    ceph = Ceph(tmp_path / "s3")
    try:
        started(ceph, "S3 server")
        used(request, "S3 over http")
        used(request, "S3 over TLS")
        yield ceph
    finally:
        ceph.discard()


def test_server_that_dies_and_comes_back(own: Ceph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in mid-upload over http and TLS, then stopped in its tracks; one start for all."""
    for name in CREDENTIALS:
        monkeypatch.setenv(name, own.environment()[name])
    boto = buckets.client(own.http, own.access_key, own.secret_key, None)
    places = {endpoint: buckets.new_bucket(boto) for endpoint in (own.http, own.https)}
    for endpoint, bucket in places.items():  # Ceph makes no bucket for 30 s after a kill
        _killed_in_mid_upload(own, endpoint, bucket)
    _hanging(own, places[own.http])


def _killed_in_mid_upload(own: Ceph, endpoint: str, bucket: str) -> None:
    parts = urlsplit(endpoint)
    with relaying("127.0.0.1", parts.port or 0) as relay:
        store = opened(f"{parts.scheme}://127.0.0.1:{relay.port}", bucket, own.ca_file)
        assert store.put_new(KEY, OLD)
        held = token(store)
        for upload in (
            lambda: store.replace_if(KEY, HUGE, held),
            lambda: store.put_new("private/new", HUGE),
        ):
            relay.cut_up(len(HUGE) // 10, own.kill_gateway)
            with pytest.raises(StoreUnreachable, match="cannot write private/"):
                upload()
            own.start_gateway()
        found = store.get(KEY)
        assert found is not None
        assert (found.data, found.token) == (OLD, held)
        assert [listed.key for listed in store.list("")] == [KEY]
        assert store.replace_if(KEY, NEW, held)
        assert store.put_new("private/new", NEW)


def _hanging(own: Ceph, bucket: str) -> None:
    """Connections open, nothing is answered; later all goes on, with one winner."""
    store, hasty = opened(own.http, bucket), opened(own.http, bucket, how=HASTY)
    assert hasty.probe().usable
    held = token(store)
    own.pause_gateway(stopped=True)
    try:
        with pytest.raises(StoreError):
            hasty.get(KEY)
        with pytest.raises(OutcomeUnknown):
            hasty.put_new("private/hung", b"1")
    finally:
        own.pause_gateway(stopped=False)
    assert store.put_new("private/hung", b"2") in {True, False}
    found = store.get("private/hung")
    assert found is not None
    assert found.data in {b"1", b"2"}
    assert token(store) == held
