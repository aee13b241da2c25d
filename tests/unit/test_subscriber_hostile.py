"""Truncated and random bytes in place of everything a subscriber reads; disk full; kill -9."""

import json
import os
import random
import resource
import shutil
import signal
import struct
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest

from blocklist.core import documents
from blocklist.core.enrolment import Enrolment
from blocklist.core.entries import Feed
from blocklist.core.errors import BlocklistError, Exit, InputError, LocalError
from blocklist.store import layout
from blocklist.subscriber import Blocklist, PullFailed, pull
from blocklist.subscriber.enrol import enrol
from blocklist.subscriber.state import State
from signing.names import file_name
from tests.subscriber_http import Handler, running, serve
from tests.subscriber_repo import BOTH, Repo, damage_json, grow, in_force, lines_of

CHAOS = random.Random(2)
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "random": lambda data: CHAOS.randbytes(len(data)),
    "huge": lambda data: data + bytes(600_000),
}
METADATA = {
    "timestamp": "timestamp.json",
    "root": "2.root.json",
    "snapshot": "{snapshot}.snapshot.json",
    "targets": "{targets}.targets.json",
    "role": "9.demo.json",
}
FIVE = {Exit.UNREACHABLE, Exit.STALE, Exit.ROLLBACK, Exit.TAMPERED, Exit.MALFORMED}


def failure(state: State) -> BlocklistError:
    """Every feed fails alike, with one of the five outcomes, and what is in force stays."""
    before = in_force(state)
    with pytest.raises(PullFailed) as caught:
        pull(state)
    assert in_force(state) == before
    assert caught.value.exit_code in FIVE
    assert {one.error.exit_code for one in caught.value.failed} == {caught.value.exit_code}
    return caught.value


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncs to the disk take most of the time, and no test here cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(name="repo")
def _repo() -> Repo:
    repo = Repo()
    repo.release(lines_of(1))
    return repo


@pytest.fixture(name="state")
def _state(tmp_path: Path, repo: Repo) -> State:
    """At version 1; the repository then changes every role and goes on to version 9."""
    state = State(tmp_path / "state")
    source = f"file:{repo.write(tmp_path / 'repo')}"
    enrol(state, repo.enrolment(source), accept_dev=True, now=repo.now)
    pull(state)
    repo.delegate("other")
    repo.rotate_root()
    grow(repo, 9)
    return state


