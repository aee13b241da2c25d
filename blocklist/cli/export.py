"""Commands that hand lists to daemons: `export rpz`, `export run`, `export list`."""

from pathlib import Path
from typing import Any

import click

from blocklist.cli import context, output
from blocklist.core.documents import format_time
from blocklist.core.errors import BlocklistError, Exit, InputError
from blocklist.subscriber.exports import Definition, Exported, Record, record, recorded
from blocklist.subscriber.exports import export as run_export
from blocklist.subscriber.state import State

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def export() -> None:
    """Write what is in force as files that daemons enforce."""


@export.command()
@click.option("--out", type=_FILE, required=True, help="The zone file.")
@click.option("--zone", metavar="NAME", required=True, help="The zone's name, as in the daemon.")
@click.option(
    "--name", default=record.RPZ, show_default=True, help="What the export is called here."
)
@click.option("--list", "lists", multiple=True, help="Only these lists; may be repeated.")
@click.option(
    "--policy",
    default="nxdomain",
    show_default=True,
    metavar="nxdomain|nodata|NAME|ADDRESS",
    help="What is answered for a blocked name.",
)
@click.option("--allow-zone", type=_FILE, help="Also write the zone allow.NAME of what passes.")
@click.option("--never-block", type=_FILE, help="Names that pass, one a line; .name: all below.")
@click.option(
    "--max-change", type=click.IntRange(0), metavar="N", help="Refuse if more names come or go."
)
@click.option(
    "--check",
    default="auto",
    show_default=True,
    metavar="auto|none|COMMAND",
    help="What must accept the new file; {file} and {zone} are replaced.",
)
@click.option("--hook", metavar="COMMAND", help="Makes the daemon read the file.")
@click.option("--probe", metavar="HOST", help="Listed host that the resolver must then block.")
@click.option("--resolver", default="127.0.0.1", show_default=True, help="ADDRESS[:PORT] to ask.")
@context.state
@context.as_json
def rpz(
    out: Path,
    zone: str,
    name: str,
    lists: tuple[str, ...],
    policy: str,
    allow_zone: Path | None,
    never_block: Path | None,
    max_change: int | None,
    check: str,
    hook: str | None,
    probe: str | None,
    resolver: str,
    state: Path,
    as_json: bool,
) -> None:
    """Write a response policy zone, for BIND, Unbound, PowerDNS and others.

    Of the clear feed, the host and domain entries. What DNS cannot enforce exactly is skipped and
    counted. The command is kept: `export run` and `watch` repeat it.
    """
    definition = Definition(
        name,
        record.RPZ,
        str(out.absolute()),
        zone,
        lists,
        policy,
        str(allow_zone.absolute()) if allow_zone else None,
        str(never_block.absolute()) if never_block else None,
        max_change,
        check,
        hook,
        probe,
        resolver,
    )
    done = run_export(State(state), definition, context.now())
    output.warn(done.warnings)
    output.emit(_document(done.record, done.changed), as_json=as_json, text=_told(done))


@export.command("run")
@click.argument("names", nargs=-1, metavar="[NAME]..")
@context.state
@context.as_json
def run(names: tuple[str, ...], state: Path, as_json: bool) -> int:
    """Bring all exports, or these, to what is in force."""
    known = tuple(record.names(state))
    if unknown := set(names) - set(known):
        raise InputError(f"expected an export that was made once, got {min(unknown)!r}")
    documents: list[dict[str, Any]] = []
    texts: list[str] = []
    codes: list[int] = []
    for name in names or known:
        try:
            done = _again(State(state), name)
        except BlocklistError as error:
            codes.append(int(error.exit_code))
            documents.append({"name": name, "exit": codes[-1], "error": output.safe(str(error))})
            click.echo(f"blocklist: {name}: {output.safe(str(error))}", err=True)
        else:
            output.warn(done.warnings)
            documents.append(_document(done.record, done.changed))
            texts.append(_told(done))
    output.emit({"exports": documents}, as_json=as_json, text="\n".join(texts))
    return next(iter(codes), int(Exit.DONE))


def _again(state: State, name: str) -> Exported:
    """Repeat one export."""
    held = record.read(state.directory, name)
    if held is None:
        raise InputError(f"expected an export that was made once, got {name!r}")
    return run_export(state, held.definition, context.now())


@export.command("list")
@context.state
@context.as_json
def list_(state: Path, as_json: bool) -> None:
    """Show all exports as they stand."""
    found = recorded(State(state))
    rows = [
        (
            one.definition.name,
            _versions(one) or None,
            one.counts.enforced,
            one.counts.entries,
            one.word,
            format_time(one.time),
            one.message,
        )
        for one in found
    ]
    header = ("export", "live", "enforced", "of", "last run", "at", "trouble")
    document = {"exports": [_document(one) for one in found]}
    output.emit(document, as_json=as_json, text=output.table(header, rows))


def _document(one: Record, changed: bool | None = None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": one.definition.name,
        "format": one.definition.format,
        "out": one.definition.out,
        "zone": one.definition.zone,
        "serial": one.written.serial if one.written else None,
        "written": dict(one.written.versions) if one.written else None,
        "live": dict(one.live.versions) if one.live else None,
        "entries": one.counts.entries,
        "enforced": one.counts.enforced,
        "skipped": dict(one.counts.skipped),
        "pending": one.pending,
        "outcome": one.word,
        "exit": one.exit,
        "message": one.message,
        "time": format_time(one.time),
    }
    return document if changed is None else {**document, "changed": changed}


def _told(done: Exported) -> str:
    one, counts = done.record, done.record.counts
    what = "written" if done.changed else "nothing new"
    reasons = [f"{count:,} {reason}" for reason, count in sorted(counts.skipped.items())]
    because = f"; skipped because: {', '.join(reasons)}" if reasons else ""
    return (
        f"{one.definition.name}: {what}, live at {_versions(one)}: {counts.enforced:,} of "
        f"{counts.entries:,} entries enforceable here{because}"
    )


def _versions(one: Record) -> str:
    live = one.live.versions if one.live else {}
    return ", ".join(f"{name} version {version}" for name, version in live.items())


COMMANDS = (export,)
