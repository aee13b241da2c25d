"""`serve`: check what can be checked, then become gunicorn.

The address is bound here, so that one that is taken is our error and not gunicorn's; gunicorn
inherits the socket. Storage and Redis are handed over in the environment, since arguments are seen
by everybody on the machine.
"""

import importlib.util
import os
import re
import socket
import sys
from pathlib import Path
from typing import NoReturn

from blocklist.api.settings import CONFIG_VARIABLE, ApiSettings
from blocklist.core.errors import InputError, LocalError
from blocklist.store.layout import TIMESTAMP
from blocklist.store.open import open_store
from blocklist.store.shared_url import validate_redis_url
from signing.policy import MAX_TIMESTAMP_BYTES

DEFAULT_BIND = "127.0.0.1:8080"
BACKLOG = 4_096  # connections waiting to be accepted
MAX_WORKERS = 64

_NEEDED = ("flask", "gunicorn", "gevent", "prometheus_client", "redis")
_STORAGE_VARIABLE = "BLOCKLIST_STORAGE"  # as `wsgi` reads it, which may not be imported here
_REDIS_VARIABLE = "BLOCKLIST_REDIS"  # likewise
_BIND = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})")


def serve(
    storage_url: str,
    bind: str = DEFAULT_BIND,
    *,
    workers: int = 1,
    redis_url: str | None = None,
    config: Path | None = None,
) -> NoReturn:
    """Serve the API until the process is stopped.

    Args:
        storage_url: As BLOCKLIST_STORAGE.
        bind: `HOST:PORT` or `[IPV6]:PORT`; port 0 takes a free one, named in the log.
        workers: Processes; more than one needs Redis, through which they agree.
        redis_url: As BLOCKLIST_REDIS; None: without.
        config: As BLOCKLIST_CONFIG; None: the defaults.

    Raises:
        InputError: A URL or address of another shape, wrong settings, or workers without Redis.
        LocalError: A package is missing, no repository there, or the address cannot be bound.
        StoreError: The storage does not answer.
    """
    if not 1 <= workers <= MAX_WORKERS:
        raise InputError(f"expected 1 to {MAX_WORKERS} workers")
    if workers > 1 and not redis_url:
        raise InputError("more than one worker needs Redis: give --redis or BLOCKLIST_REDIS")
    handed = _environment(storage_url, redis_url, config)
    ApiSettings.from_environment(handed)
    _require_packages()
    _require_repository(storage_url)
    descriptor = listen(bind).detach()
    argv = [sys.executable, "-m", "gunicorn", "-c", "python:blocklist.api.gunicorn_conf"]
    argv += ["--workers", str(workers), "--bind", f"fd://{descriptor}"]
    os.execve(sys.executable, argv, {**os.environ, **handed})  # noqa: S606 # no shell, our own interpreter


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
        raise LocalError(f"cannot listen on {bind}: {os.strerror(error.errno or 0)}") from error
    listener.set_inheritable(True)
    return listener


def _environment(storage_url: str, redis_url: str | None, config: Path | None) -> dict[str, str]:
    """Return what gunicorn is told besides its arguments; an empty value is as none."""
    if redis_url:
        validate_redis_url(redis_url)
    return {
        _STORAGE_VARIABLE: storage_url,
        _REDIS_VARIABLE: redis_url or "",
        CONFIG_VARIABLE: str(config) if config else "",
    }


def _require_packages() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        raise LocalError(f"the API needs {names}: install blocklist with the extra [server]")


def _require_repository(storage_url: str) -> None:
    if open_store(storage_url).get(TIMESTAMP, limit=MAX_TIMESTAMP_BYTES) is None:
        raise LocalError("expected a repository in the storage, found none: run `blocklist init`")
