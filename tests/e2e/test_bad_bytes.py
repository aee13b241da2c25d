"""Truncated and random bytes in each kind of object that a client reads.

What is in force stays, or another way leads to the same verified list; `fsck` names what is wrong.
"""

import http.server
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli_inside import next_root
from tests.cli_kit import ISP, World, pages
from tests.forks import Forks

HEAD = 5
IN_FORCE, NEW = "http://site-2.example/page/2", "http://site-6.example/page/45"
HOW: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "random": lambda data: random.Random(len(data)).randbytes(len(data)),
    "one bit": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "too long": lambda data: data + bytes(1 << 20),
}

# Kind of metadata: its newest file, and what a pull says of it.
METADATA = {
    "timestamp": ("timestamp.json", 14),
    "snapshot metadata": ("*.snapshot.json", 13),
    "targets": ("*.targets.json", 13),
    "list role": (f"{HEAD}.demo.json", 13),
    "next root": ("2.root.json", 14),
}
# Kind of object: what is altered, and the way that a pull then takes.
OBJECTS = {
    "delta": ("targets/demo/hashed/*.delta-*", "list"),
    "intermediate role": ("metadata/[34].demo.json", "list"),
    "delta and snapshot": ("targets/demo/hashed/*.[ds]*", "list"),
    "snapshot": ("targets/demo/hashed/*.snapshot", "ladder"),
    "list": ("targets/demo/hashed/*.list", "ladder"),
}


