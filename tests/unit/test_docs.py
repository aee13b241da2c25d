"""Statements of the documents that code can prove."""

import importlib
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest

from blocklist.core.canonical_rules import REASONS
from blocklist.core.enrolment import Enrolment
from blocklist.core.entries import Feed, Kind
from blocklist.core.errors import Exit
from blocklist.publisher.guards import GUARDS
from blocklist.publisher.settings import Settings
from blocklist.subscriber.installed import Version
from blocklist.subscriber.state import State

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
EXAMPLE = REPOSITORY / "tests" / "vectors" / "example"
PAGES = sorted([*DOCS.rglob("*.md"), *REPOSITORY.glob("*.md")])
FOR_PEOPLE = [
    path
    for path in (
        REPOSITORY / "README.md",
        DOCS / "operating.md",
        DOCS / "hosting.md",
        DOCS / "subscribers.md",
    )
    if path in PAGES
]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^(?: {4}|```.*?\n)(.*?)$|`([^`\n]+)`", re.MULTILINE)


def names(paths: list[Path]) -> list[str]:
    return [path.relative_to(REPOSITORY).as_posix() for path in paths]


# Reading Markdown.


def section(page: Path, heading: str) -> str:
    """Return what stands below a heading, up to the next heading."""
    text = page.read_text("utf-8")
    match = re.search(
        rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL
    )
    assert match is not None, f"{page.name} has no section {heading}"
    return match[1]


def table(page: Path, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its header."""
    match = re.search(r"^\|.*\n\|[-:| ]+\|\n((?:\|.*\n)+)", section(page, heading), re.MULTILINE)
    assert match is not None, f"{page.name} has no table below {heading}"
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]
        for line in match[1].splitlines()
    ]


def backticked(page: Path, heading: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", section(page, heading)))


def anchors(page: Path) -> set[str]:
    """Return the anchors that headings get."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words after `blocklist` of every command in a code span or block."""
    for block, span in CODE.findall(text):
        line = (block or span).partition("  #")[0]
        for found in re.findall(r"(?:^|[|/] ?|bin/)blocklist ([a-z].*?)(?:\||$)", line):
            yield shlex.split(found)


def tree(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for child in command.commands.values():
            yield from tree(child)


# Tables.


def test_the_exit_codes_of_the_operators_page_are_those_of_the_code() -> None:
    rows = table(DOCS / "operating.md", "Exit codes")
    assert {int(row[0]): row[1].strip("`") for row in rows} == {int(e): e.name for e in Exit}


def test_the_exit_codes_of_the_subscribers_page_exist() -> None:
    rows = table(DOCS / "subscribers.md", "What the exit code means")
    assert {int(row[0]) for row in rows} <= {int(e) for e in Exit}


def test_the_outcomes_have_the_exit_codes_of_the_trust_errors() -> None:
    errors = importlib.import_module("signing.errors")
    for word, code, _ in table(DOCS / "spec.md", "12.5 Outcomes"):
        assert getattr(errors, word.title()).exit_code == int(code)


LIMITS = [
    pytest.param(row, id=row[3].strip("`"))
    for heading in ("16.1 Meaning", "16.2 Publisher", "16.3 Client", "16.4 API")
    for row in table(DOCS / "spec.md", heading)
]


@pytest.mark.parametrize("row", LIMITS)
def test_every_limit_of_the_specification_is_that_of_the_code(row: list[str]) -> None:
    _, value, unit, constant = row
    module, _, name = constant.strip("`").rpartition(".")
    found = getattr(importlib.import_module(module), name)
    if isinstance(found, timedelta):
        found = found / timedelta(**{unit: 1})
    assert found == int(value.replace(",", ""))


def test_the_specification_names_every_code_of_a_bad_url() -> None:
    rows = table(DOCS / "spec.md", "3.6 Malformed, or beyond a limit")
    assert sorted(row[0].strip("`") for row in rows) == sorted(REASONS)


def test_the_specification_names_every_kind() -> None:
    rows = table(DOCS / "spec.md", "4. Entries")
    assert [(r[0].strip("`"), r[1].strip("`")) for r in rows] == [(k, k.letter) for k in Kind]


def test_the_specification_names_every_field_of_custom() -> None:
    role = json.loads((EXAMPLE / "feed" / "metadata" / "3.demo.json").read_bytes())
    custom = role["signed"]["targets"]["demo/hashed/list"]["custom"]
    assert backticked(DOCS / "spec.md", "11.4 Targets") >= set(custom)


def test_the_specification_names_every_field_of_a_record() -> None:
    module = importlib.import_module("blocklist.publisher.records")
    written = {field.name for field in fields(module.Record)}
    assert backticked(DOCS / "spec.md", "15. Records") >= written | {"format"}


def test_the_specification_names_every_field_of_an_enrolment() -> None:
    document = json.loads((EXAMPLE / "enrolment.json").read_bytes())
    inner = set(document["lists"][0]) | set(document["sources"][0])
    assert backticked(DOCS / "spec.md", "13. Enrolment") >= set(document) | inner


def test_the_specification_names_every_problem_of_the_api() -> None:
    problems = importlib.import_module("blocklist.api.problems")
    kinds = [value for value in vars(problems).values() if isinstance(value, problems.Kind)]
    rows = table(DOCS / "spec.md", "14.2 Errors")
    shown = {(row[0].strip("`"), int(row[1])) for row in rows}
    assert shown == {(f"/problems/{kind.slug}", kind.status) for kind in kinds}


def test_the_specification_names_every_route_of_the_api(tmp_path: Path) -> None:
    app = importlib.import_module("blocklist.api.app")
    store = importlib.import_module("blocklist.store.directory").DirectoryStore(tmp_path)
    built = {plain(rule.rule) for rule in app.create_app(store).url_map.iter_rules()}
    rows = table(DOCS / "spec.md", "14. API")
    shown = {plain(route) for row in rows for route in re.findall(r"`([^`]+)`", row[0])}
    assert shown == built


def plain(route: str) -> str:
    """Return a route with its parameters unnamed and without a query."""
    segments = route.partition("?")[0].split("/")
    return "/".join("<>" if "<" in segment else segment for segment in segments)


def test_the_settings_of_the_operators_page_are_those_of_the_code() -> None:
    shown: dict[str, float] = {}
    for keys, values, *_ in table(DOCS / "operating.md", "Settings"):
        names_of = re.findall(r"`(\w+)`", keys)
        defaults = [json.loads(value) for value in values.split(",")]  # numbers, true, false
        shown |= dict(zip(names_of, defaults, strict=True))
    assert shown == {item.name: item.default for item in fields(Settings)}


def test_the_guards_of_the_operators_page_are_those_of_the_code() -> None:
    rows = table(DOCS / "operating.md", "Guards")
    assert [row[0].strip("`") for row in rows] == list(GUARDS)


def test_no_word_of_the_glossary_has_two_meanings() -> None:
    words = [row[0] for row in table(DOCS / "glossary.md", "Glossary")]
    assert len(words) == len(set(words))
    assert len(words) > 40


# Commands and code.


@pytest.mark.parametrize("page", FOR_PEOPLE, ids=names(FOR_PEOPLE))
def test_every_command_named_exists_with_its_options(page: Path) -> None:
    cli = importlib.import_module("blocklist.cli").cli
    for words in commands(page.read_text("utf-8")):
        command, left = cli, words
        while isinstance(command, click.Group) and left and not left[0].startswith("-"):
            assert left[0] in command.commands, f"{page.name}: blocklist {' '.join(words)}"
            command, left = command.commands[left[0]], left[1:]
        known = {option for item in command.params for option in item.opts} | {"--help"}
        assert {word for word in left if word.startswith("--")} <= known


@pytest.mark.parametrize("page", FOR_PEOPLE, ids=names(FOR_PEOPLE))
def test_every_option_named_alone_exists_somewhere(page: Path) -> None:
    cli = importlib.import_module("blocklist.cli").cli
    known = {option for command in tree(cli) for item in command.params for option in item.opts}
    spans = re.findall(r"`(--[a-z-]+)[^`]*`", page.read_text("utf-8"))
    assert set(spans) <= known | {"--help"}


def test_the_operators_page_names_every_command() -> None:
    cli = importlib.import_module("blocklist.cli").cli
    text = "\n".join(path.read_text("utf-8") for path in FOR_PEOPLE)
    for name in cli.commands:
        assert re.search(rf"\bblocklist {name}\b", text), f"no page names blocklist {name}"


def test_the_example_of_the_library_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_example(tmp_path)
    text = (DOCS / "subscribers.md").read_text("utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    exec(example.replace("/var/lib/blocklist", str(tmp_path)), {})
    assert capsys.readouterr().out == "demo host 3\n"


def install_example(directory: Path) -> None:
    """Install version 3 of the worked example without a pull: its metadata is long expired."""
    state = State(directory)
    state.prepare()
    state.write_enrolment(Enrolment.from_bytes((EXAMPLE / "enrolment.json").read_bytes()))
    facts = json.loads((EXAMPLE / "example.json").read_bytes())["versions"][2]
    content: dict[str, Any] = facts["feeds"]["clear"]
    data = (EXAMPLE / f"feed/targets/demo/clear/{content['sha256']}.list").read_bytes()
    moment = datetime(2026, 3, 6, tzinfo=UTC)
    version = Version(
        version=3,
        role_digest=facts["role_sha256"],
        digest=content["sha256"],
        length=content["length"],
        entries=len(facts["lines"]),
        created=moment,
        hash_key_id=None,
        installed_at=moment,
    )
    state.feed("demo", Feed.CLEAR).install(version, data)


# Links and addresses.


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_relative_link_resolves(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(path), f"{page.name}: {target}"


def test_every_decision_is_in_the_index() -> None:
    index = (DOCS / "adr" / "README.md").read_text("utf-8")
    records = sorted(path.name for path in (DOCS / "adr").glob("0*.md"))
    assert sorted(set(re.findall(r"\((0\d{3}-[a-z-]+\.md)\)", index))) == records


SUBJECTS = [
    "On the way to a subscriber",
    "Old, mixed and expired releases",
    "Keys",
    "Storage",
    "Curation",
    "Records and audit",
    "Hash keys and other secrets of a list",
    "Matching, access and leaks",
]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_threat_model_names_files_and_tests_that_exist(subject: str) -> None:
    for row in table(DOCS / "threat-model.md", subject):
        assert_tests_exist(row[3])
        found = re.findall(r"`((?:blocklist|signing)/[\w/]+\.py)`", row[2])
        assert all((REPOSITORY / path).exists() for path in found), row[2]
        assert re.search(r"`tests/", row[3]), row[0]


def test_the_threat_model_has_no_other_attacks_and_names_tests_in_its_text() -> None:
    text = (DOCS / "threat-model.md").read_text("utf-8")
    attacks = text.partition("## Attacks\n")[2].partition("\n## ")[0]
    assert re.findall(r"^### (.+)$", attacks, re.MULTILINE) == SUBJECTS
    assert_tests_exist(text)


def assert_tests_exist(text: str) -> None:
    for path, test in re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", text):
        assert (REPOSITORY / path).exists(), path
        if test:
            assert f"def {test}(" in (REPOSITORY / path).read_text("utf-8"), test


def test_no_text_points_outside_of_the_project() -> None:
    """Neither to folders of whoever wrote it nor to a package index."""
    words = ["/" + "work/", "/tmp/" + "dev", "--index" + "-url", "/sim" + "ple/", "shared" + "/"]
    forbidden = re.compile("|".join(map(re.escape, words)))
    assert [name for name, text in texts() if forbidden.search(text)] == []


def texts() -> Iterator[tuple[str, str]]:
    folders = ("docs", "blocklist", "signing", "scripts", "tests", "config", "requirements", ".ci")
    paths = [path for folder in folders for path in (REPOSITORY / folder).rglob("*")]
    for path in [*paths, *REPOSITORY.glob("*.*"), REPOSITORY / "Makefile"]:
        if path.name == ".git":  # of a linked worktree
            continue
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".xz", ".gz"}:
            try:
                yield path.relative_to(REPOSITORY).as_posix(), path.read_text("utf-8")
            except UnicodeDecodeError:
                continue  # stored objects of the worked example
