"""Every curl example of docs/subscribers.md, run against a real server, in the page's order.

A block says in its first line what curl must answer, and the block after it what the body is like:

    ```sh 200 application/json            a status for each curl; the media type of the last one
    ```sh 200 application/json after-release    answered once the next version is released
    ```json answer                        the same fields with values of the same kind
    ```text answer                        the same text
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from blocklist.api.settings import ApiSettings
from tests.cli_kit import TIMEOUT_SECONDS, World
from tests.cli_servers import Api, serving
from tests.forks import Forks
from tests.services import program

PAGE = Path(__file__).parents[2] / "docs" / "subscribers.md"
SECTION = "## With curl alone"
PLACE = "https://lists.example"
AFTER_RELEASE = "after-release"
ANY = "*"  # a field that stands for all fields

_BLOCK = re.compile(r"^```(\w+)(?: ([^\n]*))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CURLRC = 'write-out = "%{stderr}%{http_code} %{content_type}\\n"\n'
_SEEN = re.compile(r"^(\d{3}) (\S*)", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """A block of commands, what it must lead to, and the body that stands below it."""

    script: str
    statuses: tuple[str, ...]
    media_type: str | None
    after_release: bool
    answer: tuple[str, str] | None

    @property
    def curls(self) -> int:
        return len(re.findall(r"^curl ", self.script, re.MULTILINE))


def examples() -> list[Example]:
    """Return the blocks of the section, in order."""
    text = PAGE.read_text("utf-8")
    section = text[text.index(SECTION) :]
    section = section[: section.index("\n## ", 1)]
    blocks = [(match[1], (match[2] or "").split(), match[3]) for match in _BLOCK.finditer(section)]
    found = []
    for number, (language, words, body) in enumerate(blocks):
        if language == "sh":
            after = blocks[number + 1] if number + 1 < len(blocks) else ("", [], "")
            answer = (after[0], after[2]) if "answer" in after[1] else None
            found.append(_example(words, body, answer))
        else:
            assert words == ["answer"], words
            assert blocks[number - 1][0] == "sh", "an answer to nothing"
    return found


def _example(words: list[str], body: str, answer: tuple[str, str] | None) -> Example:
    statuses = tuple(word for word in words if word.isdigit())
    types = [word for word in words if "/" in word]
    return Example(body, statuses, types[0] if types else None, AFTER_RELEASE in words, answer)


@pytest.fixture(name="place", scope="module")
def _place(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Api]]:
    """The list that the page talks about, at version 3, and its API."""
    program("curl", "curl")
    world = World(tmp_path_factory.mktemp("curl"))
    world.done("init", "--dev", by=forks)
    world.done("list", "create", "demo", by=forks)
    publish(world, forks, add="http://host.example/one\nfiles.example/set/*\n")
    publish(world, forks, add="other.example\n")
    publish(world, forks, add="http://host.example/page\n", remove="files.example/set/*\n")
    feeds = ("--feed", "clear", "--feed", "hashed")
    words = ("subscriber", "add", "isp", "--list", "demo", *feeds, "--out", "isp.json")
    world.done(*words, by=forks)
    with serving(world) as api:
        yield world, api


def publish(world: World, forks: Forks, add: str, remove: str = "") -> None:
    files = [("--add", world.file("add.txt", add))]
    files += [("--remove", world.file("remove.txt", remove))] if remove else []
    world.done("publish", "demo", *(word for pair in files for word in pair), by=forks)


def started(world: World, api: Api, script: str) -> "subprocess.Popen[str]":
    """Start commands of the page as they stand there, but for the address."""
    (world.folder / ".curlrc").write_text(_CURLRC)
    environment = {"PATH": os.environ["PATH"], "CURL_HOME": str(world.folder), "URL": api.url}
    return subprocess.Popen(
        ["bash", "-euc", script.replace(PLACE, api.url)],
        cwd=world.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until_waiting(api: Api) -> None:
    """Wait until a poll is held."""
    for _ in range(TIMEOUT_SECONDS * 20):
        with urlopen(f"{api.url}/metrics", timeout=30) as answer:
            if re.search(rb"^blocklist_waiting_polls(?:\{[^}]*\})? 1(\.0)?$", answer.read(), re.M):
                return
        time.sleep(0.05)
    raise AssertionError("no poll was held")


def test_the_examples_of_the_page(place: tuple[World, Api], forks: Forks) -> None:
    world, api = place
    for example in examples():
        process = started(world, api, example.script)
        if example.after_release:
            until_waiting(api)
            publish(world, forks, add="http://host.example/new\n")
        out, err = process.communicate(timeout=TIMEOUT_SECONDS)
        told = f"{example.script}\n{out}\n{err}"
        assert process.returncode == 0, told
        seen = _SEEN.findall(err)
        assert tuple(status for status, _ in seen) == example.statuses, told
        assert len(seen) == example.curls, told
        if example.media_type is not None:
            assert seen[-1][1].rstrip(";") == example.media_type, told
        if example.statuses[-1:] == ("304",):
            assert out == "", told
        if example.answer is not None:
            check(*example.answer, out)
    assert (world.folder / "auth").stat().st_mode & 0o077 == 0
    delta = (world.folder / "delta.bin").read_bytes()
    assert delta.startswith(b"BLH1")
    assert (world.folder / "snapshot.bin").read_bytes().startswith(b"BLH1")
    assert b"X-Blocklist-Version: " in (world.folder / "headers").read_bytes()
    assert json.loads((world.folder / "openapi.json").read_bytes())["openapi"].startswith("3.1.")


def check(language: str, expected: str, body: str) -> None:
    """Compare an answer with that of the page."""
    if language == "text":
        assert body == expected
        return
    assert language == "json"
    assert shape(json.loads(body), json.loads(expected)) == []


def shape(found: Any, expected: Any, at: str = "") -> list[str]:
    """Return where a document has other fields, kinds or values than it should.

    Digests, times, and what the page writes as `text` or `base64` may have any value.
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        if ANY in expected:
            return [x for name in found for x in shape(found[name], expected[ANY], f"{at}/{name}")]
        if found.keys() != expected.keys():
            return [f"{at}: {sorted(found)}"]
        return [x for name in found for x in shape(found[name], expected[name], f"{at}/{name}")]
    if isinstance(expected, list) and isinstance(found, list):
        if len(found) != len(expected):
            return [f"{at}: {len(found)} items"]
        return [x for n, item in enumerate(found) for x in shape(item, expected[n], f"{at}/{n}")]
    if type(found) is not type(expected):
        return [f"{at}: {type(found).__name__}"]
    # What an error says in `detail` is for people; only the other fields are promised.
    free = at.endswith("/detail") or (isinstance(expected, str) and _VARIES.search(expected))
    return [] if free or found == expected else [f"{at}: {found!r}"]


