"""The worked example: made again, equal to the text of docs/spec.md, and read by a second client.

The second client below is written from docs/spec.md alone, in plain Python, without a line of ours;
section numbers are those of that document.
"""

import gzip
import hashlib
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import brotli
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "tests" / "vectors" / "example"
FACTS: dict[str, Any] = json.loads((EXAMPLE / "example.json").read_text("utf-8"))
SPEC = (REPOSITORY / "docs" / "spec.md").read_text("utf-8")
FENCE = re.compile(r"^```(\S+)(?: (\S[^\n]*))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
BLOCKS = [(kind, name, body) for kind, name, body in FENCE.findall(SPEC) if name]
FEEDS = ("clear", "hashed")


# The example itself.


def test_making_it_again_gives_the_stored_bytes() -> None:
    vectors = _script("vectors")
    stored = vectors.read_stored()
    made = vectors.make(stored)
    assert sorted(made) == sorted(stored)
    assert [name for name in made if made[name] != stored[name]] == []


def test_without_the_stored_streams_all_but_compressed_bytes_is_equal() -> None:
    """Another compressor changes clear deltas, records, and the metadata that names them only."""
    vectors = _script("vectors")
    made = vectors.make({})
    stored = vectors.read_stored()
    named_by_content = [name for name in stored if "/hashed/" in name or name.endswith(".list")]
    assert named_by_content
    assert all(made[name] == stored[name] for name in named_by_content)


def test_a_changed_file_is_named_and_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = _script("vectors")
    for name, data in vectors.read_stored().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    monkeypatch.setattr(vectors, "DIRECTORY", tmp_path)
    altered, surplus = tmp_path / "feed/metadata/2.demo.json", tmp_path / "feed/metadata/9.x.json"
    original = altered.read_bytes()
    altered.write_bytes(b"{}")
    surplus.write_bytes(b"{}")
    assert vectors.main() == 1
    assert "feed/metadata/2.demo.json" in capsys.readouterr().out
    assert altered.read_bytes() == original
    assert not surplus.exists()
    assert vectors.main() == 0


def test_objects_are_what_their_names_say() -> None:
    objects = [path for path in (EXAMPLE / "feed" / "targets").rglob("*") if path.is_file()]
    assert objects
    for path in objects:
        assert path.name.split(".")[0] == _sha256(path.read_bytes())


def test_records_are_what_signed_metadata_names() -> None:
    for version in FACTS["versions"]:
        custom = _role(version["version"])["targets"]["demo/clear/list"]["custom"]
        data = (EXAMPLE / f"private/records/demo/{custom['record']}.json.gz").read_bytes()
        assert _sha256(data) == custom["record"]
        record = json.loads(gzip.decompress(data))
        assert record["digests"] == {f: version["feeds"][f]["sha256"] for f in FEEDS}
        assert record["base"] == custom.get("prev")


def test_the_enrolment_pins_the_first_root() -> None:
    enrolment = json.loads((EXAMPLE / "enrolment.json").read_text("utf-8"))
    assert enrolment["root"].encode() == (EXAMPLE / "feed/metadata/1.root.json").read_bytes()
    assert enrolment["lists"][0]["hash_keys"][0]["id"] == FACTS["hash_key_id"]


# The text of the specification.


@pytest.mark.parametrize(("kind", "name", "body"), BLOCKS, ids=[name for _, name, _ in BLOCKS])
def test_every_block_of_the_specification_is_what_it_shows(kind: str, name: str, body: str) -> None:
    if kind == "hex":
        shown = bytes.fromhex(re.sub(r"#.*|\s", "", body))
        assert shown == (EXAMPLE / name).read_bytes()
    elif kind == "json":
        assert json.loads(body) == json.loads((EXAMPLE / name).read_bytes())
    elif name.startswith("source "):
        assert body == FACTS["sources"][name.removeprefix("source ")]
    elif name.startswith("list clear "):
        assert body.encode() == _list_bytes("clear", int(name.split()[2]))
    elif name == "hashes":
        shown_hashes = {line[35:]: line[:33].replace(" ", "") for line in body.splitlines()}
        assert shown_hashes == FACTS["entry_hashes"]
    else:
        assert name == "raw"
        codes, _, rest = body.partition("\n")
        assert bytes.fromhex(codes) + rest.encode() == _raw_of_first_delta()


def test_the_specification_has_the_blocks_that_prove_it() -> None:
    assert {kind for kind, _, _ in BLOCKS} == {"hex", "json", "text"}
    assert len(BLOCKS) == 15


def test_every_digest_in_the_specification_belongs_to_the_example() -> None:
    known = {_sha256(path.read_bytes()) for path in EXAMPLE.rglob("*") if path.is_file()}
    for path in EXAMPLE.rglob("*.json"):
        known |= set(DIGEST.findall(path.read_text("utf-8")))
    shown = set(DIGEST.findall(SPEC))
    assert shown
    assert shown - known == set()


def test_every_verdict_in_the_specification_is_that_of_the_example() -> None:
    rows = re.findall(
        r"^\| `(http[^`]*)`( and [\d,]+ times `a`)? \| ([a-z ]+?)(?: \(`([a-z-]+)`\))? \|$",
        SPEC,
        re.MULTILINE,
    )
    shown = [(url, bool(padded), verdict, code) for url, padded, verdict, code in rows]
    facts = [
        (check["url"], "then_a" in check, check["verdict"], check.get("code", ""))
        for check in FACTS["checks"]
    ]
    assert shown == facts


# Section 7.2, with nothing but hashlib.


def test_entry_hashes_are_two_keyed_blake2b() -> None:
    key = bytes.fromhex(FACTS["hash_key"])
    for line, expected in FACTS["entry_hashes"].items():
        assert _entry_hash(key, line).hex() == expected


def test_the_hash_key_id_is_a_plain_digest() -> None:
    key = bytes.fromhex(FACTS["hash_key"])
    assert _sha256(b"blocklist hash key id 1\n" + key) == FACTS["hash_key_id"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_hashed_list_bytes_are_the_sorted_entry_hashes(number: int) -> None:
    key = bytes.fromhex(FACTS["hash_key"])
    lines = FACTS["versions"][number - 1]["lines"]
    assert b"".join(sorted(_entry_hash(key, line) for line in lines)) == _list_bytes(
        "hashed", number
    )


# The second client: metadata (section 11), objects and ladder (sections 8 and 9).


def test_the_second_client_finds_and_verifies_version_3() -> None:
    root = _signed("1.root.json")
    _verify("1.root.json", root["keys"], root["roles"]["root"])
    stamp = _verified_top("timestamp.json", root)
    snapshot_meta = stamp["meta"]["snapshot.json"]
    snapshot = _verified_top(f"{snapshot_meta['version']}.snapshot.json", root, snapshot_meta)
    targets_meta, demo_meta = snapshot["meta"]["targets.json"], snapshot["meta"]["demo.json"]
    targets = _verified_top(f"{targets_meta['version']}.targets.json", root, targets_meta)
    delegation = targets["delegations"]["roles"][0]
    assert delegation["paths"] == ["demo/clear/*", "demo/hashed/*"]
    demo = f"{demo_meta['version']}.demo.json"
    _named(demo, demo_meta)
    _verify(demo, targets["delegations"]["keys"], delegation)
    assert _signed(demo)["version"] == 3


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("held", [0, 1, 2])
def test_the_second_client_walks_to_version_3(feed: str, held: int) -> None:
    old = _list_bytes(feed, held) if held else b""
    assert _walk(feed, held, old) == _list_bytes(feed, 3)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_role_names_the_digest_of_the_one_before(number: int) -> None:
    prev = _role(number)["targets"]["demo/clear/list"]["custom"].get("prev")
    if number == 1:
        assert prev is None
    else:
        before = (EXAMPLE / f"feed/metadata/{number - 1}.demo.json").read_bytes()
        assert prev == {"version": number - 1, "sha256": _sha256(before)}


def _walk(feed: str, held: int, data: bytes) -> bytes:
    """Section 9.2; from nothing, the snapshot first (9.3)."""
    targets = _role(3)["targets"]
    if held == 0:
        snapshot = targets[f"demo/{feed}/snapshot"]
        data, held = (
            _apply(feed, data, _object(feed, "snapshot", snapshot)),
            snapshot["custom"]["version"],
        )
    hops: list[tuple[int, int]] = []
    at = 3
    while at != held:
        names = [n for n in _role(at)["targets"] if n.startswith(f"demo/{feed}/delta-")]
        start = min(f for f in (int(n.rpartition("-")[2]) for n in names) if f >= held)
        hops.insert(0, (start, at))
        at = start
    for start, to in hops:
        name = f"delta-{start}"
        data = _apply(feed, data, _object(feed, name, _role(to)["targets"][f"demo/{feed}/{name}"]))
    named = targets[f"demo/{feed}/list"]
    assert (len(data), _sha256(data)) == (named["length"], named["hashes"]["sha256"])
    return data


def _apply(feed: str, old: bytes, delta: bytes) -> bytes:
    """Section 8.2 to 8.4, without the checks that only hostile bytes need."""
    assert delta[:4] == {"hashed": b"BLH1", "clear": b"BLC1"}[feed]
    n_old, removed, added = (int.from_bytes(delta[at : at + 4], "big") for at in (4, 8, 12))
    if feed == "hashed":
        items = [old[at : at + 16] for at in range(0, len(old), 16)]
        gone, at = _rice(delta, 16, removed, strict=True)
        heads, at = _rice(delta, at, added, strict=False)
        tails = [delta[at + 12 * i : at + 12 * i + 12] for i in range(added)]
        assert at + 12 * added == len(delta)
        new = [head.to_bytes(4, "big") + tail for head, tail in zip(heads, tails, strict=True)]
    else:
        items = old.splitlines(keepends=True)
        gone, at = _rice(delta, 20, removed, strict=True)
        raw = brotli.decompress(delta[at:])
        assert len(raw) == int.from_bytes(delta[16:20], "big")
        new, line = [], b""
        for shared, rest in zip(raw[:added], raw[added:].split(b"\n"), strict=False):
            line = line[:shared] + rest
            new.append(line + b"\n")
    assert len(items) == n_old
    kept = [item for index, item in enumerate(items) if index not in set(gone)]
    return b"".join(sorted(kept + new))


def _rice(data: bytes, at: int, count: int, *, strict: bool) -> tuple[list[int], int]:
    """Section 8.1."""
    if count == 0:
        return [], at
    k, length = data[at], int.from_bytes(data[at + 1 : at + 5], "big")
    at += 5
    low_at, low_bytes = at + length, (count * k + 7) // 8
    unary = _bits(data[at:low_at]).split("1")
    assert len(unary) == count + 1
    low = _bits(data[low_at : low_at + low_bytes])
    values, value = [], -1 if strict else 0
    for index in range(count):
        remainder = int(low[index * k : index * k + k] or "0", 2)
        value += (len(unary[index]) << k) + remainder + (1 if strict else 0)
        values.append(value)
    return values, low_at + low_bytes


def _bits(data: bytes) -> str:
    return "".join(f"{byte:08b}" for byte in data)


def _entry_hash(key: bytes, line: str) -> bytes:
    host = line[2:].split("/")[0].encode()
    tag = hashlib.blake2b(host, key=key, digest_size=6, person=b"blocklist-host-1")
    item = hashlib.blake2b(line.encode(), key=key, digest_size=10, person=b"blocklist-item-1")
    return tag.digest() + item.digest()


def _verified_top(name: str, root: dict[str, Any], meta: dict[str, Any] | None = None) -> Any:
    signed = _signed(name)
    if meta is not None:
        _named(name, meta)
    _verify(name, root["keys"], root["roles"][signed["_type"]])
    return signed


def _named(name: str, meta: dict[str, Any]) -> None:
    data = (EXAMPLE / "feed" / "metadata" / name).read_bytes()
    assert (len(data), _sha256(data)) == (meta["length"], meta["hashes"]["sha256"])
    assert _signed(name)["version"] == meta["version"]


def _verify(name: str, keys: dict[str, Any], role: dict[str, Any]) -> None:
    """Verify a threshold of signatures, over canonical JSON (ASCII here: plain sorted JSON)."""
    document = json.loads((EXAMPLE / "feed" / "metadata" / name).read_bytes())
    message = json.dumps(document["signed"], sort_keys=True, separators=(",", ":")).encode()
    signers = set()
    for signature in document["signatures"]:
        public = bytes.fromhex(keys[signature["keyid"]]["keyval"]["public"])
        Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(signature["sig"]), message)
        signers.add(signature["keyid"])
    assert len(signers & set(role["keyids"])) >= role["threshold"]


def test_key_ids_and_seeds_are_those_of_the_metadata() -> None:
    keys = _signed("1.root.json")["keys"] | _signed("2.targets.json")["delegations"]["keys"]
    for name, seed in FACTS["seeds"].items():
        assert _sha256(f"blocklist example key {name}".encode()) == seed
        public = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)).public_key()
        key = keys[FACTS["key_ids"][name]]
        assert key["keyval"]["public"] == public.public_bytes_raw().hex()
        canonical = json.dumps(key, sort_keys=True, separators=(",", ":")).encode()
        assert _sha256(canonical) == FACTS["key_ids"][name]


def _object(feed: str, name: str, target: dict[str, Any]) -> bytes:
    digest = target["hashes"]["sha256"]
    data = (EXAMPLE / f"feed/targets/demo/{feed}/{digest}.{name}").read_bytes()
    assert (len(data), _sha256(data)) == (target["length"], digest)
    return data


def _list_bytes(feed: str, number: int) -> bytes:
    digest = FACTS["versions"][number - 1]["feeds"][feed]["sha256"]
    return (EXAMPLE / f"feed/targets/demo/{feed}/{digest}.list").read_bytes()


def _raw_of_first_delta() -> bytes:
    name = FACTS["versions"][1]["feeds"]["clear"]["deltas"]["1"]
    data = (EXAMPLE / "feed" / "targets" / "demo" / "clear" / name).read_bytes()
    _, at = _rice(data, 20, 2, strict=True)
    return bytes(brotli.decompress(data[at:]))


def _role(number: int) -> Any:
    return _signed(f"{number}.demo.json")


def _signed(name: str) -> Any:
    return json.loads((EXAMPLE / "feed" / "metadata" / name).read_bytes())["signed"]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
