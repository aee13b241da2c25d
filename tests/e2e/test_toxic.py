"""The list is toxic: what is listed stands nowhere but where it must.

After a life of a list with unmistakable entries, everything that the commands and the API said and
every file that they left is searched. Clear text is allowed in the clear feed and its subscriber's
copy, in `private/`, in the publisher's cache and index, and in the answers to `diff` and `check`.
"""

import base64
import gzip
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from blocklist.core.defang import defang
from tests.cli_kit import HOME, ISP, PROXY, STORE, Ran, World, arguments, enrol, lines
from tests.cli_servers import serving
from tests.forks import Forks

MARKER = "marker-7f3a.example/secret-page"
ENTRIES = (
    f"http://{MARKER}",
    f"hxxp://q-{MARKER.replace('.', '[.]')}?hidden-query=1",
    f"p-{MARKER}/*",
    "h-marker-7f3a.example",
    ".d-marker-7f3a.example",
)
BAD_PORT = f"http://{MARKER.replace('/', ':99999/')}"
BAD = (BAD_PORT, f"*.{MARKER}", f"http:/{MARKER}", f"http://{MARKER}\0")
TRACES = ("marker-7f3a", "secret-page", "hidden-query")  # no digest can hold one by chance
ANSWERS = ("diff", "check", "log", "history")  # they show what was asked for, defanged
ALLOWED = (
    f"{STORE}/private/",
    f"{STORE}/feed/targets/demo/clear/",
    f"{HOME}/cache/",
    f"{HOME}/index/",
    f"{PROXY}/lists/demo/clear/",
    f"{PROXY}-api/lists/demo/clear/",
)


@dataclass
class Life:
    """A world after all that, and what was said in it."""

    world: World
    log: Path
    said: list[tuple[str, Ran]] = field(default_factory=list)

    def run(self, *words: str, given: str = "", state: str = ISP, by: Forks) -> Ran:
        ran = self.world.run(*words, given=given, state=state, by=by)
        self.said.append((f"{state}: {' '.join(words)}", ran))
        return ran


@pytest.fixture(scope="module", name="life")
def _life(
    prepared: World, forks: Forks, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Life]:
    world = prepared.copied(tmp_path_factory.mktemp("life"))
    with serving(world) as api:
        life = Life(world, api.log)
        _tell(life, api.url, forks)
        yield life


def _tell(life: Life, url: str, forks: Forks) -> None:
    """Publish, refuse, pull, ask, and look around, as people do."""
    world = life.world
    for name, feed in ((ISP, "hashed"), (PROXY, "clear")):
        enrol(world, f"{name}-api", feed, url, by=forks)
    life.run("publish", "demo", "--add", "-", given=lines(ENTRIES), by=forks)
    for bad in BAD:
        refused = life.run("publish", "demo", "--add", "-", given=f"{bad}\n", by=forks)
        assert refused.code == 2
    skipped = ("publish", "demo", "--add", "-", "--skip-bad")
    life.run(*skipped, given=lines([*BAD[:3], "harmless.example"]), by=forks)
    life.run("publish", "demo", "--remove", "-", given=f"http://{MARKER}-not\n", by=forks)
    both = world.file("both.txt", lines(ENTRIES))
    life.run("publish", "demo", "--add", both, "--remove", both, by=forks)
    (world.folder / both).unlink()
    reason = f"taken down, see http://{MARKER}"
    life.run("publish", "demo", "--add", "-", "--reason", reason, given="x.example\n", by=forks)
    life.run("publish", "demo", f"http://{MARKER}", by=forks)
    for state in (ISP, PROXY, f"{ISP}-api", f"{PROXY}-api"):
        life.run("pull", state=state, by=forks)
        life.run("check", "-", given=lines(ENTRIES[:2]), state=state, by=forks)
        life.run("check", "-", given=f"{BAD_PORT}\n", state=state, by=forks)
        life.run("status", state=state, by=forks)
    for words in (("log", "demo"), ("diff", "demo", "2", "3"), ("fsck",), ("refresh",)):
        life.run(*words, by=forks)
    life.run("history", "demo", "-", given=f"http://{MARKER}\n", by=forks)
    life.run("audit", "verify", "demo", by=forks)
    _damage(life, forks)


