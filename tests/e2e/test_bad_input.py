"""Sources that cannot be published, lists that do not exist, releases that would do harm.

Each ends with the documented code and one clear line, and nothing has changed.
"""

from pathlib import Path

import pytest

from blocklist.core.canonical_rules import REASONS
from tests.cli_kit import World, lines, pages
from tests.forks import Forks

OTHER = "http://other.example/page"
LINE_BYTES = 10_000_000

# Every form of a line that is no entry, with its code.
MALFORMED = {
    "http://": "empty-host",
    "http:///path": "empty-host",
    "http://user@/": "empty-host",
    "http://...../": "empty-host",
    "//a.example/x": "empty-host",
    "http://a.example:b/": "bad-port",
    "http://a.example:99999/": "bad-port",
    "http://[::1/": "bad-address",
    "http://[zz]/": "bad-address",
    "http://a[b].example/": "bad-address",
    "http:/a.example": "no-authority",
    "http:a.example": "no-authority",
    "javascript:alert(1)": "no-authority",
    "a.example:name": "no-authority",
    "ht!tp://a.example": "no-authority",
    "http://a℀b/": "bad-idn",
    "http://‍.example/": "bad-idn",
    f"http://{'a' * 300}.example/": "host-too-long",
    f"http://a.example/{'x' * 9000}": "url-too-long",
    f"http://a.example/%{'25' * 1100}": "too-many-escapes",
    "mailto:somebody@a.example": "not-bare",
    "a.example b.example": "white-space",
    "a.example /x": "white-space",
    "a.example\rb.example": "line-end",
    "\N{ZERO WIDTH NO-BREAK SPACE}http://a.example": "byte-order-mark",
    ".a.example/path": "domain-path",
    "..a.example": "domain-name",
    ".192.0.2.7": "domain-address",
    ".[2001:db8::7]": "domain-address",
    "http://a.example/%3F/*": "prefix-unclear",
    f"http://a.example/{'y/' * 65}*": "prefix-depth",
}
WIDER = {
    "*.a.example": "wildcard",
    "http://*.a.example/x": "wildcard",
    "a*.example": "wildcard",
    ".*.a.example": "wildcard",
    "a.example/*": "prefix-root",
    "http://a.example//*": "prefix-root",
}
PORTS = (
    "http://port.example:8080/x",
    "name.example:443",
    "http://[2001:db8::1]:81/",
    ".p.example:1",
)


class TestFiles:
    @pytest.mark.parametrize("name", ["missing.txt", "home"], ids=["missing", "a-directory"])
    def test_unreadable(self, world: World, name: str) -> None:
        assert f"cannot read {name}: " in world.refused(2, "publish", "demo", name)

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (f"{OTHER}\n".encode("utf-16"), "byte order mark of UTF-16"),
            (f"{OTHER}\nhttp://caf\xe9.example/\n".encode("latin-1"), "at byte 11 of line 2"),
            (f"{OTHER}\nnul\0.example\n".encode(), "NUL byte in line 2"),
        ],
        ids=["utf-16", "latin-1", "nul"],
    )
    def test_wrongly_encoded(self, world: World, data: bytes, said: str) -> None:
        complaint = world.refused(2, "publish", "demo", world.file("bad.txt", data))
        assert complaint.startswith("bad.txt: expected UTF-8 text, got ")
        assert said in complaint

    @pytest.mark.parametrize("text", ["", "# nothing\n\n  \n"], ids=["empty", "comments"])
    def test_empty(self, world: World, text: str) -> None:
        """The first release of a list has no guard but this one."""
        complaint = world.refused(20, "publish", "demo", world.file("empty.txt", text))
        assert "guard empty" in complaint

    @pytest.mark.parametrize("start", ["http://a.example/", ""], ids=["url", "no-url"])
    def test_an_endless_line(self, world: World, start: str) -> None:
        text = f"{OTHER}\n{start.ljust(LINE_BYTES, 'a')}\n"
        complaint = world.refused(2, "publish", "demo", "-", given=text)
        assert f"got {LINE_BYTES} bytes in line 2" in complaint

    def test_broken_csv(self, world: World, forks: Forks) -> None:
        text = 'url,reason\nhttp://a.example/x,"never closed\n'
        assert "row at line 2" in world.refused(2, "publish", "demo", "-", given=text, by=forks)

    def test_bad_files_of_changes(self, world: World, forks: Forks) -> None:
        good = world.file("good.txt", f"{OTHER}\n")
        for word in ("--add", "--remove"):
            words = ("publish", "demo", "--add", good, word, "missing.txt")
            assert "missing.txt" in world.refused(2, *words, by=forks)


