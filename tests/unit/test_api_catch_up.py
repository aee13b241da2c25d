"""A caller that has seen more than this process: it never gets an older answer than it has."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.api_repo import Api, Repo, assert_problem

UPDATE = "/v1/lists/demo/hashed/update"


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = Repo(tmp_path / "store")
    repo.releases(2)
    return repo


@pytest.fixture
def late(repo: Repo) -> Api:
    """A process that does not look by itself and knows version 2; version 3 is live."""
    api = Api(repo)
    assert api.get("/readyz").status_code == 200
    api.services.reader.watched = True
    repo.release()
    assert api.get("/v1/lists/demo/hashed").headers["ETag"] == '"2"'
    return api


def seen(repo: Repo) -> str:
    """What a subscriber asks that another process has told everything."""
    head = repo.head()
    return (
        f"{UPDATE}?from=3&root={head.root.version}&targets={head.targets.version}"
        f"&timestamp={head.timestamp.version}"
    )


def test_who_has_more_hears_that_it_is_current(late: Api, repo: Repo) -> None:
    assert late.get(seen(repo)).status_code == 304


@pytest.mark.parametrize("what", ["from=3", "from=2&timestamp={stamp}"])
def test_who_has_a_part_gets_the_rest(late: Api, repo: Repo, what: str) -> None:
    stamp = repo.head().timestamp.version
    answer = late.get(f"{UPDATE}?{what.format(stamp=stamp)}")
    assert answer.headers["ETag"].strip('"').endswith(f"-{stamp}-3")


def test_a_validator_says_it_too(late: Api, repo: Repo) -> None:
    head = repo.head()
    etag = f'"{head.root.version}-{head.timestamp.version}-3"'
    assert late.get(f"{UPDATE}?root=1", If_None_Match=etag).status_code == 304


def test_the_validator_of_a_feed_too(late: Api) -> None:
    assert late.get("/v1/lists/demo/hashed", If_None_Match='"3"').status_code == 304


def test_metadata_of_the_new_release_is_found(late: Api, repo: Repo) -> None:
    assert late.get("/v1/metadata/3.demo.json").status_code == 200
    repo.release()
    assert late.get("/v1/metadata/timestamp.json").data == repo.head().timestamp.data


def test_objects_of_the_new_release_are_found(late: Api, repo: Repo) -> None:
    name = repo.delta_key(2, 3).removeprefix("feed/targets/")
    assert late.get(f"/v1/targets/{name}").status_code == 200


def test_a_rollback_stays_visible(repo: Repo) -> None:
    """What the storage really has is told, also to who has seen more."""
    api = Api(repo)
    assert api.get("/readyz").status_code == 200
    api.services.reader.watched = True
    ahead = seen(repo).replace("from=3", "from=9")
    answer = api.get(ahead + "9")
    assert answer.status_code == 200
    assert answer.headers["ETag"].strip('"').endswith("-2")
    assert_problem(api.get("/v1/metadata/9.demo.json"), 404, "not-found")


def test_callers_that_claim_the_impossible_share_few_looks(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(repo)
    assert api.get("/readyz").status_code == 200
    reader = api.services.reader
    reader.watched = True
    looks: list[int] = []
    look = reader._look

    def counted() -> None:
        looks.append(1)
        look()

    monkeypatch.setattr(reader, "_look", counted)
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(
                lambda _: (
                    api.app.test_client()
                    .get(f"{UPDATE}?timestamp=9007199254740991", headers=api.headers)
                    .status_code
                ),
                range(32),
            )
        )
    assert answers == [200] * 32
    assert len(looks) < 16
