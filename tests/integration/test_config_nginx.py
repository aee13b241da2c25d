"""nginx as it ships in front of the real API, and what it refuses by itself."""

import json
import re
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from blocklist.api import problems
from blocklist.store import layout
from scripts.services.nginx import SHIPPED, Nginx
from scripts.services.process import until
from tests import cli_kit
from tests.cli_kit import ISP, PROXY, World
from tests.cli_servers import Api, serving
from tests.nginx_kit import assert_problem, curl, files_holding, get, running
from tests.services import used

PUBLIC_FOLDER = "# include blocklist/public-folder.conf;"
PUBLIC_BUCKET = "# include blocklist/public-bucket.conf;"
BUCKET_HOST = "proxy_pass https://s3.hotline.example;"


@pytest.fixture(autouse=True)
def _counted(request: pytest.FixtureRequest) -> None:
    used(request, "nginx")


@pytest.fixture(scope="module", name="world")
def _world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = cli_kit.made(tmp_path_factory.mktemp("world"))
    world.done("publish", "demo", "-", given=cli_kit.pages(0, 50))
    return world


@pytest.fixture(scope="module", name="api")
def _api(world: World) -> Iterator[Api]:
    with serving(world.with_config("[api]\ntrusted_proxies = 1\n")) as api:
        yield api


@pytest.fixture(scope="module", name="nginx")
def _nginx(world: World, api: Api) -> Iterator[Nginx]:
    edits = {
        PUBLIC_FOLDER: PUBLIC_FOLDER.strip("# "),
        "/srv/blocklist": str(world.store),
        "client_header_timeout 10s;": "client_header_timeout 1s;",
    }
    with running(world.folder / "nginx", api.url, edits) as nginx:
        yield nginx


def token(world: World, who: str) -> str:
    text: str = json.loads((world.folder / f"{who}.json").read_text())["token"]
    return text


def objects(world: World, feed: str) -> list[str]:
    """Return the paths of a feed's objects below `/v1/`."""
    folder = world.store / "feed"
    found = sorted((folder / "targets/demo" / feed).iterdir())
    assert found
    return [f"/v1/{path.relative_to(folder)}" for path in found]


def stored(world: World, path: str) -> bytes:
    return (world.store / "feed" / path.removeprefix("/v1/")).read_bytes()


def waiting(api: Api) -> int:
    """Return how many polls the API holds."""
    figures = requests.get(f"{api.url}/metrics", timeout=30).text
    found = re.search(r"(?m)^blocklist_waiting_polls (\d+)", figures)
    assert found is not None
    return int(found[1])


def log_lines(nginx: Nginx, request_id: str) -> list[dict[str, object]]:
    """Return what nginx logged of a request, once it has."""
    log = nginx.logs / "blocklist.log"
    assert until(lambda: request_id in log.read_text(), 30)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if line["request_id"] == request_id]


@pytest.mark.parametrize(
    "edits",
    [
        {},
        {PUBLIC_FOLDER: PUBLIC_FOLDER.strip("# ")},
        {
            PUBLIC_BUCKET: PUBLIC_BUCKET.strip("# "),
            BUCKET_HOST: "proxy_pass https://127.0.0.1:9;",  # a name would have to exist
        },
    ],
    ids=["as it ships", "with a public folder", "with a public bucket"],
)
def test_nginx_finds_nothing_wrong_with_the_configuration(
    tmp_path: Path, edits: dict[str, str]
) -> None:
    assert Nginx(tmp_path, "127.0.0.1:8080", edits).check() == ""


def test_every_file_that_ships_is_used() -> None:
    texts = {path.name: path.read_text("utf-8") for path in SHIPPED.rglob("*.conf")}
    included = {name for text in texts.values() for name in re.findall(r"blocklist/(\S+);", text)}
    assert included - {"tls.pem", "tls.key"} == texts.keys() - {"nginx.conf", "blocklist.conf"}


def test_a_subscriber_pulls_through_nginx(world: World, nginx: Nginx) -> None:
    for who, feed in cli_kit.FEEDS.items():
        cli_kit.enrol(world, f"{who}-nginx", feed, nginx.url)
        trusting = replace(
            world, environment=world.environment | {"REQUESTS_CA_BUNDLE": str(nginx.ca_file)}
        )
        assert trusting.done("pull", state=f"{who}-nginx")["lists"][0]["to"] == 1


