"""What an operator may set for the API, with the defaults that ship (docs/hosting.md).

The table `[api]` of the file that BLOCKLIST_CONFIG names. It is read by `serve`, by the gunicorn
settings and by each worker, so that gunicorn started by hand behaves the same.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from blocklist.core.errors import InputError

CONFIG_VARIABLE = "BLOCKLIST_CONFIG"
MAX_CONFIG_BYTES = 1 << 20
TABLES = ("publisher", "api")  # of the file that all commands may share
_MOST = 1_000_000  # of anything


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """Settings of the API.

    Attributes:
        requests_per_minute: Requests that one token may make.
        unauthenticated_per_minute: Failed authentications of one client address.
        trusted_proxies: How many proxies in front set X-Forwarded-For; 0: none, it is ignored.
        diff_seconds: How long a request waits for a diff that is being computed.
        connections: Connections that one worker holds at a time, waiting polls among them.
        header_seconds: How long a connection may be idle, or take to send a request.
        send_seconds: How long a client may take to read 64 KiB of an answer.
    """

    requests_per_minute: int = 600
    unauthenticated_per_minute: int = 60
    trusted_proxies: int = 0
    diff_seconds: int = 30
    connections: int = 6_000
    header_seconds: int = 15
    send_seconds: int = 30

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> "ApiSettings":
        """Read the `[api]` table of the configuration file.

        Raises:
            InputError: An unknown setting, or a value of another kind.
        """
        known = {item.name for item in fields(cls)}
        for name, value in table.items():
            if name not in known:
                raise InputError(f"unknown setting api.{name}")
            least = 0 if name == "trusted_proxies" else 1
            if type(value) is not int or not least <= value <= _MOST:
                raise InputError(f"expected api.{name} as a whole number from {least} to {_MOST}")
        return cls(**table)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "ApiSettings":
        """Read the file that BLOCKLIST_CONFIG names; without it the defaults count.

        Raises:
            InputError: The file cannot be read, is no TOML, or holds what `from_table` refuses.
        """
        path = environment.get(CONFIG_VARIABLE)
        return cls.from_table(_table(Path(path)) if path else {})


def _table(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_CONFIG_BYTES:
        raise InputError(f"{path}: expected at most {MAX_CONFIG_BYTES} bytes")
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: expected TOML: {error}") from error
    for name, table in document.items():
        if name not in TABLES or not isinstance(table, dict):
            expected = ", ".join(TABLES)
            raise InputError(f"{path}: expected the tables {expected}, got {name!r}")
    found: Mapping[str, Any] = document.get("api", {})
    return found
