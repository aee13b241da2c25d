"""`release`: make a candidate live that enough people have approved.

Order of the writes (a crash between any two of them is harmless, and a rerun goes on):

    1. objects    content-addressed; nothing names them yet
    2. record     the private account of what changes; named by digest only
    3. account    who approved it, and who makes it live
    4. role       M.<list>.json
    5. snapshot metadata, then timestamp.json by compare-and-swap: the commit

The number of a candidate is signed, so it cannot be changed here. When something else lies at that
number, the candidate is lost: it is staged again and approved again. What lies there is taken for
this release only when it is this very role, with its signatures and an account that the online key
signed: that is what a killed `release` leaves.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from securesystemslib.signer import Signer
from tuf.api.metadata import Targets

from blocklist.core.errors import DigestMismatch, FeedError, StoreError
from blocklist.publisher import records
from blocklist.publisher.accounts import ACCOUNT, MAX_ACCOUNT_BYTES, Account, Approval
from blocklist.publisher.assemble import Assembled
from blocklist.publisher.curation import staging
from blocklist.publisher.curation.approving import Count, count, next_command, role_file
from blocklist.publisher.curation.candidate import Candidate
from blocklist.publisher.curation.checking import Stale, check
from blocklist.publisher.keeping.reuse import Blobs
from blocklist.publisher.racing import before_commit, commit_roles
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from signing import commit, names, policy, statements, verify
from signing.errors import SignaturesMissing, TrustError
from signing.head import Head
from signing.roles import RoleFile


@dataclass(frozen=True, slots=True)
class Released:
    """What a release did.

    Attributes:
        version: The version that is live.
        changed: False: it was live already.
        assembled: The version; None when it was live already.
        approvals: Those that it carries, by key id.
    """

    version: int
    changed: bool
    assembled: Assembled | None
    approvals: Mapping[str, Approval]


def release(
    repository: Repository,
    digest: str,
    candidate: Candidate,
    given: Iterable[Approval] = (),
) -> Released:
    """Make a candidate live.

    Args:
        repository: Where; its home holds the online key.
        digest: By which the candidate is known.
        candidate: Its content, from anywhere.
        given: Approvals that came as files.

    Raises:
        InputError: It was voided.
        SignaturesMissing: Fewer approvals than the list needs; no online key here.
        Stale: It was made on another release than the newest; its number is taken.
        DigestMismatch, MalformedFeed: See `checking.check`.
        LostRace: Others kept winning.
        OutcomeUnknown: The commit may or may not have happened.
    """
    name = candidate.list
    with repository.home.lock(repository.settings.lock_seconds):
        given = list(given)
        head = repository.head([name])
        live = head.roles.get(name)
        if live is not None and live.signed.to_dict() == candidate.signed.to_dict():
            found = count(repository, head, digest, candidate, given)
            return Released(live.version, False, None, found.approvals)
        staging.expect_live(repository, name, digest)
        assembled = check(repository, candidate, None).assembled
        head = assembled.base.head
        found = count(repository, head, digest, candidate, given)
        if found.missing:
            raise SignaturesMissing(_missing(name, digest, found))
        _expect_above(repository, candidate)
        online = repository.online_signer(head)
        role = role_file(candidate, found.approvals)
        stored = _left(repository, head, candidate, online)
        make_live(
            repository,
            assembled,
            stored or role,
            digest,
            found.approvals,
            online,
            commit.NOTHING_TAKEN,
            written=stored is not None,
        )
    return Released(candidate.version, True, assembled, found.approvals)


def make_live(
    repository: Repository,
    assembled: Assembled,
    role: RoleFile[Targets],
    digest: str,
    approvals: Mapping[str, Approval],
    online: Signer,
    taken: Mapping[str, int],
    *,
    written: bool = False,
) -> None:
    """Preflight, then write everything in order and commit.

    Args:
        repository: Where.
        assembled: The version.
        role: Its role file, with enough signatures.
        digest: Digest of the candidate that it was.
        approvals: By key id.
        online: Signs snapshot metadata and timestamp.
        taken: Highest numbers known to be taken, by role.
        written: The role file is there already.

    Raises:
        Burned: A number was taken meanwhile; nothing is live.
        LostRace: The head moved; nothing is live.
    """
    base, now = assembled.base, repository.signing_time(assembled.base.head)
    name = base.name
    plan = commit.plan(repository.metadata, base.head, online, now, changed=[role], taken=taken)
    for content in assembled.feeds.content.values():  # before the commit: the disk may be full
        repository.home.cache(records.digest(content), content)
    blobs = Blobs(repository.store, repository.clock)
    for key, data in assembled.built.blobs.items():
        blobs.put(key, data)
    blobs.put(layout.record_key(name, records.digest(assembled.sealed)), assembled.sealed)
    _account(repository, assembled, role, digest, approvals, online)
    commit_roles(repository, plan, [name], online, taken, blobs.confirm, written=written)
    repository.home.pin_secret(base.secret)


def _account(
    repository: Repository,
    assembled: Assembled,
    role: RoleFile[Targets],
    digest: str,
    approvals: Mapping[str, Approval],
    online: Signer,
) -> None:
    """Keep who approved and who releases; what an interrupted release has kept stays.

    Raises:
        DigestMismatch: Something else lies there, that the online key did not sign.
    """
    name = assembled.base.name
    account = Account(
        list=name,
        version=assembled.version,
        role=role.digest,
        candidate=digest,
        approvals=tuple(approvals.values()),
        who=repository.who,
        created=repository.clock().replace(microsecond=0),
        keyid=online.public_key.keyid,
    )
    statement = statements.sign(online, ACCOUNT, account.claims())
    account = replace(account, statement=statement)
    key = layout.release_key(name, role.digest)
    with before_commit():
        if repository.store.put_new(key, account.to_bytes()):
            return
    try:
        _expect_account(repository, role, online)
    except (FeedError, TrustError) as error:
        raise DigestMismatch(f"{key} is not what it should be: remove it") from error


def _left(
    repository: Repository, head: Head, candidate: Candidate, online: Signer
) -> RoleFile[Targets] | None:
    """Return the role file that an interrupted release of this candidate has left, if any.

    The account that was written before it vouches for it, since the online key signs that. Else
    whoever writes to the storage, with one stolen key, could put his signature there in place of
    one of those that were given.

    Raises:
        Stale: Something else lies at its number.
    """
    name, version = candidate.list, candidate.version
    file = names.file_name(name, version)
    if not repository.metadata.occupied(file):
        return None
    try:
        stored = repository.metadata.get(file, limit=policy.MAX_TARGETS_BYTES)
        role = verify.delegated_alone(head.targets, name, stored.data) if stored else None
        if role is not None and role.signed.to_dict() == candidate.signed.to_dict():
            _expect_account(repository, role, online)
            return role
    except (TrustError, FeedError, StoreError) as error:
        if isinstance(error, StoreError) and error.retryable:
            raise
    raise Stale(
        f"number {version} of {name} is taken by something else: "
        "`blocklist stage --rebase` makes the candidate anew, without approvals"
    )


def _expect_account(repository: Repository, role: RoleFile[Targets], online: Signer) -> None:
    """Expect the account of a release that was begun, as its online key has signed it.

    Raises:
        MalformedFeed, UnknownFormat, DigestMismatch, Tampered: There is none, or another one.
    """
    key = layout.release_key(role.name, role.digest)
    stored = repository.store.get(key, limit=MAX_ACCOUNT_BYTES)
    account = Account.from_bytes(stored.data if stored is not None else b"")
    if (account.list, account.version, account.role) != (role.name, role.version, role.digest):
        raise DigestMismatch(f"{key} is the account of another release")
    account.verify_statement(online.public_key)


def _expect_above(repository: Repository, candidate: Candidate) -> None:
    """Refuse a number that clients may have seen before this repository was restored."""
    lowest = repository.above(candidate.list, 0)
    if candidate.version <= lowest:
        raise Stale(
            f"expected a candidate above version {lowest} of {candidate.list}: the repository "
            "was restored and somebody may have seen that: `blocklist stage --rebase` here"
        )


def _missing(name: str, digest: str, found: Count) -> str:
    ignored = f" ({found.ignored} that do not count)" if found.ignored else ""
    return (
        f"expected {found.needed} approvals of {digest[:12]}, got {len(found.approvals)}{ignored}: "
        f"`{next_command(name, digest, found)}`"
    )