@pytest.mark.parametrize(("who", "feed"), [(ISP, "hashed"), (PROXY, "clear")])
def test_objects_are_those_of_the_storage_and_kept(
    world: World, nginx: Nginx, api: Api, who: str, feed: str
) -> None:
    for path in objects(world, feed):
        before = api.requests()
        for _ in range(2):
            answer = get(nginx, path, token(world, who))
            assert (answer.status_code, answer.content) == (200, stored(world, path))
            assert "immutable" in answer.headers["Cache-Control"]
            assert answer.headers["Vary"] == "Authorization"
        assert api.requests() - before <= 2  # one about the token, one for the object
        same = get(nginx, path, token(world, who), If_None_Match=answer.headers["ETag"])
        assert (same.status_code, same.content) == (304, b"")
        head = get(nginx, path, token(world, who), method="HEAD")
        assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(answer.content)))


def test_the_clear_feed_needs_a_token_for_it(world: World, nginx: Nginx) -> None:
    for path in objects(world, "clear"):
        assert get(nginx, path, token(world, PROXY)).status_code == 200
        assert_problem(get(nginx, path), 401, "not-authenticated")
        assert_problem(get(nginx, path, "wrong"), 401, "not-authenticated")
        assert_problem(get(nginx, path, token(world, ISP)), 403, "outside-scope")
        assert get(nginx, path, "wrong").headers["WWW-Authenticate"].startswith("Bearer ")
        assert get(nginx, path).headers["WWW-Authenticate"].startswith("Bearer ")
    update = "/v1/lists/demo/clear/update?from=0"
    assert get(nginx, update, token(world, PROXY)).status_code == 200
    assert_problem_of_api(get(nginx, update, token(world, ISP)), 403)
    assert_problem_of_api(get(nginx, update), 401)


def assert_problem_of_api(answer: requests.Response, status: int) -> None:
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == problems.MEDIA_TYPE
    assert "detail" in answer.json()


def test_with_the_api_down_what_was_authorised_is_served_and_nothing_else(
    world: World, tmp_path: Path
) -> None:
    with serving(world) as api, running(tmp_path / "nginx", api.url) as nginx:
        paths = [*objects(world, "clear"), "/v1/metadata/1.demo.json", "/v1/metadata/1.root.json"]
        for path in paths:
            assert get(nginx, path, token(world, PROXY)).status_code == 200
            assert get(nginx, path, "wrong").status_code == 401
        api.stop()
        for path in paths:
            answer = get(nginx, path, token(world, PROXY))
            assert (answer.status_code, answer.content) == (200, stored(world, path))
            assert_problem(get(nginx, path), 401, "not-authenticated")
            assert_problem(get(nginx, path, "wrong"), 503, "api-unavailable")
        for path in objects(world, "clear"):
            assert_problem(get(nginx, path, token(world, ISP)), 503, "api-unavailable")
        assert_problem(get(nginx, "/v1/lists", token(world, PROXY)), 503, "api-unavailable")
        for secret in (token(world, ISP), token(world, PROXY)):
            assert files_holding(nginx.folder, secret) == []


def test_a_poll_waits_through_nginx_and_hears_of_a_release(
    world: World, nginx: Nginx, api: Api
) -> None:
    path = "/v1/lists/demo/hashed/update?from=0&root=1"
    current = get(nginx, path, token(world, ISP))
    version = json.loads(current.content)["version"]
    etag = current.headers["ETag"]
    with ThreadPoolExecutor() as pool:
        poll = pool.submit(
            get, nginx, path, token(world, ISP), If_None_Match=etag, Prefer="wait=55"
        )
        assert until(lambda: waiting(api) == 1, 30)
        world.done("publish", "demo", "--add", "-", given="http://added.example/page\n")
        answer = poll.result()
    assert answer.status_code == 200
    assert json.loads(answer.content)["version"] == version + 1


