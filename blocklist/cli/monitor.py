"""What `status` tells monitoring systems, and of exports."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from blocklist.cli import context, output
from blocklist.core.documents import format_time
from blocklist.core.errors import BlocklistError, InputError
from blocklist.subscriber import settings
from blocklist.subscriber.exports import Record
from blocklist.subscriber.monitoring import health, nagios, textfile
from blocklist.subscriber.monitoring.health import Ages, Level, Problem
from blocklist.subscriber.monitoring.report import Report, report
from blocklist.subscriber.state import State

_MINUTE = timedelta(minutes=1)

as_nagios = click.option(
    "--nagios", "as_nagios", is_flag=True, help="A plug-in's line and exit code (0 to 3)."
)
prometheus = click.option(
    "--prometheus",
    "textfile_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write figures into FILE (NAME.prom) for the textfile collector.",
    metavar="FILE",
)
warning = click.option(
    "--warning",
    type=click.IntRange(min=1),
    default=settings.WARNING_AGE // _MINUTE,
    show_default=True,
    metavar="MINUTES",
    help="Age of the last good pull that is a warning.",
)
critical = click.option(
    "--critical",
    type=click.IntRange(min=1),
    default=settings.CRITICAL_AGE // _MINUTE,
    show_default=True,
    metavar="MINUTES",
    help="Age of the last good pull that is critical.",
)


def ages(warning_minutes: int, critical_minutes: int) -> Ages:
    """Return the ages that options give.

    Raises:
        InputError: The warning would come after the other.
    """
    if warning_minutes > critical_minutes:
        raise InputError("expected --warning at or below --critical")
    return Ages(warning_minutes * _MINUTE, critical_minutes * _MINUTE)


def tell(state: Path, limits: Ages, *, as_plugin: bool, path: Path | None) -> int:
    """Write the figures, print the plug-in's output, and return its exit code; else 0.

    Raises:
        LocalError: The file cannot be written; with `as_plugin` that is told as unknown.
    """
    try:
        found = report(State(state), context.now())
        listed = health.problems(found, limits)
        level = health.level(found, listed)
        if path is not None:
            textfile.write(path, found, level)
    except BlocklistError as error:
        if not as_plugin:
            raise
        click.echo(output.safe(nagios.unknown(str(error))))
        return int(Level.UNKNOWN)
    if not as_plugin:
        return 0
    lines = nagios.text(found, listed, limits).splitlines()
    click.echo("\n".join(output.safe(line) for line in lines))
    return int(level)


def document(found: Report, limits: Ages) -> dict[str, Any]:
    """Return health and exports as `--json` has them."""
    listed = health.problems(found, limits)
    return {
        "health": {
            "level": health.level(found, listed).name.lower(),
            "problems": [_problem(one) for one in listed],
        },
        "exports": [_export(one) for one in found.exports],
    }


def text(found: Report) -> str:
    """Return the exports for people; empty where there are none."""
    rows = [
        (
            one.definition.name,
            one.word,
            ", ".join(f"{name} {version}" for name, version in _live(one).items()),
            f"{one.counts.enforced:,} of {one.counts.entries:,}",
            ", ".join(f"{number:,} {reason}" for reason, number in one.counts.skipped.items()),
        )
        for one in found.exports
    ]
    return output.table(("export", "last run", "live", "enforced", "skipped"), rows) if rows else ""


def _problem(one: Problem) -> dict[str, Any]:
    return {"level": one.level.name.lower(), "text": one.text}


def _export(one: Record) -> dict[str, Any]:
    return {
        "name": one.definition.name,
        "outcome": one.word,
        "message": one.message,
        "time": format_time(one.time),
        "live": _live(one),
        "live_since": format_time(one.live.time) if one.live else None,
        "pending": one.pending,
        "entries": one.counts.entries,
        "enforced": one.counts.enforced,
        "skipped": dict(one.counts.skipped),
    }


def _live(one: Record) -> dict[str, int]:
    return dict(one.live.versions) if one.live is not None else {}
