"""Every error as `application/problem+json` (RFC 9457), from one table.

`type` is a relative reference that stays the same for ever; `detail` is a fixed sentence of ours.
No answer repeats anything of the request, and none shows what went wrong inside.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from flask import Flask, Response
from werkzeug.exceptions import HTTPException, InternalServerError

from blocklist.api.live import NotServable
from blocklist.core.errors import BlocklistError, LocalError, StoreError

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem.

    Attributes:
        slug: Last segment of its `type`.
        status: HTTP status.
        title: What it is, the same every time.
    """

    slug: str
    status: int
    title: str


BAD_REQUEST = Kind("bad-request", 400, "The request is not valid")
TOKEN_IN_QUERY = Kind("token-in-query", 400, "A token must not stand in the URL")
NOT_AUTHENTICATED = Kind("not-authenticated", 401, "A valid token is needed")
OUTSIDE_SCOPE = Kind("outside-scope", 403, "The token is not for this")
NOT_FOUND = Kind("not-found", 404, "There is no such thing")
NOT_RELEASED = Kind("not-released", 404, "Nothing has been released yet")
METHOD_NOT_ALLOWED = Kind("method-not-allowed", 405, "Only GET and HEAD are understood")
NOT_ACCEPTABLE = Kind("not-acceptable", 406, "There is no such form of it")
BODY_NOT_ALLOWED = Kind("body-not-allowed", 413, "A request must not have a body")
URI_TOO_LONG = Kind("uri-too-long", 414, "The request line is too long")
TOO_MANY_REQUESTS = Kind("too-many-requests", 429, "There were too many requests")
HEADERS_TOO_LARGE = Kind("headers-too-large", 431, "The request header is too large")
INTERNAL = Kind("internal-error", 500, "Something unexpected went wrong")
STORAGE = Kind("storage-unavailable", 503, "The storage does not answer")
BUSY = Kind("busy", 503, "There is too much to do just now")
NOT_READY = Kind("not-ready", 503, "There is no verified state to serve")

_BY_STATUS = {
    kind.status: kind
    for kind in (
        BAD_REQUEST, NOT_FOUND, METHOD_NOT_ALLOWED, BODY_NOT_ALLOWED, URI_TOO_LONG,
        HEADERS_TOO_LARGE, INTERNAL,
    )
}  # fmt: skip


class Problem(Exception):
    """An answer that ends a request.

    Args:
        kind: What it is.
        detail: A fixed sentence, nothing of the request.
        headers: Headers that belong to it.
    """

    def __init__(self, kind: Kind, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})


def response(
    kind: Kind, detail: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the answer for a problem."""
    more = dict(headers or {})
    return Response(body(kind, detail), kind.status, more, content_type=MEDIA_TYPE)


def body(kind: Kind, detail: str | None = None) -> bytes:
    """Return the document of a problem."""
    document = {"type": f"/problems/{kind.slug}", "title": kind.title, "status": kind.status}
    if detail is not None:
        document["detail"] = detail
    return json.dumps(document).encode() + b"\n"


def of_status(status: int) -> Kind:
    """Return the kind for a status of the server or the framework."""
    return _BY_STATUS.get(status, Kind("refused", status, "The request is refused"))


def register(app: Flask) -> None:
    """Make every error of the app a problem document; the unexpected ones are logged by the app."""
    app.register_error_handler(Problem, _problem)
    app.register_error_handler(NotServable, lambda _: response(NOT_READY, headers=_SOON))
    app.register_error_handler(StoreError, lambda error: _storage(app, error))
    app.register_error_handler(LocalError, lambda error: _storage(app, error))
    app.register_error_handler(HTTPException, _http)


_SOON = {"Retry-After": "5"}


def _problem(error: Problem) -> Response:
    return response(error.kind, error.detail, error.headers)


def _storage(app: Flask, error: BlocklistError) -> Response:
    app.logger.error("the storage failed: %s", error)
    return response(STORAGE, headers=_SOON)


def _http(error: HTTPException) -> Response:
    """Answer what the framework refused, and what nobody foresaw."""
    kept = {k: v for k, v in error.get_headers() if k == "Allow"}
    return response(of_status(error.code or InternalServerError.code), headers=kept)
