"""What is sent to S3 and how its answers are read: limits, broken bodies, headers, faces of 404."""

from collections.abc import Iterator

import pytest

from blocklist.core.errors import LocalError, StoreUnreachable, TooLarge
from blocklist.store import layout
from blocklist.store.s3_headers import cache_control, content_type
from tests.s3_kit import (
    HASTY,
    Answer,
    FakeS3,
    Fault,
    Server,
    always,
    faults,
    refusal,
    serving,
)

KEY = "private/a"
DIGEST = "0" * 64


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(FakeS3()) as server:
        yield server


# -- reading ------------------------------------------------------------------------------------


def test_object_beyond_the_limit_is_not_read(server: Server) -> None:
    """The server announces a terabyte; nobody waits for it."""
    server.plan = always("GET", Answer(200, b"x", {"Content-Length": str(1 << 40), "ETag": '"e"'}))
    with pytest.raises(TooLarge, match=f"at most 10 bytes in {KEY}, got {1 << 40}"):
        server.store().get(KEY, limit=10)
    assert server.sent("GET") == 1


@pytest.mark.parametrize("fault", [Fault.HALF_BODY, Fault.CUT_AFTER, Fault.FAIL_BEFORE])
def test_read_that_breaks_off_is_done_again(server: Server, fault: Fault) -> None:
    store = server.store()
    store.put_new(KEY, b"data" * 1000)
    server.plan = faults("GET", fault)
    found = store.get(KEY)
    assert found is not None
    assert found.data == b"data" * 1000


def test_silence_in_a_read_is_unreachable(server: Server) -> None:
    server.patience = HASTY
    server.plan = always("GET", Fault.SILENT_BEFORE)
    with pytest.raises(StoreUnreachable, match="did not answer in time"):
        server.store().get(KEY)


def test_body_that_always_breaks_off_is_unreachable(server: Server) -> None:
    store = server.store()
    store.put_new(KEY, b"data" * 1000)
    server.plan = always("GET", Fault.HALF_BODY)
    with pytest.raises(StoreUnreachable, match="breaks in mid-object"):
        store.get(KEY)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refusal(403, "AccessDenied"), f"cannot read {KEY} in s3://bucket: not allowed"),
        (refusal(403, ""), "not allowed"),
        (refusal(403, "SignatureDoesNotMatch"), "credentials are not accepted"),
        (refusal(403, "RequestTimeTooSkewed"), "set the clock"),
        (refusal(404, "NoSuchBucket"), "no such bucket"),
        (
            Answer(404, b"404 page not found", {"Content-Type": "text/plain"}),
            "no S3 server answers",
        ),
        (Answer(404, b"<!DOCTYPE html><p>away", {"Content-Type": "text/html"}), "S3 server"),
        (Answer(404, b'{"error": "none"}', {"Content-Type": "application/json"}), "no S3 server"),
        (refusal(400, "AuthorizationHeaderMalformed"), "another region"),
        (Answer(200, b"page"), "expected an entity tag"),
        (Answer(200, b"page", {"ETag": 'W/"weak"'}), "expected an entity tag"),
    ],
)
def test_refusals_of_a_read(server: Server, answer: Answer, words: str) -> None:
    server.plan = always("GET", answer)
    with pytest.raises(LocalError, match=words):
        server.store().get(KEY)


def test_listing_that_is_no_s3_is_unreachable(server: Server) -> None:
    server.plan = lambda at: Answer(200, b"<html>hello")
    with pytest.raises(StoreUnreachable, match="cannot list s3://bucket: the storage failed"):
        list(server.store().list(""))


def test_listing_passes_over_keys_that_are_not_ours(server: Server) -> None:
    assert isinstance(server.backend, FakeS3)
    for key in ("", "private/", "private/a b", ".hidden/x", "private/a", "private//b"):
        server.backend.objects[key] = (b"1", {})
    assert [found.key for found in server.store().list("")] == ["private/a"]


def test_listing_out_of_order_is_refused(server: Server) -> None:
    """As directory buckets do; whoever relies on the order would miss objects."""
    rows = "".join(
        f"<Contents><Key>private/{name}</Key><Size>1</Size>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        for name in "ba"
    )
    text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
    server.plan = lambda at: Answer(200, text.encode(), {"Content-Type": "application/xml"})
    with pytest.raises(LocalError, match="in order"):
        list(server.store().list(""))


def test_delete_asks_first_and_tells_what_it_may_not(server: Server) -> None:
    assert server.store().delete(KEY) is False
    assert server.sent("DELETE") == 0
    server.plan = always("HEAD", refusal(403, ""))
    with pytest.raises(LocalError, match="not allowed"):
        server.store().delete(KEY)


# -- credentials --------------------------------------------------------------------------------


def test_no_credentials(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(LocalError, match="no usable AWS credentials"):
        server.store().get(KEY)


def test_profile_that_does_not_exist(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(LocalError, match="ProfileNotFound"):
        server.store().get(KEY)


# -- writing ------------------------------------------------------------------------------------


def test_put_carries_what_a_bucket_needs_to_deliver_it(server: Server) -> None:
    server.store().put_new(layout.TIMESTAMP, b"{}")
    sent = server.requests[-1].headers
    assert sent["cache-control"] == "no-cache"
    assert sent["content-type"] == "application/json"
    assert sent["if-none-match"] == "*"
    assert sent["content-md5"] == "mZFLkyvTelC5g8XnyQrpOw=="
    assert sent["user-agent"].endswith("blocklist/0.1.0")
    assert not any("checksum" in name or name == "x-amz-trailer" for name in sent)
    assert "test" not in sent["authorization"].partition("Credential=test/")[2]


def test_body_waits_for_the_server_to_want_it(server: Server) -> None:
    """So a lost race costs no upload, and a body that broke off is known not to be stored."""
    store = server.store()
    store.put_new(KEY, b"x" * 1_000_000)
    assert server.requests[-1].headers["expect"] == "100-continue"
    assert store.put_new("private/empty", b"") is True


@pytest.mark.parametrize(
    ("key", "cache", "kind"),
    [
        (layout.TIMESTAMP, "no-cache", "application/json"),
        (f"{layout.METADATA}1.root.json", "public, immutable", "application/json"),
        (f"{layout.TARGETS}demo/hashed/{DIGEST}.list", "public, immutable", "octets"),
        (f"{layout.TARGETS}demo/clear/{DIGEST}.delta-3", "private, immutable", "octets"),
        (f"{layout.TARGETS}hashed/clear/{DIGEST}.list", "private, immutable", "octets"),
        (layout.record_key("demo", DIGEST), "no-store", "application/gzip"),
        (layout.enrolment_key(DIGEST), "no-store", "application/json"),
    ],
)
def test_headers_by_key(key: str, cache: str, kind: str) -> None:
    long = cache.replace("immutable", "max-age=31536000, immutable")
    assert cache_control(key) == long
    assert content_type(key) == kind.replace("octets", "application/octet-stream")
