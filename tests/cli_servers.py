"""What subscribers pull from in tests: the API as a process, and a plain web server."""

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.cli_kit import World, arguments

START_SECONDS = 60
STOP_SECONDS = 60
SEEN_SECONDS = 30
_LISTENING = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")


@dataclass
class Api:
    """`blocklist serve` on a free port of loopback."""

    process: subprocess.Popen[bytes]
    log: Path
    url: str

    def get(self, path: str, token: str) -> bytes:
        request = Request(self.url + path, headers={"Authorization": f"Bearer {token}"})
        with urlopen(request, timeout=30) as answer:
            data: bytes = answer.read()
        return data

    def requests(self) -> int:
        """Return how many requests it has answered."""
        return self.log.read_text().count('"method"')

    def until_seen(self, version: int, token: str, feed: str = "clear") -> None:
        """Wait until it offers a version: it looks for a new head twice a second."""
        for _ in range(SEEN_SECONDS * 10):
            request = Request(
                f"{self.url}/v1/lists/demo/{feed}", headers={"Authorization": f"Bearer {token}"}
            )
            try:
                with urlopen(request, timeout=30) as answer:
                    if answer.headers["ETag"] == f'"{version}"':
                        return
            except HTTPError as error:
                error.close()
            time.sleep(0.1)
        raise AssertionError(f"version {version} was never offered")

    def stop(self) -> None:
        """Stop it, as an init system does."""
        self.process.terminate()
        assert self.process.wait(timeout=STOP_SECONDS) == 0


@contextmanager
def serving(world: World) -> Iterator[Api]:
    """Run the API of a world until the block ends."""
    log = world.folder / "api.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments("serve", "--bind", "127.0.0.1:0"),
            cwd=world.folder,
            env=world.env(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield Api(process, log, _url(process, log))
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=STOP_SECONDS)


@dataclass
class Static:
    """A web server over a folder.

    Attributes:
        url: Where it is.
        asked: The paths of all requests.
    """

    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def static(folder: Path) -> Iterator[Static]:
    """Serve a folder until the block ends."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, code: object = "-", size: object = "-") -> None:
            asked.append(self.path)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    handler = partial(Handler, directory=os.fspath(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Static(f"http://127.0.0.1:{server.server_port}", asked)
        finally:
            server.shutdown()
            thread.join()


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until it says where it listens."""
    for _ in range(START_SECONDS * 10):
        if found := _LISTENING.search(log.read_text()):
            return f"http://127.0.0.1:{found[1]}"
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(f"the API did not start:\n{log.read_text()}")
