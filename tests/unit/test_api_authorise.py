"""What the API tells nginx about a token, and for how long that may be used."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from blocklist.api import authorise
from blocklist.api.limits import TOKEN_LIFE
from blocklist.core.entries import Feed
from tests.api_repo import NOW, Api, Repo

PATHS = ["/internal/authorise", "/internal/authorise/demo", "/internal/authorise/demo/clear"]


@pytest.fixture(name="api")
def _api(tmp_path: Path) -> Api:
    repo = Repo(tmp_path)
    repo.release()
    return Api(repo)


def kept(answer: TestResponse) -> tuple[int, int]:
    """Return for how many seconds an answer may be used: always, and in an outage besides."""
    found = re.fullmatch(r"max-age=(\d+), stale-if-error=(\d+)", answer.headers["Cache-Control"])
    assert found is not None
    return int(found[1]), int(found[2])


def test_a_revoked_token_is_refused_everywhere_within_a_minute() -> None:
    assert TOKEN_LIFE + timedelta(seconds=authorise.KEPT) < timedelta(minutes=1)


@pytest.mark.parametrize("path", PATHS)
def test_a_token_that_opens_it_is_permitted(api: Api, path: str) -> None:
    answer = api.get(path)
    assert (answer.status_code, answer.data) == (204, b"")
    assert kept(answer) == (authorise.KEPT, authorise.KEPT_IN_OUTAGE)
    assert answer.headers["Vary"] == "Authorization"


@pytest.mark.parametrize("path", PATHS)
def test_without_a_good_token_it_is_401(api: Api, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer unknown"}, {"Authorization": "Basic abc"}):
        answer = api.get(path, headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
        assert answer.headers["Cache-Control"] == authorise.REFUSAL_KEPT
        assert answer.headers["Vary"] == "Authorization"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/internal/authorise", 204),
        ("/internal/authorise/demo", 204),
        ("/internal/authorise/demo/hashed", 204),
        ("/internal/authorise/demo/clear", 403),
        ("/internal/authorise/other", 403),
        ("/internal/authorise/other/hashed", 403),
        ("/internal/authorise/demo/other", 404),
        ("/internal/authorise/demo/hashed?from=1", 400),
    ],
)
def test_the_scope_decides(api: Api, path: str, status: int) -> None:
    headers = api.repo.enrol("a-token-for-hashed-only", {"demo": [Feed.HASHED]})
    answer = api.get(path, headers)
    assert answer.status_code == status
    assert answer.headers["Vary"] == "Authorization"


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (10, (10, 0)),
        (authorise.KEPT + 100, (authorise.KEPT, 100)),
        (10**6, (authorise.KEPT, authorise.KEPT_IN_OUTAGE)),
    ],
)
def test_a_permission_ends_with_the_token(api: Api, left: int, expected: tuple[int, int]) -> None:
    headers = api.repo.enrol("a-token-that-ends", expires=NOW + timedelta(seconds=left))
    assert kept(api.get(PATHS[2], headers)) == expected


def test_a_revoked_token_is_refused(api: Api) -> None:
    headers = api.repo.enrol("a-token-that-is-revoked", revoked=NOW)
    assert api.get(PATHS[0], headers).status_code == 401
