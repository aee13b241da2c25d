"""What a draft must be before anybody signs or commits it: verified, not odd, not overtaken."""

from datetime import datetime
from typing import Any

from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root, Targets

from blocklist.core.errors import InputError
from blocklist.publisher.home import Home
from blocklist.publisher.repository import Repository
from blocklist.publisher.start import list_paths, read_test_host
from signing import drafts, names, policy, proposals, standing, verify
from signing.drafts import Base, Draft
from signing.errors import LostRace, Malformed, TrustError, Unsafe
from signing.head import Head
from signing.port import MetadataStore
from signing.proposals import lists_of


def live_head(repository: Repository, *, recover: bool = False) -> Head:
    """Read the head with all lists, also past something at the next root's place that is none."""
    try:
        return repository.head(None)
    except TrustError:
        metadata, trust = repository.metadata, repository.home.trust()
        root, problem = standing.walk_valid(metadata, trust.root)
        if problem is None and not recover:
            raise
        return standing.live(metadata, trust, [root], recover=recover)


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
        drafts.check_signatures(part, may_sign(draft, base, part))
    root, targets = _after(draft, base)
    proposals.refuse_shared_online(root, targets)
    _check_hosts(draft, base)
    return base


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
            data = stored(metadata, name, meta.version)
            live = verify.parse(name, data, Targets)
        valid, needed = verify.count(new, live)
        if valid < needed:
            raise Unsafe(
                f"version {live.version} of {name} has {valid} signatures of the keys that would "
                f"remain, and needs {needed}: first release a version that they sign "
                f"(`blocklist stage {name}`, approve with those keys, release), then commit"
            )


def stored(metadata: MetadataStore, role: str, version: int) -> bytes:
    """Return a role file by its number.

    Raises:
        Malformed: It is not there.
    """
    file = names.file_name(role, version)
    found = metadata.get(file, limit=policy.MAX_TARGETS_BYTES)
    if found is None:
        raise Malformed(f"expected {file} in the repository, it is missing")
    return found.data


def may_sign(draft: Draft, base: Base, part: Metadata[Any]) -> dict[str, Key]:
    """Return the keys whose signatures on a drafted role mean something, under either root."""
    roots = [base.root.signed] if base.root is not None else []
    roots += [draft.root.signed] if draft.root is not None else []
    role = part.signed.type
    return {keyid: root.keys[keyid] for root in roots for keyid in root.roles[role].keyids}


def _after(draft: Draft, base: Base) -> tuple[Root, Targets]:
    """Return root and targets role as they will be."""
    root = draft.root or (base.root.metadata if base.root is not None else None)
    top = draft.targets or (base.targets.metadata if base.targets is not None else None)
    if root is None or top is None:
        raise Malformed("expected a draft that leaves a root and a targets role")
    return root.signed, top.signed


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
