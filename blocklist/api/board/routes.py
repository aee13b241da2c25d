"""`/v1/subscribers`: the board, for who runs the service."""

from flask import Flask, Response

from blocklist.api import answers
from blocklist.api.headers import NO_STORE
from blocklist.api.problems import OUTSIDE_SCOPE, Problem
from blocklist.api.services import Services


class BoardRoutes:
    """The route, on one app's services."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def register(self, app: Flask) -> None:
        """Add the route."""
        app.add_url_rule("/v1/subscribers", "subscribers", self.subscribers)

    def subscribers(self) -> Response:
        """Answer with the board; a token without `admin` is refused."""
        if not self._services.caller().admin:
            raise Problem(OUTSIDE_SCOPE, "the token is not for the subscribers' board")
        view = self._services.board.view()
        return answers.document({"complete": view.complete, "subscribers": view.rows}, NO_STORE)
