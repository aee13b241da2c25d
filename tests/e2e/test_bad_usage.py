"""Commands used wrongly: options, settings, storage, enrolments, questions.

Each ends with 2 (or what is named) and one clear line, and nothing has changed.
"""

import json
from dataclasses import replace

import pytest

from tests.cli_kit import ISP, PROXY, World
from tests.forks import Forks

URL = "http://marker-7f3a.example/secret-page-91c2"
SHOWN = "hxxp://marker-7f3a[.]example/secret-page-91c2"
ADD = "subscriber add new --list demo --feed clear"
LISTED = "http://site-5.example/page/5"

USAGE = {
    "nonsense": "No such command",
    "--nonsense": "No such option",
    "init": "expected --root (three or more)",
    "init --dev --out draft.json": "expected --dev with a storage and nothing else",
    "init --dev": "already has a repository",
    "init --dev extra": "unexpected extra argument",
    "keys nonsense": "No such command",
    "keys new": "Missing argument",
    "keys new ../key --no-passphrase": "expected a name of 1 to 64",
    "keys new -x": "No such option",
    "trust nonsense": "No such command",
    "trust propose draft.json": "expected one change",
    "trust propose draft.json --renew root --drop-list demo": "expected one change",
    "trust propose draft.json --threshold 2": "expected one change",
    "trust propose draft.json --renew online": "not one of",
    "trust propose draft.json --list nosuch --threshold 1": "expected a list that exists",
    "trust propose draft.json --list demo --threshold 2": "expected a threshold of 1 to 1",
    "trust propose draft.json --list demo --drop-key 0123456789": "expected the id of a key",
    "trust propose draft.json --new-list demo --key home/keys/online.pub": "exists already",
    "trust propose draft.json --new-list new --key home/keys/online.pub": "of its own",
    "trust propose draft.json --delegations-of 1": "expected --targets",
    "trust show": "Missing argument",
    "trust show nosuch.json": "cannot read nosuch.json",
    "trust sign nosuch.json --yes": "cannot read nosuch.json",
    "trust commit nosuch.json": "cannot read nosuch.json",
    "trust pin nosuch.json": "cannot read nosuch.json",
    "list remove nosuch": "expected a list that exists",
    "list nonsense": "No such command",
    "list create": "Missing argument",
    "list create demo": "exists already",
    "list create UPPER": "expected a list name",
    "list create root": "no TUF role name",
    "list create new --threshold 0": "not in the range",
    "list create new --threshold 2": "expected a threshold of 1 to 1",
    "list create new --test-host http://a.example/x": "bare host name",
    "list create new --test-host 192.0.2.1": "bare host name",
    "list rotate-hash-key": "Missing argument",
    "list rotate-hash-key demo --now": "expected --reason with --now",
    "list rotate-hash-key nowhere": "nowhere",
    "publish": "Missing argument",
    "publish demo v1.txt --nonsense": "No such option",
    "publish demo v1.txt v2.txt": "unexpected extra argument",
    "publish demo v1.txt --format xml": "not one of 'auto', 'text', 'csv'",
    "publish demo v1.txt --add v2.txt": "got both",
    "publish demo - --add -": "standard input (-) once",
    "publish demo --add - --remove -": "standard input (-) once",
    "publish demo v1.txt --add": "requires an argument",
    "publish demo v1.txt --allow shrink": "expected --reason",
    "log": "Missing argument",
    "log demo --limit 0": "not in the range",
    "log demo --limit many": "not a valid",
    "diff demo 1": "Missing argument",
    "diff demo one two": "not a valid",
    "diff demo 1 3": "expected a version from 0 to 2, got 3",
    "history demo": "Missing argument",
    "history demo a.example b.example": "unexpected extra argument",
    "history demo -": "expected one URL on standard input, got 0",
    "audit nonsense": "No such command",
    "audit verify": "Missing argument",
    "audit verify missing.zip": "cannot read missing.zip",
    "audit verify demo --root 1.root.json": "with a FILE, not with a LIST",
    "audit export demo": "Missing option '--out'",
    "audit export demo --from 0 --out new.json": "not in the range",
    "audit export demo --from 2 --to 1 --out new.json": "the lower one first",
    "audit export demo --to 3 --out new.json": "expected versions from 1 to 2",
    "refresh extra": "unexpected extra argument",
    "status --nonsense": "No such option",
    "fsck extra": "unexpected extra argument",
    "subscriber nonsense": "No such command",
    "subscriber add new --list demo --out new.json": "Missing option '--feed'",
    "subscriber add new --feed clear --out new.json": "Missing option '--list'",
    "subscriber add new --list demo --feed blue --out new.json": "not one of",
    ADD: "Missing option '--out'",
    f"{ADD} --out isp.json": "isp.json exists; it was not touched",
    f"{ADD} --out new.json --expires 2001-01-01": "in the future",
    f"{ADD} --out new.json --expires soon": "expected a date as YYYY-MM-DD",
    f"{ADD} --out new.json --expires 9999-12-31T23:59:59-23:00": "expected a date",
    f"{ADD} --out new.json --source gopher://a.example": "got another scheme",
    f"{ADD} --out new.json --source https://me:secret@a.example": "without user",
    "subscriber add isp --list demo --feed clear --out new.json": "already",
    "serve --bind nonsense": "expected an address",
    "serve --bind 127.0.0.1:99999": "expected an address",
    "enrol": "Missing argument",
    "enrol missing.json": "cannot read missing.json",
    "enrol v1.txt": "the enrolment is damaged",
    "enrol isp.json": "--accept-dev",
    f"enrol isp.json --accept-dev --fingerprint {'00' * 32}": "another: do not use it",
    "enrol isp.json --accept-dev --fingerprint short": "another: do not use it",
    "pull --nonsense": "No such option",
    "check": "Missing argument",
    "check - a.example": "either URLs or -",
    "check a.example --nonsense": "No such option",
}