def test_the_request_id_is_in_the_answer_and_in_both_logs(
    world: World, nginx: Nginx, api: Api
) -> None:
    answer = get(nginx, "/v1/lists", token(world, ISP), X_Request_Id="trace-17.a_B")
    assert answer.headers["X-Request-Id"] == "trace-17.a_B"
    assert until(lambda: '"trace-17.a_B"' in api.log.read_text(), 30)
    assert len(log_lines(nginx, "trace-17.a_B")) == 1


def test_the_log_has_no_query_and_no_path_that_was_refused(world: World, nginx: Nginx) -> None:
    good = "/v1/lists/demo/hashed/update"
    get(nginx, f"{good}?from=0", token(world, ISP), X_Request_Id="log-good")
    get(nginx, "/v1/lists/bad.example/x", token(world, ISP), X_Request_Id="log-bad")
    get(nginx, "/v1/lists?from=http://bad.example", token(world, ISP), X_Request_Id="log-query")
    assert [line["path"] for line in log_lines(nginx, "log-good")] == [good]
    assert [line["path"] for line in log_lines(nginx, "log-bad")] == [""]
    assert [line["status"] for line in log_lines(nginx, "log-query")] == [400]
    assert "bad.example" not in (nginx.logs / "blocklist.log").read_text()
    assert "?" not in (nginx.logs / "blocklist.log").read_text()


@pytest.mark.parametrize(
    ("status", "slug", "words"),
    [
        (404, "not-found", ["/v2/lists"]),
        (405, "method-not-allowed", ["/v1/lists", "-X", "DELETE"]),
        (405, "method-not-allowed", ["/v1/lists", "-d", "x=1"]),
        (413, "body-not-allowed", ["/v1/lists", "-X", "GET", "-d", "x" * 2_000]),
        (414, "uri-too-long", ["/v1/lists?from=" + "1" * 5_000, "--http1.1"]),
        (431, "headers-too-large", ["/v1/lists", "--http1.1", "-H", "X-Big: " + "a" * 5_000]),
        (400, "bad-request", ["/v1/lists?from=%31"]),
        (400, "bad-request", ["/v1/lists?from=http://bad.example/"]),
        (400, "bad-request", ["/v1/metadata/1.root.json?from=1"]),
        (400, "token-in-query", ["/v1/lists?token=abc"]),
        (400, "token-in-query", ["/v1/lists?from=1&Access_Token=abc"]),
        (400, "bad-request", ["/v1/lists%00"]),
        (400, "bad-request", ["/../../v1/lists"]),
    ],
)
def test_what_nginx_refuses_is_a_problem_document(
    nginx: Nginx, status: int, slug: str, words: list[str]
) -> None:
    path, *more = words
    said = curl(nginx, "-D", "-", nginx.url + path, *more)
    head, _, body = said.replace("\r", "").rpartition("\n\n")
    assert re.search(rf"(?m)^HTTP/[\d.]+ {status}\b", head), said
    assert f"content-type: {problems.MEDIA_TYPE}" in head.lower()
    assert json.loads(body)["type"] == f"/problems/{slug}"
    assert ("allow: get, head" in head.lower()) == (status == 405)


def test_the_problems_of_nginx_are_those_of_the_api() -> None:
    texts = [path.read_text("utf-8") for path in SHIPPED.rglob("*.conf")]
    bodies = [body for text in texts for body in re.findall(r"return \d+ '(.*)\\n';", text)]
    known = {
        f"/problems/{kind.slug}": kind
        for kind in vars(problems).values()
        if isinstance(kind, problems.Kind)
    }
    assert len(bodies) >= 12
    for body in bodies:
        document = json.loads(body)
        kind = known.get(document["type"])
        if kind is None:  # only nginx can find these
            assert document["type"] in {"/problems/api-unavailable", "/problems/refused"}
        else:
            expected = json.loads(problems.body(kind, document.get("detail")))
            assert document == expected


