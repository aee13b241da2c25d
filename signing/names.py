"""Names of roles and of their metadata files (TUF specification 1.0.31, section 6)."""

import re

ROOT = "root"
TARGETS = "targets"
SNAPSHOT = "snapshot"
TIMESTAMP = "timestamp"
TIMESTAMP_FILE = "timestamp.json"  # the only mutable file

_DELEGATED = re.compile(r"[a-z0-9-]{1,32}")
_FILE = re.compile(r"([1-9][0-9]{0,15})\.([a-z0-9-]{1,32})\.json")
_TOP_LEVEL = frozenset({ROOT, TARGETS, SNAPSHOT, TIMESTAMP})


def is_delegated_name(name: str) -> bool:
    """Tell whether `name` may be a delegated role: `[a-z0-9-]{1,32}`, no top-level role."""
    return bool(_DELEGATED.fullmatch(name)) and name not in _TOP_LEVEL


def file_name(role: str, version: int) -> str:
    """Return the name of a role's immutable file, such as `3.root.json`."""
    return f"{version}.{role}.json"


def parse_file_name(name: str) -> tuple[str, int] | None:
    """Return role and version of an immutable file, the reverse of `file_name`; None for others."""
    match = _FILE.fullmatch(name)
    return (match[2], int(match[1])) if match else None


def meta_name(role: str) -> str:
    """Return the name under which snapshot metadata lists a role, such as `demo.json`."""
    return f"{role}.json"
