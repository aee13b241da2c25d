"""The update document: what it holds for every N, and when there is none."""

import gc
import gzip
import json
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from blocklist.api import bodies, updates, ways
from blocklist.api.limits import BODY_CACHE_BYTES, BODY_CACHE_SHARE, MAX_UPDATE_BYTES
from blocklist.api.updates import Offer, Step
from blocklist.core import delta
from blocklist.core.entries import Feed
from blocklist.core.update import Update
from signing import client
from tests.api_repo import Api, Repo, assert_problem, content, until

UPDATE = "/v1/lists/demo/hashed/update"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Versions 1 to 5, 8 to 12 (6 and 7 are burned); snapshots of 1 and, since 9, of 9."""
    repo = Repo(tmp_path_factory.mktemp("template") / "store")
    repo.releases(5)
    repo.release(to=8)
    repo.release(snapshot=True)
    repo.releases(3)
    return repo


@pytest.fixture
def api(template: Repo, tmp_path: Path) -> Api:
    return Api(template.copy(tmp_path / "store"))


def names_of(update: Update) -> list[str]:
    return [name.partition(".")[2] for name in update.objects]


def result(update: Update, have: int, feed: Feed) -> bytes:
    """Apply an update's objects in order to version `have`."""
    data = content(feed, have) if have and "snapshot" not in names_of(update) else b""
    for blob in update.objects.values():
        data = delta.apply(feed, data, blob, max_bytes=1 << 20)
    return data


def test_one_behind_gets_one_delta(api: Api) -> None:
    update = api.update("from=11")
    assert names_of(update) == ["delta-11"]
    assert update.version == 12
    assert "11.demo.json" not in update.files


def test_several_behind_get_the_ladder_with_the_role_file_of_each_hop(api: Api) -> None:
    update = api.update("from=3&root=1&targets=2")
    assert names_of(update) == ["delta-3", "delta-4", "delta-8"]
    assert set(update.files) == {
        "timestamp.json", "12.snapshot.json", "4.demo.json", "8.demo.json", "12.demo.json"
    }  # fmt: skip


@pytest.mark.parametrize("have", [0, 6, 7])
def test_from_nothing_and_from_burned_numbers_there_is_the_snapshot_way(
    api: Api, have: int
) -> None:
    assert names_of(api.update(f"from={have}")) == ["snapshot", "delta-9", "delta-10"]


@pytest.mark.parametrize("feed", list(Feed))
@pytest.mark.parametrize("have", range(13))
def test_the_objects_lead_to_the_live_list_from_everywhere(api: Api, have: int, feed: Feed) -> None:
    update = api.update(f"from={have}", feed)
    if have == 12:
        assert update.objects == {}
    else:
        assert result(update, have, feed) == content(feed, 12)


def test_at_the_live_version_with_an_older_timestamp_there_is_metadata_only(api: Api) -> None:
    update = api.update("from=12&root=1&targets=2&timestamp=1")
    assert set(update.files) == {"timestamp.json", "12.snapshot.json", "12.demo.json"}
    assert update.objects == {}


def test_from_above_the_live_version_gets_the_metadata_that_shows_the_rollback(api: Api) -> None:
    update = api.update("from=13&root=1&targets=2&timestamp=99")
    assert update.version == 12
    assert set(update.files) == {"timestamp.json", "12.snapshot.json", "12.demo.json"}
    assert update.objects == {}


def test_files_are_the_stored_bytes(api: Api) -> None:
    for name, data in api.update("from=3").files.items():
        assert data == api.repo.file(f"feed/metadata/{name}").read_bytes()


def test_a_client_verifies_the_document_alone(api: Api, tmp_path: Path) -> None:
    files = api.update("from=0").files

    def fetch(name: str) -> Iterable[bytes] | None:
        return [files[name]] if name in files else None

    verified = client.refresh(tmp_path / "trust", api.repo.root, "demo", fetch)
    assert verified.release is not None
    assert verified.release.version == 12


@pytest.mark.parametrize(("held", "sent"), [(0, True), (1, True), (2, False), (3, False)])
def test_targets_come_when_above_the_held_ones(api: Api, held: int, sent: bool) -> None:
    assert ("2.targets.json" in api.update(f"targets={held}").files) is sent


