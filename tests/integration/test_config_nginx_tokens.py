"""What nginx keeps of an API's answers about tokens, and for how long."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.services.nginx import Nginx
from scripts.services.process import until
from tests.nginx_kit import (
    CLEAR,
    HASHED,
    FakeApi,
    assert_problem,
    curl,
    files_holding,
    get,
    running,
)
from tests.services import used

GOOD, OTHER = "Xq7-good_token.of~a/subscriber+A0", "Yr8-other_token.of~a/subscriber+B1"


@pytest.fixture(name="api")
def _api() -> Iterator[FakeApi]:
    api = FakeApi()
    yield api
    api.stop()


@pytest.fixture(name="nginx")
def _nginx(request: pytest.FixtureRequest, tmp_path: Path, api: FakeApi) -> Iterator[Nginx]:
    used(request, "nginx")
    with running(tmp_path / "nginx", api.address) as nginx:
        yield nginx


def eventually(done: Callable[[], bool]) -> None:
    assert until(done, 30)


def kept_answers(nginx: Nginx) -> int:
    return sum(path.is_file() for path in (nginx.cache / "blocklist-tokens").rglob("*"))


def test_a_permission_is_asked_for_once(nginx: Nginx, api: FakeApi) -> None:
    api.permit(GOOD)
    for _ in range(3):
        assert get(nginx, CLEAR, GOOD).content == CLEAR.encode() * 10
    assert api.questions(GOOD) == 1
    assert [path for path, _ in api.asked] == ["/internal/authorise/demo/clear", CLEAR]


@pytest.mark.parametrize("path", [CLEAR, HASHED, "/v1/metadata/3.demo.json"])
def test_what_one_token_made_nginx_keep_is_not_given_to_another(
    nginx: Nginx, api: FakeApi, path: str
) -> None:
    api.permit(GOOD)
    api.refuse(OTHER, 403)
    assert get(nginx, path, GOOD).status_code == 200
    for _ in range(2):
        assert_problem(get(nginx, path), 401, "not-authenticated")
        assert_problem(get(nginx, path, "guess"), 401, "not-authenticated")
        assert_problem(get(nginx, path, OTHER), 403, "outside-scope")
        assert_problem(get(nginx, path, GOOD + "x"), 401, "not-authenticated")
        assert_problem(get(nginx, path, GOOD.swapcase()), 401, "not-authenticated")
    two = curl(nginx, "-H", f"Authorization: Bearer {GOOD}", "-H", "Authorization: x",
               "-o", "/dev/null", "-w", "%{http_code}", nginx.url + path)  # fmt: skip
    assert two in {"400", "401"}


def test_a_permission_for_one_feed_is_none_for_another(nginx: Nginx, api: FakeApi) -> None:
    api.permit(GOOD)
    assert get(nginx, HASHED, GOOD).status_code == 200
    api.refuse(GOOD, 403)
    assert_problem(get(nginx, CLEAR, GOOD), 403, "outside-scope")
    assert get(nginx, HASHED, GOOD).status_code == 200
    assert [path for path, _ in api.asked if path.startswith("/internal/")] == [
        "/internal/authorise/demo/hashed",
        "/internal/authorise/demo/clear",
    ]


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("1.root.json", ""),
        ("1.targets.json", ""),
        ("9.snapshot.json", ""),
        ("9.timestamp.json", "/timestamp"),
        ("3.other-list.json", "/other-list"),
    ],
)
def test_metadata_needs_its_list_or_any_token(
    nginx: Nginx, api: FakeApi, name: str, scope: str
) -> None:
    api.permit(GOOD)
    assert get(nginx, f"/v1/metadata/{name}", GOOD).status_code == 200
    assert api.asked[0] == (f"/internal/authorise{scope}", GOOD)


def test_a_revoked_token_is_refused_when_its_permission_has_aged(
    nginx: Nginx, api: FakeApi
) -> None:
    api.permit(GOOD, "max-age=1, stale-if-error=3600")
    assert get(nginx, CLEAR, GOOD).status_code == 200
    api.refuse(GOOD)
    eventually(lambda: get(nginx, CLEAR, GOOD).status_code == 401)


def test_a_revoked_token_does_not_come_back_when_the_api_goes_down(
    nginx: Nginx, api: FakeApi
) -> None:
    """A refusal takes the place of the permission that could be used in an outage."""
    api.permit(OTHER, "max-age=60, stale-if-error=3600")
    api.permit(GOOD, "max-age=1, stale-if-error=3600")
    assert {get(nginx, CLEAR, token).status_code for token in (OTHER, GOOD)} == {200}
    api.refuse(GOOD)
    eventually(lambda: get(nginx, CLEAR, GOOD).status_code == 401)
    api.stop()
    answers = []
    eventually(lambda: answers.append(get(nginx, CLEAR, GOOD)) or answers[-1].status_code == 503)
    assert {answer.status_code for answer in answers} <= {401, 503}
    assert get(nginx, CLEAR, OTHER).status_code == 200


def test_a_narrowed_scope_counts_when_the_permission_has_aged(nginx: Nginx, api: FakeApi) -> None:
    api.permit(GOOD, "max-age=1, stale-if-error=3600")
    assert get(nginx, CLEAR, GOOD).status_code == 200
    api.refuse(GOOD, 403)
    eventually(lambda: get(nginx, CLEAR, GOOD).status_code == 403)


def test_with_the_api_down_a_permission_counts_as_long_as_it_says(
    nginx: Nginx, api: FakeApi
) -> None:
    api.permit(GOOD, "max-age=1, stale-if-error=3600")
    api.permit(OTHER, "max-age=1, stale-if-error=1")
    assert get(nginx, CLEAR, GOOD).status_code == get(nginx, CLEAR, OTHER).status_code == 200
    api.stop()
    eventually(lambda: get(nginx, CLEAR, OTHER).status_code == 503)
    assert_problem(get(nginx, CLEAR, OTHER), 503, "api-unavailable")
    assert get(nginx, CLEAR, GOOD).status_code == 200
    assert_problem(get(nginx, CLEAR), 401, "not-authenticated")
    unknown = get(nginx, CLEAR, "guess")  # nobody can say whether it is good
    assert_problem(unknown, 503, "api-unavailable")
    assert int(unknown.headers["Retry-After"]) > 0


def test_an_api_that_fails_does_not_prolong_a_permission(nginx: Nginx, api: FakeApi) -> None:
    api.permit(GOOD, "max-age=1, stale-if-error=3600")
    assert get(nginx, CLEAR, GOOD).status_code == 200
    api.permissions[GOOD] = (500, {"Vary": "Authorization"})
    eventually(lambda: get(nginx, CLEAR, GOOD).status_code == 503)


def test_an_answer_that_does_not_say_that_it_depends_on_the_token_is_not_kept(
    nginx: Nginx, api: FakeApi
) -> None:
    api.permissions[GOOD] = (204, {"Cache-Control": "max-age=60"})
    api.permit(OTHER, vary="Accept-Encoding, X-Authorization")
    for token in (GOOD, OTHER):
        assert get(nginx, CLEAR, token).status_code == 200
    assert kept_answers(nginx) == 0
    assert_problem(get(nginx, CLEAR, "guess"), 401, "not-authenticated")


def test_guesses_are_not_kept(nginx: Nginx, api: FakeApi) -> None:
    api.permit(GOOD)
    assert get(nginx, CLEAR, GOOD).status_code == 200
    for number in range(20):
        assert get(nginx, CLEAR, f"guess-{number}").status_code == 401
    assert kept_answers(nginx) == 1


def test_no_token_is_written_anywhere(nginx: Nginx, api: FakeApi) -> None:
    for token in (GOOD, OTHER):
        api.permit(token, "max-age=1, stale-if-error=60")
        for path in (CLEAR, HASHED, "/v1/metadata/1.root.json", "/v1/lists"):
            assert get(nginx, path, token).status_code == 200
            get(nginx, f"{path}?token={token}", token)
            get(nginx, f"{path}?from={token}", token)
            get(nginx, f"{path}/{token}", token)
    api.stop()
    get(nginx, f"/v1/lists/{GOOD}", GOOD)
    eventually(lambda: (nginx.logs / "blocklist.log").read_text().count('"status":503') > 0)
    for token in (GOOD, OTHER):
        assert files_holding(nginx.folder, token) == []
        assert files_holding(nginx.folder, token[:12]) == []
    assert kept_answers(nginx) > 0


def test_too_many_questions_about_a_token_are_429(nginx: Nginx, api: FakeApi) -> None:
    api.refuse(GOOD, 429, Retry_After="17")
    answer = get(nginx, CLEAR, GOOD)
    assert_problem(answer, 429, "too-many-requests")
    assert answer.headers["Retry-After"] == "17"


def test_an_object_that_may_not_be_kept_is_not(nginx: Nginx, api: FakeApi) -> None:
    api.permit(GOOD)
    api.object_headers = {"Cache-Control": "no-store"}
    assert get(nginx, CLEAR, GOOD).status_code == 200
    api.object_headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    assert get(nginx, CLEAR, GOOD).status_code == 200
    assert get(nginx, CLEAR, GOOD).status_code == 200
    assert [path for path, _ in api.asked].count(CLEAR) == 2


@pytest.mark.parametrize("path", [CLEAR, "/v1/lists"])
def test_the_api_hears_who_asks_and_the_request_id(nginx: Nginx, api: FakeApi, path: str) -> None:
    api.permit(GOOD)
    given = get(nginx, path, GOOD, X_Request_Id="abc.DEF_1-2", X_Forwarded_For="192.0.2.1")
    assert given.headers["X-Request-Id"] == "abc.DEF_1-2"
    for sent in api.headers:
        assert sent.get_all("X-Request-Id") == ["abc.DEF_1-2"]
        assert sent.get_all("X-Forwarded-For") == ["127.0.0.1"]


@pytest.mark.parametrize("wrong", ["a" * 65, "a b", 'a"b', "a;b", "ä"])
def test_a_request_id_of_another_shape_is_replaced(nginx: Nginx, api: FakeApi, wrong: str) -> None:
    code = curl(nginx, "-H", f"X-Request-Id: {wrong}", "-D", "-", f"{nginx.url}/v1/lists")
    made = re.search(r"(?im)^x-request-id: ([0-9a-f]{32})\s*$", code)
    assert made is not None
    assert api.headers[0]["X-Request-Id"] == made[1]


@pytest.mark.parametrize(
    "path",
    [
        "/internal/authorise",
        "/internal/authorise/demo/clear",
        "/v1/../internal/authorise",
        "/v1/%2e%2e/internal/authorise",
        "/v1//..//internal/authorise",
        "/_authorise",
        "/",
        "/.git/config",
    ],
)
def test_nothing_else_reaches_the_api(nginx: Nginx, api: FakeApi, path: str) -> None:
    api.permit(GOOD)
    code = curl(nginx, "-H", f"Authorization: Bearer {GOOD}", "-o", "/dev/null", "-w",
                "%{http_code}", nginx.url + path)  # fmt: skip
    assert code == "404"
    assert api.asked == []


def test_a_path_that_nginx_reads_otherwise_than_the_api_opens_nothing(
    nginx: Nginx, api: FakeApi
) -> None:
    """Authorised is what nginx serves: what was matched, not what was sent."""
    api.permit(GOOD)
    crooked = HASHED.replace("/hashed/", "/clear/%2e%2e/hashed/")
    get_crooked = ("-H", f"Authorization: Bearer {GOOD}", nginx.url + crooked)
    assert curl(nginx, *get_crooked) == HASHED * 10
    assert [path for path, _ in api.asked] == ["/internal/authorise/demo/hashed", HASHED]


def test_permissions_are_not_lost_with_a_restart(nginx: Nginx, api: FakeApi) -> None:
    api.permit(GOOD)
    assert get(nginx, CLEAR, GOOD).status_code == 200
    nginx.stop()
    api.stop()
    nginx.start()
    eventually(lambda: get(nginx, CLEAR, GOOD).status_code == 200)
    assert_problem(get(nginx, CLEAR, OTHER), 503, "api-unavailable")


def test_each_token_keeps_its_own_answer_while_all_age(nginx: Nginx, api: FakeApi) -> None:
    for number in range(10):
        api.permit(f"token-{number}", "max-age=1, stale-if-error=60")
    for _ in range(4):
        for number in range(10):
            assert get(nginx, CLEAR, f"token-{number}").status_code == 200
            assert get(nginx, CLEAR, f"guess-{number}").status_code == 401
        time.sleep(1)
