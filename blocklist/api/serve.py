"""`serve`: check what can be checked, then become gunicorn.

The address is bound here, so that one that is taken is our error and not gunicorn's; gunicorn
inherits the socket. The storage is handed over in the environment, since arguments are seen by
everybody on the machine.
"""

import importlib.util
import os
import re
import socket
import sys
from typing import NoReturn

from blocklist.core.errors import InputError, LocalError
from blocklist.store.layout import TIMESTAMP
from blocklist.store.open import open_store
from signing.policy import MAX_TIMESTAMP_BYTES

DEFAULT_BIND = "127.0.0.1:8080"
BACKLOG = 2_048  # connections waiting to be accepted
WORKERS = 1  # without Redis one process: limits, board and head are its own

_NEEDED = ("flask", "gunicorn", "gevent")
_STORAGE_VARIABLE = "BLOCKLIST_STORAGE"  # as `wsgi` reads it, which may not be imported here
_BIND = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})")


def serve(storage_url: str, bind: str = DEFAULT_BIND) -> NoReturn:
    """Serve the API until the process is stopped.

    Args:
        storage_url: As BLOCKLIST_STORAGE.
        bind: `HOST:PORT` or `[IPV6]:PORT`; port 0 takes a free one, named in the log.

    Raises:
        InputError: A storage URL or address of another shape.
        LocalError: A package is missing, no repository there, or the address cannot be bound.
        StoreError: The storage does not answer.
    """
    _require_packages()
    _require_repository(storage_url)
    descriptor = listen(bind).detach()
    argv = [sys.executable, "-m", "gunicorn", "-c", "python:blocklist.api.gunicorn_conf"]
    argv += ["--workers", str(WORKERS), "--bind", f"fd://{descriptor}"]
    os.execve(sys.executable, argv, {**os.environ, _STORAGE_VARIABLE: storage_url})  # noqa: S606 # no shell, our own interpreter


def listen(bind: str) -> socket.socket:
    """Return a listening socket that a program started from here inherits.

    Raises:
        InputError: No address.
        LocalError: It cannot be bound.
    """
    match = _BIND.fullmatch(bind)
    if match is None or int(match[3]) > 65_535:
        raise InputError("expected an address as HOST:PORT or [IPV6]:PORT")
    family = socket.AF_INET6 if match[1] else socket.AF_INET
    try:
        listener = socket.create_server(
            (match[1] or match[2], int(match[3])), family=family, backlog=BACKLOG
        )
    except OSError as error:
        raise LocalError(f"cannot listen on {bind}: {error.strerror}") from error
    listener.set_inheritable(True)
    return listener


def _require_packages() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        raise LocalError(f"the API needs {names}: install blocklist with the extra [server]")


def _require_repository(storage_url: str) -> None:
    if open_store(storage_url).get(TIMESTAMP, limit=MAX_TIMESTAMP_BYTES) is None:
        raise LocalError("expected a repository in the storage, found none: run `blocklist init`")
