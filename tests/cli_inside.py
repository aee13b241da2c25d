"""What no command does to a world: publish at another time, sign the next root, alter files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tuf.api.metadata import Root

from blocklist.publisher import publish as releasing
from blocklist.publisher.home import Home
from blocklist.publisher.repository import Repository
from blocklist.publisher.request import Options, read_request
from blocklist.store.directory import DirectoryStore
from signing.names import file_name
from signing.roles import seal
from tests.cli_kit import HOME, World
from tests.publisher_kit import QUICK, no_passphrase


def repository(world: World, ago: timedelta = timedelta()) -> Repository:
    """Return the publisher of a world, whose clock is that much behind, and who trusts it."""
    settings = replace(QUICK, trust_clock=True)
    home = Home(world.folder / HOME, no_passphrase)
    clock = lambda: datetime.now(UTC) - ago  # noqa: E731 - one line, one use
    return Repository(DirectoryStore(world.store), home, clock, "tester", settings)


def publish_whole(publisher: Repository, source: str) -> int:
    """Publish a whole list without starting a command; return its version."""
    request = read_request("demo", ("v.txt", source.encode()), [], [], Options())
    version = releasing.publish(publisher, request).version
    assert version is not None
    return version


def next_root(world: World) -> Path:
    """Sign the next root with the throw-away keys and put it into the storage."""
    publisher = repository(world)
    current = publisher.head().root
    new = Root.from_dict(current.signed.to_dict())
    new.version += 1
    role = new.roles["root"]
    data = seal("root", new, publisher.home.signers("root", role.keyids, role.threshold)).data
    path = world.metadata / file_name("root", new.version)
    path.write_bytes(data)
    return path


@contextmanager
def without_sync() -> Iterator[None]:
    """Let fsync cost nothing meanwhile: nobody cuts the power."""
    real, os.fsync = os.fsync, lambda _: None
    try:
        yield
    finally:
        os.fsync = real
