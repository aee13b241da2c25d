"""Options that many commands share, and what they open."""

import getpass
import os
import socket
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
from securesystemslib.signer import Key

from blocklist.core.errors import InputError, LocalError
from blocklist.publisher.home import Home
from blocklist.publisher.repository import Repository
from blocklist.publisher.settings import Settings
from blocklist.store.open import open_store
from signing import keys
from signing.errors import KeyTrouble

F = TypeVar("F", bound=Callable[..., Any])

MAX_SOURCE_BYTES = 4 << 30  # a list of ten million long URLs
TABLES = ("publisher", "api")  # of the file that all commands may share
MAX_CONFIG_BYTES = 1 << 20
STANDARD_INPUT = "-"
_PASSPHRASE_FILE = "BLOCKLIST_PASSPHRASE_FILE"  # noqa: S105 - the name of a variable
_CREDENTIAL = "blocklist-passphrase"  # in systemd's CREDENTIALS_DIRECTORY

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
storage = click.option(
    "--storage",
    envvar="BLOCKLIST_STORAGE",
    required=True,
    metavar="URL",
    help="Where the repository is: file:DIR or s3://BUCKET/PREFIX?..  [BLOCKLIST_STORAGE]",
)
storage_if_at_hand = click.option(
    "--storage",
    envvar="BLOCKLIST_STORAGE",
    metavar="URL",
    help="The repository, where this machine can reach it.  [BLOCKLIST_STORAGE]",
)
home = click.option(
    "--home",
    envvar="BLOCKLIST_HOME",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Keys and trust state of this publisher.  [BLOCKLIST_HOME]",
)
state = click.option(
    "--state",
    envvar="BLOCKLIST_STATE",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Verified lists and trust of this subscriber.  [BLOCKLIST_STATE]",
)
config = click.option(
    "--config",
    envvar="BLOCKLIST_CONFIG",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings in TOML.  [BLOCKLIST_CONFIG]",
)


def publisher(function: F) -> F:
    """Add the options of a publisher command."""
    for option in (as_json, config, home, storage):
        function = option(function)
    return function


def holder(function: F) -> F:
    """Add the options of a command that needs a home, and can do without the storage."""
    for option in (as_json, config, home, storage_if_at_hand):
        function = option(function)
    return function


def now() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)


def open_repository(storage_url: str, directory: Path, config_file: Path | None) -> Repository:
    """Open storage and home as the options say."""
    settings = read_settings(config_file)
    store = open_store(storage_url, single_writer=settings.single_writer)
    return Repository(store, open_home(directory, settings), now, _who(), settings)


def open_home(directory: Path, settings: Settings) -> Home:
    """Open the home alone."""
    return Home(directory, ask_passphrase, cache_bytes=settings.cache_bytes)


def read_settings(config_file: Path | None) -> Settings:
    """Read what the organisation has set for its publishers."""
    table = read_config(config_file).get("publisher", {})
    return Settings.from_table(table, config_file.parent if config_file else Path())


def read_config(path: Path | None) -> dict[str, dict[str, Any]]:
    """Read the configuration file.

    Raises:
        InputError: Unreadable, no TOML, or an unknown table.
    """
    if path is None:
        return {}
    try:
        document = tomllib.loads(read_source(str(path), MAX_CONFIG_BYTES).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: expected TOML: {error}") from error
    for name, table in document.items():
        if name not in TABLES or not isinstance(table, dict):
            raise InputError(f"{path}: unknown table or setting {name!r}")
    return document


def read_source(name: str, limit: int = MAX_SOURCE_BYTES) -> bytes:
    """Read a file, or standard input for `-`.

    Raises:
        InputError: It cannot be read or is larger than `limit` bytes.
    """
    try:
        if name == STANDARD_INPUT:
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(limit + 1)
    except OSError as error:
        raise InputError(f"cannot read {told(name)}: {error.strerror}") from error
    if len(data) > limit:
        raise InputError(f"{told(name)}: expected at most {limit} bytes")
    return data


def told(name: str) -> str:
    """Return what messages call a source."""
    return "standard input" if name == STANDARD_INPUT else name


def read_keys(paths: Iterable[Path]) -> list[Key]:
    """Read public keys from `.pub` files."""
    return [keys.read_public(path) for path in paths]


def read_key_ids(texts: Iterable[str]) -> list[str]:
    """Return key ids, given as such (or how they begin, spaces aside) or as `.pub` files."""
    return [
        keys.read_public(Path(text)).keyid if Path(text).is_file() else "".join(text.split())
        for text in texts
    ]


def ask_passphrase(path: Path) -> bytes:
    """Return the passphrase of a key file: from a file, systemd, or the terminal.

    Raises:
        KeyTrouble: There is no way to ask.
    """
    given = _given_passphrase()
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise KeyTrouble(f"{path} has a passphrase; set {_PASSPHRASE_FILE} or use a terminal")
    text: str = click.prompt(f"Passphrase of {path}", hide_input=True, err=True)
    return text.encode()


def new_passphrase(path: Path) -> bytes:
    """Return the passphrase of a key file to be made, asked twice on a terminal.

    Raises:
        KeyTrouble: There is no way to ask, or it is empty.
    """
    given = _given_passphrase()
    if given is None:
        if not sys.stdin.isatty():
            raise KeyTrouble(
                f"expected a passphrase for {path}: set {_PASSPHRASE_FILE}, use a terminal, or say "
                "--no-passphrase for a machine that must sign by itself"
            )
        ask = f"New passphrase of {path}"
        given = click.prompt(ask, hide_input=True, confirmation_prompt=True, err=True).encode()
    if not given:
        raise KeyTrouble("expected a passphrase, got an empty one")
    return given


def _given_passphrase() -> bytes | None:
    """Return the passphrase from the file or the systemd credential that is set up, if one is."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    named = os.environ.get(_PASSPHRASE_FILE)
    candidates = [Path(named)] if named else []
    if credentials and (Path(credentials) / _CREDENTIAL).exists():
        candidates.append(Path(credentials) / _CREDENTIAL)
    for candidate in candidates:
        try:
            return candidate.read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise KeyTrouble(f"cannot read {candidate}: {error.strerror}") from error
    return None


def read_moment(text: str | None) -> datetime | None:
    """Read when something ends, given by a person; a date is meant with its whole day, UTC."""
    return read_end(text) if text is not None else None


def read_end(text: str) -> datetime:
    """Read as `read_moment`.

    Raises:
        InputError: No date.
    """
    try:
        value = datetime.fromisoformat(text)
        if len(text) == len("YYYY-MM-DD"):
            value += timedelta(days=1)
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # the latter at both ends of the calendar
        raise InputError("expected a date as YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ") from error


@contextmanager
def new_file(path: Path, data: bytes) -> Iterator[None]:
    """Write a secret file that must not exist yet, mode 0600; remove it when the block fails.

    Raises:
        LocalError: It exists, or the disk refuses.
    """
    _write_new(path, data)
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write_new(path: Path, data: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise LocalError(f"{path} exists; it was not touched") from error
    except OSError as error:
        raise LocalError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise LocalError(f"cannot write {path}: {error.strerror}") from error


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
