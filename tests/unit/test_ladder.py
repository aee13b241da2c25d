"""The ladder, on storage filled as a publisher fills it (docs/spec.md, "Ladder")."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest

from blocklist.core.ladder import (
    MAX_HOPS,
    STEP_MAX,
    ceil_release,
    next_from,
    rungs,
    snapshot_due,
    walk,
)

LAST = 3000

NUMBERINGS = {
    "contiguous": range(1, LAST + 1),
    "begins-late": range(700, LAST + 1),
    "one-in-a-hundred-missing": [v for v in range(1, LAST + 1) if v * 7919 % 10007 > 100],
    "half-missing": [v for v in range(1, LAST + 1) if v * 7919 % 10007 > 5003],
    "nine-in-ten-missing": [v for v in range(1, LAST + 1) if v * 7919 % 10007 > 9006],
    "odd-only": range(1, LAST + 1, 2),
    "no-multiple-of-64": [v for v in range(1, LAST + 1) if v % 64],
    "blocks-of-20-missing": [v for v in range(1, LAST + 1) if v // 20 % 2 == 0],
}

Stored = dict[int, frozenset[int]]


def publish(releases: Iterable[int]) -> Stored:
    """Store what a publisher that only ever sees its own storage would store."""
    stored: Stored = {}
    previous: int | None = None
    for version in releases:
        if previous is None:
            stored[version] = frozenset()
        else:
            stored[version] = frozenset(
                ceil_release(rung, previous, stored.__getitem__)
                for rung in rungs(version, previous)
            )
        previous = version
    return stored


@pytest.fixture(scope="module", params=list(NUMBERINGS), ids=str)
def stored(request: pytest.FixtureRequest) -> Stored:
    return publish(NUMBERINGS[request.param])


def froms(table: dict[int, list[int]]) -> Callable[[int], list[int]]:
    return lambda version: table.get(version, [])


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (1, ()),
        (2, (1,)),
        (3, (2,)),
        (4, (3, 2, 1)),
        (6, (5, 4)),
        (8, (7, 6, 4, 1)),
        (12, (11, 10, 8)),
        (1024, (1023, 1022, 1020, 1016, 1008, 992, 960, 896, 768, 512, 1)),
        (4096, (4095, 4094, 4092, 4088, 4080, 4064, 4032, 3968, 3840, 3584, 3072)),
    ],
)
def test_rungs_of_contiguous_versions(version: int, expected: tuple[int, ...]) -> None:
    assert rungs(version) == expected
    assert rungs(version, version - 1) == expected


def test_rungs_reach_no_further_than_the_longest_step() -> None:
    assert min(rungs(STEP_MAX * 8)) == STEP_MAX * 7


@pytest.mark.parametrize(
    ("version", "previous", "expected"),
    [(9, 7, (8, 6, 4, 1)), (9, 8, (8,)), (5, 1, (4, 2, 1)), (1025, 1023, (1024, *rungs(1024)[1:]))],
)
def test_a_release_has_the_rungs_of_the_missing_versions_before_it(
    version: int, previous: int, expected: tuple[int, ...]
) -> None:
    assert rungs(version, previous) == expected


def test_every_release_stores_the_delta_from_its_predecessor(stored: Stored) -> None:
    releases = list(stored)
    for previous, version in pairwise(releases):
        assert max(stored[version]) == previous


def test_about_two_deltas_are_stored_a_release(stored: Stored) -> None:
    assert sum(map(len, stored.values())) <= 2 * len(stored)


def test_every_release_reaches_every_later_one_in_few_hops(stored: Stored) -> None:
    releases = list(stored)
    heads = [releases[len(releases) * part // 7 - 1] for part in range(1, 8)]
    for head in heads + releases[:100]:
        for have in releases[: releases.index(head)]:
            hops = walk(have, head, stored.__getitem__)
            assert hops is not None
            assert hops[0][0] == have
            assert hops[-1][1] == head
            assert all(a[1] == b[0] for a, b in pairwise(hops))
            assert all(start in stored[to] for start, to in hops)
            assert len(hops) <= min(MAX_HOPS, 2 * math.log2(head - have) + 2)


def test_every_release_around_the_longest_step_reaches_its_neighbours() -> None:
    stored = publish(range(1, 4 * STEP_MAX + 1))
    for have in range(STEP_MAX - 40, STEP_MAX + 40):
        for head in range(3 * STEP_MAX - 20, 3 * STEP_MAX + 20):
            assert walk(have, head, stored.__getitem__)


def test_the_head_itself_needs_no_hop() -> None:
    assert walk(7, 7, froms({})) == []


def test_the_smallest_from_not_below_is_taken() -> None:
    assert next_from([9, 3, 5], 4) == 5
    assert next_from([9, 3, 5], 5) == 5
    assert next_from([3], 4) is None
    assert walk(2, 9, froms({9: [8, 4, 1], 4: [3, 2]})) == [(2, 4), (4, 9)]


def test_a_version_that_was_never_released_has_no_way() -> None:
    assert walk(5, 9, froms({9: [8], 8: [6], 6: [4]})) is None
    assert walk(0, 3, froms({3: [2], 2: [1]})) is None


def test_a_version_above_the_head_has_no_way() -> None:
    assert walk(10, 9, froms({9: [8]})) is None


@pytest.mark.parametrize("hostile", [[9], [10, 3], [0, 3], [-1, 3], [9, 8, 3]])
def test_froms_that_are_not_below_their_version_end_the_walk(hostile: list[int]) -> None:
    assert walk(3, 9, froms({9: hostile, 10: [9]})) is None


def test_a_chain_longer_than_the_limit_is_no_way() -> None:
    def chain(version: int) -> list[int]:
        return [version - 1]

    assert len(walk(1, 1 + MAX_HOPS, chain) or []) == MAX_HOPS
    assert walk(1, 2 + MAX_HOPS, chain) is None


def test_a_walk_never_asks_for_more_versions_than_the_limit() -> None:
    asked = []

    def chain(version: int) -> list[int]:
        asked.append(version)
        return [version - 1]

    assert walk(1, 10**6, chain) is None
    assert len(asked) <= MAX_HOPS + 1


def test_ceil_release_is_the_oldest_at_or_above(stored: Stored) -> None:
    releases = list(stored)
    for start in (releases[-1], releases[len(releases) // 2]):
        for target in range(1, start + 1, 7):
            expected = releases[bisect_right(releases, target - 1)]
            assert ceil_release(target, start, stored.__getitem__) == expected


def test_hostile_froms_end_the_search_for_a_release() -> None:
    assert ceil_release(2, 9, froms({9: [9]})) == 9


@pytest.mark.parametrize(
    ("snapshot_bytes", "ladder_bytes", "releases", "due"),
    [
        (4000, 1000, 255, False),
        (4000, 1001, 1, True),
        (4000, 0, 256, True),
        (4000, 0, 0, False),
    ],
)
def test_snapshot_is_due_when_the_ladder_outweighs_a_quarter_or_after_256_releases(
    snapshot_bytes: int, ladder_bytes: int, releases: int, due: bool
) -> None:
    assert snapshot_due(snapshot_bytes, ladder_bytes, releases) is due
