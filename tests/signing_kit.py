"""A TUF repository for tests of `signing`: all keys at hand, every wrong thing possible."""

import json
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root, Targets

from blocklist.store.layout import METADATA
from blocklist.store.prefixed import Prefixed
from signing import client, commit, create, names, roles
from signing.head import Head, read_head
from signing.roles import RoleFile, Target
from signing.trust import TrustState
from tests.fakes import MemoryStore

NOW = datetime.now(UTC).replace(microsecond=0)
PATHS = ("clear/*", "hashed/*")


def key() -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


def target(name: str = "demo", text: str = "clear/list", length: int = 3) -> Target:
    return Target(f"{name}/{text}", length, f"{length:064x}", {"entries": length})


class World:
    """A repository in memory, with everybody's keys.

    Attributes:
        now: What publishers take for the time.
        trust: What the publisher has seen.
        lists: Signers by list name.
    """

    def __init__(self, now: datetime = NOW, *, dev: bool = True) -> None:
        self.memory = MemoryStore()
        self.store = Prefixed(self.memory, METADATA)
        self.now = now
        self.roots = [key() for _ in range(3)]
        self.targets, self.online = key(), key()
        self.lists: dict[str, list[CryptoSigner]] = {}
        self.files = create.first_files(self.keys(), dev=dev, now=now)
        create.write(self.store, self.files)
        self.pinned = self.files["1.root.json"]
        self.trust = TrustState.pin(self.pinned)

    def keys(self) -> create.Keys:
        return create.Keys(
            root=[signer.public_key for signer in self.roots],
            threshold=2,
            targets=self.targets.public_key,
            online=self.online.public_key,
            root_signers=self.roots[:2],
            targets_signer=self.targets,
            online_signer=self.online,
        )

    def tick(self, **time: float) -> None:
        self.now += timedelta(**time)

    def head(self, lists: Iterable[str] | None = None) -> Head:
        """Read the head as the publisher does, and remember it."""
        head, self.trust = read_head(self.store, self.trust, lists)
        return head

    def delegated(self, name: str, keys: int = 1, threshold: int = 1) -> RoleFile[Targets]:
        """Return the next targets role, which also delegates `name`."""
        self.lists[name] = [key() for _ in range(keys)]
        head = self.head()
        signed = roles.delegate(
            head.targets.signed,
            head.targets.version + 1,
            name,
            [signer.public_key for signer in self.lists[name]],
            threshold,
            [f"{name}/{path}" for path in PATHS],
            self.now,
        )
        return roles.seal(names.TARGETS, signed, [self.targets])

    def delegate(self, name: str = "demo", keys: int = 1, threshold: int = 1) -> None:
        top = self.delegated(name, keys, threshold)
        self.plan(targets=top).write(self.store)

    def role(
        self,
        name: str = "demo",
        version: int = 1,
        *targets: Target,
        signers: Sequence[CryptoSigner] | None = None,
    ) -> RoleFile[Targets]:
        """Return a signed list role; without targets it has one."""
        signed = roles.new_delegated(version, targets or [target(name)], self.now)
        return roles.seal(name, signed, self.lists[name] if signers is None else signers)

    def plan(self, **what: Any) -> commit.Plan:
        return commit.plan(self.store, self.head(), self.online, self.now, **what)

    def release(self, name: str = "demo", version: int | None = None, length: int = 3) -> Head:
        """Release the next version of a list."""
        if version is None:
            meta = self.head().snapshot.signed.meta.get(names.meta_name(name))
            version = commit.free_version(self.store, name, meta.version if meta else 0)
        role = self.role(name, version, target(name, length=length))
        return self.plan(changed=[role]).write(self.store)

    def refresh(self) -> Head:
        return commit.plan_refresh(self.store, self.head(), self.online, self.now).write(self.store)

    def rotated_root(
        self,
        version: int,
        change: Callable[[Root], None] = lambda root: None,
        signers: Sequence[CryptoSigner] = (),
    ) -> bytes:
        """Return a next root with one root key replaced, signed by old and new keys."""
        old = self.head().root.signed
        root = deepcopy(old)
        root.version = version
        fresh = key()
        root.revoke_key(self.roots[0].public_key.keyid, "root")
        root.add_key(fresh.public_key, "root")
        change(root)
        return roles.seal("root", root, signers or [*self.roots[:2], fresh]).data

    def get(self, file: str) -> bytes:
        found = self.store.get(file)
        assert found is not None, file
        return found.data

    def plant(self, file: str, data: bytes) -> None:
        self.memory.plant(METADATA + file, data)

    def uproot(self, file: str) -> None:
        self.memory.uproot(METADATA + file)

    def altered(self, file: str, change: Callable[[dict[str, Any]], None]) -> bytes:
        """Return a file with its signed part changed and its signatures kept."""
        document = json.loads(self.get(file))
        change(document["signed"])
        return json.dumps(document, separators=(",", ":")).encode()

    def fetch(self, file: str) -> list[bytes] | None:
        found = self.store.get(file)
        return [found.data] if found is not None else None

    def client(
        self,
        folder: Path,
        name: str = "demo",
        *,
        fetch: client.Fetch | None = None,
        known: tuple[int, str] | None = None,
        seconds: float = 30.0,
    ) -> client.Verified:
        return client.refresh(
            folder, self.pinned, name, fetch or self.fetch, known=known, seconds=seconds
        )
