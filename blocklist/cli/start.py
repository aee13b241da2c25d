"""`init`: start a repository, with throw-away keys or by a ceremony."""

from pathlib import Path
from typing import Any

import click

from blocklist.cli import context, output
from blocklist.cli import storage as told
from blocklist.cli.drafting import public_keys, write_new_draft
from blocklist.core.errors import InputError
from blocklist.publisher import start
from blocklist.publisher.ceremonies import ceremony
from blocklist.publisher.start import ROOT_THRESHOLD
from blocklist.subscriber.enrol import fingerprint_text


@click.command()
@click.option("--dev", is_flag=True, help="Throw-away keys in this home, for trying things.")
@public_keys("--root", "roots", "A root key; three or more, of different people.")
@click.option(
    "--root-threshold",
    "threshold",
    type=click.IntRange(min=1),
    default=ROOT_THRESHOLD,
    show_default=True,
    help="How many of the root keys must sign.",
)
@public_keys("--targets", "targets", "A key that says who may sign which list.")
@public_keys("--online", "online", "The key of the machine that refreshes.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The draft to write, for `trust sign` and `trust commit`.",
)
@context.holder
def init(
    dev: bool,
    roots: tuple[Path, ...],
    threshold: int,
    targets: tuple[Path, ...],
    online: tuple[Path, ...],
    out: Path | None,
    storage: str | None,
    home: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Start a repository: with --dev at once, else as a draft that people sign."""
    if dev:
        if storage is None or out is not None or roots or targets or online:
            raise InputError("expected --dev with a storage and nothing else")
        _throw_away(storage, home, config, as_json)
        return
    if out is None or not (roots and targets and online):
        raise InputError(
            "expected --root (three or more), --targets, --online and --out for a repository with "
            "real keys, or --dev for one with throw-away keys"
        )
    read = [context.read_keys(paths) for paths in (roots, targets, online)]
    draft = ceremony.propose_start(read[0], threshold, read[1], read[2], context.now())
    write_new_draft(out, draft)
    document: dict[str, Any] = {"draft": str(out), "kind": draft.kind, "version": draft.version}
    text = (
        f"draft of a new repository in {out}\n"
        f"next: `blocklist trust sign {out}` by {threshold} root keys and a targets key, then "
        f"`blocklist trust commit {out}` where the online key is"
    )
    output.emit(document, as_json=as_json, text=text)


def _throw_away(storage: str, home: Path, config: Path | None, as_json: bool) -> None:
    repository = context.open_repository(storage, home, config)
    trust = start.init_dev(repository)
    found = repository.writable()
    document = {
        "root": trust.root.version,
        "fingerprint": trust.root.digest,
        "dev": True,
        "storage": told.document(found),
    }
    spoken = fingerprint_text(trust.root.digest)
    lines = ["repository made with throw-away keys", f"root fingerprint {spoken}"]
    if found is not None and found.warning:
        output.warn([found.warning])
    output.emit(document, as_json=as_json, text="\n".join([*lines, *told.text(found)]))


COMMANDS = (init,)
