"""Bad requests to a running `serve`: every parameter of every route wrong in type, range and size.

Whatever comes, the answer is a problem document that repeats nothing of it, the log neither, and
the next request is served.
"""

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from blocklist.api.openapi import FILE
from tests.api_repo import sha256
from tests.live_api import BURNED, RELEASES, TOKENS, Answer, LiveApi, live_api

DOCUMENT: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[2] / "docs" / FILE).read_bytes()
)
SECRET = "bad.example"  # in every request that is wrong; in no answer and in no line of the log
DIGEST = sha256(b"nothing that is stored")
NAMES = {
    "/v1/metadata/{name}": f"{RELEASES}.demo.json",
    "/v1/targets/{list}/{feed}/{name}": f"{DIGEST}.list",
}
PATHS = [
    path.format(list="demo", feed="clear", name=NAMES.get(path, "")) for path in DOCUMENT["paths"]
]
GUARDED = [path for path in PATHS if path.startswith("/v1/") and path != "/v1/openapi.json"]
FEED_PATHS = [path for path in PATHS if "/demo/clear" in path]
UPDATE, DIFF = "/v1/lists/demo/clear/update", "/v1/lists/demo/clear/diff"
NUMBERS = [f"{UPDATE}?{name}=" for name in ("from", "root", "targets", "timestamp")]
NUMBERS += [f"{DIFF}?from=", f"{DIFF}?from=1&to="]

NOT_NUMBERS = [
    "", "x", "-1", "-0", "+1", "1.0", "1e3", "0x1", "01", "00", "1_000", " 1", "1 ", "1,2", "null",
    "true", "[]", "NaN", "\u0661", "\uff11", "1\x00", "1\n", "1\r\nX-Evil: 1", SECRET,
    str(2**53), str(2**63), str(2**64), "9" * 16, "9" * 17, "9" * 1_000,
]  # fmt: skip
NOT_NAMES = [
    "x" * 33, "x" * 3_000, "DEMO", "de_mo", "d\u00e9mo", "demo\x00", "demo\n", " demo", "demo ",
    "demo;a=b", "*", "%", "%zz", "demo%2f", "..", ".", "...", "~", "\ud83d\ude00", SECRET,
]  # fmt: skip


@pytest.fixture(scope="module", name="api")
def _api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveApi]:
    with live_api(tmp_path_factory.mktemp("live")) as running:
        yield running
        log = running.log.read_text()
        assert SECRET not in log
        assert "Traceback" not in log
        assert not any(token in log for token in TOKENS.values())


def assert_refused(answer: Answer, status: int, slug: str) -> None:
    """Check that an answer is such a problem, repeats nothing and may be kept by nobody."""
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    document = json.loads(answer.data)
    assert (document["status"], document["type"]) == (status, f"/problems/{slug}")
    assert answer.headers["cache-control"] == "no-store"
    assert SECRET.encode() not in answer.data
    assert not any(SECRET in value for value in answer.headers.values())
    assert "x-evil" not in answer.headers


def escaped(value: str) -> str:
    return quote(value.encode("utf-8", "surrogatepass"), safe="")


# -- query -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=ascii)
@pytest.mark.parametrize("base", NUMBERS)
def test_what_is_no_number_is_refused(api: LiveApi, base: str, value: str) -> None:
    assert_refused(api.ask(base + escaped(value)), 400, "bad-request")


@pytest.mark.parametrize(
    "query",
    ["from=0&to=0", "to=3", "", "from=1&from=1", "from=1&to=2&to=2", "from=1;to=2", "From=1",
     "from%00=1", "from=1&root=1", "from[]=1", f"from=1&x={SECRET}", f"{SECRET}", "from=1&=1"],
)  # fmt: skip
def test_a_query_of_another_shape_is_refused(api: LiveApi, query: str) -> None:
    assert_refused(api.ask(f"{DIFF}?{query}"), 400, "bad-request")


