"""`publish`: a new signed version in one step, where one person may release alone.

It is the same path as `stage`, `approve` and `release`, with nothing kept in between. A release by
changes that lost the race is applied again to the new head; a whole list is tied to the version it
was computed from and ends with `LostRace`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from blocklist.publisher.assemble import Base, read_base, renewal_due
from blocklist.publisher.curation import candidate as candidates
from blocklist.publisher.curation.approving import role_file, signed, threshold_of
from blocklist.publisher.curation.candidate import Candidate
from blocklist.publisher.curation.preparing import Prepared, expect_base, made_of, prepare
from blocklist.publisher.curation.releasing import make_live
from blocklist.publisher.racing import until_committed
from blocklist.publisher.repository import Repository
from blocklist.publisher.request import INCOMPLETE, WITHDRAW, Outcome, Request
from signing import commit
from signing.errors import SignaturesMissing


@dataclass(frozen=True, slots=True)
class Published:
    """What a publish did.

    Attributes:
        list: The list.
        version: Its version now; None for a first dry run.
        unchanged: The list was as asked already.
        entries: Entries now, the test entry included.
        added, removed: How many entries came and went.
        digests: SHA-256 of the list bytes by feed.
        outcome: The lines that came and went.
        notes: What an admin should know, in words.
        stored: Length by what was stored: `clear delta-1`.
    """

    list: str
    version: int | None
    unchanged: bool
    entries: int
    added: int
    removed: int
    digests: Mapping[str, str]
    outcome: Outcome = field(repr=False)
    notes: tuple[str, ...] = ()
    stored: Mapping[str, int] = field(default_factory=dict)


def publish(repository: Repository, request: Request) -> Published:
    """Release a new version of a list.

    Raises:
        UnknownList, InputError, BadSource: The request is wrong.
        GuardRefused: It would do harm.
        SignaturesMissing: The list needs more than one person, or this home cannot sign.
        LostRace: Somebody else released first.
        OutcomeUnknown: The commit may or may not have happened.
    """
    settings = repository.settings

    first: list[int] = []  # the version that a whole list is tied to when it says none itself

    def attempt(taken: Mapping[str, int]) -> Published:
        base = read_base(repository, request.list)
        first.append(base.version or 0)
        expect_base(request, base, first[0])
        return _attempt(repository, request, base, taken)

    with repository.home.lock(settings.lock_seconds):
        return until_committed(attempt, settings.race_seconds)


def needs_others(repository: Repository, list_name: str) -> bool:
    """Tell whether a list needs more than one person to release.

    Raises:
        UnknownList: There is no such list.
    """
    return threshold_of(repository.head([list_name]), list_name) > 1


def _attempt(
    repository: Repository, request: Request, base: Base, taken: Mapping[str, int]
) -> Published:
    """Release once on this base."""
    prepared = prepare(repository, request, base)
    result = _result(request, prepared)
    asked = not prepared.unchanged or request.renew or request.hash_key is not None
    due = asked or renewal_due(base, prepared.told.created)
    if request.options.dry_run or not due:
        return result
    version, stored = _release(repository, prepared, taken)
    return replace(result, version=version, stored=stored)


def _release(
    repository: Repository, prepared: Prepared, taken: Mapping[str, int]
) -> tuple[int, dict[str, int]]:
    """Assemble, sign and make live; returns the version and what it stored, by length."""
    base = prepared.base
    if threshold_of(base.head, base.name) > 1:
        raise SignaturesMissing(
            f"{base.name} is released by several people: `blocklist stage {base.name}`, "
            "then `approve` and `release`"
        )
    above = repository.above(base.name, base.version or 0)
    version = commit.free_version(repository.metadata, base.name, above, taken)
    made = made_of(repository, prepared, version)
    candidate = Candidate.of(made)
    digest = candidates.digest(candidate.to_bytes())
    [signer] = repository.list_signers(base.head, base.name)
    codes = tuple(item["guard"] for item in made.record.overrides)
    approval = signed(repository, digest, candidate, signer, codes)
    approvals = {approval.keyid: approval}
    online = repository.online_signer(base.head)
    role = role_file(candidate, approvals)
    make_live(repository, made, role, digest, approvals, online, taken)
    return version, {target.path: target.length for target in made.built.targets}


def _result(request: Request, prepared: Prepared) -> Published:
    outcome = prepared.outcome
    return Published(
        request.list,
        prepared.base.version,
        prepared.unchanged,
        len(outcome.lines),
        len(outcome.added),
        len(outcome.removed),
        prepared.feeds.digests,
        outcome,
        tuple(notes_of(request, outcome)),
    )


def notes_of(request: Request, outcome: Outcome) -> Iterator[str]:
    """Yield what an admin should know of a request, in words."""
    if outcome.listed_already:
        yield f"{outcome.listed_already} entries to add were listed already"
    if outcome.missing:
        what = (
            "URLs were not covered"
            if request.operation == WITHDRAW
            else ("entries to remove were not listed")
        )
        yield f"{outcome.missing} {what}"
    for file in request.source.get("files") or ():
        for what in ("dropped", "skipped"):
            yield from (f"{count} x {code} {what}" for code, count in sorted(file[what].items()))
        if file["duplicates"]:
            yield f"{file['duplicates']} duplicate lines"
    yield from (f"{count} x {code} left out" for code, count in outcome.left_out.items())
    if not outcome.history_complete:
        yield INCOMPLETE
    yield from request.notes
