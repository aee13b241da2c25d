"""Check a candidate: make it again from the lines that come and go, and compare.

    1. The base is the head that this machine's own trust state verifies, or the candidate is stale.
    2. The lines that come and go are canonical, and do so from the base.
    3. Both feeds are made from them; every stored delta and snapshot is decoded against verified
       list bytes of the version it starts from.
    4. Guards are run with this machine's own files. The candidate must override exactly what they
       find.
    5. The role and the record made from all this must be the candidate's, byte for byte; of the
       record, what is compressed in it.

What is left unproven is what only people can know: who staged it, why, and from which files.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from tuf.api.metadata import Metadata

from blocklist.core.entries import Feed
from blocklist.core.errors import DigestMismatch, MalformedFeed
from blocklist.core.release import Facts
from blocklist.core.source_lines import is_canonical_line
from blocklist.publisher import guards, hash_keys, records
from blocklist.publisher.assemble import Assembled, Base, Told, read_base, record_of
from blocklist.publisher.build import Feeds, build_feeds
from blocklist.publisher.curation.candidate import Candidate
from blocklist.publisher.curation.decoding import claimed_of, decoded
from blocklist.publisher.curation.guarding import change_of
from blocklist.publisher.guards import Finding, GuardFiles, GuardsRefused
from blocklist.publisher.hash_keys import Keying
from blocklist.publisher.history import released_lines
from blocklist.publisher.records import Record
from blocklist.publisher.repository import Repository
from blocklist.publisher.request import PUBLISH, ROLLBACK, WITHDRAW, Outcome
from signing import policy
from signing.errors import LostRace
from signing.roles import new_delegated


class Stale(LostRace):
    """A candidate that was made on something else than the head: it can never be released."""


class Unforeseen(GuardsRefused):
    """Guards on this machine find what a candidate does not override."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__(findings)
        told = "; ".join(f"{item.guard}: {item.text}" for item in findings)
        self.args = (f"guards here find what the candidate does not override: {told}",)


@dataclass(frozen=True, slots=True)
class Checked:
    """A candidate that is what it claims to be.

    Attributes:
        candidate: The candidate.
        assembled: The same version, made on this machine.
        outcome: The lines it would have, and which come and go.
        findings: What the guards find here.
    """

    candidate: Candidate
    assembled: Assembled
    outcome: Outcome
    findings: tuple[Finding, ...]

    @property
    def base(self) -> Base:
        """What it is made on."""
        return self.assembled.base

    @property
    def record(self) -> Record:
        """Its record; who, reason and source in it are the stager's words."""
        return self.assembled.record

    @property
    def overridden(self) -> tuple[str, ...]:
        """The guards that it overrides."""
        return tuple(item["guard"] for item in self.record.overrides)


def check(repository: Repository, candidate: Candidate, files: GuardFiles | None) -> Checked:
    """Make a candidate again and compare.

    Args:
        repository: Where; nothing is written.
        candidate: From anywhere.
        files: This machine's guard files. None: guards are not run (for whoever only makes live
            what others have signed).

    Raises:
        Stale: It was made on another release, under other keys, or too long ago.
        Unforeseen: Guards find more here than it overrides.
        DigestMismatch: It is not what its changes lead to.
        MalformedFeed, UnknownFormat: It is damaged or from a newer version.
    """
    base = read_base(repository, candidate.list)
    record = Record.from_bytes(candidate.record)
    _expect_base(repository, candidate, record, base)
    outcome = _outcome(record, base)
    _expect_operation(record)
    claimed = claimed_of(candidate, Feed.HASHED).facts
    keying = hash_keys.expected(
        record.operation, record.overrides, claimed, base.hashed, base.secret
    )
    if hash_keys.too_late(record.operation, claimed, repository.clock()):
        raise Stale(
            "the candidate would announce a hash key too short before its use: "
            f"`blocklist list rotate-hash-key {base.name}` makes another"
        )
    feeds = build_feeds(outcome.lines, keying.key)
    found: tuple[Finding, ...] = ()
    if files is not None and record.operation not in hash_keys.OPERATIONS:
        change = change_of(repository, base, outcome, record.operation, record.source)
        found = tuple(guards.find(change, repository.settings, files))
        _expect_overrides(record, found)
        outcome = replace(outcome, history_complete=change.history_complete)
    if files is not None and record.operation == ROLLBACK:
        _expect_restored(repository, record, base, outcome)
    assembled = _made_again(repository, candidate, record, base, outcome, feeds, keying)
    return Checked(candidate, assembled, outcome, found)


