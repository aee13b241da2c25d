"""What gunicorn runs: `blocklist.api.wsgi:create()`, in each worker, after gevent has patched."""

import logging
import os

from flask import Flask

from blocklist.api.app import create_app
from blocklist.core.errors import InputError
from blocklist.store.open import open_store

STORAGE_VARIABLE = "BLOCKLIST_STORAGE"


def create() -> Flask:
    """Return the API on the storage that the environment names, logging to standard error.

    Raises:
        InputError: No storage, or another kind of URL.
    """
    url = os.environ.get(STORAGE_VARIABLE)
    if not url:
        raise InputError(f"expected {STORAGE_VARIABLE} in the environment")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    return create_app(open_store(url))
