"""`serve`: the API in front of a storage."""

from pathlib import Path

import click

from blocklist.cli import context


@click.command()
@click.option(
    "--bind", metavar="HOST:PORT", default="127.0.0.1:8080", show_default=True, help="Where."
)
@click.option(
    "--workers", metavar="N", type=int, default=1, show_default=True, help="Processes; with Redis."
)
@click.option(
    "--redis",
    "redis_url",
    envvar="BLOCKLIST_REDIS",
    metavar="URL",
    help="Through which processes agree: redis://HOST:PORT/DB.  [BLOCKLIST_REDIS]",
)
@context.config
@context.storage
def serve(
    bind: str, workers: int, redis_url: str | None, config: Path | None, storage: str
) -> None:
    """Serve the API (needs the extra [server]); reads only, holds no signing key.

    A Redis URL with a password belongs in the environment: arguments are seen by everybody.
    """
    from blocklist.api.serve import serve as start  # the one import that may be missing

    start(storage, bind, workers=workers, redis_url=redis_url, config=config)


COMMANDS = (serve,)
