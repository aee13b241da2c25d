"""`make demo [STORAGE=s3]`: the main job, end to end, on a real list.

An admin publishes 20 versions of the public sample; the API serves them; two subscribers, one of
each feed, pull every release over HTTP, verify it and answer "is this URL listed?". Then somebody
alters stored objects, and the pull refuses them while the list stays in force.

Everything happens in a temporary folder, on loopback, through the commands that people type. With
STORAGE=s3 the objects are on a real S3 server, and two API workers agree through a real Redis.
"""

import contextlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blocklist.cli import run
from blocklist.cli.output import table
from blocklist.core.defang import defang
from blocklist.store.open import open_store
from scripts import sample, storages
from scripts.services.install import Unavailable
from scripts.services.process import free_ports

VERSIONS = 20
HOSTS_ONE_IN = 16  # of the bare hosts; every entry with a path is kept
CHECKED = 500  # listed and unlisted URLs each
SERVER_SECONDS = 30.0
FEEDS = ("hashed", "clear")


class Demo:
    """A publisher, an API and two subscribers in one folder, and a storage."""

    def __init__(self, folder: Path, storage: storages.Storage) -> None:
        self.folder = folder
        self.storage = storage
        self.source = folder / "list.txt"
        self.rows: list[tuple[object, ...]] = []
        os.environ["BLOCKLIST_STORAGE"] = storage.url
        os.environ["BLOCKLIST_HOME"] = str(folder / "home")
        self.port = free_ports(1)

    def command(self, *words: str, state: str = "hashed", expect: int = 0) -> Any:
        """Run one command of the command line and return its JSON document."""
        os.environ["BLOCKLIST_STATE"] = str(self.folder / f"subscriber-{state}")
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([*words, "--json"])
        if code != expect:
            raise SystemExit(f"{words[0]} ended with {code}, expected {expect}: {err.getvalue()}")
        return json.loads(out.getvalue())

    def prepare(self) -> None:
        """Make the repository and the list, and enrol both subscribers."""
        say("an admin makes a repository (throw-away keys) and the list `demo`")
        self.command("init", "--dev")
        made = self.command("list", "create", "demo")
        say(f"  its harmless test entry: {defang(made['test_host'])}")
        for feed in FEEDS:
            file = str(self.folder / f"{feed}.json")
            given = self.command(
                *("subscriber", "add", f"isp-{feed}", "--list", "demo", "--feed", feed),
                *("--source", f"http://127.0.0.1:{self.port}", "--out", file),
            )
            words = ("enrol", file, "--accept-dev", "--fingerprint", given["fingerprint"])
            self.command(*words, state=feed)
            say(f"  isp-{feed} enrols, root fingerprint compared: {given['fingerprint'][:16]}..")

    def release(self, number: int, entries: list[str]) -> None:
        """Publish one version and let both subscribers pull it."""
        start = time.monotonic()
        self.source.write_text("\n".join(entries) + "\n")
        done = self.command("publish", "demo", str(self.source), "--skip-bad")
        pulled = {feed: self.pull_version(feed, done["version"]) for feed in FEEDS}
        for feed in FEEDS:
            expected = (done["version"], done["digests"][feed], True)
            got = (pulled[feed]["to"], pulled[feed]["digest"], pulled[feed]["changed"])
            if got != expected:
                raise SystemExit(f"isp-{feed} has {got}, expected {expected}")
        seconds = time.monotonic() - start
        row = [done["version"], done["entries"], done["added"], done["removed"]]
        for feed in FEEDS:
            stored = done["stored"]
            delta = stored.get(f"demo/{feed}/delta-{number - 1}", stored[f"demo/{feed}/snapshot"])
            row += [delta, stored[f"demo/{feed}/list"], pulled[feed]["requests"]]
        self.rows.append((*row, f"{seconds:.1f}"))
        say(
            f"  version {done['version']:>2}: {done['entries']:,} entries "
            f"(+{done['added']:,} -{done['removed']:,}), both subscribers have it"
        )

    def pull(self, feed: str, expect: int = 0) -> dict[str, Any]:
        """Pull one subscriber's feed and return what it did."""
        document = self.command("pull", state=feed, expect=expect)
        found: dict[str, Any] = document["lists"][0] if document["lists"] else document["failed"][0]
        return found

    def pull_version(self, feed: str, version: int) -> dict[str, Any]:
        """Pull until the API has seen the release, which takes it up to a second."""
        deadline = time.monotonic() + SERVER_SECONDS
        while True:
            pulled = self.pull(feed)
            if pulled["to"] == version or time.monotonic() > deadline:
                return pulled
            time.sleep(0.1)

    def check(self, entries: list[str]) -> None:
        """Ask both subscribers about listed URLs and about neighbours that are not listed."""
        known = set(entries)
        pages = [e for e in entries if "/" in e and "?" not in e and not sample.with_port(e)]
        listed = [f"http://{entry}" for entry in random.Random(1).sample(pages, CHECKED)]
        others = [f"{url}-not" for url in listed if url.split("/")[2] not in known]
        file = self.folder / "urls.txt"
        file.write_text("\n".join([*listed, *others]) + "\n")
        for feed in FEEDS:
            with file.open("rb") as urls, standard_input(urls):
                verdicts = self.command("check", "-", state=feed, expect=1)
            hits = [item["listed"] for item in verdicts]
            if hits != [True] * len(listed) + [False] * len(others):
                raise SystemExit(f"isp-{feed} gave a wrong verdict")
            say(f"  isp-{feed}: {len(listed)} listed URLs listed, {len(others)} others not")
        say(f"  for example {defang(listed[0])}")

    def tamper(self, entries: list[str]) -> None:
        """Alter every object that leads to a new version, see the refusal, then repair it."""
        self.source.write_text("\n".join(entries) + "\n")
        before = self.pull("hashed")
        held = self.targets()
        done = self.command("publish", "demo", str(self.source), "--skip-bad")
        originals = {
            key: data
            for key, data in self.targets().items()
            if key not in held or key.endswith(".snapshot")
        }
        for key, data in originals.items():
            self.storage.overwrite(key, data[:-1] + bytes([data[-1] ^ 1]))
        say(f"  one bit flipped in each stored object that leads to version {done['version']}")
        time.sleep(1)  # the API looks for a new head twice a second
        refused = self.pull("hashed", expect=13)
        say(f"  pull ends with exit code {refused['exit']}: {refused['error']}")
        status = self.command("status", state="hashed")["subscriber"][0]
        if (status["version"], status["digest"]) != (before["to"], before["digest"]):
            raise SystemExit("the installed list changed")
        say(f"  version {status['version']} stays in force, {status['entries']:,} entries")
        for key, data in originals.items():
            self.storage.overwrite(key, data)
        repaired = self.pull("hashed")
        if (repaired["to"], repaired["digest"]) != (done["version"], done["digests"]["hashed"]):
            raise SystemExit("the repaired storage was not pulled")
        say(f"  repaired: the next pull installs version {repaired['to']}")

    def targets(self) -> dict[str, bytes]:
        """Return the stored objects of the hashed feed by key."""
        store = open_store(self.storage.url)
        listed = store.list("feed/targets/demo/hashed/")
        found = {item.key: store.get(item.key) for item in listed}
        return {key: stored.data for key, stored in found.items() if stored is not None}

    def summary(self) -> None:
        """Print the table."""
        header = ("version", "entries", "added", "removed")
        for feed in FEEDS:
            header += (f"{feed} delta", "full list", "requests")
        print(f"\n{table((*header, 'seconds'), self.rows)}\n")
        for offset, feed in ((4, "hashed"), (7, "clear")):
            deltas = sum(int(str(row[offset])) for row in self.rows[1:])
            full = sum(int(str(row[offset + 1])) for row in self.rows[1:])
            say(f"{feed}: {deltas:,} bytes of deltas instead of {full:,} bytes of full lists")


