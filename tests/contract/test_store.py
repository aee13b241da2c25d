"""Every sentence of the docstring of `blocklist.store.port.Store`, for every adapter."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest

from blocklist.core.errors import InputError, StoreError
from blocklist.store import layout
from blocklist.store.port import MAX_KEY_BYTES, MAX_SEGMENT_BYTES, Store
from tests.contract.conftest import WRITERS, Open, together

LEGAL_KEYS = (
    "a",
    "private/0",
    "private/-",
    "private/...",
    "private/.hidden",
    "private/_",
    "private/trailing.",
    "private/-rf",
    "private/UPPER.lower",
    "private/upper.lower",
    "private/a/b/c/d/e/f/g/h",
    "private/" + "n" * MAX_SEGMENT_BYTES,
    "/".join(["s" * 79] * 5),
)
ILLEGAL_KEYS = (
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "a/.",
    "a/..",
    "../a",
    "a/../b",
    "./a",
    ".tmp/x",
    ".lock",
    "a b",
    "a\n",
    "a\0",
    "a\\b",
    "a%2e",
    "a~",
    "a:b",
    "a*",
    "ü",
    "٣",
    "n" * (MAX_SEGMENT_BYTES + 1),
    "/".join(["s" * 102] * 5)[: MAX_KEY_BYTES + 1],
)


def keys(store: Store, prefix: str = "") -> list[str]:
    return [one.key for one in store.list(prefix)]


# -- one client ---------------------------------------------------------------------------------


def test_missing_key_is_none(store: Store) -> None:
    assert store.get("private/none") is None
    assert store.get("nowhere/at/all") is None


def test_created_object_is_read_back_by_any_client(store: Store, open_again: Open) -> None:
    assert store.put_new("private/a", b"one") is True
    for client in (store, open_again()):
        found = client.get("private/a")
        assert found is not None
        assert found.data == b"one"


def test_asking_for_a_missing_key_before_does_not_hide_it_later(
    store: Store, open_again: Open
) -> None:
    other = open_again()
    assert other.get("private/a") is None
    assert keys(other, "private/a") == []
    store.put_new("private/a", b"one")
    assert other.get("private/a") is not None
    assert keys(other, "private/a") == ["private/a"]


def test_put_new_never_overwrites(store: Store, open_again: Open) -> None:
    store.put_new("private/a", b"one")
    for client in (store, open_again()):
        assert client.put_new("private/a", b"two") is False
        assert client.put_new("private/a", b"one") is False
    found = store.get("private/a")
    assert found is not None
    assert found.data == b"one"


@pytest.mark.parametrize("size", [0, 1, 65_537, 3_000_001])
def test_bodies_of_any_size_and_bytes(store: Store, size: int) -> None:
    body = random.Random(size).randbytes(size)
    assert store.put_new("private/a", body)
    found = store.get("private/a")
    assert found is not None
    assert found.data == body
    assert next(store.list("private/a")).size == size


def test_object_at_the_limit_is_read_and_one_above_is_refused(store: Store) -> None:
    store.put_new("private/a", b"x" * 100)
    assert store.get("private/a", limit=100) is not None
    with pytest.raises(StoreError, match="expected at most 99 bytes"):
        store.get("private/a", limit=99)


def test_nothing_is_found_below_an_object_or_at_a_folder(store: Store) -> None:
    store.put_new("private/a/b", b"1")
    for key in ("private/a", "private/a/b/c", "private/a/b/c/d"):
        assert store.get(key) is None
        assert store.delete(key) is False
        assert store.replace_if(key, b"2", "token") is None
    assert keys(store, "private/a/b/") == []
    assert keys(store) == ["private/a/b"]


def test_limit_of_nothing_reads_an_empty_object(store: Store) -> None:
    store.put_new("private/a", b"")
    found = store.get("private/a", limit=0)
    assert found is not None
    assert found.data == b""


# -- compare and swap ---------------------------------------------------------------------------


def test_replace_with_the_current_token(store: Store, open_again: Open) -> None:
    store.put_new(layout.TIMESTAMP, b"1")
    first = open_again().get(layout.TIMESTAMP)
    assert first is not None
    token = store.replace_if(layout.TIMESTAMP, b"2", first.token)
    found = open_again().get(layout.TIMESTAMP)
    assert found is not None
    assert (found.data, found.token) == (b"2", token)
    assert token != first.token


def test_returned_token_is_good_for_the_next_replace(store: Store) -> None:
    store.put_new(layout.TIMESTAMP, b"1")
    found = store.get(layout.TIMESTAMP)
    assert found is not None
    token = found.token
    for body in (b"2", b"3", b"4"):
        following = store.replace_if(layout.TIMESTAMP, body, token)
        assert following is not None
        token = following


def test_replace_with_an_old_token_changes_nothing(store: Store) -> None:
    store.put_new(layout.TIMESTAMP, b"1")
    first = store.get(layout.TIMESTAMP)
    assert first is not None
    store.replace_if(layout.TIMESTAMP, b"2", first.token)
    assert store.replace_if(layout.TIMESTAMP, b"3", first.token) is None
    found = store.get(layout.TIMESTAMP)
    assert found is not None
    assert found.data == b"2"


def test_replace_of_a_missing_object_creates_nothing(store: Store) -> None:
    store.put_new("private/a", b"1")
    found = store.get("private/a")
    assert found is not None
    assert store.replace_if("private/b", b"2", found.token) is None
    assert store.replace_if("private/x/y", b"2", found.token) is None
    assert store.get("private/b") is None
    assert keys(store, "private/x") == []


def test_replace_with_a_token_that_was_never_given_is_a_lost_race(store: Store) -> None:
    store.put_new("private/a", b"1")
    assert store.replace_if("private/a", b"2", "no such token") is None
    assert store.replace_if("private/a", b"2", "") is None


def test_replaced_object_can_shrink(store: Store) -> None:
    store.put_new("private/a", b"long" * 1000)
    found = store.get("private/a")
    assert found is not None
    assert store.replace_if("private/a", b"short", found.token)
    found = store.get("private/a")
    assert found is not None
    assert found.data == b"short"


# -- listing ------------------------------------------------------------------------------------


def test_listing_is_sorted_bytewise_by_whole_key(store: Store) -> None:
    """Folders sort as their keys do: `a-b` and `a.b` before `a/b`, `a0` after it."""
    mixed = ["a/b", "a-b", "a.b", "a0", "a/b.c/d", "a/b-c", "B", "b", "a_b", "1/10", "1/9", "a/A"]
    wanted = [f"private/{key}" for key in mixed if key != "a/b"]
    for key in random.Random(1).sample(wanted, len(wanted)):
        assert store.put_new(key, b"x")
    assert keys(store) == sorted(wanted, key=str.encode)


def test_prefix_is_a_plain_string_prefix(store: Store) -> None:
    for key in ("m/1.json", "m/10.json", "m/2.json", "m/1/x", "m1", "n/1.json"):
        store.put_new(f"private/{key}", b"x")
    assert keys(store, "private/m/1") == [
        "private/m/1.json",
        "private/m/1/x",
        "private/m/10.json",
    ]
    assert keys(store, "private/m/1.") == ["private/m/1.json"]
    assert keys(store, "private/m/1/") == ["private/m/1/x"]
    assert keys(store, "private/m") == [
        "private/m/1.json",
        "private/m/1/x",
        "private/m/10.json",
        "private/m/2.json",
        "private/m1",
    ]
    assert keys(store, "private/n/1.json") == ["private/n/1.json"]
    assert keys(store, "private/n/1.json/") == []
    assert keys(store, "private/m/3") == []
    assert keys(store, "nowhere/") == []


def test_empty_prefix_lists_everything_and_an_empty_store_nothing(store: Store) -> None:
    assert keys(store) == []
    store.put_new("feed/metadata/1.root.json", b"x")
    store.put_new("private/b", b"x")
    assert keys(store) == ["feed/metadata/1.root.json", "private/b"]


def test_listing_tells_size_and_time(store: Store) -> None:
    store.put_new("private/a", b"12345")
    (listed,) = store.list("private/a")
    assert listed.size == 5
    assert listed.modified.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - listed.modified) < timedelta(minutes=5)


def test_what_stays_is_listed_once_while_others_come_and_go(store: Store, open_again: Open) -> None:
    staying = [f"private/stay/{number:03d}" for number in range(40)]
    for key in staying:
        store.put_new(key, b"x")
    finished = Event()

    def churn() -> None:
        try:
            for number in range(50):
                store.put_new(f"private/stay/0{number:02d}-{number}", b"x")
                store.delete(f"private/stay/0{number:02d}-{number}")
        finally:
            finished.set()

    def look() -> None:
        client = open_again()
        while not finished.is_set():
            seen = keys(client, "private/stay/")
            assert seen == sorted(set(seen))
            assert set(staying) <= set(seen)

    together(2, lambda number: look() if number else churn())


def test_prefix_that_no_key_can_have_is_refused_at_once(store: Store) -> None:
    for prefix in ("/", "/a", "a//", "../", "a/../", ".tmp/", "a b", "*", "ü", "a\n"):
        with pytest.raises(InputError):
            store.list(prefix)


# -- deleting -----------------------------------------------------------------------------------


def test_delete_tells_whether_there_was_an_object(store: Store, open_again: Open) -> None:
    store.put_new("private/a", b"1")
    store.put_new("private/ab", b"2")
    assert store.delete("private/a") is True
    assert store.delete("private/a") is False
    assert store.delete("nowhere/at/all") is False
    assert open_again().get("private/a") is None
    assert keys(open_again(), "private/") == ["private/ab"]


def test_deleted_object_cannot_be_replaced_but_created_again(store: Store) -> None:
    store.put_new("private/a", b"1")
    found = store.get("private/a")
    assert found is not None
    store.delete("private/a")
    assert store.replace_if("private/a", b"2", found.token) is None
    assert store.put_new("private/a", b"3") is True


def test_concurrent_deletes_leave_nothing(store: Store, open_again: Open) -> None:
    store.put_new("private/a", b"1")
    told = together(WRITERS, lambda number: open_again().delete("private/a"))
    assert any(told)
    assert store.get("private/a") is None


# -- keys ---------------------------------------------------------------------------------------


def test_odd_but_legal_keys_are_different_objects(store: Store) -> None:
    for number, key in enumerate(LEGAL_KEYS):
        assert store.put_new(key, b"%d" % number), key
    for number, key in enumerate(LEGAL_KEYS):
        found = store.get(key)
        assert found is not None
        assert found.data == b"%d" % number
    assert keys(store) == sorted(LEGAL_KEYS)


def test_illegal_key_is_refused_by_every_operation(store: Store) -> None:
    operations: list[Callable[[str], object]] = [
        store.get,
        lambda key: store.put_new(key, b"x"),
        lambda key: store.replace_if(key, b"x", "token"),
        store.delete,
    ]
    for key in ILLEGAL_KEYS:
        for operation in operations:
            with pytest.raises(InputError, match="expected a key") as refused:
                operation(key)
            assert len(key) < 2 or key not in str(refused.value)
    assert keys(store) == []