@pytest.mark.parametrize("command", USAGE)
def test_bad_usage(prepared: World, forks: Forks, command: str) -> None:
    assert USAGE[command] in prepared.refused(2, *command.split(), by=forks)
    assert not (prepared.folder / "new.json").exists()


def test_with_json_the_one_document_says_it_too(prepared: World) -> None:
    ran = prepared.run("diff", "demo", "1", "3", "--json")
    assert ran.code == 2
    assert ran.json == {"error": ran.complaint, "exit": 2}


def test_every_command_refuses_an_unknown_option(prepared: World, forks: Forks) -> None:
    commands = (
        *("init", "list create x", "publish demo", "log demo", "diff demo 1 2", "refresh"),
        *("status", "fsck", "subscriber add x", "serve", "enrol isp.json", "pull", "check x"),
    )
    for command in commands:
        complaint = prepared.refused(2, *command.split(), "--nonsense", by=forks)
        assert "No such option" in complaint, command
        assert "-h`" in complaint, command


def test_without_a_command_there_is_help(prepared: World, forks: Forks) -> None:
    for words in ([], ["list"], ["subscriber"]):
        ran = prepared.run(*words, by=forks)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("Usage: blocklist")


@pytest.mark.parametrize(
    "command",
    [f"publish demo {URL}", f"publish demo --add {URL}", f"publish demo v1.txt {URL}"]
    + [f"{name} {URL}" for name in ("pull", "log", "enrol")]
    + [f"diff {URL} 1 2", f"check a.example --list {URL}", f"history {URL} a.example"]
    + [f"audit verify {URL}", f"audit export {URL} --out new.json"],
)
def test_a_url_in_the_wrong_place_is_shown_defanged(
    prepared: World, forks: Forks, command: str
) -> None:
    assert SHOWN in prepared.refused(2, *command.split(), by=forks)
    assert SHOWN in prepared.run(*command.split(), "--json", by=forks).json["error"]


def test_a_secret_that_cannot_be_written_gives_nobody_access(world: World, forks: Forks) -> None:
    words = ADD.split()
    world.refused(30, *words, "--out", "missing/new.json", by=forks)
    world.done(*words, "--out", "new.json", by=forks)  # the name is still free


