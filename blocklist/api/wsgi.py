"""What gunicorn runs: `blocklist.api.wsgi:create()`, in each worker, after gevent has patched."""

import logging
import os
import sys

from flask import Flask

from blocklist.api import access
from blocklist.api.app import create_app, start
from blocklist.api.settings import ApiSettings
from blocklist.core.errors import InputError
from blocklist.store.open import open_store
from blocklist.store.shared import SharedState

STORAGE_VARIABLE = "BLOCKLIST_STORAGE"
REDIS_VARIABLE = "BLOCKLIST_REDIS"


def create() -> Flask:
    """Return the API on the storage that the environment names, with its background work started.

    It logs to standard error: a JSON object a line for each request, other lines as text.

    Raises:
        InputError: No storage, another kind of URL, or wrong settings.
    """
    url = os.environ.get(STORAGE_VARIABLE)
    if not url:
        raise InputError(f"expected {STORAGE_VARIABLE} in the environment")
    redis = os.environ.get(REDIS_VARIABLE)
    app = create_app(
        open_store(url),
        settings=ApiSettings.from_environment(os.environ),
        shared=SharedState.open(redis) if redis else None,
    )
    _log()
    start(app)
    return app


def _log() -> None:
    logging.logThreads = logging.logMultiprocessing = False  # in no line; each record looked
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("botocore", "tuf"):  # they tell of every search for credentials and every key
        logging.getLogger(name).setLevel(logging.WARNING)
    plain = logging.StreamHandler(sys.stderr)
    plain.setFormatter(logging.Formatter("%(message)s"))
    access.log.handlers = [plain]
    access.log.propagate = False
