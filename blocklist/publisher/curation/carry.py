"""Carry a request as far as one person may: released where that is enough, else staged and signed.

`withdraw`, `rollback` and `list rotate-hash-key` end here, so that in a hurry nobody has to think
about which commands come next: what is left to do is said exactly.
"""

from dataclasses import dataclass, replace

from blocklist.core.errors import InputError
from blocklist.publisher.curation.approving import Count, approve, count
from blocklist.publisher.curation.candidate import Candidate
from blocklist.publisher.curation.guarding import withdrawn_lines
from blocklist.publisher.curation.staging import Staged, stage
from blocklist.publisher.history import released_lines
from blocklist.publisher.publish import Published, needs_others, publish
from blocklist.publisher.repository import Repository
from blocklist.publisher.request import Options, Outcome, Request, content
from signing.errors import SignaturesMissing


@dataclass(frozen=True, slots=True)
class Carried:
    """How far a request was carried; one of the two is None.

    Attributes:
        outcome: The lines that come and go.
        published: It is released.
        staged: It is a candidate now.
        count: The approvals of that candidate.
    """

    outcome: Outcome
    published: Published | None = None
    staged: Staged | None = None
    count: Count | None = None


def carry(repository: Repository, request: Request, key: str | None = None) -> Carried:
    """Release what is asked for, or stage it and sign it once.

    Args:
        repository: Where.
        request: What is asked for.
        key: Name of the key to sign with, where several here may; else the only one.

    Raises:
        As `publish.publish`, or `staging.stage` and `approving.approve`; but a candidate that no
        key here may sign is staged all the same.
    """
    if request.options.dry_run or not needs_others(repository, request.list):
        published = publish(repository, request)
        return Carried(published.outcome, published)
    staged = stage(repository, request)
    candidate = Candidate.from_bytes(staged.data)
    codes = [item["guard"] for item in staged.assembled.record.overrides]
    try:
        done = approve(repository, staged.digest, candidate, key=key, allowed=codes)
    except SignaturesMissing:
        head = staged.assembled.base.head
        return Carried(
            staged.outcome, None, staged, count(repository, head, staged.digest, candidate)
        )
    return Carried(staged.outcome, None, staged, done.count)


def rollback(
    repository: Repository,
    list_name: str,
    version: int,
    options: Options,
    *,
    without_withdrawn: bool = False,
) -> Request:
    """Return the request for a new version with the content of an earlier one.

    Args:
        repository: Where.
        list_name: The list.
        version: The earlier one.
        options: Which guards are overridden, and why.
        without_withdrawn: Leave out what was withdrawn since, which a guard refuses otherwise.

    Raises:
        UnknownList: There is no such list.
        InputError: A version that was never released, or the newest.
    """
    head = repository.head([list_name])
    newest = head.roles[list_name].version if list_name in head.roles else 0
    if version == newest:
        raise InputError(f"version {version} is the newest already")
    lines = frozenset(released_lines(repository, head, list_name, version))
    if not without_withdrawn:
        return content(list_name, version, lines, newest, options)
    withdrawn, _ = withdrawn_lines(repository, head, list_name, version)
    left = lines & withdrawn
    note = f"left out what was withdrawn since: {len(left):,}"
    request = content(list_name, version, lines - left, newest, options)
    return replace(request, notes=(note,))
