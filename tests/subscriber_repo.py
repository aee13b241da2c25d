"""Real signed repositories of small lists for the subscriber's tests, built in memory.

`Repo.objects` holds them by key, as `store.layout` spells it, for tests to omit and tamper;
`Repo.write` puts them in a directory. Keys are made once for all repositories of a run.
"""

import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Root, Timestamp

from blocklist.core import delta, ladder, listbytes
from blocklist.core.enrolment import EnrolledList, Enrolment, SourceUrl
from blocklist.core.entries import Feed
from blocklist.core.hashing import HashKey, hash_lines
from blocklist.core.release import Blob, Facts, delta_name
from blocklist.core.update import Update
from blocklist.store import layout
from signing import commit, create, head, roles, trust
from signing.names import file_name
from signing.roles import Target

KEY = HashKey(bytes(range(32)))
BOTH = (Feed.CLEAR, Feed.HASHED)
TEST_HOST = "test-entry.demo.example"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@cache
def signer(name: str) -> Signer:
    return CryptoSigner.generate_ed25519()


@dataclass(frozen=True)
class Stored:
    data: bytes
    token: str


@dataclass
class Metadata:
    """`signing`'s storage port on the metadata of a dict of objects."""

    objects: dict[str, bytes]

    def get(self, key: str, *, limit: int) -> Stored | None:
        data = self.objects.get(layout.METADATA + key)
        return Stored(data, sha(data)) if data is not None else None

    def put_new(self, key: str, data: bytes) -> bool:
        return self.objects.setdefault(layout.METADATA + key, data) is data

    def replace_if(self, key: str, data: bytes, token: str) -> str | None:
        self.objects[layout.METADATA + key] = data
        return sha(data)


@dataclass
class Released:
    """One version, as the helper remembers it."""

    version: int
    digest: str
    content: dict[Feed, bytes]
    deltas: dict[Feed, dict[int, Blob]]
    snapshot: dict[Feed, tuple[int, Blob]]


