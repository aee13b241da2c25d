"""`mirror` and `restore`: a copy of the storage in a folder, and the way back."""

from pathlib import Path

import click

from blocklist.cli import context, output
from blocklist.core.documents import MAX_INTEGER
from blocklist.core.errors import Exit, InputError
from blocklist.publisher.keeping import mirror as mirroring
from blocklist.publisher.keeping import restore as restoring
from blocklist.publisher.keeping.restore import Restored
from signing.trust import TrustState

_FOLDER = click.Path(path_type=Path, file_okay=False)
_MIRROR = click.Path(path_type=Path, file_okay=False, exists=True)


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


@click.command()
@click.argument("folder", metavar="[DIR]", type=_MIRROR, required=False)
@click.option(
    "--seen",
    multiple=True,
    metavar="ROLE=VERSION",
    help="A version that a subscriber reports (timestamp, snapshot, targets or a list).",
)
@click.option("--dry-run", is_flag=True, help="Say what would happen; change nothing.")
@click.option(
    "--accept",
    is_flag=True,
    help="Instead: let this home believe a storage that was restored from another one.",
)
@context.publisher
def restore(
    folder: Path | None,
    seen: tuple[str, ...],
    dry_run: bool,
    accept: bool,
    storage: str,
    home: Path,
    config: Path | None,
    as_json: bool,
) -> int:
    """Make the repository live again from DIR, a mirror of it.

    For a storage that was lost, or that is older than what somebody has seen of it. Needs the
    online key. What is missing is copied, and lists are signed again under numbers far above all
    that are known. Lists that others have to sign are named, with the next commands. Run it again
    when it was interrupted.
    """
    repository = context.open_repository(storage, home, config)
    if accept == (folder is not None) or (accept and (seen or dry_run)):
        raise InputError("expected DIR, or --accept alone")
    if folder is None:
        return _accepted(restoring.accept(repository), as_json)
    done = restoring.restore(repository, folder, _versions(seen), dry=dry_run)
    output.warn([*done.report.damaged, *done.notes])
    document = {
        "dry_run": dry_run,
        "copied": done.report.copied,
        "bytes": done.report.bytes,
        "present": done.report.present,
        "damaged": done.report.damaged,
        "head": done.origin,
        "behind": done.behind,
        "floors": done.floors,
        "lists": done.lists,
        "waiting": done.waiting,
        "notes": done.notes,
    }
    output.emit(document, as_json=as_json, text=_restored(done, dry_run))
    return int(Exit.TAMPERED) if done.report.damaged else int(Exit.DONE)


def _versions(seen: tuple[str, ...]) -> dict[str, int]:
    """Read ROLE=VERSION, several times; the highest of each role counts."""
    found: dict[str, int] = {}
    for item in seen:
        role, _, number = item.partition("=")
        if not number.isascii() or not number.isdigit() or int(number) > MAX_INTEGER:
            raise InputError("expected --seen ROLE=VERSION, such as demo=1234")
        found[role] = max(found.get(role, 0), int(number))
    return found


def _restored(done: Restored, dry_run: bool) -> str:
    verb = "would be " if dry_run else ""
    lines = [
        f"{done.report.copied:,} objects {verb}copied ({done.report.bytes:,} bytes), "
        f"{done.report.present:,} were there",
        f"the newest head that is left is that of the {done.origin}",
    ]
    if done.behind:
        lines.append(f"numbers {'would ' if dry_run else ''}jump above:")
        lines += [f"  {role} {floor:,}" for role, floor in sorted(done.floors.items())]
    else:
        lines.append("nobody has seen more than it: no number jumps")
    lines += [
        f"list {name} is version {version:,} now" for name, version in sorted(done.lists.items())
    ]
    for name in done.waiting:
        lines.append(f"list {name} has to be signed by those who release it:")
        lines += [f"  blocklist {word}" for word in (f"stage {name}", f"approve {name} CANDIDATE")]
        lines.append(f"  blocklist release {name} CANDIDATE")
    return "\n".join(lines)


def _accepted(trust: TrustState, as_json: bool) -> int:
    floors = dict(trust.floors)
    text = "this home believes the storage as it is; the next versions will be above:\n"
    text += "\n".join(f"  {role} {floor:,}" for role, floor in sorted(floors.items()))
    output.emit({"floors": floors}, as_json=as_json, text=text)
    return int(Exit.DONE)


COMMANDS = (mirror, restore)