@pytest.fixture(scope="module", name="ahead")
def _ahead(prepared: World, forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The storage went on, in all of its kinds of files; subscribers are still at version 2."""
    world = prepared.copied(tmp_path_factory.mktemp("ahead"))
    for version in range(3, HEAD + 1):
        done = world.done("publish", "demo", "-", given=pages(version, version + 41), by=forks)
    assert done["version"] == HEAD
    world.done("list", "create", "more", by=forks)
    next_root(world)
    world.done("refresh", by=forks)
    return world


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", METADATA)
def test_metadata(ahead: World, tmp_path: Path, forks: Forks, kind: str, how: str) -> None:
    pattern, code = METADATA[kind]
    world = ahead.copied(tmp_path)
    path = max(world.metadata.glob(pattern), key=lambda path: path.name)
    original = path.read_bytes()
    path.write_bytes(HOW[how](original))
    codes = {code, 13, 14} if how == "too long" else {code}
    before = world.standing()
    ran = world.run("pull", "--json", by=forks)
    assert ran.code in codes, ran
    assert ran.json["failed"][0]["exit"] == ran.code
    assert ran.complaint.endswith("; the installed list stays in force")
    assert world.standing() == before
    assert world.run("check", IN_FORCE, by=forks).code == 1
    report = world.run("fsck", "--json", by=forks)
    assert report.code in (13, 14)
    path.write_bytes(original)
    assert world.done("pull", by=forks)["lists"][0]["to"] == HEAD


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", OBJECTS)
def test_objects(ahead: World, tmp_path: Path, forks: Forks, kind: str, how: str) -> None:
    pattern, way = OBJECTS[kind]
    world = ahead.copied(tmp_path)
    paths = list((world.store / "feed").glob(pattern))
    assert paths
    for path in paths:
        path.write_bytes(HOW[how](path.read_bytes()))
    (pulled,) = world.done("pull", by=forks)["lists"]
    assert (pulled["to"], pulled["way"]) == (HEAD, way)
    assert world.run("check", NEW, by=forks).code == 1
    report = world.run("fsck", "--json", by=forks)
    assert (report.code, report.json["ok"]) == (13, False)
    assert report.json["problems"]


@pytest.mark.parametrize("how", HOW)
def test_every_object_at_once(ahead: World, tmp_path: Path, forks: Forks, how: str) -> None:
    world = ahead.copied(tmp_path)
    for path in (world.store / "feed" / "targets" / "demo" / "hashed").iterdir():
        path.write_bytes(HOW[how](path.read_bytes()))
    before = world.standing()
    ran = world.run("pull", by=forks)
    assert ran.code == 13
    assert "no way leads to version 5" in ran.complaint
    assert world.standing() == before
    assert world.run("check", IN_FORCE, by=forks).code == 1


class Answering(http.server.BaseHTTPRequestHandler):
    """Gives the same bytes whatever is asked."""

    answer = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


@contextmanager
def answering(data: bytes) -> Iterator[str]:
    handler = type("Handler", (Answering,), {"answer": data})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>please log in</html>",
        random.Random(7).randbytes(2000),
        b'{"format": 1, "list": "demo", "feed": "hash',
        b'{"format": 1, "list": "demo", "feed": "hashed", "version": 5}',
        b"{" * 4_000,
    ],
    ids=["empty", "portal", "random", "truncated", "incomplete", "deep"],
)
@pytest.mark.parametrize("scheme", ["", "static+"], ids=["api", "static"])
def test_an_answer_of_something_else(world: World, forks: Forks, data: bytes, scheme: str) -> None:
    with answering(data) as url:
        words = ("subscriber", "add", "web", "--list", "demo", "--feed", "hashed")
        world.done(*words, "--source", scheme + url, "--out", "web.json", by=forks)
        world.done("enrol", "web.json", "--accept-dev", by=forks)
        before = world.standing()
        ran = world.run("pull", by=forks)
    assert ran.code == 14, ran
    assert ran.complaint
    assert world.standing() == before
    assert world.run("check", IN_FORCE, by=forks).code == 1


class TestState:
    """The subscriber's own files: a damaged one is never used, and the next pull repairs it."""

    @pytest.mark.parametrize("how", HOW)
    @pytest.mark.parametrize("file", ["installed.json", "*.list"])
    def test_what_is_installed(
        self, ahead: World, tmp_path: Path, forks: Forks, file: str, how: str
    ) -> None:
        world = ahead.copied(tmp_path)
        (path,) = (world.folder / ISP / "lists" / "demo" / "hashed").glob(file)
        path.write_bytes(HOW[how](path.read_bytes()))
        if file == "installed.json":
            assert world.refused(30, "check", IN_FORCE, by=forks)
        else:  # the matcher file was made from bytes that were verified
            assert world.run("check", IN_FORCE, by=forks).code == 1
        assert "\nnext  " in world.run("status", by=forks).out
        (pulled,) = world.done("pull", by=forks)["lists"]
        assert (pulled["to"], pulled["changed"]) == (HEAD, True)
        assert pulled["warnings"]
        assert world.run("check", NEW, by=forks).code == 1

    @pytest.mark.parametrize("how", ["truncated", "empty", "random"])
    def test_the_enrolment(self, ahead: World, tmp_path: Path, forks: Forks, how: str) -> None:
        world = ahead.copied(tmp_path)
        path = world.folder / ISP / "enrolment.json"
        path.write_bytes(HOW[how](path.read_bytes()))
        for words in (("pull",), ("check", IN_FORCE)):
            assert "enrol again" in world.refused(30, *words, by=forks)
        world.done("enrol", "isp.json", "--accept-dev", by=forks)
        assert world.run("check", IN_FORCE, by=forks).code == 1
        assert world.done("pull", by=forks)["lists"][0]["from"] == 2

    def test_a_damaged_enrolment_lets_no_other_publisher_in(
        self, world: World, forks: Forks, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        stranger = World(tmp_path_factory.mktemp("stranger"))
        stranger.done("init", "--dev", by=forks)
        stranger.done("list", "create", "demo", by=forks)
        words = ("subscriber", "add", "isp", "--list", "demo", "--feed", "hashed")
        stranger.done(*words, "--out", "isp.json", by=forks)
        world.file(f"{ISP}/enrolment.json", b"{")
        file = str(stranger.folder / "isp.json")
        complaint = world.refused(2, "enrol", file, "--accept-dev", by=forks)
        assert "another state directory" in complaint

    @pytest.mark.parametrize("how", ["truncated", "empty", "random"])
    def test_trust(self, ahead: World, tmp_path: Path, forks: Forks, how: str) -> None:
        """What was verified before is verified again, from the pinned root on."""
        world = ahead.copied(tmp_path)
        files = [path for path in (world.folder / ISP / "trust").rglob("*") if path.is_file()]
        assert len(files) > 4
        for path in files:
            path.write_bytes(HOW[how](path.read_bytes()))
        assert world.done("pull", by=forks)["lists"][0]["to"] == HEAD

    def test_how_the_last_pull_ended(self, ahead: World, tmp_path: Path, forks: Forks) -> None:
        """Nothing depends on it: a pull that cannot write it down says so and succeeds."""
        world = ahead.copied(tmp_path)
        path = world.folder / ISP / "lists" / "demo" / "hashed" / "outcome.json"
        path.write_bytes(b"{")
        assert world.run("status", by=forks).code == 0
        path.unlink()
        path.mkdir()
        ran = world.run("pull", "--json", by=forks)
        assert (ran.code, ran.json["lists"][0]["to"]) == (0, HEAD)
        assert "outcome.json" in ran.err
        shutil.rmtree(path)
        assert world.done("pull", by=forks)["lists"][0]["changed"] is False


@pytest.mark.parametrize("how", ["truncated", "empty", "random"])
@pytest.mark.parametrize("file", ["lists/demo.json", "records/demo/*"])
def test_what_only_the_publisher_reads(
    ahead: World, tmp_path: Path, forks: Forks, file: str, how: str
) -> None:
    world = ahead.copied(tmp_path)
    paths = list((world.store / "private").glob(file))
    assert paths
    for path in paths:
        path.write_bytes(HOW[how](path.read_bytes()))
    command = ("log", "demo") if "records" in file else ("publish", "demo", "v1.txt")
    assert world.refused(14, *command, by=forks)
    assert world.run("fsck", by=forks).code == 13
    assert world.run("pull", by=forks).code == 0
