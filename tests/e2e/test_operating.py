"""The runbook, played: every command of docs/operating.md, in its order, on everybody's machine."""

import json
import re
import shlex
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import click
import pytest

from blocklist.cli import cli
from blocklist.store.layout import TIMESTAMP
from tests.cli_kit import ROOT, World
from tests.cli_servers import SEEN_SECONDS, Api, serving
from tests.shell_kit import Machines, Program, steps

TEXT = (ROOT / "docs" / "operating.md").read_text("utf-8")
STEPS = list(steps(TEXT))
CHAPTERS = {
    match[1]: TEXT.count("\n", 0, match.start()) + 1
    for match in re.finditer(r"^## (.+)$", TEXT, re.MULTILINE)
}
LAST_LINES = dict(zip(CHAPTERS, [*list(CHAPTERS.values())[1:], len(TEXT)], strict=True))
PLAYED = [
    name
    for name, first in CHAPTERS.items()
    if any(first < step.line < LAST_LINES[name] for step in STEPS)
]
SERVER = "https://lists.hotline.example"
PLACES = ("srv", "etc/blocklist", "media/stick", "media/handover")
COMMAND = re.compile(r"(?:^|&& |\| )blocklist (.+?)(?=$| [|<>&])", re.MULTILINE)


class Story:
    """All of the page that was played so far."""

    def __init__(self, folder: Path, program: Program, servers: ExitStack) -> None:
        for name in PLACES:
            (folder / name).mkdir(parents=True)
        passphrase = folder / "passphrase"  # what people type, at every terminal
        passphrase.write_text("correct horse")
        env = program.env | {"BLOCKLIST_PASSPHRASE_FILE": str(passphrase)}
        self.machines = Machines(folder, env)
        self._servers = servers
        self._api: Api | None = None
        self._left = list(STEPS)
        self._failed: str | None = None

    def play(self, last_line: int) -> None:
        """Play the page up to a line."""
        assert self._failed is None, f"the story ended before, at {self._failed}"
        while self._left and self._left[0].line < last_line:
            step = self._left.pop(0)
            self._failed = step.command
            if SERVER in step.command and self._api is None:
                self._serve()
            if step.command == "blocklist pull":
                self._until_seen()
            self.machines.run(step)
            self._failed = None

    def _serve(self) -> None:
        """Start the machine `api`, whose only command does not end."""
        folder = self.machines.folder
        world = World(folder, {"BLOCKLIST_STORAGE": f"file:{folder}/srv/blocklist"})
        self._api = self._servers.enter_context(serving(world))
        self.machines.real[SERVER] = self._api.url

    def _until_seen(self) -> None:
        """Wait for the second in which the API sees a new head."""
        assert self._api is not None
        folder = self.machines.folder
        made = (folder / "media" / "handover").glob("isp*.json")
        newest = max(made, key=lambda path: path.stat().st_mtime)
        token = json.loads(newest.read_bytes())["token"]
        head = (folder / "srv" / "blocklist" / TIMESTAMP).read_bytes()
        deadline = time.monotonic() + SEEN_SECONDS
        while self._api.get("/v1/metadata/timestamp.json", token) != head:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.fixture(scope="module", name="story")
def _story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("hotline")
    with ExitStack() as stack:
        program = stack.enter_context(Program(tmp_path_factory.mktemp("program")))
        yield Story(folder, program, stack)


@pytest.mark.parametrize("chapter", PLAYED)
def test_a_chapter_of_the_runbook_does_what_it_says(story: Story, chapter: str) -> None:
    story.play(LAST_LINES[chapter])


def test_nothing_on_the_stick_is_secret(story: Story) -> None:
    """What travels between machines may be read by everybody."""
    story.play(len(TEXT))
    folder = story.machines.folder
    keys = [path for path in folder.rglob("keys/*") if path.suffix == ""]
    assert len(keys) > 5
    for path in (folder / "media" / "stick").iterdir():
        assert path.suffix in {".pub", ".json"}
        data = path.read_bytes()
        assert b"PRIVATE KEY" not in data
        assert b'"token"' not in data
        assert b"one.example" not in data
    assert all(path.stat().st_mode & 0o077 == 0 for path in keys)


# What the text names.


def executed() -> dict[tuple[str, ...], set[str]]:
    """Return the options that were used with each command of the blocks."""
    found: dict[tuple[str, ...], set[str]] = {}
    for step in STEPS:
        for line in COMMAND.findall(step.command.partition("<<'")[0].replace("\\\n", "")):
            path, options = parsed(shlex.split(line, comments=True))
            found.setdefault(path, set()).update(options)
    return found


def parsed(words: list[str]) -> tuple[tuple[str, ...], set[str]]:
    """Return which command this is, and its options."""
    command: click.Command = cli
    path: list[str] = []
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        path.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    return tuple(path), {word for word in words if word.startswith("--")}


def named() -> Iterator[list[str]]:
    """Yield the commands in the text, with or without the name of the program."""
    prose = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"`([^`\n]+)`", prose):
        words = span.split()
        if words[0] == "blocklist" or (words[0] in cli.commands and len(words) > 1):
            yield words[words[0] == "blocklist" :]


def test_every_command_in_the_text_is_played() -> None:
    known = executed()
    for words in named():
        path, options = parsed(words)
        assert path in known, words
        assert options - {"--help"} <= known[path], words
    assert len(list(named())) > 15


def test_every_block_is_played() -> None:
    assert set(re.findall(r"^```(.*)$", TEXT, re.MULTILINE)) == {"sh", ""}
    lines = [line for line in TEXT.splitlines() if line.startswith("blocklist ")]
    played = "\n".join(step.command for step in STEPS)
    assert lines
    assert [line for line in lines if re.sub(r"\s+# exit \d+$", "", line) not in played] == []


# That the kit notices what is wrong.


@pytest.mark.parametrize(
    "block",
    [
        "# dan\nfalse",
        "# dan\ntrue   # exit 3",
        "# dan\necho one\n#> two",
        "# dan\necho one; echo two\n#> two\n#> one",
        f"# dan\necho {'1' * 12}; echo {'2' * 12}\n#> 4be1d0a39f72\n#> 4be1d0a39f72",
    ],
)
def test_a_page_that_is_wrong_is_noticed(tmp_path: Path, block: str) -> None:
    machines = Machines(tmp_path, {"PATH": "/usr/bin:/bin"})
    (step,) = steps(f"```sh\n{block}\n```\n")
    with pytest.raises(AssertionError, match="line 3"):
        machines.run(step)


def test_a_page_says_who_types_what_on_which_day(tmp_path: Path) -> None:
    machines = Machines(tmp_path, {"PATH": "/usr/bin:/bin"})
    page = """```sh
# ann, ben
read -r word && export WORD="$word $USER"
#< hello
# 48 hours later
echo "$WORD"
#> hello ...
# ben (new machine)
echo "${WORD:-nothing}"
#> nothing
cat <<'END'
two
lines
END
#> two
#> lines
```
"""
    found = list(steps(page))
    assert [(step.who, step.ahead.days) for step in found] == [
        *(("ann", 0), ("ben", 0), ("ann", 2), ("ben", 2)),
        *[("ben", 2)] * 3,
    ]
    for step in found:
        machines.run(step)
