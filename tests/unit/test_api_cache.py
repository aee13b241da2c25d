"""The two memories stay within their bounds and forget what is oldest."""

from datetime import UTC, datetime, timedelta

import pytest

from blocklist.api.cache import AgeCache, ByteLru

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_bytes_used_longest_ago_go_first() -> None:
    cache = ByteLru(40)
    for name in "abcd":
        cache.put(name, name.encode() * 10)
    assert cache.get("a") == b"a" * 10
    cache.put("e", b"e" * 10)
    assert [cache.get(name) is not None for name in "abcde"] == [True, False, True, True, True]


def test_one_item_gets_at_most_a_quarter() -> None:
    cache = ByteLru(40)
    cache.put("a", b"x" * 11)
    cache.put("b", b"x" * 10)
    assert cache.get("a") is None
    assert cache.get("b") == b"x" * 10


def test_another_share_may_be_told() -> None:
    cache = ByteLru(40, 2)
    cache.put("a", b"x" * 20)
    cache.put("b", b"x" * 21)
    assert cache.get("a") == b"x" * 20
    assert cache.get("b") is None


def test_replacing_an_item_does_not_count_it_twice() -> None:
    cache = ByteLru(40)
    for _ in range(100):
        cache.put("a", b"x" * 10)
    for name in "bcd":
        cache.put(name, b"x" * 10)
    assert all(cache.get(name) for name in "abcd")


@pytest.mark.parametrize(("seconds", "fresh"), [(0, True), (29, True), (30, False), (-1, False)])
def test_answers_hold_for_their_time(seconds: int, fresh: bool) -> None:
    cache = AgeCache[str](timedelta(seconds=30), 10)
    cache.put("a", "x", NOW)
    assert (cache.get("a", NOW + timedelta(seconds=seconds)) == "x") is fresh


def test_answers_are_bounded_in_number() -> None:
    cache = AgeCache[int](timedelta(seconds=30), 3)
    for number in range(5):
        cache.put(str(number), number, NOW)
    assert [cache.get(str(number), NOW) for number in range(5)] == [None, None, 2, 3, 4]
