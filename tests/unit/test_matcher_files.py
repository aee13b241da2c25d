"""Matcher files on disk: made by pulls, made again, and never believed when they are not whole."""

import logging
import os
import resource
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from blocklist.core import matcherfile
from blocklist.core.entries import Feed, Kind
from blocklist.core.errors import LocalError, MalformedFeed, NotInstalled
from blocklist.core.hashing import hash_lines
from blocklist.core.listbytes import encode_clear
from blocklist.subscriber import Blocklist, Match, matcher_files, pull, settings
from blocklist.subscriber.enrol import enrol
from blocklist.subscriber.fastindex import Damaged, FastIndex
from blocklist.subscriber.state import State
from tests.subscriber_repo import BOTH, KEY, TEST_HOST, Repo, sha

LISTED = "http://three.example/x"
LINES = [b"h three.example", *(f"u many.example/{n}".encode() for n in range(400))]


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncs to the disk take most of the time, and no test here cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(name="repo")
def _repo() -> Repo:
    repo = Repo()
    repo.release(LINES)
    return repo


@pytest.fixture(name="state")
def _state(tmp_path: Path, repo: Repo) -> State:
    state = State(tmp_path / "state")
    enrol(
        state,
        repo.enrolment(f"file:{repo.write(tmp_path / 'repo')}"),
        accept_dev=True,
        now=repo.now,
    )
    pull(state)
    return state


def matcher_file(state: State, feed: Feed = Feed.CLEAR) -> Path:
    (path,) = state.feed("demo", feed).path.glob("*.matcher")
    return path


