"""Commands by which several people release: stage, review, approve, release, void."""

from pathlib import Path
from typing import Any

import click

from blocklist.cli import candidates, context, output, review_text, sources
from blocklist.core.documents import format_time
from blocklist.core.entries import Feed
from blocklist.core.errors import FeedError, InputError
from blocklist.publisher import hash_keys
from blocklist.publisher.accounts import Approval
from blocklist.publisher.curation import approving, releasing, reviewing, staging
from blocklist.publisher.curation.candidate import Candidate
from blocklist.publisher.curation.decoding import claimed_of
from blocklist.publisher.publish import notes_of
from blocklist.publisher.records import Record
from blocklist.publisher.request import INCOMPLETE

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
        replaces, data = candidates.file_or_kept(repository, name, rebase)
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
    document = candidates.staged(done, count, out) | {
        "notes": list(notes_of(request, done.outcome)),
        "file": str(out) if out is not None else None,
        "dry_run": request.options.dry_run,
    }
    output.emit(document, as_json=as_json, text=candidates.staged_text(document))


@click.command()
@_name
@click.argument("candidate", metavar="[CANDIDATE]", required=False)
@click.option("--full", is_flag=True, help="Show every entry, however many there are.")
@context.publisher
def review(
    name: str,
    candidate: str | None,
    full: bool,
    storage: str,
    home: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Show what CANDIDATE of LIST would do, made again on this machine; without it, all of them.

    Nothing shown is taken from the candidate but the stager's reasons, and those are marked.
    """
    repository = context.open_repository(storage, home, config)
    if candidate is None:
        found = reviewing.candidates(repository, name)
        rows = [_waiting(item) for item in found]
        output.emit(rows, as_json=as_json, text=_waiting_text(name, rows))
        return
    digest, content = candidates.named(repository, name, candidate)
    looked = reviewing.look(repository, digest, content)
    document = {
        "list": name,
        "candidate": digest,
        "version": content.version,
        "base": looked.checked.base.version,
        "operation": looked.checked.record.operation,
        "staged": {
            "who": looked.checked.record.who,
            "created": format_time(looked.checked.record.created),
            "source": dict(looked.checked.record.source),
        },
        "hash_key": _hash_key(content, looked.checked.record),
        "history_complete": looked.complete,
        **candidates.progress(name, _named(candidate, digest), looked.count, looked=True),
        "review": review_text.document(looked.review),
    }
    if as_json:
        output.emit(document, as_json=True)
        return
    told = [document["hash_key"]["told"]] if document["hash_key"] else []
    told += [] if looked.complete else [f"WARNING: {INCOMPLETE}"]
    lines = [_staged_by(document), *told, *candidates.next_lines(document)]
    review_text.show("\n".join([*lines, "", review_text.render(looked.review, full=full)]))


def _hash_key(candidate: Candidate, record: Record) -> dict[str, Any] | None:
    """Return what a candidate does to the hash key, None when it leaves it as it is."""
    if record.operation not in hash_keys.OPERATIONS:
        return None
    facts = claimed_of(candidate, Feed.HASHED).facts
    following = facts.next_hash_key
    if following is None:
        early = [f"; {item['finding']} (override {item['guard']})" for item in record.overrides]
        told = f"it puts the hash key {facts.hash_key_id} in use{''.join(early)}"
        return {"id": facts.hash_key_id, "from": None, "told": told}
    start = format_time(following[1])
    told = f"it announces the hash key {following[0]}, to be in use from {start} on"
    return {"id": following[0], "from": start, "told": told}


def _staged_by(document: dict[str, Any]) -> str:
    """Return what is reviewed, and who made it."""
    staged = document["staged"]
    return output.safe(
        f"{document['list']}: candidate {candidates.short(document['candidate'])} for version "
        f"{document['version']} ({document['operation']}), staged by {staged['who']} "
        f"at {staged['created']}"
    )


def _waiting(item: reviewing.Waiting) -> dict[str, Any]:
    return {
        "candidate": item.digest,
        "state": item.state,
        "why": item.why,
        "version": item.version,
        "operation": item.operation,
        "who": item.who,
        "created": format_time(item.created) if item.created is not None else None,
        "added": item.added,
        "removed": item.removed,
        "approvals": item.approvals,
        "needed": item.needed,
    }


def _waiting_text(name: str, rows: list[dict[str, Any]]) -> str:
    """Return the candidates of a list, for people."""
    if not rows:
        return f"{name}: no candidates"
    columns = ("candidate", "state", "version", "added", "removed", "approvals", "needed", "who")
    cells = [
        [candidates.short(row["candidate"]), *(row[column] for column in columns[1:])]
        for row in rows
    ]
    return output.table(columns, cells)


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

    CANDIDATE is its whole digest as `review` tells it, or a file. Overrides of guards have to be
    accepted by name.
    """
    repository = context.open_repository(storage, home, config)
    digest, found = candidates.named(repository, name, candidate, exactly=True)
    done = approving.approve(repository, digest, found, key=key, allowed=allow, keep=out is None)
    if out is not None and done.changed:
        with context.new_file(out, done.approval.to_bytes()):
            pass
    if not done.checked.outcome.history_complete:
        output.warn([INCOMPLETE])
    document = {
        "list": name,
        "candidate": digest,
        "version": found.version,
        "keyid": done.approval.keyid,
        "changed": done.changed,
        "allowed": list(done.approval.allowed),
        "file": str(out) if out is not None else None,
        **candidates.progress(name, _named(candidate, digest), done.count),
    }
    verb = "approved" if done.changed else "was approved already"
    lines = [f"{name}: candidate {candidates.short(digest)} for version {found.version} {verb}"]
    output.emit(
        document, as_json=as_json, text="\n".join([*lines, *candidates.next_lines(document)])
    )


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
    digest, found = candidates.named(repository, name, candidate)
    done = releasing.release(repository, digest, found, [_approval(path) for path in files])
    document = {
        "list": name,
        "candidate": digest,
        "version": done.version,
        "changed": done.changed,
        "approvals": [{"keyid": item.keyid, "who": item.who} for item in done.approvals.values()],
    }
    verb = "is released" if done.changed else "was released already"
    who = ", ".join(sorted(item.who for item in done.approvals.values()))
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
    digest, _ = candidates.named(repository, name, candidate)
    mark = staging.void(repository, name, digest, reason)
    document = {"list": name, "candidate": digest, "who": mark.who, "reason": mark.reason}
    text = f"{name}: candidate {candidates.short(digest)} is void"
    output.emit(document, as_json=as_json, text=text)


def _named(candidate: str, digest: str) -> str:
    """Return how the next person names a candidate: its whole digest, or the file it is in."""
    return candidate if candidates.is_file(candidate) else digest


def _approval(path: Path) -> Approval:
    data = context.read_source(str(path), approving.MAX_APPROVAL_BYTES)
    try:
        return Approval.from_bytes(data)
    except FeedError as error:
        raise InputError(f"{path}: {error}") from error


COMMANDS = (stage, review, approve, release, void)
