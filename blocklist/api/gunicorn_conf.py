"""Settings of gunicorn for the API; `serve` adds the address and the one worker.

One process, until Redis lets several agree. No preload: gevent must patch the standard library
before anything of ours is imported. Access lines are written by the app (`access`), because those
of gunicorn hold the raw request.
"""

import logging
from typing import Any

wsgi_app = "blocklist.api.wsgi:create()"
worker_class = "gevent"
preload_app = False

timeout = 30  # seconds without a sign of life until a worker is replaced
graceful_timeout = 30  # seconds for requests under way when stopping or reloading
keepalive = 15  # seconds

limit_request_line = 4_094  # bytes
limit_request_fields = 64
limit_request_field_size = 4_096  # bytes

accesslog = None
errorlog = "-"
loglevel = "info"
control_socket_disable = True


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
    """Install the filter before there is a worker; workers inherit it."""
    server.log.error_log.addFilter(Discreet())
