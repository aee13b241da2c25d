"""`review`: which candidates there are, and what one of them would do."""

import json
import secrets
from dataclasses import dataclass
from datetime import datetime

from blocklist.core.errors import BlocklistError, InputError, StoreUnreachable
from blocklist.publisher.curation import review, staging
from blocklist.publisher.curation.approving import Count, count
from blocklist.publisher.curation.candidate import Candidate
from blocklist.publisher.curation.checking import Checked, check
from blocklist.publisher.curation.review import Removal, Review
from blocklist.publisher.guards import GuardFiles
from blocklist.publisher.index import open_index
from blocklist.publisher.records import Record
from blocklist.publisher.repository import Repository
from signing import names, policy
from signing.errors import TrustError
from signing.head import Head

OPEN, RELEASED, STALE, VOID, BAD = "open", "released", "stale", "void", "bad"
SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class Looked:
    """A candidate that was made again, for somebody to look at.

    Attributes:
        checked: The candidate.
        review: What it would do.
        count: How far it is on its way.
        complete: Whether all records could be read; else entries may return that nobody calls so.
    """

    checked: Checked
    review: Review
    count: Count
    complete: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """A candidate in the storage, as it calls itself.

    Attributes:
        digest: By which it is known.
        state: `open`, `released`, `stale` (made on another release than the newest), `void` or
            `bad`.
        why: What is the matter with one that is not open.
        version, operation, who, created, added, removed: What it says; None for a bad one.
        approvals, needed: How many keys have signed, and how many must.
    """

    digest: str
    state: str
    why: str | None
    version: int | None
    operation: str | None
    who: str | None
    created: datetime | None
    added: int | None
    removed: int | None
    approvals: int
    needed: int


def look(repository: Repository, digest: str, candidate: Candidate) -> Looked:
    """Make a candidate again and say what it would do.

    Raises:
        InputError: It was voided.
        Stale, GuardRefused, DigestMismatch, MalformedFeed: See `checking.check`.
    """
    staging.expect_live(repository, candidate.list, digest)
    checked = check(repository, candidate, GuardFiles.load(repository.settings))
    base = checked.base
    with open_index(repository, candidate.list, head=base.head, partly=True) as index:
        complete = index.complete
        returning = {
            line: Removal(found.version, found.operation, found.reason)
            for line, found in index.removed(checked.outcome.added).items()
        }
    made = review.build(
        len(base.lines),
        checked.outcome.added,
        checked.outcome.removed,
        findings=checked.findings,
        overrides={str(item["guard"]): str(item["reason"]) for item in checked.record.overrides},
        returning=returning,
        reason=checked.record.reason,
        seed=secrets.token_bytes(SEED_BYTES),
    )
    found = count(repository, base.head, digest, candidate)
    return Looked(checked, made, found, complete)


def candidates(repository: Repository, list_name: str) -> list[Waiting]:
    """Return all candidates of a list, the newest first; only their shape is checked.

    Raises:
        UnknownList: There is no such list.
    """
    head = repository.head([list_name])
    kept = staging.kept(repository, list_name)
    newest_first = sorted(kept, key=lambda digest: (kept[digest], digest), reverse=True)
    return [_waiting(repository, head, list_name, digest) for digest in newest_first]


def _waiting(repository: Repository, head: Head, list_name: str, digest: str) -> Waiting:
    try:
        candidate = Candidate.from_bytes(staging.read(repository, list_name, digest))
        record = Record.from_bytes(candidate.record)
        if candidate.list != list_name:
            raise InputError(f"it is for {candidate.list}")
        found = count(repository, head, digest, candidate)
    except StoreUnreachable:
        raise
    except (BlocklistError, TrustError) as error:
        return Waiting(digest, BAD, str(error), None, None, None, None, None, None, 0, 0)
    state, why = _state(repository, head, digest, candidate)
    return Waiting(
        digest,
        state,
        why,
        candidate.version,
        record.operation,
        record.who,
        record.created,
        len(record.added),
        len(record.removed),
        len(found.approvals),
        found.needed,
    )


def _state(
    repository: Repository, head: Head, digest: str, candidate: Candidate
) -> tuple[str, str | None]:
    """Return how a candidate stands, and why it is not open."""
    mark = staging.voided(repository, candidate.list, digest)
    if mark is not None:
        return VOID, f"voided by {mark.who}: {mark.reason}"
    role = head.roles.get(candidate.list)
    if role is not None and candidate.version <= role.version:
        stored = repository.metadata.get(
            names.file_name(candidate.list, candidate.version), limit=policy.MAX_TARGETS_BYTES
        )
        if stored is not None and _signed_part(stored.data) == candidate.signed.to_dict():
            return RELEASED, None
    if candidate.base != ((role.version, role.digest) if role is not None else None):
        newest = role.version if role is not None else 0
        return STALE, f"the newest release is version {newest}"
    return OPEN, None


def _signed_part(data: bytes) -> object:
    """Return the signed part of a role file, None of anything else."""
    try:
        return json.loads(data)["signed"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
