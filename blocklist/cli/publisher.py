"""Commands of an admin: list, publish, refresh, fsck, subscriber."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from blocklist.cli import candidates, context, output, sources
from blocklist.cli.fsck import fsck
from blocklist.cli.hash_key import rotate_hash_key
from blocklist.cli.subscribers import subscriber
from blocklist.core.documents import format_time
from blocklist.publisher import publish as releasing
from blocklist.publisher import start, upkeep
from blocklist.publisher.curation.carry import carry
from blocklist.publisher.request import Options, read_request
from signing import keys


@click.group(name="list")
def list_group() -> None:
    """Make, renew and remove lists."""


list_group.add_command(rotate_hash_key)


@list_group.command(name="create")
@click.argument("name")
@click.option("--threshold", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--key",
    "key_files",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Public key (.pub) of somebody who may sign; default: a new key in this home.",
)
@click.option("--test-host", help="A host you run, listed for ever to prove that filters work.")
@context.publisher
def list_create(
    name: str,
    threshold: int,
    key_files: tuple[Path, ...],
    test_host: str | None,
    storage: str,
    home: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Make the list NAME; its first publish will be version 1."""
    repository = context.open_repository(storage, home, config)
    public = [keys.read_public(path) for path in key_files] or None
    secret = start.create_list(
        repository, name, threshold=threshold, public_keys=public, test_host=test_host
    )
    document = {"list": name, "test_host": secret.test_host, "hash_key_id": secret.first_key.id}
    text = f"list {name} made; its test entry is the host {secret.test_host}"
    output.emit(document, as_json=as_json, text=text)


@list_group.command(name="remove")
@click.argument("name")
@context.publisher
def list_remove(name: str, storage: str, home: Path, config: Path | None, as_json: bool) -> None:
    """Take the list NAME out of service: nobody may sign it any more. Its objects stay."""
    start.remove_list(context.open_repository(storage, home, config), name)
    text = f"list {name} removed; subscribers will be told that there is no such list"
    output.emit({"list": name, "removed": True}, as_json=as_json, text=text)


@list_group.command(name="renew")
@click.argument("name")
@click.option("--reason", help="Why; kept in the record of the release.")
@context.publisher
def list_renew(
    name: str, reason: str | None, storage: str, home: Path, config: Path | None, as_json: bool
) -> None:
    """Sign the list NAME again as it is, as a new version, whatever is left of its life.

    Where several people release, the candidate is staged and signed once, and the next command is
    printed.
    """
    repository = context.open_repository(storage, home, config)
    request = replace(read_request(name, None, [], [], Options(reason=reason)), renew=True)
    done = carry(repository, request)
    if done.published is None:
        document = candidates.staged_of(done) | {"released": False}
        text = candidates.staged_text(document)
    else:
        version, entries = done.published.version, done.published.entries
        document = {"list": name, "version": version, "entries": entries, "released": True}
        text = _published(done.published, dry_run=False)
    output.emit(document, as_json=as_json, text=text)


@click.command()
@click.argument("name", metavar="LIST")
@sources.options
@context.publisher
def publish(
    name: str, storage: str, home: Path, config: Path | None, as_json: bool, **given: Any
) -> None:
    """Release a new version of LIST: a whole FILE, or changes to the last version.

    Without FILE and changes, a release that grows old is signed again.

    FILE has an entry a line; `-` is standard input. `http://host/path` lists that page,
    `host/dir/*` everything below, a bare `host` that host, `.name` a name and its subdomains.
    """
    repository = context.open_repository(storage, home, config)
    request = sources.read(repository, name, given)
    dry_run = request.options.dry_run
    done = releasing.publish(repository, request)
    document = {
        "list": done.list,
        "version": done.version,
        "unchanged": done.unchanged,
        "entries": done.entries,
        "added": done.added,
        "removed": done.removed,
        "digests": dict(done.digests),
        "notes": list(done.notes),
        "stored": dict(done.stored),
        "dry_run": dry_run,
    }
    output.emit(document, as_json=as_json, text=_published(done, dry_run=dry_run))


def _published(done: releasing.Published, *, dry_run: bool) -> str:
    verb = "would be" if dry_run else "is"
    if done.unchanged and not done.stored:
        head = f"{done.list}: no change, version {done.version} stays, {done.entries:,} entries"
    else:
        number = "the next version" if dry_run else f"version {done.version}"
        head = (
            f"{done.list}: {number} {verb} released, {done.entries:,} entries "
            f"(+{done.added:,} -{done.removed:,})"
        )
    return "\n".join([head, *(f"  {note}" for note in done.notes)])


@click.command()
@context.publisher
def refresh(storage: str, home: Path, config: Path | None, as_json: bool) -> None:
    """Sign the timestamp again (run it on a timer, every few minutes)."""
    repository = context.open_repository(storage, home, config)
    head, warnings = upkeep.refresh(repository)
    output.warn(warnings)
    expires = format_time(head.timestamp.signed.expires)
    document = {
        "timestamp": head.timestamp.version,
        "snapshot": head.snapshot.version,
        "expires": expires,
        "warnings": warnings,
    }
    text = f"timestamp {head.timestamp.version} is good until {expires}"
    output.emit(document, as_json=as_json, text=text)


COMMANDS = (list_group, publish, refresh, fsck, subscriber)
