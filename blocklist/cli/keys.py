"""`keys`: make key files in this home, and list them."""

from pathlib import Path
from typing import Any

import click

from blocklist.cli import context, output
from blocklist.core.errors import InputError
from signing import keys as keyfiles
from signing.keys import KeyFile


@click.group()
def keys() -> None:
    """Make and list the keys of this home."""


@keys.command()
@click.argument("name")
@click.option("--no-passphrase", is_flag=True, help="For a machine that must sign by itself.")
@click.option(
    "--agent",
    "in_agent",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PUB",
    help="Make no key: that of this .pub file lies in ssh-agent.",
)
@context.as_json
@context.home
def new(name: str, no_passphrase: bool, in_agent: Path | None, home: Path, as_json: bool) -> None:
    """Make the key NAME; give the .pub file to whoever proposes.

    The passphrase is asked for on a terminal, or comes from BLOCKLIST_PASSPHRASE_FILE.
    A key is never overwritten.
    """
    if not keyfiles.is_name(name):
        raise InputError("expected a name of 1 to 64 of A-Z, a-z, 0-9, _ and -")
    if in_agent is not None and no_passphrase:
        raise InputError("expected --agent or --no-passphrase, got both")
    path = context.open_home(home, context.read_settings(None)).keys_directory / name
    key = _made(path, no_passphrase, in_agent)
    public = f"{path}.pub"
    document: dict[str, Any] = {"name": name, "key_id": key.public.keyid, "public": public}
    text = f"key {name} is {key.public.keyid}\nits public half is {public}"
    output.emit(document, as_json=as_json, text=text)


def _made(path: Path, no_passphrase: bool, in_agent: Path | None) -> KeyFile:
    public = path.with_name(f"{path.name}.pub")
    if in_agent is not None:
        return keyfiles.register_agent(path, keyfiles.read_public(in_agent))
    if path.exists() and not public.exists():  # an interrupted attempt made it
        return keyfiles.restore_public(path, context.ask_passphrase)
    if path.exists() or public.exists():  # before anybody thinks of a passphrase
        return keyfiles.create(path)
    passphrase = None if no_passphrase else context.new_passphrase(path)
    return keyfiles.create(path, passphrase=passphrase)


@keys.command(name="list")
@context.as_json
@context.home
def list_keys(home: Path, as_json: bool) -> None:
    """List the keys of this home, and the public keys of others that lie beside them."""
    place = context.open_home(home, context.read_settings(None))
    ours = {key.path.name: key for key in place.key_files()}
    rows = [
        {"name": name, "key_id": keyid, "private": _private(ours.get(name))}
        for keyid, name in sorted(place.key_names().items(), key=lambda item: item[1])
    ]
    header = ("name", "key_id", "private")
    text = output.table(header, ([row[column] for column in header] for row in rows))
    output.emit(rows, as_json=as_json, text=text)


def _private(key: KeyFile | None) -> str:
    """Return where the private half is."""
    if key is None:
        return "elsewhere"
    return "ssh-agent" if key.in_agent else "here"


COMMANDS = (keys,)
