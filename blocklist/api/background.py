"""Jobs that a process does every now and then, each in a thread of its own.

After gevent has patched, the threads are greenlets. A job that fails is called again as if nothing
had happened: what it says goes to the log once, not every second.
"""

import logging
import random
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from blocklist.core.errors import BlocklistError
from signing.errors import TrustError

JITTER = 0.1  # share of a period, so that processes started together drift apart
STOP_SECONDS = 5.0  # a job under way is waited for; then it is left to the end of the process

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Job:
    name: str
    seconds: float
    call: Callable[[], object]
    trouble: str | None = None


class Background:
    """Named jobs; nothing runs before `start`."""

    def __init__(self) -> None:
        self._jobs: list[_Job] = []
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()

    def add(self, name: str, seconds: float, job: Callable[[], object]) -> None:
        """Add a job, to be called at the start and again `seconds` after each end, give or take."""
        self._jobs.append(_Job(name, seconds, job))

    def start(self) -> None:
        """Start all jobs, unless they run."""
        if self._threads:
            return
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=_repeat, args=(job, self._ended), name=job.name, daemon=True)
            for job in self._jobs
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Call no job again, and wait a little for those under way."""
        self._ended.set()
        for thread in self._threads:
            thread.join(STOP_SECONDS)
        self._threads = []


def _repeat(job: _Job, ended: threading.Event) -> None:
    while not ended.is_set():
        _run(job)
        pause = job.seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - jitter
        ended.wait(pause)


def _run(job: _Job) -> None:
    """Call a job once; log what is new about it."""
    trouble: str | None = None
    try:
        job.call()
    except (BlocklistError, TrustError) as error:
        trouble = str(error)
    except Exception as error:  # a fault of ours: it must not end limits or the watch on the head
        places = "".join(traceback.format_tb(error.__traceback__))
        trouble = f"unexpected {type(error).__name__}\n{places}"  # its text may hold anything
    if trouble is not None and trouble != job.trouble:
        log.error("%s: %s", job.name, trouble)
    elif trouble is None and job.trouble is not None:
        log.info("%s: works again", job.name)
    job.trouble = trouble
