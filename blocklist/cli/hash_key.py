"""`list rotate-hash-key`: replace the secret key of a list's hashed feed."""

from pathlib import Path
from typing import Any

import click

from blocklist.cli import candidates, context, output
from blocklist.core.documents import format_time
from blocklist.core.errors import InputError
from blocklist.publisher import rotation
from blocklist.publisher.rotation import Rotation


@click.command(name="rotate-hash-key")
@click.argument("name", metavar="LIST")
@click.option("--now", is_flag=True, help="Without the 48 hours, for a leaked key; needs --reason.")
@click.option("--reason", help="Why; kept in the record of the release.")
@click.option("--key", metavar="NAME", help="Key of this home to sign with.")
@context.publisher
def rotate_hash_key(
    name: str,
    now: bool,
    reason: str | None,
    key: str | None,
    storage: str,
    home: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Replace the hash key of LIST: announce a new one, or use the announced one.

    The first call announces the new key 48 hours ahead; subscribers of the API fetch it by
    themselves. A call after that time puts it in use; one before it says when that will be.
    """
    if now and not reason:
        raise InputError("expected --reason with --now")
    repository = context.open_repository(storage, home, config)
    done = rotation.rotate_hash_key(repository, name, at_once=now, reason=reason, signing_key=key)
    following = done.following
    document = {
        "list": done.list,
        "changed": done.changed,
        "state": done.state,
        "version": done.version,
        "hash_key_id": done.key_id,
        "next_hash_key": {"id": following[0], "from": format_time(following[1])}
        if following
        else None,
    }
    staged = candidates.staged_of(done.carried) if done.carried is not None else None
    output.emit(document | {"staged": staged}, as_json=as_json, text=_told(done, staged))


def _told(done: Rotation, staged: dict[str, Any] | None) -> str:
    if staged is not None:
        return candidates.staged_text(staged)
    when = format_time(done.following[1]) if done.following is not None else ""
    again = f"run `blocklist list rotate-hash-key {done.list}` again"
    if done.state == rotation.ANNOUNCED:
        return (
            f"{done.list}: version {done.version} announces a new hash key; {again} after {when}\n"
            "  subscribers of the API fetch it by themselves, all others need a new enrolment"
        )
    if done.state == rotation.WAITING:
        return f"{done.list}: a new hash key is announced; {again} after {when}"
    if done.state == rotation.ROTATED:
        return f"{done.list}: version {done.version} is released under a new hash key"
    return f"{done.list}: has a new hash key; nothing was released under the old one"
