"""The board: who holds what since when, how late they are, and who may see it."""

import json
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from blocklist.api.app import create_app
from blocklist.api.board import lateness, sightings
from blocklist.api.board.board import KEPT, Board
from blocklist.api.limits import CLOCKS_APART
from blocklist.api.reader import FeedReader
from blocklist.core.entries import Feed
from blocklist.core.errors import StoreUnreachable
from blocklist.core.private import Subscription
from blocklist.store import layout
from tests import api_repo
from tests.api_repo import NOW, TOKEN, Clock, QuickStore, Repo, assert_problem, sha256

HASHED = (Feed.HASHED,)
HOUR = 3_600


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    repo = Repo(tmp_path_factory.mktemp("template") / "store")
    repo.releases(3)
    return repo


@pytest.fixture
def repo(template: Repo, tmp_path: Path) -> Repo:
    return template.copy(tmp_path / "store")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(repo: Repo, clock: Clock) -> Board:
    return make(repo, clock)


def make(repo: Repo, clock: Clock, shared: Any = None) -> Board:
    return Board(FeedReader(repo.store, None, clock), repo.store, clock, shared)


def enrol(
    repo: Repo,
    name: str,
    feeds: Sequence[Feed] = HASHED,
    lists: Sequence[str] = ("demo",),
    **more: Any,
) -> Subscription:
    """Enrol a subscriber whose token is `token of <name>`; again, with other particulars."""
    digest = sha256(f"token of {name}".encode())
    scope = {item: tuple(feeds) for item in lists}
    subscription = Subscription(name, digest, scope, NOW, **more)
    repo.store.delete(layout.enrolment_key(digest))
    assert repo.store.put_new(layout.enrolment_key(digest), subscription.to_bytes())
    return subscription


def rows(board: Board) -> dict[tuple[str, str, str], dict[str, Any]]:
    view = board.view()
    assert view.complete
    return {(row["name"], row["list"], row["feed"]): row for row in view.rows}


def row(board: Board, name: str = "isp") -> dict[str, Any]:
    return rows(board)[name, "demo", "hashed"]


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


# -- what stands there ---------------------------------------------------------------------------


def test_who_never_asked_stands_there_without_a_version(board: Board, repo: Repo) -> None:
    enrol(repo, "isp")
    assert row(board) == {
        "name": "isp", "list": "demo", "feed": "hashed", "version": None, "since": None,
        "seen": None, "behind_versions": None, "behind_seconds": None, "state": "valid",
        "expires": None,
    }  # fmt: skip


def test_there_is_a_row_for_each_list_and_feed_by_name(board: Board, repo: Repo) -> None:
    enrol(repo, "b", (Feed.CLEAR, Feed.HASHED))
    enrol(repo, "a", lists=["other", "demo"])
    found = [(row["name"], row["list"], row["feed"]) for row in board.view().rows]
    assert found == [
        ("a", "demo", "hashed"), ("a", "other", "hashed"), ("b", "demo", "clear"),
        ("b", "demo", "hashed"),
    ]  # fmt: skip


def test_since_is_when_the_version_was_first_seen_and_seen_when_last(
    board: Board, repo: Repo, clock: Clock
) -> None:
    isp = enrol(repo, "isp")
    moments = []
    for version in (2, 2, 2, 3, 3):
        clock.tick(60)
        moments.append(text(clock.now))
        board.note(isp, "demo", Feed.HASHED, version)
        found = row(board)
        assert (found["version"], found["seen"]) == (version, moments[-1])
        assert found["since"] == moments[0 if version == 2 else 3]


