"""Exceptions: exactly as wide as written, dated, and never lost silently."""

import json
import logging
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocklist.core.entries import Entry, Feed, Kind
from blocklist.core.errors import BadUrl, InputError, LocalError, NotInstalled, UnknownFormat
from blocklist.subscriber import Blocklist, excepting, pull, settings
from blocklist.subscriber.check import check
from blocklist.subscriber.exceptions import FILE, Exceptions, FollowedExceptions
from blocklist.subscriber.state import State
from tests.subscriber_repo import BOTH, TEST_HOST, Repo, enrolled

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
LINES = [
    b"d four.example",
    b"h three.example",
    b"u one.example/page",
    b"p two.example/folder",
]
LONG = "x" * 9_000


@pytest.fixture(scope="module", name="installed")
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    repo = Repo()
    repo.release(LINES)
    state = enrolled(folder / "state", repo, f"file:{repo.write(folder / 'repo')}")
    pull(state)
    return state.directory


@pytest.fixture(name="state")
def _state(installed: Path, tmp_path: Path) -> State:
    shutil.copytree(installed, tmp_path / "state")
    return State(tmp_path / "state")


def spare(state: State, *written: str, until: datetime | None = None, now: datetime = NOW) -> None:
    excepting.add(state, written, until=until or now + DAY, reason="a court said so", now=now)


def today(state: State, *written: str) -> None:
    spare(state, *written, now=datetime.now(UTC))


def spared(state: State, url: str, now: datetime = NOW) -> bool:
    return Exceptions.load(state.directory, now).url_exception(url) is not None


ROOT = "http://one.example/"
PAGE = "http://one.example/page"
QUERY = "https://one.example:8080/page?x=1"
BELOW = "http://one.example/page/below"
OTHER = "http://one.example/pages"
BEYOND = f"http://one.example/{LONG}"
SUBDOMAIN = "http://www.one.example/page"
URLS = [ROOT, PAGE, QUERY, BELOW, OTHER, BEYOND, SUBDOMAIN, "http://example/"]
WIDTHS = {
    "one.example/page": [PAGE, QUERY],
    "one.example/page?x=1": [QUERY],
    "http://one.example/": [ROOT],
    "hxxp://one[.]example/page/*": [PAGE, QUERY, BELOW],
    "one.example": [ROOT, PAGE, QUERY, BELOW, OTHER, BEYOND],
    ".one.example": [ROOT, PAGE, QUERY, BELOW, OTHER, BEYOND, SUBDOMAIN],
}


class TestWidth:
    @pytest.mark.parametrize("written", WIDTHS)
    def test_it_is_exactly_as_wide_as_written(self, state: State, written: str) -> None:
        spare(state, written)
        assert [url for url in URLS if spared(state, url)] == WIDTHS[written]
        found = Exceptions.load(state.directory, NOW)
        assert found.covers_host("one.example") is written.endswith(".example")
        assert found.covers_host("www.one.example") is written.startswith(".")

    def test_exports_learn_of_whole_names_only(self, state: State) -> None:
        spare(state, "one.example/page", "two.example/folder/*", "three.example", ".four.example")
        assert Exceptions.load(state.directory, NOW).names() == (
            Entry(Kind.DOMAIN, "four.example"),
            Entry(Kind.HOST, "three.example"),
        )

    @pytest.mark.parametrize("written", ["*.example", ".com", "one.example:81", "a b", "http://"])
    def test_what_is_no_entry_is_refused_with_all_the_others(
        self, state: State, written: str
    ) -> None:
        with pytest.raises(InputError, match="exception 2 of 2") as caught:
            spare(state, "three.example", written)
        assert written not in str(caught.value)
        assert Exceptions.load(state.directory, NOW).records == ()


class TestTime:
    def test_one_that_has_ended_does_not_count_and_stays_visible(self, state: State) -> None:
        spare(state, "three.example", until=NOW + DAY)
        spare(state, "four.example", until=NOW + 2 * DAY)
        before = Exceptions.load(state.directory, NOW)
        after = before.at(NOW + DAY)
        assert (len(before.in_force), len(before.ended)) == (2, 0)
        assert [one.entry.host for one in after.ended] == ["three.example"]
        assert not after.covers_host("three.example")
        assert after.covers_host("four.example")
        assert before.digest != after.digest

    def test_the_end_is_to_come_and_not_too_far(self, state: State) -> None:
        for until in (NOW, NOW + settings.MAX_EXCEPTION_TIME + DAY):
            with pytest.raises(InputError, match="the end of an exception"):
                spare(state, "three.example", until=until)

    def test_a_reason_is_needed(self, state: State) -> None:
        for reason in (" ", "x" * (settings.MAX_REASON_CHARS + 1)):
            with pytest.raises(InputError, match="a reason"):
                excepting.add(state, ["a.example"], until=NOW + DAY, reason=reason, now=NOW)

    def test_adding_again_changes_the_end(self, state: State) -> None:
        spare(state, "three.example")
        spare(state, "THREE.example", until=NOW + 9 * DAY, now=NOW + DAY)
        (one,) = Exceptions.load(state.directory, NOW).records
        assert (one.added, one.until) == (NOW, NOW + 9 * DAY)


