"""From the value of BLOCKLIST_STORAGE to a store.

    file:DIR              a directory, relative or absolute; file:///DIR is the same as file:/DIR
    s3://BUCKET/PREFIX    S3 and what speaks its language, see `s3_url`; needs the extra `server`

What follows `file:` is taken as it stands: no percent escapes, no `~`.
"""

from pathlib import Path

from blocklist.core.errors import InputError, LocalError
from blocklist.store.directory import DirectoryStore
from blocklist.store.port import Store
from blocklist.store.s3_url import S3Location, parse_s3_url

_EXPECTED = "expected storage as file:DIR or s3://BUCKET/PREFIX"
_EXTRA = frozenset({"boto3", "botocore"})


def open_store(url: str, *, single_writer: bool = False) -> Store:
    """Return the store that a storage URL names; no object is read or created yet.

    Args:
        url: The storage.
        single_writer: Also write to an S3 storage without conditional writes: safe only where
            one process at a time ever writes. Ignored by storages that have them.

    Raises:
        InputError: Another kind of URL; the message never repeats it, it may hold credentials.
        LocalError: What this kind of storage needs is not installed, or a `ca_file` is missing.
    """
    scheme, colon, rest = url.partition(":")
    if not colon:
        raise InputError(f"{_EXPECTED}, got no scheme")
    if scheme == "s3":
        return _s3(parse_s3_url(url), single_writer)
    if scheme != "file":
        raise InputError(f"{_EXPECTED}, got another scheme")
    return DirectoryStore(_directory(rest))


def _directory(rest: str) -> Path:
    """Return the path after `file:`; `//` may only introduce an absolute one (RFC 8089)."""
    if rest.startswith("//"):
        rest = rest[2:]
        if not rest.startswith("/"):
            raise InputError("expected storage as file:DIR or file:///DIR, got a host name")
    if not rest or "\0" in rest:
        raise InputError("expected storage as file:DIR, got no usable directory")
    return Path(rest)


def _s3(location: S3Location, single_writer: bool) -> Store:
    """Open an S3 storage; boto3 is imported only here, subscribers may do without it."""
    try:
        from blocklist.store.s3 import S3Store
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise LocalError("s3:// needs boto3: install blocklist with the extra [server]") from error
    return S3Store(location, single_writer=single_writer)