_VARIES = re.compile(r"^[0-9a-f]{64}$|^\d{4}-\d\d-\d\dT|^text$|^base64$")


def test_the_page_has_an_example_of_everything() -> None:
    """Of every route that a subscriber may use, of conditions, of waiting, of errors."""
    scripts = "\n".join(example.script for example in examples())
    for part in (
        "/v1/lists\"", "/v1/lists/demo/hashed\"", "/update?from=", "/diff?from=1&to=", "/snapshot",
        "/v1/enrolment", "/v1/metadata/timestamp.json", "/v1/targets/demo/", "/readyz",
        "/v1/openapi.json", "If-None-Match", "Prefer: wait=",
    ):  # fmt: skip
        assert part in scripts, part
    statuses = {status for example in examples() for status in example.statuses}
    assert statuses == {"200", "304", "400", "401", "403", "404"}


def test_every_block_of_the_section_is_an_example() -> None:
    """None is left out because its first line is misspelt."""
    text = PAGE.read_text("utf-8")
    assert text.count("\ncurl ") == sum(example.curls for example in examples())
    assert all(len(example.statuses) == example.curls for example in examples())


def test_the_limits_of_the_page_are_those_of_the_code() -> None:
    from blocklist.api import limits
    from blocklist.subscriber import settings

    text = " ".join(PAGE.read_text("utf-8").split())
    assert f"at most {limits.MAX_WAIT_SECONDS} seconds" in text
    assert f"Up to {settings.WAIT_SECONDS:.0f} seconds are waited out" in text
    assert (settings.MAX_WAITS, settings.MAX_RETRY_AFTER_SECONDS) == (3, 3600.0)
    assert settings.DEFAULT_WAIT_SECONDS == 60.0
    assert ApiSettings().requests_per_minute > len(examples())
