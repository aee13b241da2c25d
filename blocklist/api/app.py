"""The Flask app, put together. Nothing happens on import; each call makes an independent app.

An app looks at the storage when it is asked. `start` gives it what a serving process has: jobs in
the background that watch the head, so that requests need not, and polls that are held until there
is news. `stop` ends that.
"""

import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from flask import Flask, request
from werkzeug.middleware.proxy_fix import ProxyFix

from blocklist.api import headers, params, problems
from blocklist.api.access import Access
from blocklist.api.authorise import AuthoriseRoutes
from blocklist.api.background import Background
from blocklist.api.board.board import FLUSH_SECONDS as BOARD_SECONDS
from blocklist.api.board.board import Board
from blocklist.api.board.routes import BoardRoutes
from blocklist.api.bucket import BucketRoutes
from blocklist.api.counting import CountingStore
from blocklist.api.diffing.diffs import Diffs
from blocklist.api.diffing.routes import DIFF_PARAMETERS, DiffRoutes
from blocklist.api.enrolment import EnrolmentRoutes
from blocklist.api.health import HealthRoutes
from blocklist.api.limiter import FLUSH_SECONDS as LIMITER_SECONDS
from blocklist.api.limiter import Limiter
from blocklist.api.limits import TOKEN_REFRESH_SECONDS, WATCH_SECONDS
from blocklist.api.lists import UPDATE_PARAMETERS, ListRoutes
from blocklist.api.metrics import Metrics, MetricsRoutes, Seen
from blocklist.api.openapi import OpenApiRoutes
from blocklist.api.reader import Clock, FeedReader
from blocklist.api.services import Services
from blocklist.api.settings import ApiSettings
from blocklist.api.tokens import Tokens
from blocklist.api.updates import Updates
from blocklist.api.watch import Watcher
from blocklist.store.port import Store
from blocklist.store.shared import SharedState

_PARAMETERS = {"update": UPDATE_PARAMETERS, "diff": DIFF_PARAMETERS}  # the others take none
_EXTENSION = "blocklist"
_FIGURES_SECONDS = 1.0


class BlocklistApp(Flask):
    """Flask that never logs what an exception or a request says, only where it came from."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function: all of ours are plain ones, and it is asked on every request."""
        return func

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


def create_app(
    store: Store,
    *,
    root: bytes | None = None,
    clock: Clock = utc_now,
    settings: ApiSettings | None = None,
    shared: SharedState | None = None,
) -> Flask:
    """Return the API on a storage; it is first read when the first request comes.

    Args:
        store: The whole storage, `feed/` and `private/`.
        root: The root metadata to pin; None: the storage's first.
        clock: The present time, aware.
        settings: What the operator set; None: nothing.
        shared: What several processes tell each other; None: there is only this one.
    """
    settings = settings or ApiSettings()
    app = BlocklistApp("blocklist.api", static_folder=None, template_folder=None)
    app.url_map.merge_slashes = False  # no redirects, which would repeat the request's host
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    if settings.trusted_proxies:
        # a method of Flask meant to be replaced, as its documentation says
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=settings.trusted_proxies, x_proto=0, x_host=0
        )
    services = _services(store, root, clock, settings, shared)
    app.extensions[_EXTENSION] = services
    Access(services.metrics).register(app)
    headers.register(app)
    problems.register(app)
    app.before_request(_check)
    for part in _routes(services, store, shared):
        part.register(app)
    return app


def start(app: Flask) -> None:
    """Begin the work in the background; from now on requests may wait for news."""
    services: Services = app.extensions[_EXTENSION]
    services.watcher.open()
    services.background.start()


def stop(app: Flask) -> None:
    """Answer all who wait, now, and end the work in the background."""
    services: Services = app.extensions[_EXTENSION]
    services.watcher.close()
    services.background.stop()


def _services(
    store: Store,
    root: bytes | None,
    clock: Clock,
    settings: ApiSettings,
    shared: SharedState | None,
) -> Services:
    metrics = Metrics()
    counted = CountingStore(store, metrics.storage_error)
    reader = FeedReader(counted, root, clock)
    services = Services(
        reader=reader,
        tokens=Tokens(counted, clock),
        updates=Updates(reader),
        diffs=Diffs(reader, counted, shared, settings.diff_seconds),
        limiter=Limiter(settings, clock, shared),
        board=Board(reader, counted, clock, shared),
        watcher=Watcher(reader, shared, metrics),
        metrics=metrics,
        background=Background(),
    )
    _employ(services)
    return services


def _employ(services: Services) -> None:
    """Say what is done in the background, and how often."""
    add = services.background.add
    add("watching the head", WATCH_SECONDS, services.watcher.tick)
    add("rate limits", LIMITER_SECONDS, services.limiter.flush)
    add("the board of subscribers", BOARD_SECONDS, services.board.flush)
    add("tokens in use", TOKEN_REFRESH_SECONDS, services.tokens.refresh)

    def figures() -> None:
        services.metrics.leads(services.watcher.leader)
        services.metrics.diffs(computed=services.diffs.computed, cached=services.diffs.cached)

    add("figures", _FIGURES_SECONDS, figures)


def _routes(services: Services, store: Store, shared: SharedState | None) -> tuple[Any, ...]:
    return (
        ListRoutes(services),
        DiffRoutes(services),
        BucketRoutes(services),
        EnrolmentRoutes(services, store),
        BoardRoutes(services),
        AuthoriseRoutes(services),
        OpenApiRoutes(),
        HealthRoutes(services.reader),
        MetricsRoutes(services.metrics, Seen(services.reader, shared)),
    )


def _check() -> None:
    """Refuse malformed requests before any route runs, also where there is no route."""
    known = _PARAMETERS.get(request.endpoint, frozenset()) if request.endpoint else None
    params.check(request, known)