@pytest.mark.parametrize(
    ("held", "sent"),
    [
        (0, {"1.root.json", "2.root.json", "3.root.json"}),
        (1, {"2.root.json", "3.root.json"}),
        (3, set()),
        (4, set()),
    ],
)
def test_all_roots_above_the_held_one_come(api: Api, held: int, sent: set[str]) -> None:
    api.repo.rotate_root()
    api.repo.rotate_root()
    files = api.update(f"root={held}").files
    assert {name for name in files if "root" in name} == sent


# -- nothing new ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("from=12&root=1&targets=2&timestamp=12", 304),
        ("from=12&root=1&timestamp=12", 304),
        ("from=11&root=1&timestamp=12", 200),
        ("from=13&root=1&timestamp=12", 200),
        ("from=12&root=1&timestamp=11", 200),
        ("from=12&root=1&timestamp=13", 200),
        ("from=12&timestamp=12", 200),
        ("from=12&root=2&timestamp=12", 200),
    ],
)
def test_nothing_new_is_judged_by_the_versions_held(api: Api, query: str, status: int) -> None:
    answer = api.get(f"{UPDATE}?{query}")
    assert answer.status_code == status
    assert answer.headers["ETag"] == '"1-12-12"'
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert (answer.data == b"") is (status == 304)


@pytest.mark.parametrize(
    ("validator", "query", "status"),
    [
        ('"1-12-12"', "from=3&root=1", 304),
        ('W/"1-12-12"', "root=1", 304),
        ('"x", "1-12-12"', "root=1", 304),
        ('"1-12-12"', "from=3", 200),  # a root above R is always news
        ('"1-11-12"', "from=12&root=1&timestamp=12", 200),
        ('"1-12-11"', "from=12&root=1&timestamp=12", 200),
    ],
)
def test_a_validator_outranks_the_versions_held(
    api: Api, validator: str, query: str, status: int
) -> None:
    answer = api.get(f"{UPDATE}?{query}", If_None_Match=validator)
    assert answer.status_code == status


def test_a_refresh_is_news_of_a_few_files(api: Api) -> None:
    query = "from=12&root=1&targets=2&timestamp=12"
    assert api.get(f"{UPDATE}?{query}").status_code == 304
    api.repo.refresh()
    api.later()
    assert len(api.update(query).files) == 3


def test_a_new_root_is_news(api: Api) -> None:
    query = "from=12&root=1&targets=2&timestamp=12"
    assert api.get(f"{UPDATE}?{query}").status_code == 304
    api.repo.rotate_root()
    api.repo.refresh()
    api.later()
    assert "2.root.json" in api.update("from=12&root=1&targets=2&timestamp=13").files


# -- before the first release, and gone lists ----------------------------------------------------


def test_a_list_without_a_release_has_metadata_and_no_version(tmp_path: Path) -> None:
    api = Api(Repo(tmp_path / "store"))
    update = api.update("root=1")
    assert update.version is None
    assert set(update.files) == {"timestamp.json", "2.snapshot.json", "2.targets.json"}
    answer = api.get(f"{UPDATE}?root=1&timestamp=2")
    assert (answer.status_code, answer.headers["ETag"]) == (304, '"1-2-0"')


def test_a_list_in_scope_that_does_not_exist_is_not_found(api: Api) -> None:
    headers = api.repo.enrol(lists={"gone": [Feed.CLEAR]})
    assert_problem(api.get("/v1/lists/gone/clear/update", headers), 404, "not-found")


# -- damage and limits ---------------------------------------------------------------------------


def test_a_missing_object_in_the_middle_means_the_snapshot_way(api: Api) -> None:
    api.repo.file(api.repo.delta_key(4, 8)).unlink()
    assert names_of(api.update("from=3")) == ["snapshot", "delta-9", "delta-10"]


def test_a_missing_role_file_in_the_middle_means_the_snapshot_way(api: Api) -> None:
    api.repo.file("feed/metadata/8.demo.json").unlink()
    assert names_of(api.update("from=3")) == ["snapshot", "delta-9", "delta-10"]