def test_two_feeds_of_one_subscriber_are_apart(board: Board, repo: Repo) -> None:
    isp = enrol(repo, "isp", tuple(Feed))
    board.note(isp, "demo", Feed.CLEAR, 2)
    board.note(isp, "demo", Feed.HASHED, 3)
    found = rows(board)
    assert found["isp", "demo", "clear"]["version"] == 2
    assert found["isp", "demo", "hashed"]["version"] == 3


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({}, "valid"),
        ({"expires": NOW + timedelta(days=1)}, "valid"),
        ({"expires": NOW}, "expired"),
        ({"revoked": NOW}, "revoked"),
        ({"revoked": NOW, "expires": NOW}, "revoked"),
    ],
)
def test_ended_subscriptions_are_marked(
    board: Board, repo: Repo, more: dict[str, datetime], state: str
) -> None:
    enrol(repo, "isp", **more)
    found = row(board)
    assert found["state"] == state
    assert found["expires"] == (text(more["expires"]) if "expires" in more else None)


def test_who_did_not_ask_for_90_days_is_forgotten(board: Board, repo: Repo, clock: Clock) -> None:
    board.note(enrol(repo, "isp"), "demo", Feed.HASHED, 3)
    assert row(board)["version"] == 3
    clock.tick(KEPT.total_seconds())
    board.flush()
    assert row(board)["version"] == 3
    clock.tick(1)
    board.flush()
    assert row(board)["version"] is None


def test_what_is_remembered_is_bounded(
    board: Board, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sightings, "MAX_SIGHTINGS", 3)
    for number in range(10):
        board.note(enrol(repo, f"isp {number}"), "demo", Feed.HASHED, 3)
    held = {name: found["version"] for (name, _, _), found in rows(board).items()}
    assert [name for name, version in held.items() if version] == ["isp 7", "isp 8", "isp 9"]


# -- how late ------------------------------------------------------------------------------------


@pytest.fixture
def paced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """Releases 1, 2, 3, 5 and 6, made an hour apart, the last one now; 4 is burned."""
    repo = Repo(tmp_path / "paced")
    for hours, version in zip((4, 3, 2, 1, 0), (1, 2, 3, 5, 6), strict=True):
        monkeypatch.setattr(api_repo, "NOW", NOW - timedelta(hours=hours))
        repo.release(to=version)
    monkeypatch.undo()
    return repo


LATE = {0: 4, 1: 3, 2: 2, 3: 1, 5: 0}
"""By version held, how many hours the first release it misses has been there."""


def lags(board: Board, repo: Repo) -> dict[int, tuple[int, int]]:
    for version in (*LATE, 6, 7):
        board.note(enrol(repo, str(version)), "demo", Feed.HASHED, version)
    return {
        found["version"]: (found["behind_versions"], found["behind_seconds"])
        for found in rows(board).values()
    }


def test_late_since_the_first_release_that_is_missed(paced: Repo, clock: Clock) -> None:
    clock.tick(60)
    found = lags(make(paced, clock), paced)
    assert found.pop(6) == (0, 0)
    assert found.pop(7) == (-1, 0)
    assert found == {held: (6 - held, hours * HOUR + 60) for held, hours in LATE.items()}


def test_what_was_live_is_remembered_and_not_looked_up(
    repo: Repo, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lateness, "MAX_LOOKUPS", 0)
    board = make(repo, clock)
    isp = enrol(repo, "isp")
    board.note(isp, "demo", Feed.HASHED, 3)
    board.flush()
    for hours in (1, 2, 3):
        monkeypatch.setattr(api_repo, "NOW", NOW + timedelta(hours=hours))
        clock.tick(HOUR)
        repo.release()
        board.flush()
    assert row(board)["behind_seconds"] == 2 * HOUR
    assert row(board)["behind_versions"] == 3


def test_of_the_releases_the_newest_are_remembered(
    repo: Repo, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lateness, "MAX_RELEASES", 2)
    board = make(repo, clock)
    for _ in range(4):
        repo.release()
        clock.tick(1)
        board.flush()
    assert [made.version for made in board._lateness._made["demo"]] == [6, 7]


