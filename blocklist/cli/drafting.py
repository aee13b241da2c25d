"""Draft files on the command line: read, written, and shown to people."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from blocklist.cli import context
from blocklist.core.errors import LocalError
from blocklist.publisher.ceremonies.ceremony import Review
from blocklist.store.localfiles import write_atomic
from signing import drafts
from signing.describe import called
from signing.drafts import Draft
from signing.errors import TrustError

MODE = 0o644  # a draft holds nothing secret


def public_keys(option: str, name: str, help_text: str) -> Callable[[Any], Any]:
    """Return an option that takes `.pub` files, repeated."""
    path = click.Path(path_type=Path, dir_okay=False)
    return click.option(
        option, name, multiple=True, type=path, metavar="PUB", help=f"{help_text} May be repeated."
    )


def read_draft(path: Path) -> Draft:
    """Read a draft file.

    Raises:
        InputError: It cannot be read.
        Malformed: It is no draft; the message names the file.
    """
    try:
        return drafts.read(context.read_source(str(path), drafts.MAX_DRAFT_BYTES))
    except TrustError as error:
        raise type(error)(f"{path}: {error}") from error


def write_new_draft(path: Path, draft: Draft) -> None:
    """Write a draft that must not be there yet.

    Raises:
        LocalError: It is, or the disk refuses.
    """
    if path.exists():
        raise LocalError(f"{path} exists; it was not touched")
    write_draft(path, draft)


def write_draft(path: Path, draft: Draft) -> None:
    """Write a draft in place of the one that was read."""
    write_atomic(path, draft.to_bytes(), mode=MODE)


def told(review: Review) -> str:
    """Return a review for people."""
    lines = []
    for item in review.descriptions:
        lines += [item.subject, *(f"  {line}" for line in item.changes), "  afterwards:"]
        lines += [f"    {line}" for line in item.after]
    for name, host in review.test_hosts.items():
        lines.append(f"test host of {name}: {host} (a wish; no signature covers it)")
    for tally in review.tallies:
        lines.append(f"{tally.role}: {tally.have} of {tally.need} signatures by {tally.by}")
    for role, signed in review.signed.items():
        lines += [f"  {role} is signed by {called(keyid, review.names)}" for keyid in signed]
    return "\n".join(lines)


def document(review: Review) -> dict[str, Any]:
    """Return a review as one JSON document."""
    return {
        "kind": review.kind,
        "version": review.version,
        "changes": [
            {"subject": item.subject, "changes": list(item.changes), "after": list(item.after)}
            for item in review.descriptions
        ],
        "signatures": [
            {"role": tally.role, "by": tally.by, "have": tally.have, "need": tally.need}
            for tally in review.tallies
        ],
        "signed": {role: list(signed) for role, signed in review.signed.items()},
        "test_hosts": dict(review.test_hosts),
        "may_sign_here": list(review.may_sign),
    }
