"""A real signed repository in a directory, for tests of the API; versions and faults as wished.

Every release holds the hosts `v1.example` to `v<M>.example`, so that each version differs.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root, Targets
from werkzeug.test import TestResponse

from blocklist.api import app as apps
from blocklist.api.services import Services
from blocklist.api.settings import ApiSettings
from blocklist.core import delta, ladder, listbytes
from blocklist.core.entries import Feed
from blocklist.core.hashing import HashKey, hash_lines
from blocklist.core.private import Subscription
from blocklist.core.release import LIST, SNAPSHOT, Facts, delta_name
from blocklist.core.update import Update
from blocklist.store import layout
from blocklist.store.directory import DirectoryStore
from blocklist.store.prefixed import Prefixed
from blocklist.store.shared import SharedState
from signing import commit, create, names, roles, verify
from signing.head import Head, read_head
from signing.roles import RoleFile, Target
from signing.trust import TrustState

NOW = datetime.now(UTC).replace(microsecond=0)
KEY = HashKey(bytes(range(32)))
TOKEN = "test-token-which-is-long-enough-0"


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def content(feed: Feed, version: int, key: HashKey = KEY) -> bytes:
    """Return the list bytes of a version, hashed with `KEY` unless told otherwise."""
    clear = listbytes.encode_clear(f"h v{n}.example".encode() for n in range(1, version + 1))
    return clear if feed is Feed.CLEAR else hash_lines(listbytes.clear_lines(clear), key)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class QuickStore(DirectoryStore):
    """A directory store whose writes are not synced: a test machine may lose them."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.folder = root

    def put_new(self, key: str, data: bytes) -> bool:
        if (self.folder / key).exists():
            return False
        self._place(key, data)
        return True

    def replace_if(self, key: str, data: bytes, token: str) -> str | None:
        current = self.get(key)
        if current is None or current.token != token:
            return None
        self._place(key, data)
        return sha256(data)

    def _place(self, key: str, data: bytes) -> None:
        """Write a file at once: somebody may be reading."""
        path, scrap = self.folder / key, self.folder / ".scrap"
        path.parent.mkdir(parents=True, exist_ok=True)
        scrap.write_bytes(data)
        scrap.replace(path)


