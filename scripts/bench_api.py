"""The API under waiting subscribers: bytes of an idle poll, and how soon all hear of a release.

One API process on a folder, as `serve` starts it without Redis; every subscriber has a token and a
connection of its own. Client and publisher share the machine's cores with it.
"""

import asyncio
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import Request, urlopen

from blocklist.core.entries import Feed
from blocklist.core.private import Subscription
from blocklist.store import layout
from blocklist.store.open import open_store
from scripts.services.process import HOST, free_ports, until

SUBSCRIBERS = 5_000
WAIT_SECONDS = 55
START_SECONDS = 60.0
SETTLE_SECONDS = 120.0
SAMPLE_ENTRIES = 2_000
VALIDATORS = {"etag", "cache-control", "last-modified", "vary", "content-length"}

_PROGRAM = "from blocklist.cli import main; main()"
_TIMESTAMP = "feed/metadata/timestamp.json"

Result = tuple[str, float, float | None]


@dataclass(frozen=True)
class Answer:
    """One answer of the API.

    Attributes:
        status: Its HTTP status.
        headers: Its header lines, names in lower case.
        body: Its body.
        at: When its last byte was read, seconds since 1970.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    at: float


def measure() -> Iterator[Result]:
    """Start everything, and yield the figures."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with tempfile.TemporaryDirectory() as folder, _served(Path(folder)) as bench:
            yield from bench.idle()
            for count, promise in ((1_000, 2.0), (SUBSCRIBERS, None)):
                yield from bench.waiting(count, promise)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Bench:
    """A repository, its API and 5,000 subscribers.

    Args:
        folder: Where all is.
        port: Of the API.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._version = 1
        self._tokens = [f"{number:043d}" for number in range(SUBSCRIBERS)]

    def prepare(self) -> None:
        """Make the list and let everybody in."""
        _command(self._folder, "init", "--dev")
        _command(self._folder, "list", "create", "demo")
        entries = "".join(f"site-{n}.example/page\n" for n in range(SAMPLE_ENTRIES))
        _command(self._folder, "publish", "demo", "--add", "-", given=entries)
        store = open_store(f"file:{self._folder / 'storage'}")
        for number, token in enumerate(self._tokens):
            digest = hashlib.sha256(token.encode()).hexdigest()
            now = datetime.now(UTC).replace(microsecond=0)
            lists = {"demo": (Feed.HASHED,)}
            given = Subscription(f"isp-{number}", digest, lists, now)
            store.put_new(layout.enrolment_key(digest), given.to_bytes())

    def idle(self) -> Iterator[Result]:
        """Poll with what is current."""
        print("idle and changed polls ..", flush=True)
        changed = asyncio.run(self._get(0, "from=0"))
        held = f"from=1&root=1&targets={self._number('targets')}"
        held += f"&timestamp={self._number('timestamp')}"
        idle = asyncio.run(self._get(0, held))
        if (changed.status, idle.status) != (200, 304):
            raise SystemExit(f"expected 200 and 304, got {changed.status} and {idle.status}")
        validators = sum(
            len(f"{name}: {value}\r\n")
            for name, value in idle.headers.items()
            if name in VALIDATORS
        )
        yield "idle poll, bytes of body and validators", len(idle.body) + validators, 200
        yield "changed poll, requests", 1, 1

    def waiting(self, count: int, promise: float | None) -> Iterator[Result]:
        """Let that many wait for a release, and see when the last have heard of it."""
        print(f"{count:,} waiting polls ..", flush=True)
        answers, released = asyncio.run(self._release_to(count))
        wrong = sum(answer.status != 200 for answer in answers) + count - len(answers)
        late = sorted(answer.at - released for answer in answers)
        yield f"{count:,} waiting polls, answers that are not the release", wrong, 0
        yield f"{count:,} waiting polls, s until 99% have it", late[int(0.99 * len(late))], promise

    async def _release_to(self, count: int) -> tuple[list[Answer], float]:
        held = (
            f"from={self._version}&root=1&targets={self._number('targets')}"
            f"&timestamp={self._number('timestamp')}"
        )
        asked = [asyncio.create_task(self._get(n, held, wait=True)) for n in range(count)]
        await asyncio.to_thread(until, lambda: self._waiting() >= count, SETTLE_SECONDS)
        if self._waiting() < count:
            raise SystemExit(f"expected {count} waiting polls, got {self._waiting()}")
        await asyncio.to_thread(self._publish)
        released = (self._folder / "storage" / _TIMESTAMP).stat().st_mtime
        return await asyncio.gather(*asked), released

    def _publish(self) -> None:
        self._version += 1
        entry = f"new-{self._version}.example/page\n"
        _command(self._folder, "publish", "demo", "--add", "-", given=entry)

    async def _get(self, subscriber: int, query: str, *, wait: bool = False) -> Answer:
        reader, writer = await asyncio.open_connection(HOST, self._port)
        prefer = f"Prefer: wait={WAIT_SECONDS}\r\n" if wait else ""
        writer.write(
            f"GET /v1/lists/demo/hashed/update?{query} HTTP/1.1\r\nHost: {HOST}\r\n"
            f"Authorization: Bearer {self._tokens[subscriber]}\r\n{prefer}\r\n".encode()
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        answer = Answer(int(head[0].split()[1]), headers, body, time.time())
        writer.close()
        return answer

    def _waiting(self) -> float:
        with urlopen(f"http://{HOST}:{self._port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        found = re.findall(r"^blocklist_waiting_polls(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE)
        return sum(float(number) for number in found)

    def _number(self, role: str) -> int:
        """Return the version of a top-level role that the storage is at."""
        folder = self._folder / "storage" / "feed" / "metadata"
        if role == "timestamp":
            document = json.loads((folder / "timestamp.json").read_bytes())
            return int(document["signed"]["version"])
        return max(int(path.name.split(".")[0]) for path in folder.glob(f"*.{role}.json"))


@contextmanager
def _served(folder: Path) -> Iterator[Bench]:
    bench = Bench(folder, free_ports(1))
    bench.prepare()
    argv = [sys.executable, "-c", _PROGRAM, "serve", "--bind", f"{HOST}:{bench._port}"]
    with (folder / "api.log").open("wb") as log:
        server = subprocess.Popen(argv, env=_environment(folder), stdout=log, stderr=log)
    try:
        if not until(lambda: _ready(bench._port), START_SECONDS):
            raise SystemExit(f"the API did not start: {(folder / 'api.log').read_text()[-1000:]}")
        yield bench
    finally:
        server.terminate()
        server.wait(timeout=START_SECONDS)


def _ready(port: int) -> bool:
    try:
        with urlopen(Request(f"http://{HOST}:{port}/readyz"), timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _command(folder: Path, *words: str, given: str = "") -> None:
    argv = [sys.executable, "-c", _PROGRAM, *words]
    subprocess.run(
        argv, env=_environment(folder), input=given.encode(), capture_output=True, check=True
    )


def _environment(folder: Path) -> dict[str, str]:
    places = {
        "BLOCKLIST_STORAGE": f"file:{folder / 'storage'}",
        "BLOCKLIST_HOME": str(folder / "home"),
    }
    return {**os.environ, **places}
