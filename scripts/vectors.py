"""Make the worked example of docs/spec.md again: `tests/vectors/example/`, a tiny repository.

    python -m scripts.vectors

Everything that is random elsewhere is fixed here (keys, hash key, token, times), and the rest is
the product's own code, so that a second run gives equal bytes. What differs from the stored files
is named, written, and ends with exit code 1. The files that the specification shows as JSON are
written there as well.

Two things may differ for good reasons: the brotli streams of the clear feed and the gzip streams of
records come from compressors whose output changes between releases. A stored stream that holds
exactly the same bytes is therefore used again instead of a new one.

The secrets below are published with the example. They protect nothing.
"""

import gzip
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import brotli
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from securesystemslib.signer import SSlibKey

from blocklist.core import delta_clear, documents, listbytes, matching, rice
from blocklist.core.canonical import canonical_url
from blocklist.core.delta_header import HEADER_BYTES, Header
from blocklist.core.enrolment import EnrolledList, Enrolment, SourceUrl
from blocklist.core.entries import Feed
from blocklist.core.errors import BadUrl, Undecided
from blocklist.core.hashing import EntryHasher, HashKey
from blocklist.core.private import ListSecret
from blocklist.publisher import publish, start
from blocklist.publisher.archive import Archive
from blocklist.publisher.home import Home
from blocklist.publisher.repository import Repository
from blocklist.publisher.request import Options, read_request
from blocklist.store import layout
from blocklist.store.directory import DirectoryStore

DIRECTORY = Path(__file__).resolve().parent.parent / "tests" / "vectors" / "example"
SPECIFICATION = DIRECTORY.parents[2] / "docs" / "spec.md"
JSON_BLOCK = re.compile(r"^```json (\S+)\n.*?^```$", re.MULTILINE | re.DOTALL)
FACTS = "example.json"
ENROLMENT = "enrolment.json"

LIST = "demo"
TEST_HOST = "test-entry.demo.example"
KEY_NAMES = ("root-1", "root-2", "root-3", "targets", "online", "list-demo")
SEEDS = {
    name: hashlib.sha256(f"blocklist example key {name}".encode()).digest() for name in KEY_NAMES
}
HASH_KEY = HashKey(hashlib.sha256(b"blocklist example hash key").digest())
TOKEN = "example-token-that-opens-nothing"

STARTED = datetime(2026, 1, 5, 9, 0, 0, tzinfo=UTC)
RELEASED = (
    datetime(2026, 1, 5, 9, 30, 0, tzinfo=UTC),
    datetime(2026, 1, 6, 9, 30, 0, tzinfo=UTC),
    datetime(2026, 3, 6, 9, 30, 0, tzinfo=UTC),  # under half of the list's life left: signed again
)
CHECKED = datetime(2026, 3, 6, 12, 0, 0, tzinfo=UTC)  # when a client looks at the example

WHOLE = """\
# The first release: a whole list.
http://bad.example/gallery/one.html
http://bad.example/view?id=7
http://Bad.Example:80/%7Euser/../b/./c   # the port is dropped because --drop-ports was given
bad.example/dir/*
host.example
192.0.2.7
.spread.example
"""
ADD = """\
http://m\u00fcnchen.example/stra\u00dfe
files.example/set/*
http://[2001:DB8::1]/x
other.example
.wide.example
"""
REMOVE = """\
http://bad.example/view?id=7
192.0.2.7
"""
NOTHING = "# nothing changes: the release is signed again\n"

URLS = (
    "http://test-entry.demo.example/any/page",
    "http://sibling.test-entry.demo.example/any/page",
    "https://bad.example/gallery/one.html",
    "https://bad.example:8443/gallery/one.html?x=1#top",
    "http://bad.example/gallery/two.html",
    "http://bad.example/view?id=7",
    "http://bad.example/b/c",
    "http://bad.example/dir",
    "http://bad.example/dir/",
    "http://bad.example/dir/a/b?c",
    "http://bad.example/directory",
    "http://host.example/",
    "http://www.host.example/",
    "http://spread.example/",
    "http://a.b.c.d.e.f.spread.example/x",
    "http://nospread.example/",
    "http://M%C3%9CNCHEN.example/stra%C3%9Fe",
    "http://xn--mnchen-3ya.example/stra%c3%9fe",
    "http://[2001:db8:0:0::1]/x",
    "http://192.0.2.7/",
    "http://0xC0.0.2.7/",
    "http:///nothing",
)
LONG_URLS = ("http://bad.example/", "http://host.example/", "http://fine.example/")
PADDING = 8192  # times `a` after a long URL: its path is beyond the limit