@pytest.mark.parametrize("junk", [b"", b"{}", b"\xff", b"[" * 100_000, bytes(600_000)])
def test_a_senseless_role_file_in_the_middle_means_the_snapshot_way(api: Api, junk: bytes) -> None:
    api.repo.file("feed/metadata/8.demo.json").write_bytes(junk)
    assert names_of(api.update("from=3")) == ["snapshot", "delta-9", "delta-10"]


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("list", {"custom": "x"}),
        ("delta-4", {"hashes": {"sha256": "zz"}}),
        ("delta-4", {"hashes": {"sha256": "../../x"}}),
        ("delta-4", {"length": 1.5}),
        ("delta-4", {"length": True}),
    ],
)
def test_an_altered_role_file_in_the_middle_means_the_snapshot_way(
    api: Api, what: str, changes: dict[str, object]
) -> None:
    file = api.repo.file("feed/metadata/8.demo.json")
    document = json.loads(file.read_bytes())
    document["signed"]["targets"][f"demo/hashed/{what}"].update(changes)
    file.write_text(json.dumps(document))
    assert names_of(api.update("from=3")) == ["snapshot", "delta-9", "delta-10"]


def test_an_oversized_object_is_none(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "MAX_UPDATE_BYTES", 2**20)
    api.repo.file(api.repo.delta_key(4, 8)).write_bytes(bytes(2**20 + 1))
    assert names_of(api.update("from=3")) == ["snapshot", "delta-9", "delta-10"]


def test_without_any_way_there_is_the_metadata(api: Api) -> None:
    api.repo.file(api.repo.delta_key(10, 12)).unlink()
    update = api.update("from=0&root=1")
    assert update.objects == {}
    assert {"timestamp.json", "12.snapshot.json", "12.demo.json"} <= set(update.files)


def test_a_damaged_object_is_copied_and_its_repair_is_seen_at_once(api: Api) -> None:
    key = api.repo.delta_key(11, 12)
    whole = api.repo.damage(key)
    damaged = api.update("from=11")
    assert names_of(damaged) == ["delta-11"]
    assert list(damaged.objects.values()) != [whole]
    api.repo.file(key).write_bytes(whole)
    assert list(api.update("from=11").objects.values()) == [whole]


