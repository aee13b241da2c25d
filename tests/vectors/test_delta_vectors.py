"""delta.json: what any implementation of the delta formats must make of these bytes."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blocklist.core import delta
from blocklist.core.entries import Feed
from blocklist.core.errors import MalformedFeed, UnknownFormat
from blocklist.core.hashing import EntryHasher, HashKey, hash_lines
from blocklist.core.listbytes import encode_clear

DOCUMENT: dict[str, Any] = json.loads(Path(__file__).with_name("delta.json").read_text("ascii"))
EXAMPLE = DOCUMENT["worked_example"]
OUTCOMES = {"ok", "malformed", "unknown-format"}
FIELDS = {"name", "feed", "old", "delta", "expect", "new", "canonical", "max_bytes"}
DEFAULT_MAX_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Vector:
    name: str
    feed: Feed
    old: bytes
    delta: bytes
    expect: str
    new: bytes | None
    canonical: bool
    max_bytes: int


def list_bytes(feed: Feed, text: str) -> bytes:
    return text.encode("ascii") if feed is Feed.CLEAR else bytes.fromhex(text)


def read(record: dict[str, Any]) -> Vector:
    feed = Feed(record["feed"])
    return Vector(
        name=record["name"],
        feed=feed,
        old=list_bytes(feed, record["old"]),
        delta=bytes.fromhex(record["delta"]),
        expect=record["expect"],
        new=list_bytes(feed, record["new"]) if "new" in record else None,
        canonical=record.get("canonical", False),
        max_bytes=record.get("max_bytes", DEFAULT_MAX_BYTES),
    )


VECTORS = [read(record) for record in DOCUMENT["vectors"]]


def outcome(vector: Vector) -> tuple[str, bytes | None]:
    try:
        new = delta.apply(vector.feed, vector.old, vector.delta, max_bytes=vector.max_bytes)
    except MalformedFeed:
        return "malformed", None
    except UnknownFormat:
        return "unknown-format", None
    return "ok", new


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_the_outcome_is_the_expected_one(vector: Vector) -> None:
    assert outcome(vector) == (vector.expect, vector.new)


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS if v.canonical], ids=lambda vector: vector.name
)
def test_the_encoder_gives_the_canonical_bytes(vector: Vector) -> None:
    assert vector.new is not None
    assert delta.encode(vector.feed, vector.old, vector.new) == vector.delta


def test_outcomes_and_fields_are_a_closed_set() -> None:
    assert {vector.expect for vector in VECTORS} == OUTCOMES
    assert all(set(record) <= FIELDS for record in DOCUMENT["vectors"])
    assert all((vector.expect == "ok") == (vector.new is not None) for vector in VECTORS)
    assert len({vector.name for vector in VECTORS}) == len(VECTORS)


def test_every_feed_has_every_outcome() -> None:
    assert {(v.feed, v.expect) for v in VECTORS} == {(f, o) for f in Feed for o in OUTCOMES}


@pytest.mark.parametrize("version", EXAMPLE["versions"], ids=lambda v: f"version-{v['version']}")
def test_the_worked_example_from_lines_to_digests(version: dict[str, Any]) -> None:
    key = HashKey.from_hex(EXAMPLE["hash_key"])
    lines = [line.encode("ascii") for line in version["lines"]]
    assert key.id == EXAMPLE["hash_key_id"]
    assert version["entry_hashes"] == {
        line.decode("ascii"): EntryHasher(key).entry_hash(line).hex() for line in lines
    }
    digests = {
        Feed.CLEAR: hashlib.sha256(encode_clear(lines)).hexdigest(),
        Feed.HASHED: hashlib.sha256(hash_lines(lines, key)).hexdigest(),
    }
    assert digests[Feed.CLEAR] == version["clear_sha256"]
    assert digests[Feed.HASHED] == version["hashed_sha256"]


@pytest.mark.parametrize("feed", Feed)
def test_the_worked_example_from_deltas_to_digests(feed: Feed) -> None:
    """The two `worked example` vectors, applied one after the other, give both versions."""
    steps = [v for v in VECTORS if v.feed is feed and "worked example" in v.name]
    held = b""
    for step, version in zip(steps, EXAMPLE["versions"], strict=True):
        held = delta.apply(feed, held, step.delta, max_bytes=DEFAULT_MAX_BYTES)
        assert hashlib.sha256(held).hexdigest() == version[f"{feed}_sha256"]