def test_too_many_requests_of_one_address_are_429(world: World, api: Api, tmp_path: Path) -> None:
    edits = {"rate=20r/s": "rate=1r/m", "burst=200": "burst=2"}
    with running(tmp_path / "nginx", api.url, edits) as nginx:
        answers = [get(nginx, "/v1/lists", token(world, ISP)) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert_problem(answers[-1], 429, "too-many-requests")
    assert int(answers[-1].headers["Retry-After"]) > 0


def test_too_many_connections_of_one_address_are_429(
    world: World, api: Api, tmp_path: Path
) -> None:
    edits = {"limit_conn blocklist_connections 512;": "limit_conn blocklist_connections 1;"}
    path = "/v1/lists/demo/hashed/update?from=0&root=1"
    with running(tmp_path / "nginx", api.url, edits) as nginx, ThreadPoolExecutor() as pool:
        etag = get(nginx, path, token(world, ISP)).headers["ETag"]
        poll = pool.submit(get, nginx, path, token(world, ISP), If_None_Match=etag, Prefer="wait=9")
        assert until(lambda: waiting(api) == 1, 30)
        assert_problem(get(nginx, "/healthz"), 429, "too-many-requests")
        assert poll.result().status_code == 304


def test_a_slow_client_is_dropped(nginx: Nginx) -> None:
    context = ssl.create_default_context(cafile=str(nginx.ca_file))
    with (
        socket.create_connection(("127.0.0.1", nginx.port), timeout=60) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as slow,
    ):
        slow.sendall(b"GET /v1/lists HTTP/1.1\r\nHost: x\r\nX-A")
        assert b" 200 " not in slow.recv(4_096)  # returns when nginx ends it


def test_metrics_are_for_this_machine(nginx: Nginx) -> None:
    assert "blocklist_" in curl(nginx, f"{nginx.url}/metrics")
    said = curl(nginx, "--interface", "127.0.0.2", f"{nginx.url}/metrics")
    assert json.loads(said)["type"] == "/problems/outside-scope"


def test_http_2_is_spoken_and_plain_http_refused(nginx: Nginx) -> None:
    version = curl(nginx, "-o", "/dev/null", "-w", "%{http_version}", f"{nginx.url}/healthz")
    assert version == "2"
    said = curl(nginx, f"http://127.0.0.1:{nginx.port}/healthz")
    assert json.loads(said)["type"] == "/problems/bad-request"


def test_the_public_feed_is_metadata_and_hashed_objects(world: World, nginx: Nginx) -> None:
    for path in [*objects(world, "hashed"), "/v1/metadata/1.root.json"]:
        answer = get(nginx, path.replace("/v1/", "/feed/"))
        assert (answer.status_code, answer.content) == (200, stored(world, path))
        assert "immutable" in answer.headers["Cache-Control"]
    timestamp = get(nginx, "/feed/metadata/timestamp.json")
    assert timestamp.content == (world.store / layout.TIMESTAMP).read_bytes()
    assert timestamp.headers["Cache-Control"] == "public, no-cache"


def test_the_public_feed_is_nothing_else(world: World, nginx: Nginx) -> None:
    hashed, clear = objects(world, "hashed")[0], objects(world, "clear")[0]
    private = [path.relative_to(world.store) for path in (world.store / "private").rglob("*.json")]
    assert private
    refused = [
        clear.replace("/v1/", "/feed/"),
        clear.replace("/v1/", "/feed/").replace("clear", "hashed/../clear"),
        clear.replace("/v1/", "/feed/").replace("clear", "hashed/%2e%2e/clear"),
        hashed.replace("/v1/", "/feed/") + ".tmp",
        "/feed/", "/feed/metadata/", "/feed/targets/demo/hashed/", "/feed/metadata/..",
        *[f"/{path}" for path in private],
        *[f"/feed/../{path}" for path in private],
        *[f"/feed/metadata/../../{path}" for path in private],
        *[f"/feed/metadata/%2e%2e/%2e%2e/{path}" for path in private],
    ]  # fmt: skip
    for path in refused:
        code = curl(nginx, "-o", "/dev/null", "-w", "%{http_code}", nginx.url + path)
        assert code == "404", path


def test_a_subscriber_pulls_the_public_feed_without_a_token(world: World, nginx: Nginx) -> None:
    cli_kit.enrol(world, "public", "hashed", f"static+{nginx.url}/feed")
    trusting = replace(
        world, environment=world.environment | {"REQUESTS_CA_BUNDLE": str(nginx.ca_file)}
    )
    assert trusting.done("pull", state="public")["lists"][0]["changed"] is True
