"""`trust status`, `trust pin`, `trust root`: who may sign what, and the root a home trusts."""

import sys
from pathlib import Path
from typing import Any

import click

from blocklist.cli import context, output
from blocklist.core.documents import format_time
from blocklist.core.errors import InputError
from blocklist.publisher.ceremonies import trustees
from blocklist.publisher.ceremonies.trustees import RoleKeys, Trustees
from blocklist.subscriber.enrol import fingerprint_text
from signing.describe import called


@click.command()
@context.publisher
def status(storage: str, home: Path, config: Path | None, as_json: bool) -> None:
    """Show who may sign each role, who signed what is live, and until when it is valid."""
    found = trustees.trustees(context.open_repository(storage, home, config))
    output.warn(found.warnings)
    document = {
        "fingerprint": found.fingerprint,
        "dev": found.dev,
        "roles": [_document(role, found) for role in found.roles],
        "warnings": list(found.warnings),
    }
    lines = [f"root fingerprint {fingerprint_text(found.fingerprint)}"]
    lines += [line for role in found.roles for line in _told(role, found)]
    output.emit(document, as_json=as_json, text="\n".join(lines))


@click.command()
@click.argument("path", metavar="ROOT.json", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--fingerprint", metavar="HEX", help="What you were told; needed without a terminal.")
@context.as_json
@context.config
@context.home
def pin(
    path: Path, fingerprint: str | None, home: Path, config: Path | None, as_json: bool
) -> None:
    """Begin this home with a root that people have compared, over the telephone or in person."""
    settings = context.read_settings(config)
    data = context.read_source(str(path))
    root = trustees.read_root(data)
    if fingerprint is None:
        spoken = fingerprint_text(root.digest)
        click.echo(f"root {root.version} has the fingerprint {spoken}", err=True)
        if not sys.stdin.isatty():
            raise InputError("expected --fingerprint, or a terminal to compare it on")
        click.confirm("Is that what you were told?", abort=True, err=True)
    place = context.open_home(home, settings)
    state = trustees.pin(place, data, fingerprint, settings.lock_seconds)
    document = {"root": state.root.version, "fingerprint": state.root.digest}
    text = f"root {state.root.version} is pinned: {fingerprint_text(state.root.digest)}"
    output.emit(document, as_json=as_json, text=text)


@click.command(name="root")
@context.as_json
@context.config
@context.home
def show_root(home: Path, config: Path | None, as_json: bool) -> None:
    """Print the root that this home trusts, for `trust pin` in other homes."""
    root = context.open_home(home, context.read_settings(config)).trust().root
    text = root.data.decode()
    document = {"root": root.version, "fingerprint": root.digest, "file": text}
    if as_json:
        output.emit(document, as_json=True)
    else:
        click.echo(text, nl=False)  # byte for byte: it has a fingerprint


def _document(role: RoleKeys, found: Trustees) -> dict[str, Any]:
    return {
        "role": role.name,
        "version": role.version,
        "threshold": role.threshold,
        "keys": [
            {
                "id": keyid,
                "name": found.names.get(keyid),
                "here": keyid in found.ours,
                "signed": keyid in role.signed,
            }
            for keyid in role.keys
        ],
        "expires": format_time(role.expires) if role.expires else None,
        "days": role.days,
        "state": role.state,
    }


def _told(role: RoleKeys, found: Trustees) -> list[str]:
    until = f"until {role.expires:%Y-%m-%d} ({role.days} days)" if role.expires else "unreleased"
    number = f" {role.version}" if role.version is not None else ""
    lines = [f"{role.name}{number}, {until}, {role.threshold} of {len(role.keys)}:"]
    for keyid in role.keys:
        marks = ["signed"] if keyid in role.signed else []
        marks += ["key is here"] if keyid in found.ours else []
        lines.append(f"  {called(keyid, found.names)}{': ' if marks else ''}{', '.join(marks)}")
    return lines


COMMANDS = (status, pin, show_root)