@pytest.mark.parametrize(
    "query",
    [f"from={BURNED}", f"from={RELEASES + 1}", f"from=1&to={BURNED}", f"from=1&to={RELEASES + 1}",
     "from=5&to=4", f"from={2**53 - 1}", f"from=1&to={2**53 - 1}"],
)  # fmt: skip
def test_versions_that_never_were_are_not_found(api: LiveApi, query: str) -> None:
    assert_refused(api.ask(f"/v1/lists/demo/hashed/diff?{query}"), 404, "not-found")


@pytest.mark.parametrize("path", PATHS)
def test_unknown_parameters_are_refused_everywhere(api: LiveApi, path: str) -> None:
    for query in (f"x={SECRET}", "from=1&evil=1", "x", "%00=1", "x=" + "y" * 900):
        assert_refused(api.ask(f"{path}?{query}"), 400, "bad-request")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("size", [1_100, 3_900])
def test_long_queries_are_refused_everywhere(api: LiveApi, path: str, size: int) -> None:
    query = f"{SECRET}={'x' * (size - len(path))}"
    assert_refused(api.ask(f"{path}?{query}"), 400, "bad-request")


@pytest.mark.parametrize("path", PATHS)
def test_endless_request_lines_are_refused_everywhere(api: LiveApi, path: str) -> None:
    answer = api.ask(f"{path}?{SECRET}={'x' * 5_000}")
    assert_refused(answer, 414, "uri-too-long")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["token", "access_token", "Authorization", "api_key", "TOKEN"])
def test_a_token_in_the_url_is_refused_everywhere(api: LiveApi, path: str, name: str) -> None:
    answer = api.ask(f"{path}?{name}={TOKENS['full']}", token=None)
    assert_refused(answer, 400, "token-in-query")
    assert "ask for a new one" in answer.data.decode()


# -- path ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", NOT_NAMES, ids=ascii)
@pytest.mark.parametrize("path", FEED_PATHS)
def test_list_names_that_cannot_be_are_not_found(api: LiveApi, path: str, value: str) -> None:
    query = "?from=1" if path.endswith("/diff") else ""
    answer = api.ask(path.replace("demo", escaped(value)) + query)
    assert_refused(answer, 404, "not-found")


@pytest.mark.parametrize("value", ["Clear", "both", "hashed2", *NOT_NAMES], ids=ascii)
@pytest.mark.parametrize("path", FEED_PATHS)
def test_feeds_that_cannot_be_are_not_found(api: LiveApi, path: str, value: str) -> None:
    query = "?from=1" if path.endswith("/diff") else ""
    answer = api.ask(path.replace("clear", escaped(value)) + query)
    assert_refused(answer, 404, "not-found")


@pytest.mark.parametrize(
    "value",
    [
        *NOT_NAMES, "root.json", "0.root.json", "-1.root.json", "01.root.json", "1.root.json.",
        "1.timestamp.json", "1..json", "timestamp.json%00", "99999999999999999.demo.json",
        f"{DIGEST}", f"{DIGEST}.", f"{DIGEST}.list2", f"{DIGEST[:-1]}.list", f"{DIGEST}x.list",
        f"{DIGEST.upper()}.list", f"{DIGEST}.delta-0", f"{DIGEST}.delta-01", f"{DIGEST}.delta--1",
        f"{DIGEST}.delta-{RELEASES}", f"{DIGEST}.delta-{2**53}", f"{RELEASES + 1}.demo.json",
        f"{BURNED}.demo.json",
    ],
    ids=ascii,
)  # fmt: skip
@pytest.mark.parametrize("folder", ["/v1/metadata/", "/v1/targets/demo/clear/"])
def test_names_of_objects_that_cannot_be_are_not_found(
    api: LiveApi, folder: str, value: str
) -> None:
    assert_refused(api.ask(folder + escaped(value)), 404, "not-found")


