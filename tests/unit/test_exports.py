"""Runs of exports: what is written, refused, retried and remembered."""

import errno
import json
import os
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from blocklist.cli import run as blocklist
from blocklist.core.documents import format_time
from blocklist.core.entries import Feed
from blocklist.core.errors import (
    BlocklistError,
    ExportPending,
    ExportRefused,
    InputError,
    LocalError,
    MalformedFeed,
    NotInstalled,
    UnknownList,
)
from blocklist.subscriber import pull
from blocklist.subscriber.exports import Definition, Exported, Record, export, probe, recorded
from blocklist.subscriber.exports.export import _Run
from blocklist.subscriber.monitoring.health import Ages, problems
from blocklist.subscriber.monitoring.report import report
from blocklist.subscriber.resolver import Resolver
from blocklist.subscriber.state import State
from tests.subscriber_repo import TEST_HOST, Repo, enrolled

LINES = [b"u one.example/page", b"h two.example", b"d three.example", b"h 192.0.2.7"]


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncs to the disk take most of the time, and no test here cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


class Site:
    """An operator's machine: a state that follows a repository, and one export."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repo = Repo()
        self.repo.release(LINES)
        source = f"file:{self.repo.write(folder / 'repo')}"
        self.state = enrolled(folder / "state", self.repo, source)
        pull(self.state)
        self.out = folder / "zone"
        self.log = folder / "log"

    def release(self, *lines: bytes) -> None:
        self.repo.release(list(lines))
        self.repo.write(self.folder / "repo")
        pull(self.state)

    def definition(self, **more: object) -> Definition:
        given = {"name": "rpz", "format": "rpz", "out": str(self.out), "zone": "rpz.example"}
        return Definition(**{**given, "check": "none", **more})

    def export(self, **more: object) -> Exported:
        return export(self.state, self.definition(**more), self.repo.now)

    def fails(self, error: type[BlocklistError], **more: object) -> str:
        """The export fails; the file in place and what is live do not change."""
        before = self.out.read_bytes() if self.out.exists() else None
        known = recorded(self.state)
        with pytest.raises(error) as caught:
            self.export(**more)
        if error is not ExportPending:
            assert (self.out.read_bytes() if self.out.exists() else None) == before
        if known:
            assert self.record.live == known[0].live
        assert not list(self.folder.glob(".tmp-*"))
        return str(caught.value)

    @property
    def record(self) -> Record:
        (one,) = recorded(self.state)
        return one

    @property
    def hook(self) -> str:
        """A hook that counts its runs."""
        return f"sh -c 'echo ran >>{self.log}'"

    @property
    def runs(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


@pytest.fixture(name="site")
def _site(tmp_path: Path) -> Site:
    return Site(tmp_path)


class TestRuns:
    def test_the_first_one(self, site: Site) -> None:
        done = site.export(hook=site.hook)
        assert (done.changed, done.warnings, site.runs) == (True, (), 1)
        text = site.out.read_text()
        assert "two.example CNAME .\n" in text
        assert "*.three.example CNAME .\n" in text
        assert "one.example" not in text
        assert stat.S_IMODE(site.out.stat().st_mode) == 0o640
        one = site.record
        assert (one.counts.entries, one.counts.enforced) == (5, 3)
        assert one.counts.skipped == {"path": 1, "address": 1}
        assert one.written == one.live
        assert (one.live.versions, one.live.serial) == ({"demo": 1}, 1)
        assert (one.word, one.exit, one.message, one.pending) == ("live", 0, "", False)

    def test_nothing_new(self, site: Site) -> None:
        site.export(hook=site.hook)
        seen = site.out.stat().st_ino
        assert not site.export(hook=site.hook).changed
        assert (site.out.stat().st_ino, site.runs) == (seen, 1)

    def test_a_version_with_the_same_names_is_live_without_a_hook(self, site: Site) -> None:
        site.export(hook=site.hook)
        site.release(*LINES, b"u one.example/other")
        assert not site.export(hook=site.hook).changed
        assert (site.record.live.versions, site.record.live.serial) == ({"demo": 2}, 1)
        assert site.runs == 1

    def test_a_file_that_somebody_changed_is_made_again(self, site: Site) -> None:
        site.export(hook=site.hook)
        before = site.out.read_bytes()
        for damage in (before[:-40], b""):
            site.out.write_bytes(damage)
            assert site.export(hook=site.hook).changed
        assert site.out.read_bytes().splitlines()[4:] == before.splitlines()[4:]
        site.out.unlink()
        assert site.export(hook=site.hook).changed
        assert site.runs == 4

    def test_a_lost_record_does_not_let_the_serial_fall(self, site: Site) -> None:
        for line in (b"h a.example", b"h b.example"):
            (site.folder / "never").write_bytes(line[2:] + b"\n")
            site.export(never_block=str(site.folder / "never"), allow_out=str(site.folder / "ok"))
        assert site.record.live.serial == 2
        (site.state.directory / "exports/rpz.json").unlink()
        site.release(*LINES[:2])
        site.release(*LINES[:3])
        site.export()
        assert site.record.live.serial == 3
        (site.state.directory / "exports/rpz.json").unlink()
        site.export(policy="nodata")
        assert site.record.live.serial == 4

    def test_several_lists_in_one_file(self, tmp_path: Path) -> None:
        repo = Repo(lists=("demo", "other"))
        repo.release([b"h two.example"])
        repo.release([b"h four.example", b"h two.example"], "other", test_entry=False)
        state = enrolled(tmp_path / "state", repo, f"file:{repo.write(tmp_path / 'repo')}")
        pull(state)
        one = Definition("a", "rpz", str(tmp_path / "a"), "rpz.example", check="none")
        done = export(state, one, repo.now)
        assert done.record.live.versions == {"demo": 1, "other": 1}
        assert done.record.counts.entries == 3
        two = Definition("b", "rpz", str(tmp_path / "b"), "rpz.example", ("other",), check="none")
        assert export(state, two, repo.now).record.live.versions == {"other": 1}
        assert [item.definition for item in recorded(state)] == [one, two]

    def test_scrap_of_killed_runs_is_removed_in_the_end(self, site: Site) -> None:
        left, theirs = site.folder / f".tmp-{'a1' * 16}", site.folder / ".tmp-theirs"
        for path in (left, theirs):
            path.write_bytes(b"two.example CNAME .")
            os.utime(path, (1, 1))
        site.export()
        assert (left.exists(), theirs.exists()) == (False, True)

    def test_no_record_holds_a_listed_name(self, site: Site) -> None:
        site.export()
        site.release(*LINES, b"h four.example")
        site.fails(ExportRefused, check="false")
        text = (site.state.directory / "exports/rpz.json").read_text()
        assert "two.example" not in text
        assert "three.example" not in text

    def test_status_reads_what_a_run_wrote(self, site: Site) -> None:
        site.export()
        site.release(b"h four.example")
        site.fails(ExportPending, hook="false")
        (seen,) = report(site.state, site.repo.now).exports
        assert seen == site.record
        assert seen.live is not None
        assert (seen.definition.name, seen.live.versions) == ("rpz", {"demo": 1})
        assert (seen.counts.entries, seen.counts.enforced) == (2, 2)
        assert seen.pending

    def test_a_file_that_is_gone_is_told(self, site: Site) -> None:
        def told() -> list[str]:
            found = problems(report(site.state, site.repo.now), Ages())
            return [one.text for one in found if "export rpz" in one.text]

        site.export()
        assert told() == []
        site.out.unlink()
        assert told() == ["export rpz: its file is gone: run `blocklist export run`"]
        site.export()
        assert told() == []

    def test_a_record_never_leads_to_another_folder(self, site: Site) -> None:
        site.export()
        document = json.loads(site.record.to_bytes())
        document["definition"]["out"] = "rpz.zone"
        with pytest.raises(MalformedFeed, match="absolute"):
            Record.from_bytes(json.dumps(document).encode())

    def test_exceptions_pass_until_they_end(self, site: Site) -> None:
        now = site.repo.now
        file = {"format": 1, "exceptions": []}
        for entry in ("h two.example", "h ok.three.example", "u four.example/page"):
            times = {"until": format_time(now + timedelta(days=1)), "added": format_time(now)}
            file["exceptions"].append({"entry": entry, "reason": "test", **times})
        (site.state.directory / "exceptions.json").write_text(json.dumps(file))
        done = site.export()
        assert "1 exceptions are for pages" in done.warnings[0]
        text = site.out.read_text()
        assert "two.example" not in text
        assert "\nok.three.example CNAME rpz-passthru.\n" in text
        assert done.record.counts.skipped["never-block"] == 1
        export(site.state, site.definition(), now + timedelta(days=1))
        assert "two.example CNAME .\n" in site.out.read_text()
        (site.state.directory / "exceptions.json").write_text("{")
        site.fails(LocalError)

    def test_two_runs_at_once_are_one_after_the_other(self, site: Site) -> None:
        waits = f"sh -c 'echo ran >>{site.log}; sleep 0.3; echo ran >>{site.log}'"
        threads = [threading.Thread(target=site.export, kwargs={"hook": waits}) for _ in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert site.runs == 2
        assert site.record.live.serial == 1


class TestCommand:
    def test_it_says_how_much_is_enforced_and_why_not_more(
        self, site: Site, capsys: pytest.CaptureFixture[str]
    ) -> None:
        state = ("--state", str(site.state.directory))
        words = ["export", "rpz", *state, "--out", str(site.out), "--zone", "rpz.example"]
        assert blocklist([*words, "--check", "none"]) == 0
        assert "3 of 5 entries enforceable here; skipped because: 1 address, 1 path" in (
            capsys.readouterr().out
        )
        assert blocklist([*words, "--check", "none", "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert (shown["changed"], shown["live"], shown["serial"]) == (False, {"demo": 1}, 1)
        assert blocklist([*words, "--check", "none", "--hook", "false"]) == 32
        site.release(b"h four.example")
        assert blocklist([*words, "--check", "false"]) == 31
        capsys.readouterr()
        assert blocklist(["export", "list", *state]) == 0
        assert "refused" in capsys.readouterr().out

    def test_one_export_in_trouble_does_not_hinder_the_others(
        self, site: Site, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("a", "b", "c"):
            one = site.definition(name=name, out=f"{site.out}-{name}")
            export(site.state, one, site.repo.now)
        (site.state.directory / "exports/a.json").write_text("{")
        with pytest.raises(ExportPending):
            export(site.state, replace(one, hook="false"), site.repo.now)
        state = ("--state", str(site.state.directory))
        assert blocklist(["export", "run", *state, "--json"]) == 30
        shown = {one["name"]: one for one in json.loads(capsys.readouterr().out)["exports"]}
        assert {name: one["exit"] for name, one in shown.items()} == {"a": 30, "b": 0, "c": 32}
        assert blocklist(["export", "run", *state, "b"]) == 0
        assert blocklist(["export", "run", *state, "unknown"]) == 2
        assert blocklist(["export", "run", *state, "../a"]) == 2


class TestRefused:
    def test_by_its_checker(self, site: Site) -> None:
        site.export()
        site.release(b"h four.example")
        message = site.fails(ExportRefused, check="sh -c 'grep -q two.example {file}'")
        assert "example" not in message
        assert (site.record.word, site.record.exit) == ("refused", 31)
        assert site.export(check="sh -c 'grep -q four.example {file}'").changed

    @pytest.mark.parametrize("check", ["no-such-checker {file}", "/dev/null"])
    def test_by_a_checker_that_does_not_run(self, site: Site, check: str) -> None:
        site.fails(ExportRefused, check=check)
        assert (site.record.word, site.record.live) == ("refused", None)

    def test_by_a_checker_that_hangs(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("blocklist.subscriber.exports.running.CHECK_SECONDS", 0.2)
        site.fails(ExportRefused, check="sh -c 'sleep 60; true'")

    def test_too_large_a_change(self, site: Site) -> None:
        site.export(max_change=0)
        site.release(*LINES[:1], b"h four.example", b"h five.example", b"h six.example")
        assert "got 5" in site.fails(ExportRefused, max_change=4)
        assert site.export(max_change=5).changed

    def test_nothing_that_can_be_enforced(self, tmp_path: Path) -> None:
        site = Site(tmp_path)
        (tmp_path / "never").write_text(f"two.example\n.three.example\n{TEST_HOST}\n")
        site.export()
        site.fails(ExportRefused, never_block=str(tmp_path / "never"))

    def test_a_hashed_feed(self, tmp_path: Path) -> None:
        repo = Repo()
        repo.release(LINES)
        source = f"file:{repo.write(tmp_path / 'repo')}"
        state = enrolled(tmp_path / "state", repo, source, feeds=(Feed.HASHED,))
        pull(state)
        one = Definition("rpz", "rpz", str(tmp_path / "zone"), "rpz.example")
        with pytest.raises(InputError, match="clear feed"):
            export(state, one, repo.now)

    def test_what_is_not_there(self, site: Site, tmp_path: Path) -> None:
        with pytest.raises(NotInstalled):
            export(State(tmp_path / "nowhere"), site.definition(), site.repo.now)
        site.fails(UnknownList, lists=("unknown",))
        site.fails(LocalError, out=str(tmp_path / "no-folder" / "zone"))

    def test_a_list_that_is_damaged(self, site: Site) -> None:
        site.export()
        for path in site.state.directory.rglob("*.list"):
            path.chmod(0o640)
            path.write_bytes(path.read_bytes()[:-3])
        site.fails(NotInstalled)
        assert site.record.word == "failed"

    @pytest.mark.parametrize(
        "wrong",
        [
            {"policy": "a b"},
            {"zone": "a..b"},
            {"resolver": "somewhere"},
            {"hook": "'"},
            {"check": " "},
            {"name": "../a"},
            {"format": "hosts"},
        ],
    )
    def test_a_definition_that_cannot_be_used(self, site: Site, wrong: dict[str, str]) -> None:
        site.fails(InputError, **wrong)
        assert recorded(site.state) == []

    def test_two_exports_of_one_name(self, site: Site, tmp_path: Path) -> None:
        site.export()
        site.fails(InputError, out=str(tmp_path / "other"))

    def test_a_damaged_record(self, site: Site) -> None:
        site.export()
        (site.state.directory / "exports/rpz.json").write_bytes(b"{")
        with pytest.raises(LocalError, match="delete it"):
            site.export()

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
    def test_a_disk_that_refuses(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        site.export()
        site.release(b"h four.example")

        def refuse(*_: object) -> int:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patched:
            patched.setattr(os, "write", refuse)
            site.fails(LocalError)
        assert site.export().changed


class TestNeverBlock:
    def test_names_pass_in_both_zones(self, site: Site, tmp_path: Path) -> None:
        (tmp_path / "never").write_text("# ours\nok.three.example\n.two.example\n")
        site.export(never_block=str(tmp_path / "never"), allow_out=str(tmp_path / "allow"))
        text, allow = site.out.read_text(), (tmp_path / "allow").read_text()
        assert "\nok.three.example CNAME rpz-passthru.\n*" not in text
        assert "\nok.three.example CNAME rpz-passthru.\n" in text
        assert "two.example" not in text
        assert "\n*.two.example CNAME rpz-passthru.\n" in allow
        assert "$ORIGIN allow.rpz.example.\n" in allow
        assert site.record.counts.skipped["never-block"] == 1

    @pytest.mark.parametrize("line", ["two.example/page", "192.0.2.7", "a b"])
    def test_something_else_than_names(self, site: Site, tmp_path: Path, line: str) -> None:
        (tmp_path / "never").write_text(f"{line}\n")
        assert "example/" not in site.fails(InputError, never_block=str(tmp_path / "never"))

    def test_a_file_that_goes_bad_later_is_remembered(self, site: Site, tmp_path: Path) -> None:
        never = tmp_path / "never"
        never.write_text("ok.three.example\n")
        site.export(never_block=str(never))
        never.unlink()
        site.fails(InputError, never_block=str(never))
        assert (site.record.word, site.record.exit) == ("failed", 2)


class TestHook:
    def test_a_failed_one_is_retried(self, site: Site) -> None:
        failing = f"sh -c 'echo ran >>{site.log}; exit 3'"
        message = site.fails(ExportPending, hook=failing)
        assert "3" in message
        one = site.record
        assert (one.pending, one.word, one.exit, one.live) == (True, "pending", 32, None)
        assert one.written.versions == {"demo": 1}
        site.fails(ExportPending, hook=failing)
        assert site.runs == 2
        assert not site.export(hook=site.hook).changed
        assert site.runs == 3
        assert site.record.live == site.record.written

    def test_one_that_hangs_is_ended(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("blocklist.subscriber.exports.running.HOOK_SECONDS", 0.2)
        assert "longer" in site.fails(ExportPending, hook="sleep 60")

    def test_a_run_that_was_killed_before_the_hook_is_finished_by_the_next(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site.export(hook=site.hook)
        site.release(b"h four.example")

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        for name in ("_put_in_force", "_expect_good"):
            with monkeypatch.context() as patched:
                patched.setattr(_Run, name, killed)
                with pytest.raises(KeyboardInterrupt):
                    site.export(hook=site.hook)
        assert site.runs == 1
        site.export(hook=site.hook)
        assert site.runs == 2
        assert site.record.live.versions == {"demo": 2}


@contextmanager
def resolver(*answers: bytes | None) -> Iterator[str]:
    """Answer questions over UDP in turn, the last answer again and again.

    An answer is what follows the id of the message; None is silence.
    """
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.bind(("127.0.0.1", 0))
    channel.settimeout(0.05)
    done = threading.Event()

    def run() -> None:
        left = list(answers)
        while not done.is_set():
            try:
                question, peer = channel.recvfrom(1_000)
            except TimeoutError:
                continue
            answer = left.pop(0) if len(left) > 1 else left[0]
            if answer is not None:
                channel.sendto(question[:2] + answer.replace(b"QUESTION", question[12:]), peer)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"127.0.0.1:{channel.getsockname()[1]}"
    finally:
        done.set()
        thread.join()
        channel.close()


def said(code: int, *records: bytes) -> bytes:
    head = struct.pack(">5H", 0x8180 | code, 1, len(records), 0, 0)
    return head + b"QUESTION" + b"".join(records)


def address(text: str) -> bytes:
    return b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(text)


ALIAS = b"\xc0\x0c" + struct.pack(">HHIH", 5, 1, 60, 16) + b"\x06garden\x07example\x00"
LOOP = b"\xc0\x0c" + struct.pack(">HHIH", 5, 1, 60, 2) + b"\xc0\x37"
NO_NAME, OPEN = said(3), said(0, address("192.0.2.80"))


class TestProbe:
    @pytest.fixture(autouse=True)
    def _short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(probe, "PROBE_SECONDS", 0.0)
        monkeypatch.setattr("blocklist.subscriber.resolver.TRY_SECONDS", 0.1)

    def probed(self, site: Site, *answers: bytes | None, policy: str = "nxdomain") -> str:
        """Return what is wrong; the export is in place in any case."""
        with resolver(*answers) as where:
            try:
                site.export(probe=TEST_HOST, resolver=where, policy=policy)
            except ExportPending as error:
                assert site.record.pending
                return str(error)
        assert not site.record.pending
        return ""

    @pytest.mark.parametrize(
        ("policy", "blocked"),
        [
            ("nxdomain", NO_NAME),
            ("nodata", said(0)),
            ("192.0.2.1", said(0, address("192.0.2.1"))),
            ("garden.example", said(0, ALIAS, address("192.0.2.1"))),
        ],
    )
    def test_a_filter_is_proven(self, site: Site, policy: str, blocked: bytes) -> None:
        assert self.probed(site, blocked, OPEN, policy=policy) == ""
        site.release(b"h four.example")
        assert "inconclusive" in self.probed(site, blocked, policy=policy)

    @pytest.mark.parametrize("sibling", [NO_NAME, said(2), said(5), said(0)])
    def test_no_other_answer_for_the_sibling_proves_nothing(
        self, site: Site, sibling: bytes
    ) -> None:
        assert "inconclusive" in self.probed(site, NO_NAME, sibling)

    @pytest.mark.parametrize("answer", [OPEN, said(2), said(5), said(0)])
    def test_an_unfiltered_resolver(self, site: Site, answer: bytes) -> None:
        assert "does not block" in self.probed(site, answer)

    def test_no_resolver(self, site: Site) -> None:
        assert "does not answer" in self.probed(site, None)
        with resolver(None) as where:
            gone = where
        assert "does not answer" in site.fails(ExportPending, probe=TEST_HOST, resolver=gone)

    @pytest.mark.parametrize(
        "answer", [b"", b"\x81\x83", said(3)[:-3], said(0, LOOP), b"\xff" * 90]
    )
    def test_garbage(self, site: Site, answer: bytes) -> None:
        assert self.probed(site, answer) != ""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("192.0.2.1", Resolver("192.0.2.1", 53)),
            ("192.0.2.1:5353", Resolver("192.0.2.1", 5353)),
            ("2001:db8::1", Resolver("2001:db8::1", 53)),
            ("[2001:db8::1]", Resolver("2001:db8::1", 53)),
            ("[2001:db8::1]:5353", Resolver("2001:db8::1", 5353)),
        ],
    )
    def test_how_resolvers_are_named(self, text: str, expected: Resolver) -> None:
        assert Resolver.parse(text) == expected

    @pytest.mark.parametrize("text", ["", "dns.example", "192.0.2.1:0", "192.0.2.1:99999", "::g"])
    def test_what_names_none(self, text: str) -> None:
        with pytest.raises(InputError):
            Resolver.parse(text)
