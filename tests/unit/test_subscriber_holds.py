"""Holds: verified all the same, never older than what is kept, never for ever."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocklist.core.entries import Feed
from blocklist.core.errors import InputError, LocalError, NotInstalled, UnknownFormat, UnknownList
from blocklist.subscriber import Blocklist, PullFailed, pull, settings
from blocklist.subscriber.decisions import decisions
from blocklist.subscriber.holds import FILE, Holds, hold, release
from blocklist.subscriber.installed import FeedFolder
from blocklist.subscriber.state import State
from blocklist.subscriber.status import status
from tests.subscriber_repo import BOTH, Repo, content, enrolled, in_force, lines_of

DAY = timedelta(days=1)


@pytest.fixture(name="repo")
def _repo() -> Repo:
    repo = Repo()
    repo.release(lines_of(1))
    return repo


@pytest.fixture(name="state")
def _state(tmp_path: Path, repo: Repo) -> State:
    """Version 2 is in force, version 1 kept beside it."""
    state = enrolled(tmp_path / "state", repo, f"file:{repo.write(tmp_path / 'repo')}")
    pull(state)
    step(state, repo)
    return state


def step(state: State, repo: Repo, now: datetime | None = None) -> list[tuple[int, int | None]]:
    """Release the next version and pull; return what each feed holds and holds back."""
    repo.release(lines_of(repo.last().version + 1))
    repo.write(state.directory.parent / "repo")
    return [(one.to, one.held_back) for one in pull(state, now=now)]


def held(state: State, version: int | None = None, *names: str, **changes: datetime) -> None:
    now = changes.get("now", datetime.now(UTC))
    until = changes.get("until", now + DAY)
    hold(state, names, version=version, until=until, reason="too slow", now=now)


def versions(state: State) -> list[int | None]:
    return [one.version for one in status(state, datetime.now(UTC))]


def test_newer_versions_are_verified_and_not_in_force(state: State, repo: Repo) -> None:
    held(state)
    before = in_force(state)
    assert step(state, repo) == [(2, 3), (2, 3)]
    assert step(state, repo) == [(2, 4), (2, 4)]
    assert in_force(state) == before
    (one, _) = status(state, datetime.now(UTC))
    assert one.last is not None
    assert one.last.word == "held"
    repo.forge_timestamp("somebody")
    repo.write(state.directory.parent / "repo")
    with pytest.raises(PullFailed) as caught:
        pull(state)
    assert caught.value.exit_code == 13
    assert in_force(state) == before


def test_it_ends_by_itself(state: State, repo: Repo) -> None:
    start = datetime.now(UTC)
    held(state, until=start + DAY)
    assert step(state, repo, now=start + DAY - timedelta(seconds=1)) == [(2, 3), (2, 3)]
    assert step(state, repo, now=start + DAY) == [(4, None), (4, None)]
    (ended,) = Holds.load(state.directory, start + DAY).ended
    assert ended.list == "demo"


def test_released_the_newest_goes_in_force(state: State, repo: Repo) -> None:
    held(state)
    step(state, repo)
    release(state, (), datetime.now(UTC))
    assert [(one.to, one.changed) for one in pull(state)] == [(3, True), (3, True)]
    with pytest.raises(InputError, match="a hold to release"):
        release(state, (), datetime.now(UTC))


def test_the_version_kept_beside_it_can_be_put_in_force(state: State, repo: Repo) -> None:
    reader = Blocklist.open(state.directory)
    assert reader.info[0].version.version == 2
    held(state, 1)
    assert versions(state) == [1, 1]
    assert content(state, Feed.HASHED) == repo.history["demo"][0].content[Feed.HASHED]
    assert Blocklist.open(state.directory).info[0].version.version == 1
    assert step(state, repo) == [(1, 3), (1, 3)]
    held(state, 2)  # and back again
    assert versions(state) == [2, 2]
    release(state, ("demo",), datetime.now(UTC))
    assert {one.to for one in pull(state)} == {3}
    assert content(state, Feed.CLEAR) == repo.last().content[Feed.CLEAR]


def test_nothing_older_than_what_is_kept(state: State, repo: Repo) -> None:
    step(state, repo)
    before = in_force(state)
    for version in (1, 4):
        with pytest.raises(InputError, match=r"one of \[3, 2\]"):
            held(state, version)
    assert in_force(state) == before
    assert Holds.load(state.directory, datetime.now(UTC)).records == ()


@pytest.mark.parametrize("feed", BOTH)
def test_a_kept_version_that_is_damaged_is_not_put_in_force(state: State, feed: Feed) -> None:
    installed = state.feed("demo", feed).read()
    assert installed is not None
    assert installed.previous is not None
    (state.feed("demo", feed).path / f"{installed.previous.digest}.list").write_bytes(b"h all\n")
    with pytest.raises(InputError, match=f"demo/{feed}"):
        held(state, 1)
    assert versions(state) == [2, 2]


def test_a_version_whose_hash_key_is_gone_is_not_put_in_force(state: State) -> None:
    enrolment = state.enrolment()
    (item,) = enrolment.lists.values()
    lists = {"demo": replace(item, hash_keys={})}
    state.write_enrolment(replace(enrolment, lists=lists))
    with pytest.raises(LocalError, match="hash key"):
        held(state, 1)
    assert versions(state) == [2, 2]


def test_no_hold_claims_a_version_that_could_not_be_put_in_force(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise LocalError("no space left")

    monkeypatch.setattr(FeedFolder, "install", full)
    with pytest.raises(LocalError):
        held(state, 1)
    assert Holds.load(state.directory, datetime.now(UTC)).records == ()
    assert versions(state) == [2, 2]


def test_a_list_in_force_comes_before_a_hold(state: State, repo: Repo) -> None:
    held(state)
    for path in state.feed("demo", Feed.CLEAR).path.glob("*.list"):
        path.unlink()
    assert step(state, repo) == [(3, None), (2, 3)]


def test_what_cannot_be_held(state: State, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    with pytest.raises(UnknownList):
        held(state, None, "unknown")
    for until in (now, now + settings.MAX_HOLD_TIME + DAY):
        with pytest.raises(InputError, match="the end of a hold"):
            held(state, now=now, until=until)
    with pytest.raises(NotInstalled):
        held(State(tmp_path / "nowhere"))
    assert not (state.directory / FILE).exists()


def test_before_the_first_pull_there_is_nothing_to_hold(tmp_path: Path, repo: Repo) -> None:
    state = enrolled(tmp_path / "state", repo, f"file:{repo.write(tmp_path / 'repo')}")
    with pytest.raises(NotInstalled, match="pull first"):
        held(state)


@pytest.mark.parametrize("damage", [b"", b'{"format": 1}', b'{"format": 1, "holds": {"demo": 1}}'])
def test_a_damaged_file_is_an_error_and_what_is_in_force_stays(
    state: State, repo: Repo, damage: bytes
) -> None:
    (state.directory / FILE).write_bytes(damage)
    before = in_force(state)
    with pytest.raises(LocalError, match="damaged"):
        step(state, repo)
    assert in_force(state) == before
    with pytest.raises(LocalError, match="damaged"):
        held(state)
    (trouble,) = decisions(state.directory, datetime.now(UTC)).warnings
    assert "damaged" in trouble
    (state.directory / FILE).write_bytes(b'{"format": 2}')
    with pytest.raises(UnknownFormat):
        pull(state)


def test_it_is_told_aloud(state: State) -> None:
    held(state, 1)
    (line,) = decisions(state.directory, datetime.now(UTC)).warnings
    assert "HELD at version 1" in line
    assert "too slow" in line
    (line,) = decisions(state.directory, datetime.now(UTC) + 2 * DAY).warnings
    assert "ended" in line
