"""The index, one feed, and the snapshot."""

import json
from pathlib import Path

import pytest

from blocklist.core import delta
from blocklist.core.entries import Feed
from tests.api_repo import Api, Repo, assert_problem, content, sha256


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """The list `demo` at version 3, with the snapshot of 2."""
    repo = Repo(tmp_path_factory.mktemp("template") / "store")
    repo.release()
    repo.release(snapshot=True)
    repo.release()
    return repo


@pytest.fixture
def api(template: Repo, tmp_path: Path) -> Api:
    return Api(template.copy(tmp_path / "store"))


def test_a_feed_says_what_is_live(api: Api) -> None:
    answer = api.get("/v1/lists/demo/clear")
    assert answer.content_type == "application/json"
    assert answer.headers["ETag"] == '"3"'
    assert answer.headers["Cache-Control"] == "private, no-cache"
    document = json.loads(answer.data)
    live = content(Feed.CLEAR, 3)
    assert document.pop("created") < document.pop("expires")
    assert document == {
        "list": "demo",
        "feed": "clear",
        "version": 3,
        "entries": 3,
        "digest": sha256(live),
        "length": len(live),
    }


def test_a_feed_is_not_sent_again_until_the_next_release(api: Api) -> None:
    assert api.get("/v1/lists/demo/hashed", If_None_Match='"3"').status_code == 304
    api.repo.release()
    api.later()
    answer = api.get("/v1/lists/demo/hashed", If_None_Match='"3"')
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"4"')


def test_a_list_without_a_release_is_not_found(api: Api) -> None:
    api.repo.delegate("new")
    headers = api.repo.enrol(lists={"new": [Feed.HASHED]})
    assert_problem(api.get("/v1/lists/new/hashed", headers), 404, "not-released")
    assert_problem(api.get("/v1/lists/new/hashed/snapshot", headers), 404, "not-released")


@pytest.mark.parametrize("feed", ["hash", "CLEAR", "clear%20", "clear%00"])
def test_another_feed_is_not_found(api: Api, feed: str) -> None:
    assert_problem(api.get(f"/v1/lists/demo/{feed}"), 404, "not-found")


def test_the_index_names_what_the_caller_may_read_and_nothing_else(api: Api) -> None:
    api.repo.delegate("new")
    api.repo.delegate("other")
    api.repo.release("other")
    headers = api.repo.enrol(lists={"new": [Feed.HASHED], "demo": [Feed.CLEAR], "gone": list(Feed)})
    answer = api.get("/v1/lists", headers)
    found = [
        (item["list"], item["feed"], item["version"]) for item in json.loads(answer.data)["lists"]
    ]
    assert found == [
        ("demo", "clear", 3),
        ("gone", "clear", None),
        ("gone", "hashed", None),
        ("new", "hashed", None),
    ]


def test_the_index_is_not_sent_again_while_nothing_changes(api: Api) -> None:
    etag = api.get("/v1/lists").headers["ETag"]
    assert api.get("/v1/lists", If_None_Match=etag).status_code == 304
    api.repo.release()
    api.later()
    assert api.get("/v1/lists", If_None_Match=etag).status_code == 200


@pytest.mark.parametrize("feed", list(Feed))
def test_the_snapshot_gives_the_list_of_the_version_in_its_header(api: Api, feed: Feed) -> None:
    answer = api.get(f"/v1/lists/demo/{feed}/snapshot")
    assert answer.headers["X-Blocklist-Version"] == "2"
    assert answer.headers["ETag"] == f'"{sha256(answer.data)}"'
    assert answer.content_type == "application/octet-stream"
    assert delta.apply(feed, b"", answer.data, max_bytes=1 << 20) == content(feed, 2)


def test_the_snapshot_is_not_sent_again(api: Api) -> None:
    etag = api.get("/v1/lists/demo/clear/snapshot").headers["ETag"]
    answer = api.get("/v1/lists/demo/clear/snapshot", If_None_Match=etag)
    assert (answer.status_code, answer.data) == (304, b"")


def test_a_snapshot_that_is_not_stored_any_more_is_not_found(api: Api) -> None:
    api.repo.file(api.repo.snapshot_key(Feed.CLEAR)).unlink()
    assert_problem(api.get("/v1/lists/demo/clear/snapshot"), 404, "not-found")


@pytest.mark.parametrize("path", ["/v1/lists", "/v1/lists/demo/clear", "/healthz", "/readyz"])
def test_parameters_are_refused_where_none_are_known(api: Api, path: str) -> None:
    assert_problem(api.get(f"{path}?from=1"), 400, "bad-request")