@dataclass
class Repo:
    """A publisher in memory. `age` moves its clock into the past."""

    age: timedelta = timedelta()
    lists: tuple[str, ...] = ("demo",)
    dev: bool = True
    snapshot_every: int = 8
    objects: dict[str, bytes] = field(default_factory=dict)
    history: dict[str, list[Released]] = field(default_factory=dict)
    burned: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        root_signers = [signer(f"root-{n}") for n in range(3)]
        keys = create.Keys(
            [one.public_key for one in root_signers],
            2,
            signer("targets").public_key,
            signer("online").public_key,
            root_signers[:2],
            signer("targets"),
            signer("online"),
        )
        files = create.first_files(keys, dev=self.dev, now=self.now)
        self.root = files["1.root.json"]
        create.write(self.metadata, files)
        self.trust = trust.TrustState.pin(self.root)
        for name in self.lists:
            self.delegate(name)

    @property
    def now(self) -> datetime:
        return (datetime.now(UTC) - self.age).replace(microsecond=0)

    @property
    def metadata(self) -> Metadata:
        return Metadata(self.objects)

    def head(self) -> head.Head:
        return head.read_head(self.metadata, self.trust)[0]

    def delegate(self, name: str) -> None:
        now = self.head()
        top = roles.delegate(
            now.targets.signed,
            now.targets.version + 1,
            name,
            [signer(name).public_key],
            1,
            [f"{name}/{feed}/*" for feed in BOTH],
            self.now,
        )
        sealed = roles.seal("targets", top, [signer("targets")])
        commit.plan(self.metadata, now, signer("online"), self.now, targets=sealed).write(
            self.metadata
        )

    def release(
        self,
        lines: list[bytes],
        name: str = "demo",
        *,
        live: bool = True,
        created: datetime | None = None,
        key: HashKey = KEY,
        canonical: int = 1,
    ) -> int:
        """Release these lines and the test entry; `live` False leaves the head where it was."""
        done = self.history.setdefault(name, [])
        version = (done[-1].version if done else 0) + 1 + self.burned.pop(name, 0)
        clear = listbytes.encode_clear([*lines, f"h {TEST_HOST}".encode()])
        content = {Feed.CLEAR: clear, Feed.HASHED: hash_lines(listbytes.clear_lines(clear), key)}
        new = Released(version, "", content, {f: {} for f in BOTH}, {})
        targets: list[Target] = []
        for feed in BOTH:
            facts = Facts(
                content[feed].count(b"\n") if feed is Feed.CLEAR else len(content[feed]) // 16,
                created or self.now,
                "00" * 32,
                (done[-1].version, done[-1].digest) if done else None,
                key.id if feed is Feed.HASHED else None,
                canonical,
            )
            targets += self._targets(name, feed, new, done, facts)
        role = roles.seal(name, roles.new_delegated(version, targets, self.now), [signer(name)])
        new.digest = role.digest
        done.append(new)
        self.objects[layout.METADATA + file_name(name, version)] = role.data
        if live:
            plan = commit.plan(
                self.metadata, self.head(), signer("online"), self.now, changed=[role]
            )
            for file in plan.files:
                self.objects[layout.METADATA + file_name(file.name, file.version)] = file.data
            self.objects[layout.TIMESTAMP] = plan.after.timestamp.data
        return version

    def _targets(
        self, name: str, feed: Feed, new: Released, done: list[Released], facts: Facts
    ) -> Iterator[Target]:
        data = new.content[feed]
        yield self._put(name, feed, "list", data, facts.to_custom())
        for old in _rungs(new.version, done):
            target = self._put(
                name, feed, delta_name(old.version), delta.encode(feed, old.content[feed], data)
            )
            new.deltas[feed][old.version] = Blob(
                delta_name(old.version), target.length, target.sha256
            )
            yield target
        kept = done[-1].snapshot.get(feed) if done else None
        if kept is None or new.version - kept[0] >= self.snapshot_every:
            target = self._put(name, feed, "snapshot", delta.encode(feed, b"", data))
            kept = new.version, Blob("snapshot", target.length, target.sha256)
        new.snapshot[feed] = kept
        of, blob = kept
        path = layout.target_path(name, feed, "snapshot")
        yield Target(path, blob.length, blob.sha256, {"version": of})

    def _put(
        self, name: str, feed: Feed, what: str, data: bytes, custom: dict | None = None
    ) -> Target:
        path = layout.target_path(name, feed, what)
        self.objects[layout.target_key(path, sha(data))] = data
        return Target(path, len(data), sha(data), custom)

    def resign(self, name: str = "demo") -> int:
        """Release the same lines again: a new version with the same digests."""
        clear = self.last(name).content[Feed.CLEAR]
        return self.release(listbytes.clear_lines(clear), name)

    def burn(self, count: int = 1, name: str = "demo") -> None:
        """Leave junk at the next numbers, so that they are skipped."""
        first = self.last(name).version + 1
        for version in range(first, first + count):
            self.objects[layout.METADATA + file_name(name, version)] = b"left by a crash"
        self.burned[name] = count

    def refresh(self) -> None:
        """Sign a new timestamp."""
        plan = commit.plan_refresh(self.metadata, self.head(), signer("online"), self.now)
        plan.write(self.metadata)

    def rotate_root(self) -> bytes:
        """Sign root version 2 (or the next) and return it."""
        current = self.head().root
        new = Root.from_dict(current.signed.to_dict())
        new.version += 1
        data = roles.seal("root", new, [signer("root-0"), signer("root-1")]).data
        self.objects[layout.METADATA + file_name("root", new.version)] = data
        return data

    def forge_timestamp(self, by: str) -> None:
        """Sign the next timestamp with another key."""
        stamp = Timestamp.from_dict(self.head().timestamp.signed.to_dict())
        stamp.version += 1
        self.objects[layout.TIMESTAMP] = roles.seal("timestamp", stamp, [signer(by)]).data

    def last(self, name: str = "demo") -> Released:
        return self.history[name][-1]

    def keys(self, feed: Feed, what: str = "", name: str = "demo") -> list[str]:
        """Return the keys of a feed's objects whose name begins with `what`."""
        found = [key for key in self.objects if key.startswith(layout.targets_prefix(name, feed))]
        return [key for key in found if key.rpartition("/")[2].partition(".")[2].startswith(what)]

    def omit(self, *whats: str, feeds: tuple[Feed, ...] = BOTH, name: str = "demo") -> None:
        """Remove the objects whose name begins so."""
        for feed in feeds:
            for what in whats:
                for key in self.keys(feed, what, name):
                    del self.objects[key]

    def tamper(self, data: bytes, *whats: str, feeds: tuple[Feed, ...] = BOTH) -> None:
        """Put other bytes into the objects whose name begins so."""
        for feed in feeds:
            for what in whats:
                for key in self.keys(feed, what):
                    self.objects[key] = data

    def write(self, directory: Path) -> Path:
        """Make the directory hold exactly the objects; return its `feed` folder."""
        there = {p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()}
        for key in there - self.objects.keys():
            (directory / key).unlink()
        for key, data in self.objects.items():
            path = directory / key
            if key not in there or path.read_bytes() != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        return directory / "feed"

    def enrolment(
        self,
        *sources: str,
        feeds: tuple[Feed, ...] = BOTH,
        token: str | None = None,
        names: tuple[str, ...] | None = None,
    ) -> Enrolment:
        lists = {
            name: EnrolledList(name, feeds, {KEY.id: KEY}, TEST_HOST)
            for name in names or self.lists
        }
        return Enrolment("isp", tuple(SourceUrl(s) for s in sources), token, self.root, lists)


