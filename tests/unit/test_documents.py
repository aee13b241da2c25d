"""Documents in JSON: what is refused before and after parsing; secrets of a list among them."""

import json
import tracemalloc

import pytest

from blocklist.core import documents
from blocklist.core.entries import Feed
from blocklist.core.errors import MalformedFeed
from blocklist.core.hashing import HashKey
from blocklist.core.private import ListSecret
from blocklist.core.update import Update

SECRET = ListSecret("demo", "test-entry.demo.example", (HashKey(bytes(32)),))


def padded(count: int, part: bytes = b"{},") -> bytes:
    return b'{"x":[' + part * count + b"{}]}"


def test_many_small_values_are_refused_before_they_become_objects() -> None:
    for part in (b"{},", b"[],", b'"",', b'{"":0},'):
        data = padded(2 * documents.MAX_MARKS, part)
        tracemalloc.start()
        try:
            with pytest.raises(MalformedFeed, match="parts"):
                documents.parse("a test", data)
            assert tracemalloc.get_traced_memory()[1] < 100_000
        finally:
            tracemalloc.stop()


def test_the_number_of_parts_is_counted_to_the_last() -> None:
    data = padded(100)
    marks = 100 * 2 + 3
    documents.parse("a test", data, max_marks=marks)
    documents.parse("a test", data, max_marks=None)
    with pytest.raises(MalformedFeed):
        documents.parse("a test", data, max_marks=marks - 1)


def test_a_very_large_update_has_a_tenth_of_the_parts_that_are_allowed() -> None:
    """Every root of an update, every hop, each with many keys and deltas."""
    target = {"custom": None, "hashes": {"sha256": "0" * 64}, "length": 1}
    signatures = [{"keyid": "0" * 64, "sig": "0" * 128}] * 5
    role = {"signatures": signatures, "signed": {"targets": dict.fromkeys("abcdefghijkl", target)}}
    root = {"signatures": signatures}
    files = {f"{n}.demo.json": json.dumps(role).encode() for n in range(32)}
    files |= {f"{n}.root.json": json.dumps(root).encode() for n in range(256)}
    update = Update("demo", Feed.CLEAR, 1, files, {"0" * 64: bytes(2**20)})
    data = update.to_bytes()
    assert Update.from_bytes(data) == update
    documents.parse("an update", data, max_marks=documents.MAX_MARKS // 10)


def test_text_that_utf8_cannot_hold_is_refused() -> None:
    document = documents.parse("a test", b'{"a": "\\ud800", "b": "\\ud83d\\ude00"}')
    assert documents.field(document, "b", str) == "\N{GRINNING FACE}"
    with pytest.raises(MalformedFeed, match="surrogate"):
        documents.field(document, "a", str)


def test_the_secrets_of_a_list_come_back() -> None:
    assert ListSecret.from_bytes(SECRET.to_bytes()) == SECRET


@pytest.mark.parametrize(
    "changes",
    [
        {"hash_keys": [{"key": "00" * 31}]},
        {"hash_keys": [{"key": "zz" * 32}]},
        {"hash_keys": [{"key": 7}]},
        {"hash_keys": ["00" * 32]},
        {"hash_keys": []},
        {"test_host": "b\u00fccher.example"},
        {"test_host": "A.example"},
        {"test_host": "a.example/"},
        {"test_host": "a.example:80"},
        {"test_host": "\ud800"},
        {"test_host": ""},
    ],
)
def test_damaged_secrets_are_malformed(changes: dict[str, object]) -> None:
    data = json.dumps({**json.loads(SECRET.to_bytes()), **changes}).encode()
    with pytest.raises(MalformedFeed) as caught:
        ListSecret.from_bytes(data)
    assert "zz" not in str(caught.value)