Files = dict[str, bytes]


def main() -> int:
    """Write the example; return 1 when it is not what was stored."""
    stored = read_stored()
    made = make(stored)
    changed = sorted(
        name for name in made.keys() | stored.keys() if made.get(name) != stored.get(name)
    )
    for name in changed:
        write(name, made.get(name))
        print(f"differs from what was stored: {name}")
    show(made)
    print(f"{len(made)} files in {DIRECTORY.name}, {len(changed)} changed")
    return 1 if changed else 0


def show(made: Files) -> None:
    """Write the files that the specification shows as JSON into it."""

    def block(match: re.Match[str]) -> str:
        text = json.dumps(json.loads(made[match[1]]), indent=1, ensure_ascii=False)
        return f"```json {match[1]}\n{text}\n```"

    before = SPECIFICATION.read_text("utf-8")
    after = JSON_BLOCK.sub(block, before)
    if after != before:
        SPECIFICATION.write_text(after, "utf-8")


def read_stored() -> Files:
    """Return the stored example by relative name."""
    if not DIRECTORY.is_dir():
        return {}
    paths = [path for path in DIRECTORY.rglob("*") if path.is_file()]
    return {path.relative_to(DIRECTORY).as_posix(): path.read_bytes() for path in paths}


def make(stored: Mapping[str, bytes]) -> Files:
    """Return the example, with the stored compressed streams where they hold the same bytes."""
    with TemporaryDirectory() as scratch, _kept_streams(stored):
        storage = Path(scratch) / "storage"
        repository, clock = _repository(storage, Path(scratch) / "home")
        start.init_dev(repository)
        repository.store.put_new(
            layout.list_secret_key(LIST), ListSecret(LIST, TEST_HOST, (HASH_KEY,)).to_bytes()
        )
        start.create_list(repository, LIST, test_host=TEST_HOST)
        for moment, (whole, add, remove) in zip(RELEASED, _sources(), strict=True):
            clock.now = moment
            options = Options(drop_ports=whole is not None, reason="the worked example")
            publish.publish(repository, read_request(LIST, whole, add, remove, options))
        files = _files_of(storage)
        files[ENROLMENT] = _enrolment(files["feed/metadata/1.root.json"])
        files[FACTS] = _facts(repository)
    return files


def write(name: str, data: bytes | None) -> None:
    """Write or remove one file of the example."""
    path = DIRECTORY / name
    if data is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


class _Clock:
    """A clock that stands where it was set."""

    def __init__(self) -> None:
        self.now = STARTED

    def __call__(self) -> datetime:
        return self.now


def _repository(storage: Path, home: Path) -> tuple[Repository, _Clock]:
    """Return a publisher whose keys are those of the seeds."""
    folder = home / "keys"
    folder.mkdir(mode=0o700, parents=True)
    for name, seed in SEEDS.items():
        private = Ed25519PrivateKey.from_private_bytes(seed)
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        path.with_name(f"{name}.pub").write_bytes(public + b"\n")
    clock = _Clock()
    store = DirectoryStore(storage)
    return Repository(store, Home(home, _no_passphrase), clock, "example@publisher"), clock


def _no_passphrase(_: Path) -> bytes:
    raise AssertionError("the example's keys have no passphrase")


def _sources() -> Iterator[tuple[Any, list[tuple[str, bytes]], list[tuple[str, bytes]]]]:
    yield ("v1.txt", WHOLE.encode()), [], []
    yield None, [("add.txt", ADD.encode())], [("remove.txt", REMOVE.encode())]
    yield None, [("nothing.txt", NOTHING.encode())], []


def _files_of(storage: Path) -> Files:
    paths = [path for top in ("feed", "private") for path in (storage / top).rglob("*")]
    return {p.relative_to(storage).as_posix(): p.read_bytes() for p in paths if p.is_file()}


def _enrolment(root: bytes) -> bytes:
    """Return an enrolment for both feeds, as `subscriber add` writes it."""
    sources = (
        SourceUrl("https://lists.example"),
        SourceUrl("static+https://mirror.example/feed"),
    )
    item = EnrolledList(LIST, tuple(Feed), {HASH_KEY.id: HASH_KEY}, TEST_HOST)
    return Enrolment("isp", sources, TOKEN, root, {LIST: item}).to_bytes()


