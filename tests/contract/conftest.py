"""The adapters that the contract suite holds to the port, each as a way to open it again."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TypeVar

import boto3
import pytest
from moto import mock_aws

from blocklist.store.directory import DirectoryStore
from blocklist.store.open import open_store
from blocklist.store.port import Store
from blocklist.store.prefixed import Prefixed
from scripts.services import buckets
from tests.fakes import FaultyStore, MemoryStore
from tests.s3_kit import quick_sessions
from tests.services import S3Server, absent, used

WRITERS = 8
MOTO = "moto"
NEIGHBOURS = ("/", ".json", "-x/x", "a")

Open = Callable[[], Store]
"""Opens the same empty storage once more, as another process would."""

Adapter = Callable[[pytest.FixtureRequest, Path], Open]
Result = TypeVar("Result")


def _directory(request: pytest.FixtureRequest, folder: Path) -> Open:
    return lambda: DirectoryStore(folder / "store")


def _memory(request: pytest.FixtureRequest, folder: Path) -> Open:
    store = MemoryStore()
    return lambda: store


def _prefixed(request: pytest.FixtureRequest, folder: Path) -> Open:
    """A view into a store with neighbours that no test may see or hit."""
    inner = DirectoryStore(folder / "store")
    for neighbour in ("view.json", "vie/x", "view-x/x", "viewa"):
        assert inner.put_new(f"private/{neighbour}", b"neighbour")
    return lambda: Prefixed(DirectoryStore(folder / "store"), "private/view/")


def _faultless(request: pytest.FixtureRequest, folder: Path) -> Open:
    inner = _directory(request, folder)
    return lambda: FaultyStore(inner())


def _moto(request: pytest.FixtureRequest, folder: Path) -> Open:
    bucket = request.getfixturevalue("moto_bucket")
    return lambda: open_store(f"s3://{bucket}/team/view")


def _s3(scheme: str, prefix: str = "") -> Adapter:
    """Real S3, with neighbours of the prefix that no test may see or hit."""

    def adapter(request: pytest.FixtureRequest, folder: Path) -> Open:
        server: S3Server = request.getfixturevalue("s3_server")
        if scheme not in server.endpoints:
            absent(f"S3 over {scheme}", "the server that was named does not speak it")
        used(request, "S3 over TLS" if scheme == "https" else "S3 over http")
        for name, value in server.environment.items():
            request.getfixturevalue("monkeypatch").setenv(name, value)
        boto = server.client(scheme)
        bucket = buckets.new_bucket(boto)
        for neighbour in NEIGHBOURS if prefix else ():
            boto.put_object(Bucket=bucket, Key=prefix + neighbour, Body=b"x")
        return lambda: open_store(server.url(bucket, scheme, prefix))

    return adapter


ADAPTERS: dict[str, Adapter] = {
    "directory": _directory,
    "memory": _memory,
    "prefixed": _prefixed,
    "faultless": _faultless,
    MOTO: _moto,
    "s3": _s3("http"),
    "s3-tls-prefix": _s3("https", "team/view"),
}


@pytest.fixture(autouse=True)
def _quick_sessions() -> Iterator[None]:
    with quick_sessions():
        yield


@pytest.fixture
def moto_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return a bucket of an S3 that exists in this process only."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        boto3.session.Session().client("s3").create_bucket(Bucket="moto-bucket")
        yield "moto-bucket"


@pytest.fixture(params=sorted(ADAPTERS))
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Return what opens the storage under test."""
    return ADAPTERS[request.param](request, tmp_path)


@pytest.fixture
def store(open_again: Open) -> Store:
    """Return one client of the storage under test; the storage exists and is empty."""
    store = open_again()
    assert store.put_new("private/first", b"makes the root")
    assert store.delete("private/first")
    return store


def together(count: int, work: Callable[[int], Result]) -> list[Result]:
    """Run `work(0)` .. `work(count - 1)` in as many threads, begun at the same moment."""
    barrier = Barrier(count)

    def run(number: int) -> Result:
        barrier.wait(timeout=30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return [job.result() for job in [pool.submit(run, number) for number in range(count)]]
