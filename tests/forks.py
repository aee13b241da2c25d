"""Real processes without the half second that an interpreter needs to start.

A server process imports the command line once; every command is a fork of it, with its own folder,
environment, standard streams, limits, exit code, and death. For tests that need hundreds. Nobody
cuts the power meanwhile, so fsync costs nothing.
"""

import base64
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

TIMEOUT_SECONDS = 120
_CHUNK_BYTES = 65_536
MAKES_A_NAME = ("link", "symlink", "rename", "replace")


@dataclass(frozen=True, slots=True)
class Command:
    """A command to run.

    Attributes:
        words: Its arguments.
        folder: Where it runs.
        environment: All of it.
        given: Its standard input.
        file_limit: Bytes of the largest file that it may write (RLIMIT_FSIZE).
        kill_at: It kills itself instead of making this call of `MAKES_A_NAME`, from 1.
    """

    words: tuple[str, ...]
    folder: str
    environment: dict[str, str]
    given: bytes = b""
    file_limit: int | None = None
    kill_at: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: exit code, or less than zero for a signal, and what it printed."""

    code: int
    out: bytes
    err: bytes


class Forks:
    """The server process; use it as a context manager."""

    def __enter__(self) -> Self:
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "PYTHONPATH": ".", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate(timeout=TIMEOUT_SECONDS)

    def run(self, command: Command) -> Ended:
        """Run a command to its end."""
        document = asdict(command) | {"given": base64.b64encode(command.given).decode()}
        asked, answers = self._server.stdin, self._server.stdout
        assert asked is not None
        assert answers is not None
        asked.write(json.dumps(document).encode() + b"\n")
        asked.flush()
        answer = json.loads(answers.readline())
        out, err = (base64.b64decode(answer[name]) for name in ("out", "err"))
        return Ended(answer["code"], out, err)


def serve() -> None:
    """Run one command after the other, as standard input names them."""
    from blocklist.cli import run  # imported here, once, and not by the tests
    from tests.s3_kit import quick_sessions  # and what stores on S3 need, once for all forks

    with quick_sessions():
        for line in sys.stdin.buffer:
            request = json.loads(line)
            with tempfile.TemporaryFile() as given:
                given.write(base64.b64decode(request["given"]))
                given.seek(0)
                answer = _forked(request, run, given.fileno())
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


def _forked(request: dict[str, Any], run: Callable[[list[str]], int], given: int) -> dict[str, Any]:
    """Run a command in a child; it prints into pipes, since files may be limited."""
    out, err = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(request, run, (given, out[1], err[1]))
    os.close(out[1])
    os.close(err[1])
    printed = _drained([out[0], err[0]])
    status = os.waitpid(pid, 0)[1]
    texts = {
        name: base64.b64encode(data).decode()
        for name, data in zip(("out", "err"), printed, strict=True)
    }
    return {"code": os.waitstatus_to_exitcode(status), **texts}


def _drained(descriptors: list[int]) -> list[bytes]:
    """Read pipes to their ends, whichever is written first."""
    found = dict.fromkeys(descriptors, b"")
    with selectors.DefaultSelector() as selector:
        for descriptor in descriptors:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, _CHUNK_BYTES)
                found[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return list(found.values())


def _child(
    request: dict[str, Any], run: Callable[[list[str]], int], streams: tuple[int, int, int]
) -> None:
    """Become the command."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    os.fsync = lambda _: None
    if request["file_limit"] is not None:
        limit = request["file_limit"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if request["kill_at"] is not None:
        _kill_at(request["kill_at"])
    code = 70
    try:
        code = run(list(request["words"]))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _kill_at(number: int) -> None:
    """Make the process kill itself instead of the call of that number."""
    left = number

    def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)

        return counted

    for name in MAKES_A_NAME:
        setattr(os, name, guarded(getattr(os, name)))


if __name__ == "__main__":
    serve()
