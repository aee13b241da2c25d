"""`squid-helper`: started by Squid, not by people."""

import logging
import sys
from pathlib import Path

import click

from blocklist.cli import output
from blocklist.subscriber.matcher import Blocklist
from blocklist.subscriber.squid import Helper, serve


@click.command("squid-helper")
@click.option("--list", "lists", multiple=True, help="Only these lists; may be repeated.")
@click.option(
    "--allow-undecided",
    is_flag=True,
    help="Let pass what is too long to be judged, on hosts with entries.",
)
@click.option(
    "--state",
    envvar="BLOCKLIST_STATE",
    required=True,
    # Not checked here: Squid ends when its helpers do, and this one can say what is wrong.
    type=click.Path(path_type=Path, readable=False),
    help="Verified lists of this subscriber.  [BLOCKLIST_STATE]",
)
def squid_helper(lists: tuple[str, ...], allow_undecided: bool, state: Path) -> None:
    """Answer Squid's external ACL requests (docs/subscribers.md, "Squid").

    It follows new versions by itself. While no list is in force every request is refused.
    """
    logging.basicConfig(format="blocklist: %(message)s")  # what the matcher has to say
    helper = Helper(
        lambda: Blocklist.open(state, *lists),
        lambda text: click.echo(f"blocklist: {output.safe(text)}", err=True),
        allow_undecided=allow_undecided,
    )
    serve(helper, sys.stdin.buffer, sys.stdout.buffer)


COMMANDS = (squid_helper,)
