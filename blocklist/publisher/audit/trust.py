"""Who was to sign what in the past: roots, the targets roles that records name, online keys.

Keys are rotated away, history stays: a targets role of the past counts when a root of that time
signs it. Roots are followed from the first, each signed by the one before it. Those from the
pinned one on are *proven*. Those before it only lead to it: who writes to the storage can make up
others that do (a made-up root may name our keys besides its own), so they count only for what
proven metadata names by its digest.
"""

import hashlib
from collections.abc import Sequence

from securesystemslib.signer import Key
from tuf.api.metadata import Root, Targets

from blocklist.core.errors import DigestMismatch, MalformedFeed
from blocklist.publisher.chain import Readable
from blocklist.store import layout
from signing import names, policy, verify
from signing.errors import Tampered
from signing.roles import RoleFile

Reference = tuple[int, str]
"""Version and digest of a role file."""


class Trust:
    """What roots say, and the targets roles that they sign.

    Args:
        store: Where targets roles are.
        roots: Each signed by the one before it.
        pinned: Version of the root that is known to be right.
    """

    def __init__(self, store: Readable, roots: Sequence[RoleFile[Root]], pinned: int) -> None:
        self.roots = roots
        self._store = store
        self._pinned = pinned
        self._targets: dict[tuple[Reference, bool], RoleFile[Targets]] = {}

    @property
    def proven(self) -> list[RoleFile[Root]]:
        """The pinned root and those after it."""
        return [root for root in self.roots if root.version >= self._pinned]

    def targets(self, reference: Reference, *, proven: bool = False) -> RoleFile[Targets]:
        """Return the targets role that a record names.

        Args:
            reference: As the record has it.
            proven: The record is not sealed by anything: only proven roots count.

        Raises:
            MalformedFeed, DigestMismatch: It is missing, or another one.
            Tampered: No root's keys sign it.
        """
        if (reference, proven) not in self._targets:
            self._targets[reference, proven] = self._read(reference, proven=proven)
        return self._targets[reference, proven]

    def online_key(self, keyid: str) -> tuple[Key, bool] | None:
        """Return an online key, and whether a proven root names it; None for any other key."""
        for root in reversed(self.roots):
            if keyid in root.signed.roles[names.TIMESTAMP].keyids:
                return root.signed.keys[keyid], root.version >= self._pinned
        return None

    def _read(self, reference: Reference, *, proven: bool) -> RoleFile[Targets]:
        version, digest = reference
        file = names.file_name(names.TARGETS, version)
        found = self._store.get(layout.METADATA + file, limit=policy.MAX_TARGETS_BYTES)
        if found is None:
            raise MalformedFeed(f"expected {file}, whose keys were to sign it, it is missing")
        if hashlib.sha256(found.data).hexdigest() != digest:
            raise DigestMismatch(f"{file} is not the one whose keys were to sign it")
        for root in reversed(self.proven if proven else self.roots):
            try:
                return verify.targets_alone(root, found.data)
            except Tampered:
                continue
        raise Tampered(f"expected {file} to be signed by the targets keys of a root, it is not")


def follow_roots(store: Readable, pinned: RoleFile[Root]) -> list[RoleFile[Root]]:
    """Return the roots from the first to the newest.

    Raises:
        Tampered: They do not lead to the pinned root.
        MalformedFeed: One is missing below it.
    """
    roots: list[RoleFile[Root]] = []
    while True:
        version = len(roots) + 1
        file = names.file_name(names.ROOT, version)
        found = store.get(layout.METADATA + file, limit=policy.MAX_ROOT_BYTES)
        if found is None:
            break
        root = verify.next_root(roots[-1], found.data) if roots else _first(found.data)
        if version == pinned.version and root.data != pinned.data:
            raise Tampered("the roots do not lead to the trusted root")
        roots.append(root)
    if len(roots) < pinned.version:
        raise MalformedFeed(
            f"expected {names.file_name(names.ROOT, len(roots) + 1)}, it is missing"
        )
    return roots


def _first(data: bytes) -> RoleFile[Root]:
    root = verify.self_signed_root(data)
    if root.version != 1:
        raise Tampered(f"expected root version 1, got {root.version}")
    return root