@dataclass
class Repo:
    """A repository with the list `demo` delegated and nothing released.

    Attributes:
        path: Directory of the store.
        versions: Releases of each list.
        snapshots: Version of the newest stored snapshot, by list.
        key: What coming releases are hashed with; set it before one with `snapshot`.
        keyed_from: The first version that `key` is used in.
        following: Id of the hash key that coming releases announce, and from when on.
    """

    path: Path
    versions: dict[str, list[int]] = field(default_factory=dict)
    snapshots: dict[str, int] = field(default_factory=dict)
    key: HashKey = KEY
    keyed_from: int = 1
    following: tuple[str, datetime] | None = None

    def __post_init__(self) -> None:
        self._open()
        signers = [CryptoSigner.generate_ed25519() for _ in range(4)]
        self.root_signer, self.targets_signer, self.online, self.list_signer = signers
        public = [signer.public_key for signer in signers]
        keys = create.Keys(
            public[:1], 1, public[1], public[2], signers[:1], self.targets_signer, self.online
        )
        files = create.first_files(keys, dev=True, now=NOW)
        create.write(self.metadata, files)
        self.root = files["1.root.json"]
        self.delegate("demo")

    def _open(self) -> None:
        self.store = QuickStore(self.path)
        self.metadata = Prefixed(self.store, layout.METADATA)

    def copy(self, path: Path) -> "Repo":
        """Return an independent copy in another directory, with the same keys."""
        other = copy(self)
        other.path = path
        other.versions = {name: list(found) for name, found in self.versions.items()}
        other.snapshots = dict(self.snapshots)
        shutil.copytree(self.path, path)
        other._open()
        return other

    @property
    def url(self) -> str:
        return f"file:{self.path}"

    def head(self) -> Head:
        return read_head(self.metadata, TrustState.pin(self.root))[0]

    def delegate(self, name: str) -> None:
        head = self.head()
        number = commit.free_version(self.metadata, names.TARGETS, head.targets.version)
        paths = [f"{name}/clear/*", f"{name}/hashed/*"]
        key = self.list_signer.public_key
        signed = roles.delegate(head.targets.signed, number, name, [key], 1, paths, NOW)
        targets = roles.seal(names.TARGETS, signed, [self.targets_signer])
        commit.plan(self.metadata, head, self.online, NOW, targets=targets).write(self.metadata)
        self.versions[name] = []

    def release(self, name: str = "demo", *, to: int | None = None, snapshot: bool = False) -> int:
        """Release the next version, or a later one; the numbers between are burned."""
        before = self.versions[name]
        version = to if to is not None else (before[-1] + 1 if before else 1)
        if snapshot or not before:
            self.snapshots[name] = version
        targets = [t for feed in Feed for t in self._targets(name, feed, version)]
        self.commit(self.role(name, version, targets))
        before.append(version)
        return version

    def rekey(self, key: HashKey, name: str = "demo") -> int:
        """Release with a new hash key: a snapshot, and no delta of the hashed feed."""
        self.key, self.keyed_from, self.following = key, self.versions[name][-1] + 1, None
        return self.release(name, snapshot=True)

    def releases(self, count: int, name: str = "demo") -> None:
        for _ in range(count):
            self.release(name)

    def role(self, name: str, version: int, targets: Iterable[Target]) -> RoleFile:
        return roles.seal(name, roles.new_delegated(version, targets, NOW), [self.list_signer])

    def commit(self, *changed: RoleFile) -> None:
        planned = commit.plan(self.metadata, self.head(), self.online, NOW, changed=changed)
        planned.write(self.metadata)

    def refresh(self) -> None:
        commit.plan_refresh(self.metadata, self.head(), self.online, NOW).write(self.metadata)

    def rewind(self, name: str, version: int) -> None:
        """Make an earlier version of a list live again: what only the online key's thief does."""
        head = self.head()
        data = self.file(f"feed/metadata/{version}.{name}.json").read_bytes()
        role = verify.parse(name, data, Targets)
        signed = roles.next_snapshot(head.snapshot.signed, head.snapshot.version + 1, [role], NOW)
        snapshot = roles.seal(names.SNAPSHOT, signed, [self.online])
        stamp = roles.next_timestamp(head.timestamp.version + 1, snapshot, NOW)
        files = {names.file_name(names.SNAPSHOT, signed.version): snapshot.data}
        files[names.TIMESTAMP_FILE] = roles.seal(names.TIMESTAMP, stamp, [self.online]).data
        for file, sealed in files.items():
            self.file(f"feed/metadata/{file}").write_bytes(sealed)

    def rotate_root(self) -> None:
        """Add the next root, signed by the same key."""
        signed = Root.from_dict(self.head().root.signed.to_dict())
        signed.version += 1
        root = roles.seal(names.ROOT, signed, [self.root_signer])
        assert self.metadata.put_new(names.file_name(names.ROOT, signed.version), root.data)

    def file(self, key: str) -> Path:
        return self.path / key

    def damage(self, key: str) -> bytes:
        """Flip a bit in the middle of a stored object; return what it was."""
        path = self.file(key)
        data = path.read_bytes()
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        return data

    def delta_key(self, start: int, end: int, feed: Feed = Feed.HASHED, name: str = "demo") -> str:
        data = delta.encode(feed, content(feed, start), content(feed, end))
        path = layout.target_path(name, feed, delta_name(start))
        return layout.target_key(path, sha256(data))

    def snapshot_key(self, feed: Feed = Feed.HASHED, name: str = "demo") -> str:
        data = delta.encode(feed, b"", content(feed, self.snapshots[name]))
        return layout.target_key(layout.target_path(name, feed, SNAPSHOT), sha256(data))

    def enrol(
        self,
        token: str = TOKEN,
        lists: dict[str, Sequence[Feed]] | None = None,
        *,
        expires: datetime | None = None,
        revoked: datetime | None = None,
    ) -> dict[str, str]:
        """Enrol a subscriber, again if need be; return the headers to send."""
        scope = {"demo": tuple(Feed)} if lists is None else {n: tuple(f) for n, f in lists.items()}
        digest = sha256(token.encode())
        subscription = Subscription("isp", digest, scope, NOW, expires, revoked)
        self.store.delete(layout.enrolment_key(digest))
        assert self.store.put_new(layout.enrolment_key(digest), subscription.to_bytes())
        return {"Authorization": f"Bearer {token}"}

    def _targets(self, name: str, feed: Feed, version: int) -> Iterable[Target]:
        new = content(feed, version, self.key)
        facts = Facts(
            entries=version,
            created=NOW,
            record="0" * 64,
            prev=None,
            hash_key_id=self.key.id if feed is Feed.HASHED else None,
            next_hash_key=self.following if feed is Feed.HASHED else None,
        )
        yield self._stored(name, feed, LIST, new, facts.to_custom())
        earlier = self.versions[name]
        starts = {max(n for n in earlier if n <= rung) for rung in self._rungs(name, version)}
        for start in starts | set(earlier[-1:]):
            if feed is Feed.HASHED and start < self.keyed_from:
                continue
            data = delta.encode(feed, content(feed, start, self.key), new)
            yield self._stored(name, feed, delta_name(start), data, None)
        of = self.snapshots[name]
        data = delta.encode(feed, b"", content(feed, of, self.key))
        yield self._stored(name, feed, SNAPSHOT, data, {"version": of})

    def _rungs(self, name: str, version: int) -> list[int]:
        first = self.versions[name][:1]
        return [rung for rung in ladder.rungs(version) if first and rung >= first[0]]

    def _stored(
        self, name: str, feed: Feed, part: str, data: bytes, custom: dict[str, object] | None
    ) -> Target:
        path = layout.target_path(name, feed, part)
        self.store.put_new(layout.target_key(path, sha256(data)), data)
        return Target(path, len(data), sha256(data), custom)


