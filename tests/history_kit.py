"""Long histories for tests, made without the publisher: thousands of releases in a few seconds.

    past = Past.made(tmp_path, people=3, threshold=2)
    past.release(added=["u a.example/x"], reason="seen")
    past.release(removed=["u a.example/x"], operation="withdraw")
    past.commit()                                   # makes the newest live

Role files, records and accounts are real and signed; there are no objects of lists and deltas.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import DelegatedRole, Metadata, Targets

from blocklist.core import listbytes
from blocklist.core.entries import Feed
from blocklist.core.release import LIST as LIST_TARGET
from blocklist.core.release import Facts
from blocklist.publisher import records, start
from blocklist.publisher.accounts import ACCOUNT, APPROVAL, Account, Approval
from blocklist.publisher.records import Record
from blocklist.store import layout
from signing import commit, names, roles, statements
from signing.roles import RoleFile, Target
from tests.publisher_kit import LIST, TEST_LINE, Kit

KEY_ID = "5" * 64


@dataclass
class Past:
    """The releases of one list.

    Attributes:
        kit: The repository they are in.
        people: Who sign from now on, as many as the threshold asks for.
        online: The online key.
        lines: What is listed now.
        roles: The role file of every release, by version; only the newest when not signed.
        accounts: The account of every release, by version.
        digests: Digest of the record of every release, by version.
        signed: Sign role files and accounts; without, only the newest is.
        exact: Compute the digests of list bytes.
    """

    kit: Kit
    people: Sequence[CryptoSigner]
    online: Signer
    name: str = LIST
    lines: set[str] = field(default_factory=set)
    roles: dict[int, RoleFile[Targets]] = field(default_factory=dict)
    accounts: dict[int, Account] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)
    signed: bool = True
    exact: bool = True
    targets: RoleFile[Targets] | None = None
    prev: tuple[int, str] | None = None
    delegation: tuple[int, str] | None = None

    @classmethod
    def made(cls, folder: Path, *, people: int = 1, threshold: int = 1, **options: Any) -> "Past":
        """Return the past of the list `demo`, which has one release with its test entry."""
        kit = Kit.empty(folder)
        start.init_dev(kit.repository())
        signers = [CryptoSigner.generate_ed25519() for _ in range(people)]
        public = [signer.public_key for signer in signers]
        start.create_list(kit.repository(), LIST, threshold=threshold, public_keys=public)
        head = kit.repository().head()
        online = kit.repository().online_signer(head)
        past = cls(kit, signers[:threshold], online, **options)
        top = head.targets
        past.delegation = (top.version, top.digest)
        past.release(added=[TEST_LINE])
        return past

    def release(
        self,
        added: Iterable[str] = (),
        removed: Iterable[str] = (),
        *,
        version: int | None = None,
        **facts: Any,
    ) -> int:
        """Release a version, the next number unless it is given; `facts` are of its record."""
        self.kit.clock.tick(minutes=2)
        version = version or (self.prev[0] if self.prev else 0) + 1
        added, removed = tuple(sorted(added)), tuple(sorted(removed))
        self.lines = (self.lines - set(removed)) | set(added)
        clear = listbytes.encode_clear(line.encode() for line in self.lines) if self.exact else b""
        known = {"entries": len(self.lines), "created": self.kit.clock.now}
        digests = {"clear": _sha256(clear), "hashed": f"{version:064x}"}
        record = self._record(added, removed, digests, known | facts)
        sealed = record.to_bytes()
        self.digests[version] = records.digest(sealed)
        self._put(layout.record_key(self.name, self.digests[version]), sealed)
        signed = _claims(self.name, version, digests, len(clear), self._facts(version, known))
        self._sign(version, signed)
        return version

    def commit(self, *, account: bool = True) -> None:
        """Make the newest release live, with its account."""
        assert self.prev is not None
        version = self.prev[0]
        if not self.signed:
            self.roles[version] = roles.seal(self.name, self.roles[version].signed, self.people)
            self.kit.memory.plant(self.role_key(version), self.roles[version].data)
            self.prev = (version, self.roles[version].digest)
        if account:
            key = layout.release_key(self.name, self.roles[version].digest)
            self._put(key, self.account(version).to_bytes())
        repository = self.kit.repository()
        head = repository.head()
        planned = commit.plan(
            repository.metadata,
            head,
            repository.online_signer(head),
            self.kit.clock.now,
            targets=self.targets,
            changed=[self.roles[version]],
        )
        if self.targets is not None:
            self._put(layout.METADATA + f"{self.targets.version}.targets.json", self.targets.data)
        planned.write_snapshot(repository.metadata)
        planned.commit(repository.metadata)
        self.targets = None

    def rotate(self, people: Sequence[CryptoSigner]) -> None:
        """Give the list other keys, of whom all sign, from the next release on."""
        repository = self.kit.repository()
        head = repository.head()
        signed = deepcopy(head.targets.signed)
        signed.version += 1
        delegated = roles.delegations(signed)
        assert delegated.roles is not None
        old = delegated.roles[self.name]
        delegated.roles[self.name] = DelegatedRole(
            self.name, [], len(people), terminating=True, paths=old.paths
        )
        delegated.keys = {}
        for person in people:
            signed.add_key(person.public_key, self.name)
        self.targets = repository.sign_targets(head, signed)
        self.delegation = (self.targets.version, self.targets.digest)
        self.people = people

    def account(self, version: int, **changes: Any) -> Account:
        """Return the account of a release, approved by whoever signs now."""
        role, candidate = self.roles[version], f"{version:064d}"
        facts: dict[str, Any] = {
            "list": self.name,
            "version": version,
            "candidate": candidate,
            "approvals": tuple(self.approval(role, person) for person in self.people),
            "role": role.digest,
            "who": "releaser",
            "created": self.kit.clock.now,
            "keyid": self.online.public_key.keyid,
        }
        claims = Account(**facts | changes)
        return replace(claims, statement=statements.sign(self.online, ACCOUNT, claims.claims()))

    def approval(self, role: RoleFile[Targets], person: CryptoSigner, **changes: Any) -> Approval:
        """Return somebody's approval of a release, with a statement on what it says."""
        keyid = person.public_key.keyid
        facts: dict[str, Any] = {
            "list": self.name,
            "version": role.version,
            "candidate": f"{role.version:064d}",
            "keyid": keyid,
            "who": f"person {keyid[:4]}",
            "created": self.kit.clock.now,
            "allowed": (),
            "signature": role.metadata.signatures[keyid].signature,
        }
        claims = Approval(**facts | changes)
        return replace(claims, statement=statements.sign(person, APPROVAL, claims.claims()))

    def role_key(self, version: int) -> str:
        """Return the object key of a role file."""
        return layout.METADATA + names.file_name(self.name, version)

    def record_key(self, version: int) -> str:
        """Return the object key of a record."""
        return layout.record_key(self.name, self.digests[version])

    def _record(
        self,
        added: tuple[str, ...],
        removed: tuple[str, ...],
        digests: Mapping[str, str],
        facts: Mapping[str, Any],
    ) -> Record:
        known = {
            "list": self.name,
            "who": "tester",
            "reason": None,
            "added": added,
            "removed": removed,
            "base": self.prev,
            "digests": digests,
            "delegation": self.delegation,
            "previous": self.accounts.get(self.prev[0]) if self.prev else None,
        }
        return Record(**known | facts)

    def _facts(self, version: int, known: Mapping[str, Any]) -> Facts:
        return Facts(record=self.digests[version], prev=self.prev, hash_key_id=None, **known)

    def _sign(self, version: int, signed: Targets) -> None:
        if self.signed:
            role = roles.seal(self.name, signed, self.people)
        else:
            metadata = Metadata(signed)
            role = RoleFile(self.name, metadata.to_bytes(roles.SERIALIZER), metadata)
        if not self.signed:
            self.roles.clear()  # they would fill the memory
        self.roles[version] = role
        self._put(self.role_key(version), role.data)
        self.prev = (version, role.digest)
        if self.signed:
            self.accounts[version] = self.account(version)

    def _put(self, key: str, data: bytes) -> None:
        self.kit.store.put_new(key, data)


def _claims(
    name: str, version: int, digests: Mapping[str, str], length: int, facts: Facts
) -> Targets:
    targets = []
    for feed in Feed:
        custom = facts.to_custom() | ({"hash_key_id": KEY_ID} if feed is Feed.HASHED else {})
        path = layout.target_path(name, feed, LIST_TARGET)
        targets.append(Target(path, length, digests[feed], custom))
    return roles.new_delegated(version, targets, facts.created)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
