"""`serve`: the API in front of a storage."""

import click

from blocklist.cli import context


@click.command()
@click.option(
    "--bind", metavar="HOST:PORT", default="127.0.0.1:8080", show_default=True, help="Where."
)
@context.storage
def serve(bind: str, storage: str) -> None:
    """Serve the API (needs the extra [server]); reads only, holds no signing key."""
    from blocklist.api.serve import serve as start  # the one import that may be missing

    start(storage, bind)


COMMANDS = (serve,)
