"""People at their machines, as a page of the documentation tells: blocks of shell, run in order.

    ```sh
    # dan, eli                                     on whose machines runs what follows
    blocklist stage demo --add new.txt
    #> demo: candidate 4be1d0a39f72 for version 2 is staged, ...      what it prints
    blocklist publish demo empty.txt               # exit 20
    blocklist trust sign /media/stick/first.json
    #< 1                                           what is typed
    # 48 hours later                               everybody's clock goes on
    ```

A machine is a folder, `HOME` of its shell; paths such as `/media/stick` are folders too, the same
for all. A digest in what is printed stands for the one that was really printed, from there on: a
later command that has it gets the real one, with all its digits where `...` follows. Dates and
host names are anybody's; `...` in what is printed is anything.

`blocklist` is a command on `PATH`: a fork of one process that has imported the program, so that a
page of a hundred commands takes seconds.
"""

import array
import json
import os
import pty
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parent.parent
START_SECONDS = 60
TIMEOUT_SECONDS = 120
AHEAD = "TEST_CLOCK_AHEAD"  # seconds
SOCKET = "TEST_SHELL_SOCKET"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)

_SHOWN, _TYPED = "#>", "#<"
_EXIT = re.compile(r"\s+# exit (\d+)$")
_LATER = re.compile(r"# (\d+) (hours|days) later$")
_WHO = re.compile(r"# ([a-z]+(?:, [a-z]+)*)( \(new machine\))?$")
_PROMPT = re.compile(r"(?<=(?:N\]|it): )")
_HEREDOC = re.compile(r"<<'(\w+)'")
_PATH = re.compile(r"(?<![\w.~/-])/(srv|media|etc|var)\b")
_DIGEST = re.compile(r"\b[0-9a-f]{12,64}\b|\b[0-9a-f]{4}(?: [0-9a-f]{4}){3,15}\b")
_VARIES = re.compile(
    rf"(?P<digest>{_DIGEST.pattern})"
    r"|(?P<date>\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?Z?)?)"
    r"|(?<=@)(?P<host>[\w.-]+)"
    r"|(?P<any>\.\.\.)"
)