def _expect_base(repository: Repository, candidate: Candidate, record: Record, base: Base) -> None:
    """Refuse a candidate that was made on something else than the head."""
    name, again = candidate.list, "`blocklist stage --rebase` makes it anew, without approvals"
    if candidate.base != base.reference:
        made_on = candidate.base[0] if candidate.base else 0
        if candidate.base is not None and made_on == base.version:
            raise DigestMismatch(f"the candidate for {name} names another version {made_on}")
        raise Stale(
            f"the candidate for {name} was made on version {made_on}, "
            f"the newest is {base.version or 0}: {again}"
        )
    if record.delegation != base.delegation:
        raise Stale(f"the targets role changed since the candidate for {name} was made: {again}")
    if not 0 < candidate.version - (base.version or 0) <= policy.MAX_JUMP:
        raise DigestMismatch(
            f"expected a candidate for {name} with a number up to {policy.MAX_JUMP} above "
            f"{base.version or 0}, got {candidate.version}"
        )
    if base.hashed is not None and record.created < base.hashed.created - policy.CLOCK_SLACK:
        raise DigestMismatch(f"the candidate for {name} is older than what it was made on")
    now = repository.clock()
    if record.created > now + policy.CLOCK_SLACK:
        raise DigestMismatch("the candidate was made later than this clock says; set the clock")
    if record.created < now - repository.settings.candidate_lifetime:
        days = repository.settings.candidate_days
        raise Stale(f"the candidate for {name} is older than {days:g} days: {again}")


def _outcome(record: Record, base: Base) -> Outcome:
    """Apply the lines that come and go to the base, strictly."""
    added, removed = _lines(record.added), _lines(record.removed)
    before = base.lines
    if any(line in before for line in added):
        raise DigestMismatch("the candidate adds what is listed already")
    if any(line not in before for line in removed):
        raise DigestMismatch("the candidate removes what is not listed")
    if not all(map(is_canonical_line, added)):
        raise DigestMismatch("the candidate adds lines that are no canonical entries")
    if base.test_line in removed:
        raise DigestMismatch("the candidate removes the test entry")
    lines = (before - set(removed)) | set(added)
    if base.test_line not in lines:
        raise DigestMismatch("the candidate lacks the test entry")
    return Outcome(lines, added, removed, 0, 0)


def _lines(lines: Iterable[Any]) -> tuple[bytes, ...]:
    """Return lines of a record as bytes; they must be sorted and unique."""
    try:
        found = tuple(line.encode("ascii") for line in lines)
    except (AttributeError, UnicodeEncodeError):
        raise MalformedFeed("expected entries as ASCII lines in the record") from None
    if any(one >= other for one, other in pairwise(found)):
        raise MalformedFeed("expected the entries of the record sorted, each once")
    return found


def _expect_operation(record: Record) -> None:
    """Refuse a candidate that calls itself what it is not: some guards go by that word."""
    moved = (bool(record.added), bool(record.removed))
    fits = {
        PUBLISH: True,
        ROLLBACK: True,
        WITHDRAW: moved == (False, True),
        **dict.fromkeys(hash_keys.OPERATIONS, moved == (False, False)),
    }
    if not fits.get(record.operation, False):
        raise DigestMismatch("the candidate is not the operation that it calls itself")
    early = [item for item in record.overrides if item.get("guard") == hash_keys.EARLY]
    if record.operation in hash_keys.OPERATIONS and len(early) != len(record.overrides):
        raise DigestMismatch("the candidate overrides guards that a hash key does not meet")


def _expect_overrides(record: Record, found: tuple[Finding, ...]) -> None:
    """Refuse a candidate that overrides something else than the guards find here."""
    told = [(item.get("guard"), item.get("finding")) for item in record.overrides]
    here = [(item.guard, item.text) for item in found]
    if missing := [item for item in found if (item.guard, item.text) not in told]:
        raise Unforeseen(missing)
    if Counter(told) != Counter(here):
        codes = ", ".join(sorted({str(code) for code, _ in Counter(told) - Counter(here)}))
        raise DigestMismatch(
            f"the candidate overrides what guards do not find on this machine ({codes})"
        )


def _expect_restored(repository: Repository, record: Record, base: Base, outcome: Outcome) -> None:
    """Refuse a rollback that leads to anything else than the version it names: few guards look."""
    version = record.source.get("version")
    if version is None:
        raise DigestMismatch("the candidate is a rollback that names no version")
    lines = released_lines(repository, base.head, base.name, version)
    if not lines.issuperset(outcome.added) or not lines.isdisjoint(outcome.removed):
        raise DigestMismatch(f"the candidate is no rollback to version {version}")


def _made_again(
    repository: Repository,
    candidate: Candidate,
    record: Record,
    base: Base,
    outcome: Outcome,
    feeds: Feeds,
    keying: Keying,
) -> Assembled:
    """Make record and role again, and compare them with the candidate's."""
    told = Told(
        record.operation,
        record.who,
        record.created,
        record.reason,
        record.source,
        record.overrides,
        record.reasons,
    )
    again = record_of(repository, base, outcome, feeds, told)
    if again.to_json() != records.unpacked(candidate.record):
        raise DigestMismatch("the record of the candidate is not what its changes lead to")
    if not set(record.reasons) <= {*record.added, *record.removed}:
        raise DigestMismatch("the record of the candidate gives reasons for other entries")
    facts = Facts(
        entries=len(outcome.lines),
        created=record.created,
        record=records.digest(candidate.record),
        prev=base.reference,
        hash_key_id=keying.key.id,
        next_hash_key=keying.following,
    )
    stored = repository.settings.list_object_bytes
    built = decoded(candidate, base, facts, feeds, list_object_bytes=stored)
    signed = new_delegated(candidate.version, built.targets, record.created)
    if Metadata(signed).signed_bytes != candidate.signed_bytes:
        raise DigestMismatch("the role of the candidate is not what its changes lead to")
    return Assembled(base, candidate.version, signed, record, candidate.record, feeds, built)
