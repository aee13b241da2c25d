"""Settings of gunicorn for the API; `serve` adds the address and the number of workers.

More than one worker only with Redis, through which they agree. No preload: gevent must patch the
standard library before anything of ours is imported. Access lines are written by the app
(`access`), because those of gunicorn hold the raw request.
"""

import logging
import os
import resource
import shutil
import tempfile
from pathlib import Path
from typing import Any

from blocklist.api.settings import ApiSettings
from blocklist.api.worker import ApiWorker

_settings = ApiSettings.from_environment(os.environ)

wsgi_app = "blocklist.api.wsgi:create()"
worker_class = "blocklist.api.worker.ApiWorker"
preload_app = False

worker_connections = _settings.connections  # of one worker; waiting polls hold one each
backlog = 4_096  # connections waiting to be accepted; the kernel's somaxconn caps it

timeout = 30  # seconds without a sign of life until a worker is replaced
graceful_timeout = 30  # seconds for requests under way when stopping or reloading
keepalive = _settings.header_seconds

limit_request_line = 4_094  # bytes
limit_request_fields = 64
limit_request_field_size = 4_096  # bytes

forwarded_allow_ips = ""  # the app alone judges what proxies say, by `trusted_proxies`

accesslog = None
errorlog = "-"
loglevel = "info"
control_socket_disable = True

_REDIS_VARIABLE = "BLOCKLIST_REDIS"
_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_OWN_FILES = 200  # descriptors besides connections: storage, Redis, log, counts
_USAGE = 2  # exit code for bad usage


class Discreet(logging.Filter):
    """Takes what a request said out of gunicorn's lines about requests it could not handle."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the line, without its particulars."""
        message = str(record.msg)
        if "request" in message.lower() and record.levelno >= logging.WARNING:
            record.msg, record.args = "a request could not be handled by the server", None
            record.exc_info = record.exc_text = None
        return True


def on_starting(server: Any) -> None:
    """Refuse several workers without Redis, and prepare what workers inherit."""
    if server.cfg.workers > 1 and not os.environ.get(_REDIS_VARIABLE):
        server.log.error("more than one worker needs Redis: set %s", _REDIS_VARIABLE)
        raise SystemExit(_USAGE)
    server.log.error_log.addFilter(Discreet())
    ApiWorker.send_seconds = _settings.send_seconds
    _allow_files(server.cfg.worker_connections + _OWN_FILES)
    _prepare_counts(server)


def nworkers_changed(server: Any, new: int, old: int | None) -> None:
    """Keep a signal (SIGTTIN) from adding what `on_starting` would refuse."""
    if old is not None and new > 1 and not os.environ.get(_REDIS_VARIABLE):
        server.num_workers = 1


def child_exit(_server: Any, worker: Any) -> None:
    """Forget the gauges of a worker that has ended; its counters stay.

    As `prometheus_client.multiprocess.mark_process_dead`, which may not be imported here: later
    workers are forked from this process before gevent patches.
    """
    for path in Path(os.environ[_METRICS_VARIABLE]).glob(f"gauge_live*_{worker.pid}.db"):
        path.unlink(missing_ok=True)


def on_exit(server: Any) -> None:
    """Remove the directory of counts, if it is ours."""
    if getattr(server, "own_counts", False):
        shutil.rmtree(os.environ[_METRICS_VARIABLE], ignore_errors=True)


def _allow_files(needed: int) -> None:
    """Raise the soft limit of open files, as far as the hard one allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _prepare_counts(server: Any) -> None:
    """Have an empty directory for the counts of all workers: an operator's, or one of our own."""
    given = os.environ.get(_METRICS_VARIABLE)
    server.own_counts = given is None
    if given is None:
        os.environ[_METRICS_VARIABLE] = tempfile.mkdtemp(prefix="blocklist-metrics-")
        return
    Path(given).mkdir(parents=True, exist_ok=True)
    for path in Path(given).glob("*.db"):
        path.unlink(missing_ok=True)
