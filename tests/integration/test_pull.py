"""Pull, end to end, from real signed repositories: directory, static HTTP server, and API."""

import copy
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from werkzeug.serving import make_server

from blocklist.api.app import create_app
from blocklist.core.entries import Feed
from blocklist.core.errors import Busy, Exit, NotInstalled, UnknownList
from blocklist.core.hashing import HashKey
from blocklist.core.private import Subscription
from blocklist.store import layout
from blocklist.store.directory import DirectoryStore
from blocklist.subscriber import Blocklist, Pulled, PullFailed, pull, settings
from blocklist.subscriber.enrol import enrol
from blocklist.subscriber.state import State
from tests.subscriber_repo import (
    BOTH,
    KEY,
    TEST_HOST,
    Repo,
    grow,
    ladder_of,
    lines_of,
    serve,
    sha,
)

BEHIND = (1, 2, 7, 40, 1000)
HEAD = 1041


def enrolled(path: Path, repo: Repo, *sources: str, **options: object) -> State:
    state = State(path)
    enrol(state, repo.enrolment(*sources, **options), accept_dev=True, now=repo.now)
    return state


def content(state: State, feed: Feed, name: str = "demo") -> bytes:
    folder = state.feed(name, feed)
    installed = folder.read()
    assert installed is not None
    assert folder.intact(installed.current)
    return folder.load(installed.current)


def assert_at_head(state: State, repo: Repo, pulled: list[Pulled]) -> None:
    last = repo.last()
    for one in pulled:
        assert one.to == last.version
        assert one.digest == sha(last.content[one.feed])
        assert content(state, one.feed) == last.content[one.feed]


def refused(state: State, code: int, **options: object) -> PullFailed:
    with pytest.raises(PullFailed) as caught:
        pull(state, **options)
    assert caught.value.exit_code == code
    return caught.value


@pytest.fixture(name="repo")
def _repo() -> Repo:
    repo = Repo()
    repo.release(lines_of(1))
    return repo


@pytest.fixture(name="local")
def _local(tmp_path: Path, repo: Repo) -> State:
    """A subscriber of the directory `tmp_path/repo`, at version 1."""
    state = enrolled(tmp_path / "state", repo, f"file:{repo.write(tmp_path / 'repo')}")
    pull(state)
    return state


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
            repo.objects = dict(self.repo.objects)
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


