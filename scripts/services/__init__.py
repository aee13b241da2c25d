"""Real services for tests and for trying things, from Debian's packages, on loopback only.

    install    the packages, when they are missing and may be installed
    process    a daemon: its pid, its ports, its end
    redis      Redis
    ceph       S3: a Ceph RADOS Gateway with one monitor and one OSD, over http and TLS at once

From a shell: `python3 -m scripts.services start|stop|env` (see `__main__`). Only Python's standard
library is used, so that it runs before anything is installed.
"""
