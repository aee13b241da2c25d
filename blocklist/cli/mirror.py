"""`mirror` and `restore`: a copy of the storage in a folder, and the way back."""

from pathlib import Path

import click

from blocklist.cli import context, output
from blocklist.core.errors import Exit
from blocklist.publisher import mirror as mirroring

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@context.publisher
def mirror(folder: Path, storage: str, home: Path, config: Path | None, as_json: bool) -> int:
    """Copy the whole storage into DIR, verified; the next time only what is new.

    DIR is a storage itself (file:DIR). Releases may go on meanwhile. Nothing is deleted in DIR.
    Exit code 13: something in the storage is damaged, and was not copied.
    """
    done = mirroring.mirror(context.open_repository(storage, home, config), folder)
    report = done.report
    output.warn(report.damaged)
    document = {
        "copied": report.copied,
        "bytes": report.bytes,
        "present": report.present,
        "damaged": report.damaged,
        "timestamp": done.timestamp,
        "lists": done.lists,
    }
    text = (
        f"{report.copied:,} objects copied ({report.bytes:,} bytes), "
        f"{report.present:,} were there; live: timestamp {done.timestamp}"
    )
    lists = [f"  {name} version {version}" for name, version in sorted(done.lists.items())]
    output.emit(document, as_json=as_json, text="\n".join([text, *lists]))
    return int(Exit.TAMPERED) if report.damaged else int(Exit.DONE)


COMMANDS = (mirror,)