def lines_of(version: int, size: int = 60) -> list[bytes]:
    """Return the entries of a version: each step drops one and adds one."""
    return [f"u a{n % 7}.example/item/{n}".encode() for n in range(version, version + size)]


def grow(repo: Repo, to: int, name: str = "demo") -> None:
    """Release up to version `to`, only the last of them live: fast."""
    while repo.last(name).version < to:
        number = repo.last(name).version + 1 + repo.burned.get(name, 0)
        repo.release(lines_of(number), name, live=number >= to)


def ladder_of(repo: Repo, have: int, feed: Feed) -> list[tuple[int, int]] | None:
    """Return the way that DESIGN section 5 promises from `have` to the head."""
    froms = {one.version: one.deltas[feed] for one in repo.history["demo"]}
    return ladder.walk(have, repo.last().version, lambda at: froms[at])


def _rungs(version: int, done: list[Released]) -> list[Released]:
    """Return the releases whose deltas a version stores: the previous one and its rungs."""
    found = {done[-1].version: done[-1]} if done else {}
    for at in ladder.rungs(version):
        below = [one for one in done if one.version <= at]
        if below:
            found[below[-1].version] = below[-1]
    return list(found.values())


class _Handler(BaseHTTPRequestHandler):
    """Static files under /feed/, and our API under /v1/ as DESIGN section 8 has it."""

    protocol_version = "HTTP/1.1"
    repo: Repo
    log: list[str]
    token: str | None

    def do_GET(self) -> None:
        self.log.append(self.path)
        parts = urlsplit(self.path)
        if self.token is not None and self.headers.get("Authorization") != f"Bearer {self.token}":
            self._send(401, b"")
        elif parts.path.endswith("/update"):
            self._update(
                parts.path.split("/"), {k: int(v[0]) for k, v in parse_qs(parts.query).items()}
            )
        else:
            data = self.repo.objects.get(
                "feed/" + parts.path.removeprefix("/v1/").removeprefix("/feed/")
            )
            self._send(404 if data is None else 200, data or b"")

    def _update(self, path: list[str], at: dict[str, int]) -> None:
        name, feed = path[-3], Feed(path[-2])
        now = self.repo.head()
        done = self.repo.history.get(name, [])
        version = done[-1].version if done else 0
        if (at["from"], at["timestamp"], at["root"]) == (
            version,
            now.timestamp.version,
            now.root.version,
        ):
            self._send(304, b"")
            return
        files = {"timestamp.json": now.timestamp.data}
        for role in (now.snapshot, now.targets):
            files[file_name(role.name, role.version)] = role.data
        for number in range(at["root"] + 1, now.root.version + 1):
            files[file_name("root", number)] = self._object("metadata/" + file_name("root", number))
        objects: dict[str, bytes] = {}
        if done:
            hops = ladder_of(self.repo, at["from"], feed) if at["from"] else None
            blobs = []
            if hops is None:
                of, blob = done[-1].snapshot[feed]
                blobs, hops = [blob], ladder_of(self.repo, of, feed) or []
            by_version = {one.version: one for one in done}
            for start, to in [*hops, (0, version)]:
                files[file_name(name, to)] = self._object("metadata/" + file_name(name, to))
                blobs += [by_version[to].deltas[feed][start]] if start else []
            for blob in blobs:
                objects[blob.file] = self._object(f"targets/{name}/{feed}/{blob.file}")
        self._send(200, Update(name, feed, version or None, files, objects).to_bytes())

    def _object(self, key: str) -> bytes:
        return self.repo.objects.get("feed/" + key, b"")

    def _send(self, status: int, data: bytes) -> None:
        zipped = bool(data) and "gzip" in self.headers.get("Accept-Encoding", "")
        body = gzip.compress(data, 1) if zipped else data
        self.send_response(status)
        if zipped:
            self.send_header("Content-Encoding", "gzip")
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Served:
    url: str
    log: list[str]


@contextmanager
def serve(repo: Repo, token: str | None = None) -> Iterator[Served]:
    """Serve a repository on loopback, statically and as the API; `log` has the paths asked for."""
    log: list[str] = []
    handler = type("Handler", (_Handler,), {"repo": repo, "log": log, "token": token})
    with running(handler) as url:
        yield Served(url, log)


@contextmanager
def running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run an HTTP server on loopback; give its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def damage_json(data: bytes, **changes: object) -> bytes:
    """Return a JSON object with some fields replaced."""
    return json.dumps({**json.loads(data), **changes}).encode()
