"""Candidates that can no longer be released, and the approvals of them."""

import zipfile
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO

from blocklist.core import documents
from blocklist.core.errors import FeedError, StoreError
from blocklist.publisher.accounts import Approval
from blocklist.publisher.gc_plan import Doomed, Plan
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from blocklist.store.port import Listed

MEMBER = "candidate.json"
MAX_DOCUMENT_BYTES = 1 << 20


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
        base = _base(found.data) if found is not None else None
    except (FeedError, StoreError) as error:
        if isinstance(error, StoreError) and error.retryable:
            raise
        return False
    since = retained.stale_since(base)
    return since is not None and plan.now - since > wait


def _base(data: bytes) -> str | None:
    """Return the digest of the role file that a candidate was made on."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive, archive.open(MEMBER) as member:
            text = member.read(MAX_DOCUMENT_BYTES)
    except (zipfile.BadZipFile, KeyError, EOFError, RuntimeError, NotImplementedError) as error:
        raise FeedError("expected a candidate as a zip file") from error
    base = documents.optional(documents.parse("a candidate", text), "base", dict)
    return documents.digest(base, "sha256") if base is not None else None


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
            found = repository.store.get(listed.key, limit=MAX_DOCUMENT_BYTES)
            version = Approval.from_bytes(found.data).version if found is not None else None
        except FeedError:
            continue
        if retained is not None and version is not None and version <= retained.newest:
            yield Doomed("approvals", listed)
