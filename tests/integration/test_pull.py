"""Pull, end to end, from real signed repositories: directory, static HTTP server, and API."""

import itertools
import os
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from werkzeug.serving import make_server

from blocklist.api.app import create_app
from blocklist.core.entries import Feed
from blocklist.core.errors import Exit
from blocklist.core.private import Subscription
from blocklist.store import layout
from blocklist.store.directory import DirectoryStore
from blocklist.subscriber import Blocklist, pull
from blocklist.subscriber.enrol import enrol
from blocklist.subscriber.state import State
from signing.names import file_name
from tests.subscriber_http import serve
from tests.subscriber_repo import (
    BOTH,
    KEY,
    Repo,
    assert_at_head,
    enrolled,
    grow,
    ladder_of,
    lines_of,
    refused,
    sha,
)

BEHIND = (1, 2, 7, 40, 1000)
HEAD = 1041


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncs to the disk take most of the time, and no test here cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(name="repo")
def _repo() -> Repo:
    repo = Repo()
    repo.release(lines_of(1))
    return repo


class Long:
    """1,041 versions with burned numbers and re-signed versions, and a subscriber at some."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.repo = repo = Repo(snapshot_every=10_000)
        repo.release(lines_of(1))
        for behind in sorted(BEHIND, reverse=True):
            self._grow(HEAD - behind)
            state = enrolled(path / f"at-{behind}", repo, f"file:{path / 'repo' / 'feed'}")
            with serve(repo) as served:  # quicker than writing every object down
                first = enrolled(path / "first", repo, served.url)
                pull(first)
            shutil.copytree(
                first.directory / "lists", state.directory / "lists", dirs_exist_ok=True
            )
            shutil.copytree(first.directory / "trust", state.directory / "trust", symlinks=True)
            shutil.rmtree(first.directory)
        repo.snapshot_every = 1
        repo.release(lines_of(HEAD))
        repo.write(path / "repo")

    def _grow(self, to: int) -> None:
        for burned_after, resigned_after in ((499, 699), (1035, 1037)):
            if self.repo.last().version <= burned_after < to:
                grow(self.repo, burned_after)
                self.repo.burn(1)
                grow(self.repo, resigned_after)
                self.repo.resign()
        grow(self.repo, to)

    def subscriber(self, behind: int, path: Path, *sources: str) -> State:
        state = State(
            Path(shutil.copytree(self.path / f"at-{behind}", path / "state", symlinks=True))
        )
        if sources:
            enrol(state, self.repo.enrolment(*sources), accept_dev=True, now=self.repo.now)
        return state

    def without(self, *whats: str) -> str:
        """Return a source that lacks the objects whose name begins so."""
        path = self.path / "-".join(("without", *whats))
        if not path.exists():
            repo = Repo(lists=())
            head = layout.METADATA + file_name("demo", HEAD)
            repo.objects = {
                key: data
                for key, data in self.repo.objects.items()
                if key == head or not key.endswith(".demo.json")
            }
            repo.omit(*whats)
            repo.write(path)
        return f"file:{path / 'feed'}"


@pytest.fixture(name="long", scope="module")
def _long(tmp_path_factory: pytest.TempPathFactory) -> Long:
    return Long(tmp_path_factory.mktemp("long"))


@pytest.mark.parametrize("behind", BEHIND)
class TestManyVersionsBehind:
    def test_the_ladder_from_a_directory(self, long: Long, behind: int, tmp_path: Path) -> None:
        state = long.subscriber(behind, tmp_path)
        pulled = pull(state)
        assert_at_head(state, long.repo, pulled)
        for one, shared in zip(pulled, (4, 2), strict=True):  # the second feed finds the metadata
            hops = ladder_of(long.repo, HEAD - behind, one.feed)
            assert (one.from_, one.way, one.objects) == (HEAD - behind, "ladder", len(hops))
            assert len(hops) <= 2 * behind.bit_length() - 1
            assert one.requests == shared + len(hops) + (len(hops) - 1)  # deltas and role files

    def test_one_request_from_the_api(self, long: Long, behind: int, tmp_path: Path) -> None:
        with serve(long.repo) as served:
            state = long.subscriber(behind, tmp_path, served.url)
            pulled = pull(state)
            assert_at_head(state, long.repo, pulled)
            assert [(one.way, one.requests) for one in pulled] == [("ladder", 1)] * 2
            assert len(served.log) == 2
            idle = pull(state)
            assert [(one.way, one.requests, one.changed) for one in idle] == [(None, 1, False)] * 2

    def test_the_snapshot_without_deltas(self, long: Long, behind: int, tmp_path: Path) -> None:
        source = long.without("delta-")
        state = long.subscriber(behind, tmp_path, source)
        pulled = pull(state)
        assert_at_head(state, long.repo, pulled)
        assert [(one.way, one.objects) for one in pulled] == [("snapshot", 1)] * 2

    def test_the_list_without_snapshot(self, long: Long, behind: int, tmp_path: Path) -> None:
        source = long.without("delta-", "snapshot")
        state = long.subscriber(behind, tmp_path, source)
        pulled = pull(state)
        assert_at_head(state, long.repo, pulled)
        assert [(one.way, one.objects) for one in pulled] == [("list", 1)] * 2


class TestSources:
    def test_the_next_source_is_tried_and_the_first_one_named(
        self, repo: Repo, tmp_path: Path
    ) -> None:
        down = "http://127.0.0.1:1"
        state = enrolled(tmp_path / "s", repo, down, f"file:{repo.write(tmp_path / 'repo')}")
        pulled = pull(state)
        assert_at_head(state, repo, pulled)
        assert all("127.0.0.1:1" in one.warnings[0] for one in pulled)

    def test_a_tampered_source_is_passed_over_with_a_warning(
        self, repo: Repo, tmp_path: Path
    ) -> None:
        bad = Repo()
        bad.objects = dict(repo.objects)
        bad.tamper(b"something else", "snapshot", "list")
        sources = [f"file:{one.write(tmp_path / name)}" for name, one in (("b", bad), ("g", repo))]
        state = enrolled(tmp_path / "state", repo, *sources)
        pulled = pull(state)
        assert_at_head(state, repo, pulled)
        assert all("no way leads" in one.warnings[0] for one in pulled)

    def test_the_most_serious_failure_is_told(self, repo: Repo, tmp_path: Path) -> None:
        repo.forge_timestamp("somebody")
        bad = f"file:{repo.write(tmp_path / 'repo')}"
        with serve(repo, token="the right one") as served:
            state = enrolled(
                tmp_path / "s", repo, "http://127.0.0.1:1", served.url, bad, token="no"
            )
            assert refused(state, Exit.TAMPERED).worst.exit_code == Exit.TAMPERED
            only = enrolled(tmp_path / "t", repo, served.url, token="no")
            refused(only, Exit.NOT_AUTHORISED)

    def test_a_wrong_or_missing_folder_is_unreachable(self, repo: Repo, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        for folder in ("missing", "empty"):
            state = enrolled(tmp_path / f"s-{folder}", repo, f"file:{tmp_path / folder}")
            refused(state, Exit.UNREACHABLE)

    def test_the_token_goes_to_the_api(self, repo: Repo, tmp_path: Path) -> None:
        with serve(repo, token="secret-token") as served:
            state = enrolled(tmp_path / "state", repo, served.url, token="secret-token")
            assert_at_head(state, repo, pull(state))

    def test_two_enrolments_in_one_state(self, tmp_path: Path) -> None:
        repo = Repo(lists=("demo", "other"))
        repo.release(lines_of(1))
        repo.release(lines_of(900), "other")
        source = f"file:{repo.write(tmp_path / 'repo')}"
        state = enrolled(tmp_path / "state", repo, source, names=("demo",), feeds=(Feed.CLEAR,))
        enrolled(tmp_path / "state", repo, source, names=("other",), feeds=(Feed.HASHED,))
        assert [(one.list, one.feed) for one in pull(state)] == [
            ("demo", Feed.CLEAR),
            ("other", Feed.HASHED),
        ]
        found = Blocklist.open(state.directory).match("http://a4.example/item/900")
        assert found is not None
        assert found.list == "other"
        assert KEY.id in state.enrolment().lists["other"].hash_keys


class Ticking:
    """A clock that is a second further each time: the API looks for a new head that often."""

    def __init__(self) -> None:
        self._ticks = itertools.count()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=next(self._ticks))


class TestOurApi:
    """The same through the real application."""

    TOKEN = "a-token-which-is-long-enough-for-all"

    @pytest.fixture(name="api")
    def _api(self, repo: Repo, tmp_path: Path) -> Iterator[str]:
        lists = {"demo": BOTH}
        allowed = Subscription("isp", sha(self.TOKEN.encode()), lists, repo.now)
        repo.objects[layout.enrolment_key(allowed.token_digest)] = allowed.to_bytes()
        repo.write(tmp_path / "repo")
        server = make_server(
            "127.0.0.1", 0, create_app(DirectoryStore(tmp_path / "repo"), clock=Ticking())
        )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
        server.server_close()

    def test_one_request_each_time(self, api: str, repo: Repo, tmp_path: Path) -> None:
        state = enrolled(tmp_path / "state", repo, api, token=self.TOKEN)
        steps = [lambda: None, lambda: grow(repo, 9), lambda: repo.burn(2), repo.resign]
        ways = []
        for step in steps:
            step()
            repo.write(tmp_path / "repo")
            pulled = pull(state)
            assert_at_head(state, repo, pulled)
            assert {one.requests for one in pulled} == {1}
            ways.append({one.way for one in pulled}.pop())
        assert ways == ["snapshot", "ladder", None, "same"]

    def test_what_the_token_may_not_read(self, api: str, repo: Repo, tmp_path: Path) -> None:
        state = enrolled(tmp_path / "state", repo, api, token="another-token-of-some-length-000")
        refused(state, Exit.NOT_AUTHORISED)
        wider = enrolled(tmp_path / "w", repo, api, token=self.TOKEN, names=("demo", "other"))
        assert {one.list for one in refused(wider, Exit.NOT_AUTHORISED).pulled} == {"demo"}
