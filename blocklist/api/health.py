"""For whoever watches the process: alive, and able to serve. No token, no names.

Ready means that the head in the storage is readable and verifies. That it nears its expiry is no
reason to take the API away from subscribers, who judge that themselves.
"""

from flask import Flask, Response

from blocklist.api import answers, problems
from blocklist.api.headers import NO_STORE
from blocklist.api.reader import FeedReader


class HealthRoutes:
    """The routes, on one app's reader."""

    def __init__(self, reader: FeedReader) -> None:
        self._reader = reader

    def register(self, app: Flask) -> None:
        """Add the routes."""
        app.add_url_rule("/healthz", "healthz", self.alive)
        app.add_url_rule("/readyz", "readyz", self.ready)

    def alive(self) -> Response:
        """Answer that the process runs."""
        return answers.document({"status": "ok"}, NO_STORE)

    def ready(self) -> Response:
        """Answer whether the head can be served."""
        if not self._reader.ready():
            return problems.response(problems.NOT_READY)
        return answers.document({"status": "ready"}, NO_STORE)
