"""`/v1/openapi.json`: the description of this API (OpenAPI 3.1), shipped beside this module."""

import hashlib
from importlib import resources

from flask import Flask, Response

from blocklist.api import answers
from blocklist.api.headers import REVALIDATE

FILE = "openapi.json"


class OpenApiRoutes:
    """The route; no token is needed to read how one is sent."""

    def __init__(self) -> None:
        self._document = resources.files("blocklist.api").joinpath(FILE).read_bytes()
        self._etag = hashlib.sha256(self._document).hexdigest()

    def register(self, app: Flask) -> None:
        """Add the route."""
        app.add_url_rule("/v1/openapi.json", "openapi", self.document)

    def document(self) -> Response:
        """Answer with the document."""
        return answers.data(self._document, answers.JSON, REVALIDATE, self._etag)
