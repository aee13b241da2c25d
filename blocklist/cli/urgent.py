"""Commands in a hurry: withdraw and rollback. They carry as far as one person may."""

from pathlib import Path
from typing import Any

import click

from blocklist.cli import candidates, context, output, sources
from blocklist.core.entries import Entry
from blocklist.publisher.curation import carry
from blocklist.publisher.request import Options, Outcome, withdrawal

_name = click.argument("name", metavar="LIST")
_key = click.option("--key", metavar="NAME", help="Key of this home to sign with.")


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
@click.option(
    "--without-withdrawn", is_flag=True, help="Leave out what was withdrawn since VERSION."
)
@click.option("--dry-run", is_flag=True, help="Say what would happen; write nothing.")
@_key
@context.publisher
def rollback(
    name: str,
    version: int,
    allow: tuple[str, ...],
    without_withdrawn: bool,
    reason: str,
    dry_run: bool,
    key: str | None,
    storage: str,
    home: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Release the content of VERSION of LIST again, as a new version.

    When something of it was withdrawn since, that is refused: `--without-withdrawn` leaves it out,
    `--allow withdrawn` lists it again.
    """
    repository = context.open_repository(storage, home, config)
    options = Options(allowed=dict.fromkeys(allow, reason), reason=reason, dry_run=dry_run)
    request = carry.rollback(
        repository, name, version, options, without_withdrawn=without_withdrawn
    )
    done = carry.carry(repository, request, key)
    output.warn(request.notes)
    _carried(name, done, as_json=as_json, dry_run=dry_run)


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
    else:
        document |= candidates.staged_of(done) | {"released": False}
        lines.append(candidates.staged_text(document))
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


def _sum(outcome: Outcome) -> str:
    return f"+{len(outcome.added):,} -{len(outcome.removed):,}"


COMMANDS = (withdraw, rollback)
