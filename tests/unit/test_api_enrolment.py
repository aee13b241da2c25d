"""`enrolment`: what the caller may read, and the hash keys that it needs for that."""

import json
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from blocklist.core.documents import format_time
from blocklist.core.entries import Feed
from blocklist.core.hashing import HashKey
from blocklist.core.private import ListSecret
from blocklist.store import layout
from tests.api_repo import KEY, NOW, TOKEN, Api, Repo, assert_problem

FORMER = HashKey(b"f" * 32)
COMING = HashKey(b"c" * 32)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """`demo` and `other` released, `none` not; all with secrets."""
    repo = Repo(tmp_path_factory.mktemp("template") / "store")
    for name in ("other", "none"):
        repo.delegate(name)
    repo.release("demo")
    repo.release("other")
    for name in ("demo", "other", "none"):
        write_secret(repo, ListSecret(name, f"test.{name}.example", (KEY,)))
    return repo


@pytest.fixture
def api(template: Repo, tmp_path: Path) -> Api:
    return Api(template.copy(tmp_path / "store"))


def write_secret(repo: Repo, secret: ListSecret) -> None:
    file = repo.file(layout.list_secret_key(secret.name))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(secret.to_bytes())


def enrolment(api: Api, **scope: list[Feed]) -> dict[str, Any]:
    answer = api.get("/v1/enrolment", api.repo.enrol(lists=dict(scope)) if scope else None)
    assert answer.status_code == 200
    document: dict[str, Any] = answer.get_json()
    return document


def test_an_enrolment_names_lists_feeds_test_hosts_and_keys(api: Api) -> None:
    found = enrolment(api, demo=[Feed.CLEAR, Feed.HASHED], other=[Feed.HASHED])
    key = {"id": KEY.id, "key": KEY.hex(), "status": "current"}
    assert found == {
        "format": 1,
        "name": "isp",
        "expires": None,
        "lists": [
            {
                "list": "demo",
                "feeds": ["clear", "hashed"],
                "hash_keys": [key],
                "test_host": "test.demo.example",
            },
            {
                "list": "other",
                "feeds": ["hashed"],
                "hash_keys": [key],
                "test_host": "test.other.example",
            },
        ],
    }


def test_the_clear_feed_alone_comes_without_hash_keys(api: Api) -> None:
    (found,) = enrolment(api, demo=[Feed.CLEAR])["lists"]
    assert found["hash_keys"] == []


def test_an_enrolment_says_when_it_ends(api: Api) -> None:
    end = NOW + timedelta(days=3)
    headers = api.repo.enrol(expires=end)
    assert api.get("/v1/enrolment", headers).get_json()["expires"] == format_time(end)


def test_an_enrolment_is_a_secret_and_must_not_stick_anywhere(api: Api) -> None:
    answer = api.get("/v1/enrolment")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "ETag" not in answer.headers
    text = answer.text
    assert TOKEN not in text
    assert "sources" not in text
    assert "root" not in text


def statuses(api: Api, name: str = "demo") -> list[tuple[str, str]]:
    (found,) = enrolment(api, **{name: [Feed.HASHED]})["lists"]
    return [(key["id"], key["status"]) for key in found["hash_keys"]]


def announce(api: Api, key: HashKey) -> None:
    api.repo.following = (key.id, NOW + timedelta(hours=48))
    api.repo.release()
    api.later()


@pytest.mark.parametrize("order", list(permutations((FORMER, KEY, COMING))))
def test_signed_metadata_says_which_key_is_in_use_and_which_is_announced(
    api: Api, order: tuple[HashKey, ...]
) -> None:
    """The secrets are not signed: where a key stands in them says nothing."""
    write_secret(api.repo, ListSecret("demo", "test.demo.example", order))
    assert statuses(api) == [(KEY.id, "current")]
    announce(api, COMING)
    assert statuses(api) == [(KEY.id, "current"), (COMING.id, "announced")]
    api.repo.rekey(COMING)
    api.later()
    assert statuses(api) == [(COMING.id, "current")]


def test_a_key_that_is_announced_but_lost_or_swapped_is_not_replaced_by_another(api: Api) -> None:
    write_secret(api.repo, ListSecret("demo", "test.demo.example", (KEY, HashKey(b"x" * 32))))
    announce(api, COMING)
    assert statuses(api) == [(KEY.id, "current")]


def test_before_the_first_release_the_first_key_is_the_one(api: Api) -> None:
    write_secret(api.repo, ListSecret("none", "test.none.example", (KEY, FORMER)))
    assert statuses(api, "none") == [(KEY.id, "current")]


def test_a_list_that_does_not_exist_any_more_is_left_out(api: Api) -> None:
    found = enrolment(api, demo=[Feed.CLEAR], gone=[Feed.HASHED])
    assert [item["list"] for item in found["lists"]] == ["demo"]


@pytest.mark.parametrize(
    "secret",
    [
        None,
        b"",
        b"{}",
        ListSecret("other", "test.example", (KEY,)).to_bytes(),
        ListSecret("demo", "test.example", (COMING,)).to_bytes(),
        json.dumps({"format": 1, "list": "demo", "test_host": "x.example"}).encode(),
    ],
    ids=["missing", "empty", "nothing", "another list's", "another key", "no key"],
)
def test_secrets_that_are_not_those_of_the_list_are_not_handed_out(
    api: Api, secret: bytes | None
) -> None:
    file = api.repo.file(layout.list_secret_key("demo"))
    file.unlink()
    if secret is not None:
        file.write_bytes(secret)
    answer = api.get("/v1/enrolment")
    assert_problem(answer, 503, "not-ready")
    assert COMING.hex() not in answer.text


def test_nobody_else_gets_an_enrolment(api: Api) -> None:
    assert_problem(api.get("/v1/enrolment", {}), 401, "not-authenticated")
    revoked = api.repo.enrol("another-token-that-is-long-enough", revoked=NOW)
    assert_problem(api.get("/v1/enrolment", revoked), 401, "not-authenticated")
    assert_problem(api.get("/v1/enrolment?list=demo"), 400, "bad-request")
