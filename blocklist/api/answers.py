"""Answers: JSON documents and bytes, with validators and conditional requests (RFC 9110, 13)."""

import json
from typing import Any

from flask import Response, request

JSON = "application/json"
OCTETS = "application/octet-stream"


def holds(etag: str) -> bool:
    """Tell whether the caller says that it holds what `etag` stands for."""
    return request.if_none_match.contains_weak(etag)


def conditional() -> bool:
    """Tell whether the caller sent `If-None-Match`."""
    return "If-None-Match" in request.headers


def data(body: bytes, media_type: str, cache: str, etag: str | None = None) -> Response:
    """Return bytes, or 304 when the caller holds them."""
    if etag is not None and holds(etag):
        return not_modified(etag, cache)
    answer = Response(body, content_type=media_type)
    answer.headers["Cache-Control"] = cache
    if etag is not None:
        answer.set_etag(etag)
    return answer


def document(value: dict[str, Any], cache: str, etag: str | None = None) -> Response:
    """Return a JSON document, or 304 when the caller holds it."""
    return data(json.dumps(value).encode() + b"\n", JSON, cache, etag)


def not_modified(etag: str, cache: str) -> Response:
    """Return 304 with what it must repeat (RFC 9110, 15.4.5)."""
    answer = Response(status=304)
    answer.headers["Cache-Control"] = cache
    answer.set_etag(etag)
    return answer


def accepts_gzip() -> bool:
    """Tell whether the caller takes gzip."""
    return request.accept_encodings.quality("gzip") > 0
