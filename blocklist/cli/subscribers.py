"""`subscriber`: give subscribers access, renew it, take it back."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from blocklist.cli import context, output
from blocklist.core import documents
from blocklist.core.documents import format_time
from blocklist.core.enrolment import SOURCE_FIELDS, SourceUrl
from blocklist.core.entries import Feed
from blocklist.core.errors import InputError, MalformedFeed
from blocklist.core.private import Subscription
from blocklist.publisher import subscribers
from blocklist.subscriber.enrol import fingerprint_text
from blocklist.subscriber.sources import open_source

MAX_SOURCE_FILE_BYTES = 1 << 16
NEVER = "never"
_FROM_FILE = "@"
_KEY_CHARS = 12  # of a digest in a key that is shown
_FEEDS = click.Choice([feed.value for feed in Feed])


@click.group()
def subscriber() -> None:
    """Give subscribers access, renew it, take it back."""


@subscriber.command(name="add")
@click.argument("name")
@click.option("--list", "lists", multiple=True, required=True, help="May be repeated.")
@click.option("--feed", "feeds", multiple=True, required=True, type=_FEEDS, help="May be repeated.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="URL|@FILE",
    help="Where to pull from, in order; @FILE: JSON with url and token, or url, user and password.",
)
@click.option("--expires", metavar="DATE", help="Last day (or moment) of the token, UTC.")
@click.option("--admin", is_flag=True, help="May also read the subscribers' board.")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False))
@context.publisher
def subscriber_add(
    name: str,
    lists: tuple[str, ...],
    feeds: tuple[str, ...],
    sources: tuple[str, ...],
    expires: str | None,
    admin: bool,
    out: Path,
    storage: str,
    home: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Make a token for NAME and write the enrolment file that NAME needs (a secret)."""
    if out.exists():
        raise InputError(f"{out} exists; it was not touched")
    repository = context.open_repository(storage, home, config)
    given = [_source(text) for text in sources or (subscribers.default_source(storage),)]
    for source in given:
        open_source(source, None)  # refuses what no subscriber could use
    made = subscribers.add_subscriber(
        repository,
        name,
        lists,
        [Feed(feed) for feed in feeds],
        given,
        expires=context.read_moment(expires),
        admin=admin,
        hand_over=lambda enrolment: context.new_file(out, enrolment.to_bytes()),
    )
    document = {"name": name, "fingerprint": made.fingerprint, "out": str(out)}
    grouped = fingerprint_text(made.fingerprint)
    text = f"{out} is a secret: hand it over safely, then compare the root by telephone\n{grouped}"
    output.emit(document, as_json=as_json, text=text)


@subscriber.command(name="list")
@context.publisher
def subscriber_list(storage: str, home: Path, config: Path | None, as_json: bool) -> None:
    """Show who was ever given a token, and whether it still opens anything."""
    known = subscribers.list_subscribers(context.open_repository(storage, home, config))
    warnings = [_unreadable(key) for key in known.unreadable]
    output.warn(warnings)
    now = context.now()
    rows = [_row(item, now) for item in known.found]
    header = ("name", "state", "lists", "created", "expires", "revoked", "admin", "reason")
    cells = [{**row, "lists": _scope(row), "admin": _yes(row["admin"])} for row in rows]
    text = output.table(header, ([row[column] for column in header] for row in cells))
    output.emit({"subscribers": rows, "warnings": warnings}, as_json=as_json, text=text)


@subscriber.command(name="renew")
@click.argument("name")
@click.option(
    "--expires",
    required=True,
    metavar=f"DATE|{NEVER}",
    help="New last day (or moment) of the token, UTC.",
)
@context.publisher
def subscriber_renew(
    name: str, expires: str, storage: str, home: Path, config: Path | None, as_json: bool
) -> None:
    """Change when the token of NAME ends, also when it has ended already."""
    until = None if expires == NEVER else context.read_moment(expires)
    repository = context.open_repository(storage, home, config)
    done = subscribers.renew_subscriber(repository, name, until)
    row = _row(done.subscription, context.now())
    text = f"{output.safe(name)}: the token is good until {row['expires'] or 'it is revoked'}"
    output.emit({**row, "changed": done.changed}, as_json=as_json, text=text)


@subscriber.command(name="revoke")
@click.argument("name")
@click.option("--reason", help="Why; kept for the record.")
@context.publisher
def subscriber_revoke(
    name: str,
    reason: str | None,
    storage: str,
    home: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Take the token of NAME back, for good; servers refuse it within a minute."""
    repository = context.open_repository(storage, home, config)
    done = subscribers.revoke_subscriber(repository, name, reason)
    row = _row(done.subscription, context.now())
    told = (
        "the token is revoked; servers refuse it within a minute"
        if done.changed
        else f"the token was revoked already, at {row['revoked']}; nothing was changed"
    )
    text = f"{output.safe(name)}: {told}"
    output.emit({**row, "changed": done.changed}, as_json=as_json, text=text)


def _row(item: Subscription, now: datetime) -> dict[str, Any]:
    """Return a subscription as JSON has it: without the token's digest."""
    return {
        "name": item.name,
        "state": item.state(now),
        "lists": {name: [feed.value for feed in feeds] for name, feeds in item.lists.items()},
        "created": format_time(item.created),
        "expires": format_time(item.expires) if item.expires is not None else None,
        "revoked": format_time(item.revoked) if item.revoked is not None else None,
        "admin": item.admin,
        "reason": item.reason,
    }


def _scope(row: dict[str, Any]) -> str:
    """Return lists and feeds in one cell: `demo/clear demo/hashed`."""
    return " ".join(f"{name}/{feed}" for name, feeds in row["lists"].items() for feed in feeds)


def _yes(value: bool) -> str | None:
    return "yes" if value else None


def _unreadable(key: str) -> str:
    folder, _, name = key.rpartition("/")
    return f"{folder}/{name[:_KEY_CHARS]}... cannot be read; restore it from a backup"


def _source(text: str) -> SourceUrl:
    """Return a source; its credentials come from a file, since arguments are seen by everybody."""
    if not text.startswith(_FROM_FILE):
        return SourceUrl(text)
    path = text.removeprefix(_FROM_FILE)
    data = context.read_source(path, MAX_SOURCE_FILE_BYTES)
    try:
        document = documents.parse("a source", data)
        source = SourceUrl.from_document(document)
    except MalformedFeed as error:
        raise InputError(f"{context.told(path)}: {error}") from error
    if set(document) - set(SOURCE_FIELDS):  # a misspelt one would be silently without effect
        raise InputError(f"{context.told(path)}: expected only {', '.join(SOURCE_FIELDS)}")
    return source
