"""Real Redis, S3 and nginx for tests, and how many cases ran on each.

A service that cannot be had here (no root, no Debian) makes its tests skip, loudly; where
BLOCKLIST_REQUIRE_SERVICES is set, as CI does, it makes them fail. BLOCKLIST_TEST_S3_ENDPOINT names
another S3 server to use, with BLOCKLIST_TEST_S3_CA_FILE and the usual AWS credentials.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

import pytest

from scripts.services import buckets, install
from scripts.services.ceph import Ceph
from scripts.services.install import Unavailable
from scripts.services.redis import Redis

REQUIRED = "BLOCKLIST_REQUIRE_SERVICES"
ENDPOINT = "BLOCKLIST_TEST_S3_ENDPOINT"
CA_FILE = "BLOCKLIST_TEST_S3_CA_FILE"
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
USED = "service"

_ran: Counter[str] = Counter()
_missing: set[str] = set()


class Service(Protocol):
    """What `scripts.services` has."""

    def start(self) -> None:
        """Start it and wait until it answers."""

    def stop(self) -> None:
        """Stop it."""


@dataclass(frozen=True)
class S3Server:
    """A real S3 server, by its endpoints.

    Attributes:
        endpoints: By scheme, `http` and `https`.
        ca_file: What to trust over TLS.
        environment: Variables with the credentials, for programs.
        ceph: The server itself, when it is ours.
    """

    endpoints: Mapping[str, str]
    ca_file: Path | None
    environment: Mapping[str, str]
    ceph: Ceph | None

    def client(self, scheme: str = "http") -> Any:
        """Return a client that trusts the server."""
        keys = (self.environment[name] for name in CREDENTIALS)
        return buckets.client(self.endpoints[scheme], *keys, self.ca_file)

    def new_bucket(self) -> str:
        """Make an empty bucket and return its name."""
        return buckets.new_bucket(self.client(next(iter(self.endpoints))))

    def url(self, bucket: str, scheme: str = "https", prefix: str = "", **more: str) -> str:
        """Return the BLOCKLIST_STORAGE that names a bucket of the server."""
        return buckets.storage_url(self.endpoints[scheme], bucket, self.ca_file, prefix, **more)


def used(request: pytest.FixtureRequest, service: str) -> None:
    """Count the test for the summary: `S3 over http`, `S3 over TLS`, `Redis`, `nginx`."""
    request.node.user_properties.append((USED, service))


def started(service: Service, what: str) -> None:
    """Start a service, or end the test: skipped, and failed where services are required."""
    try:
        service.start()
    except Unavailable as error:
        absent(what, str(error))


def program(name: str, package: str) -> str:
    """Return the path of a program, installed if need be, or end the test."""
    try:
        install.require((name,), (package,))
    except Unavailable as error:
        absent(name, str(error))
    return str(install.find(name))


def absent(what: str, why: str) -> NoReturn:
    """End the test because a service is missing: the only place where a test is left out.

    A person without root cannot install Ceph or nginx, and may name an S3 server that lacks what a
    test needs; the other tests are still worth running there. The summary names what did not run.
    Where services are required, as in CI, the test fails instead.
    """
    _missing.add(f"{what}: {why}")
    if os.environ.get(REQUIRED):
        pytest.fail(f"expected a real {what}: {why}", pytrace=False)
    pytest.skip(f"no real {what}: {why}")


@pytest.fixture(scope="session", name="s3_server")
def _s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The S3 server of the whole run; tests use buckets of their own."""
    endpoint = os.environ.get(ENDPOINT)
    if endpoint is not None:
        yield _other(endpoint)
        return
    ceph = Ceph(tmp_path_factory.mktemp("s3") / "state")
    try:
        started(ceph, "S3 server")
        yield _ours(ceph)
    finally:
        ceph.discard()


def _ours(ceph: Ceph) -> S3Server:
    environment = {name: ceph.environment()[name] for name in CREDENTIALS}
    return S3Server({"http": ceph.http, "https": ceph.https}, ceph.ca_file, environment, ceph)


def _other(endpoint: str) -> S3Server:
    ca_file = os.environ.get(CA_FILE)
    environment = {name: os.environ[name] for name in CREDENTIALS}
    scheme = endpoint.partition(":")[0]
    return S3Server({scheme: endpoint}, Path(ca_file) if ca_file else None, environment, None)


@pytest.fixture(params=["http", "https"], name="scheme")
def _scheme(request: pytest.FixtureRequest, s3_server: S3Server) -> str:
    """Run the test over http and over TLS."""
    scheme: str = request.param
    if scheme not in s3_server.endpoints:
        absent(f"S3 over {scheme}", "the server that was named does not speak it")
    used(request, "S3 over TLS" if scheme == "https" else "S3 over http")
    return scheme


@pytest.fixture(scope="session", name="redis_session")
def _redis_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    redis = Redis(tmp_path_factory.mktemp("redis"))
    try:
        started(redis, "Redis")
        yield redis
    finally:
        redis.stop()


@pytest.fixture(name="redis_server")
def _redis_server(request: pytest.FixtureRequest, redis_session: Redis) -> Redis:
    """The Redis of the whole run, empty; who stops it makes one of their own (`own_redis`)."""
    used(request, "Redis")
    redis_session.flush()
    return redis_session


@pytest.fixture(name="own_redis")
def _own_redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Redis]:
    """A running Redis that the test may stop, kill and start again."""
    used(request, "Redis")
    redis = Redis(tmp_path / "redis")
    try:
        started(redis, "Redis")
        yield redis
    finally:
        redis.stop()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count the cases that passed on each real service."""
    if report.when == "call" and report.passed:
        _ran.update({value for key, value in report.user_properties if key == USED})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many cases ran on each real service, and which of them was missing."""
    for what in sorted(_ran):
        terminalreporter.write_line(f"real {what}: {_ran[what]} cases passed")
    for what in sorted(_missing):
        terminalreporter.write_line(f"NOT RUN, no real {what}", red=True)
