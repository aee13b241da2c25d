"""What a failed S3 request means: what became of it, and which error of ours it is.

Every exception of boto3 is turned into ours here. Sources: AWS, "Error responses" and "Conditional
requests"; docs/adr/0010-conditional-writes.md for what other servers answer. Messages name
operation, key and error code; never credentials, endpoint or what the server wrote.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError  # botocore lets some through while a body is read

from blocklist.core.errors import BlocklistError, LocalError, StoreUnreachable

FAILURES = (boto.BotoCoreError, boto.ClientError, ResponseParserError, HTTPError)

_AGAIN = frozenset({"BadDigest", "IncompleteBody", "RequestTimeout"})  # 400s of a bad line
_CERTIFICATE = "its certificate is not trusted here (ca_file= in the storage URL names another)"
_REGION = "the bucket is in another region: set region= in the storage URL"
_KEYS = "the credentials are not accepted"
_ADVICE = {
    "NoSuchBucket": "there is no such bucket",
    "RequestTimeTooSkewed": "the clocks of this machine and the storage differ: set the clock",
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "ExpiredToken": _KEYS,
    "InvalidToken": _KEYS,
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
}


class Fate(Enum):
    """What became of a request that failed."""

    NOTHING = auto()  # it was not carried out; another try may succeed
    UNHEARD = auto()  # it may have been carried out: 5xx, 409, a broken connection
    PENDING = auto()  # no answer in time: it may still be carried out
    CONDITION = auto()  # its condition was not met
    DENIED = auto()  # not with these credentials, this bucket, this set-up
    UNSUPPORTED = auto()  # the server does not do what it asks for


# The first that fits counts: some of these classes are others' children.
_KINDS: tuple[tuple[tuple[type[Exception], ...], Fate, str], ...] = (
    (
        (
            boto.NoCredentialsError,
            boto.PartialCredentialsError,
            boto.CredentialRetrievalError,
            boto.NoAuthTokenError,
            boto.TokenRetrievalError,
            boto.MetadataRetrievalError,
            boto.UnknownCredentialError,
        ),
        Fate.DENIED,
        "no usable AWS credentials were found (environment, ~/.aws, role)",
    ),
    (
        (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError),
        Fate.NOTHING,
        "the storage cannot be connected to",
    ),
    ((boto.ReadTimeoutError,), Fate.PENDING, "the storage did not answer in time"),
    ((boto.SSLError,), Fate.UNHEARD, "the TLS connection broke"),
    (
        (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError, HTTPError),
        Fate.UNHEARD,
        "the connection to the storage broke",
    ),
    ((ResponseParserError,), Fate.UNHEARD, "the answer is not that of an S3 server"),
)


class RequestFailed(Exception):
    """One request failed; only for who decides what to do next, callers get `failure`.

    Attributes:
        fate: What became of it.
        failure: What it is called outside.
    """

    def __init__(self, fate: Fate, failure: BlocklistError) -> None:
        super().__init__(str(failure))
        self.fate = fate
        self.failure = failure


@contextmanager
def request(doing: str, what: str) -> Iterator[None]:
    """Turn boto3's exceptions of the block into `RequestFailed`: "cannot DOING WHAT: reason"."""
    try:
        yield
    except FAILURES as error:
        fate, reason = _judged(error)
        kind = LocalError if fate in {Fate.DENIED, Fate.UNSUPPORTED} else StoreUnreachable
        raise RequestFailed(fate, kind(f"cannot {doing} {what}: {reason}")) from error


@contextmanager
def failures(doing: str, what: str) -> Iterator[None]:
    """Turn boto3's exceptions of the block into ours, where only that matters.

    Raises:
        StoreUnreachable: The storage did not answer, or not in S3's language.
        LocalError: It refused: credentials, permissions, bucket, clock.
    """
    try:
        with request(doing, what):
            yield
    except RequestFailed as failed:
        raise failed.failure from failed.__cause__


def is_missing(error: boto.ClientError) -> bool:
    """Tell whether S3 said that there is no such object.

    A 404 without that word is from somebody else at the endpoint, such as a proxy whose S3 server
    is away: nothing may be concluded from it.
    """
    return _code(error) == "NoSuchKey"


def is_missing_head(error: boto.ClientError) -> bool:
    """Tell the same of a HEAD request, whose answer has no body to say it in."""
    return _code(error) in {"NoSuchKey", "404"}


def _judged(error: Exception) -> tuple[Fate, str]:
    if isinstance(error, boto.ClientError):
        return _answered(error)
    if isinstance(error, boto.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Fate.DENIED, _CERTIFICATE
    for kinds, fate, reason in _KINDS:
        if isinstance(error, kinds):
            return fate, reason
    return Fate.DENIED, f"boto3 cannot be used as it is set up ({type(error).__name__})"


def _answered(error: boto.ClientError) -> tuple[Fate, str]:
    """Judge an answer by its error code, or by its status where the code tells nothing."""
    code, status = _code(error), _status(error)
    shown = code if code.isalnum() else str(status)
    if status >= 500 and status != 501:
        return Fate.UNHEARD, f"the storage failed ({shown})"
    if status == 429 or code in _AGAIN:
        return Fate.NOTHING, f"the storage is busy or lost a part of the request ({shown})"
    if status == 409:
        return Fate.UNHEARD, f"another request was in the way ({shown})"
    if code in _ADVICE:
        return Fate.DENIED, f"{_ADVICE[code]} ({code})"
    if status == 412 or code == "NoSuchKey":
        return Fate.CONDITION, f"its condition was not met ({shown})"
    if status == 404:
        return Fate.DENIED, "no S3 server answers at this endpoint (404)"
    if status in {401, 403}:
        return Fate.DENIED, f"not allowed ({shown})"
    if 300 <= status < 400:
        return Fate.DENIED, f"{_REGION} ({shown})"
    return Fate.UNSUPPORTED, f"the storage does not do this ({shown})"


def _code(error: boto.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: boto.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
