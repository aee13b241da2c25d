"""Object keys, spelled out: a change here moves what is already stored."""

import pytest

from blocklist.core import release
from blocklist.core.entries import Feed
from blocklist.core.errors import InputError
from blocklist.store import layout
from blocklist.store.port import validate_key
from blocklist.store.prefixed import Prefixed
from tests.fakes import MemoryStore

DIGEST = "0123456789abcdef" * 4


def test_golden_keys() -> None:
    path = layout.target_path("demo", Feed.CLEAR, release.LIST)
    delta = layout.target_path("demo", Feed.HASHED, release.delta_name(41))
    assert [
        layout.FEED,
        layout.METADATA,
        layout.TIMESTAMP,
        layout.TARGETS,
        path,
        layout.target_key(path, DIGEST),
        layout.target_key(f"demo/hashed/{release.SNAPSHOT}", DIGEST),
        layout.target_key(delta, DIGEST),
        layout.targets_prefix("demo", Feed.HASHED),
        layout.records_prefix("demo"),
        layout.record_key("demo", DIGEST),
        layout.list_secret_key("demo"),
        layout.enrolment_key(DIGEST),
        layout.PROBES,
    ] == [
        "feed/",
        "feed/metadata/",
        "feed/metadata/timestamp.json",
        "feed/targets/",
        "demo/clear/list",
        f"feed/targets/demo/clear/{DIGEST}.list",
        f"feed/targets/demo/hashed/{DIGEST}.snapshot",
        f"feed/targets/demo/hashed/{DIGEST}.delta-41",
        "feed/targets/demo/hashed/",
        "private/records/demo/",
        f"private/records/demo/{DIGEST}.json.gz",
        "private/lists/demo.json",
        f"private/enrolments/{DIGEST}.json",
        "private/probe/",
    ]


def test_prefixes_begin_the_keys_they_are_for() -> None:
    assert layout.record_key("demo", DIGEST).startswith(layout.RECORDS)
    assert layout.list_secret_key("demo").startswith(layout.LIST_SECRETS)
    assert layout.enrolment_key(DIGEST).startswith(layout.ENROLMENTS)
    assert layout.targets_prefix("demo", Feed.CLEAR).startswith(layout.TARGETS)
    assert layout.TIMESTAMP.startswith(layout.METADATA)


def test_longest_key_fits_the_port() -> None:
    name = release.delta_name((1 << 53) - 1)
    validate_key(layout.target_key(f"{'l' * 32}/hashed/{name}", DIGEST))


@pytest.mark.parametrize("list_name", ["", "a/b", "..", "Demo", "a_b", "a.b", "l" * 33, "demo\n"])
def test_no_key_for_a_list_of_another_name(list_name: str) -> None:
    for make in (
        lambda: layout.target_path(list_name, Feed.CLEAR, "list"),
        lambda: layout.target_key(f"{list_name}/clear/list", DIGEST),
        lambda: layout.targets_prefix(list_name, Feed.CLEAR),
        lambda: layout.record_key(list_name, DIGEST),
        lambda: layout.list_secret_key(list_name),
    ):
        with pytest.raises(InputError, match="expected"):
            make()


@pytest.mark.parametrize(
    "digest", ["", "abc", DIGEST[:-1], DIGEST + "0", DIGEST.upper(), DIGEST[:-1] + "\n"]
)
def test_no_key_for_what_is_no_digest(digest: str) -> None:
    for make in (
        lambda: layout.target_key("demo/clear/list", digest),
        lambda: layout.record_key("demo", digest),
        lambda: layout.enrolment_key(digest),
    ):
        with pytest.raises(InputError, match="expected a SHA-256 digest"):
            make()


@pytest.mark.parametrize(
    "path",
    ["demo", "demo/clear", "demo/other/list", "demo/clear/", "demo/clear/a/b", "demo/clear/.."],
)
def test_no_key_for_another_target_path(path: str) -> None:
    with pytest.raises(InputError, match="expected a target path"):
        layout.target_key(path, DIGEST)


def test_target_key_is_parsed_back() -> None:
    for path in ("demo/clear/list", "a-1/hashed/delta-7", "x/clear/name.with.dots"):
        assert layout.parse_target_key(layout.target_key(path, DIGEST)) == (path, DIGEST)


@pytest.mark.parametrize(
    "key",
    [
        "",
        f"demo/clear/{DIGEST}.list",
        f"feed/targets/demo/clear/{DIGEST}",
        f"feed/targets/demo/clear/{DIGEST}.",
        f"feed/targets/demo/{DIGEST}.list",
        f"feed/targets/demo/other/{DIGEST}.list",
        f"feed/targets/demo/clear/x/{DIGEST}.list",
        f"feed/targets/demo/clear/{DIGEST.upper()}.list",
        f"private/targets/demo/clear/{DIGEST}.list",
        layout.TIMESTAMP,
    ],
)
def test_key_of_anything_else_is_no_target(key: str) -> None:
    assert layout.parse_target_key(key) is None


def test_delta_name_is_parsed_back() -> None:
    for version in (1, 9, 10, 262_144, (1 << 53) - 1):
        assert release.parse_delta_name(release.delta_name(version)) == version


@pytest.mark.parametrize("version", [0, -1, 1 << 53])
def test_no_delta_from_a_version_that_cannot_be(version: int) -> None:
    with pytest.raises(InputError, match="expected a version"):
        release.delta_name(version)
    assert release.parse_delta_name(f"delta-{version}") is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "list",
        "delta",
        "delta-",
        "delta-01",
        "delta-+1",
        "delta- 1",
        "delta-1 ",
        "delta-1\n",
        "delta-1_0",
        "delta-1.0",
        "delta-0x1",
        "delta-٣",
        "Delta-1",
        "xdelta-1",
        "delta-" + "9" * 16,
        "delta-" + "9" * 5000,
    ],
)
def test_only_what_delta_name_gives_is_parsed(name: str) -> None:
    assert release.parse_delta_name(name) is None


@pytest.mark.parametrize("prefix", ["", "feed", "/", "a//", "../", ".tmp/", "a b/"])
def test_view_needs_the_name_of_a_folder(prefix: str) -> None:
    with pytest.raises(InputError, match="expected"):
        Prefixed(MemoryStore(), prefix)


def test_view_refuses_a_key_that_is_only_too_long_with_its_prefix() -> None:
    key = "/".join(["s" * 200, "s" * 200, "s" * 110])
    validate_key(key)
    with pytest.raises(InputError, match="at most 512 bytes"):
        Prefixed(MemoryStore(), layout.METADATA).get(key)
