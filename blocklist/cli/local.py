"""Commands for what an operator decides locally: exceptions and holds, with end and reason."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from blocklist.cli import context, output
from blocklist.core.errors import Exit, InputError
from blocklist.subscriber import excepting, holds
from blocklist.subscriber.decisions import Decisions
from blocklist.subscriber.decisions import held as held_text
from blocklist.subscriber.exceptions import Excepted, Exceptions
from blocklist.subscriber.holds import Hold
from blocklist.subscriber.state import State

MAX_GIVEN_BYTES = 1 << 20  # of entries on standard input

_until = click.option("--until", required=True, metavar="DATE", help="When it ends; that day too.")
_reason = click.option("--reason", required=True, metavar="TEXT", help="Why, for your colleagues.")


@click.group()
def exception() -> None:
    """What is not blocked here although it is listed, until a date."""


@exception.command("add")
@click.argument("urls", nargs=-1, required=True, metavar="URL..")
@_until
@_reason
@context.state
@context.as_json
def add(urls: tuple[str, ...], until: str, reason: str, state: Path, as_json: bool) -> None:
    """Spare URL, written as in a list: a page, host.example/dir/*, host.example, .host.example.

    `-` reads them from standard input, one a line.
    """
    now = context.now()
    end = context.read_end(until)
    done = excepting.add(State(state), _given(urls), until=end, reason=reason, now=now)
    output.warn(done.warnings)
    document = {"added": [document_of(one, now) for one in done.entries]}
    text = "\n".join(f"until {until_text(one)}  {_shown(one)}" for one in done.entries)
    output.emit(document, as_json=as_json, text=text)


@exception.command("list")
@context.state
@context.as_json
def list_(state: Path, as_json: bool) -> None:
    """Show all exceptions, those that have ended too."""
    now = context.now()
    found = Exceptions.load(State(state).directory, now)
    rows = [
        (
            "ENDED" if one.until <= now else "in force",
            until_text(one),
            _shown(one),
            one.reason,
        )
        for one in found.records
    ]
    text = output.table(("", "until", "exception", "reason"), rows) if rows else "no exceptions"
    document = {"exceptions": [document_of(one, now) for one in found.records]}
    output.emit(document, as_json=as_json, text=text)


@exception.command("remove")
@click.argument("urls", nargs=-1, required=True, metavar="URL..")
@context.state
@context.as_json
def remove(urls: tuple[str, ...], state: Path, as_json: bool) -> int:
    """Spare URL no more; written as it was added. `-` reads standard input."""
    now = context.now()
    done = excepting.remove(State(state), _given(urls), now=now)
    document = {"removed": [document_of(one, now) for one in done.entries]}
    text = "\n".join(f"removed  {_shown(one)}" for one in done.entries)
    output.emit(document, as_json=as_json, text=text)
    return int(Exit.DONE)


def document_of(one: Excepted, now: datetime) -> dict[str, Any]:
    """Return an exception as `--json` has it."""
    return {**one.to_document(), "kind": one.entry.kind.value, "ended": one.until <= now}


def until_text(one: Excepted) -> str:
    """Return when it ends, for people."""
    return str(one.to_document()["until"])


def _shown(one: Excepted) -> str:
    return output.shown(one.entry.line.decode("ascii"))


def _given(urls: tuple[str, ...]) -> list[str]:
    if "-" not in urls:
        return list(urls)
    if len(urls) > 1:
        raise InputError("expected either URLs or -, got both")
    text = context.read_source("-", MAX_GIVEN_BYTES).decode("utf-8", "surrogateescape")
    return [line for line in text.splitlines() if line.strip()]


@click.command()
@click.argument("lists", nargs=-1, metavar="[LIST]..")
@click.option("--version", type=click.IntRange(min=1), help="In force, or kept beside it.")
@click.option("--until", metavar="DATE", help="When it ends; that day too.")
@click.option("--reason", metavar="TEXT", help="Why, for your colleagues.")
@click.option("--release", "go_on", is_flag=True, help="Let the lists go on.")
@context.state
@context.as_json
def hold(
    lists: tuple[str, ...],
    version: int | None,
    until: str | None,
    reason: str | None,
    go_on: bool,
    state: Path,
    as_json: bool,
) -> None:
    """Keep all lists (or these) at the version in force until a date, or let them go on."""
    now = context.now()
    if go_on:
        if (version, until, reason) != (None, None, None):
            raise InputError("expected --release alone, got more")
        gone = holds.release(State(state), lists, now)
        document = {"released": [hold_document(one, now) for one in gone]}
        text = "\n".join(f"{one.list}: the next pull puts the newest in force" for one in gone)
    else:
        if until is None or reason is None:
            raise InputError("expected --until and --reason, or --release")
        end = context.read_end(until)
        held = holds.hold(State(state), lists, version=version, until=end, reason=reason, now=now)
        document = {"held": [hold_document(one, now) for one in held]}
        text = "\n".join(output.safe(held_text(one)) for one in held)
    output.emit(document, as_json=as_json, text=text)


def hold_document(one: Hold, now: datetime) -> dict[str, Any]:
    """Return a hold as `--json` has it."""
    return {"list": one.list, **one.to_document(), "ended": one.until <= now}


def decisions_document(decided: Decisions, now: datetime) -> dict[str, Any]:
    """Return the local decisions as `--json` has them; null for what cannot be read."""
    spared, held = decided.exceptions, decided.holds
    return {
        "exceptions": [document_of(one, now) for one in spared.records] if spared else None,
        "holds": [hold_document(one, now) for one in held.records] if held else None,
        "troubles": list(decided.troubles),
    }


COMMANDS = (exception, hold)