def main() -> None:
    """Run the demo in a temporary folder."""
    start = time.monotonic()
    where = os.environ.get("STORAGE") or "file"
    if where not in {"file", "s3"}:
        raise SystemExit("expected STORAGE=file or STORAGE=s3")
    folder = Path(tempfile.mkdtemp(prefix="blocklist-demo-"))
    try:
        with storages.opened(where, folder) as storage:
            show(Demo(folder, storage))
        say(f"done in {time.monotonic() - start:.0f} s")
    except Unavailable as error:
        raise SystemExit(f"expected a real S3 server and Redis: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def show(demo: Demo) -> None:
    """Show everything, in order."""
    slices = [sample.slice_of(v, HOSTS_ONE_IN) for v in sample.versions(VERSIONS + 1)]
    demo.prepare()
    with serving(demo.port, demo.folder / "api.log", demo.storage.workers):
        say(f"the API serves on 127.0.0.1:{demo.port}, workers: {demo.storage.workers}")
        say(f"{VERSIONS} versions of the public sample are released and pulled")
        for number, entries in enumerate(slices[:VERSIONS], 1):
            demo.release(number, entries)
        say("is this URL listed?")
        demo.check(slices[VERSIONS - 1])
        say("somebody alters the storage")
        demo.tamper(slices[VERSIONS])
    say("the storage is verified from the first root to the last digest")
    report = demo.command("fsck")
    say("  all well: " + ", ".join(f"{n:,} {what}" for what, n in report["checked"].items()))
    demo.summary()


@contextlib.contextmanager
def serving(port: int, log: Path, workers: int) -> Iterator[None]:
    """Run the API in a process of its own, and stop it by its pid."""
    words = ["-c", "from blocklist.cli import main; main()", "serve"]
    words += ["--bind", f"127.0.0.1:{port}", "--workers", str(workers)]
    with log.open("wb") as output:
        server = subprocess.Popen([sys.executable, *words], stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + SERVER_SECONDS
        while not ready(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the API did not start:\n{log.read_text()}")
            time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait(timeout=SERVER_SECONDS)


def ready(port: int) -> bool:
    """Tell whether the API answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextlib.contextmanager
def standard_input(file: io.BufferedReader) -> Iterator[None]:
    """Let a command read this file as its standard input."""
    before, sys.stdin = sys.stdin, io.TextIOWrapper(file)
    try:
        yield
    finally:
        sys.stdin = before


def say(text: str) -> None:
    """Print one line of progress."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
