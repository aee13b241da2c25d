"""One JSON line for each request, without anything that a request could smuggle in; and counts.

The path stands in it only when the answer was good: then it consists of names that exist. Otherwise
the route's pattern does, or nothing. Queries, headers and tokens never do. A request keeps the id
that it came with, if that is harmless, so that it can be followed through a proxy's log.
"""

import itertools
import json
import logging
import re
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime

from flask import Flask, Response, g, request

from blocklist.api.metrics import Metrics

log = logging.getLogger(__name__)

REQUEST_ID = "X-Request-Id"

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PROCESS_CHARS = 12  # of an id: which process of which machine it was


class Access:
    """Logs and counts every request of an app.

    Args:
        metrics: Where they are counted.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._new_id = _ids()

    def register(self, app: Flask) -> None:
        """Begin with the app's next request."""
        app.before_request(self._begin)
        app.after_request(self._end)

    def _begin(self) -> None:
        g.begun = time.monotonic()
        given = request.headers.get(REQUEST_ID, "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else self._new_id()

    def _end(self, answer: Response) -> Response:
        answer.headers[REQUEST_ID] = g.request_id
        rule = request.url_rule.rule if request.url_rule is not None else None
        method = request.method if request.method in _METHODS else None
        waited = g.get("waited", 0.0)
        seconds = time.monotonic() - g.begun - waited
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": g.request_id,
            "method": method,
            "path": request.path if rule is not None and answer.status_code < 400 else rule,
            "status": answer.status_code,
            "bytes": answer.content_length,
            "ms": round(seconds * 1000, 1),
            "waited_ms": round(waited * 1000),
        }
        log.info("%s", json.dumps(line))
        self._metrics.answered(rule or "none", method or "other", answer.status_code, seconds)
        return answer


def refused(status: int) -> str:
    """Log a request that the server could not read; return the id it gets."""
    request_id = secrets.token_hex(_PROCESS_CHARS)
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    log.info("%s", json.dumps({"time": at, "request_id": request_id, "status": status}))
    return request_id


def _ids() -> Callable[[], str]:
    """Return a source of ids that nobody else has; without a system call for each."""
    process = secrets.token_hex(_PROCESS_CHARS // 2)
    numbers = itertools.count(1)
    return lambda: f"{process}-{next(numbers)}"