class TestLines:
    def test_every_malformed_form_is_reported_in_one_run_without_its_text(
        self, world: World
    ) -> None:
        forms = MALFORMED | WIDER
        before = world.standing()
        ran = world.run("publish", "demo", "-", "--json", given=lines([*forms, OTHER]))
        assert ran.code == 2
        assert world.standing() == before
        assert f"got {len(forms)} bad ones" in ran.complaint
        assert f"bad-port {list(forms.values()).count('bad-port')}" in ran.complaint
        reported = [line for line in ran.err.splitlines() if line.startswith("  line ")]
        for number, (line, code) in enumerate(zip(reported, forms.values(), strict=True), 1):
            assert line.startswith(f"  line {number}: expected ")
            assert line.endswith(f" ({code})")
        assert ran.json["exit"] == 2
        codes = [{"line": n, "code": code} for n, code in enumerate(forms.values(), 1)]
        assert ran.json["bad"] == codes
        for text in ("a.example", "javascript", "mailto", "alert", "%25", "xxx"):
            assert text not in ran.out + ran.err

    def test_no_form_is_missing_here(self) -> None:
        """But for what cannot stand in a file of UTF-8, and blank lines, which say nothing."""
        assert set(REASONS) - {"bad-encoding", "empty-url"} <= set(MALFORMED.values())

    def test_skip_bad_leaves_them_out_and_counts_them(self, world: World, forks: Forks) -> None:
        words = ["publish", "demo", "--add", "-", "--skip-bad"]
        text = lines([*MALFORMED, *WIDER, *PORTS, OTHER])
        assert "guard unparseable: " in world.refused(20, *words, given=text, by=forks)
        words += ["--allow", "unparseable", "--reason", "the others are known"]
        done = world.done(*words, given=text, by=forks)
        assert (done["version"], done["added"]) == (3, 1)
        assert {"4 x port skipped", "4 x wildcard skipped"} <= set(done["notes"])

    def test_wildcards_say_what_to_write_instead(self, world: World, forks: Forks) -> None:
        ran = world.run("publish", "demo", "-", given=lines(WIDER), by=forks)
        assert ran.code == 2
        wildcard, *_, root, _ = ran.err.splitlines()[: len(WIDER)]
        assert "write .name, not *.name" in wildcard
        assert "for all of a host write the bare name" in root

    def test_ports_are_refused_unless_dropped(self, world: World, forks: Forks) -> None:
        text = lines(PORTS)
        complaint = world.refused(2, "publish", "demo", "--add", "-", given=text, by=forks)
        assert "4 bad ones (port 4)" in complaint
        done = world.done("publish", "demo", "--add", "-", "--drop-ports", given=text, by=forks)
        assert done["added"] == 4
        assert "4 x port dropped" in done["notes"]
        world.done("pull", by=forks)
        urls = ("http://port.example/x", "https://name.example:444/", "http://a.p.example/")
        verdicts = world.run("check", *urls, "--json", by=forks).json
        assert [item["kind"] for item in verdicts] == ["url", "host", "domain"]

    def test_what_wildcards_may_mean_is_neither_wider_nor_narrower(
        self, world: World, forks: Forks
    ) -> None:
        """`/*` at the end of a path is a prefix; behind a query, or within, a star is a star."""
        text = lines(["http://s.example/dir/*", "http://s.example/q?x/*", "http://s.example/*.js"])
        world.done("publish", "demo", "--add", "-", given=text, by=forks)
        world.done("pull", by=forks)
        judged = {
            "http://s.example/dir": "prefix",
            "http://s.example/dir/a/b?x": "prefix",
            "http://s.example/q?x/*": "url",
            "http://s.example/*.js": "url",
            "http://s.example/direct": None,
            "http://s.example/q?x/y": None,
            "http://s.example/a.js": None,
            "http://s.example/": None,
        }
        verdicts = world.run("check", *judged, "--json", by=forks).json
        assert {item["url"]: item["kind"] for item in verdicts} == judged


class TestChanges:
    @pytest.mark.parametrize(
        ("add", "remove", "said"),
        [
            (OTHER, OTHER, "added and removed"),
            (None, OTHER, "1 entries to remove are not listed"),
            (None, "test-entry.demo.example", "the test entry"),
        ],
        ids=["both", "not-listed", "test-entry"],
    )
    def test_contradictions(
        self, world: World, forks: Forks, add: str | None, remove: str, said: str
    ) -> None:
        words = ["--remove", world.file("r.txt", f"{remove}\n")]
        if add is not None:
            words += ["--add", world.file("a.txt", f"{add}\n")]
        assert said in world.refused(2, "publish", "demo", *words, by=forks)

    def test_missing_entries_may_be_ignored(self, world: World, forks: Forks) -> None:
        words = ("publish", "demo", "--remove", "-", "--ignore-missing")
        done = world.done(*words, given=f"{OTHER}\n", by=forks)
        assert (done["unchanged"], done["version"]) == (True, 2)


