"""Heavy work leaves the loop free: proven in a process that gevent has patched."""

import subprocess
import sys

from blocklist.api.heavy import Heavy

# The work waits for what only the loop can do meanwhile; in the loop it would wait in vain.
PATCHED = """
from gevent import monkey
monkey.patch_all()
import gevent
from gevent.monkey import get_original
from blocklist.api.heavy import Heavy

heavy, flags = Heavy(1), []
native_sleep = get_original("time", "sleep")

def work(wanted):
    for _ in range(3_000):
        if wanted in flags:
            return f"saw {wanted}"
        native_sleep(0.01)
    return "the loop stood still"

def ask(wanted):
    with heavy.slot():
        return heavy.run(work, wanted)

asking = [gevent.spawn(ask, wanted) for wanted in ("a", "b")]
gevent.sleep(0)
flags += ["b", "a"]
print([one.get() for one in asking])

def fail():
    raise ValueError("as it was")

try:
    heavy.run(fail)
except ValueError as error:
    print(error)
"""


def test_the_loop_goes_on_while_work_is_done() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PATCHED], capture_output=True, text=True, timeout=120, check=True
    )
    assert ran.stdout.splitlines() == ["['saw a', 'saw b']", "as it was"]


def test_without_gevent_the_caller_does_the_work() -> None:
    assert Heavy(1).run(sorted, [2, 1]) == [1, 2]
