"""`gc`: delete what nobody needs any more."""

from pathlib import Path
from typing import Any

import click

from blocklist.cli import context, output
from blocklist.publisher.keeping import gc as collecting
from blocklist.publisher.keeping.gc import Collected


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would go; change nothing.")
@click.option(
    "--take-over",
    is_flag=True,
    help="Begin although a run of another home has not ended: that home is lost.",
)
@context.publisher
def gc(
    dry_run: bool, take_over: bool, storage: str, home: Path, config: Path | None, as_json: bool
) -> None:
    """Delete old deltas, snapshots and lists, leftovers and stale candidates.

    Releases are kept for `keep_days` and as many as `keep_versions`. Who holds an older one gets
    the snapshot. Metadata of releases, records and accounts are kept for ever. Publishers may go
    on meanwhile.
    """
    repository = context.open_repository(storage, home, config)
    done = (
        collecting.dry_run(repository)
        if dry_run
        else collecting.collect(repository, take_over=take_over)
    )
    output.warn(f"{key} is damaged and was left; see `blocklist fsck`" for key in done.damaged)
    output.emit(_document(done, dry_run), as_json=as_json, text=_told(done, dry_run))


def _document(done: Collected, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "gone": {
            kind: {"objects": number, "bytes": size} for kind, (number, size) in done.gone.items()
        },
        "kept": {
            name: {"oldest": oldest, "newest": newest}
            for name, (oldest, newest) in done.kept.items()
        },
        "put_back": done.put_back,
        "damaged": done.damaged,
    }


def _told(done: Collected, dry_run: bool) -> str:
    lines = [
        f"{name}: versions {oldest:,} to {newest:,} are kept whole"
        for name, (oldest, newest) in done.kept.items()
    ]
    verb = "would go" if dry_run else "gone"
    if done.gone:
        rows = [(kind, number, size) for kind, (number, size) in sorted(done.gone.items())]
        lines.append(output.table((verb, "objects", "bytes"), rows))
    else:
        lines.append(f"nothing {'to delete' if dry_run else 'was deleted'}")
    if done.put_back:
        lines.append(f"{done.put_back:,} put back: a publisher uses them again")
    return "\n".join(lines)


COMMANDS = (gc,)
