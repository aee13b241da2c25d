"""What `publish` and `stage` share: the source files, and how they are read."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from blocklist.cli import context
from blocklist.core.errors import InputError
from blocklist.publisher.repository import Repository
from blocklist.publisher.request import Options, Request, read_request

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.argument("file", required=False),
    click.option("--add", multiple=True, metavar="FILE", help="Entries to add; may be repeated."),
    click.option(
        "--remove", multiple=True, metavar="FILE", help="Entries to remove; may be repeated."
    ),
    click.option("--format", "form", type=click.Choice(["auto", "text", "csv"]), default="auto"),
    click.option("--skip-bad", is_flag=True, help="Leave out bad lines and entries; count them."),
    click.option(
        "--drop-ports", is_flag=True, help="Accept entries with a port, without the port."
    ),
    click.option("--ignore-missing", is_flag=True, help="Removing what is not listed is no error."),
    click.option(
        "--allow", multiple=True, metavar="GUARD", help="Override a guard; needs --reason."
    ),
    click.option("--reason", help="Why; kept in the record of the release."),
    click.option("--dry-run", is_flag=True, help="Say what would happen; write nothing."),
)


def options(function: F) -> F:
    """Add the argument FILE and the options of a release."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def named(given: Mapping[str, Any]) -> bool:
    """Tell whether any source is named."""
    return given["file"] is not None or bool(given["add"]) or bool(given["remove"])


def read_options(given: Mapping[str, Any]) -> Options:
    """Return the options as given.

    Raises:
        InputError: An override without a reason.
    """
    if given["allow"] and not given["reason"]:
        raise InputError("expected --reason with --allow")
    return Options(
        format=given["form"],
        skip_bad=given["skip_bad"],
        drop_ports=given["drop_ports"],
        ignore_missing=given["ignore_missing"],
        allowed=dict.fromkeys(given["allow"], given["reason"] or ""),
        reason=given["reason"],
        dry_run=given["dry_run"],
    )


def read(repository: Repository, name: str, given: Mapping[str, Any]) -> Request:
    """Read the sources; a whole list is tied to the version that is the newest now.

    Raises:
        UnknownList: There is no such list.
        InputError, BadSource: Options or sources are wrong.
    """
    if [given["file"], *given["add"], *given["remove"]].count(context.STANDARD_INPUT) > 1:
        raise InputError("expected standard input (-) once")
    read_with = read_options(given)
    head = repository.head([name])
    return read_request(
        name,
        _source(given["file"]) if given["file"] is not None else None,
        [_source(item) for item in given["add"]],
        [_source(item) for item in given["remove"]],
        read_with,
        base=head.roles[name].version if name in head.roles else 0,
    )


def urls(words: tuple[str, ...]) -> list[str]:
    """Return URLs as given, or a line each from standard input for a lone `-`.

    Raises:
        InputError: None; `-` among others; no UTF-8.
    """
    if words != (context.STANDARD_INPUT,):
        if context.STANDARD_INPUT in words:
            raise InputError("expected either URLs or -, got both")
        return list(words)
    try:
        text = context.read_source(context.STANDARD_INPUT).decode()
    except UnicodeDecodeError:
        raise InputError("expected UTF-8 text on standard input") from None
    return [line for line in text.splitlines() if line.strip()]


def _source(name: str) -> tuple[str, bytes]:
    """Return what messages call a source, and its bytes."""
    return context.told(name), context.read_source(name)
