"""The head: when it is looked at, and what happens when it does not verify."""

import logging
from pathlib import Path

import pytest

from blocklist.api.app import create_app
from blocklist.core.entries import Feed
from blocklist.core.errors import StoreUnreachable
from tests.api_repo import Api, Clock, QuickStore, Repo, assert_problem

STAMP = "feed/metadata/timestamp.json"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    repo = Repo(tmp_path_factory.mktemp("template") / "store")
    repo.releases(2)
    return repo


@pytest.fixture
def api(template: Repo, tmp_path: Path) -> Api:
    return Api(template.copy(tmp_path / "store"))


def version(api: Api) -> int:
    return int(api.get("/v1/lists/demo/clear").headers["ETag"].strip('"'))


def ready(api: Api) -> bool:
    return api.get("/readyz").status_code == 200


def test_a_release_is_seen_after_half_a_second(api: Api) -> None:
    assert version(api) == 2
    api.repo.release()
    api.clock.tick(0.4)
    assert version(api) == 2
    api.clock.tick(0.1)
    assert version(api) == 3


def test_a_clock_that_was_set_back_does_not_stop_the_looking(api: Api) -> None:
    assert version(api) == 2
    api.repo.release()
    api.clock.tick(-3600)
    assert version(api) == 3


def test_the_storage_is_asked_once_in_half_a_second(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    read = QuickStore.get

    def count(store: QuickStore, key: str, **more: int) -> object:
        asked.append(key)
        return read(store, key, **more)

    assert version(api) == 2
    monkeypatch.setattr(QuickStore, "get", count)
    for _ in range(5):
        version(api)
    assert asked == []
    api.later()
    for _ in range(5):
        version(api)
    assert asked == [STAMP]


def damaged_timestamp(repo: Repo) -> None:
    repo.damage(STAMP)


def missing_timestamp(repo: Repo) -> None:
    repo.file(STAMP).unlink()


def foreign_timestamp(repo: Repo) -> None:
    other = Repo(repo.path.with_name("other"))
    other.releases(3)
    repo.file(STAMP).write_bytes(other.file(STAMP).read_bytes())


def missing_snapshot(repo: Repo) -> None:
    repo.release()
    repo.file("feed/metadata/5.snapshot.json").unlink()


def damaged_snapshot(repo: Repo) -> None:
    repo.release()
    repo.damage("feed/metadata/5.snapshot.json")


def bad_root(repo: Repo) -> None:
    repo.refresh()
    repo.file("feed/metadata/2.root.json").write_bytes(b"{}")


@pytest.mark.parametrize(
    "harm",
    [
        damaged_timestamp,
        missing_timestamp,
        foreign_timestamp,
        missing_snapshot,
        damaged_snapshot,
        bad_root,
    ],
)
def test_a_head_that_does_not_verify_keeps_the_old_one_and_ends_readiness(
    api: Api, harm: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert ready(api)
    stamp = api.repo.file(STAMP).read_bytes()
    harm(api.repo)  # type: ignore[operator] # one of the functions above
    caplog.clear()
    for _ in range(3):
        api.later()
        assert_problem(api.get("/readyz"), 503, "not-ready")
        assert version(api) == 2
        assert api.get("/v1/metadata/timestamp.json").data == stamp
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1


def test_an_older_head_is_a_rollback_and_is_not_taken(api: Api) -> None:
    old = api.repo.file(STAMP).read_bytes()
    api.repo.release()
    assert version(api) == 3
    api.repo.file(STAMP).write_bytes(old)
    api.later()
    assert not ready(api)
    assert version(api) == 3


def test_readiness_returns_with_the_head(api: Api) -> None:
    assert ready(api)
    whole = api.repo.damage(STAMP)
    api.later()
    assert not ready(api)
    api.repo.file(STAMP).write_bytes(whole)
    api.later()
    assert ready(api)


def test_a_storage_that_is_down_ends_readiness_and_memory_is_served(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = api.update("from=1")

    def down(*args: object, **more: object) -> None:
        raise StoreUnreachable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(QuickStore, "get", down)
        api.later()
        assert not ready(api)
        assert api.update("from=1") == before
    api.later()
    assert ready(api)


def test_a_root_given_by_the_operator_counts(template: Repo, tmp_path: Path) -> None:
    other = Repo(tmp_path / "other")
    clock = Clock()
    good = create_app(template.store, root=template.root, clock=clock).test_client()
    bad = create_app(template.store, root=other.root, clock=clock).test_client()
    assert good.get("/readyz").status_code == 200
    assert bad.get("/readyz").status_code == 503


def test_a_repository_that_appears_later_is_served(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.mkdir()
    clock = Clock()
    client = create_app(QuickStore(path), clock=clock).test_client()
    assert client.get("/readyz").status_code == 503
    repo = Repo(path)
    repo.release()
    clock.tick(1)
    assert client.get("/readyz").status_code == 200
    answer = client.get("/v1/lists/demo/clear", headers=repo.enrol())
    assert answer.headers["ETag"] == '"1"'


def test_a_list_that_does_not_verify_does_not_block_the_others(api: Api) -> None:
    api.repo.delegate("other")
    api.repo.release("other")
    whole = api.repo.damage("feed/metadata/2.demo.json")
    other = api.repo.enrol("other-token", {"other": [Feed.CLEAR]})
    assert_problem(api.get("/v1/lists/demo/clear"), 503, "not-ready")
    assert_problem(api.get("/v1/lists/demo/clear/update"), 503, "not-ready")
    assert api.get("/v1/lists/other/clear", other).status_code == 200
    assert [item["version"] for item in api.get("/v1/lists").json["lists"]] == [None, None]
    assert ready(api)
    api.repo.file("feed/metadata/2.demo.json").write_bytes(whole)
    api.later()
    assert version(api) == 2


def test_a_role_with_senseless_facts_is_not_served(api: Api) -> None:
    api.repo.commit(api.repo.role("demo", 3, []))
    assert_problem(api.get("/v1/lists/demo/clear"), 503, "not-ready")


def test_a_list_that_went_back_under_a_new_head_is_not_served(api: Api) -> None:
    assert version(api) == 2
    api.repo.rewind("demo", 1)
    api.later()
    assert version(api) == 2  # clients would call that head a rollback
    assert not ready(api)
