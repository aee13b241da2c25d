"""`trust`: change who may sign what, in the open, with several people."""

import sys
from pathlib import Path
from typing import Any

import click

from blocklist.cli import context, drafting, output, trust_status
from blocklist.cli.drafting import public_keys, read_draft
from blocklist.core.errors import InputError
from blocklist.publisher.ceremonies import ceremony, enact
from blocklist.publisher.ceremonies.ceremony import Review
from blocklist.publisher.home import Home
from blocklist.publisher.repository import Repository
from blocklist.publisher.start import list_paths
from blocklist.subscriber.enrol import fingerprint_text
from signing import drafts
from signing.drafts import Draft
from signing.proposals import ListChange, RootChange

DRAFT = click.argument("path", metavar="DRAFT", type=click.Path(path_type=Path, dir_okay=False))
DRAFTS = click.argument(
    "paths",
    metavar="DRAFT...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
)


_OF_KIND = {  # the option that names a kind of change, and those that go with it
    "new_list": {"new_keys", "threshold", "test_host"},
    "name": {"add_key", "drop_key", "threshold"},
    "drop_list": set(),
    "renew": set(),
}
_OF_ROOT = {"add_root", "drop_root", "root_threshold", "targets", "online", "delegations_of"}


@click.group()
def trust() -> None:
    """Change who may sign what: propose, sign, commit; and see who may."""


@trust.command()
@DRAFT
@public_keys("--add-root", "add_root", "A root key to add.")
@click.option("--drop-root", multiple=True, metavar="PUB|KEYID", help="A root key to drop.")
@click.option("--root-threshold", type=click.IntRange(min=1), help="Root keys that must sign.")
@public_keys("--targets", "targets", "The targets key from now on, instead of those before.")
@public_keys("--online", "online", "The online key from now on, instead of those before.")
@click.option(
    "--delegations-of",
    type=click.IntRange(min=1),
    metavar="VERSION",
    help="With --targets: the lists as in this targets version, when the live one is a thief's.",
)
@click.option("--new-list", metavar="NAME", help="A list to add.")
@public_keys("--key", "new_keys", "With --new-list: a key that may sign it.")
@click.option("--test-host", help="With --new-list: a host you run, listed for ever.")
@click.option("--list", "name", metavar="NAME", help="A list whose keys change.")
@public_keys("--add-key", "add_key", "With --list: a key to add.")
@click.option("--drop-key", multiple=True, metavar="PUB|KEYID", help="With --list: a key to drop.")
@click.option(
    "--threshold", type=click.IntRange(min=1), help="How many keys of the list must sign."
)
@click.option("--drop-list", metavar="NAME", help="A list to take out of service.")
@click.option("--renew", type=click.Choice(["root", "targets"]), help="Only a new expiry.")
@context.publisher
def propose(
    path: Path, storage: str, home: Path, config: Path | None, as_json: bool, **asked: Any
) -> None:
    """Write a change of keys into DRAFT, for people to sign. Nothing is changed yet."""
    change = _change(asked)
    repository = context.open_repository(storage, home, config)
    if isinstance(change, RootChange):
        draft = ceremony.propose_root(repository, change, asked["delegations_of"])
    else:
        draft = ceremony.propose_targets(repository, change, asked["test_host"])
    drafting.write_new_draft(path, draft)
    review = ceremony.review(repository.home, draft, context.now())
    output.emit(
        {"draft": str(path), **drafting.document(review)},
        as_json=as_json,
        text=f"{drafting.told(review)}\nnext: `blocklist trust sign {path}`",
    )


@trust.command()
@DRAFTS
@context.holder
def show(
    paths: tuple[Path, ...], storage: str | None, home: Path, config: Path | None, as_json: bool
) -> None:
    """Show what the signatures on DRAFT (or its copies) would change, and how many there are."""
    place, repository = _opened(storage, home, config)
    review = ceremony.review(place, _merged(paths), context.now(), repository)
    output.emit(drafting.document(review), as_json=as_json, text=drafting.told(review))