class TestPull:
    def test_a_delegated_list_without_release(self, tmp_path: Path) -> None:
        repo = Repo()
        state = enrolled(tmp_path / "state", repo, f"file:{repo.write(tmp_path / 'repo')}")
        assert [(one.to, one.changed) for one in pull(state)] == [(None, False)] * 2
        with pytest.raises(NotInstalled):
            Blocklist.open(state.directory)

    def test_nothing_new(self, local: State) -> None:
        assert [(one.from_, one.to, one.changed, one.way) for one in pull(local)] == [
            (1, 1, False, None)
        ] * 2

    def test_from_a_static_server(self, repo: Repo, tmp_path: Path) -> None:
        with serve(repo) as served:
            state = enrolled(tmp_path / "state", repo, f"static+{served.url}/feed")
            pulled = pull(state)
            assert_at_head(state, repo, pulled)
            assert sum(one.requests for one in pulled) == len(served.log)
            assert all(one.bytes > 0 for one in pulled)

    def test_a_resigned_version_costs_no_object(
        self, local: State, repo: Repo, tmp_path: Path
    ) -> None:
        repo.resign()
        repo.write(tmp_path / "repo")
        assert [(one.from_, one.to, one.changed, one.way, one.objects) for one in pull(local)] == [
            (1, 2, False, "same", 0)
        ] * 2
        assert Blocklist.open(local.directory).match_host(TEST_HOST).version == 2

    def test_the_newest_snapshot_and_the_ladder_from_there(
        self, local: State, repo: Repo, tmp_path: Path
    ) -> None:
        grow(repo, 12)  # its snapshot is of version 9
        for feed in BOTH:
            hops = ladder_of(repo, 9, feed)
            wanted = {
                one.deltas[feed][start].sha256
                for start, to in hops
                for one in repo.history["demo"]
                if one.version == to
            }
            for key in repo.keys(feed, "delta-"):
                if layout.parse_target_key(key)[1] not in wanted:
                    del repo.objects[key]
        repo.write(tmp_path / "repo")
        pulled = pull(local)
        assert_at_head(local, repo, pulled)
        assert {one.way for one in pulled} == {"snapshot"}
        assert {one.objects for one in pulled} == {1 + len(ladder_of(repo, 9, Feed.CLEAR))}

    def test_wrong_bytes_on_one_way_are_survived(
        self, local: State, repo: Repo, tmp_path: Path
    ) -> None:
        grow(repo, 3)
        repo.tamper(b"BLH1 something else", "delta-")
        repo.write(tmp_path / "repo")
        pulled = pull(local)
        assert_at_head(local, repo, pulled)
        assert {one.way for one in pulled} == {"list"}

    def test_tampered_when_all_ways_fail(self, local: State, repo: Repo, tmp_path: Path) -> None:
        before = {feed: content(local, feed) for feed in BOTH}
        grow(repo, 3)
        repo.tamper(b"something else", "delta-", "snapshot", "list")
        repo.write(tmp_path / "repo")
        refused(local, Exit.TAMPERED)
        assert {feed: content(local, feed) for feed in BOTH} == before

    def test_tampered_also_when_the_raw_list_is_not_stored(
        self, local: State, repo: Repo, tmp_path: Path
    ) -> None:
        grow(repo, 3)
        repo.tamper(b"something else", "delta-", "snapshot")
        repo.omit("list")
        repo.write(tmp_path / "repo")
        refused(local, Exit.TAMPERED)

    def test_unreachable_when_objects_are_missing(
        self, local: State, repo: Repo, tmp_path: Path
    ) -> None:
        grow(repo, 3)
        repo.omit("delta-", "snapshot", "list")
        repo.write(tmp_path / "repo")
        refused(local, Exit.UNREACHABLE)

    def test_an_old_timestamp_is_a_rollback(self, local: State, repo: Repo, tmp_path: Path) -> None:
        old = repo.objects[layout.TIMESTAMP]
        grow(repo, 3)
        repo.write(tmp_path / "repo")
        pull(local)
        repo.objects[layout.TIMESTAMP] = old
        repo.write(tmp_path / "repo")
        refused(local, Exit.ROLLBACK)
        assert_at_head(local, repo, [])
        assert content(local, Feed.CLEAR) == repo.last().content[Feed.CLEAR]

    def test_the_api_cannot_hide_a_rollback(self, repo: Repo, tmp_path: Path) -> None:
        before = dict(repo.objects)
        grow(repo, 3)
        with serve(repo) as served:
            state = enrolled(tmp_path / "state", repo, served.url)
            pull(state)
            repo.objects.clear()
            repo.objects.update(before)
            repo.history["demo"] = repo.history["demo"][:1]
            refused(state, Exit.ROLLBACK)

    def test_two_contents_of_one_version_are_tampered(self, tmp_path: Path) -> None:
        repo = Repo()
        fork = copy.deepcopy(repo)
        repo.release(lines_of(1))
        state = enrolled(tmp_path / "state", repo, f"file:{repo.write(tmp_path / 'repo')}")
        pull(state)
        fork.release(lines_of(500))
        fork.delegate("other")
        fork.write(tmp_path / "repo")
        assert "two different contents" in str(refused(state, Exit.TAMPERED))
        assert content(state, Feed.CLEAR) == repo.last().content[Feed.CLEAR]

    def test_another_history_is_tampered(self, local: State, repo: Repo, tmp_path: Path) -> None:
        repo.last().digest = "11" * 32  # what the next release says it follows
        repo.release(lines_of(2))
        repo.write(tmp_path / "repo")
        assert "follows another" in str(refused(local, Exit.TAMPERED))

    def test_expired_metadata_is_stale(self, tmp_path: Path) -> None:
        repo = Repo(age=timedelta(hours=25))
        repo.release(lines_of(1))
        state = enrolled(tmp_path / "state", repo, f"file:{repo.write(tmp_path / 'repo')}")
        refused(state, Exit.STALE)

    def test_an_api_that_says_nothing_new_for_ever_is_stale(
        self, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with serve(repo) as served:
            state = enrolled(tmp_path / "state", repo, served.url)
            pull(state)
            later = datetime.now(UTC) + timedelta(hours=25)
            monkeypatch.setattr(
                "tuf.ngclient._internal.trusted_metadata_set.datetime", _clock(later)
            )
            refused(state, Exit.STALE)

    def test_a_timestamp_signed_by_another_key_is_tampered(
        self, local: State, repo: Repo, tmp_path: Path
    ) -> None:
        repo.forge_timestamp("somebody")
        repo.write(tmp_path / "repo")
        refused(local, Exit.TAMPERED)

    def test_a_root_rotation_is_followed(self, repo: Repo, tmp_path: Path) -> None:
        with serve(repo) as served:
            api = enrolled(tmp_path / "api", repo, served.url)
            static = enrolled(tmp_path / "static", repo, f"static+{served.url}/feed")
            pull(api), pull(static)
            repo.trust = repo.trust.pin(repo.root)
            repo.rotate_root()
            grow(repo, 2)
            assert_at_head(api, repo, pull(api))
            assert_at_head(static, repo, pull(static))

    def test_an_unknown_list(self, repo: Repo, tmp_path: Path) -> None:
        source = f"file:{repo.write(tmp_path / 'repo')}"
        state = enrolled(tmp_path / "state", repo, source, names=("demo", "nowhere"))
        failure = refused(state, Exit.USAGE)
        assert {one.list for one in failure.pulled} == {"demo"}  # the others were tried
        with pytest.raises(UnknownList):
            pull(state, names=["elsewhere"])

    def test_a_hash_key_that_is_not_enrolled(
        self, local: State, repo: Repo, tmp_path: Path
    ) -> None:
        repo.release(lines_of(2), key=HashKey(b"another key".ljust(32)))
        repo.write(tmp_path / "repo")
        failure = refused(local, Exit.NOT_AUTHORISED)
        assert "renewed enrolment" in str(failure)
        assert [one.feed for one in failure.pulled] == [Feed.CLEAR]

    @pytest.mark.parametrize("how", ["kind", "canonical"])
    def test_signed_bytes_of_a_newer_version(
        self, local: State, repo: Repo, tmp_path: Path, how: str
    ) -> None:
        newer = [b"z new.example"] if how == "kind" else []
        repo.release([*lines_of(2), *newer], canonical=1 if newer else 2)
        repo.write(tmp_path / "repo")
        refused(local, Exit.NEEDS_NEWER_CLIENT, names=["demo"])
        assert Blocklist.open(local.directory).info[0].version.version == 1

    def test_a_release_from_the_future_is_a_warning(
        self, local: State, repo: Repo, tmp_path: Path
    ) -> None:
        repo.release(lines_of(2), created=repo.now + timedelta(hours=1))
        repo.write(tmp_path / "repo")
        assert all("clock" in one.warnings[0] for one in pull(local))

    def test_a_damaged_list_is_fetched_again(self, local: State, repo: Repo) -> None:
        for path in local.directory.glob("lists/demo/*/*.list"):
            path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(NotInstalled, match="damaged"):
            Blocklist.open(local.directory)
        pulled = pull(local)
        assert_at_head(local, repo, pulled)
        assert all(one.changed and "damaged" in one.warnings[0] for one in pulled)

    def test_a_damaged_trust_directory_is_rebuilt(self, local: State, repo: Repo) -> None:
        for path in [p for p in local.trust.rglob("*") if p.is_file() and not p.is_symlink()]:
            path.write_bytes(b"\0" * 100)
        assert_at_head(local, repo, pull(local))

    def test_the_state_can_be_copied(self, local: State, repo: Repo, tmp_path: Path) -> None:
        moved = State(Path(shutil.copytree(local.directory, tmp_path / "elsewhere")))
        shutil.rmtree(local.directory)
        grow(repo, 4)
        repo.write(tmp_path / "repo")
        pulled = pull(moved)
        assert {one.way for one in pulled} == {"ladder"}
        assert_at_head(moved, repo, pulled)

    def test_a_second_pull_waits_for_the_first(
        self, local: State, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        grow(repo, 9)
        repo.write(tmp_path / "repo")
        results: list[list[Pulled]] = []
        pulls = [threading.Thread(target=lambda: results.append(pull(local))) for _ in range(2)]
        for one in pulls:
            one.start()
        for one in pulls:
            one.join()
        assert sorted(one[0].changed for one in results) == [False, True]
        monkeypatch.setattr(settings, "LOCK_WAIT_SECONDS", 0)
        with local.locked(), pytest.raises(Busy):
            pull(local)


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


class TestOurApi:
    """The same through the real application."""

    TOKEN = "a-token-which-is-long-enough-for-all"

    @pytest.fixture(name="api")
    def _api(self, repo: Repo, tmp_path: Path) -> Iterator[str]:
        lists = {"demo": BOTH}
        allowed = Subscription("isp", sha(self.TOKEN.encode()), lists, repo.now)
        repo.objects[layout.enrolment_key(allowed.token_digest)] = allowed.to_bytes()
        repo.write(tmp_path / "repo")
        server = make_server("127.0.0.1", 0, create_app(DirectoryStore(tmp_path / "repo")))
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
            time.sleep(1.1)  # the API looks for a new head once a second
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


def _clock(now: datetime) -> object:
    """Return what stands in for the `datetime` module in ngclient: a clock that is ahead."""

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return now

    class Module:
        datetime = Ahead
        timezone = __import__("datetime").timezone

    return Module
