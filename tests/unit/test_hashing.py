"""Entry hashes and the hash key (docs/spec.md, "Hashed feed")."""

import hashlib
import random

import pytest

from blocklist.core.errors import InputError
from blocklist.core.hashing import (
    ENTRY_HASH_BYTES,
    HOST_TAG_BYTES,
    ITEM_TAG_BYTES,
    EntryHasher,
    HashKey,
    hash_lines,
)

KEY = HashKey(bytes(range(32)))


def reference_hash(line: bytes, secret: bytes) -> bytes:
    """What the specification says, word for word."""
    host = line[2:].split(b"/")[0]
    return (
        hashlib.blake2b(host, digest_size=6, key=secret, person=b"blocklist-host-1").digest()
        + hashlib.blake2b(line, digest_size=10, key=secret, person=b"blocklist-item-1").digest()
    )


@pytest.mark.parametrize(
    "line",
    [
        b"h example.com",
        b"d example.com",
        b"u example.com/",
        b"u example.com/a/b?c=/d",
        b"p example.com/a",
        b"h 192.0.2.1",
        b"u [2001:db8::1]/x",
    ],
)
def test_an_entry_hash_is_host_tag_then_item_tag(line: bytes) -> None:
    assert EntryHasher(KEY).entry_hash(line) == reference_hash(line, KEY.secret)


def test_the_host_part_is_the_host_tag() -> None:
    hasher = EntryHasher(KEY)
    tag = hasher.host_tag("example.com")
    assert len(tag) == HOST_TAG_BYTES
    for line in (b"h example.com", b"d example.com", b"u example.com/a?b"):
        assert hasher.entry_hash(line)[:HOST_TAG_BYTES] == tag
        assert len(hasher.entry_hash(line)) == HOST_TAG_BYTES + ITEM_TAG_BYTES


def test_a_hasher_is_not_changed_by_use() -> None:
    hasher = EntryHasher(KEY)
    first = hasher.entry_hash(b"h example.com")
    hasher.host_tag("example.org")
    assert hasher.entry_hash(b"h example.com") == first


def test_kinds_of_one_host_differ_in_the_item_tag() -> None:
    hashes = {EntryHasher(KEY).entry_hash(b"%c example.com" % letter) for letter in b"hd"}
    assert len({value[:HOST_TAG_BYTES] for value in hashes}) == 1
    assert len(hashes) == 2


def test_another_key_gives_other_hashes() -> None:
    other = EntryHasher(HashKey(bytes(32)))
    assert other.host_tag("example.com") != EntryHasher(KEY).host_tag("example.com")


def test_the_key_id_is_a_digest_of_the_key() -> None:
    expected = hashlib.sha256(b"blocklist hash key id 1\n" + KEY.secret).hexdigest()
    assert KEY.id == expected


def test_a_key_is_never_printed() -> None:
    for text in (repr(KEY), str(KEY), f"{KEY}"):
        assert KEY.hex() not in text
        assert repr(KEY.secret) not in text


def test_hex_round_trip() -> None:
    assert HashKey.from_hex(KEY.hex()) == KEY


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33)])
def test_a_key_of_another_length_is_refused(secret: bytes) -> None:
    with pytest.raises(InputError, match="32 bytes"):
        HashKey(secret)


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, "0" * 63, "é" * 64])
def test_what_is_not_64_hex_digits_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(InputError) as caught:
        HashKey.from_hex(text)
    assert len(text) < 3 or text not in str(caught.value)
    assert caught.value.__cause__ is None


def test_hash_lines_are_sorted_and_unique() -> None:
    lines = [b"h host-%d.example" % (number % 500) for number in range(1000)]
    expected = sorted({reference_hash(line, KEY.secret) for line in lines})
    assert hash_lines(lines, KEY) == b"".join(expected)
    assert hash_lines(reversed(lines), KEY) == b"".join(expected)


def test_no_lines_give_the_empty_list() -> None:
    assert hash_lines([], KEY) == b""


def test_nul_bytes_anywhere_neither_reorder_nor_merge_hashes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = random.Random(16)
    hashes = [bytes(rng.choice((0, 0, 0, 1, 127, 255)) for _ in range(16)) for _ in range(5000)]
    hashes += [bytes(16), b"\1" + bytes(15), bytes(15) + b"\1", b"\1" * 15 + b"\0", b"\1" * 16]
    # Lines here stand for their own hashes.
    monkeypatch.setattr(EntryHasher, "entry_hashes", lambda self, lines: iter(lines))
    made = hash_lines(hashes, KEY)
    assert len(made) % ENTRY_HASH_BYTES == 0
    assert made == b"".join(sorted(set(hashes)))


def test_known_hashes_do_not_change() -> None:
    hasher = EntryHasher(KEY)
    assert KEY.id == "2c8ed7c3438c7ca0448d4026beb05ee12311531b8439b73c22e43611e3348d67"
    assert hasher.host_tag("example.com").hex() == "2ce5d0d37054"
    assert hasher.entry_hash(b"h example.com").hex() == "2ce5d0d370542ad0e5638e37e1e1ce22"
    assert hasher.entry_hash(b"u example.com/a?b").hex() == "2ce5d0d37054cbf1b29ba1aef9571cd2"