@pytest.mark.parametrize(
    "up", ["..", "%2e%2e", ".%2e", "..%2f..", "%2e%2e%5c..", "..;", "%252e%252e"]
)
@pytest.mark.parametrize(
    "folder", ["/v1/metadata/", "/v1/targets/", "/v1/targets/demo/clear/", "/v1/lists/demo/", "/"]
)
@pytest.mark.parametrize("end", ["/private/lists/demo.json", "%2fprivate%2flists%2fdemo.json"])
def test_no_path_leaves_the_feed(api: LiveApi, folder: str, up: str, end: str) -> None:
    assert_refused(api.ask(f"{folder}{up}{end}"), 404, "not-found")


@pytest.mark.parametrize(
    "target",
    ["/v1//lists", "/v1/lists/", "/V1/lists", "/v1/lists%3f", f"/{SECRET}", "/v2/lists",
     "/internal", "/v1/lists/demo", "/v1/lists/demo/clear/diffs", "/favicon.ico", "/.env"],
)  # fmt: skip
def test_paths_that_are_not_there_are_not_found(api: LiveApi, target: str) -> None:
    assert_refused(api.ask(target), 404, "not-found")


# -- who asks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", GUARDED)
def test_tokens_that_are_none_are_refused_everywhere(api: LiveApi, path: str) -> None:
    path += "?from=1" if path.endswith("/diff") else ""
    for token in (None, "expired", "revoked", "nobody"):
        answer = api.ask(path, token)
        assert_refused(answer, 401, "not-authenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer realm=")


@pytest.mark.parametrize(
    "value",
    [
        "", "Bearer", "Bearer ", f"bearer{TOKENS['full']}", f"Basic {TOKENS['full']}",
        TOKENS["full"], f"Bearer {TOKENS['full']} x", f"Bearer  {TOKENS['full']}, Bearer x",
        "Bearer " + "x" * 600, "Bearer " + "x" * 3_000, f"Bearer {TOKENS['full'][:-1]}",
        f"Bearer {TOKENS['full'].upper()}",
        f'Digest username="{SECRET}"', "Bearer \u00e9", "Bearer ../../lists/demo",
    ],
)  # fmt: skip
def test_authorisation_of_another_shape_is_refused(api: LiveApi, value: str) -> None:
    answer = api.ask("/v1/lists", None, headers={"Authorization": value.encode().decode("latin-1")})
    assert_refused(answer, 401, "not-authenticated")


@pytest.mark.parametrize("path", FEED_PATHS)
def test_other_feeds_are_refused_everywhere(api: LiveApi, path: str) -> None:
    path += "?from=1" if path.endswith("/diff") else ""
    assert_refused(api.ask(path, "hashed"), 403, "outside-scope")
    assert_refused(api.ask(path.replace("demo", "other"), "full"), 403, "outside-scope")


def test_the_board_is_for_admins(api: LiveApi) -> None:
    assert_refused(api.ask("/v1/subscribers", "full"), 403, "outside-scope")
    assert api.ask("/v1/subscribers", "admin").status == 200


# -- header and body -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Prefer": "wait=-1"}, {"Prefer": "wait=x"}, {"Prefer": "wait=" + "9" * 400},
        {"Prefer": "wait"}, {"Prefer": ",;=,"}, {"Prefer": 'wait="'}, {"Prefer": "x" * 3_000},
        {"If-None-Match": '"'}, {"If-None-Match": "x"}, {"If-None-Match": ","},
        {"If-None-Match": 'W/"' + "x" * 3_000 + '"'}, {"Accept-Encoding": ";q=x"},
        {"Accept-Encoding": "gzip;q=nan"},
        {"Accept": "*/*;q=x"}, {"Accept": "a" * 3_000 + "/b, */*"}, {"Range": "bytes=0-0,1-1"},
        {"X-Request-Id": "x" * 65}, {"X-Request-Id": f"{SECRET}/"}, {"X-Request-Id": "\u00e9"},
        {"X-Forwarded-For": SECRET}, {"Host": SECRET}, {"Cookie": f"a={SECRET}"},
        {"If-Modified-Since": "x"}, {"Content-Length": "0"},
    ],
    ids=ascii,
)  # fmt: skip
def test_headers_that_make_no_sense_are_as_if_not_there(
    api: LiveApi, headers: dict[str, str]
) -> None:
    for path in (f"{UPDATE}?from=1", f"{DIFF}?from=1"):
        answer = api.ask(path, headers=headers)
        assert answer.status == 200
        assert not any(SECRET in value for value in answer.headers.values())


