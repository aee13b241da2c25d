"""The command line: `blocklist`. One place turns errors into one line and an exit code.

Results go to standard output (one JSON document with `--json`), everything else to standard error.
Nothing printed for people holds a listed URL that is not defanged.
"""

import io
import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import click

from blocklist.cli import (
    audit,
    curation,
    export,
    gc,
    history,
    keys,
    local,
    mirror,
    output,
    publisher,
    selftest,
    serve,
    squid,
    start,
    status,
    subscriber,
    trust,
    urgent,
    watch,
)
from blocklist.cli.refusals import finding_documents, finding_texts
from blocklist.core.errors import BlocklistError, Exit
from blocklist.core.sources import BadLines
from blocklist.publisher.guards import GuardsRefused
from blocklist.version import VERSION
from signing.errors import TrustError

_INTERRUPTED = 130  # as shells say it


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION)
def cli() -> None:
    """Publish, pull and check signed versions of a URL blocklist.

    Storage, home and state come from BLOCKLIST_STORAGE, BLOCKLIST_HOME and BLOCKLIST_STATE, or
    from the options of the same names.
    """


for _command in (
    *start.COMMANDS,
    *keys.COMMANDS,
    *trust.COMMANDS,
    *publisher.COMMANDS,
    *history.COMMANDS,
    *audit.COMMANDS,
    *gc.COMMANDS,
    *curation.COMMANDS,
    *mirror.COMMANDS,
    *urgent.COMMANDS,
    *subscriber.COMMANDS,
    *export.COMMANDS,
    *local.COMMANDS,
    *watch.COMMANDS,
    *status.COMMANDS,
    *squid.COMMANDS,
    *selftest.COMMANDS,
    *serve.COMMANDS,
):
    cli.add_command(_command)


def main() -> None:
    """Run the command line and exit with the code of `blocklist.core.errors.Exit`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may not know every character
            stream.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:  # told already; the interpreter would tell it again, at length
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    try:
        result = cli.main(arguments, prog_name="blocklist", standalone_mode=False)
        sys.stdout.flush()  # here, where a full disk can still be told
    except click.exceptions.Abort:
        return _INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return int(Exit.USAGE)
    except click.ClickException as error:
        return _fail(arguments, int(Exit.USAGE), error.format_message() + _help_of(error))
    except (BlocklistError, TrustError) as error:
        return _fail(arguments, int(error.exit_code), *_told(error))
    except SystemExit:  # click, when nobody reads standard output any more
        return int(Exit.LOCAL)
    except OSError as error:
        return _fail(arguments, int(Exit.LOCAL), f"cannot go on: {error.strerror}")
    except Exception as error:  # the last line of defence: names the bug, not its data
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} at {place.name}:{place.lineno}"
        return _fail(arguments, int(Exit.INTERNAL), f"internal error, please report it: {where}")
    return result if isinstance(result, int) else int(Exit.DONE)


def _help_of(error: click.ClickException) -> str:
    """Return where help is, after a command that was used wrongly."""
    used = error.ctx if isinstance(error, click.UsageError) else None
    return f" (see `{used.command_path} -h`)" if used is not None else ""


def _told(error: BlocklistError | TrustError) -> tuple[str, Sequence[str], dict[str, Any]]:
    """Return an error's line, what people see before it, and what `--json` has beside it."""
    if isinstance(error, BadLines):
        texts = [f"  line {item.number}: {item.reason} ({item.code})" for item in error.bad]
        bad = [{"line": item.number, "code": item.code} for item in error.bad]
        return str(error).partition("\n")[0], texts, {"bad": bad}
    if isinstance(error, GuardsRefused):
        found = error.findings
        return str(error), [*finding_texts(found)], {"findings": finding_documents(found)}
    return str(error), (), {}


def _fail(
    arguments: list[str],
    code: int,
    message: str,
    texts: Sequence[str] = (),
    more: Mapping[str, Any] | None = None,
) -> int:
    """Say in one line what went wrong, after all that is known of it.

    Names that were given are in it, and instead of the name somebody may have given a URL.
    """
    line = output.safe(message)
    for text in (*texts, f"blocklist: {line}"):
        click.echo(text, err=True)
    if "--json" in arguments:
        with suppress(OSError):  # standard output may be what failed
            click.echo(json.dumps({"error": line, "exit": code, **(more or {})}))
    return code
