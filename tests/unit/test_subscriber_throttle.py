"""Sources that say "not now": what is waited out, what is remembered, who is asked instead."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import responses

from blocklist.core.errors import Exit, NotAuthorised
from blocklist.subscriber import outcomes, pull, settings, throttle, transport
from blocklist.subscriber import status as standing
from blocklist.subscriber.state import State
from blocklist.subscriber.throttle import SourceDown, Waits, asked_wait
from blocklist.subscriber.transport import HttpTransport
from tests.subscriber_http import running, serve
from tests.subscriber_repo import Repo, assert_at_head, enrolled, lines_of, refused

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
HOST = "https://feed.example"
HOUR = settings.MAX_RETRY_AFTER_SECONDS


@pytest.fixture(name="slept")
def _slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited, without the waiting."""
    slept: list[float] = []
    monkeypatch.setattr(transport.time, "sleep", slept.append)
    return slept


@pytest.fixture(name="web")
def _web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture(name="repo")
def _repo() -> Repo:
    repo = Repo()
    repo.release(lines_of(1))
    return repo


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("status", "header", "seconds"),
        [
            (429, "17", 17.0),
            (503, "17", 17.0),
            (503, " 0 ", 0.0),
            (429, "99999999999", HOUR),
            (503, "Mon, 04 May 2026 03:03:01 GMT", 60.0),
            (503, "Mon, 04 May 2026 03:03:01 -0000", 60.0),
            (503, "Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
            (503, "Fri, 31 Dec 9999 23:59:59 -2300", HOUR),
            (429, None, settings.DEFAULT_WAIT_SECONDS),
            (429, "soon", settings.DEFAULT_WAIT_SECONDS),
            (429, "-1", settings.DEFAULT_WAIT_SECONDS),
            (429, "\u0661\u0662", settings.DEFAULT_WAIT_SECONDS),
            (503, None, None),
            (503, "soon", None),
            (500, "17", None),
            (404, "17", None),
        ],
    )
    def test_what_an_answer_asks_for(
        self, status: int, header: str | None, seconds: float | None
    ) -> None:
        assert asked_wait(status, header, NOW) == seconds

    def test_a_short_wait_is_waited_out(
        self, web: responses.RequestsMock, slept: list[float]
    ) -> None:
        for status, wait in ((429, "10"), (503, "0")):
            web.get(f"{HOST}/a", status=status, headers={"Retry-After": wait})
        web.get(f"{HOST}/a", body=b"there")
        http = HttpTransport(HOST)
        assert http.get("a", limit=10).data == b"there"
        assert slept == [10.0, settings.MIN_WAIT_SECONDS]
        assert (http.requests, http.asked_wait) == (3, None)

    def test_only_a_few_times(self, web: responses.RequestsMock, slept: list[float]) -> None:
        web.get(f"{HOST}/a", status=429, headers={"Retry-After": "2"})
        http = HttpTransport(HOST)
        with pytest.raises(SourceDown, match="got 429"):
            http.get("a", limit=10)
        assert slept == [2.0] * settings.MAX_WAITS
        assert http.asked_wait == 2.0

    @pytest.mark.parametrize("seconds", [settings.WAIT_SECONDS + 1, 3600])
    def test_a_long_one_is_not(
        self, seconds: float, web: responses.RequestsMock, slept: list[float]
    ) -> None:
        """And nothing more is asked until somebody begins anew."""
        web.get(f"{HOST}/a", status=503, headers={"Retry-After": f"{seconds:.0f}"})
        http = HttpTransport(HOST)
        for _ in range(3):
            with pytest.raises(SourceDown):
                http.get("a", limit=10)
        assert (slept, http.requests, http.asked_wait) == ([], 1, seconds)
        http.begin(100)
        assert http.asked_wait is None

    def test_one_that_the_deadline_does_not_allow(
        self, web: responses.RequestsMock, slept: list[float]
    ) -> None:
        web.get(f"{HOST}/a", status=503, headers={"Retry-After": "10"})
        http = HttpTransport(HOST)
        with pytest.raises(SourceDown):
            http.get("a", limit=10, seconds=9)
        assert (slept, http.asked_wait) == ([], 10.0)

    def test_other_failures_wait_for_nothing(
        self, web: responses.RequestsMock, slept: list[float]
    ) -> None:
        for status, error in ((500, SourceDown), (503, SourceDown), (401, NotAuthorised)):
            web.get(f"{HOST}/{status}", status=status)
            http = HttpTransport(HOST)
            with pytest.raises(error):
                http.get(f"{status}", limit=10)
            assert (slept, http.asked_wait) == ([], None)


