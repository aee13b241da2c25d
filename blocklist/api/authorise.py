"""Whether a token opens what a web server in front keeps: `/internal/authorise..`, for nginx alone.

nginx serves immutable objects from its own disk and asks here first, with the caller's header
(config/nginx/blocklist/authorise.conf). The answer says for how long it may be used: `max-age`, and
`stale-if-error` (RFC 5861) for while this process does not answer. A token that expires shortens
both. A refusal may be kept for a second, so that it takes the place of an earlier permission, which
could otherwise come back when this process goes away.

The route tells nobody more than the token already opens; nginx does not pass it on all the same.
"""

from flask import Flask, Response

from blocklist.api import problems
from blocklist.api.problems import NOT_AUTHENTICATED, OUTSIDE_SCOPE, Problem
from blocklist.api.services import Services, feed_of
from blocklist.api.tokens import require
from blocklist.core.private import Subscription

KEPT = 25  # seconds; with TOKEN_LIFE a revoked token is refused everywhere within a minute
KEPT_IN_OUTAGE = 3_600  # seconds
REFUSAL_KEPT = "max-age=1"

_REFUSALS = (NOT_AUTHENTICATED, OUTSIDE_SCOPE)


class AuthoriseRoutes:
    """The routes, on one app's services."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def register(self, app: Flask) -> None:
        """Add the routes."""
        path = "/internal/authorise"
        app.add_url_rule(path, "authorise", self.authorise)
        app.add_url_rule(f"{path}/<list_name>", "authorise_list", self.authorise)
        app.add_url_rule(f"{path}/<list_name>/<feed>", "authorise_feed", self.authorise)

    def authorise(self, list_name: str | None = None, feed: str | None = None) -> Response:
        """Answer 204 when the token opens a feed, a list in any form, or anything at all."""
        try:
            caller = self._services.caller()
            if list_name is not None:
                require(caller, list_name, feed_of(feed) if feed is not None else None)
        except Problem as refusal:
            if refusal.kind not in _REFUSALS:
                raise
            headers = {**refusal.headers, "Cache-Control": REFUSAL_KEPT}
            return problems.response(refusal.kind, refusal.detail, headers)
        return Response(status=204, headers={"Cache-Control": self._kept(caller)})

    def _kept(self, caller: Subscription) -> str:
        """Return for how long the permission may be kept: never beyond the token's end."""
        left = int(min(self._services.tokens.seconds_left(caller), KEPT + KEPT_IN_OUTAGE))
        age = min(KEPT, left)
        return f"max-age={age}, stale-if-error={left - age}"
