"""Where the demo keeps its objects: a folder, or a real S3 server with a real Redis beside it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from scripts.services.ceph import Ceph
from scripts.services.redis import Redis


class Storage(Protocol):
    """A storage to publish to.

    Attributes:
        url: What BLOCKLIST_STORAGE takes.
        workers: Processes that the API may have on it.
    """

    url: str
    workers: int

    def overwrite(self, key: str, data: bytes) -> None:
        """Put other bytes in place of an object, as somebody who owns the storage can."""


class Folder:
    """A directory: the embedded default."""

    workers = 1

    def __init__(self, folder: Path) -> None:
        self.url = f"file:{folder}"
        self._folder = folder

    def overwrite(self, key: str, data: bytes) -> None:
        """Overwrite the file."""
        (self._folder / key).write_bytes(data)


class Bucket:
    """A bucket on Ceph's S3 gateway, over TLS."""

    workers = 2

    def __init__(self, ceph: Ceph) -> None:
        from scripts.services import buckets  # boto3 is only needed here

        self._s3 = buckets.client(ceph.https, ceph.access_key, ceph.secret_key, ceph.ca_file)
        self._bucket = buckets.new_bucket(self._s3)
        self.url = buckets.storage_url(ceph.https, self._bucket, ceph.ca_file)

    def overwrite(self, key: str, data: bytes) -> None:
        """Overwrite the object, without any condition."""
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=data)


@contextmanager
def opened(name: str, folder: Path) -> Iterator[Storage]:
    """Yield the storage that STORAGE names: `file` or `s3`; servers stop afterwards.

    Raises:
        Unavailable: A server cannot be installed or started here.
    """
    if name != "s3":
        yield Folder(folder / "storage")
        return
    ceph, redis = Ceph(folder / "s3"), Redis(folder / "redis")
    try:
        ceph.start()
        redis.start()
        os.environ |= ceph.environment() | redis.environment()
        yield Bucket(ceph)
    finally:
        redis.stop()
        ceph.discard()