def test_what_cannot_be_looked_up_any_more_makes_it_at_least_so_late(
    paced: Repo, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.tick(60)
    monkeypatch.setattr(lateness, "MAX_LOOKUPS", 1)
    found = lags(make(paced, clock), paced)
    assert found[5] == (1, 60)
    assert all(seconds >= 60 for held, (_, seconds) in found.items() if held < 6)


def test_looking_up_is_bounded_and_remembered(
    paced: Repo, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = make(paced, clock)
    lags(board, paced)
    read: list[str] = []
    get = QuickStore.get

    def counted(store: QuickStore, key: str, **more: int) -> object:
        read.append(key)
        return get(store, key, **more)

    monkeypatch.setattr(QuickStore, "get", counted)
    lags(board, paced)
    roles = [key for key in read if key.endswith(".demo.json")]
    assert set(roles) <= {"feed/metadata/4.demo.json"}  # what is burned may be asked for again


def test_a_list_that_does_not_verify_and_one_without_release_have_nobody_late(
    repo: Repo, clock: Clock
) -> None:
    repo.delegate("empty")
    repo.delegate("bad")
    repo.release("bad")
    repo.damage("feed/metadata/1.bad.json")
    isp = enrol(repo, "isp", lists=["demo", "bad", "empty", "none"])
    board = make(repo, clock)
    for name in ("demo", "bad", "empty", "none"):
        board.note(isp, name, Feed.HASHED, 0)
    found = {key[1]: found["behind_versions"] for key, found in rows(board).items()}
    assert found == {"demo": 3, "bad": None, "empty": None, "none": None}


# -- enrolments ----------------------------------------------------------------------------------


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The enrolments that were read."""
    keys: list[str] = []
    get = QuickStore.get

    def counted(store: QuickStore, key: str, **more: int) -> object:
        keys.extend([key] if key.startswith(layout.ENROLMENTS) else [])
        return get(store, key, **more)

    monkeypatch.setattr(QuickStore, "get", counted)
    return keys


def test_an_enrolment_is_read_once_unless_it_changed(
    repo: Repo, read: list[str], clock: Clock
) -> None:
    clock.tick(CLOCKS_APART.total_seconds() + 60)
    board = make(repo, clock)
    for number in range(30):
        enrol(repo, f"isp {number}")
        path = repo.file(layout.enrolment_key(sha256(f"token of isp {number}".encode())))
        os.utime(path, (NOW.timestamp(), NOW.timestamp()))  # however long this run takes
    assert len(rows(board)) == 30
    assert len(read) == len(set(read)) == 30
    read.clear()
    assert len(rows(board)) == 30
    assert read == []
    enrol(repo, "isp 7", revoked=NOW)
    assert row(board, "isp 7")["state"] == "revoked"
    assert len(read) == 1
    repo.store.delete(layout.enrolment_key(sha256(b"token of isp 8")))
    assert len(rows(board)) == 29


def test_an_enrolment_of_just_now_is_read_again(repo: Repo, read: list[str], clock: Clock) -> None:
    board = make(repo, clock)
    enrol(repo, "isp", expires=NOW + timedelta(days=1))
    assert row(board)["state"] == "valid"
    path = repo.file(layout.enrolment_key(sha256(b"token of isp")))
    before = path.stat()
    enrol(repo, "isp", expires=NOW - timedelta(days=1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert row(board)["state"] == "expired"


def test_damaged_enrolments_are_left_out_and_counted_once(
    board: Board, repo: Repo, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("good", "broken", "foreign"):
        enrol(repo, name)
    key = layout.enrolment_key
    repo.file(key(sha256(b"token of broken"))).write_bytes(b"{")
    repo.file(key(sha256(b"token of foreign"))).write_bytes(
        repo.file(key(sha256(b"token of good"))).read_bytes()
    )
    for _ in range(3):
        assert [name for name, _, _ in rows(board)] == ["good"]
    assert [record.getMessage() for record in caplog.records] == ["2 enrolments cannot be read"]


def test_a_storage_that_fails_is_no_empty_board(
    board: Board, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(repo, "isp")
    rows(board)

    def fail(store: QuickStore, prefix: str) -> object:
        raise StoreUnreachable("gone")

    monkeypatch.setattr(QuickStore, "list", fail)
    with pytest.raises(StoreUnreachable):
        board.view()


def test_five_thousand_subscribers(board: Board, repo: Repo) -> None:
    everybody = [enrol(repo, f"isp {number:04}", tuple(Feed)) for number in range(5_000)]
    for number, who in enumerate(everybody):
        board.note(who, "demo", Feed.HASHED, number % 4)
    found = board.view().rows
    assert len(found) == 10_000
    hashed = [row for row in found if row["feed"] == "hashed"]
    assert [row["version"] for row in hashed] == [number % 4 for number in range(5_000)]
    assert [row["behind_versions"] for row in hashed] == [3 - n % 4 for n in range(5_000)]
    assert json.dumps(found)


# -- memory only ---------------------------------------------------------------------------------


class Untouchable:
    """A shared state that fails the test when it is asked anything."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"asked Redis: {name}")


def test_noting_asks_neither_redis_nor_the_storage(
    repo: Repo, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    isp = enrol(repo, "isp")
    board = make(repo, clock, Untouchable())
    monkeypatch.setattr(QuickStore, "get", None)
    monkeypatch.setattr(QuickStore, "list", None)
    board.note(isp, "demo", Feed.HASHED, 3)


# -- the route -----------------------------------------------------------------------------------

PATH = "/v1/subscribers"


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


def admin(repo: Repo) -> dict[str, str]:
    """Enrol an administrator; return the headers to send."""
    subscription = Subscription("ops", sha256(b"admin-token"), {}, NOW, admin=True)
    key = layout.enrolment_key(subscription.token_digest)
    assert repo.store.put_new(key, subscription.to_bytes())
    return bearer("admin-token")


def test_the_board_is_for_administrators(repo: Repo, clock: Clock) -> None:
    headers = repo.enrol()
    client = create_app(repo.store, clock=clock).test_client()
    assert_problem(client.get(PATH), 401, "not-authenticated")
    assert_problem(client.get(PATH, headers=headers), 403, "outside-scope")
    assert client.get(PATH, headers=admin(repo)).status_code == 200


def test_polls_are_seen_on_the_board(repo: Repo, clock: Clock) -> None:
    headers, ops = repo.enrol(), admin(repo)
    client = create_app(repo.store, clock=clock).test_client()
    assert client.get("/v1/lists/demo/hashed/update?from=2", headers=headers).status_code == 200
    answer = client.get(PATH, headers=ops)
    assert answer.content_type == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    document = json.loads(answer.data)
    assert document.keys() == {"complete", "subscribers"}
    assert document["complete"] is True
    found = {(row["list"], row["feed"]): row for row in document["subscribers"]}
    assert found["demo", "hashed"]["version"] == 2
    assert found["demo", "hashed"]["since"] == text(NOW)
    assert found["demo", "hashed"]["behind_versions"] == 1
    assert found["demo", "clear"]["version"] is None
    assert TOKEN not in answer.text
    assert sha256(TOKEN.encode()) not in answer.text


def test_a_poll_that_is_refused_is_not_noted(repo: Repo, clock: Clock) -> None:
    headers, ops = repo.enrol(lists={"demo": HASHED}), admin(repo)
    client = create_app(repo.store, clock=clock).test_client()
    for path in ("demo/clear/update?from=2", "none/hashed/update?from=2"):
        assert client.get(f"/v1/lists/{path}", headers=headers).status_code == 403
    assert client.get("/v1/lists/demo/hashed/update?from=-2", headers=headers).status_code == 400
    (found,) = json.loads(client.get(PATH, headers=ops).data)["subscribers"]
    assert found["version"] is None


def test_the_board_takes_no_parameters_and_only_reads(repo: Repo, clock: Clock) -> None:
    ops = admin(repo)
    client = create_app(repo.store, clock=clock).test_client()
    assert_problem(client.get(f"{PATH}?name=isp", headers=ops), 400, "bad-request")
    assert_problem(client.post(PATH, headers=ops), 405, "method-not-allowed")
    assert client.head(PATH, headers=ops).status_code == 200