_SCRIPT = f"""
if [ -e ~/.shell ]; then . ~/.shell; fi
export {AHEAD}={{ahead}}
{{command}}
code=$?
{{{{ export -p; printf 'cd %q\\n' "$PWD"; }}}} > ~/.shell
exit $code
"""


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a page.

    Attributes:
        line: Of the page, from 1.
        who: Whose machine.
        command: For bash; several lines where it has to be.
        exit: How it must end.
        typed: Lines that are typed.
        shown: Lines that are printed, in this order, others between them.
        ahead: How far the clock has gone on.
        new: The machine before is gone, with all that was on it.
    """

    line: int
    who: str
    command: str
    exit: int = 0
    typed: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    ahead: timedelta = timedelta()
    new: bool = False


def steps(text: str) -> Iterator[Step]:
    """Return the commands of a page in Markdown."""
    ahead = timedelta()
    for block in BLOCK.finditer(text):
        number = text.count("\n", 0, block.start(1)) + 1
        people, found = list[str](), list[Step]()
        lines = iter(enumerate(block[1].splitlines(), number))
        for at, line in lines:
            mark, rest = line[:2], line[2:].removeprefix(" ")
            if mark in (_SHOWN, _TYPED):
                assert found, f"line {at}: {line}"
                last = found[-1]
                shown = (*last.shown, rest) if mark == _SHOWN else last.shown
                typed = (*last.typed, rest) if mark == _TYPED else last.typed
                found[-1] = replace(last, shown=shown, typed=typed)
            elif machines := _WHO.match(line):
                yield from _each(people, found)
                people, found = machines[1].split(", "), []
                if machines[2]:
                    found = [Step(at, "", "", ahead=ahead, new=True)]
            elif later := _LATER.match(line):
                yield from _each(people, found)
                found = []
                ahead += timedelta(**{later[2]: int(later[1])})
            elif line.strip():
                assert people, f"line {at}: nobody runs {line}"
                command, code = _whole(line, lines)
                found.append(Step(at, "", command, code, ahead=ahead))
        yield from _each(people, found)


def _each(people: list[str], found: list[Step]) -> Iterator[Step]:
    """Return what one after the other runs."""
    yield from (replace(step, who=who) for who in people for step in found)


def _whole(line: str, rest: Iterator[tuple[int, str]]) -> tuple[str, int]:
    """Return a command with the lines that belong to it, and the exit code it must end with."""
    found = _EXIT.search(line)
    command = line[: found.start()] if found else line
    while command.endswith("\\"):
        command += "\n" + next(rest)[1]
    if here := _HEREDOC.search(command):
        for _, following in rest:
            command += "\n" + following
            if following == here[1]:
                break
    return command, int(found[1]) if found else 0


@dataclass
class Machines:
    """The people of a page, each with a folder, and what they share.

    Attributes:
        folder: All of it.
        env: Of every shell.
        real: What stands for what in commands: example and real text.
        whole: Digests that were also printed with all their digits, by example.
    """

    folder: Path
    env: dict[str, str]
    real: dict[str, str] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)

    def run(self, step: Step) -> str:
        """Run a command, and return what it prints, with the names of the page.

        Raises:
            AssertionError: It ends otherwise, or prints something else, than the page says.
        """
        home = self.folder / step.who
        if step.new:
            shutil.rmtree(home)
        home.mkdir(mode=0o700, exist_ok=True)
        env = {**self.env, "HOME": str(home), "USER": step.who, "LOGNAME": step.who}
        script = _SCRIPT.format(ahead=step.ahead.total_seconds(), command=self.placed(step.command))
        ours, theirs = pty.openpty()
        try:
            os.write(ours, "".join(f"{line}\n" for line in step.typed).encode() + b"\x04")
            done = subprocess.run(
                ["bash", "-c", script],
                cwd=home,
                env=env,
                stdin=theirs,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        finally:
            os.close(ours)
            os.close(theirs)
        printed = done.stdout.decode().replace(str(self.folder), "")
        if step.typed:  # the terminal shows the end of the line
            printed = _PROMPT.sub("\n", printed)
        told = f"line {step.line}, {step.who}: {step.command}\n{printed}"
        assert done.returncode == step.exit, f"exit {done.returncode} at {told}"
        self._compare(step.shown, printed, told)
        for example, real in self.real.items():
            if found := re.findall(rf"\b{re.escape(real)}[0-9a-f]*\b", printed):
                self.whole[example] = max(*found, self.whole.get(example, ""), key=len)
        return printed

    def placed(self, command: str) -> str:
        """Return a command with real digests and places."""
        for example, real in self.real.items():
            whole = self.whole.get(example, real)
            command = command.replace(f"{example}...", whole).replace(example, real)
        return _PATH.sub(rf"{self.folder}/\1", command)

    def _compare(self, shown: tuple[str, ...], printed: str, told: str) -> None:
        left = printed.splitlines()
        for line in shown:
            while True:
                assert left, f"expected {line!r} at {told}"
                if self._matches(line, left.pop(0)):
                    break

    def _matches(self, line: str, printed: str) -> bool:
        """Tell whether a line is as the page shows it; digests that are new get their meaning."""
        pattern, at, new = "", 0, []
        for found in _VARIES.finditer(line):
            pattern += re.escape(line[at : found.start()])
            at = found.end()
            if found["digest"] and (real := self.real.get(found[0])):
                pattern += re.escape(real)
            elif found["digest"]:
                pattern += f"({_DIGEST.pattern})"
                new.append(found[0])
            else:
                pattern += {"date": r"[\d:TZ -]+", "host": r"[\w.-]+", "any": ".*"}[
                    str(found.lastgroup)
                ]
        match = re.fullmatch(pattern + re.escape(line[at:]), printed)
        if match:
            self.real |= zip(new, match.groups(), strict=True)
        return match is not None


class Program:
    """`blocklist` as a command for shells; use it as a context manager.

    Args:
        folder: For the command and its socket.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Self:
        place = Path(tempfile.mkdtemp(prefix="shell")) / "socket"  # names of sockets are short
        command = self.folder / "blocklist"
        command.write_text(f"#!{sys.executable} -IS\n{_CLIENT}")
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
        self.env = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            SOCKET: str(place),
            "LC_ALL": "C.UTF-8",
        }
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.shell_kit"],
            cwd=ROOT,
            env={**os.environ, **self.env, "OPENBLAS_NUM_THREADS": "1"},
        )
        deadline = time.monotonic() + START_SECONDS
        while not place.exists():
            assert self._server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.terminate()
        self._server.wait(timeout=TIMEOUT_SECONDS)
        place = Path(self.env[SOCKET])
        place.unlink()
        place.parent.rmdir()


_CLIENT = f"""
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect(os.environ["{SOCKET}"])
    asked = {{"words": sys.argv[1:], "folder": os.getcwd(), "env": dict(os.environ)}}
    socket.send_fds(server, [b"!"], [0, 1, 2])
    server.sendall(json.dumps(asked).encode() + b"\\n")
    sys.exit(int(server.recv(16) or b"70"))
"""


def serve() -> None:
    """Run the commands that come in, each as a fork of this process."""
    import blocklist.cli  # noqa: F401 - here, once, and not by the tests

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.environ[SOCKET])
        server.listen()
        while True:
            asking, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _child(asking)
            asking.close()


def _child(asking: socket.socket) -> None:
    """Become the command that somebody asks for."""
    from blocklist import cli
    from blocklist.cli import context
    from signing import keys

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, descriptors, _, _ = socket.recv_fds(asking, 1, 3)
    with asking.makefile("rb") as lines:
        asked: dict[str, Any] = json.loads(lines.readline())
    for number, descriptor in enumerate(array.array("i", descriptors)):
        os.dup2(descriptor, number)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["env"])
    os.fsync = lambda _: None  # nobody cuts the power
    keys.BCRYPT_ROUNDS = 1  # nobody steals these keys
    ahead = timedelta(seconds=float(os.environ.pop(AHEAD)))
    context.now = lambda: datetime.now(UTC) + ahead
    code = 70
    try:
        code = cli.run(asked["words"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        asking.sendall(str(code).encode())
        os._exit(code)


if __name__ == "__main__":
    serve()