@pytest.mark.parametrize("damage", DAMAGE)
class TestDamagedObjects:
    @pytest.mark.parametrize("role", METADATA)
    def test_metadata(
        self, role: str, damage: str, state: State, repo: Repo, tmp_path: Path
    ) -> None:
        head = repo.head()
        name = METADATA[role].format(snapshot=head.snapshot.version, targets=head.targets.version)
        key = layout.METADATA + name
        repo.objects[key] = DAMAGE[damage](repo.objects[key])
        repo.write(tmp_path / "repo")
        parsed_unverified = role in ("timestamp", "root") and damage != "huge"
        expected = Exit.MALFORMED if parsed_unverified else Exit.TAMPERED
        assert failure(state).exit_code == expected

    def test_objects(self, damage: str, state: State, repo: Repo, tmp_path: Path) -> None:
        for feed in BOTH:
            for key in repo.keys(feed):
                repo.objects[key] = DAMAGE[damage](repo.objects[key])
        repo.write(tmp_path / "repo")
        assert failure(state).exit_code == Exit.TAMPERED

    @pytest.mark.parametrize(("what", "way"), [("delta-", "list"), ("snapshot", "list")])
    def test_one_kind_of_object(
        self, what: str, way: str, damage: str, state: State, repo: Repo, tmp_path: Path
    ) -> None:
        """Whatever is left leads to the list."""
        repo.omit(*{"delta-", "snapshot"} - {what})
        for feed in BOTH:
            for key in repo.keys(feed, what):
                repo.objects[key] = DAMAGE[damage](repo.objects[key])
        repo.write(tmp_path / "repo")
        assert {one.way for one in pull(state)} == {way}

    def test_hints(self, damage: str, state: State, repo: Repo, tmp_path: Path) -> None:
        """Damaged role files of intermediate versions only close the ladder."""
        grow(repo, 15)
        for version in range(2, 15):
            key = layout.METADATA + file_name("demo", version)
            repo.objects[key] = DAMAGE[damage](repo.objects[key])
        repo.write(tmp_path / "repo")
        assert {one.way for one in pull(state)} == {"list"}

    def test_update_documents(
        self, damage: str, state: State, repo: Repo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send = Handler._send

        def damaged(handler: Handler, status: int, data: bytes) -> None:
            send(handler, status, DAMAGE[damage](data) if "/update" in handler.path else data)

        monkeypatch.setattr(Handler, "_send", damaged)
        with serve(repo) as served:
            enrol(state, repo.enrolment(served.url), accept_dev=True, now=repo.now)
            assert failure(state).exit_code == Exit.MALFORMED

    def test_enrolments(self, damage: str, repo: Repo) -> None:
        data = repo.enrolment("file:x").to_bytes()
        with pytest.raises(InputError) as caught:
            Enrolment.from_bytes(DAMAGE[damage](data))
        assert caught.value.exit_code == Exit.USAGE

    def test_documents_of_the_state(
        self, damage: str, state: State, repo: Repo, tmp_path: Path
    ) -> None:
        """What is installed is fetched again; a damaged enrolment asks for the file."""
        repo.write(tmp_path / "repo")
        for name in ("installed.json", "outcome.json"):
            for path in state.directory.rglob(name):
                path.write_bytes(DAMAGE[damage](path.read_bytes())[:5000])
        with pytest.raises(LocalError):
            Blocklist.open(state.directory)
        assert {one.to for one in pull(state)} == {9}
        path = state.directory / "enrolment.json"
        path.write_bytes(DAMAGE[damage](path.read_bytes()))
        with pytest.raises(LocalError, match="enrol again"):
            pull(state)


class TestAlteredHints:
    """Well-formed TUF metadata of an intermediate version that says something else."""

    @pytest.mark.parametrize(
        ("what", "changes"),
        [
            ("list", {"custom": "x"}),
            ("list", {"custom": {}}),
            ("list", {"length": True}),
            ("snapshot", {"custom": [1]}),
            ("snapshot", {"hashes": {"sha256": "\ud800"}}),
            ("delta-", {"hashes": {"sha256": "../../x"}}),
            ("delta-", {"hashes": {"sha256": "AB" * 32}}),
            ("delta-", {"length": 1.5}),
            ("delta-", {"length": float("nan")}),
            ("delta-", {"length": 2**53}),
        ],
    )
    def test_they_only_close_the_ladder(
        self,
        what: str,
        changes: dict[str, object],
        state: State,
        repo: Repo,
        tmp_path: Path,
    ) -> None:
        key = layout.METADATA + file_name("demo", 8)
        document = json.loads(repo.objects[key])
        for path, target in document["signed"]["targets"].items():
            if path.rpartition("/")[2].startswith(what):
                target.update(changes)
        repo.objects[key] = json.dumps(document).encode()
        repo.write(tmp_path / "repo")
        assert {one.way for one in pull(state, names=["demo"])} == {"snapshot"}

    def test_a_list_that_is_far_too_large_is_not_built(
        self, state: State, repo: Repo, tmp_path: Path
    ) -> None:
        """A delta of a few hundred bytes that a hint names claims millions of lines."""
        count = 2 * 2**20
        raw = bytes(count) + b"a\n" * count
        held = len(lines_of(1)) + 1
        head = struct.pack(">IIII", held, 0, count, len(raw))
        bomb = b"BLC1" + head + brotli.compress(raw, quality=1)
        repo.forge_hint(8, 1, {Feed.CLEAR: bomb})
        repo.write(tmp_path / "repo")
        tracemalloc.start()
        try:
            ways = [one.way for one in pull(state)]
            assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
        finally:
            tracemalloc.stop()
        assert ways == ["snapshot", "ladder"]


@pytest.mark.parametrize("name", ["timestamp.json", "2.root.json"])
def test_any_changed_byte_of_what_is_parsed_unverified(
    name: str, state: State, repo: Repo, tmp_path: Path
) -> None:
    repo.write(tmp_path / "repo")
    path = tmp_path / "repo" / layout.METADATA / name
    good = path.read_bytes()
    for at in range(0, len(good), len(good) // 25):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        failure(state)


class TestUpdateDocuments:
    @pytest.mark.parametrize("body", [b"[]", b"{}", b'{"list": "other"}', b'{"files": 1}'])
    def test_other_shapes_are_malformed(self, body: bytes, state: State, repo: Repo) -> None:
        handler = type("Other", (Handler,), {"log": [], "authorizations": [], "repo": repo})
        handler._update = lambda self, path, at: self._send(200, body)
        with running(handler) as url:
            enrol(state, repo.enrolment(url), accept_dev=True, now=repo.now)
            assert failure(state).exit_code == Exit.MALFORMED

    def test_many_small_values_in_a_field_that_is_ignored(self, state: State, repo: Repo) -> None:
        handler = type("Other", (Handler,), {"log": [], "authorizations": [], "repo": repo})
        body = b'{"x":[' + b"{}," * documents.MAX_MARKS + b"{}]}"
        handler._update = lambda self, path, at: self._send(200, body)
        with running(handler) as url:
            enrol(state, repo.enrolment(url), accept_dev=True, now=repo.now)
            failed = failure(state)
        assert failed.exit_code == Exit.MALFORMED
        assert "parts" in str(failed)

    def test_an_update_of_another_list_is_malformed(self, state: State, repo: Repo) -> None:
        handler = type("Other", (Handler,), {"log": [], "authorizations": [], "repo": repo})
        update = Handler._update
        handler._update = lambda self, path, at: update(
            self, [*path[:-2], {"clear": "hashed", "hashed": "clear"}[path[-2]], path[-1]], at
        )
        with running(handler) as url:
            enrol(state, repo.enrolment(url), accept_dev=True, now=repo.now)
            assert failure(state).exit_code == Exit.MALFORMED

    def test_objects_left_out_are_fetched_one_by_one(self, state: State, repo: Repo) -> None:
        handler = type("Other", (Handler,), {"log": [], "authorizations": [], "repo": repo})
        send = Handler._send
        handler._send = lambda self, status, data: send(
            self, status, damage_json(data, objects={}) if "/update" in self.path else data
        )
        with running(handler) as url:
            enrol(state, repo.enrolment(url), accept_dev=True, now=repo.now)
            pulled = pull(state)
        assert {(one.to, one.way) for one in pulled} == {(9, "ladder")}
        assert all(one.requests == 1 + one.objects for one in pulled)


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked child; return its exit code, negative for a signal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: none holds a lock here
        child = os.fork()
    if child == 0:
        code = 70
        try:
            work()
            code = 0
        except BlocklistError as error:
            code = int(error.exit_code)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at(number: int) -> None:
    """Kill this process before its n-th change of a directory or sync to the disk."""
    left = [number]

    def counted(name: str) -> None:
        real = getattr(os, name)

        def call(*args: object, **options: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **options)

        setattr(os, name, call)

    for name in ("replace", "fsync", "unlink", "symlink", "remove", "mkdir"):
        counted(name)


class TestCrashes:
    @pytest.mark.parametrize("start", ["nothing installed", "at version 1"])
    def test_kill_between_any_two_writes(self, start: str, tmp_path: Path) -> None:
        """After a kill at any point a reader sees an old or a new list, and a pull converges."""
        repo = Repo()
        repo.release(lines_of(1))
        source = f"file:{repo.write(tmp_path / 'repo')}"
        contents = [repo.last().content]
        ready = State(tmp_path / "ready")
        enrol(ready, repo.enrolment(source), accept_dev=True, now=repo.now)
        if start != "nothing installed":
            pull(ready)
            grow(repo, 4)
            repo.write(tmp_path / "repo")
            contents.append(repo.last().content)
        kills = 0
        for number in range(1, 200):
            state = State(tmp_path / f"state-{number}")
            shutil.copytree(ready.directory, state.directory, symlinks=True)

            def work(state: State = state, number: int = number) -> None:
                kill_at(number)
                pull(state)

            if in_child(work) == 0:
                break
            kills += 1
            whole = {one[feed] for one in contents for feed in BOTH}
            for feed in BOTH:
                found = state.feed("demo", feed).read()
                if found is not None:
                    assert state.feed("demo", feed).load(found.current) in whole
                    Blocklist.open(state.directory, "demo", feed=feed)
                else:
                    assert start == "nothing installed"
            assert {one.to for one in pull(state)} == {repo.last().version}
            assert not list(state.directory.rglob(".tmp-*"))
            assert not list(state.trust.glob("tmp*"))
            for feed in BOTH:
                current = state.feed("demo", feed).read().current
                assert state.feed("demo", feed).load(current) == repo.last().content[feed]
        assert kills >= 20

    def test_a_full_disk(self, state: State, repo: Repo, tmp_path: Path) -> None:
        """The list stays and the exit code says that it is this machine's trouble."""
        repo.release([f"h {n}.example".encode() for n in range(4000)])
        repo.write(tmp_path / "repo")
        before = in_force(state)

        def work() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
            pull(state)

        assert in_child(work) == Exit.LOCAL
        assert in_force(state) == before
        assert Blocklist.open(state.directory).info[0].version.version == 1

    def test_a_disk_too_full_for_metadata(self, state: State, repo: Repo, tmp_path: Path) -> None:
        repo.write(tmp_path / "repo")
        before = in_force(state)

        def work() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
            pull(state)

        assert in_child(work) == Exit.LOCAL
        assert in_force(state) == before
        assert {one.to for one in pull(state)} == {9}
        assert state.feed("demo", Feed.CLEAR).read().current.version == 9
