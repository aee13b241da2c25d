"""Both feeds, from the API, from any web server, and from a folder: the same verified list."""

import json
import math
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blocklist.core.entries import Feed
from blocklist.core.update import Update
from blocklist.store import layout
from signing.names import file_name
from tests.cli_inside import without_sync
from tests.cli_kit import FEEDS, STORE, World, digest, enrol, lines
from tests.cli_servers import Api, Static, serving, static
from tests.forks import Forks
from tests.publisher_kit import Kit

BEHIND = (1, 2, 7, 40, 1000)
HEAD = 1041
BURNED_AFTER, SIGNED_AGAIN_AFTER = (500, HEAD - 6), (700, HEAD - 4)
FIVE_REQUESTS_OF_TUF = 5  # next root, timestamp, snapshot metadata, targets, list role


def token_of(world: World, name: str) -> str:
    token: str = json.loads((world.folder / f"{name}.json").read_text())["token"]
    return token


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module", name="served")
def _served(
    prepared: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, Api, Static]]:
    """A world whose storage is served by the API and by a web server."""
    world = prepared.copied(tmp_path_factory.mktemp("served"))
    with serving(world) as api, static(world.store / "feed") as web:
        yield world, api, web


@pytest.mark.parametrize("feed", ["clear", "hashed"])
@pytest.mark.parametrize("kind", ["api", "static", "directory"])
def test_every_source_leads_to_the_same_list(
    served: tuple[World, Api, Static], forks: Forks, kind: str, feed: str
) -> None:
    world, api, web = served
    source = {
        "api": api.url,
        "static": f"static+{web.url}",
        "directory": f"file:{STORE}/feed",
    }[kind]
    name = f"{kind}-{feed}"
    enrol(world, name, feed, source, by=forks)
    (pulled,) = world.done("pull", state=name)["lists"]
    version = world.done("log", "demo", by=forks)[0]["version"]
    assert (pulled["feed"], pulled["to"], pulled["changed"]) == (feed, version, True)
    listed = (world.store / "feed" / "targets" / "demo" / feed).glob(f"{pulled['digest']}.list")
    assert [digest(path.read_bytes()) for path in listed] == [pulled["digest"]]
    if kind == "api":
        assert pulled["requests"] == 1
    verdicts = world.run(
        *("check", "--json", "http://site-5.example/page/5", "http://site-5.example/"),
        state=name,
        by=forks,
    ).json
    assert [item["listed"] for item in verdicts] == [True, False]


def test_one_request_a_pull_also_when_nothing_is_new(
    served: tuple[World, Api, Static], forks: Forks
) -> None:
    world, api, _ = served
    enrol(world, "counted", "hashed", api.url, by=forks)
    world.done("pull", state="counted", by=forks)
    added = world.done("publish", "demo", "--add", "-", given="http://once.example/x\n", by=forks)
    api.until_seen(added["version"], token_of(world, "counted"), "hashed")
    for changed in (True, False, False):
        before = api.requests()
        (pulled,) = world.done("pull", state="counted", by=forks)["lists"]
        assert (pulled["changed"], pulled["requests"]) == (changed, 1)
        assert api.requests() - before == 1


def test_sources_are_tried_in_order(served: tuple[World, Api, Static], forks: Forks) -> None:
    world, api, web = served
    down = f"http://127.0.0.1:{closed_port()}"
    enrol(world, "patient", "clear", down, f"static+{web.url}", api.url, by=forks)
    web.asked.clear()
    before = api.requests()
    ran = world.run("pull", "--json", state="patient", by=forks)
    assert (ran.code, ran.json["lists"][0]["changed"]) == (0, True)
    (warning,) = ran.json["lists"][0]["warnings"]
    assert down.removeprefix("http://") in warning
    assert ran.err.startswith("blocklist: warning: ")
    assert web.asked
    assert api.requests() == before