@trust.command()
@DRAFT
@click.option("--key", "chosen", multiple=True, metavar="NAME", help="Which key of this home.")
@click.option("--yes", is_flag=True, help="Do not ask; needed without a terminal.")
@context.holder
def sign(
    path: Path,
    chosen: tuple[str, ...],
    yes: bool,
    storage: str | None,
    home: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Sign DRAFT, after looking at what it changes. The file is sent on to the next person."""
    place, repository = _opened(storage, home, config)
    draft, now = read_draft(path), context.now()
    review = ceremony.review(place, draft, now, repository)
    click.echo(drafting.told(review), err=True)
    if not yes:
        _ask(review)
    signed, added = ceremony.sign(place, draft, chosen, now)
    roles = list(dict.fromkeys(added))  # two keys may have signed one role
    drafting.write_draft(path, signed)
    after = ceremony.review(place, signed, now)
    counts = [f"{t.role}: {t.have} of {t.need} signatures by {t.by}" for t in after.tallies]
    what = f"signed {' and '.join(roles)}" if roles else "signed already; nothing was changed"
    output.emit(
        {"draft": str(path), "signed_now": roles, **drafting.document(after)},
        as_json=as_json,
        text="\n".join([what, *counts]),
    )


@trust.command()
@DRAFTS
@click.option("--old-key-lost", is_flag=True, help="An old online or targets key does not exist.")
@click.option("--replace-invalid-root", is_flag=True, help="Remove what is no root in its place.")
@context.publisher
def commit(
    paths: tuple[Path, ...],
    old_key_lost: bool,
    replace_invalid_root: bool,
    storage: str,
    home: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Make DRAFT live, or copies of it that were signed apart.

    If it is interrupted, run it again.
    """
    repository = context.open_repository(storage, home, config)
    done = enact.enact(
        repository,
        [read_draft(path) for path in paths],
        key_lost=old_key_lost,
        replace_invalid_root=replace_invalid_root,
    )
    document = {
        "kind": done.kind,
        "versions": dict(done.versions),
        "fingerprint": done.fingerprint,
        "unchanged": done.unchanged,
    }
    roles = " and ".join(f"{name} {version}" for name, version in done.versions.items())
    verb = ("was" if done.unchanged else "is") if len(done.versions) == 1 else "are"
    text = f"{roles} {verb} live{' already' if done.unchanged else ''}"
    spoken = fingerprint_text(done.fingerprint)
    output.emit(document, as_json=as_json, text=f"{text}\nroot fingerprint {spoken}")


def _change(asked: dict[str, Any]) -> RootChange | ListChange | None:
    """Return what the options ask for; None renews the targets role.

    Raises:
        InputError: Nothing, or options of two kinds of change.
    """
    given = {name for name, value in asked.items() if value not in (None, ())}
    kind = next((name for name in _OF_KIND if name in given), None)
    if not given or given - (_OF_KIND[kind] | {kind} if kind is not None else _OF_ROOT):
        raise InputError("expected one change: of the root, of one list, or --renew")
    if kind == "new_list":
        return _new_list(asked)
    if kind == "drop_list":
        return ListChange(asked["drop_list"], remove=True)
    if kind == "name":
        added, dropped = (
            context.read_keys(asked["add_key"]),
            context.read_key_ids(asked["drop_key"]),
        )
        return ListChange(asked["name"], added, dropped, asked["threshold"])
    if asked["renew"] == "targets":
        return None
    if asked["delegations_of"] is not None and not asked["targets"]:
        raise InputError("expected --targets with --delegations-of")
    return RootChange(
        context.read_keys(asked["add_root"]),
        context.read_key_ids(asked["drop_root"]),
        asked["root_threshold"],
        context.read_keys(asked["targets"]),
        context.read_keys(asked["online"]),
    )


def _new_list(asked: dict[str, Any]) -> ListChange:
    name, added = asked["new_list"], context.read_keys(asked["new_keys"])
    return ListChange(name, added, threshold=asked["threshold"] or 1, paths=list_paths(name))


def _opened(storage: str | None, home: Path, config: Path | None) -> tuple[Home, Repository | None]:
    """Open the home, and the storage if it is at hand."""
    if storage is None:
        return context.open_home(home, context.read_settings(config)), None
    repository = context.open_repository(storage, home, config)
    return repository.home, repository


def _merged(paths: tuple[Path, ...]) -> Draft:
    return drafts.merged([read_draft(path) for path in paths])


def _ask(review: Review) -> None:
    """Let a person type the number, so that nobody signs in passing.

    Raises:
        InputError: There is no terminal, or it is another number.
    """
    if not sys.stdin.isatty():
        raise InputError("expected --yes, or a terminal to ask on; nothing was signed")
    typed = click.prompt("Type the version number to sign it", err=True)
    if typed.strip() != str(review.version):
        raise InputError(f"expected {review.version}; nothing was signed")


for _command in trust_status.COMMANDS:
    trust.add_command(_command)

COMMANDS = (trust,)
