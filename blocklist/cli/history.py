"""What happened to a list: log, diff, history."""

from pathlib import Path
from typing import Any

import click

from blocklist.cli import context, output
from blocklist.core.documents import format_time
from blocklist.core.entries import Entry
from blocklist.core.errors import InputError
from blocklist.publisher import history as past
from blocklist.publisher.accounts import Account
from blocklist.publisher.history import Logged
from blocklist.publisher.index import Range

MAX_URL_FILE_BYTES = 1 << 20


@click.command()
@click.argument("name", metavar="LIST")
@click.option("--limit", type=click.IntRange(min=1), help="Only the newest.")
@context.publisher
def log(
    name: str, limit: int | None, storage: str, home: Path, config: Path | None, as_json: bool
) -> None:
    """Show the releases of LIST, newest first: what, who and why, who approved and released it."""
    repository = context.open_repository(storage, home, config)
    found = past.log(repository, name, limit)
    header = (
        *("version", "created", "operation", "entries", "added", "removed"),
        *("who", "approved", "overridden", "reason"),
    )
    text = output.table(header, (_line(item) for item in found))
    output.emit([_logged(item) for item in found], as_json=as_json, text=text)


def _logged(item: Logged) -> dict[str, Any]:
    account = item.account
    return {
        "version": item.version,
        "created": format_time(item.created),
        "entries": item.entries,
        "added": item.added,
        "removed": item.removed,
        "reason": item.reason,
        "who": item.who,
        "overrides": list(item.overrides),
        "operation": item.operation,
        "approvals": _approvals(account) if account is not None else [],
        "released": _released(account) if account is not None else None,
        "sealed": item.sealed,
    }


def _approvals(account: Account) -> list[dict[str, Any]]:
    return [
        {
            "keyid": approval.keyid,
            "who": approval.who,
            "created": format_time(approval.created),
            "allowed": list(approval.allowed),
        }
        for approval in account.approvals
    ]


def _released(account: Account) -> dict[str, Any]:
    return {"who": account.who, "created": format_time(account.created)}


def _line(item: Logged) -> list[object]:
    approved = (
        ", ".join(approval.who for approval in item.account.approvals) if item.account else "?"
    )
    overridden = ", ".join(str(one.get("guard")) for one in item.overrides)
    return [
        *(item.version, format_time(item.created), item.operation),
        *(item.entries, item.added, item.removed),
        *(item.who, approved, overridden or None, item.reason),
    ]


@click.command()
@click.argument("name", metavar="LIST")
@click.argument("old", metavar="FROM", type=click.IntRange(min=0))
@click.argument("new", metavar="TO", type=click.IntRange(min=0))
@context.publisher
def diff(
    name: str, old: int, new: int, storage: str, home: Path, config: Path | None, as_json: bool
) -> None:
    """Show the entries that come and go from version FROM to version TO of LIST (defanged)."""
    repository = context.open_repository(storage, home, config)
    found = past.diff(repository, name, old, new)
    document = {
        "list": name,
        "from": old,
        "to": new,
        "add": list(found.add),
        "remove": list(found.remove),
    }
    lines = [f"- {output.shown(line)}" for line in found.remove]
    lines += [f"+ {output.shown(line)}" for line in found.add]
    output.emit(document, as_json=as_json, text="\n".join(lines))


@click.command()
@click.argument("name", metavar="LIST")
@click.argument("url", metavar="URL")
@context.publisher
def history(
    name: str, url: str, storage: str, home: Path, config: Path | None, as_json: bool
) -> None:
    """Show in which versions of LIST an entry covered URL, of which kind, and why.

    `-` reads the URL from standard input, which keeps it off `ps`.
    """
    url = _given(url)
    repository = context.open_repository(storage, home, config)
    found = past.covering(repository, name, url)
    text = "\n".join(_told(item) for item in found) or f"{name}: nothing has ever covered this URL"
    output.emit([_range(item) for item in found], as_json=as_json, text=text)


def _given(url: str) -> str:
    """Return the URL, read from standard input if that is meant."""
    if url != context.STANDARD_INPUT:
        return url
    data = context.read_source(url, MAX_URL_FILE_BYTES)
    lines = [line for line in data.decode("utf-8", "surrogateescape").split("\n") if line.strip()]
    if len(lines) != 1:
        raise InputError(f"expected one URL on standard input, got {len(lines)}")
    return lines[0]


def _range(item: Range) -> dict[str, Any]:
    entry, removal = Entry.from_line(item.line), item.removal
    return {
        "from": item.first,
        "to": item.last,
        "kind": entry.kind.value,
        "entry": entry.expression,
        "reason": item.reason,
        "from_created": format_time(item.first_created),
        "to_created": format_time(item.last_created) if item.last_created else None,
        "removed": removal.version if removal else None,
        "removed_created": format_time(removal.created) if removal else None,
        "removed_by": removal.operation if removal else None,
        "removed_reason": removal.reason if removal else None,
    }


def _told(item: Range) -> str:
    versions = f"version {item.first} to {item.last or 'now'}"
    lines = [f"{versions}: {output.shown(item.line.decode())}"]
    lines.append(f"  listed {format_time(item.first_created)}{_why(item.reason)}")
    if item.removal is not None:
        removal = item.removal
        when = f"{format_time(removal.created)} in version {removal.version}"
        lines.append(f"  removed {when} by {removal.operation}{_why(removal.reason)}")
    return "\n".join(lines)


def _why(reason: str | None) -> str:
    return f": {output.safe(reason)}" if reason else ""


COMMANDS = (log, diff, history)