def test_unknown_list(world: World, tmp_path: Path, forks: Forks) -> None:
    refused = [world.refused(2, "publish", "nope", "v1.txt")]
    refused += [
        world.refused(2, *words.split(), by=forks)
        for words in (
            "publish nope --add v1.txt",
            "log nope",
            "diff nope 1 2",
            "history nope a.example",
            "audit verify nope",
            "audit export nope --out x.json",
            "subscriber add x --list demo --list nope --feed clear --out x.json",
            "pull nope",
            "check a.example --list nope",
        )
    ]
    assert all("nope" in complaint for complaint in refused)
    assert not (tmp_path / "x.json").exists()


@pytest.fixture(name="wide", scope="module")
def _wide(forks: Forks, prepared: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world whose list has 301 entries."""
    world = prepared.copied(tmp_path_factory.mktemp("wide"))
    words = ("publish", "demo", "-", "--allow", "churn", "--reason", "all new")
    world.done(*words, given=pages(0, 300), by=forks)
    return world


class TestGuards:
    @pytest.mark.parametrize(
        ("guard", "source"),
        [("empty", ""), ("shrink", pages(0, 260)), ("churn", pages(130, 430))],
    )
    def test_each_refuses_until_it_is_overridden_with_a_reason(
        self, wide: World, tmp_path: Path, forks: Forks, guard: str, source: str
    ) -> None:
        world = wide.copied(tmp_path)
        words = ("publish", "demo", world.file("harm.txt", source))
        assert f"guard {guard}: " in world.refused(20, *words, by=forks)
        others = {"empty", "shrink", "churn"} - {guard}
        allowed = [word for other in others for word in ("--allow", other)]
        assert f"guard {guard}: " in world.refused(20, *words, *allowed, "--reason", "x", by=forks)
        needed = ["--allow", guard, *(allowed if guard == "empty" else [])]
        assert "--reason" in world.refused(2, *words, *needed, by=forks)
        done = world.done(*words, *needed, "--reason", "as agreed", by=forks)
        newest = world.done("log", "demo", by=forks)[0]
        assert (newest["version"], newest["reason"]) == (done["version"], "as agreed")
        assert guard in [item["guard"] for item in newest["overrides"]]

    def test_small_changes_pass(self, wide: World, tmp_path: Path, forks: Forks) -> None:
        world = wide.copied(tmp_path)
        assert world.done("publish", "demo", "-", given=pages(0, 280), by=forks)["removed"] == 20

    def test_entries_are_shown_defanged_and_in_json_exactly(
        self, world: World, forks: Forks
    ) -> None:
        text = lines(["drive.google.com", *(f"192.168.0.{n}" for n in range(25)), OTHER])
        words = ("publish", "demo", "--add", "-")
        complaint = world.refused(20, *words, given=text, by=forks)
        for guard in ("address", "shared-platform"):
            assert f"guard {guard}: " in complaint
            assert f"--allow {guard}" in complaint
        ran = world.run(*words, "--json", given=text, by=forks)
        assert "    host   drive[.]google[.]com\n" in ran.err
        assert ran.err.count("host   192[.]168[.]0[.]") == 20
        assert "    and 5 more\n" in ran.err
        assert "google.com" not in ran.err
        address, shared = ran.json["findings"]
        assert (address["guard"], len(address["lines"])) == ("address", 25)
        assert shared["lines"] == ["h drive.google.com"]
        done = world.done(*words, "--skip-bad", given=text, by=forks)
        assert done["added"] == 1
        assert {"25 x address left out", "1 x shared-platform left out"} <= set(done["notes"])

    def test_an_organisation_has_guard_files_beside_its_settings(
        self, world: World, tmp_path: Path, forks: Forks
    ) -> None:
        (tmp_path / "allow.txt").write_text("# ours\n.good.example\n")
        (tmp_path / "settings.toml").write_text('[publisher]\nallow_file = "allow.txt"\n')
        words = ("publish", "demo", "--add", "-", "--config", str(tmp_path / "settings.toml"))
        page = "http://www.good.example/page"
        assert "guard allow-file: " in world.refused(20, *words, given=page, by=forks)
        (tmp_path / "allow.txt").write_text(".good.example\n*.bad.example\n")
        ran = world.run(*words, given=page, by=forks)
        assert ran.code == 2
        assert "allow.txt (publisher.allow_file): expected an entry" in ran.complaint
        assert "line 2: expected no * in a host" in ran.err
        assert "bad.example" not in ran.err

    def test_no_such_guard(self, world: World, forks: Forks) -> None:
        words = ("publish", "demo", "v1.txt", "--allow", "nonsense", "--reason", "x")
        assert "unknown guard 'nonsense'" in world.refused(2, *words, by=forks)