class TestWaits:
    def test_are_kept(self, tmp_path: Path) -> None:
        Waits(tmp_path).put("a", NOW + timedelta(seconds=90), NOW)
        Waits(tmp_path).put("b", NOW + timedelta(seconds=10), NOW)
        found = Waits(tmp_path)
        assert found.until("a", NOW) == NOW + timedelta(seconds=90)
        assert found.until("b", NOW + timedelta(seconds=10)) is None
        assert found.until("c", NOW) is None

    def test_those_that_are_over_go(self, tmp_path: Path) -> None:
        waits = Waits(tmp_path)
        waits.put("a", NOW + timedelta(seconds=1), NOW)
        waits.put("b", NOW + timedelta(seconds=9), NOW + timedelta(seconds=5))
        assert len(json.loads((tmp_path / throttle.FILE).read_bytes())["sources"]) == 1

    def test_a_clock_that_was_set_back_makes_none_longer(self, tmp_path: Path) -> None:
        Waits(tmp_path).put("a", NOW + timedelta(days=30), NOW)
        assert Waits(tmp_path).until("a", NOW) is None

    def test_the_file_tells_no_address(self, tmp_path: Path) -> None:
        Waits(tmp_path).put("https://feed.example/hidden", NOW + timedelta(seconds=9), NOW)
        text = (tmp_path / throttle.FILE).read_text()
        assert "feed.example" not in text

    @pytest.mark.parametrize(
        "data", [b"", b"{", b"[]", b'{"sources": []}', b'{"sources": {"x": 7}}', b"\xff" * 99]
    )
    def test_a_damaged_file_is_as_good_as_none(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / throttle.FILE).write_bytes(data)
        assert Waits(tmp_path).until("a", NOW) is None


@contextmanager
def busy(code: int = 429, **headers: str) -> Iterator[tuple[str, list[str]]]:
    """Run a server that is too busy for everything; give its URL and the paths asked for."""
    log: list[str] = []

    class Busy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            log.append(self.path)
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with running(Busy) as url:
        yield url, log