class TestFile:
    def test_removing(self, state: State) -> None:
        spare(state, "three.example", ".four.example", until=NOW + DAY)
        with pytest.raises(InputError, match="number"):
            excepting.remove(state, [".four.example", "four.example"], now=NOW)
        excepting.remove(state, [".four.example"], now=NOW + 2 * DAY)  # also one that has ended
        (left,) = Exceptions.load(state.directory, NOW).records
        assert left.entry.line == b"h three.example"

    def test_no_file_is_no_exceptions_and_a_group_may_read_it(self, state: State) -> None:
        assert Exceptions.load(state.directory, NOW).digest
        spare(state, "three.example")
        assert (state.directory / FILE).stat().st_mode & 0o777 == 0o640

    def test_nothing_enrolled(self, tmp_path: Path) -> None:
        with pytest.raises(NotInstalled):
            spare(State(tmp_path / "nowhere"), "three.example")
        assert not (tmp_path / "nowhere").exists()

    @pytest.mark.parametrize(
        "damage",
        [
            b"",
            b"{",
            b"[]",
            b'{"format": 1}',
            b'{"format": 1, "exceptions": [1]}',
            b'{"format": 1, "exceptions": [{"entry": "h three.example"}]}',
        ],
    )
    def test_a_damaged_file_is_an_error(self, state: State, damage: bytes) -> None:
        (state.directory / FILE).write_bytes(damage)
        with pytest.raises(LocalError, match="damaged"):
            Exceptions.load(state.directory, NOW)
        with pytest.raises(LocalError, match="damaged"):
            Blocklist.open(state.directory)
        with pytest.raises(LocalError, match="damaged"):
            spare(state, "three.example")
        assert (state.directory / FILE).read_bytes() == damage

    @pytest.mark.parametrize("line", ["d com", "h Three.example", "x three.example", "u a.example"])
    def test_an_entry_that_no_list_could_hold_is_damage(self, state: State, line: str) -> None:
        spare(state, "three.example")
        document = json.loads((state.directory / FILE).read_bytes())
        document["exceptions"][0]["entry"] = line
        (state.directory / FILE).write_text(json.dumps(document))
        with pytest.raises(LocalError, match="damaged"):
            Exceptions.load(state.directory, NOW)

    def test_a_file_of_a_newer_program(self, state: State) -> None:
        (state.directory / FILE).write_bytes(b'{"format": 2}')
        with pytest.raises(UnknownFormat):
            Exceptions.load(state.directory, NOW)

    def test_sparing_the_test_entry_is_told(self, state: State) -> None:
        for written in (TEST_HOST, ".demo.example"):
            done = excepting.add(state, [written], until=NOW + DAY, reason="x", now=NOW)
            assert "proofs" in done.warnings[0]
        done = excepting.add(state, ["a.example/"], until=NOW + DAY, reason="x", now=NOW)
        assert "root page" in done.warnings[0]


@pytest.mark.parametrize("feed", BOTH)
class TestLibrary:
    def test_what_is_spared_is_not_listed_and_all_else_is(self, feed: Feed, state: State) -> None:
        today(state, "three.example/fine", "www.four.example", "one.example/page?a")
        found = Blocklist.open(state.directory, feed=feed)
        assert found.match("http://three.example/fine") is None
        assert found.match("http://three.example/other") is not None
        assert found.match_host("three.example") is not None
        assert found.match_host("www.four.example") is None
        assert found.match_host("four.example") is not None
        assert found.match("http://a.www.four.example/") is not None
        assert found.match("http://one.example/page?a") is None
        assert found.match("http://one.example/page?b") is not None

    def test_a_page_does_not_decide_what_cannot_be_judged(self, feed: Feed, state: State) -> None:
        today(state, "one.example/page")
        url = f"http://one.example/{LONG}"
        found = Blocklist.open(state.directory, feed=feed)
        assert check(found, [url])[0].error == "undecided"
        today(state, "one.example")
        assert Blocklist.open(state.directory, feed=feed).match(url) is None

    def test_a_malformed_url_stays_an_error(self, feed: Feed, state: State) -> None:
        today(state, "three.example")
        found = Blocklist.open(state.directory, feed=feed)
        with pytest.raises(BadUrl):
            found.match("http://")
        with pytest.raises(BadUrl):
            found.match_host("three.example/")


class TestFollowing:
    def test_check_says_that_an_exception_spares_it(self, state: State) -> None:
        today(state, "three.example")
        one = check(Blocklist.open(state.directory), ["hxxp://three[.]example/"])[0]
        assert one.listed is False
        assert one.exception is not None
        assert one.exception.reason == "a court said so"

    def test_a_running_library_follows(self, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(settings, "FOLLOW_SECONDS", 0.0)
        found = Blocklist.open(state.directory)
        today(state, "three.example")
        assert found.match_host("three.example") is None
        excepting.remove(state, ["three.example"], now=datetime.now(UTC))
        assert found.match_host("three.example") is not None

    def test_it_ends_in_a_running_program(
        self, state: State, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(settings, "FOLLOW_SECONDS", 0.0)
        spare(state, "three.example")
        times = iter([NOW, NOW, NOW + DAY])
        followed = FollowedExceptions(state.directory, lambda: next(times))
        assert followed.current().covers_host("three.example")
        assert not followed.current().covers_host("three.example")

    def test_damage_leaves_those_in_force_until_they_end(
        self, state: State, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(settings, "FOLLOW_SECONDS", 0.0)
        spare(state, "three.example")
        times = iter([NOW, NOW, NOW + DAY])
        followed = FollowedExceptions(state.directory, lambda: next(times))
        (state.directory / FILE).write_bytes(b"damaged")
        with caplog.at_level(logging.WARNING):
            assert followed.current().covers_host("three.example")
        assert "stay as they were" in caplog.text
        assert not followed.current().covers_host("three.example")
