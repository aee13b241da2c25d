"""Propose, look at, and sign a change of keys: the part of a ceremony before its commit.

Who proposes needs the storage and no key. Who signs needs a key and the root that this home trusts;
with the storage at hand it is also seen whether the draft is still about what is live.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root

from blocklist.core.errors import InputError
from blocklist.publisher.ceremonies.examine import (
    examine,
    live_head,
    may_sign,
    refuse_orphans,
    refuse_stale,
    stored,
)
from blocklist.publisher.home import Home
from blocklist.publisher.repository import Repository
from blocklist.publisher.start import default_test_host, read_test_host
from signing import commit, describe, drafts, names, proposals, roles, verify
from signing.describe import Description
from signing.drafts import Base, Draft
from signing.errors import Malformed, SignaturesMissing
from signing.head import Head
from signing.keys import KeyFile
from signing.proposals import ListChange, RootChange
from signing.roles import RoleFile


@dataclass(frozen=True, slots=True)
class Tally:
    """How far one threshold is met.

    Attributes:
        role: The drafted role.
        by: Whose signatures count: `the old root`, `this root`.
        have, need: Valid signatures.
    """

    role: str
    by: str
    have: int
    need: int


@dataclass(frozen=True, slots=True)
class Review:
    """What people see before they sign.

    Attributes:
        kind: Of the draft.
        version: The number that they type.
        descriptions: What each drafted role changes.
        tallies: How many signatures there are and are needed.
        signed: Key ids that have signed, by role.
        names: Names that this home gives to keys.
        test_hosts: Chosen for new lists; no signature covers them.
        may_sign: Keys of this home that may sign.
    """

    kind: str
    version: int
    descriptions: tuple[Description, ...]
    tallies: tuple[Tally, ...]
    signed: Mapping[str, tuple[str, ...]]
    names: Mapping[str, str]
    test_hosts: Mapping[str, str]
    may_sign: tuple[str, ...]


def propose_start(
    root: Sequence[Key],
    threshold: int,
    targets: Sequence[Key],
    online: Sequence[Key],
    now: datetime,
) -> Draft:
    """Return the draft of a new repository.

    Raises:
        Unsafe: Its root would be fragile.
    """
    first = proposals.first_root(root, threshold, targets, online, now)
    return Draft(drafts.INIT, root=Metadata(first), targets=Metadata(roles.new_targets(now)))


def propose_root(
    repository: Repository, change: RootChange, delegations_of: int | None = None
) -> Draft:
    """Return the draft of the next root.

    When the targets keys are replaced, the targets role comes with it, to be signed anew.

    Args:
        repository: Where.
        change: What is to be different.
        delegations_of: Take who signs which list from this stored version of the targets role, and
            not from the live one, which a thief may have made.

    Raises:
        Unsafe: It would be fragile, or live metadata would not verify.
    """
    now, metadata = repository.clock(), repository.metadata
    head = live_head(repository, recover=bool(change.online))
    old = head.root.signed
    new = proposals.next_root(old, change, now)
    draft = _on(repository, head, drafts.ROOT, root=Metadata(new))
    top = head.targets
    if delegations_of is not None:
        top = verify.targets_alone(head.root, stored(metadata, names.TARGETS, delegations_of))
    valid, needed = verify.count(new, head.targets)
    if valid < needed or top is not head.targets:
        above = repository.above(names.TARGETS, head.targets.version)
        version = commit.free_version(metadata, names.TARGETS, above)
        signed = proposals.next_targets(top.signed, version, None, now)
        draft = replace(draft, targets=Metadata(signed))
    proposals.refuse_shared_online(new, (draft.targets or head.targets.metadata).signed)
    return draft


def propose_targets(
    repository: Repository, change: ListChange | None, test_host: str | None = None
) -> Draft:
    """Return the draft of the next targets role; `change` None renews it.

    Raises:
        Unsafe: A list or key that is there or not, or a list that would lack signatures.
    """
    head, now = live_head(repository), repository.clock()
    above = repository.above(names.TARGETS, head.targets.version)
    version = commit.free_version(repository.metadata, names.TARGETS, above)
    signed = proposals.next_targets(head.targets.signed, version, change, now)
    proposals.refuse_shared_online(head.root.signed, signed)
    refuse_orphans(repository.metadata, head, signed)
    hosts = {}
    if change is not None and change.paths:
        hosts = {change.name: read_test_host(test_host or default_test_host(change.name))}
    return _on(repository, head, drafts.TARGETS, targets=Metadata(signed), unsigned=hosts)


def review(home: Home, draft: Draft, now: datetime, repository: Repository | None = None) -> Review:
    """Return what a draft would change, computed from what this home verified.

    Args:
        home: Whose trust and keys count.
        draft: From anywhere.
        now: The time.
        repository: When given, the draft must follow what is live there.

    Raises:
        LostRace: It follows something older: it must be proposed again.
        Tampered, Rollback, Malformed, Unsafe, InputError: As `examine`.
    """
    base, known = examine(home, draft, now), home.key_names()
    if repository is not None and draft.kind != drafts.INIT:
        refuse_stale(draft, live_head(repository, recover=draft.kind == drafts.ROOT))
    found = []
    if draft.root is not None:
        old = base.root.signed if base.root is not None else None
        found.append(describe.root(old, draft.root.signed, known))
    if draft.targets is not None:
        before = base.targets.signed if base.targets is not None else None
        found.append(describe.targets(before, draft.targets.signed, known))
    return Review(
        draft.kind,
        draft.version,
        tuple(found),
        tuple(_tallies(draft, base)),
        {name: tuple(sorted(part.signatures)) for name, part in draft.parts.items()},
        known,
        draft.unsigned,
        tuple(key.path.name for key in _our_keys(home, draft, base)),
    )


def sign(home: Home, draft: Draft, chosen: Sequence[str], now: datetime) -> tuple[Draft, list[str]]:
    """Return a draft with the signatures of keys of this home, and the roles they newly signed.

    Args:
        home: Whose keys.
        draft: Reviewed by whoever holds them.
        chosen: Names of the keys; none: the only one here that may sign.
        now: The time.

    Raises:
        SignaturesMissing: No such key here may sign it.
        InputError: Several may, and none was chosen.
    """
    base = examine(home, draft, now)
    ours = {key.path.name: key for key in _our_keys(home, draft, base)}
    if unknown := [name for name in chosen if name not in ours]:
        raise SignaturesMissing(f"expected a key here that may sign this, got {unknown[0]!r}")
    if not ours:
        raise SignaturesMissing("expected a key here that may sign this, found none of them")
    if not chosen and len(ours) > 1:
        raise InputError(f"expected --key with one of {', '.join(ours)}")
    signed, added = drafts.merged([draft]), []
    for name in chosen or list(ours):
        signer = ours[name].signer(home.passphrase)
        for role, part in signed.parts.items():
            keyid = ours[name].public.keyid
            if keyid in may_sign(draft, base, part) and keyid not in part.signatures:
                part.sign(signer, append=True)
                added.append(role)
    examine(home, signed, now)
    return signed, added


def _on(repository: Repository, head: Head, kind: str, **drafted: Any) -> Draft:
    """Return a draft that follows this head."""
    read = [
        stored(repository.metadata, names.ROOT, version)
        for version in range(1, head.root.version + 1)
    ]
    if verify.parse(names.ROOT, read[-1], Root).signed != head.root.signed:
        raise Malformed(
            "the roots in the storage do not lead to the trusted root: `blocklist fsck`"
        )
    return Draft(kind, tuple(read), head.targets.data, **drafted)


def _our_keys(home: Home, draft: Draft, base: Base) -> list[KeyFile]:
    wanted = {keyid for part in draft.parts.values() for keyid in may_sign(draft, base, part)}
    return [key for key in home.key_files() if key.public.keyid in wanted]


def _tallies(draft: Draft, base: Base) -> list[Tally]:
    found = []
    for name, part in draft.parts.items():
        file: RoleFile[Any] = RoleFile(name, b"", part)
        if base.root is not None:
            by = "the old root" if draft.root is not None else "the root"
            found.append(Tally(name, by, *verify.count(base.root.signed, file)))
        if draft.root is not None:
            found.append(Tally(name, "the new root", *verify.count(draft.root.signed, file)))
    return found
