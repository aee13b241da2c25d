"""The S3 store on a real server: its dialect, headers as stored, many keys, refusals, gevent."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from blocklist.core.errors import BlocklistError, LocalError
from blocklist.store import layout
from blocklist.store.open import open_store
from blocklist.store.port import Probing, Store
from tests.cli_kit import ROOT, World
from tests.services import CREDENTIALS, S3Server

PAGE = 1000
GREENLETS = """
import sys
from gevent import monkey
monkey.patch_all()
import gevent
from blocklist.store.open import open_store

store = open_store(sys.argv[1])

def race(number):
    won = [store.put_new(f"private/race/{key}", b"%d" % number) for key in range(5)]
    found = [store.get(f"private/race/{key}") for key in range(5)]
    assert all(found)
    return won

jobs = [gevent.spawn(race, number) for number in range(40)]
gevent.joinall(jobs, raise_error=True)
for key in range(5):
    assert sum(job.value[key] for job in jobs) == 1, key
print("one winner each")
"""


@pytest.fixture
def url(s3_server: S3Server, scheme: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in CREDENTIALS:
        monkeypatch.setenv(name, s3_server.environment[name])
    return s3_server.url(s3_server.new_bucket(), scheme, "team/lists")


@pytest.fixture
def store(url: str) -> Store:
    return open_store(url)


def bucket_of(url: str) -> str:
    return url.removeprefix("s3://").partition("/")[0]


def test_dialect_is_found(store: Store, s3_server: S3Server) -> None:
    assert isinstance(store, Probing)
    found = store.probe()
    assert found.usable
    if s3_server.ceph is not None:
        assert found.conditions == "If-Match bare"
    assert list(store.list("")) == []


def test_objects_are_stored_with_what_delivers_them(
    store: Store, url: str, s3_server: S3Server, scheme: str
) -> None:
    store.put_new(layout.TIMESTAMP, b"{}")
    head = s3_server.client(scheme).head_object(
        Bucket=bucket_of(url), Key=f"team/lists/{layout.TIMESTAMP}"
    )
    assert (head["CacheControl"], head["ContentType"]) == ("no-cache", "application/json")


def test_listing_goes_on_after_a_page(
    store: Store, url: str, s3_server: S3Server, scheme: str
) -> None:
    boto, bucket = s3_server.client(scheme), bucket_of(url)
    wanted = [f"private/many/{number:04d}" for number in range(PAGE + 5)]

    def put(key: str) -> None:
        boto.put_object(Bucket=bucket, Key=f"team/lists/{key}", Body=b"1")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, wanted))
    assert [found.key for found in store.list("private/many/")] == wanted


@pytest.mark.parametrize(
    ("name", "value"),
    [("AWS_ACCESS_KEY_ID", "NOBODY"), ("AWS_SECRET_ACCESS_KEY", "sesame")],
)
def test_wrong_credentials_are_said_and_not_shown(
    url: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    store = open_store(url)
    for use in (
        lambda: store.get("private/a"),
        lambda: store.put_new("private/a", b"1"),
        lambda: store.delete("private/a"),
        lambda: list(store.list("")),
    ):
        with pytest.raises(LocalError, match=r"not accepted|not allowed") as refused:
            use()
        assert value not in str(refused.value)


def test_missing_bucket_is_said(url: str) -> None:
    store = open_store(url.replace("s3://test-", "s3://none-"))
    for use in (
        lambda: store.get("private/a"),
        lambda: store.put_new("private/a", b"1"),
        lambda: list(store.list("")),
    ):
        with pytest.raises(LocalError, match="no such bucket"):
            use()


def test_certificate_that_is_not_trusted(url: str, scheme: str) -> None:
    if scheme == "http":
        other, expected = url.replace("http%3A", "https%3A"), "TLS connection broke"
    else:
        other, expected = url.partition("&ca_file=")[0], "not trusted"
    with pytest.raises(BlocklistError, match=expected):
        open_store(other).get("private/a")


def test_forty_greenlets_share_a_client(url: str, s3_server: S3Server) -> None:
    world = World(Path.cwd(), dict(s3_server.environment))
    done = subprocess.run(
        [sys.executable, "-c", GREENLETS, url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=world.env(),
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout) == (0, "one winner each\n"), done.stderr
