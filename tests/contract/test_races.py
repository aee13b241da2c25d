"""The sentences of `Store` about many clients, for every adapter whose storage decides races.

moto is left out: it checks a condition and writes in two steps, in our own process, so what comes
out of a race there says nothing about S3.
"""

from pathlib import Path
from threading import Barrier, Event

import pytest

from blocklist.store import layout
from blocklist.store.port import Store
from tests.contract.conftest import ADAPTERS, MOTO, WRITERS, Open, together

ROUNDS = 20
INCREMENTS = 20
VERSIONS = 100
WAIT_SECONDS = 60


@pytest.fixture(params=sorted(set(ADAPTERS) - {MOTO}))
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Return what opens the storage under test."""
    return ADAPTERS[request.param](request, tmp_path)


def test_one_of_eight_concurrent_creators_wins_each_key(store: Store, open_again: Open) -> None:
    rounds = [f"private/race/{number}" for number in range(ROUNDS)]
    barrier = Barrier(WRITERS)

    def create(writer: int) -> list[bool]:
        client, won = open_again(), []
        for key in rounds:
            barrier.wait(timeout=WAIT_SECONDS)
            won.append(client.put_new(key, f"writer {writer}".encode() * 1000))
        return won

    outcomes = together(WRITERS, create)
    for number, key in enumerate(rounds):
        winners = [writer for writer in range(WRITERS) if outcomes[writer][number]]
        assert len(winners) == 1, key
        found = store.get(key)
        assert found is not None
        assert found.data == f"writer {winners[0]}".encode() * 1000


def test_one_of_eight_concurrent_replacers_wins_each_round(store: Store, open_again: Open) -> None:
    barrier = Barrier(WRITERS)
    store.put_new(layout.TIMESTAMP, b"0")

    def replace(writer: int) -> list[str | None]:
        client, tokens = open_again(), []
        for number in range(ROUNDS):
            barrier.wait(timeout=WAIT_SECONDS)
            found = client.get(layout.TIMESTAMP)
            assert found is not None
            barrier.wait(timeout=WAIT_SECONDS)
            body = f"{number} of writer {writer}".encode()
            tokens.append(client.replace_if(layout.TIMESTAMP, body, found.token))
        return tokens

    outcomes = together(WRITERS, replace)
    for number in range(ROUNDS):
        (winner,) = [writer for writer in range(WRITERS) if outcomes[writer][number] is not None]
    found = store.get(layout.TIMESTAMP)
    assert found is not None
    assert found.data == f"{ROUNDS - 1} of writer {winner}".encode()
    assert found.token == outcomes[winner][-1]


def test_counter_of_eight_writers_loses_no_increment(store: Store, open_again: Open) -> None:
    store.put_new(layout.TIMESTAMP, b"0")

    def count(writer: int) -> None:
        client, done = open_again(), 0
        while done < INCREMENTS:
            found = client.get(layout.TIMESTAMP)
            assert found is not None
            following = str(int(found.data) + 1).encode()
            done += client.replace_if(layout.TIMESTAMP, following, found.token) is not None

    together(WRITERS, count)
    found = store.get(layout.TIMESTAMP)
    assert found is not None
    assert int(found.data) == WRITERS * INCREMENTS


def test_readers_see_the_old_object_or_the_new_one(store: Store, open_again: Open) -> None:
    def body(version: int) -> bytes:
        return f"{version:08d}".encode() * (1000 + 500 * (version % 20))

    store.put_new(layout.TIMESTAMP, body(0))
    finished = Event()

    def write() -> int:
        try:
            found = store.get(layout.TIMESTAMP)
            assert found is not None
            token: str | None = found.token
            for version in range(1, VERSIONS):
                assert token is not None
                token = store.replace_if(layout.TIMESTAMP, body(version), token)
        finally:
            finished.set()
        return 0

    def read() -> int:
        client, seen, last = open_again(), 0, 0
        while not finished.is_set() or not seen:
            found = client.get(layout.TIMESTAMP)
            assert found is not None
            version = int(found.data[:8])
            assert found.data == body(version)
            assert version >= last
            seen, last = seen + 1, version
        return seen

    seen = together(4, lambda number: read() if number else write())
    assert all(seen[1:])
    assert next(store.list(layout.TIMESTAMP)).size == len(body(VERSIONS - 1))


def test_token_belongs_to_the_bytes_it_was_read_with(store: Store, open_again: Open) -> None:
    """Were they of different moments, a replace would overwrite what its caller never saw."""
    store.put_new(layout.TIMESTAMP, b"0")

    def chain(writer: int) -> list[tuple[bytes, bytes]]:
        client, links = open_again(), []
        for step in range(25):
            found = client.get(layout.TIMESTAMP)
            assert found is not None
            own = f"{writer}.{step}".encode()
            if client.replace_if(layout.TIMESTAMP, own, found.token) is not None:
                links.append((found.data, own))
        return links

    links = [link for chain_of_one in together(4, chain) for link in chain_of_one]
    before = [old for old, _ in links]
    assert len(set(before)) == len(before), "two replaces of the same object"
    assert {old for old, _ in links} - {new for _, new in links} == {b"0"}


def test_object_being_created_is_missing_or_whole(store: Store, open_again: Open) -> None:
    body, finished = b"x" * 200_000, Event()
    names = [f"private/new/{number}" for number in range(40)]

    def write() -> int:
        try:
            return sum(store.put_new(key, body) for key in names)
        finally:
            finished.set()

    def read() -> int:
        client, seen = open_again(), 0
        while not finished.is_set():
            for listed in client.list("private/new/"):
                assert listed.size == len(body)
            for key in names:
                found = client.get(key)
                assert found is None or found.data == body
                seen += found is not None
        return seen

    outcomes = together(3, lambda number: read() if number else write())
    assert outcomes[0] == len(names)
