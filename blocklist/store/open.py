"""From the value of BLOCKLIST_STORAGE to a store.

    file:DIR      a directory, relative or absolute; file:///DIR is the same as file:/DIR

What follows `file:` is taken as it stands: no percent escapes, no `~`.
"""

from pathlib import Path

from blocklist.core.errors import InputError
from blocklist.store.directory import DirectoryStore
from blocklist.store.port import Store

_EXPECTED = "expected storage as file:DIR"


def open_store(url: str) -> Store:
    """Return the store that a storage URL names; nothing is read or created yet.

    Raises:
        InputError: Another kind of URL; the message never repeats it, it may hold credentials.
    """
    scheme, colon, rest = url.partition(":")
    if not colon:
        raise InputError(f"{_EXPECTED}, got no scheme")
    if scheme == "s3":
        raise InputError(f"{_EXPECTED}: s3:// arrives with the server extra in a coming version")
    if scheme != "file":
        raise InputError(f"{_EXPECTED}, got another scheme")
    return DirectoryStore(_directory(rest))


def _directory(rest: str) -> Path:
    """Return the path after `file:`; `//` may only introduce an absolute one (RFC 8089)."""
    if rest.startswith("//"):
        rest = rest[2:]
        if not rest.startswith("/"):
            raise InputError(f"{_EXPECTED} or file:///DIR, got a host name")
    if not rest or "\0" in rest:
        raise InputError(f"{_EXPECTED}, got no usable directory")
    return Path(rest)
