"""How candidates are named on the command line, and how they are shown."""

from pathlib import Path
from typing import Any

from blocklist.cli import context, output
from blocklist.core.errors import FeedError, InputError
from blocklist.publisher.curation import approving, carry, staging
from blocklist.publisher.curation.approving import Count
from blocklist.publisher.curation.candidate import Candidate
from blocklist.publisher.curation.staging import Staged
from blocklist.publisher.repository import Repository

SHOWN_DIGITS = 12  # of a digest, for people


def short(digest: str) -> str:
    """Return a digest as people see it."""
    return digest[:SHOWN_DIGITS]


def staged(done: Staged, count: Count, file: Path | None = None) -> dict[str, Any]:
    """Return a candidate that was staged, to the storage or a file, for `--json`."""
    made = done.assembled
    return {
        "list": made.base.name,
        "candidate": done.digest,
        "version": made.version,
        "base": made.base.version,
        "unchanged": done.unchanged,
        "entries": len(done.outcome.lines),
        "added": len(done.outcome.added),
        "removed": len(done.outcome.removed),
        "overrides": [dict(item) for item in made.record.overrides],
        **progress(made.base.name, str(file) if file else done.digest, count),
    }


def staged_of(done: carry.Carried) -> dict[str, Any]:
    """Return the candidate that a request was carried to, for `--json`; nothing without one."""
    if done.staged is None or done.count is None:
        return {}
    return staged(done.staged, done.count) | {"dry_run": False}


def progress(name: str, candidate: str, count: Count, *, looked: bool = False) -> dict[str, Any]:
    """Return how far a candidate is on its way, for `--json`; it is named by digest or file."""
    return {
        "approvals": len(count.approvals),
        "needed": count.needed,
        "next": approving.next_command(name, candidate, count, looked=looked),
    }


def staged_text(document: dict[str, Any]) -> str:
    """Return what was staged, for people."""
    digest = short(document["candidate"])
    if document["dry_run"]:
        head = f"{document['list']}: a candidate for version {document['version']} would be staged"
    else:
        head = f"{document['list']}: candidate {digest} for version {document['version']} is staged"
    numbers = f"{document['entries']:,} entries (+{document['added']:,} -{document['removed']:,})"
    overrides = [
        f"  overrides {item['guard']}: {item['finding']}" for item in document["overrides"]
    ]
    notes = [f"  {note}" for note in document.get("notes", ())]
    next_ = [] if document["dry_run"] else next_lines(document)
    return "\n".join([f"{head}, {numbers}", *overrides, *notes, *next_])


def next_lines(document: dict[str, Any]) -> list[str]:
    """Return how many have approved, and what comes next."""
    return [
        f"  {document['approvals']} of {document['needed']} approvals; next: {document['next']}"
    ]


def named(
    repository: Repository, name: str, text: str, *, exactly: bool = False
) -> tuple[str, Candidate]:
    """Return digest and content of the candidate that somebody names.

    Args:
        repository: Where.
        name: The list.
        text: A digest, some digits of it, or a file.
        exactly: Only the whole digest or a file will do: whoever can write to the storage can
            make another candidate that begins with the same digits, and remove the first.
    """
    digest, data = file_or_kept(repository, name, text)
    if exactly and digest.startswith(text.lower()) and len(text) < len(digest):
        raise InputError(f"expected the whole digest of what was reviewed, got {text}")
    try:
        found = Candidate.from_bytes(data)
    except FeedError as error:
        raise type(error)(f"{output.safe(text)}: {error}") from error
    if found.list != name:
        raise InputError(f"expected a candidate of {name}, got one of {found.list}")
    return digest, found


def is_file(text: str) -> bool:
    """Tell a path, with a slash or an ending, from a digest."""
    return "/" in text or "." in text


def file_or_kept(repository: Repository, name: str, text: str) -> tuple[str, bytes]:
    """Return digest and file of a candidate: a path with a slash or an ending, or a digest."""
    if is_file(text) or text == context.STANDARD_INPUT:
        data = context.read_source(text)
        return staging.digest_of(data), data
    return staging.find(repository, name, text)
