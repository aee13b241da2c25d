"""`approve`: one person's signature on a candidate, given only after everything was made again.

An approval is the signature that the role file will carry, and a statement by the same key on who
gave it, when, and which overrides of guards were accepted with it. It counts for exactly one
candidate, and lies beside it in the storage or travels as a file.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from securesystemslib.signer import Key, Signature, Signer
from tuf.api.metadata import Metadata

from blocklist.core.errors import DigestMismatch, FeedError, GuardRefused, InputError, TooLarge
from blocklist.publisher.accounts import APPROVAL, Approval
from blocklist.publisher.curation import staging
from blocklist.publisher.curation.candidate import Candidate
from blocklist.publisher.curation.checking import Checked, check
from blocklist.publisher.guards import GuardFiles
from blocklist.publisher.racing import before_commit
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from signing import statements
from signing.errors import SignaturesMissing, TrustError
from signing.head import Head
from signing.keys import KeyFile
from signing.roles import SERIALIZER, RoleFile, delegations

MAX_APPROVAL_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Count:
    """How far a candidate is on its way.

    Attributes:
        approvals: Those that count, by key id.
        ignored: How many do not: of keys that may not sign, or altered.
        needed: How many keys must sign.
    """

    approvals: Mapping[str, Approval]
    ignored: int
    needed: int

    @property
    def missing(self) -> int:
        """How many more keys must sign."""
        return max(0, self.needed - len(self.approvals))


@dataclass(frozen=True, slots=True)
class Approved:
    """What an approve did.

    Attributes:
        approval: The approval.
        changed: False: this key had signed already.
        count: How far the candidate is now.
        checked: What was signed.
    """

    approval: Approval
    changed: bool
    count: Count
    checked: Checked


def approve(
    repository: Repository,
    digest: str,
    candidate: Candidate,
    *,
    key: str | None = None,
    allowed: Collection[str] = (),
    keep: bool = True,
    given: Iterable[Approval] = (),
) -> Approved:
    """Sign a candidate, after everything in it was made again on this machine.

    Args:
        repository: Where; its home holds the key.
        digest: By which the candidate is known.
        candidate: Its content, from anywhere.
        key: Name of the key in this home; None: the only one that may sign and has not.
        allowed: Guards whose override is accepted: all that the candidate overrides.
        keep: Whether to keep the approval in the storage; else it is only returned.
        given: Approvals that came as files.

    Raises:
        InputError: A voided candidate, an unknown key, or several keys that could sign.
        GuardRefused: An override that was not accepted, or guards that find more here.
        Stale, DigestMismatch, MalformedFeed: See `checking.check`; DigestMismatch also when
            something else lies where the approval belongs.
        SignaturesMissing: No key here that may sign.
    """
    with repository.home.lock(repository.settings.lock_seconds):
        staging.expect_live(repository, candidate.list, digest)
        checked = check(repository, candidate, GuardFiles.load(repository.settings))
        _expect_accepted(checked, allowed)
        head = checked.base.head
        before = count(repository, head, digest, candidate, given)
        signer = _signer(repository, head, candidate.list, before.approvals, key)
        if isinstance(signer, Approval):
            return Approved(signer, False, before, checked)
        approval = signed(repository, digest, candidate, signer, checked.overridden)
        if keep:
            place = layout.approval_key(candidate.list, digest, approval.keyid)
            with before_commit():
                kept = repository.store.put_new(place, approval.to_bytes())
            if not kept:  # the same key elsewhere, just now; or whoever writes to the storage
                after = count(repository, head, digest, candidate)
                if approval.keyid not in after.approvals:
                    raise DigestMismatch(f"{place} is not what it should be: remove it")
                return Approved(after.approvals[approval.keyid], False, after, checked)
    after = replace(before, approvals={**before.approvals, approval.keyid: approval})
    return Approved(approval, True, after, checked)


def signed(
    repository: Repository,
    digest: str,
    candidate: Candidate,
    signer: Signer,
    overridden: tuple[str, ...],
) -> Approval:
    """Return an approval by a key; what it is on must have been checked, or made here."""
    signature = signer.sign(candidate.signed_bytes)
    approval = Approval(
        list=candidate.list,
        version=candidate.version,
        candidate=digest,
        keyid=signer.public_key.keyid,
        who=repository.who,
        created=repository.clock().replace(microsecond=0),
        allowed=overridden,
        signature=str(signature.signature),
    )
    return replace(approval, statement=statements.sign(signer, APPROVAL, approval.claims()))


def count(
    repository: Repository,
    head: Head,
    digest: str,
    candidate: Candidate,
    given: Iterable[Approval] = (),
) -> Count:
    """Return the approvals of a candidate that count under the keys of the head.

    Args:
        repository: Where.
        head: Says who may sign.
        digest: By which the candidate is known.
        candidate: Its content.
        given: Approvals that came as files, besides those in the storage.
    """
    keys = keys_of(head, candidate.list)
    valid: dict[str, Approval] = {}
    ignored = 0
    for approval in (*_stored(repository, candidate.list, digest), *given):
        if approval is not None and _counts(approval, digest, candidate, keys):
            valid.setdefault(approval.keyid, approval)
        else:
            ignored += 1
    return Count(dict(sorted(valid.items())), ignored, threshold_of(head, candidate.list))


def role_file(candidate: Candidate, approvals: Mapping[str, Approval]) -> RoleFile[Any]:
    """Return the role with its signatures, as it is stored."""
    metadata = Metadata(candidate.signed)
    for keyid, approval in sorted(approvals.items()):
        metadata.signatures[keyid] = Signature(keyid, approval.signature)
    return RoleFile(candidate.list, metadata.to_bytes(SERIALIZER), metadata)


def keys_of(head: Head, list_name: str) -> dict[str, Key]:
    """Return the keys that may sign a list, by id."""
    found = delegations(head.targets.signed)
    role = (found.roles or {})[list_name]
    return {keyid: found.keys[keyid] for keyid in role.keyids if keyid in found.keys}


def threshold_of(head: Head, list_name: str) -> int:
    """Return how many keys must sign a list."""
    return int((delegations(head.targets.signed).roles or {})[list_name].threshold)


def _expect_accepted(checked: Checked, allowed: Collection[str]) -> None:
    """Refuse to sign overrides that the signer has not named: they must have been read."""
    for code in allowed:
        if code not in checked.overridden:
            raise InputError(f"expected --allow of what the candidate overrides, got {code!r}")
    for item in checked.record.overrides:
        if item["guard"] not in allowed:
            code = str(item["guard"])
            raise GuardRefused(
                code,
                f"the candidate overrides guard {code}: {item['finding']}; "
                f"reason given: {item['reason']} (--allow {code} to accept that)",
            )


def _signer(
    repository: Repository,
    head: Head,
    list_name: str,
    held: Mapping[str, Approval],
    name: str | None,
) -> Signer | Approval:
    """Load the key to sign with; the approval that it has given already when there is one."""
    keys = keys_of(head, list_name)
    ours = {file.path.name: file for file in repository.home.key_files()}
    if name is not None:
        if name not in ours:
            raise InputError(f"expected a key of this home, got {name!r}")
        if ours[name].public.keyid not in keys:
            raise SignaturesMissing(f"the key {name} may not sign {list_name}")
        usable = {name: ours[name]}
    else:
        usable = {name: file for name, file in ours.items() if file.public.keyid in keys}
    if not usable:
        raise SignaturesMissing(f"expected a key that may sign {list_name}, found none here")
    fresh = {name: file for name, file in usable.items() if file.public.keyid not in held}
    if not fresh:
        return held[next(iter(usable.values())).public.keyid]
    if len(fresh) > 1:
        raise InputError(f"expected --key with one of {', '.join(sorted(fresh))}")
    file: KeyFile = next(iter(fresh.values()))
    return file.signer(repository.home.passphrase)


def _stored(repository: Repository, list_name: str, digest: str) -> Iterable[Approval | None]:
    """Yield the approvals that the storage holds, None for what cannot be read."""
    for listed in repository.store.list(layout.approvals_prefix(list_name, digest)):
        try:
            stored = repository.store.get(listed.key, limit=MAX_APPROVAL_BYTES)
            yield Approval.from_bytes(stored.data) if stored is not None else None
        except (FeedError, TooLarge):
            yield None


def _counts(approval: Approval, digest: str, candidate: Candidate, keys: Mapping[str, Key]) -> bool:
    """Tell whether an approval is on this candidate, by a key that may sign."""
    of = (approval.list, approval.version, approval.candidate)
    key = keys.get(approval.keyid)
    if key is None or of != (candidate.list, candidate.version, digest):
        return False
    try:
        approval.verify_statement(key)
    except TrustError:
        return False
    return statements.signs(key, candidate.signed_bytes, approval.signature)


def next_command(list_name: str, candidate: str, found: Count, *, looked: bool = False) -> str:
    """Return the exact command that comes next.

    Args:
        list_name: The list.
        candidate: As its digest or file is named there.
        found: How many have approved.
        looked: Whoever reads this has just reviewed it. Others look first.
    """
    verb = "release" if not found.missing else "approve" if looked else "review"
    return f"blocklist {verb} {list_name} {candidate}"
