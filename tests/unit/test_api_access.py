"""The line that each request leaves in the log, and the id that it is followed by."""

import json
import logging
import re
from datetime import datetime
from typing import Any

import pytest

from blocklist.api.access import REQUEST_ID, refused
from blocklist.api.settings import ApiSettings
from tests.api_repo import TOKEN, Api, Repo

SECRET = "bad.example"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    repo = Repo(tmp_path_factory.mktemp("template") / "store")
    repo.release()
    return repo


@pytest.fixture
def api(template: Repo, caplog: pytest.LogCaptureFixture) -> Api:
    caplog.set_level(logging.INFO)
    return Api(template)


def line(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """Return the only line."""
    (record,) = caplog.records
    found: dict[str, Any] = json.loads(record.getMessage())
    return found


def test_a_good_request_is_logged_with_its_path_and_without_its_query(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    answer = api.get("/v1/lists/demo/clear/update?from=0&root=1")
    found = line(caplog)
    assert found.pop("ms") >= 0
    assert datetime.fromisoformat(found.pop("time")).tzinfo is not None
    assert found == {
        "request_id": answer.headers[REQUEST_ID],
        "method": "GET",
        "path": "/v1/lists/demo/clear/update",
        "status": 200,
        "bytes": len(answer.data),
        "waited_ms": 0,
    }
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        (f"/v1/lists/{SECRET}/clear", "/v1/lists/<list_name>/<feed>"),
        (f"/v1/metadata/{SECRET}", "/v1/metadata/<name>"),
        (f"/{SECRET}", None),
        ("/healthz", "/healthz"),
    ],
)
def test_what_a_refused_request_said_is_not_logged(
    api: Api, caplog: pytest.LogCaptureFixture, path: str, logged: str | None
) -> None:
    api.get(path, Referer=SECRET, User_Agent=SECRET)
    assert line(caplog)["path"] == logged
    assert SECRET not in caplog.text


def test_an_unknown_method_is_not_logged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    api.client.open("/healthz", method="BREW")
    assert line(caplog)["method"] is None


@pytest.mark.parametrize("given", ["a", "A-z_0.9", "x" * 64])
def test_a_harmless_id_is_kept(api: Api, caplog: pytest.LogCaptureFixture, given: str) -> None:
    assert api.get("/healthz", X_Request_Id=given).headers[REQUEST_ID] == given
    assert line(caplog)["request_id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", 'a"b', "\u00e9", "\u0661", "a/b", "<x>"])
def test_another_id_is_replaced(api: Api, caplog: pytest.LogCaptureFixture, given: str) -> None:
    new = api.get("/healthz", X_Request_Id=given).headers[REQUEST_ID]
    assert new != given
    assert re.fullmatch(r"[0-9a-f]{12}-[0-9]+", new)
    assert line(caplog)["request_id"] == new


@pytest.mark.parametrize("path", ["/v1/lists", "/nope", "/healthz?x=1"])
def test_every_answer_has_an_id_of_its_own(api: Api, path: str) -> None:
    ids = {api.get(path).headers[REQUEST_ID] for _ in range(5)}
    ids |= {Api(api.repo).get(path).headers[REQUEST_ID]}
    assert len(ids) == 6


def test_what_the_server_refused_is_logged_alike(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    request_id = refused(431)
    found = line(caplog)
    assert found.pop("time")
    assert found == {"request_id": request_id, "status": 431}


# -- whose request it is -------------------------------------------------------------------------


def attempts(api: Api, address: str, forwarded: str) -> int:
    """Return the status of a request with a wrong token."""
    return api.client.get(
        "/v1/lists",
        headers={"Authorization": "Bearer wrong", "X-Forwarded-For": forwarded},
        environ_overrides={"REMOTE_ADDR": address},
    ).status_code


def test_without_trusted_proxies_a_forwarded_address_is_ignored(template: Repo) -> None:
    api = Api(template, settings=ApiSettings(unauthenticated_per_minute=2))
    seen = [attempts(api, "192.0.2.1", f"198.51.100.{n}") for n in range(3)]
    assert seen == [401, 401, 429]


def test_with_a_trusted_proxy_the_address_is_the_one_it_adds(template: Repo) -> None:
    settings = ApiSettings(unauthenticated_per_minute=2, trusted_proxies=1)
    api = Api(template, settings=settings)
    assert [attempts(api, "192.0.2.1", f"198.51.100.{n}") for n in range(3)] == [401] * 3
    forged = [attempts(api, "192.0.2.1", f"203.0.113.{n}, 198.51.100.9") for n in range(3)]
    assert forged == [401, 401, 429]
