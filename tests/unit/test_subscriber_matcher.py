"""The library, `check` and `status`, on what a pull installed."""

import logging
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocklist.core.entries import Feed, Kind
from blocklist.core.errors import BadUrl, LocalError, NotInstalled, Undecided, UnknownFormat
from blocklist.subscriber import Blocklist, Match, PullFailed, pull, settings
from blocklist.subscriber.check import Checked, check
from blocklist.subscriber.enrol import enrol
from blocklist.subscriber.state import State
from blocklist.subscriber.status import status, text
from tests.subscriber_repo import BOTH, TEST_HOST, Repo, damage_json, lines_of

LINES = [
    b"u one.example/page",
    b"u one.example/search?q=1",
    b"p two.example/folder",
    b"h three.example",
    b"d four.example",
]
TOO_LONG = "http://one.example/" + "a" * 9000


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncs to the disk take most of the time, and no test here cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(name="repo")
def _repo() -> Repo:
    repo = Repo(lists=("demo", "other"))
    repo.release(LINES)
    repo.release([b"h one.example"], "other")
    return repo


@pytest.fixture(name="state")
def _state(tmp_path: Path, repo: Repo) -> State:
    state = State(tmp_path / "state")
    source = f"file:{repo.write(tmp_path / 'repo')}"
    enrol(state, repo.enrolment(source), accept_dev=True, now=repo.now)
    pull(state)
    return state


@pytest.mark.parametrize("feed", BOTH)
class TestMatching:
    def test_both_feeds_answer_the_same(self, feed: Feed, state: State) -> None:
        found = Blocklist.open(state.directory, "demo", feed=feed)
        assert found.info[0].feed is feed
        assert found.match("https://one.example:8080/page?x") == Match("demo", Kind.URL, 1)
        assert found.match("http://one.example/search?q=1") == Match("demo", Kind.URL, 1)
        assert found.match("http://one.example/search?q=2") is None
        assert found.match("http://two.example/folder/below") == Match("demo", Kind.PREFIX, 1)
        assert found.match("http://www.four.example/") == Match("demo", Kind.DOMAIN, 1)
        assert found.match_host("three.example") == Match("demo", Kind.HOST, 1)
        assert found.match_host("one.example") is None

    def test_what_cannot_be_judged_is_never_unlisted(self, feed: Feed, state: State) -> None:
        found = Blocklist.open(state.directory, "demo", feed=feed)
        with pytest.raises(BadUrl):
            found.match("http://")
        with pytest.raises(Undecided):
            found.match(TOO_LONG)
        answers = found.match_many(
            ["http://", TOO_LONG, "http://three.example/", "http://no.example"]
        )
        assert [type(one) for one in answers] == [BadUrl, Undecided, Match, type(None)]


