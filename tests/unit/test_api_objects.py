"""Large objects: read once for all who want them, and not too many different ones at a time."""

import gc
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from blocklist.api import answers
from blocklist.api.bodies import Bodies, Body
from blocklist.api.cache import ByteLru
from blocklist.api.heavy import TooBusy
from blocklist.api.limits import IN_FLIGHT_BYTES, LARGE_BYTES, MAX_OBJECT_BYTES, PIECE_BYTES
from blocklist.api.objects import Objects
from blocklist.api.problems import BUSY, Problem
from blocklist.core.entries import Feed
from blocklist.store import layout
from blocklist.store.port import Object
from tests.api_repo import QuickStore, sha256, until

LARGE = bytes(LARGE_BYTES + 1)


class Counting(QuickStore):
    """A store that counts what it hands out, and can be slow about it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> Object | None:
        found = super().get(key, limit=limit)
        self.reads += 1
        self.go_on.wait(60)
        return found


@pytest.fixture
def store(tmp_path: Path) -> Counting:
    return Counting(tmp_path)


def placed(store: Counting, data: bytes, name: str = "snapshot") -> str:
    """Store a target; return its digest."""
    digest = sha256(data)
    key = layout.target_key(layout.target_path("demo", Feed.CLEAR, name), digest)
    assert store.put_new(key, data)
    return digest


def reading(store: Counting, capacity: int = IN_FLIGHT_BYTES) -> Callable[[str], Body | None]:
    """Return what reads a target by its digest, and remembers nothing large."""
    objects = Objects(store, ByteLru(1 << 10), capacity)

    def read(digest: str) -> Body | None:
        return objects.target("demo", Feed.CLEAR, "snapshot", digest, MAX_OBJECT_BYTES)

    return read


def test_those_who_want_the_same_at_a_time_share_one_read_and_the_bytes(store: Counting) -> None:
    read, digest = reading(store), placed(store, LARGE)
    store.go_on.clear()
    found: list[Body | None] = []
    threads = [threading.Thread(target=lambda: found.append(read(digest))) for _ in range(8)]
    for thread in threads:
        thread.start()
    until("it is being read", lambda: store.reads == 1)
    store.go_on.set()
    for thread in threads:
        thread.join(60)
    assert store.reads == 1
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


def test_what_is_being_sent_is_not_read_again_and_then_forgotten(store: Counting) -> None:
    read, digest = reading(store), placed(store, LARGE)
    answer = answers.data(_there(read(digest)), answers.OCTETS, "no-store")
    pieces = iter(answer.response)
    assert next(pieces) == LARGE[:PIECE_BYTES]
    for _ in range(5):
        assert _there(read(digest)).data == LARGE
    assert store.reads == 1
    answer.close()
    gc.collect()
    read(digest)
    assert store.reads == 2


def _there(body: Body | None) -> Body:
    assert body is not None
    return body


def test_different_large_objects_are_bounded_and_one_that_ends_makes_room(store: Counting) -> None:
    read = reading(store, 2 * len(LARGE))
    digests = [placed(store, LARGE + bytes([n])) for n in range(2)]
    kept = [_there(read(digests[0]))]
    with pytest.raises(Problem) as caught:
        read(digests[1])
    assert caught.value.kind is BUSY
    assert int(caught.value.headers["Retry-After"]) > 0
    assert _there(read(digests[0])) is kept[0]  # what is there costs nothing
    kept.clear()
    gc.collect()
    assert read(digests[1]) is not None


def test_damaged_objects_count_and_their_repair_is_seen_at_once(store: Counting) -> None:
    read, digest = reading(store, 3 * len(LARGE)), placed(store, LARGE)
    key = next(listed.key for listed in store.list(""))
    store.delete(key)
    assert store.put_new(key, LARGE[:-1] + b"x")
    kept = [_there(read(digest)), _there(read(digest)), _there(read(digest))]
    assert [body.intact for body in kept] == [False] * 3
    with pytest.raises(Problem):
        read(digest)
    kept.clear()
    store.delete(key)
    assert store.put_new(key, LARGE)
    assert _there(read(digest)).intact


def test_small_objects_are_never_refused(store: Counting) -> None:
    read = reading(store, 1)
    kept = [_there(read(placed(store, LARGE)))]
    kept += [_there(read(placed(store, bytes([n]) * 5_000))) for n in range(20)]
    assert len(kept) == 21


# -- the bound itself ----------------------------------------------------------------------------


@pytest.fixture
def bodies() -> Bodies:
    return Bodies(3 * len(LARGE))


def test_one_larger_than_all_the_room_is_taken_up_but_not_two(bodies: Bodies) -> None:
    huge = LARGE * 4
    kept = [bodies.add("small", Body(LARGE)), bodies.add("huge", Body(huge))]
    with pytest.raises(TooBusy):
        bodies.add("huge too", Body(huge))
    kept.append(bodies.add("small too", Body(LARGE)))
    assert bodies.get("huge") is kept[1]
    del kept[1]
    gc.collect()
    bodies.add("huge too", Body(huge))


def test_what_is_remembered_anyway_has_room_and_counts(bodies: Bodies) -> None:
    kept = [bodies.of(n, LARGE) for n in range(5)]
    assert bodies.of(0, LARGE) is kept[0]
    with pytest.raises(TooBusy):
        bodies.add("new", Body(LARGE))