def _facts(repository: Repository) -> bytes:
    """Return inputs and derived facts as JSON."""
    archive = Archive(repository, repository.head([LIST]), LIST)
    versions = [_version(archive, number) for number in range(1, len(RELEASED) + 1)]
    lines = sorted({line for version in versions for line in version["lines"]})
    hasher = EntryHasher(HASH_KEY)
    document = {
        "about": "The worked example of docs/spec.md, made by scripts/vectors.py.",
        "list": LIST,
        "checked": documents.format_time(CHECKED),
        "seeds": {name: seed.hex() for name, seed in SEEDS.items()},
        "key_ids": {name: _key_id(seed) for name, seed in SEEDS.items()},
        "hash_key": HASH_KEY.hex(),
        "hash_key_id": HASH_KEY.id,
        "test_host": TEST_HOST,
        "sources": {"whole": WHOLE, "add": ADD, "remove": REMOVE},
        "versions": versions,
        "entry_hashes": {line: hasher.entry_hash(line.encode()).hex() for line in lines},
        "checks": [_check(url, 0, archive) for url in URLS]
        + [_check(url, PADDING, archive) for url in LONG_URLS],
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _version(archive: Archive, number: int) -> dict[str, Any]:
    content = {feed: archive.content(feed, number) for feed in Feed}
    return {
        "version": number,
        "created": documents.format_time(RELEASED[number - 1]),
        "role_sha256": archive.role(number).digest,
        "lines": [line.decode() for line in listbytes.clear_lines(content[Feed.CLEAR])],
        "feeds": {
            feed.value: {
                "length": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                "deltas": {
                    str(at): blob.file for at, blob in archive.release(feed, number).deltas.items()
                },
            }
            for feed, data in content.items()
        },
    }


def _key_id(seed: bytes) -> str:
    return SSlibKey.from_crypto(Ed25519PrivateKey.from_private_bytes(seed).public_key()).keyid


def _check(start: str, padding: int, archive: Archive) -> dict[str, Any]:
    """Return the verdict of the newest version, which is the same on both feeds."""
    url = start + "a" * padding
    content = {feed: archive.content(feed, len(RELEASED)) for feed in Feed}
    clear = _verdict(matching.ClearIndex(content[Feed.CLEAR]), url)
    hashed = _verdict(matching.HashedIndex(content[Feed.HASHED], HASH_KEY), url)
    if clear != hashed:
        raise AssertionError("the two feeds do not agree")
    return {"url": start, **({"then_a": padding} if padding else {}), **clear}


def _verdict(index: matching.Index, url: str) -> dict[str, Any]:
    try:
        kind = matching.find(index, url)
        return {"canonical": _canonical(url), "verdict": kind.value if kind else "not listed"}
    except BadUrl as error:
        return {"canonical": None, "verdict": "malformed", "code": error.code}
    except Undecided:
        return {"canonical": None, "verdict": "undecided"}


def _canonical(url: str) -> str | None:
    try:
        return canonical_url(url)
    except BadUrl:
        return None  # beyond a limit, but the host decided


@contextmanager
def _kept_streams(stored: Mapping[str, bytes]) -> Iterator[None]:
    """Make the two compressors answer with a stored stream that holds the same bytes."""
    brotlis = {brotli.decompress(stream): stream for stream in _brotli_streams(stored)}
    gzips = {gzip.decompress(data): data for name, data in stored.items() if name.endswith(".gz")}
    deflate, compress = delta_clear._deflate, gzip.compress

    def kept_brotli(raw: bytes) -> bytes:
        return brotlis[raw] if raw in brotlis else deflate(raw)

    def kept_gzip(data: bytes, *args: Any, **options: Any) -> bytes:
        return gzips[data] if data in gzips else compress(data, *args, **options)

    with (
        mock.patch.object(delta_clear, "_deflate", kept_brotli),
        mock.patch.object(gzip, "compress", kept_gzip),
    ):
        yield


def _brotli_streams(stored: Mapping[str, bytes]) -> Iterator[bytes]:
    for name, data in stored.items():
        if "/clear/" in name and data.startswith(b"BLC1"):
            header = Header.parse(data)
            at = HEADER_BYTES + 4  # raw_len stands before the removed indices
            _, offset = rice.decode(data, at, header.removed, strict=True, limit=1 << 32)
            yield data[offset:]


if __name__ == "__main__":
    sys.exit(main())