class TestPlaces:
    @pytest.mark.parametrize(
        ("storage", "code"),
        [
            ("nonsense", 2),
            ("", 2),
            ("file:", 2),
            ("file://host/repo", 2),
            ("s3://bucket/prefix?secret=x", 2),
            ("https://user:secret@a.example/", 2),
            ("file:missing", 10),
            ("file:v1.txt", 10),
            ("file:isp", 14),
        ],
    )
    def test_storage(self, prepared: World, forks: Forks, storage: str, code: int) -> None:
        world = replace(prepared, environment={"BLOCKLIST_STORAGE": storage})
        for command in ("publish demo v1.txt", "fsck", "refresh"):
            assert "secret" not in world.refused(code, *command.split(), by=forks)
        assert not (prepared.folder / "missing").exists()

    @pytest.mark.parametrize(("home", "code"), [("missing", 30), ("v1.txt", 2), ("", 2)])
    def test_home(self, prepared: World, forks: Forks, home: str, code: int) -> None:
        world = replace(prepared, environment={"BLOCKLIST_HOME": home})
        world.refused(code, "publish", "demo", "v1.txt", by=forks)

    @pytest.mark.parametrize(("state", "code"), [("missing", 30), ("v1.txt", 2), ("", 2)])
    def test_state(self, prepared: World, forks: Forks, state: str, code: int) -> None:
        for words in (("pull",), ("check", "a.example")):
            prepared.refused(code, *words, state=state, by=forks)
        assert not (prepared.folder / "missing").exists()

    def test_serve_needs_a_repository(self, prepared: World, forks: Forks) -> None:
        world = replace(prepared, environment={"BLOCKLIST_STORAGE": "file:isp"})
        assert "blocklist init" in world.refused(30, "serve", by=forks)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[publisher]\nnonsense = 1", "unknown setting publisher.nonsense"),
        ("[nonsense]", "unknown table"),
        ("nonsense = 1", "unknown table"),
        ("[publisher]\nchurn_share = 'x'", "publisher.churn_share as a number"),
        ("[publisher]\nlock_seconds = -1", "publisher.lock_seconds as a number"),
        ("[publisher]\nlock_seconds = nan", "publisher.lock_seconds as a number"),
        ("[publisher]\nshrink_entries = true", "publisher.shrink_entries as a number"),
        ("[publisher", "expected TOML"),
        ("\N{NULL}", "expected TOML"),
    ],
)
def test_bad_settings(world: World, forks: Forks, text: str, said: str) -> None:
    world = world.with_config(text)
    assert said in world.refused(2, "publish", "demo", "v1.txt", by=forks)


@pytest.mark.parametrize("name", ["missing.toml", "home"])
def test_no_settings_to_read(prepared: World, forks: Forks, name: str) -> None:
    world = replace(prepared, environment={"BLOCKLIST_CONFIG": name})
    assert name in world.refused(2, "refresh", by=forks)