class TestTokens:
    def test_a_wrong_one(self, served: tuple[World, Api, Static], forks: Forks) -> None:
        world, api, _ = served
        enrol(world, "wrong", "clear", api.url, by=forks)
        world.done("pull", state="wrong", by=forks)
        path = world.folder / "wrong" / "enrolment.json"
        wrong = "W" * 43
        path.write_text(path.read_text().replace(token_of(world, "wrong"), wrong))
        ran = world.run("pull", state="wrong", by=forks)
        assert ran.code == 15
        assert wrong not in ran.complaint
        assert world.run("check", "site-5.example/page/5", state="wrong", by=forks).code == 1

    def test_outside_its_scope(self, served: tuple[World, Api, Static], forks: Forks) -> None:
        """Somebody widens an enrolment by hand: the API refuses."""
        world, api, _ = served
        enrol(world, "narrow", "hashed", api.url, by=forks)
        file = world.folder / "narrow.json"
        wider = file.read_text().replace('"hashed"', '"clear"')
        words = ("enrol", "-", "--accept-dev")
        world.done(*words, given=wider, state="wider", by=forks)
        assert world.run("pull", state="wider", by=forks).code == 15

    def test_expired(self, served: tuple[World, Api, Static], forks: Forks) -> None:
        world, api, _ = served
        words = ("subscriber", "add", "past", "--list", "demo", "--feed", "clear")
        given = ("--source", api.url, "--expires", "2999-12-31", "--out", "past.json")
        world.done(*words, *given, by=forks)
        (path,) = [
            path
            for path in (world.store / "private" / "enrolments").iterdir()
            if json.loads(path.read_text())["name"] == "past"
        ]
        document = json.loads(path.read_text()) | {"expires": "2001-01-01T00:00:00Z"}
        path.write_text(json.dumps(document))
        world.done("enrol", "past.json", "--accept-dev", state="past", by=forks)
        assert world.run("pull", state="past", by=forks).code == 15

    def test_none_is_in_the_log_or_in_what_is_printed(
        self, served: tuple[World, Api, Static], forks: Forks
    ) -> None:
        world, api, web = served
        words = ("subscriber", "add", "quiet", "--list", "demo", "--feed", "clear")
        ran = [world.run(*words, "--source", api.url, "--out", "quiet.json", by=forks)]
        ran.append(world.run("enrol", "quiet.json", "--accept-dev", state="quiet", by=forks))
        ran += [world.run(name, state="quiet", by=forks) for name in ("pull", "status")]
        tokens = {path: token_of(world, path.stem) for path in world.folder.glob("*.json")}
        assert len(tokens) > 5
        assert all(one.code == 0 for one in ran)
        told = "".join(one.out + one.err for one in ran) + api.log.read_text()
        told += "".join(web.asked)
        assert not [path for path, token in tokens.items() if token in told]


def test_a_server_that_is_gone(prepared: World, tmp_path: Path, forks: Forks) -> None:
    world = prepared.copied(tmp_path)
    with serving(world) as api:
        enrol(world, "isp2", "hashed", api.url, by=forks)
        world.done("pull", state="isp2", by=forks)
        api.stop()
        for state in ("isp2", "never"):
            if state == "never":
                world.done("enrol", "isp2.json", "--accept-dev", state=state, by=forks)
            ran = world.run("pull", state=state)
            assert ran.code == 10
            assert "127.0.0.1" in ran.complaint
    assert world.run("check", "site-5.example/page/5", state="isp2", by=forks).code == 1
    assert "unreachable" in world.run("status", state="isp2", by=forks).out


@dataclass
class Long:
    """A world of 1,041 versions, and states that were left behind on the way."""

    world: World
    api: Api
    web: Static

    def subscriber(self, feed: str, behind: int, source: str, folder: Path, forks: Forks) -> World:
        """Return a world with the state `s`, that many versions behind, which has the source."""
        name = f"{feed}-{behind}"
        shutil.copytree(self.world.folder / name, folder / "s", symlinks=True)
        (folder / STORE).symlink_to(self.world.store)
        document = json.loads((self.world.folder / f"{feed}-api.json").read_text())
        text = json.dumps(document | {"sources": [{"url": source}]})
        world = World(folder)
        world.done("enrol", "-", "--accept-dev", given=text, state="s", by=forks)
        return world


def entries(version: int) -> str:
    """Return the source of a version: each step drops one entry and adds one."""
    return lines(f"http://a{n % 7}.example/item/{n}" for n in range(version, version + 20))


def written(kit: Kit, world: World) -> None:
    """Put everything that the publisher has stored in memory into the folder."""
    for key, data in kit.objects().items():
        path = world.folder / STORE / key
        if not path.exists() or key == layout.TIMESTAMP:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


