"""The canonical-URL vectors, on the oracle and on the fast path.

The file is data for other implementations too, so its shape is closed: an unknown key, a
second input or an outcome other than `url` and `error` fails here.
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from blocklist.core.canonical import canonical_host, canonical_url, split_url
from blocklist.core.canonical_rules import (
    REASONS,
    Parts,
    canonical_host_by_rules,
    split_url_by_rules,
)
from blocklist.core.errors import BadUrl, UrlLimit

FILE = Path(__file__).with_name("canonical.json")
DOCUMENT = json.loads(FILE.read_text("utf-8"))
VECTORS = DOCUMENT["vectors"]
SOURCES = {"published", "published-v5", "go", "own"}
INPUTS = {"text", "hex", "repeat"}

Split = Callable[[str | bytes], Parts]
SPLITTERS = pytest.mark.parametrize("split", [split_url_by_rules, split_url], ids=["rules", "fast"])


def input_of(vector: dict) -> str | bytes:
    if "hex" in vector:
        return bytes.fromhex(vector["hex"])
    if "text" in vector:
        return vector["text"]
    pieces = vector["repeat"]
    return "".join(text * times for text, times in zip(pieces[::2], pieces[1::2], strict=True))


def as_url(parts: Parts) -> str:
    host, path, query = parts
    return f"http://{host}{path}" + ("" if query is None else f"?{query}")


def outcome(split: Split, url: str | bytes) -> dict[str, str]:
    try:
        return {"expect": "url", "url": as_url(split(url))}
    except BadUrl as error:
        return {"expect": "error", "error": error.code}


def host_in_parts(url: str | bytes) -> str:
    """Return the host as `split_url_by_rules` has it; all vectors beyond a limit have one host."""
    try:
        return split_url_by_rules(url)[0]
    except UrlLimit:
        return "example.com"


def answer(host_of: Callable[[str | bytes], str], url: str | bytes) -> str:
    try:
        return host_of(url)
    except BadUrl as error:
        return error.code


@pytest.mark.parametrize("vector", VECTORS, ids=range(len(VECTORS)))
def test_shape_is_closed(vector: dict) -> None:
    assert len(INPUTS & vector.keys()) == 1
    assert vector["source"] in SOURCES
    answer = {"url": "url", "error": "error"}[vector["expect"]]
    assert vector.keys() - INPUTS - {"note"} == {"source", "expect", answer}
    assert answer == "url" or vector["error"] in REASONS


def test_document_holds_nothing_else() -> None:
    assert DOCUMENT.keys() == {"about", "canonical", "vectors"}
    assert DOCUMENT["canonical"] == 1


def test_no_input_is_there_twice_within_a_source() -> None:
    seen = Counter((vector["source"], input_of(vector)) for vector in VECTORS)
    assert [url for url, times in seen.items() if times > 1] == []


def test_every_error_but_bad_encoding_has_a_vector() -> None:
    """A lone surrogate cannot be written in JSON that other languages must read."""
    seen = {vector["error"] for vector in VECTORS if vector["expect"] == "error"}
    assert seen == REASONS.keys() - {"bad-encoding"}


@SPLITTERS
@pytest.mark.parametrize("vector", VECTORS, ids=range(len(VECTORS)))
def test_vector(vector: dict, split: Split) -> None:
    expected = {key: vector[key] for key in ("expect", "url", "error") if key in vector}
    assert outcome(split, input_of(vector)) == expected


@SPLITTERS
@pytest.mark.parametrize("vector", VECTORS, ids=range(len(VECTORS)))
def test_vector_as_bytes(vector: dict, split: Split) -> None:
    """Text and its UTF-8 bytes, raw or as `surrogateescape` gives them, are the same URL."""
    url = input_of(vector)
    data = url.encode() if isinstance(url, str) else url
    expected = {key: vector[key] for key in ("expect", "url", "error") if key in vector}
    assert outcome(split, data) == expected
    assert outcome(split, data.decode("ascii", "surrogateescape")) == expected


@pytest.mark.parametrize("host_of", [canonical_host_by_rules, canonical_host])
def test_host_alone(host_of: Callable[[str | bytes], str]) -> None:
    """The host is what the URL's parts begin with, and is known where only a limit is hit."""
    for vector in VECTORS:
        url = input_of(vector)
        assert answer(host_of, url) == answer(host_in_parts, url)


def test_canonical_urls_are_their_own_canonical_url() -> None:
    for vector in VECTORS:
        if vector["expect"] == "url":
            assert canonical_url(vector["url"]) == vector["url"]
