"""The S3 store: objects in a bucket of S3, or of a service that speaks its language.

    s3_url       where: the URL, read strictly
    s3_client    boto3, made lazily: a client that repeats requests, one that never does
    s3_errors    what a failed request means
    s3_bucket    single requests
    s3_write     one conditional write, sent until it is known what became of it
    s3_probe     how the storage does conditional writes; asked before the first write

How the contract of `Store` is kept: `put_new` is a PUT with `If-None-Match: *`, `replace_if` one
with `If-Match`; the server decides races. Tokens are entity tags. `get` takes bytes and tag from
one answer. S3 is durable and consistent on return (AWS since 2020, Ceph).

A storage that ignores or refuses conditions is not written to, unless `single_writer` says that
one process at a time ever writes: then we look, and write. Reading never probes and never writes.
"""

import threading
from collections.abc import Iterator

from blocklist.core.errors import LocalError
from blocklist.store.port import (
    DEFAULT_OBJECT_LIMIT,
    Findings,
    Listed,
    Object,
    validate_key,
    validate_prefix,
)
from blocklist.store.s3_bucket import Bucket, is_etag
from blocklist.store.s3_client import Patience
from blocklist.store.s3_probe import findings, probe, sweep
from blocklist.store.s3_url import S3Location
from blocklist.store.s3_write import Conditions, Write


class S3Store:
    """A `Store` in a bucket; the bucket must exist. Safe for threads and greenlets.

    Args:
        location: Where it is.
        single_writer: Also write where conditional writes cannot be relied on.
        patience: How long to wait for it.
    """

    def __init__(
        self,
        location: S3Location,
        *,
        single_writer: bool = False,
        patience: Patience = Patience(),  # noqa: B008 - frozen
    ) -> None:
        self._bucket = Bucket(location, patience)
        self._single_writer = single_writer
        self._probing = threading.Lock()
        self._found: Conditions | None = None

    @property
    def name(self) -> str:
        """What people call the storage: `s3://bucket/prefix`."""
        return self._bucket.name

    def get(self, key: str, *, limit: int = DEFAULT_OBJECT_LIMIT) -> Object | None:
        """Return the object, or None when there is none; see `Store.get`."""
        validate_key(key)
        return self._bucket.get(key, limit)

    def put_new(self, key: str, data: bytes) -> bool:
        """Create the object; see `Store.put_new`."""
        validate_key(key)
        return Write(self._bucket, key, data, None, self._conditions()).run() is not None

    def replace_if(self, key: str, data: bytes, token: str) -> str | None:
        """Replace the object if it is still the one of `token`; see `Store.replace_if`."""
        validate_key(key)
        if not is_etag(token):  # never given by us; as a condition it might match anything
            return None
        return Write(self._bucket, key, data, token, self._conditions()).run()

    def list(self, prefix: str) -> Iterator[Listed]:
        """Iterate over the objects whose key begins with `prefix`; see `Store.list`."""
        validate_prefix(prefix)
        return self._bucket.list(prefix)

    def delete(self, key: str) -> bool:
        """Delete the object; see `Store.delete`."""
        validate_key(key)
        if self._bucket.head(key) is None:
            return False
        self._bucket.delete(key)
        return True

    def probe(self) -> Findings:
        """Return how the storage does conditional writes; see `Probing.probe`."""
        with self._probing:
            if self._found is None:
                self._found = probe(self._bucket)
                sweep(self._bucket)
        return findings(self._bucket.name, self._found, single_writer=self._single_writer)

    def _conditions(self) -> Conditions:
        """Return how to write.

        Raises:
            LocalError: The storage is not one that we write to.
        """
        told = self.probe()
        if not told.usable:
            raise LocalError(told.warning or told.conditions)
        return Conditions(told.conditions)
