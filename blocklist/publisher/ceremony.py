"""Propose, look at, and sign a change of keys: the part of a ceremony before its commit.

Who proposes needs the storage and no key. Who signs needs a key and the root that this home trusts;
with the storage at hand it is also seen whether the draft is still about what is live.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root, Targets

from blocklist.core.errors import InputError
from blocklist.publisher.home import Home
from blocklist.publisher.repository import Repository
from blocklist.publisher.start import default_test_host, list_paths, read_test_host
from signing import commit, describe, drafts, names, policy, proposals, roles, rotate, verify
from signing.describe import Description
from signing.drafts import Base, Draft
from signing.errors import LostRace, Malformed, SignaturesMissing, TrustError, Unsafe
from signing.head import Head
from signing.keys import KeyFile
from signing.port import MetadataStore
from signing.proposals import ListChange, RootChange, lists_of
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
    head = standing(repository, recover=bool(change.online))
    old = head.root.signed
    new = proposals.next_root(old, change, now)
    draft = _on(repository, head, drafts.ROOT, root=Metadata(new))
    top = head.targets
    if delegations_of is not None:
        top = verify.targets_alone(head.root, _stored(metadata, names.TARGETS, delegations_of))
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
    head, now = standing(repository), repository.clock()
    above = repository.above(names.TARGETS, head.targets.version)
    version = commit.free_version(repository.metadata, names.TARGETS, above)
    signed = proposals.next_targets(head.targets.signed, version, change, now)
    proposals.refuse_shared_online(head.root.signed, signed)
    refuse_orphans(repository.metadata, head, signed)
    hosts = {}
    if change is not None and change.paths:
        hosts = {change.name: read_test_host(test_host or default_test_host(change.name))}
    return _on(repository, head, drafts.TARGETS, targets=Metadata(signed), unsigned=hosts)


def standing(repository: Repository, *, recover: bool = False) -> Head:
    """Read the head with all lists, also past something at the next root's place that is none."""
    try:
        return repository.head(None)
    except TrustError:
        metadata, trust = repository.metadata, repository.home.trust()
        root, problem = rotate.walk_valid(metadata, trust.root)
        if problem is None and not recover:
            raise
        return rotate.live(metadata, trust, [root], recover=recover)


def examine(home: Home, draft: Draft, now: datetime) -> Base:
    """Verify a draft from what this home trusts, and refuse whatever is odd about it.

    Returns:
        What it follows.

    Raises:
        Tampered, Rollback, Malformed, Unsafe: What is wrong.
        InputError: A start of a repository, where one is known already.
    """
    if draft.kind == drafts.INIT:
        trusted = home.trust().root.signed if home.has_trust() else None
        if trusted is not None and draft.root is not None and trusted != draft.root.signed:
            raise InputError(f"{home.directory} knows another repository already")
        base = Base()
    else:
        base = drafts.follow(draft, home.trust())
    if draft.root is not None:
        proposals.refuse_odd_root(base.root.signed if base.root else None, draft.root.signed, now)
    if draft.targets is not None:
        before = base.targets.signed if base.targets else None
        proposals.refuse_odd_targets(before, draft.targets.signed, now)
        for name, role in lists_of(draft.targets.signed).items():
            if sorted(role.paths or []) != sorted(list_paths(name)):
                raise Unsafe(f"expected {name} to sign the targets of its two feeds")
    for part in draft.parts.values():
        drafts.check_signatures(part, _may_sign(draft, base, part))
    root, targets = _after(draft, base)
    proposals.refuse_shared_online(root, targets)
    _check_hosts(draft, base)
    return base


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
        refuse_stale(draft, standing(repository, recover=draft.kind == drafts.ROOT))
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
            if keyid in _may_sign(draft, base, part) and keyid not in part.signatures:
                part.sign(signer, append=True)
                added.append(role)
    examine(home, signed, now)
    return signed, added


