"""Answers: JSON documents and bytes, with validators and conditional requests (RFC 9110, 13)."""

import json
from collections.abc import Iterator
from typing import Any

from flask import Response, request

from blocklist.api.bodies import Body
from blocklist.api.limits import PIECE_BYTES

JSON = "application/json"
OCTETS = "application/octet-stream"


def holds(etag: str) -> bool:
    """Tell whether the caller says that it holds what `etag` stands for."""
    return request.if_none_match.contains_weak(etag)


def conditional() -> bool:
    """Tell whether the caller sent `If-None-Match`."""
    return "If-None-Match" in request.headers


def whole(body: bytes | Body, media_type: str, cache: str, etag: str | None = None) -> Response:
    """Return bytes, sent piece by piece: a slow reader is one that takes long for a piece.

    A body is kept until it is sent.
    """
    kept = body if isinstance(body, Body) else Body(body)
    large = len(kept.data) > PIECE_BYTES
    answer = Response(_pieces(kept) if large else kept.data, content_type=media_type)
    answer.headers["Content-Length"] = str(len(kept.data))
    answer.headers["Cache-Control"] = cache
    if etag is not None:
        answer.headers["ETag"] = f'"{etag}"'
    return answer


def data(body: bytes | Body, media_type: str, cache: str, etag: str | None = None) -> Response:
    """Return bytes, or 304 when the caller holds them."""
    if etag is not None and holds(etag):
        return not_modified(etag, cache)
    return whole(body, media_type, cache, etag)


def document(value: dict[str, Any], cache: str, etag: str | None = None) -> Response:
    """Return a JSON document, or 304 when the caller holds it."""
    return data(json.dumps(value).encode() + b"\n", JSON, cache, etag)


def not_modified(etag: str, cache: str) -> Response:
    """Return 304 with what it must repeat (RFC 9110, 15.4.5)."""
    return Response(status=304, headers={"Cache-Control": cache, "ETag": f'"{etag}"'})


def accepts_gzip() -> bool:
    """Tell whether the caller takes gzip."""
    return request.accept_encodings.quality("gzip") > 0


def _pieces(body: Body) -> Iterator[bytes]:
    for at in range(0, len(body.data), PIECE_BYTES):
        yield body.data[at : at + PIECE_BYTES]