@pytest.mark.parametrize(
    "accept", ["image/png", "text/html", "application/xml;q=1", "x", "*", "*/*;q=0"]
)
def test_forms_that_are_not_there_are_refused(api: LiveApi, accept: str) -> None:
    answer = api.ask(f"{DIFF}?from=1", headers={"Accept": accept})
    assert_refused(answer, 406, "not-acceptable")


@pytest.mark.parametrize("path", PATHS)
def test_large_headers_are_refused_everywhere(api: LiveApi, path: str) -> None:
    for headers in ({"X-Large": SECRET * 500}, {f"X-{n}": "x" for n in range(100)}):
        assert_refused(api.ask(path, headers=headers), 431, "headers-too-large")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("size", [1, 70_000])
def test_bodies_are_refused_everywhere(api: LiveApi, path: str, size: int) -> None:
    for method in ("GET", "POST"):
        answer = api.ask(path, method=method, body=SECRET.encode() * size)
        assert_refused(answer, 413, "body-not-allowed")


@pytest.mark.parametrize("path", PATHS)
def test_other_methods_are_refused_everywhere(api: LiveApi, path: str) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"):
        answer = api.ask(path, method=method)
        assert_refused(answer, 405, "method-not-allowed")
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


# -- bytes that are no request ---------------------------------------------------------------------


def sent(api: LiveApi, raw: bytes) -> bytes:
    """Send bytes as they are and return everything that comes back."""
    with closing(socket.create_connection(("127.0.0.1", api.port), timeout=60)) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /v1/lists HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GET /v1/lists HTTP/1.1\r\nHost: a\r\nX: bad.example\x00\r\n\r\n",
        b"GET /v1/lists HTTP/1.1\r\nHost: a\r\nbad.example\r\n\r\n",
        b"GET /v1/lists HTTP/1.1\r\nHost: a\r\nContent-Length: bad.example\r\n\r\n",
        b"GET /v1/lists HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET /v1/lists HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"GET /v1/lists HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /v1/lists HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded: bad.example\r\n\r\n",
    ],
)
def test_what_is_no_request_gets_one_answer_and_no_more(api: LiveApi, raw: bytes) -> None:
    """In particular nothing after it is taken for a second request."""
    answer = sent(api, raw + b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert b" 200 " not in answer
    assert SECRET.encode() not in answer


@pytest.mark.parametrize("value", ["%0d%0aX-Evil:%201", "%0aX-Evil:1", "%0d%0a%0d%0abad.example"])
def test_no_header_can_be_injected(api: LiveApi, value: str) -> None:
    for target in (
        f"/v1/lists/{value}/clear",
        f"/v1/metadata/{value}",
        f"{DIFF}?from={value}",
        f"/{value}",
    ):
        answer = api.ask(target, headers={"X-Request-Id": "a"})
        assert answer.status in (400, 404)
        assert "x-evil" not in answer.headers
        assert SECRET.encode() not in answer.data


def test_after_all_that_it_still_serves(api: LiveApi) -> None:
    assert api.ask("/healthz", None).status == 200
    assert api.ask("/readyz", None).status == 200
    assert api.ask(f"{DIFF}?from=1").status == 200