class TestBlocklist:
    def test_lists_are_asked_in_order_and_clear_is_preferred(self, state: State) -> None:
        both = Blocklist.open(state.directory)
        assert [(one.list, one.feed) for one in both.info] == [
            ("demo", Feed.CLEAR),
            ("other", Feed.CLEAR),
        ]
        assert both.match("http://one.example/page").list == "demo"
        other_first = Blocklist.open(state.directory, "other", "demo")
        assert other_first.match("http://one.example/page") == Match("other", Kind.HOST, 1)

    def test_another_list_may_decide(self, state: State) -> None:
        assert Blocklist.open(state.directory).match(TOO_LONG) == Match("other", Kind.HOST, 1)

    def test_what_is_not_installed(self, state: State, tmp_path: Path) -> None:
        for names in (("demo", "unknown"), ("../demo",)):
            with pytest.raises(NotInstalled):
                Blocklist.open(state.directory, *names)
        with pytest.raises(NotInstalled):
            Blocklist.open(tmp_path / "nowhere")

    def test_a_newer_version_is_followed(
        self, state: State, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(settings, "FOLLOW_SECONDS", 0.0)
        found = Blocklist.open(state.directory, "demo")
        assert found.match_host("five.example") is None
        repo.release([b"h five.example"])
        repo.write(tmp_path / "repo")
        pull(state)
        assert found.match_host("five.example") == Match("demo", Kind.HOST, 2)
        assert found.match_host("three.example") is None

    def test_it_is_not_looked_for_at_every_question(
        self, state: State, repo: Repo, tmp_path: Path
    ) -> None:
        found = Blocklist.open(state.directory, "demo")
        repo.release([b"h five.example"])
        repo.write(tmp_path / "repo")
        pull(state)
        assert found.match_host("five.example") is None

    def test_the_version_in_force_stays_when_the_newer_one_is_damaged(
        self,
        state: State,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(settings, "FOLLOW_SECONDS", 0.0)
        found = Blocklist.open(state.directory, "demo")
        document = state.feed("demo", Feed.CLEAR).document
        document.write_bytes(b"damaged")
        with caplog.at_level(logging.WARNING):
            assert found.match_host("three.example") == Match("demo", Kind.HOST, 1)
        assert "stays at version 1" in caplog.text

    def test_readers_in_threads_see_one_version_or_the_other(
        self, state: State, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(settings, "FOLLOW_SECONDS", 0.0)
        found = Blocklist.open(state.directory, "demo")
        answers: list[Match | None] = []
        done = threading.Event()

        def ask() -> None:
            while not done.is_set():
                answers.append(found.match_host(TEST_HOST))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for one in threads:
            one.start()
        for version in range(2, 5):
            repo.release(lines_of(version))
            repo.write(tmp_path / "repo")
            pull(state, names=["demo"])
        done.set()
        for one in threads:
            one.join()
        assert all(answers)
        assert found.match_host(TEST_HOST).version == 4

    def test_the_group_needs_no_secret_for_the_clear_feed(self, state: State) -> None:
        (state.directory / "enrolment.json").unlink()
        assert Blocklist.open(state.directory, "demo").match_host("three.example")
        with pytest.raises(NotInstalled):
            Blocklist.open(state.directory, "demo", feed="hashed")

    def test_a_state_of_a_newer_program(self, state: State) -> None:
        document = state.feed("demo", Feed.CLEAR).document
        document.write_bytes(damage_json(document.read_bytes(), format=2))
        with pytest.raises(UnknownFormat):
            Blocklist.open(state.directory)
        with pytest.raises(PullFailed) as caught:
            pull(state)
        assert caught.value.exit_code == 16

    def test_a_damaged_document(self, state: State) -> None:
        state.feed("demo", Feed.CLEAR).document.write_bytes(b"{")
        with pytest.raises(LocalError, match="pull again"):
            Blocklist.open(state.directory)


class TestCheck:
    def test_verdicts(self, state: State) -> None:
        urls = ["hxxp://three[.]example/x", "http://no.example/", "http://", TOO_LONG]
        found = Blocklist.open(state.directory, "demo")
        assert [(one.url, one.listed, one.kind, one.error) for one in check(found, urls)] == [
            (urls[0], True, Kind.HOST, None),
            (urls[1], False, None, None),
            (urls[2], None, None, "empty-host"),
            (urls[3], None, None, "undecided"),
        ]
        assert check(found, [urls[1]]) == [Checked(urls[1], False)]


class TestStatus:
    def test_before_the_first_pull(self, repo: Repo, tmp_path: Path) -> None:
        state = State(tmp_path / "new")
        enrol(state, repo.enrolment("https://feed.example"), accept_dev=True, now=repo.now)
        one = status(state, repo.now)[0]
        assert (one.version, one.last, one.next_steps) == (None, None, ("pull",))
        assert "nothing" in text([one])

    def test_after_good_and_bad_pulls(self, state: State, repo: Repo, tmp_path: Path) -> None:
        repo.release([b"h five.example"])
        repo.write(tmp_path / "repo")
        pull(state)
        repo.forge_timestamp("somebody")
        repo.write(tmp_path / "repo")
        with pytest.raises(PullFailed):
            pull(state)
        now = datetime.now(UTC)
        one = next(one for one in status(state, now) if one.list == "demo")
        assert (one.version, one.previous, one.entries) == (2, 1, 2)
        assert (one.last.word, one.last.exit_code) == ("tampered", 13)
        assert one.last.succeeded_at is not None
        assert (one.expiring, one.stale, one.trouble) == ("timestamp", False, "")
        assert status(state, now + timedelta(days=2))[0].stale
        shown = text([one])
        assert "version 2" in shown
        assert "tampered" in shown
        assert "telephone" in shown

    def test_damage_is_shown(self, state: State) -> None:
        for path in state.directory.rglob("*.list"):
            path.unlink()
        assert all("damaged" in one.trouble for one in status(state, datetime.now(UTC)))

    def test_nothing_enrolled(self, tmp_path: Path) -> None:
        assert status(State(tmp_path / "nowhere"), datetime.now(UTC)) == []
        assert "nothing" in text([])