def test_objects_beyond_the_byte_cap_are_left_out(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = api.update("from=2&root=1&targets=2")
    hops = [f"{version}.demo.json" for version in (4, 8, 12)]
    objects = list(whole.objects.values())
    cap = sum(len(whole.files[name]) for name in hops) + len(objects[0])
    monkeypatch.setattr(ways.Way, "__init__", _capped(cap))
    api.repo.refresh()  # so that the finished document is not used
    api.later()
    capped = api.update("from=2&root=1&targets=2")
    assert list(capped.objects.values()) == objects[:1]
    assert set(hops) <= set(capped.files)


def _capped(cap: int) -> object:
    def init(way: ways.Way, whole: bool = True) -> None:
        way.files, way.objects, way.left, way.whole = {}, {}, cap, whole

    return init


def test_a_second_subscriber_gets_the_same_bytes_without_the_storage(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = api.get(f"{UPDATE}?from=3&root=1").data

    def gone(*args: object, **more: object) -> None:
        raise AssertionError("the storage was asked again")

    monkeypatch.setattr(type(api.repo.store), "get", gone)
    assert api.get(f"{UPDATE}?from=3&root=1").data == first


# -- large documents -----------------------------------------------------------------------------


def offer_of(api: Api) -> Offer:
    live = api.services.reader.live()
    return Offer(live, "demo", Feed.HASHED, live.release("demo", Feed.HASHED))


@pytest.fixture
def large(api: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """An API to which every document is a large one."""
    for module in (updates, bodies):
        monkeypatch.setattr(module, "LARGE_BYTES", 1)
    return api


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Update]:
    """The documents that are made."""
    made: list[Update] = []
    whole = Update.to_bytes

    def to_bytes(update: Update) -> bytes:
        made.append(update)
        return whole(update)

    monkeypatch.setattr(Update, "to_bytes", to_bytes)
    return made


@pytest.mark.parametrize("accepts_gzip", [True, False])
def test_all_whom_the_ladder_does_not_help_share_one_document(
    large: Api, built: list[Update], accepts_gzip: bool
) -> None:
    large.repo.file(large.repo.delta_key(4, 8)).unlink()  # 3 and 4 have a way, but not the objects
    make, offer = large.services.updates.body, offer_of(large)
    found = [make(offer, Step(have), accepts_gzip=accepts_gzip) for have in (0, 3, 4, 6, 7)]
    assert len(set(map(id, found))) == 1
    assert len(built) == 1


def test_those_who_ask_while_it_is_made_get_the_same_bytes(
    large: Api, built: list[Update], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, whole = threading.Event(), Update.to_bytes

    def slow(update: Update) -> bytes:
        data = whole(update)
        go_on.wait(60)
        return data

    monkeypatch.setattr(Update, "to_bytes", slow)
    make, offer = large.services.updates.body, offer_of(large)
    found: list[bodies.Body] = []

    def ask(have: int) -> None:
        found.append(make(offer, Step(have), accepts_gzip=True))

    threads = [threading.Thread(target=ask, args=(have,)) for have in (0, 6, 7, 0, 6, 7)]
    for thread in threads:
        thread.start()
    until("one is being made", lambda: len(built) > 0)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert len(built) == 1
    assert len(found) == 6
    assert len(set(map(id, found))) == 1


def test_one_too_many_different_documents_is_told_to_come_back(large: Api) -> None:
    kept = [large.services.updates.body(offer_of(large), Step(0), accepts_gzip=False)]
    large.services.reader.objects.bodies._capacity = len(kept[0].data)
    answer = large.get(f"{UPDATE}?from=11&root=1")
    assert_problem(answer, 503, "busy")
    assert answer.headers["Retry-After"] == "5"
    kept.clear()
    gc.collect()
    assert large.get(f"{UPDATE}?from=11&root=1").status_code == 200


def test_the_largest_document_can_be_remembered() -> None:
    update = Update("demo", Feed.HASHED, 1, {}, {"a": bytes(MAX_UPDATE_BYTES)})
    assert len(update.to_bytes()) < BODY_CACHE_BYTES // BODY_CACHE_SHARE


# -- gzip ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["gzip", "br, gzip;q=0.5", "*"])
def test_gzip_when_it_is_accepted(api: Api, accept: str) -> None:
    plain = api.get(f"{UPDATE}?from=3")
    packed = api.get(f"{UPDATE}?from=3", Accept_Encoding=accept)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.data) < len(plain.data)
    assert gzip.decompress(packed.data) == plain.data
    assert "Accept-Encoding" in packed.headers["Vary"]


@pytest.mark.parametrize("accept", ["", "identity", "br", "gzip;q=0"])
def test_no_gzip_when_it_is_not_accepted(api: Api, accept: str) -> None:
    answer = api.get(f"{UPDATE}?from=3", Accept_Encoding=accept)
    assert "Content-Encoding" not in answer.headers
    assert json.loads(answer.data)["version"] == 12


# -- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "from=-1", "from=x", "from=", "from=1.0", "from=%2B1", "from=01", "from=9007199254740992",
        "from=99999999999999999999", "from=%D9%A1", "from=1%0A", "from=1&from=1", "from=1&from=2",
        "root=x", "targets=-1", "timestamp=1e3", "since=1", "From=1", "from=1&x", "wait=5",
        "from=" + "1" * 2000,
    ],
)  # fmt: skip
def test_parameters_that_are_not_as_documented_are_refused(api: Api, query: str) -> None:
    assert_problem(api.get(f"{UPDATE}?{query}"), 400, "bad-request")


def test_the_largest_number_is_accepted(api: Api) -> None:
    assert api.update("from=9007199254740991").objects == {}


@pytest.mark.parametrize("accept", ["gzip", "identity"])
def test_head_answers_with_the_headers_alone(api: Api, accept: str) -> None:
    answer = api.client.head(UPDATE, headers={**api.headers, "Accept-Encoding": accept})
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.headers["ETag"] == '"1-12-12"'