class Api:
    """The app on a repository, as a caller with a token for both feeds of `demo`.

    Attributes:
        repo: The repository.
        clock: The app's clock.
        headers: What is sent unless a test says otherwise.
    """

    def __init__(
        self,
        repo: Repo,
        *,
        settings: ApiSettings | None = None,
        shared: SharedState | None = None,
    ) -> None:
        self.repo = repo
        self.clock = Clock()
        self.headers = repo.enrol()
        self.app = apps.create_app(repo.store, clock=self.clock, settings=settings, shared=shared)
        self.client = self.app.test_client()

    @property
    def services(self) -> Services:
        """The parts of the app."""
        services: Services = self.app.extensions["blocklist"]
        return services

    @contextmanager
    def started(self) -> Iterator[None]:
        """Do the work in the background until the block ends."""
        apps.start(self.app)
        try:
            yield
        finally:
            apps.stop(self.app)

    def get(self, url: str, headers: dict[str, str] | None = None, **more: str) -> TestResponse:
        """GET as the caller; `more` are headers besides the token, `_` for `-`."""
        sent = self.headers if headers is None else headers
        extra = {name.replace("_", "-"): value for name, value in more.items()}
        return self.client.get(url, headers={**sent, **extra})

    def update(self, query: str = "", feed: Feed = Feed.HASHED) -> Update:
        """Return the update document for a query."""
        answer = self.get(f"/v1/lists/demo/{feed}/update?{query}")
        assert answer.status_code == 200
        return Update.from_bytes(answer.data)

    def later(self, seconds: float = 1) -> None:
        """Let the app look at the head again."""
        self.clock.tick(seconds)


def until(what: str, condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it never came true: {what}"
        time.sleep(0.02)


def assert_problem(answer: TestResponse, status: int, slug: str) -> None:
    """Check that an answer is a problem document of that kind, and nothing else."""
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    document = json.loads(answer.data)
    assert document.pop("type") == f"/problems/{slug}"
    assert document.pop("status") == status
    assert document.pop("title")
    assert set(document) <= {"detail"}
