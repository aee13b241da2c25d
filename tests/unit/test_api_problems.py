"""Every error is a problem document that tells nothing of the request or of what went wrong."""

import logging
from pathlib import Path

import pytest
from flask import Flask

from blocklist.api import problems
from blocklist.api.app import create_app
from blocklist.core.errors import LocalError, StoreUnreachable
from blocklist.store import layout
from tests.api_repo import TOKEN, Api, Clock, Repo, assert_problem, sha256
from tests.fakes import MemoryStore

SECRET = "bad.example"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    repo = Repo(tmp_path_factory.mktemp("template") / "store")
    repo.release()
    return repo


@pytest.fixture
def api(template: Repo, tmp_path: Path) -> Api:
    return Api(template.copy(tmp_path / "store"))


def broken(monkeypatch: pytest.MonkeyPatch, api: Api, error: Exception) -> None:
    """Let every further read of the storage fail."""

    def fail(*args: object, **more: object) -> None:
        raise error

    monkeypatch.setattr(type(api.repo.store), "get", fail)


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/lists/", "/v1/lists/demo", "//v1/lists"])
def test_404_where_there_is_no_route(api: Api, path: str) -> None:
    assert_problem(api.client.open(path, headers=api.headers), 404, "not-found")


def test_no_answer_is_a_redirect(api: Api) -> None:
    for path in ("//healthz", "/healthz/", "/v1//lists", "/v1/lists/demo//clear"):
        assert api.client.open(path, headers=api.headers).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/v1/lists", "/v1/lists/demo/clear/update", "/healthz"])
def test_405_for_everything_but_reading(api: Api, path: str, method: str) -> None:
    answer = api.client.open(path, method=method, headers=api.headers)
    assert_problem(answer, 405, "method-not-allowed")
    with_query = api.client.open(f"{path}?from=1&x=2", method=method, headers=api.headers)
    assert_problem(with_query, 405, "method-not-allowed")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("size", [1, 10_000_000])
def test_413_for_any_body(api: Api, method: str, size: int) -> None:
    answer = api.client.open("/v1/lists", method=method, data=b"x" * size, headers=api.headers)
    assert_problem(answer, 413, "body-not-allowed")


def test_413_for_a_body_of_unknown_length(api: Api) -> None:
    assert_problem(api.get("/v1/lists", Transfer_Encoding="chunked"), 413, "body-not-allowed")


@pytest.mark.parametrize("path", ["/v1/lists", "/v1/metadata/1.targets.json"])
@pytest.mark.parametrize("error", [StoreUnreachable, LocalError])
def test_503_when_the_storage_fails(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str, error: type[Exception]
) -> None:
    broken(monkeypatch, api, error(f"cannot read {SECRET}"))
    answer = api.get(path)
    assert_problem(answer, 503, "storage-unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert SECRET.encode() not in answer.data


def test_503_when_no_head_was_ever_verified() -> None:
    client = create_app(MemoryStore(), clock=Clock()).test_client()
    assert_problem(client.get("/readyz"), 503, "not-ready")


def test_500_for_the_unexpected_says_nothing_and_logs_where(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken(monkeypatch, api, ZeroDivisionError(f"something with {SECRET} and {TOKEN}"))
    answer = api.get("/v1/lists")
    assert_problem(answer, 500, "internal-error")
    assert b"ZeroDivision" not in answer.data
    assert b"Traceback" not in answer.data
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(lines) == 1
    assert "ZeroDivisionError" in lines[0]
    assert "tokens.py" in lines[0]
    assert SECRET not in caplog.text
    assert TOKEN not in caplog.text


def test_500_for_a_damaged_enrolment(api: Api) -> None:
    api.repo.file(layout.enrolment_key(sha256(TOKEN.encode()))).write_bytes(b"{")
    assert_problem(api.get("/v1/lists"), 500, "internal-error")


@pytest.mark.parametrize(
    "path",
    [
        f"/{SECRET}", f"/v1/lists/{SECRET}/clear", f"/v1/lists/demo/{SECRET}",
        f"/v1/metadata/{SECRET}", f"/v1/targets/demo/clear/{SECRET}",
        f"/v1/lists/demo/clear/update?from={SECRET}", f"/v1/lists/demo/clear/update?{SECRET}=1",
        f"/v1/lists/demo/clear/update?token={SECRET}",
    ],
)  # fmt: skip
def test_neither_answer_nor_log_repeats_a_bad_request(
    api: Api, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = api.get(path, Referer=f"https://{SECRET}/", User_Agent=SECRET)
    assert 400 <= answer.status_code < 500
    assert SECRET not in answer.text
    assert not any(SECRET in value for value in answer.headers.values())
    assert len(caplog.records) == 1
    assert SECRET not in caplog.text


NAMES = [
    "..", "%2e%2e", ".", "%2e", "..%2f..", "%2e%2e%2f", "a%00b", "%00", "%c0%ae%c0%ae", "%c0%af",
    "..%5c..", "%5c", "..%255c", "%252e%252e", "%ff", "%ef%bc%8e%ef%bc%8e", "DEMO", "demo%20",
    "%0d%0aX-Evil:%201", "demo%0a", "a" * 33, "d%c3%a9mo", "-%e2%80%ae", "*", "~root",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "path",
    ["/v1/lists/{}/clear", "/v1/lists/{}/clear/update", "/v1/lists/{}/hashed/snapshot",
     "/v1/lists/demo/{}", "/v1/lists/demo/{}/update", "/v1/metadata/{}", "/v1/metadata/{}.json",
     "/v1/metadata/1.{}.json", "/v1/targets/{}/clear/x", "/v1/targets/demo/{}/x",
     "/v1/targets/demo/clear/{}", "/{}", "/v1/{}"],
)  # fmt: skip
def test_404_for_names_that_no_object_has(api: Api, path: str, name: str) -> None:
    answer = api.get(path.format(name))
    assert_problem(answer, 404, "not-found")
    assert "X-Evil" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/lists", "/v1/lists/demo/clear/update", "/healthz"])
def test_head_is_get_without_a_body(api: Api, path: str) -> None:
    full, head = api.get(path), api.client.head(path, headers=api.headers)
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == full.headers["Content-Length"]
    assert head.headers.get("ETag") == full.headers.get("ETag")


@pytest.mark.parametrize("status", [400, 404, 405, 413, 414, 431, 500])
def test_every_status_of_the_server_has_a_kind(status: int) -> None:
    kind = problems.of_status(status)
    assert kind.status == status
    assert kind.slug != "refused"
    assert problems.of_status(417) == problems.Kind("refused", 417, "The request is refused")


def test_apps_are_independent(template: Repo, tmp_path: Path) -> None:
    one, two = Api(template.copy(tmp_path / "1")), Api(template.copy(tmp_path / "2"))
    one.repo.release()
    assert isinstance(one.app, Flask)
    assert one.get("/v1/lists/demo/clear").headers["ETag"] == '"2"'
    assert two.get("/v1/lists/demo/clear").headers["ETag"] == '"1"'