@pytest.fixture(scope="module", name="long")
def _long(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Long]:
    world = World(tmp_path_factory.mktemp("long"))
    with without_sync():
        kit = Kit.made(world.folder, cache_bytes=40_000, trust_clock=True)
        version = 0
        while version < HEAD:
            if version in BURNED_AFTER:
                key = layout.METADATA + file_name("demo", version + 1)
                kit.memory.plant(key, b"left by a crash")
            if version in SIGNED_AGAIN_AFTER:
                kit.clock.tick(days=50)
                version = _published(kit)
                kit.clock.tick(days=-50)
            version = _published(kit, entries(version + 1))
            if HEAD - version in BEHIND:
                written(kit, world)
                for feed in FEEDS.values():
                    enrol(world, f"{feed}-{HEAD - version}", feed, f"file:{STORE}/feed", by=forks)
                    world.done("pull", state=f"{feed}-{HEAD - version}", by=forks)
    assert version == HEAD
    written(kit, world)
    with serving(world) as api, static(world.store / "feed") as web:
        for feed in FEEDS.values():
            enrol(world, f"{feed}-api", feed, api.url, by=forks)
        yield Long(world, api, web)


def _published(kit: Kit, source: str | None = None) -> int:
    """Release a list, or the last one once more; return the version."""
    done = kit.publish(source)
    assert done.version is not None
    return done.version


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("feed", ["clear", "hashed"])
class TestManyVersionsBehind:
    def test_from_the_api(
        self, long: Long, tmp_path: Path, forks: Forks, feed: str, behind: int
    ) -> None:
        world = long.subscriber(feed, behind, long.api.url, tmp_path, forks)
        path = f"/v1/lists/demo/{feed}/update?from={HEAD - behind}"
        answer = long.api.get(path, token_of(long.world, f"{feed}-api"))
        assert len(Update.from_bytes(answer).objects) <= _promised(behind)
        pulled = self._arrived(long, world, behind, Feed(feed), forks)
        assert pulled["requests"] == 1

    def test_from_a_web_server(
        self, long: Long, tmp_path: Path, forks: Forks, feed: str, behind: int
    ) -> None:
        world = long.subscriber(feed, behind, f"static+{long.web.url}", tmp_path, forks)
        long.web.asked.clear()
        self._arrived(long, world, behind, Feed(feed), forks)
        objects = [path for path in long.web.asked if path.startswith("/targets/")]
        assert 1 <= len(objects) <= _promised(behind)

    def test_from_a_folder(
        self, long: Long, tmp_path: Path, forks: Forks, feed: str, behind: int
    ) -> None:
        world = long.subscriber(feed, behind, f"file:{STORE}/feed", tmp_path, forks)
        pulled = self._arrived(long, world, behind, Feed(feed), forks)
        assert pulled["requests"] <= FIVE_REQUESTS_OF_TUF + 2 * _promised(behind)

    def _arrived(
        self, long: Long, world: World, behind: int, feed: Feed, forks: Forks
    ) -> dict[str, Any]:
        (pulled,) = world.done("pull", state="s", by=forks)["lists"]
        newest = long.world.done("diff", "demo", "0", str(HEAD), by=forks)["add"]
        assert (pulled["from"], pulled["to"], pulled["way"]) == (HEAD - behind, HEAD, "ladder")
        assert pulled["entries"] == len(newest)
        urls = [f"http://a{n % 7}.example/item/{n}" for n in (HEAD - 1, HEAD, HEAD + 19, HEAD + 20)]
        verdicts = world.run("check", *urls, "--json", state="s", by=forks).json
        assert [item["listed"] for item in verdicts] == [False, True, True, False]
        return dict(pulled)


def test_the_long_history_is_sound(long: Long) -> None:
    """With its burned numbers and versions that were only signed again."""
    rows = long.world.done("log", "demo")
    versions = [row["version"] for row in rows]
    missing = set(range(1, HEAD + 1)) - set(versions)
    assert missing == {version + 1 for version in BURNED_AFTER}
    again = {row["version"] for row in rows if row["added"] == row["removed"] == 0}
    assert again == {version + 1 for version in SIGNED_AGAIN_AFTER}


def _promised(behind: int) -> int:
    """Return the most objects that a pull needs (DESIGN.md, section 5: logarithmic)."""
    return math.floor(2 * math.log2(behind)) + 2
