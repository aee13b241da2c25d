"""Headers of every answer, and how little a 304 carries."""

import pytest

from tests.api_repo import Api, Repo


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Api:
    repo = Repo(tmp_path_factory.mktemp("template") / "store")
    repo.release()
    return Api(repo)


@pytest.mark.parametrize(
    "path",
    ["/v1/lists", "/healthz", "/readyz", "/metrics", "/nope", "/v1/metadata/1.root.json",
     "/v1/lists/demo/clear/update", "/v1/lists/demo/clear/snapshot", "/v1/lists?token=x"],
)  # fmt: skip
def test_every_answer_has_the_security_headers(api: Api, path: str) -> None:
    headers = api.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "Authorization" in headers["Vary"]
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize(
    ("path", "validator"),
    [
        ("/v1/lists/demo/hashed/update?from=1&root=1&timestamp={}", None),
        ("/v1/lists/demo/hashed", '"1"'),
        ("/v1/metadata/1.root.json", '"1.root.json"'),
    ],
)
def test_a_304_repeats_what_it_must_and_nothing_else(
    api: Api, path: str, validator: str | None
) -> None:
    path = path.format(api.repo.head().timestamp.version)
    full = api.get(path.partition("?")[0])
    answer = api.get(path, **{"If-None-Match": validator} if validator else {})
    assert answer.status_code == 304
    assert set(answer.headers.keys()) == {"Cache-Control", "ETag", "Vary", "X-Request-Id"}
    for name in ("Cache-Control", "ETag", "Vary"):
        assert answer.headers[name] == full.headers[name]
    assert len(answer.data) + len(answer.headers["ETag"]) <= 200


def test_the_coding_of_an_update_is_negotiated(api: Api) -> None:
    plain = api.get("/v1/lists/demo/clear/update?from=0")
    packed = api.get("/v1/lists/demo/clear/update?from=0", Accept_Encoding="gzip")
    assert {a.headers["Vary"] for a in (plain, packed)} == {"Authorization, Accept-Encoding"}
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) == len(packed.data)


def test_a_long_answer_is_sent_in_pieces_and_says_its_length(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blocklist.api import answers

    whole = api.get("/v1/lists/demo/clear/update").data
    monkeypatch.setattr(answers, "PIECE_BYTES", 100)
    answer = api.get("/v1/lists/demo/clear/update")
    pieces = list(answer.iter_encoded())
    assert max(len(piece) for piece in pieces) == 100
    assert b"".join(pieces) == whole
    assert answer.headers["Content-Length"] == str(len(whole))
    head = api.client.head("/v1/lists/demo/clear/update", headers=api.headers)
    assert (head.data, head.headers["Content-Length"]) == (b"", str(len(whole)))
