"""The Flask app, put together. Nothing happens on import; each call makes an independent app."""

import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from flask import Flask, request

from blocklist.api import access, headers, params, problems
from blocklist.api.bucket import BucketRoutes
from blocklist.api.health import HealthRoutes
from blocklist.api.lists import UPDATE_PARAMETERS, ListRoutes
from blocklist.api.reader import Clock, FeedReader
from blocklist.api.services import Services
from blocklist.api.tokens import Tokens
from blocklist.api.updates import Updates
from blocklist.store.port import Store

_PARAMETERS = {"update": UPDATE_PARAMETERS}  # by endpoint; the others take none


class BlocklistApp(Flask):
    """Flask that never logs what an exception or a request says, only where it came from."""

    def log_exception(
        self,
        exc_info: tuple[type, BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> None:
        """Log the type and the places of an exception; its text may hold anything."""
        kind, _, trace = exc_info
        places = "".join(traceback.format_tb(trace))
        self.logger.error("unexpected %s\n%s", kind.__name__ if kind else None, places)


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


def create_app(store: Store, *, root: bytes | None = None, clock: Clock = utc_now) -> Flask:
    """Return the API on a storage; it is first read when the first request comes.

    Args:
        store: The whole storage, `feed/` and `private/`.
        root: The root metadata to pin; None: the storage's first.
        clock: The present time, aware.
    """
    app = BlocklistApp("blocklist.api", static_folder=None, template_folder=None)
    app.url_map.merge_slashes = False  # no redirects, which would repeat the request's host
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    reader = FeedReader(store, root, clock)
    services = Services(reader, Tokens(store, clock), Updates(reader))
    access.register(app)
    headers.register(app)
    problems.register(app)
    app.before_request(_check)
    routes: tuple[Any, ...] = (ListRoutes(services), BucketRoutes(services), HealthRoutes(reader))
    for part in routes:
        part.register(app)
    return app


def _check() -> None:
    """Refuse malformed requests before any route runs, also where there is no route."""
    params.check(request, _PARAMETERS.get(request.endpoint or "", frozenset()))