def flip(path: Path, at: int) -> None:
    """Change one byte in place, as a bad disk or a careless hand does."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)


DAMAGES = [truncate, empty, overwrite, Path.unlink]


@pytest.mark.parametrize("feed", BOTH)
class TestMade:
    def test_by_a_pull_readable_for_the_group(self, state: State, feed: Feed) -> None:
        path = matcher_file(state, feed)
        assert path.stat().st_mode & 0o777 == 0o640
        assert path.with_suffix(".list").exists()

    def test_anybody_makes_the_same_bytes(self, state: State, feed: Feed) -> None:
        path = matcher_file(state, feed)
        data = path.with_suffix(".list").read_bytes()
        key = matcherfile.record_key(feed, path.stem, KEY)
        assert matcherfile.encode(feed, data, path.stem, key) == path.read_bytes()

    @pytest.mark.parametrize("damage", [*DAMAGES, lambda path: flip(path, 200)])
    def test_again_by_the_next_pull_also_when_nothing_is_new(
        self, state: State, feed: Feed, damage: Callable[[Path], None]
    ) -> None:
        path = matcher_file(state, feed)
        before = path.read_bytes()
        damage(path)
        pulled = pull(state)
        assert not any(one.changed for one in pulled)
        assert path.read_bytes() == before

    @pytest.mark.parametrize("damage", [*DAMAGES, lambda path: flip(path, 200)])
    def test_again_by_whoever_reads_as_the_owner(
        self, state: State, feed: Feed, damage: Callable[[Path], None]
    ) -> None:
        path = matcher_file(state, feed)
        before = path.read_bytes()
        damage(path)
        lists = Blocklist.open(state.directory, "demo", feed=feed)
        assert lists.match(LISTED) == Match("demo", Kind.HOST, 1)
        assert path.read_bytes() == before

    def test_a_reader_who_may_not_write_gets_the_same_answers(
        self,
        state: State,
        feed: Feed,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        matcher_file(state, feed).unlink()
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        with caplog.at_level(logging.WARNING):
            lists = Blocklist.open(state.directory, "demo", feed=feed)
        assert "slowly" in caplog.text
        assert lists.match(LISTED) == Match("demo", Kind.HOST, 1)
        assert lists.match("http://no.example/") is None
        assert list(state.feed("demo", feed).path.glob("*.matcher")) == []

    def test_those_of_versions_that_are_gone_are_removed(
        self, state: State, feed: Feed, repo: Repo, tmp_path: Path
    ) -> None:
        for number in range(3):
            repo.release([*LINES, f"h n{number}.example".encode()])
            repo.write(tmp_path / "repo")
            pull(state)
        folder = state.feed("demo", feed).path
        lists = {path.stem for path in folder.glob("*.list")}
        assert {path.stem for path in folder.glob("*.matcher")} == lists
        assert len(lists) == 2


@pytest.mark.parametrize("feed", BOTH)
class TestDamagedUnderneath:
    """While a process has it open: no signal kills it, and no answer is wrong."""

    @pytest.mark.parametrize("damage", [truncate, empty, overwrite])
    def test_answers_stay_right(
        self, state: State, feed: Feed, damage: Callable[[Path], None]
    ) -> None:
        lists = Blocklist.open(state.directory, "demo", feed=feed)
        damage(matcher_file(state, feed))
        assert lists.match(LISTED) == Match("demo", Kind.HOST, 1)
        for number in range(400):
            assert lists.match(f"http://many.example/{number}") == Match("demo", Kind.URL, 1)
        assert lists.match_host(TEST_HOST) == Match("demo", Kind.HOST, 1)
        assert lists.match("http://no.example/") is None

    def test_every_byte_counts(self, state: State, feed: Feed) -> None:
        """Whichever is changed, either opening fails or reading, or nothing that is searched."""
        path = matcher_file(state, feed)
        key = matcherfile.record_key(feed, path.stem, KEY)
        for at in range(0, path.stat().st_size, 13):
            flip(path, at)
            with pytest.raises(Damaged):
                FastIndex.open(path, path.stem, key).verify()
            flip(path, at)
        FastIndex.open(path, path.stem, key).verify()

    def test_with_the_list_bytes_damaged_too_there_is_no_answer(
        self, state: State, feed: Feed
    ) -> None:
        lists = Blocklist.open(state.directory, "demo", feed=feed)
        path = matcher_file(state, feed)
        empty(path)
        truncate(path.with_suffix(".list"))
        for _ in range(2):
            with pytest.raises(NotInstalled, match="pull again"):
                lists.match(LISTED)
        pull(state)
        assert lists.match(LISTED) == Match("demo", Kind.HOST, 1)

    def test_removed_it_stays_readable(self, state: State, feed: Feed) -> None:
        lists = Blocklist.open(state.directory, "demo", feed=feed)
        path = matcher_file(state, feed)
        path.unlink()
        path.with_suffix(".list").unlink()
        assert lists.match(LISTED) == Match("demo", Kind.HOST, 1)

    def test_threads_that_meet_the_damage_together(self, state: State, feed: Feed) -> None:
        lists = Blocklist.open(state.directory, "demo", feed=feed)
        truncate(matcher_file(state, feed))
        answers: list[Match | None] = []
        threads = [
            threading.Thread(target=lambda: answers.append(lists.match(LISTED))) for _ in range(8)
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert answers == [Match("demo", Kind.HOST, 1)] * 8


class TestHostile:
    def test_a_file_of_another_version_or_key_is_not_taken(self, tmp_path: Path) -> None:
        data, other = encode_clear([b"h a.example"]), encode_clear([b"h b.example"])
        path = tmp_path / "file"
        key = matcherfile.record_key(Feed.CLEAR, sha(data), None)
        path.write_bytes(matcherfile.encode(Feed.CLEAR, data, sha(data), key))
        with pytest.raises(Damaged):
            FastIndex.open(path, sha(other), key)
        with pytest.raises(Damaged):
            FastIndex.open(path, sha(data), KEY)

    @pytest.mark.parametrize("records", [0, 2, 10**6, 2**26, 2**26 + 1, 2**64 - 1])
    def test_a_false_number_of_records_takes_no_memory(self, tmp_path: Path, records: int) -> None:
        data = encode_clear([b"h a.example"])
        key = matcherfile.record_key(Feed.CLEAR, sha(data), None)
        encoded = bytearray(matcherfile.encode(Feed.CLEAR, data, sha(data), key))
        encoded[8:16] = struct.pack(">Q", records)
        path = tmp_path / "file"
        path.write_bytes(encoded)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(Damaged):
            FastIndex.open(path, sha(data), key)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024

    def test_a_folder_or_pipe_in_its_place(self, state: State) -> None:
        path = matcher_file(state)
        path.unlink()
        path.mkdir()
        assert Blocklist.open(state.directory, "demo").match(LISTED)
        path.rmdir()
        os.mkfifo(path)
        assert Blocklist.open(state.directory, "demo").match(LISTED)

    def test_a_hashed_feed_needs_its_key(self) -> None:
        with pytest.raises(MalformedFeed):
            matcherfile.record_key(Feed.HASHED, "00" * 32, None)


def test_the_empty_list(tmp_path: Path) -> None:
    for feed, data in ((Feed.CLEAR, encode_clear([])), (Feed.HASHED, hash_lines([], KEY))):
        key = matcherfile.record_key(feed, sha(data), KEY)
        path = tmp_path / feed
        path.write_bytes(matcherfile.encode(feed, data, sha(data), key))
        index = FastIndex.open(path, sha(data), key)
        assert index.nothing_on("a.example")
        assert not index.has(b"h a.example")
        assert not index.has_narrower("a.example")


def test_a_full_disk_makes_checking_slow_and_no_pull_fail(
    state: State, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise LocalError("cannot write: No space left on device")

    repo.release([*LINES, b"h new.example"])
    repo.write(tmp_path / "repo")
    with monkeypatch.context() as patched:
        patched.setattr(matcher_files, "write", full)
        pulled = pull(state)
        assert all("slow" in " ".join(one.warnings) for one in pulled)
        lists = Blocklist.open(state.directory, "demo")
        assert lists.match("http://new.example/") == Match("demo", Kind.HOST, 2)
    assert list(state.feed("demo", Feed.CLEAR).path.glob("*.matcher"))[1:] == []
    pull(state)
    assert len(list(state.feed("demo", Feed.CLEAR).path.glob("*.matcher"))) == 2


def test_what_is_remembered_is_bounded_and_forgotten_with_the_version(
    state: State, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "MAX_CLEAN_HOSTS", 3)
    monkeypatch.setattr(settings, "FOLLOW_SECONDS", 0.0)
    lists = Blocklist.open(state.directory, "demo")
    for number in range(20):
        assert lists.match(f"http://n{number}.example/") is None
        assert lists.match_host(f"n{number}.example") is None
    repo.release([*LINES, b"u n19.example/page", b"h n18.example"])
    repo.write(tmp_path / "repo")
    pull(state)
    assert lists.match("http://n19.example/page") == Match("demo", Kind.URL, 2)
    assert lists.match("http://n19.example/") is None
    assert lists.match_host("n18.example") == Match("demo", Kind.HOST, 2)


FORKING = """
import os, sys, time
from blocklist import Blocklist
from blocklist.subscriber import settings
settings.FOLLOW_SECONDS = 0.0
lists = Blocklist.open(sys.argv[1], "demo")
(follower,) = lists._followers
os.rename(sys.argv[2], sys.argv[3])  # a newer version comes
with follower._lock:
    child = os.fork()
    if child == 0:
        os._exit(3 if lists.match("http://new.example/").version == 2 else 4)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_follows_for_itself(state: State, repo: Repo, tmp_path: Path) -> None:
    """Also when a thread of the parent was following just when it forked."""
    document = state.feed("demo", Feed.CLEAR).document
    old = document.read_bytes()
    repo.release([*LINES, b"h new.example"])
    repo.write(tmp_path / "repo")
    pull(state)
    newer = document.rename(tmp_path / "newer")
    document.write_bytes(old)
    words = [sys.executable, "-c", FORKING, str(state.directory), str(newer), str(document)]
    assert subprocess.run(words, check=False).returncode == 3
