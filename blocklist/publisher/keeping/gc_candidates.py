"""Candidates that can no longer be released, and the approvals of them."""

from collections.abc import Iterator
from datetime import timedelta

from blocklist.core.errors import FeedError, StoreError, TooLarge
from blocklist.publisher.accounts import MAX_ACCOUNT_BYTES, Approval
from blocklist.publisher.curation.candidate import Candidate
from blocklist.publisher.keeping.gc_plan import Doomed, Plan
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from blocklist.store.port import Listed


def candidates(repository: Repository, plan: Plan) -> Iterator[Doomed]:
    """Yield stale candidates, each after its approvals; then approvals of candidates elsewhere.

    A candidate is stale when the release that it was made on is no longer the newest one. It goes
    when that has been so for `stale_candidate_days`. One that cannot be read is left alone.
    """
    wait = timedelta(days=repository.settings.stale_candidate_days)
    known: set[str] = set()
    for listed in repository.store.list(layout.CANDIDATES):
        parsed = layout.parse_candidate_key(listed.key)
        if parsed is None:
            continue
        name, digest = parsed
        known.add(digest)
        if plan.now - listed.modified > wait and _stale(repository, plan, name, listed, wait):
            for approval in repository.store.list(layout.approvals_prefix(name, digest)):
                yield Doomed("approvals", approval)
            yield Doomed("candidates", listed)
    yield from _orphans(repository, plan, known, wait)


def _stale(repository: Repository, plan: Plan, name: str, listed: Listed, wait: timedelta) -> bool:
    """Tell whether a candidate has been stale for long enough."""
    retained = plan.lists.get(name)
    if retained is None:
        return False
    try:
        found = repository.store.get(listed.key)
        base = Candidate.from_bytes(found.data).base if found is not None else None
    except (FeedError, StoreError) as error:
        if isinstance(error, StoreError) and error.retryable:
            raise
        return False
    since = retained.stale_since(base[1] if base is not None else None)
    return since is not None and plan.now - since > wait


def _orphans(
    repository: Repository, plan: Plan, known: set[str], wait: timedelta
) -> Iterator[Doomed]:
    """Yield old approvals of candidates that are not stored, for numbers that have passed."""
    for listed in repository.store.list(layout.APPROVALS):
        parsed = layout.parse_approval_key(listed.key)
        if parsed is None or parsed[1] in known or plan.now - listed.modified <= wait:
            continue
        retained = plan.lists.get(parsed[0])
        try:
            found = repository.store.get(listed.key, limit=MAX_ACCOUNT_BYTES)
            version = Approval.from_bytes(found.data).version if found is not None else None
        except (FeedError, TooLarge):
            continue
        if retained is not None and version is not None and version <= retained.newest:
            yield Doomed("approvals", listed)
