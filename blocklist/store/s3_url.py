"""The URL of an S3 storage, read strictly.

    s3://BUCKET[/PREFIX][?endpoint_url=URL&region=NAME&addressing=path|virtual&ca_file=FILE]

    endpoint_url   another service than AWS: http or https, host, port, perhaps a path
    region         else that of the AWS configuration, else `us-east-1` with an endpoint
    addressing     bucket in the path or in the host name; `path` with an endpoint, else as boto3
    ca_file        certificates (PEM) to trust instead of the system's

Values are percent-encoded as in any query. The bucket has the shape of AWS ("General purpose bucket
naming rules"); the prefix is that of keys and names a folder. Credentials never stand here: they
come by the usual AWS chain (environment, shared files, instance role).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlsplit

from blocklist.core.errors import InputError, LocalError
from blocklist.store.localfiles import reason
from blocklist.store.port import validate_prefix

_EXPECTED = "expected storage as s3://BUCKET/PREFIX?endpoint_url=URL"
_PRINTABLE = re.compile(r"[!-~]*")  # RFC 3986: nothing else stands in a URL unescaped
_BUCKET = re.compile(r"(?!.*\.\.)(?!\d+(\.\d+){3}$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ADDRESSING = ("path", "virtual")
_PARAMETERS = ("endpoint_url", "region", "addressing", "ca_file")


@dataclass(frozen=True, slots=True)
class S3Location:
    """Where a storage is.

    Attributes:
        bucket: Its bucket.
        prefix: What all its keys begin with there: empty, or ending in a slash.
        endpoint_url: The service; None for AWS.
        region: Its region; None for that of the AWS configuration.
        addressing: `path`, `virtual`, or None for what suits the endpoint.
        ca_file: Certificates to trust; None for the usual ones.
    """

    bucket: str
    prefix: str = ""
    endpoint_url: str | None = None
    region: str | None = None
    addressing: str | None = None
    ca_file: Path | None = None

    @property
    def name(self) -> str:
        """What messages call it; endpoint and options left out."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def parse_s3_url(url: str) -> S3Location:
    """Read a storage URL.

    Raises:
        InputError: Another shape; the message never repeats the URL, it may hold credentials.
        LocalError: The `ca_file` is not there.
    """
    place, question, query = url.removeprefix("s3://").partition("?")
    if not url.startswith("s3://") or not _PRINTABLE.fullmatch(url) or "#" in url:
        raise InputError(f"{_EXPECTED}, got another shape")
    bucket, _, prefix = place.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise InputError(f"{_EXPECTED}, got no name of a bucket (3 to 63 of a-z 0-9 . -)")
    values = _parameters(query) if question else {}
    ca_file = values.get("ca_file")
    return S3Location(
        bucket,
        _prefix(prefix),
        endpoint_url=_endpoint(values.get("endpoint_url")),
        region=_one_of_shape("region", _REGION, values.get("region")),
        addressing=_addressing(values.get("addressing")),
        ca_file=_readable(Path(ca_file)) if ca_file is not None else None,
    )


def _prefix(text: str) -> str:
    prefix = f"{text.removesuffix('/')}/" if text else ""
    try:
        validate_prefix(prefix)
    except InputError as error:
        raise InputError(
            f"{_EXPECTED}, got a prefix that is no folder (A-Z a-z 0-9 . _ - between slashes)"
        ) from error
    return prefix


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters; unknown, repeated and empty ones are refused."""
    try:
        pairs = parse_qsl(query, strict_parsing=True, max_num_fields=len(_PARAMETERS))
    except ValueError as error:  # also for an empty value: that one is dropped, then counted
        raise InputError(f"{_EXPECTED}, got parameters that cannot be read") from error
    values = dict(pairs)
    if set(values) - set(_PARAMETERS):  # not repeated: it may be a secret in the wrong place
        raise InputError(f"expected no other parameters than {', '.join(_PARAMETERS)}")
    if len(values) != query.count("&") + 1:
        raise InputError(f"expected each of {', '.join(_PARAMETERS)} at most once, with a value")
    return values


def _endpoint(text: str | None) -> str | None:
    if text is not None and not _is_endpoint(text):
        raise InputError("expected endpoint_url as http(s)://HOST[:PORT], without user or query")
    return text


def _is_endpoint(text: str) -> bool:
    try:
        parts: SplitResult = urlsplit(text)
        reachable = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an address that is none
        return False
    plain = parts.scheme in ("http", "https") and not any(mark in text for mark in "@?#\\")
    return reachable and plain and _PRINTABLE.fullmatch(text) is not None


def _one_of_shape(name: str, shape: re.Pattern[str], text: str | None) -> str | None:
    if text is not None and not shape.fullmatch(text):
        raise InputError(f"expected {name} as one word")
    return text


def _addressing(text: str | None) -> str | None:
    if text is not None and text not in _ADDRESSING:
        raise InputError(f"expected addressing as {' or '.join(_ADDRESSING)}")
    return text


def _readable(path: Path) -> Path:
    try:
        with path.open("rb"):
            return path.absolute()
    except OSError as error:
        raise LocalError(f"cannot read the ca_file of the storage: {reason(error)}") from error
    except ValueError as error:
        raise InputError("expected ca_file as the name of a file") from error
