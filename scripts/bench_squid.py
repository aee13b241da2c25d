"""What Squid loses by asking our helper: processor time for each request, with it and without.

Squid does all its work in one thread: what a request costs there says how many it can serve.
Helpers have other processors, and are told apart. Every URL is new, so that each one is asked
of a helper and none is answered from Squid's memory; nothing is listed. Origin is the barest nginx
server, the client is wrk. Most of the difference is what asking any helper costs: beside ours
is one that says no to everything at once. `python3 -m scripts.bench_squid`
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from blocklist.core.enrolment import EnrolledList, Enrolment
from blocklist.core.entries import Feed
from blocklist.core.hashing import HashKey, hash_lines
from blocklist.core.listbytes import clear_lines, encode_clear
from blocklist.core.matcherfile import record_key
from blocklist.subscriber import matcher_files
from blocklist.subscriber.state import State
from scripts.bench_matcher import entries, version_of
from scripts.services import install
from scripts.services.process import HOST, Daemon, answers, free_ports, require_until
from scripts.services.squid import Squid

SIZE = 150_000
ROUNDS = 4
SECONDS = 2
CONNECTIONS = 20
PROMISE = 1 / 0.6

_NO = """\
#!/usr/bin/perl
$| = 1;
while (<STDIN>) { print /^(\\d+)/, " ERR\\n"; }
"""

_LIST, _SITE = "bench", "site.example"
_KEY = HashKey(bytes(range(32)))
_DONE = re.compile(r"(\d+) requests in ")
_BAD = re.compile(r"Non-2xx|Socket errors")
_REQUESTS = """\
local count = {first}
request = function()
  count = count + 1
  return wrk.format("GET", "http://{site}:{origin}/page/" .. count .. "?id=" .. count)
end
"""
_ORIGIN = """\
worker_processes 1;
pid {folder}/origin.pid.nginx;
error_log stderr crit;
events {{ }}
http {{
  access_log off;
  server {{ listen {host}:{port}; keepalive_requests 1000000; return 200 ok; }}
}}
"""


def measure() -> Iterator[tuple[str, float, float | None]]:
    """Yield for each feed what a request costs with us against without, and the promise.

    Raises:
        Unavailable: Squid, nginx or wrk cannot be had here.
    """
    print("Squid with and without the helper ..", flush=True)
    install.require(("wrk",), ("wrk",))
    install.require(("nginx",), ("nginx",))
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        origin = running.enter_context(_origin(folder))
        proxies = {
            str(feed): running.enter_context(_squid(folder / feed, _installed(folder / feed, feed)))
            for feed in Feed
        }
        proxies["none"] = running.enter_context(_squid(folder / "none", None))
        proxies["no"] = running.enter_context(_squid(folder / "no", State(folder), _NO))
        costs = {what: float("inf") for what in proxies}
        for number in range(ROUNDS):
            for what, squid in proxies.items():
                cost = _cost(folder, squid, origin, number * 10_000_000)
                costs[what] = min(cost, costs[what])
    for feed in Feed:
        ratio = costs[feed] / costs["none"]
        yield f"a request through Squid with the helper, {feed} / without, CPU", ratio, PROMISE
    ratio = costs["no"] / costs["none"]
    yield "the same with a helper that says no to everything", ratio, None


def _cost(folder: Path, squid: Squid, origin: int, first: int) -> float:
    """Return microseconds of Squid's processor time for a request."""
    script = folder / "requests.lua"
    script.write_text(_REQUESTS.format(first=first, site=_SITE, origin=origin))
    argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(script), squid.url]
    before = squid.processor_seconds()
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    spent = squid.processor_seconds() - before
    count = _DONE.search(done.stdout)
    if count is None or _BAD.search(done.stdout):
        raise RuntimeError(f"expected good answers only, got: {done.stdout}")
    return spent * 1e6 / int(count[1])


@contextmanager
def _squid(folder: Path, state: State | None, helper: str | None = None) -> Iterator[Squid]:
    """Run Squid without a log; without a state it asks nobody, `helper` is a program of its own."""
    place = folder / "squid"
    edits = {f"access_log stdio:{place}/access.log squid !blocked": "access_log none"}
    if helper is not None:
        program = folder / "helper"
        folder.mkdir(exist_ok=True)
        program.write_text(helper)
        program.chmod(0o755)
        edits |= {f"{place}/blocklist squid-helper": str(program)}
    directory = state.directory if state else folder
    squid = Squid(place, directory, [_SITE], edits, filtered=state is not None)
    try:
        squid.start()
        yield squid
    finally:
        squid.stop()


@contextmanager
def _origin(folder: Path) -> Iterator[int]:
    port = free_ports(1)
    (folder / "origin.conf").write_text(_ORIGIN.format(folder=folder, host=HOST, port=port))
    argv = ["nginx", "-p", f"{folder}/", "-c", "origin.conf", "-g", "daemon off;"]
    daemon = Daemon(folder, "origin", argv)
    try:
        daemon.start()
        require_until("nginx", lambda: answers(port), 20, daemon)
        yield port
    finally:
        daemon.stop()


def _installed(folder: Path, feed: Feed) -> State:
    """Install a list of one feed as a pull does."""
    state = State(folder / "state")
    state.prepare()
    lists = {_LIST: EnrolledList(_LIST, (feed,), {_KEY.id: _KEY}, f"test.{_SITE}")}
    state.write_enrolment(Enrolment("bench", (), None, b"{}", lists))
    data = encode_clear(entries(SIZE))
    key = _KEY if feed is Feed.HASHED else None
    if key is not None:
        data = hash_lines(clear_lines(data), key)
    version = replace(version_of(data, SIZE), hash_key_id=key.id if key else None)
    matcher_files.write(
        state.feed(_LIST, feed), version, data, record_key(feed, version.digest, key)
    )
    state.feed(_LIST, feed).install(version, data)
    return state


if __name__ == "__main__":
    for what, ratio, promise in measure():
        print(f"{what}: {ratio:.2f}, promised: {promise and round(promise, 2)}")
