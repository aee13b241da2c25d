"""`status`: how the repository stands for a publisher, what is in force for a subscriber."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from blocklist.cli import context, local, monitor, output
from blocklist.cli import storage as told
from blocklist.core.documents import format_time
from blocklist.core.errors import Exit, InputError
from blocklist.publisher import upkeep
from blocklist.subscriber import status as standing
from blocklist.subscriber.monitoring.report import report
from blocklist.subscriber.state import State


@click.command()
@click.option("--storage", envvar="BLOCKLIST_STORAGE", metavar="URL", help="The repository.")
@click.option(
    "--home",
    envvar="BLOCKLIST_HOME",
    type=click.Path(path_type=Path, file_okay=False),
    help="The publisher's half is shown where storage and home are given.",
)
@click.option(
    "--state",
    envvar="BLOCKLIST_STATE",
    type=click.Path(path_type=Path, file_okay=False),
    help="The subscriber's half is shown where this is given.",
)
@monitor.as_nagios
@monitor.prometheus
@monitor.warning
@monitor.critical
@context.config
@context.as_json
def status(
    storage: str | None,
    home: Path | None,
    state: Path | None,
    as_nagios: bool,
    textfile_path: Path | None,
    warning: int,
    critical: int,
    config: Path | None,
    as_json: bool,
) -> int:
    """Show how everything that is configured here stands.

    With --nagios and --prometheus the subscriber's half alone, for monitoring. Exit codes of
    --nagios: 0 OK, 1 warning, 2 critical, 3 unknown.
    """
    limits = monitor.ages(warning, critical)
    if as_nagios or textfile_path is not None:
        if state is None or as_json:
            raise InputError("expected BLOCKLIST_STATE, and no --json, for monitoring")
        return monitor.tell(state, limits, as_plugin=as_nagios, path=textfile_path)
    document: dict[str, Any] = {}
    texts = []
    if storage is not None and home is not None:
        found = upkeep.status(context.open_repository(storage, home, config))
        output.warn(found.warnings)
        document["repository"] = _repository(found)
        texts.append(_repository_text(found))
    if state is not None:
        now = context.now()
        standing_here = report(State(state), now)
        decided = standing_here.decided
        output.warn(output.safe(line) for line in decided.warnings)
        output.warn(standing_here.troubles)
        document["subscriber"] = [_feed(item) for item in standing_here.feeds]
        document["decisions"] = local.decisions_document(decided, now)
        document |= monitor.document(standing_here, limits)
        texts.append(standing.text(list(standing_here.feeds)).rstrip())
        texts += [shown] if (shown := monitor.text(standing_here)) else []
    if not document:
        raise InputError("expected BLOCKLIST_STORAGE and BLOCKLIST_HOME, or BLOCKLIST_STATE")
    output.emit(document, as_json=as_json, text="\n\n".join(texts))
    return int(Exit.DONE)


def _repository(found: upkeep.RepositoryStatus) -> dict[str, Any]:
    return {
        "dev": found.dev,
        "roles": [
            {
                "role": role.name,
                "version": role.version,
                "expires": format_time(role.expires),
                "state": role.state,
            }
            for role in found.roles
        ],
        "lists": [
            {
                "list": item.name,
                "version": item.version,
                "entries": item.entries,
                "created": _time(item.created),
                "next_hash_key": _time(item.next_hash_key),
            }
            for item in found.lists
        ],
        "storage": told.document(found.storage),
        "warnings": found.warnings,
    }


def _repository_text(found: upkeep.RepositoryStatus) -> str:
    roles = [
        (role.name, role.version, format_time(role.expires), role.state) for role in found.roles
    ]
    lists = [
        (item.name, item.version, item.entries, _time(item.created), _time(item.next_hash_key))
        for item in found.lists
    ]
    notes = ["throw-away keys: subscribers need --accept-dev"] if found.dev else []
    heading = [*notes, *told.text(found.storage)]
    return (
        "".join(f"{line}\n" for line in heading)
        + ("\n" if heading else "")
        + output.table(("role", "version", "expires", "state"), roles)
        + "\n\n"
        + output.table(("list", "version", "entries", "created", "new hash key from"), lists)
    )


def _feed(item: standing.FeedStatus) -> dict[str, Any]:
    last = item.last
    return {
        "list": item.list,
        "feed": item.feed.value,
        "version": item.version,
        "entries": item.entries,
        "digest": item.digest,
        "installed": _time(item.installed_at),
        "created": _time(item.created),
        "previous": item.previous,
        "expires": _time(item.expires),
        "stale": item.stale,
        "next_hash_key": item.next_hash_key.to_document() if item.next_hash_key else None,
        "trouble": item.trouble or None,
        "last": {
            "time": format_time(last.time),
            "outcome": last.word,
            "exit": int(last.exit_code),
            "message": last.message,
            "sources": [tried.to_document() for tried in last.sources],
        }
        if last is not None
        else None,
    }


def _time(value: datetime | None) -> str | None:
    return format_time(value) if value is not None else None


COMMANDS = (status,)
