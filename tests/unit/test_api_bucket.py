"""Metadata and targets: what may be had, and that nothing else can be reached."""

from pathlib import Path

import pytest
from tuf.api.metadata import Metadata

from blocklist.core.entries import Feed
from tests.api_repo import Api, Repo, assert_problem, content, sha256

IMMUTABLE = "private, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """`demo` at 3 and `other` at 1; root 2, targets 3, snapshot metadata 7; leftovers above."""
    repo = Repo(tmp_path_factory.mktemp("template") / "store")
    repo.releases(3)
    repo.delegate("other")
    repo.release("other")
    repo.rotate_root()
    repo.refresh()
    metadata = repo.file("feed/metadata")
    for leftover in ("4.demo.json", "4.targets.json", "8.snapshot.json"):
        (metadata / leftover).write_bytes(b"a leftover")
    return repo


@pytest.fixture
def api(template: Repo, tmp_path: Path) -> Api:
    return Api(template.copy(tmp_path / "store"))


def stored(api: Api, name: str) -> bytes:
    return api.repo.file(f"feed/{name}").read_bytes()


@pytest.mark.parametrize(
    "name",
    ["1.root.json", "2.root.json", "1.targets.json", "3.targets.json", "1.snapshot.json",
     "7.snapshot.json", "1.demo.json", "3.demo.json"],
)  # fmt: skip
def test_numbered_metadata_is_served_as_stored_for_ever(api: Api, name: str) -> None:
    answer = api.get(f"/v1/metadata/{name}")
    assert answer.data == stored(api, f"metadata/{name}")
    assert answer.headers["Cache-Control"] == IMMUTABLE
    assert answer.content_type == "application/json"
    assert api.get(f"/v1/metadata/{name}", If_None_Match=answer.headers["ETag"]).status_code == 304


def test_the_timestamp_is_served_and_must_be_asked_about(api: Api) -> None:
    answer = api.get("/v1/metadata/timestamp.json")
    assert answer.data == stored(api, "metadata/timestamp.json")
    assert answer.headers["Cache-Control"] == "private, no-cache"
    etag = answer.headers["ETag"]
    assert api.get("/v1/metadata/timestamp.json", If_None_Match=etag).status_code == 304
    api.repo.refresh()
    api.later()
    assert api.get("/v1/metadata/timestamp.json", If_None_Match=etag).status_code == 200


@pytest.mark.parametrize("name", ["4.demo.json", "4.targets.json", "8.snapshot.json"])
def test_what_is_above_the_head_is_not_found_and_not_cached(api: Api, name: str) -> None:
    assert stored(api, f"metadata/{name}") == b"a leftover"
    assert_problem(api.get(f"/v1/metadata/{name}"), 404, "not-found")


def test_a_root_above_the_head_is_not_found_until_it_is_seen(api: Api) -> None:
    assert api.get("/v1/metadata/2.root.json").status_code == 200
    api.repo.file("feed/metadata/3.root.json").write_bytes(b"no root")
    assert_problem(api.get("/v1/metadata/3.root.json"), 404, "not-found")


@pytest.mark.parametrize("name", ["2.snapshot.json", "2.demo.json", "1.targets.json"])
def test_missing_metadata_is_not_found(api: Api, name: str) -> None:
    api.repo.file(f"feed/metadata/{name}").unlink()
    assert_problem(api.get(f"/v1/metadata/{name}"), 404, "not-found")


@pytest.mark.parametrize(
    "name",
    [
        "root.json", "0.root.json", "01.root.json", "1.root.json.", "1.root.JSON", "1.root",
        "-1.root.json", "1.timestamp.json", "1..json", "1.DEMO.json", "1.de_mo.json",
        "1.demo.json~", "1.demo.json%00", "1.demo.json%0A", " 1.demo.json",
        "99999999999999999.demo.json",
        "1." + "a" * 33 + ".json", ".", "%2e", "..", "%2e%2e", ".tmp", "1.%64emo.jsonx",
        "%EF%BC%91.demo.json", "\u0661.demo.json",
    ],
)  # fmt: skip
def test_other_names_are_not_found(api: Api, name: str) -> None:
    answer = api.get(f"/v1/metadata/{name}")
    assert_problem(answer, 404, "not-found")


@pytest.mark.parametrize("up", ["..", "%2e%2e", ".%2e", "..%2f..", "%2e%2e%2f%2e%2e", "..%5c.."])
@pytest.mark.parametrize("base", ["/v1/metadata/", "/v1/targets/", "/v1/targets/demo/hashed/"])
@pytest.mark.parametrize("end", ["/private/lists/demo.json", "%2fprivate%2flists%2fdemo.json"])
def test_no_path_leaves_the_feed(api: Api, base: str, up: str, end: str) -> None:
    secret = api.repo.file("private/lists")
    secret.mkdir()
    (secret / "demo.json").write_bytes(b"secret")
    answer = api.get(f"{base}{up}{end}")
    assert_problem(answer, 404, "not-found")


def test_a_list_role_outside_the_scope_is_refused_whether_it_exists_or_not(api: Api) -> None:
    headers = api.repo.enrol(lists={"demo": [Feed.CLEAR]})
    for name in ("1.other.json", "9.other.json", "1.none.json"):
        assert_problem(api.get(f"/v1/metadata/{name}", headers), 403, "outside-scope")
    assert api.get("/v1/metadata/3.demo.json", headers).status_code == 200


def test_an_earlier_role_file_that_is_damaged_is_copied_until_it_is_repaired(api: Api) -> None:
    whole = api.repo.damage("feed/metadata/2.demo.json")
    assert api.get("/v1/metadata/2.demo.json").data != whole
    api.repo.file("feed/metadata/2.demo.json").write_bytes(whole)
    assert api.get("/v1/metadata/2.demo.json").data == whole


# -- targets -------------------------------------------------------------------------------------


def url_of(key: str) -> str:
    return "/v1/" + key.removeprefix("feed/")


def test_every_target_of_the_live_role_is_served(api: Api) -> None:
    role = Metadata.from_bytes(stored(api, "metadata/3.demo.json")).signed
    assert len(role.targets) == 6
    for path, file in role.targets.items():
        folder, name = path.rsplit("/", 1)
        answer = api.get(f"/v1/targets/{folder}/{file.hashes['sha256']}.{name}")
        assert sha256(answer.data) == file.hashes["sha256"]
        assert len(answer.data) == file.length
        assert answer.headers["Cache-Control"] == IMMUTABLE
        assert answer.headers["ETag"] == f'"{file.hashes["sha256"]}"'
        assert answer.content_type == "application/octet-stream"


def test_objects_of_earlier_versions_are_served(api: Api) -> None:
    assert api.get(url_of(api.repo.delta_key(1, 2))).status_code == 200


def test_a_target_that_the_caller_holds_is_not_sent(api: Api) -> None:
    url = url_of(api.repo.delta_key(2, 3))
    etag = api.get(url).headers["ETag"]
    answer = api.get(url, If_None_Match=etag)
    assert (answer.status_code, answer.data) == (304, b"")
    assert answer.headers["Cache-Control"] == IMMUTABLE


def test_targets_are_served_from_memory_the_second_time(api: Api) -> None:
    key = api.repo.delta_key(2, 3)
    data = api.get(url_of(key)).data
    api.repo.file(key).unlink()
    assert api.get(url_of(key)).data == data


def test_a_damaged_target_is_copied_but_must_not_stick_anywhere(api: Api) -> None:
    key = api.repo.delta_key(2, 3)
    whole = api.repo.damage(key)
    answer = api.get(url_of(key))
    assert answer.data != whole
    assert answer.headers["Cache-Control"] == "no-store"
    assert "ETag" not in answer.headers
    api.repo.file(key).write_bytes(whole)
    assert api.get(url_of(key)).data == whole


def test_missing_targets_are_not_found(api: Api) -> None:
    for name in ("list", "snapshot", "delta-1", "delta-2"):
        answer = api.get(f"/v1/targets/demo/hashed/{'0' * 64}.{name}")
        assert_problem(answer, 404, "not-found")


def test_a_target_of_the_other_feed_is_not_found_under_this_one(api: Api) -> None:
    digest = sha256(content(Feed.CLEAR, 3))
    assert api.get(f"/v1/targets/demo/clear/{digest}.list").status_code == 200
    assert_problem(api.get(f"/v1/targets/demo/hashed/{digest}.list"), 404, "not-found")


@pytest.mark.parametrize("start", [3, 4, 2**53])
def test_deltas_from_the_head_on_are_not_found_even_when_stored(api: Api, start: int) -> None:
    name = f"{sha256(b'x')}.delta-{start}"
    api.repo.file(f"feed/targets/demo/hashed/{name}").write_bytes(b"x")
    assert_problem(api.get(f"/v1/targets/demo/hashed/{name}"), 404, "not-found")


@pytest.mark.parametrize(
    "name",
    ["list", ".list", "LIST", "{}", "{}.", "{}.lists", "{}.List", "{}.delta-", "{}.delta-0",
     "{}.delta-01", "{}.delta--1", "{}.delta-1x", "{}.delta-1%0A", "{}.list%00", "{}x.list",
     "{}%2elist%2e", "{}.delta-99999999999999999", "..", "%2e%2e", "{}.list/..", "./{}.list"],
)  # fmt: skip
def test_other_target_names_are_not_found(api: Api, name: str) -> None:
    digest = sha256(content(Feed.HASHED, 3))
    answer = api.get(f"/v1/targets/demo/hashed/{name.format(digest)}")
    assert_problem(answer, 404, "not-found")


def test_upper_case_digests_are_not_found(api: Api) -> None:
    digest = sha256(content(Feed.HASHED, 3)).upper()
    assert_problem(api.get(f"/v1/targets/demo/hashed/{digest}.list"), 404, "not-found")


@pytest.mark.parametrize(
    ("list_name", "feed"), [("demo", "clear"), ("other", "hashed"), ("none", "hashed")]
)
def test_targets_outside_the_scope_are_refused(api: Api, list_name: str, feed: str) -> None:
    headers = api.repo.enrol(lists={"demo": [Feed.HASHED]})
    digest = sha256(content(Feed(feed), 1))
    answer = api.get(f"/v1/targets/{list_name}/{feed}/{digest}.list", headers)
    assert_problem(answer, 403, "outside-scope")
