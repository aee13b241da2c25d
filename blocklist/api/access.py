"""One JSON line for each request, without anything that a request could smuggle in.

The path stands in it only when the answer was good: then it consists of names that exist. Otherwise
the route's pattern does, or nothing. Queries, headers and tokens never do.
"""

import json
import logging
import time

from flask import Flask, Response, g, request

log = logging.getLogger(__name__)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def register(app: Flask) -> None:
    """Log every request of the app."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.begun = time.monotonic()


def _end(answer: Response) -> Response:
    line = {
        "method": request.method if request.method in _METHODS else None,
        "path": _path(answer),
        "status": answer.status_code,
        "bytes": answer.content_length,
        "ms": round((time.monotonic() - g.begun) * 1000, 1),
    }
    log.info("%s", json.dumps(line))
    return answer


def _path(answer: Response) -> str | None:
    if request.url_rule is None:
        return None
    return request.path if answer.status_code < 400 else request.url_rule.rule
