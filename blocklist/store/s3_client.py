"""boto3, set up for what we need; made when it is first used.

Two clients, because requests differ in what a repetition may mean:

- `reading` for requests that may be repeated at will (reads, lists, deletes): botocore repeats
  them (its mode "standard": connection errors, timeouts, 5xx, throttling; with jitter).
- `writing` sends every request once. Conditional writes are repeated by `s3_write`, which has to
  know that they were.

Nothing is made before the first use: gevent has patched by then, and forks have happened. Signature
version 4. No checksum trailers, which others than AWS refuse over TLS: puts have Content-MD5.
"""

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config

from blocklist.core.errors import InputError
from blocklist.store.s3_errors import failures
from blocklist.store.s3_url import S3Location
from blocklist.version import VERSION

MAX_CONNECTIONS = 64  # kept open by each client; more are opened and closed again
DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the storage is waited for.

    Attributes:
        connect_seconds: For a connection.
        answer_seconds: For the next byte of an answer.
        reads: How often a read is sent at most.
        writes: How often a conditional write is sent at most.
        total_seconds: After this long nothing is sent again.
        first_pause_seconds, longest_pause_seconds: Upper bound of the random pause before the
            second request; doubles up to the longest.
    """

    connect_seconds: float = 5.0
    answer_seconds: float = 30.0
    reads: int = 4
    writes: int = 6
    total_seconds: float = 120.0
    first_pause_seconds: float = 0.2
    longest_pause_seconds: float = 3.0

    def tries(self, times: int) -> Iterator[None]:
        """Give at most `times` turns, with a random pause before each but the first."""
        give_up, pause = time.monotonic() + self.total_seconds, self.first_pause_seconds
        for number in range(times):
            if number:
                if time.monotonic() > give_up:
                    return
                time.sleep(random.uniform(0, pause))  # noqa: S311 - jitter
                pause = min(2 * pause, self.longest_pause_seconds)
            yield


class Clients:
    """The clients of one storage; safe for threads, each is made once.

    Args:
        location: Where the storage is.
        patience: How long to wait for it.
    """

    def __init__(self, location: S3Location, patience: Patience) -> None:
        self._location = location
        self._patience = patience
        self._lock = threading.RLock()

    @property
    def reading(self) -> Any:
        """The client that repeats requests."""
        with self._lock:
            return self._reading

    @property
    def writing(self) -> Any:
        """The client that sends every request once."""
        with self._lock:
            return self._writing

    @cached_property
    def _reading(self) -> Any:
        return self._made(self._patience.reads)

    @cached_property
    def _writing(self) -> Any:
        return self._made(1)

    @cached_property
    def _session(self) -> Any:
        return boto3.session.Session()  # own: boto3's default one is not safe for threads

    def _made(self, attempts: int) -> Any:
        where = self._location
        with failures("use", where.name):
            try:
                return self._session.client(
                    "s3",
                    endpoint_url=where.endpoint_url,
                    region_name=where.region or self._session.region_name or DEFAULT_REGION,
                    verify=str(where.ca_file) if where.ca_file else None,
                    config=self._config(attempts),
                )
            except ValueError as error:  # what botocore says of an endpoint
                raise InputError("expected an endpoint_url that boto3 takes") from error

    def _config(self, attempts: int) -> Config:
        usual = "path" if self._location.endpoint_url else "auto"
        style: Any = {"addressing_style": self._location.addressing or usual}
        return Config(
            signature_version="s3v4",
            s3=style,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            connect_timeout=self._patience.connect_seconds,
            read_timeout=self._patience.answer_seconds,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=MAX_CONNECTIONS,
            tcp_keepalive=True,
            user_agent_extra=f"blocklist/{VERSION}",
        )
