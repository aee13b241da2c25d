"""`audit`: is the account of every release whole and true, here or in a bundle?"""

import re
from pathlib import Path
from typing import Any

import click
from tuf.api.metadata import Root

from blocklist.cli import context, output
from blocklist.core.errors import Exit, InputError
from blocklist.publisher.audit import run
from blocklist.publisher.audit.bundle import Bundle
from blocklist.publisher.audit.export import export as write_bundle
from blocklist.publisher.audit.report import Report
from blocklist.publisher.home import Home
from signing import policy, verify
from signing.roles import RoleFile

_SEPARATORS = {ord(char): None for char in " :-\n\t"}  # between the groups that people read out
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@click.group()
def audit() -> None:
    """See that nothing of what was recorded is missing or altered."""


@audit.command(name="verify")
@click.argument("what", metavar="LIST|FILE")
@click.option("--root", type=click.Path(path_type=Path), metavar="ROOT.json", help="Root to trust.")
@click.option("--fingerprint", metavar="HEX", help="Fingerprint of the root to trust.")
@click.option("--storage", envvar="BLOCKLIST_STORAGE", metavar="URL", help="For LIST.")
@click.option(
    "--home",
    envvar="BLOCKLIST_HOME",
    type=click.Path(path_type=Path, file_okay=False),
    help="For LIST; for FILE, its root is trusted unless another is named.",
)
@context.config
@context.as_json
def audit_verify(
    what: str,
    root: Path | None,
    fingerprint: str | None,
    storage: str | None,
    home: Path | None,
    config: Path | None,
    as_json: bool,
) -> int:
    """Walk from the newest release back and tell everything that is missing or altered.

    A word with a `.` or `/` in it is a FILE that `audit export` made; that needs no storage.
    Exit code 13: something is wrong.
    """
    if _is_file(what):
        with Bundle(what) as bundle:
            pinned = _pinned(bundle, root, fingerprint, home)
            report = run.audit_bundle(bundle, pinned)
            document = _document(report) | {"root": pinned.version, "fingerprint": pinned.digest}
    else:
        if root is not None or fingerprint is not None:
            raise InputError("expected --root or --fingerprint with a FILE, not with a LIST")
        if storage is None or home is None:
            raise InputError("expected BLOCKLIST_STORAGE and BLOCKLIST_HOME, or a FILE")
        report = run.audit_list(context.open_repository(storage, home, config), what)
        document = _document(report)
    output.emit(document, as_json=as_json, text=_told(report))
    return int(Exit.TAMPERED if report.found else Exit.DONE)


def _is_file(word: str) -> bool:
    """Tell a file from a list: names of lists have neither dots nor slashes."""
    return "." in word or "/" in word


def _pinned(
    bundle: Bundle, file: Path | None, fingerprint: str | None, home: Path | None
) -> RoleFile[Root]:
    """Return the root to trust: the one named, or the one that this home trusts."""
    wanted = fingerprint.translate(_SEPARATORS).lower() if fingerprint is not None else None
    if wanted is not None and not _FINGERPRINT.fullmatch(wanted):
        raise InputError("expected a fingerprint of 64 hex digits, got another shape")
    if file is not None:
        root = verify.self_signed_root(context.read_source(str(file), policy.MAX_ROOT_BYTES))
        if wanted not in (None, root.digest):
            raise InputError(f"expected a root with the fingerprint given, {file} has another")
        return root
    if wanted is not None:
        return run.pinned_root(bundle, wanted)
    if home is not None:
        return Home(home, context.ask_passphrase).trust().root
    raise InputError("expected --root or --fingerprint, or BLOCKLIST_HOME, to know whom to trust")


def _document(report: Report) -> dict[str, Any]:
    return {
        "list": report.name,
        "ok": not report.found,
        "from": report.first or None,
        "to": report.last or None,
        "role": report.digest or None,
        "checked": report.checked,
        "problems": [{"version": one.version, "problem": one.text} for one in report.problems],
        "notes": report.notes,
    }


def _told(report: Report) -> str:
    counts = ", ".join(f"{count:,} {what}" for what, count in report.checked.items())
    lines = [
        f"{report.name}: {len(report.found):,} problems"
        if report.found
        else f"{report.name}: all well"
    ]
    lines.append(f"  versions {report.first:,} to {report.last:,}; checked {counts}")
    if report.digest:
        lines.append(f"  everything follows from role file {report.digest}")
    for one in report.problems:
        where = f"version {one.version}" if one.version else report.name
        lines.append(f"  PROBLEM: {where}: {output.safe(one.text)}")
    return "\n".join([*lines, *(f"  note: {note}" for note in report.notes)])


@audit.command(name="export")
@click.argument("name", metavar="LIST")
@click.option("--from", "first", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--to", "last", type=click.IntRange(min=1), help="Default: the newest version.")
@click.option("--out", required=True, metavar="FILE", help="A new file.")
@context.publisher
def audit_export(
    name: str,
    first: int,
    last: int | None,
    out: str,
    storage: str,
    home: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Write metadata and records of LIST into one file, which an auditor verifies offline.

    It holds listed URLs in clear text.
    """
    repository = context.open_repository(storage, home, config)
    done = write_bundle(repository, name, out, first=first, last=last)
    document = {"list": name, "from": done.first, "to": done.last, "file": out}
    text = f"{name}: versions {done.first:,} to {done.last:,} are in {out}, URLs in clear text"
    output.emit(document, as_json=as_json, text=text)


COMMANDS = (audit,)