class TestPull:
    def tried(self, one: Any) -> list[tuple[str, int, bool]]:
        return [(t.word, t.exit_code, t.not_before is not None) for t in one.sources]

    def test_the_next_source_is_used_and_the_busy_one_left_alone(
        self, repo: Repo, tmp_path: Path
    ) -> None:
        """By the second feed of the same pull, and by later pulls, until it may be asked."""
        with busy(Retry_After="300") as (url, asked), serve(repo) as served:
            state = enrolled(tmp_path / "s", repo, url, served.url)
            now = datetime.now(UTC)
            for seconds in (0, 200, 299):
                pulled = pull(state, now=now + timedelta(seconds=seconds))
                assert_at_head(state, repo, pulled)
                for one in pulled:
                    assert self.tried(one) == [("throttled", 10, True), ("used", 0, False)]
            assert len(asked) == 1
            pull(state, now=now + timedelta(seconds=302))
            assert len(asked) == 2

    def test_alone_it_is_unreachable_until_a_moment_that_is_named(
        self, repo: Repo, tmp_path: Path
    ) -> None:
        with busy(503, Retry_After="300") as (url, asked):
            state = enrolled(tmp_path / "s", repo, url)
            now = datetime.now(UTC).replace(microsecond=0)
            first = refused(state, Exit.UNREACHABLE, now=now)
            later = now + timedelta(seconds=100)
            failure = refused(state, Exit.UNREACHABLE, now=later)
            assert len(asked) == 1
        assert first.retry_after is not None
        assert first.retry_after >= 300
        assert failure.retry_after == 201.0
        moment = f"{now + timedelta(seconds=301):%Y-%m-%dT%H:%M:%SZ}"
        assert f"not asked before {moment}" in str(failure)
        shown = standing.text(standing.status(state, later))
        assert f"throttled, not asked before {moment}" in shown

    def test_enrolling_again_forgets_the_wait(self, repo: Repo, tmp_path: Path) -> None:
        with busy(Retry_After="300") as (url, asked):
            for count in (1, 2):
                state = enrolled(tmp_path / "s", repo, url)
                refused(state, Exit.UNREACHABLE)
                assert len(asked) == count

    def test_a_wait_in_the_middle_ends_all_questions(
        self, repo: Repo, tmp_path: Path, slept: list[float]
    ) -> None:
        """Not the ladder, the snapshot and the whole list are each refused: one is enough."""
        asked: list[str] = []

        class NoObjects(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.removeprefix("/")
                asked.append(path)
                data = repo.objects.get(f"feed/{path}")
                good = data is not None and not path.startswith("targets/")
                self.send_response(200 if good else 429 if data else 404)
                self.send_header("Retry-After", "30")
                self.end_headers()
                self.wfile.write(data or b"" if good else b"")

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        with running(NoObjects) as url:
            state = enrolled(tmp_path / "s", repo, f"static+{url}")
            refused(state, Exit.UNREACHABLE)
        assert len([path for path in asked if path.startswith("targets/")]) == 1
        assert slept == []

    def test_a_short_one_is_waited_out(
        self, repo: Repo, tmp_path: Path, slept: list[float]
    ) -> None:
        answers = [429]

        with serve(repo) as served:

            class Hiccup(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    self.send_response(answers.pop() if answers else 307)
                    self.send_header("Retry-After", "5")
                    self.send_header("Location", served.url + self.path)
                    self.end_headers()

                def log_message(self, *args: object) -> None:
                    """Say nothing."""

            with running(Hiccup) as url:
                state = enrolled(tmp_path / "s", repo, url, served.url)
                (clear, _) = pull(state)
        # Then it redirects to another host, which is refused: the next source is used.
        assert slept == [5.0]
        assert self.tried(clear) == [("unreachable", 10, False), ("used", 0, False)]

    def test_a_full_disk_does_not_stop_the_pull(
        self, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with busy(Retry_After="300") as (url, _), serve(repo) as served:
            state = enrolled(tmp_path / "s", repo, url, served.url)
            (state.directory / throttle.FILE).mkdir()
            monkeypatch.setattr(throttle, "read_limited", lambda path, limit: None)
            pulled = pull(state)
            assert_at_head(state, repo, pulled)
            assert any(throttle.FILE in warning for warning in pulled[0].warnings)


class TestOutcome:
    def test_sources_are_kept(self, repo: Repo, tmp_path: Path) -> None:
        with busy(Retry_After="300") as (url, _), serve(repo) as served:
            state = enrolled(tmp_path / "s", repo, url, served.url)
            (one, _) = pull(state)
        outcome = outcomes.read(state.feed("demo", one.feed).path)
        assert outcome is not None
        assert outcome.sources == one.sources
        assert [t.source for t in outcome.sources] == [
            url.removeprefix("http://"),
            served.url.removeprefix("http://"),
        ]

    def test_older_documents_have_none(self) -> None:
        old = outcomes.Outcome(NOW, outcomes.CURRENT, 0)
        document = json.loads(old.to_bytes())
        del document["sources"]
        assert outcomes.Outcome.from_bytes(json.dumps(document).encode()) == old

    def test_status_names_them_when_there_is_something_to_tell(
        self, repo: Repo, tmp_path: Path
    ) -> None:
        with serve(repo) as served:
            one = enrolled(tmp_path / "one", repo, served.url)
            two = enrolled(tmp_path / "two", repo, "http://127.0.0.1:1", served.url)
            for state in (one, two):
                pull(state)
        shown = [self._shown(state) for state in (one, two)]
        assert "source" not in shown[0]
        assert "127.0.0.1:1 unreachable" in shown[1]
        assert "used" in shown[1]

    def _shown(self, state: State) -> str:
        return standing.text(standing.status(state, datetime.now(UTC)))