def refuse_stale(draft: Draft, head: Head) -> None:
    """Refuse a draft that does not follow what is live.

    Raises:
        LostRace: It must be proposed again.
    """
    follows = draft.roots[-1] if draft.roots else b""
    if draft.root is not None and head.root.signed == draft.root.signed:
        return  # committed
    if verify.parse(names.ROOT, follows, Root).signed != head.root.signed:
        raise LostRace(
            f"the draft follows root version {len(draft.roots)}, live is {head.root.version}: "
            "propose the change again"
        )
    if draft.targets is not None and head.targets.signed == draft.targets.signed:
        return
    base = verify.parse(names.TARGETS, draft.base or b"", Targets)
    if draft.targets is not None and base.signed != head.targets.signed:
        raise LostRace(
            f"the draft follows targets version {base.version}, live is {head.targets.version}: "
            "propose the change again"
        )


def refuse_orphans(metadata: MetadataStore, head: Head, new: Targets) -> None:
    """Refuse a targets role under which the live version of a list would lack signatures.

    Raises:
        Unsafe: Which list, and what to do first.
    """
    for name in lists_of(new):
        meta = head.snapshot.signed.meta.get(names.meta_name(name))
        if meta is None:
            continue
        live = head.roles.get(name)
        if live is None:  # its delegation was dropped once
            data = _stored(metadata, name, meta.version)
            live = verify.parse(name, data, Targets)
        valid, needed = verify.count(new, live)
        if valid < needed:
            raise Unsafe(
                f"version {live.version} of {name} has {valid} signatures of the keys that would "
                f"remain, and needs {needed}: first release a version that they sign "
                f"(`blocklist stage {name}`, approve with those keys, release), then commit"
            )


def _on(repository: Repository, head: Head, kind: str, **drafted: Any) -> Draft:
    """Return a draft that follows this head."""
    read = [
        _stored(repository.metadata, names.ROOT, version)
        for version in range(1, head.root.version + 1)
    ]
    if verify.parse(names.ROOT, read[-1], Root).signed != head.root.signed:
        raise Malformed(
            "the roots in the storage do not lead to the trusted root: `blocklist fsck`"
        )
    return Draft(kind, tuple(read), head.targets.data, **drafted)


def _stored(metadata: MetadataStore, role: str, version: int) -> bytes:
    file = names.file_name(role, version)
    found = metadata.get(file, limit=policy.MAX_TARGETS_BYTES)
    if found is None:
        raise Malformed(f"expected {file} in the repository, it is missing")
    return found.data


def _after(draft: Draft, base: Base) -> tuple[Root, Targets]:
    """Return root and targets role as they will be."""
    root = draft.root or (base.root.metadata if base.root is not None else None)
    top = draft.targets or (base.targets.metadata if base.targets is not None else None)
    if root is None or top is None:
        raise Malformed("expected a draft that leaves a root and a targets role")
    return root.signed, top.signed


def _may_sign(draft: Draft, base: Base, part: Metadata[Any]) -> dict[str, Key]:
    """Return the keys whose signatures on a drafted role mean something, under either root."""
    roots = [base.root.signed] if base.root is not None else []
    roots += [draft.root.signed] if draft.root is not None else []
    role = part.signed.type
    return {keyid: root.keys[keyid] for root in roots for keyid in root.roles[role].keyids}


def _our_keys(home: Home, draft: Draft, base: Base) -> list[KeyFile]:
    wanted = {keyid for part in draft.parts.values() for keyid in _may_sign(draft, base, part)}
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


def _check_hosts(draft: Draft, base: Base) -> None:
    """Refuse test hosts of anything but the lists that are new."""
    before = lists_of(base.targets.signed) if base.targets is not None else {}
    after = lists_of(draft.targets.signed) if draft.targets is not None else {}
    new = set(after) - set(before) if draft.kind == drafts.TARGETS else set()
    if set(draft.unsigned) != new:
        raise Malformed("expected a test host for each new list in the draft, and no other")
    for host in draft.unsigned.values():
        if read_test_host(host) != host:
            raise Malformed("expected test hosts in canonical form in the draft")
