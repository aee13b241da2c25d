"""Real signed repositories of small lists for the subscriber's tests, built in memory.

`Repo.objects` holds them by key, as `store.layout` spells it, for tests to omit and tamper;
`Repo.write` puts them in a directory. Keys are made once for all repositories of a run.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Root, Targets, Timestamp

from blocklist.core import delta, ladder, listbytes
from blocklist.core.enrolment import EnrolledList, Enrolment, SourceUrl
from blocklist.core.entries import Feed
from blocklist.core.hashing import HashKey, hash_lines
from blocklist.core.release import Blob, Facts, delta_name
from blocklist.store import layout
from blocklist.subscriber import Pulled, PullFailed, pull
from blocklist.subscriber.enrol import enrol
from blocklist.subscriber.state import State
from signing import commit, create, head, roles, trust, verify
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

    def occupied(self, key: str) -> bool:
        return layout.METADATA + key in self.objects

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
        entries: int | None = None,
        test_entry: bool = True,
    ) -> int:
        """Release these lines and the test entry; `live` False leaves the head where it was."""
        done = self.history.setdefault(name, [])
        version = (done[-1].version if done else 0) + 1 + self.burned.pop(name, 0)
        clear = listbytes.encode_clear([*lines, *([f"h {TEST_HOST}".encode()] * test_entry)])
        content = {Feed.CLEAR: clear, Feed.HASHED: hash_lines(listbytes.clear_lines(clear), key)}
        new = Released(version, "", content, {f: {} for f in BOTH}, {})
        targets: list[Target] = []
        for feed in BOTH:
            facts = Facts(
                listbytes.count(feed, content[feed]) if entries is None else entries,
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

    def forge_hint(self, version: int, start: int, data: dict[Feed, bytes]) -> None:
        """Let the role file of an older version name these bytes as the deltas from `start`."""
        key = layout.METADATA + file_name("demo", version)
        role = verify.parse("demo", self.objects[key], Targets).signed
        wanted = {f"demo/{feed}/{delta_name(start)}" for feed in data}
        others = [one for path, one in roles.targets_of(role).items() if path not in wanted]
        forged = [self._put("demo", feed, delta_name(start), data[feed]) for feed in data]
        new = roles.new_delegated(version, [*others, *forged], self.now)
        self.objects[key] = roles.seal("demo", new, [signer("somebody")]).data

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
    """Return the way that docs/spec.md promises from `have` to the head."""
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


def damage_json(data: bytes, **changes: object) -> bytes:
    """Return a JSON object with some fields replaced."""
    return json.dumps({**json.loads(data), **changes}).encode()


def enrolled(path: Path, repo: Repo, *sources: str, **options: Any) -> State:
    """Return a state in `path` that is enrolled with the sources."""
    state = State(path)
    enrol(state, repo.enrolment(*sources, **options), accept_dev=True, now=repo.now)
    return state


def content(state: State, feed: Feed, name: str = "demo") -> bytes:
    """Return the list bytes in force, which must be intact."""
    folder = state.feed(name, feed)
    installed = folder.read()
    assert installed is not None
    assert folder.intact(installed.current)
    return folder.load(installed.current)


def assert_at_head(state: State, repo: Repo, pulled: list[Pulled]) -> None:
    """The pull ended at the newest version, with its bytes in force."""
    last = repo.last()
    assert pulled
    for one in pulled:
        assert one.to == last.version
        assert one.digest == sha(last.content[one.feed])
        assert content(state, one.feed) == last.content[one.feed]


def refused(state: State, code: int, **options: Any) -> PullFailed:
    """The pull fails with this exit code; nothing that is in force changes."""
    before = in_force(state)
    with pytest.raises(PullFailed) as caught:
        pull(state, **options)
    assert caught.value.exit_code == code
    done = {(one.list, one.feed) for one in caught.value.pulled}
    after = in_force(state)
    for key in {*before, *after}:
        name, feed = key.split("/")[1:3]
        assert (name, feed) in done or before.get(key) == after.get(key)
    return caught.value


def in_force(state: State) -> dict[str, bytes]:
    """Return every file that says what is in force, by its path in the state."""
    wanted = [*state.directory.rglob("*.list"), *state.directory.rglob("installed.json")]
    return {path.relative_to(state.directory).as_posix(): path.read_bytes() for path in wanted}