class TestEnrolments:
    @pytest.mark.parametrize(
        "text",
        ["", "{}", "[]", "null", '{"format": 1}', '{"format": true}', "\N{NULL}", '{"a":1,"a":1}'],
    )
    def test_json_of_another_kind(self, prepared: World, forks: Forks, text: str) -> None:
        words = ("enrol", "-", "--accept-dev")
        assert "enrolment" in prepared.refused(2, *words, given=text, state="new", by=forks)
        assert not (prepared.folder / "new").exists()

    @pytest.mark.parametrize(
        ("change", "code", "said"),
        [
            ({"format": 2}, 16, "format"),
            ({"sources": []}, 2, "at least one source"),
            ({"lists": []}, 2, "one list"),
            ({"root": "{}"}, 2, "root cannot be trusted"),
            ({"sources": [{"url": "gopher://x"}]}, 2, "another scheme"),
            ({"lists": [{"list": "../up", "feeds": [], "hash_keys": [], "test_host": "x"}]}, 2, ""),
            ({"token": "with\nline"}, 2, "token"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
    )
    def test_a_changed_one(
        self,
        prepared: World,
        forks: Forks,
        change: dict[str, object],
        code: int,
        said: str,
    ) -> None:
        document = json.loads((prepared.folder / "isp.json").read_text())
        document["sources"] = [{"url": "https://lists.example"}]
        text = json.dumps(document | change)
        words = ("enrol", "-", "--accept-dev")
        assert said in prepared.refused(code, *words, given=text, state="new", by=forks)

    def test_of_another_publisher(
        self, world: World, forks: Forks, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        stranger = World(tmp_path_factory.mktemp("stranger"))
        stranger.done("init", "--dev", by=forks)
        stranger.done("list", "create", "demo", by=forks)
        stranger.done(*ADD.split(), "--out", "new.json", by=forks)
        file = str(stranger.folder / "new.json")
        complaint = world.refused(2, "enrol", file, "--accept-dev", by=forks)
        assert "another state directory" in complaint


class TestQuestions:
    def test_a_malformed_url_is_no_answer(self, prepared: World) -> None:
        ran = prepared.run("check", "http://", "http://unlisted.example/")
        assert ran.code == 2
        assert ran.err == "blocklist: URL 1: expected a host, got an empty one\n"
        assert ran.out.splitlines() == [
            "error       hxxp://: expected a host, got an empty one",
            "not listed  hxxp://unlisted[.]example/",
        ]

    def test_what_is_listed_counts_more_than_what_is_malformed(
        self, prepared: World, forks: Forks
    ) -> None:
        ran = prepared.run("check", "http://", LISTED, "http://", by=forks)
        assert ran.code == 1
        assert "LISTED" in ran.out
        assert ran.out.count("error") == 2

    def test_each_bad_url_is_named_by_its_number(self, prepared: World, forks: Forks) -> None:
        given = "http://\nhttp://a.example/\nhttp://\n"
        ran = prepared.run("check", "-", given=given, by=forks)
        assert (ran.code, [line.split(":")[1] for line in ran.err.splitlines()]) == (
            2,
            [" URL 1", " URL 3"],
        )

    @pytest.mark.parametrize("state", [ISP, PROXY])
    def test_undecided(self, prepared: World, forks: Forks, state: str) -> None:
        """Too long to be judged: nothing on an unlisted host, everything on a listed one."""
        tail = "x" * 9000
        ran = prepared.run(
            "check", f"http://site-5.example/{tail}", "--json", state=state, by=forks
        )
        assert (ran.code, ran.json[0]["listed"], ran.json[0]["error"]) == (30, None, "undecided")
        assert "xxx" not in ran.err
        other = prepared.run("check", f"http://other.example/{tail}", "--json", by=forks)
        assert (other.code, other.json[0]["listed"]) == (0, False)

    def test_nothing_installed(self, world: World, forks: Forks) -> None:
        world.done("enrol", "isp.json", "--accept-dev", state="new", by=forks)
        assert "pull first" in world.refused(30, "check", LISTED, state="new", by=forks)

    def test_whatever_a_url_holds_it_is_shown_on_one_line(
        self, prepared: World, forks: Forks
    ) -> None:
        given = (
            b"http://a.example/\x1b[31mred\nhttp://\xff.example/\nhttp://a.example/\xe2\x80\xae\n"
        )
        ran = prepared.run("check", "-", given=given, by=forks)
        assert (ran.code, ran.out.splitlines()) == (
            0,
            [
                "not listed  hxxp://a[.]example/%1B[31mred",
                "not listed  hxxp://%FF[.]example/",
                "not listed  hxxp://a[.]example/%E2%80%AE",
            ],
        )

    def test_a_terminal_without_unicode(self, prepared: World) -> None:
        ascii_only = replace(prepared, environment={"PYTHONIOENCODING": "ascii:strict"})
        ran = ascii_only.run("check", "http://caf\xe9.example/\xe9")
        assert (ran.code, ran.err) == (0, "")
