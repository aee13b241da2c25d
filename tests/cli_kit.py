"""The commands as real processes, in a folder that holds one small world.

    world = World(tmp_path)
    world.run("init", "--dev")                      a new interpreter, as a person starts it
    world.run("publish", "demo", "-", given="a.example/x")
    world.run("pull", state="isp", by=forks)        a forked process: for tests that need many

A world holds `repo`, `home` and a folder for each subscriber's state. Commands run inside it and
know it by relative paths, so that a copy is another world with the same past.
"""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.forks import Command, Ended, Forks

ROOT = Path(__file__).parent.parent
TIMEOUT_SECONDS = 120
PROGRAM = "from blocklist.cli import main; main()"
STORE, HOME = "repo", "home"
ISP, PROXY = "isp", "proxy"  # subscribers: of the hashed feed, of the clear feed
FEEDS = {ISP: "hashed", PROXY: "clear"}
TEST_HOST = "test-entry.demo.example"

FILLER = ".filler"  # takes the room on a small disk

_NOT_CONTENT = {".lock", "lock", "trust.lock", "local.lock", "outcome.json", FILLER}
_SCRAP = {"cache", "index", ".tmp", "trust"}


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document that standard output must hold."""
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line that says what is wrong, after indented lines about a source or entries."""
        *before, last = self.err.splitlines()
        assert all(line.startswith("  ") for line in before), self.err
        assert last.startswith("blocklist: "), self.err
        assert "Traceback" not in self.err
        return last.removeprefix("blocklist: ")


@dataclass(frozen=True)
class World:
    """A publisher, its storage and its subscribers in one folder."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        return self.folder / STORE

    @property
    def metadata(self) -> Path:
        return self.store / "feed" / "metadata"

    def env(self, state: str = ISP) -> dict[str, str]:
        """Return the environment of a command."""
        places = {
            "BLOCKLIST_STORAGE": f"file:{STORE}",
            "BLOCKLIST_HOME": HOME,
            "BLOCKLIST_STATE": state,
            "PYTHONPATH": str(ROOT),
            "LC_ALL": "C.UTF-8",
        }
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return kept | places | self.environment

    def with_config(self, text: str) -> "World":
        """Return this world with a configuration file."""
        (self.folder / "config.toml").write_text(text)
        return replace(self, environment=self.environment | {"BLOCKLIST_CONFIG": "config.toml"})

    def run(
        self,
        *words: str,
        given: str | bytes | None = None,
        state: str = ISP,
        by: Forks | None = None,
        file_limit: int | None = None,
    ) -> Ran:
        """Run a command; `given` is its standard input, `file_limit` the largest file it writes."""
        data = given.encode() if isinstance(given, str) else given or b""
        command = Command(words, str(self.folder), self.env(state), data, file_limit)
        return _ran(by.run(command) if by else _executed(command))

    def killed(
        self, at: int, *words: str, by: Forks, given: str | None = None, state: str = ISP
    ) -> Ran:
        """Run a command that is killed before its system call number `at` that makes a name."""
        data = (given or "").encode()
        return _ran(by.run(Command(words, str(self.folder), self.env(state), data, None, at)))

    def done(self, *words: str, given: str | None = None, **options: Any) -> Any:
        """Run a command that must succeed, and return its JSON document."""
        ran = self.run(*words, "--json", given=given, **options)
        assert ran.code == 0, ran
        return ran.json

    def refused(self, code: int, *words: str, **options: Any) -> str:
        """Run a command that must end with this code, one line, and nothing changed."""
        before = self.standing()
        ran = self.run(*words, **options)
        assert ran.code == code, ran
        assert self.standing() == before
        return ran.complaint

    def file(self, name: str, content: str | bytes) -> str:
        """Write a file into the world and return its name there."""
        data = content.encode() if isinstance(content, str) else content
        (self.folder / name).write_bytes(data)
        return name

    def standing(self) -> dict[str, str]:
        """Return the digest of every file of storage, home and states, but for locks and scrap."""
        return dict(self._standing())

    def copied(self, to: Path) -> "World":
        """Return another world with the same past."""
        shutil.copytree(self.folder, to, symlinks=True, dirs_exist_ok=True)
        return replace(self, folder=to)

    def _standing(self) -> Iterator[tuple[str, str]]:
        for top in (STORE, HOME, *FEEDS):
            for path in sorted((self.folder / top).rglob("*")):
                name = path.relative_to(self.folder)
                ours = path.name not in _NOT_CONTENT and _SCRAP.isdisjoint(name.parts)
                if path.is_file() and ours:
                    yield str(name), digest(path.read_bytes())


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def lines(entries: Iterable[str]) -> str:
    """Return a source file."""
    return "".join(f"{entry}\n" for entry in entries)


def pages(start: int, end: int) -> str:
    """Return a source file of harmless URLs."""
    return lines(f"http://site-{n % 13}.example/page/{n}" for n in range(start, end))


def arguments(*words: str) -> list[str]:
    """Return how a command is started."""
    return [sys.executable, "-c", PROGRAM, *words]


def made(folder: Path, by: Forks | None = None) -> World:
    """Return a world with the list `demo` and one subscriber of each feed, nothing released."""
    world = World(folder)
    world.done("init", "--dev", by=by)
    world.done("list", "create", "demo", by=by)
    for name, feed in FEEDS.items():
        enrol(world, name, feed, f"file:{STORE}/feed", by=by)
    return world


def enrol(world: World, name: str, feed: str, *sources: str, by: Forks | None = None) -> None:
    """Give somebody access from these sources, and enrol a state of that name."""
    given = [word for source in sources for word in ("--source", source)]
    words = ("subscriber", "add", name, "--list", "demo", "--feed", feed, *given)
    world.done(*words, "--out", f"{name}.json", by=by)
    world.done("enrol", f"{name}.json", "--accept-dev", state=name, by=by)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """Mount a disk of `size` bytes on a folder, where this user may; tell whether it is there."""
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    there = shutil.which("mount") is not None
    mounted = there and subprocess.run(words, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def _executed(command: Command) -> Ended:
    limit = command.file_limit
    done = subprocess.run(
        arguments(*command.words),
        cwd=command.folder,
        env=command.environment,
        input=command.given,
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
        preexec_fn=_limited(limit) if limit is not None else None,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def _limited(limit: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def _ran(ended: Ended) -> Ran:
    return Ran(ended.code, _text(ended.out), _text(ended.err))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
