"""Commands by which several people release: stage, review, approve, release, void; and in a hurry:
withdraw, rollback.
"""

from pathlib import Path
from typing import Any

import click

from blocklist.cli import context, output, sources
from blocklist.core.entries import Entry
from blocklist.core.errors import FeedError, InputError
from blocklist.publisher import approving, carry, releasing, staging
from blocklist.publisher.accounts import Approval
from blocklist.publisher.approving import Count
from blocklist.publisher.candidate import Candidate
from blocklist.publisher.publish import notes_of
from blocklist.publisher.repository import Repository
from blocklist.publisher.request import Options, Outcome, withdrawal
from blocklist.publisher.staging import Staged

SHOWN_DIGITS = 12  # of a digest, for people

_candidate = click.argument("candidate", metavar="CANDIDATE")
_key = click.option("--key", metavar="NAME", help="Key of this home to sign with.")
_name = click.argument("name", metavar="LIST")


@click.command()
@_name
@sources.options
@click.option("--rebase", metavar="CANDIDATE", help="Make this one anew on the newest version.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the candidate to this file, not to the storage.",
)
@context.publisher
def stage(
    name: str,
    rebase: str | None,
    out: Path | None,
    storage: str,
    home: Path,
    config: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Make a candidate for a new version of LIST, for others to review, approve and release.

    FILE and options are those of `publish`. Without any, the list as it is would be signed again.
    """
    repository = context.open_repository(storage, home, config)
    replaces = None
    if rebase is not None:
        if sources.named(given):
            raise InputError("expected --rebase without FILE, --add and --remove")
        replaces, data = _file_or_kept(repository, name, rebase)
        request = staging.rebased(data, sources.read_options(given))
        if request.list != name:
            raise InputError(f"expected a candidate of {name}, got one of {request.list}")
    else:
        request = sources.read(repository, name, given)
    done = staging.stage(repository, request, keep=out is None, replaces=replaces)
    if out is not None and not request.options.dry_run:
        with context.new_file(out, done.data):
            pass
    candidate = Candidate.from_bytes(done.data)
    count = approving.count(repository, done.assembled.base.head, done.digest, candidate)
    document = _staged(done, count) | {
        "notes": list(notes_of(request, done.outcome)),
        "file": str(out) if out is not None else None,
        "dry_run": request.options.dry_run,
    }
    output.emit(document, as_json=as_json, text=_staged_text(document))


@click.command()
@_name
@_candidate
@_key
@click.option("--allow", multiple=True, metavar="GUARD", help="An override to accept.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the approval to this file, not to the storage.",
)
@context.publisher
def approve(
    name: str,
    candidate: str,
    key: str | None,
    allow: tuple[str, ...],
    out: Path | None,
    storage: str,
    home: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Sign CANDIDATE of LIST, after making it again on this machine.

    CANDIDATE is its digest, eight or more digits of it, or a file. Overrides of guards have to be
    accepted by name.
    """
    repository = context.open_repository(storage, home, config)
    digest, found = _candidate_of(repository, name, candidate)
    done = approving.approve(repository, digest, found, key=key, allowed=allow, keep=out is None)
    if out is not None and done.changed:
        with context.new_file(out, done.approval.to_bytes()):
            pass
    document = {
        "list": name,
        "candidate": digest,
        "version": found.version,
        "keyid": done.approval.keyid,
        "changed": done.changed,
        "allowed": list(done.approval.allowed),
        "file": str(out) if out is not None else None,
        **_progress(name, digest, done.count),
    }
    verb = "approved" if done.changed else "was approved already"
    lines = [f"{name}: candidate {digest[:SHOWN_DIGITS]} for version {found.version} {verb}"]
    output.emit(document, as_json=as_json, text="\n".join([*lines, *_next(document)]))


@click.command()
@_name
@_candidate
@click.option(
    "--approval",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="An approval that came as a file; may be repeated.",
)
@context.publisher
def release(
    name: str,
    candidate: str,
    files: tuple[Path, ...],
    storage: str,
    home: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Make CANDIDATE of LIST live, once enough people have approved it; needs the online key."""
    repository = context.open_repository(storage, home, config)
    digest, found = _candidate_of(repository, name, candidate)
    done = releasing.release(repository, digest, found, [_approval(path) for path in files])
    document = {
        "list": name,
        "candidate": digest,
        "version": done.version,
        "changed": done.changed,
        "approvals": [{"keyid": item.keyid, "who": item.who} for item in done.approvals.values()],
    }
    verb = "is released" if done.changed else "was released already"
    who = ", ".join(item.who for item in done.approvals.values())
    text = f"{name}: version {done.version} {verb}, approved by {who}"
    output.emit(document, as_json=as_json, text=output.safe(text))


@click.command()
@_name
@_candidate
@click.option("--reason", required=True, help="Why; kept with the mark.")
@context.publisher
def void(
    name: str,
    candidate: str,
    reason: str,
    storage: str,
    home: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Take CANDIDATE of LIST back before its release: nobody can approve or release it."""
    repository = context.open_repository(storage, home, config)
    digest, _ = _candidate_of(repository, name, candidate)
    mark = staging.void(repository, name, digest, reason)
    document = {"list": name, "candidate": digest, "who": mark.who, "reason": mark.reason}
    text = f"{name}: candidate {digest[:SHOWN_DIGITS]} is void"
    output.emit(document, as_json=as_json, text=text)


@click.command()
@_name
@click.argument("urls", nargs=-1, metavar="URL..")
@click.option("--reason", required=True, help="Why; kept in the record of the release.")
@click.option("--ignore-missing", is_flag=True, help="URLs that nothing covers are no error.")
@click.option("--dry-run", is_flag=True, help="Say what would happen; write nothing.")
@_key
@context.publisher
def withdraw(
    name: str,
    urls: tuple[str, ...],
    reason: str,
    ignore_missing: bool,
    dry_run: bool,
    key: str | None,
    storage: str,
    home: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Remove every entry of LIST, of any kind, that covers one of the URLs, and say which.

    A lone `-` reads URLs from standard input, one a line. Where several people release, the
    candidate is staged and signed once, and the next command is printed.
    """
    repository = context.open_repository(storage, home, config)
    options = Options(reason=reason, ignore_missing=ignore_missing, dry_run=dry_run)
    request = withdrawal(name, sources.urls(urls), options)
    _carried(name, carry.carry(repository, request, key), as_json=as_json, dry_run=dry_run)


@click.command()
@_name
@click.argument("version", type=click.IntRange(min=1))
@click.option("--allow", multiple=True, metavar="GUARD", help="Override a guard.")
@click.option("--reason", required=True, help="Why; kept in the record of the release.")
@click.option("--dry-run", is_flag=True, help="Say what would happen; write nothing.")
@_key
@context.publisher
def rollback(
    name: str,
    version: int,
    allow: tuple[str, ...],
    reason: str,
    dry_run: bool,
    key: str | None,
    storage: str,
    home: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Release the content of VERSION of LIST again, as a new version.

    What was withdrawn since stays away: `--allow withdrawn` would list it again.
    """
    repository = context.open_repository(storage, home, config)
    options = Options(allowed=dict.fromkeys(allow, reason), reason=reason, dry_run=dry_run)
    request = carry.rollback(repository, name, version, options)
    _carried(name, carry.carry(repository, request, key), as_json=as_json, dry_run=dry_run)


def _carried(name: str, done: carry.Carried, *, as_json: bool, dry_run: bool) -> None:
    """Say how far a request was carried, and which entries come and go."""
    outcome = done.outcome
    document: dict[str, Any] = {"list": name, "dry_run": dry_run, **_moved(outcome)}
    lines = [f"- {output.shown(line.decode())}" for line in outcome.removed]
    lines += [f"+ {output.shown(line.decode())}" for line in outcome.added]
    if done.published is not None:
        verb = "would be" if dry_run else "is"
        document |= {"version": done.published.version, "released": not dry_run}
        number = "the next version" if dry_run else f"version {done.published.version}"
        lines.append(f"{name}: {number} {verb} released ({_sum(outcome)})")
    elif done.staged is not None and done.count is not None:
        document |= _staged(done.staged, done.count) | {"released": False}
        lines.append(_staged_text(document))
    output.emit(document, as_json=as_json, text="\n".join(lines))


def _moved(outcome: Outcome) -> dict[str, Any]:
    """Return the entries that come and go, exactly."""
    return {
        "removed_entries": [_entry(line) for line in outcome.removed],
        "added_entries": [_entry(line) for line in outcome.added],
    }


def _entry(line: bytes) -> dict[str, str]:
    entry = Entry.from_line(line)
    return {"kind": entry.kind.value, "expression": entry.expression}


def _staged(done: Staged, count: Count) -> dict[str, Any]:
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
        **_progress(made.base.name, done.digest, count),
    }


def _progress(name: str, digest: str, count: Count) -> dict[str, Any]:
    return {
        "approvals": len(count.approvals),
        "needed": count.needed,
        "next": approving.next_command(name, digest, count.missing),
    }


def _staged_text(document: dict[str, Any]) -> str:
    """Return what was staged, for people."""
    digest = document["candidate"][:SHOWN_DIGITS]
    if document["dry_run"]:
        head = f"{document['list']}: a candidate for version {document['version']} would be staged"
    else:
        head = f"{document['list']}: candidate {digest} for version {document['version']} is staged"
    numbers = f"{document['entries']:,} entries (+{document['added']:,} -{document['removed']:,})"
    overrides = [
        f"  overrides {item['guard']}: {item['finding']}" for item in document["overrides"]
    ]
    notes = [f"  {note}" for note in document.get("notes", ())]
    next_ = [] if document["dry_run"] else _next(document)
    return "\n".join([f"{head}, {numbers}", *overrides, *notes, *next_])


def _next(document: dict[str, Any]) -> list[str]:
    """Return how many have approved, and what comes next."""
    return [
        f"  {document['approvals']} of {document['needed']} approvals; next: {document['next']}"
    ]


def _sum(outcome: Outcome) -> str:
    return f"+{len(outcome.added):,} -{len(outcome.removed):,}"


def _candidate_of(repository: Repository, name: str, text: str) -> tuple[str, Candidate]:
    """Return digest and content of the candidate that somebody names."""
    digest, data = _file_or_kept(repository, name, text)
    try:
        found = Candidate.from_bytes(data)
    except FeedError as error:
        raise type(error)(f"{output.safe(text)}: {error}") from error
    if found.list != name:
        raise InputError(f"expected a candidate of {name}, got one of {found.list}")
    return digest, found


def _file_or_kept(repository: Repository, name: str, text: str) -> tuple[str, bytes]:
    """Return digest and file of a candidate: a path with a slash or an ending, or a digest."""
    if "/" in text or "." in text or text == context.STANDARD_INPUT:
        data = context.read_source(text)
        return staging.digest_of(data), data
    return staging.find(repository, name, text)


def _approval(path: Path) -> Approval:
    data = context.read_source(str(path), approving.MAX_APPROVAL_BYTES)
    try:
        return Approval.from_bytes(data)
    except FeedError as error:
        raise InputError(f"{path}: {error}") from error


COMMANDS = (stage, approve, release, void, withdraw, rollback)