def _damage(life: Life, forks: Forks) -> None:
    """Spoil the storage: what is wrong is told without what stands there."""
    life.run("publish", "demo", "--add", "-", given="y.example\n", by=forks)
    targets = life.world.store / "feed" / "targets" / "demo"
    for path in targets.rglob("*.*"):
        more = f"u {MARKER}\n".encode() if path.parent.name == "clear" else b"more"
        path.write_bytes(path.read_bytes() + more)
    for state in (ISP, PROXY, f"{ISP}-api", f"{PROXY}-api"):
        life.run("pull", state=state, by=forks)
        life.run("status", state=state, by=forks)
    for path in (life.world.store / "private" / "records").rglob("*.gz"):
        path.write_bytes(gzip.compress(f"u {MARKER}".encode()))
    for words in (("log", "demo"), ("audit", "verify", "demo"), ("fsck",)):
        life.run(*words, by=forks)


def readable(path: Path) -> bytes:
    """Return what a file says, also when it is compressed."""
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def traces(data: bytes) -> list[str]:
    """Return what gives an entry away, however it is written."""
    return [
        trace
        for trace in TRACES
        if trace.encode() in data.lower() or base64.b64encode(trace.encode())[:-4] in data
    ]


def test_the_commands_did_what_they_should(life: Life) -> None:
    codes = [ran.code for _, ran in life.said]
    assert {0, 1, 2, 13} <= set(codes)
    assert not {70} & set(codes)
    listed = [ran for words, ran in life.said if "check" in words]
    assert all(ran.code in (1, 2) for ran in listed)


def test_nothing_said_gives_an_entry_away(life: Life) -> None:
    for words, ran in life.said:
        if any(f": {answer}" in words for answer in ANSWERS):
            continue
        told = (ran.out + ran.err).replace(defang(f"http://{MARKER}"), "")  # a file of that name
        assert not traces(told.encode()), words


def test_answers_are_defanged(life: Life) -> None:
    shown = 0
    for words, ran in life.said:
        assert MARKER not in ran.out + ran.err, words
        assert "http://" not in ran.out + ran.err, words
        shown += "marker-7f3a[.]example" in ran.out
    assert shown > 3


def test_the_log_of_the_api_says_nothing(life: Life) -> None:
    log = life.log.read_text()
    assert '"status": 200' in log
    assert not traces(log.encode())


def test_no_file_gives_an_entry_away(life: Life) -> None:
    holding = set()
    for path in life.world.folder.rglob("*"):
        name = str(path.relative_to(life.world.folder))
        if path.is_file() and traces(readable(path) + name.encode()):
            holding.add(name)
    allowed = {name for name in holding if name.startswith(ALLOWED)}
    assert holding == allowed
    for place in ALLOWED:
        assert any(name.startswith(place) for name in allowed), place


@pytest.mark.parametrize("command", ["check -", "publish demo --add -"])
def test_standard_input_keeps_urls_out_of_the_list_of_processes(
    prepared: World, tmp_path: Path, command: str
) -> None:
    world = prepared.copied(tmp_path)
    process = subprocess.Popen(
        arguments(*command.split()),
        cwd=world.folder,
        env=world.env(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(lines(ENTRIES).encode())
    process.stdin.flush()
    proc = Path("/proc") / str(process.pid)
    while b"blocklist" not in (proc / "cmdline").read_bytes():
        time.sleep(0.01)
    seen = (proc / "cmdline").read_bytes() + (proc / "comm").read_bytes()
    seen += (proc / "environ").read_bytes()
    seen += b"".join(bytes(link.readlink()) for link in (proc / "fd").iterdir())
    out, err = process.communicate(timeout=60)
    assert process.returncode in (0, 1), err
    assert not traces(seen)
    assert out
