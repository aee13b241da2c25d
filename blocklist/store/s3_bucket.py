"""Single requests on the objects of a bucket below a prefix.

Each write carries a *nonce* of its call in the object's metadata, by which `s3_write` knows its own
object again. A body is one PUT, never multipart: conditions on a multipart upload are judged only
when it completes, and not by every server; 1 GiB, our largest object, is well below S3's 5 GiB.
"""

import io
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC
from hashlib import md5
from typing import Any

from botocore.exceptions import ClientError

from blocklist.core.errors import InputError, LocalError, StoreUnreachable, TooLarge
from blocklist.store.port import Listed, Object, validate_key
from blocklist.store.s3_client import Clients, Patience
from blocklist.store.s3_errors import (
    Fate,
    RequestFailed,
    failures,
    is_missing,
    is_missing_head,
    request,
)
from blocklist.store.s3_headers import cache_control, content_type
from blocklist.store.s3_url import S3Location

NONCE = "blocklist-write"  # x-amz-meta-blocklist-write

_ETAG = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")  # inside the quotes; MD5 with most servers


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of an object without its bytes.

    Attributes:
        etag: Its entity tag, without quotes.
        nonce: Of the call that wrote it; None when the server keeps no metadata.
    """

    etag: str
    nonce: str | None


class Bucket:
    """A bucket below a prefix. Keys are those of the port, already validated.

    All methods raise StoreUnreachable and LocalError as `s3_errors.failures` says, `put` excepted.

    Args:
        location: Where it is.
        patience: How long to wait for it.
    """

    def __init__(self, location: S3Location, patience: Patience) -> None:
        self.name = location.name
        self.patience = patience
        self._place = location
        self._clients = Clients(location, patience)

    def head(self, key: str) -> Head | None:
        """Return what is known of an object, None when there is none."""
        with failures("read", self._what(key)):
            try:
                answer = self._clients.reading.head_object(**self._at(key))
            except ClientError as error:
                if is_missing_head(error):
                    return None
                raise
        return Head(self._token(answer, key), answer.get("Metadata", {}).get(NONCE))

    def get(self, key: str, limit: int) -> Object | None:
        """Return an object and the token of the same answer, None when there is none.

        botocore sends a request again, but not when the body of its answer breaks off: we do.

        Raises:
            TooLarge: It has more than `limit` bytes; they were not read.
        """
        for _ in self.patience.tries(self.patience.reads):
            answer = self._opened(key)
            if answer is None:
                return None
            with suppress(RequestFailed), request("read", self._what(key)):
                return Object(_whole(answer, key, limit), self._token(answer, key))
        raise StoreUnreachable(
            f"cannot read {self._what(key)}: the connection breaks in mid-object"
        )

    def put(self, key: str, data: bytes, nonce: str, conditions: Mapping[str, str]) -> str:
        """Send one PUT, once, and return the new entity tag.

        Args:
            key: Where.
            data: The whole object.
            nonce: Of the call.
            conditions: `IfMatch` or `IfNoneMatch`, or neither.

        Raises:
            RequestFailed: What became of it is in there.
        """
        body = io.BytesIO(data)
        digest = md5(data, usedforsecurity=False).digest()  # S3's check of the transmission
        try:
            with request("write", self._what(key)):
                answer = self._clients.writing.put_object(
                    **self._at(key),
                    Body=body,
                    ContentMD5=b64encode(digest).decode(),
                    ContentType=content_type(key),
                    CacheControl=cache_control(key),
                    Metadata={NONCE: nonce},
                    **conditions,
                )
        except RequestFailed as failed:
            unsent = body.tell() < len(data)  # boto3 asks for "100 Continue" first
            if unsent and failed.fate in {Fate.UNHEARD, Fate.PENDING}:
                raise RequestFailed(Fate.NOTHING, failed.failure) from failed.__cause__
            raise
        if not is_etag(_etag(answer)):
            raise RequestFailed(Fate.UNHEARD, self._no_etag(key))
        return _etag(answer)

    def list(self, prefix: str) -> Iterator[Listed]:
        """Iterate over the objects whose key begins with `prefix`; foreign keys are passed over."""
        last: str | None = None
        for found in self._contents(prefix):
            key = found["Key"].removeprefix(self._place.prefix)
            if last is not None and key <= last:
                raise LocalError(f"expected {self.name} to list keys in order, it does not")
            last = key
            if _is_legal(key):
                yield Listed(key, found["Size"], found["LastModified"].astimezone(UTC))

    def delete(self, key: str) -> None:
        """Delete an object; there may be none."""
        with failures("delete", self._what(key)):
            self._clients.reading.delete_object(**self._at(key))

    def _opened(self, key: str) -> dict[str, Any] | None:
        with failures("read", self._what(key)):
            try:
                answer: dict[str, Any] = self._clients.reading.get_object(**self._at(key))
            except ClientError as error:
                if is_missing(error):
                    return None
                raise
        return answer

    def _contents(self, prefix: str) -> Iterator[dict[str, Any]]:
        with failures("list", self._what(prefix)):
            pages = self._clients.reading.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._place.bucket, Prefix=self._full(prefix)):
                yield from page.get("Contents", ())

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._place.bucket, "Key": self._full(key)}

    def _full(self, key: str) -> str:
        return self._place.prefix + key

    def _what(self, key: str) -> str:
        return f"{key} in {self.name}" if key else self.name

    def _token(self, answer: Mapping[str, Any], key: str) -> str:
        if not is_etag(_etag(answer)):
            raise self._no_etag(key)
        return _etag(answer)

    def _no_etag(self, key: str) -> LocalError:
        return LocalError(f"expected an entity tag with {self._what(key)}: is there a proxy?")


def is_etag(text: str) -> bool:
    """Tell whether a condition may name this entity tag; `*` and nothing would match anything."""
    return _ETAG.fullmatch(text) is not None


def _etag(answer: Mapping[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')


def _whole(answer: Mapping[str, Any], key: str, limit: int) -> bytes:
    """Read a body that is within the limit; otherwise drop the connection."""
    length = answer.get("ContentLength")
    with closing(answer["Body"]) as body:
        if length is None:
            data: bytes = body.read(limit + 1)
            length = len(data)
        elif length <= limit:
            data = body.read()  # checks that it is as long as announced
    if length > limit:
        raise TooLarge(f"expected at most {limit} bytes in {key}, got {length}")
    return data


def _is_legal(key: str) -> bool:
    try:
        validate_key(key)
    except InputError:
        return False
    return True
