"""Pull, from a directory where the transport does not matter: ways, outcomes, self-healing."""

import copy
import os
import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocklist.core import delta, listbytes
from blocklist.core.entries import Feed
from blocklist.core.errors import Busy, Exit, NotInstalled, UnknownList
from blocklist.core.hashing import HashKey, hash_lines
from blocklist.store import layout
from blocklist.subscriber import Blocklist, Pulled, pull, settings
from blocklist.subscriber.state import State
from tests.subscriber_http import serve
from tests.subscriber_repo import (
    BOTH,
    KEY,
    TEST_HOST,
    Repo,
    assert_at_head,
    content,
    enrolled,
    grow,
    ladder_of,
    lines_of,
    refused,
)


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncs to the disk take most of the time, and no test here cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


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

    @pytest.mark.parametrize("all_there", [True, False])
    def test_only_the_signed_digest_decides(
        self, all_there: bool, local: State, repo: Repo, tmp_path: Path
    ) -> None:
        """A forged hint leads through well-formed deltas to another list: never installed."""
        first = repo.last().content[Feed.CLEAR]
        grow(repo, 3)
        second = repo.history["demo"][1].content[Feed.CLEAR]
        evil = sorted([b"u evil.example/", *listbytes.clear_lines(second)[1:]])
        clear = listbytes.encode_clear(evil)
        old = {Feed.CLEAR: first, Feed.HASHED: hash_lines(listbytes.clear_lines(first), KEY)}
        new = {Feed.CLEAR: clear, Feed.HASHED: hash_lines(evil, KEY)}
        repo.forge_hint(2, 1, {feed: delta.encode(feed, old[feed], new[feed]) for feed in BOTH})
        repo.omit("snapshot", *([] if all_there else ["list"]))
        repo.write(tmp_path / "repo")
        if all_there:
            pulled = pull(local)
            assert_at_head(local, repo, pulled)
            assert {one.way for one in pulled} == {"list"}
        else:
            refused(local, Exit.TAMPERED)

    def test_hints_cannot_make_a_pull_fetch_more_than_the_list(
        self, local: State, repo: Repo, tmp_path: Path
    ) -> None:
        grow(repo, 3)
        repo.forge_hint(2, 1, dict.fromkeys(BOTH, bytes(2**21)))
        repo.write(tmp_path / "repo")
        pulled = pull(local)
        assert_at_head(local, repo, pulled)
        assert all(one.bytes < 2**16 for one in pulled)

    def test_a_list_that_shrank_is_reached_from_a_much_larger_snapshot(
        self, repo: Repo, tmp_path: Path
    ) -> None:
        """What M itself names may be of any size; only hints are held to twice the list."""
        repo = Repo()
        many = [f"u a.example/{n:05}/{'x' * 90}".encode() for n in range(12_000)]
        repo.release(many)
        assert repo.last().snapshot[Feed.CLEAR][0] == 1
        assert len(repo.last().content[Feed.CLEAR]) > settings.LADDER_FLOOR_BYTES
        grow(repo, 4)
        repo.omit("list")
        state = enrolled(tmp_path / "new", repo, f"file:{repo.write(tmp_path / 'large')}")
        pulled = pull(state)
        assert_at_head(state, repo, pulled)
        assert {one.way for one in pulled} == {"snapshot"}

    @pytest.mark.parametrize("entries", [0, 60, 62])
    def test_a_wrong_number_of_entries_is_malformed(
        self, entries: int, local: State, repo: Repo, tmp_path: Path
    ) -> None:
        repo.release(lines_of(2), entries=entries)
        repo.write(tmp_path / "repo")
        refused(local, Exit.MALFORMED)

    def test_an_empty_list_is_never_installed(
        self, local: State, repo: Repo, tmp_path: Path
    ) -> None:
        repo.release([], test_entry=False)
        repo.write(tmp_path / "repo")
        refused(local, Exit.MALFORMED)

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
        assert Blocklist.open(local.directory).match_host(TEST_HOST)  # from the matcher file
        for path in local.directory.glob("lists/demo/*/*.matcher"):
            path.unlink()
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
