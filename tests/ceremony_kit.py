"""A hotline for tests: everybody with a home of their own, drafts that travel as bytes.

hotline = Hotline.started(tmp_path)               # three root keys, targets, online, list demo
draft = hotline.propose(RootChange(online=[hotline.new_key("lead", "online-2")]))
draft = hotline.signed(draft, "ann", "ben")       # each in their own home
hotline.commit(draft)
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from securesystemslib.signer import Key, Signer

from blocklist.publisher import start
from blocklist.publisher.ceremonies import ceremony, enact, trustees
from blocklist.publisher.ceremonies.enact import Enacted
from blocklist.publisher.home import Home
from blocklist.publisher.repository import Repository
from blocklist.store.port import Store
from signing import drafts, keys
from signing.client import Verified
from signing.drafts import Draft
from signing.proposals import ListChange, RootChange
from tests.fakes import MemoryStore
from tests.publisher_kit import LIST, QUICK, Clock, Kit, no_passphrase, open_home

ROOTS = ("ann", "ben", "cyd")
LEAD, TARGETS, ONLINE, LISTS = "lead", "tgt", "online", "list-demo"


@dataclass
class Hotline:
    """People by name, each with a folder that is a home.

    Attributes:
        folder: Holds the homes. `lead` is the publisher's machine: online and list key.
        store: The storage.
        clock: Everybody's.
    """

    folder: Path
    store: Store = field(default_factory=MemoryStore)
    clock: Clock = field(default_factory=Clock)

    @classmethod
    def assembled(cls, folder: Path, clock: Clock | None = None) -> "Hotline":
        """Return people with keys, and no repository."""
        hotline = cls(folder, clock=clock or Clock())
        for name in (*ROOTS, TARGETS):
            hotline.new_key(name, name)
        hotline.new_key(LEAD, ONLINE)
        hotline.new_key(LEAD, LISTS)
        return hotline

    @classmethod
    def started(cls, folder: Path, clock: Clock | None = None) -> "Hotline":
        """Return a repository with the list `demo`, by two ceremonies; released once."""
        hotline = cls.assembled(folder, clock)
        hotline.commit(hotline.signed(hotline.first(), "ann", "ben", TARGETS))
        hotline.pin(*ROOTS, TARGETS)
        change = ListChange(LIST, add=[hotline.key(LISTS)], paths=start.list_paths(LIST))
        hotline.change_lists(change)
        hotline.kit().publish("a.example/x")
        return hotline

    def copied(self, folder: Path) -> "Hotline":
        """Return another world with the same past."""
        shutil.copytree(self.folder, folder)
        store = MemoryStore()
        for key, data in self.memory.objects.items():
            store.plant(key, data)
        return replace(self, folder=folder, store=store, clock=Clock(self.clock.now))

    @property
    def memory(self) -> MemoryStore:
        assert isinstance(self.store, MemoryStore)
        return self.store

    def client(self, name: str, known: tuple[int, str] | None = None) -> Verified:
        """Bring the client of that name up to date; a new name is a fresh one."""
        return self.kit().client(self.folder / "clients" / name, known=known)

    def new_key(self, who: str, name: str) -> Key:
        return keys.create(self.home(who).keys_directory / name).public

    def key(self, name: str) -> Key:
        """Return a public key, whoever has it."""
        (found,) = self.folder.glob(f"*/home/keys/{name}.pub")
        return keys.read_public(found)

    def home(self, who: str) -> Home:
        return open_home(self.folder / who / "home")

    def repository(self, who: str = LEAD, store: Store | None = None) -> Repository:
        return Repository(store or self.store, self.home(who), self.clock, who, QUICK)

    def kit(self, who: str = LEAD) -> Kit:
        """Return the lead's machine as a publisher."""
        return Kit(self.folder / who, self.store, self.clock)

    def first(self, **change: Any) -> Draft:
        options: dict[str, Any] = {
            "root": [self.key(name) for name in ROOTS],
            "threshold": 2,
            "targets": [self.key(TARGETS)],
            "online": [self.key(ONLINE)],
        }
        return ceremony.propose_start(**options | change, now=self.clock())

    def pin(self, *people: str) -> None:
        """Let people begin with the first root, as they compared it."""
        root = self.kit().root()
        for name in people:
            trustees.pin(self.home(name), root, sha256(root).hexdigest(), 5.0)

    def propose(self, change: RootChange, **options: Any) -> Draft:
        return ceremony.propose_root(self.repository(), change, **options)

    def propose_lists(self, change: ListChange | None) -> Draft:
        return ceremony.propose_targets(self.repository(), change)

    def signed(self, draft: Draft, *people: str) -> Draft:
        """Let people sign, each with the key of their name; the draft travels as bytes."""
        for who in people:
            home_of = LEAD if (self.folder / LEAD / "home/keys" / who).exists() else who
            draft = drafts.read(draft.to_bytes())
            draft, added = ceremony.sign(self.home(home_of), draft, [who], self.clock())
            assert added
        return drafts.read(draft.to_bytes())

    def commit(self, *copies: Draft, store: Store | None = None, **options: Any) -> Enacted:
        return enact.enact(self.repository(store=store), copies, **options)

    def change_root(self, change: RootChange, *people: str, **options: Any) -> Enacted:
        return self.commit(self.signed(self.propose(change), *people), **options)

    def change_lists(self, change: ListChange | None) -> Enacted:
        return self.commit(self.signed(self.propose_lists(change), TARGETS))

    def signer(self, name: str) -> Signer:
        """Return a private key as a thief has it."""
        (found,) = self.folder.glob(f"*/home/keys/{name}")
        return keys.KeyFile(found, self.key(name)).signer(no_passphrase)

    def signers(self, names: Sequence[str]) -> list[Signer]:
        return [self.signer(name) for name in names]
