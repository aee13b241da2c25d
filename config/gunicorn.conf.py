"""For who starts gunicorn by hand instead of `blocklist serve`, which does the same.

    BLOCKLIST_STORAGE=.. gunicorn -c config/gunicorn.conf.py

What must be so comes from `blocklist.api.gunicorn_conf`: gevent, no preload, a worker that holds
6,000 connections (5,000 waiting polls and room), 30 s for requests under way when it stops, no log
of raw requests, and no second worker without Redis. Waiting polls are answered when a worker stops,
so that `kill -HUP` of the master, a reload, loses none. Limits stand in the table `[api]` of the
file that BLOCKLIST_CONFIG names. Here is what differs between machines.
"""

import os

from blocklist.api.gunicorn_conf import *  # noqa: F403 # gunicorn takes every name as a setting

bind = os.environ.get("BLOCKLIST_BIND", "127.0.0.1:8080")
workers = int(os.environ.get("BLOCKLIST_WORKERS", "1"))  # more need BLOCKLIST_REDIS; one a core
