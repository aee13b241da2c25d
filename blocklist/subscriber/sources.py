"""Sources: where a subscriber gets bytes from. None of them is trusted.

    https://HOST[/base]            our API: /v1/lists/../update, /v1/enrolment, and the two below
    static+https://HOST[/folder]   a folder that holds metadata/ and targets/
    file:DIR                       the same on this machine
    s3://BUCKET/PREFIX?..          the same in a bucket, for who may read it with keys of their own

with http as with https. All of them have the files of `store.layout` under `feed/`; the API has
them under `/v1/` and adds the update document and hash keys. Sizes are capped; a body that is
longer comes back one byte too long, so that whoever compares it with its signed length sees a wrong
object.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from blocklist.core import documents
from blocklist.core.enrolment import SourceUrl, read_hash_keys
from blocklist.core.entries import Feed
from blocklist.core.errors import InputError, LocalError, MalformedFeed, StoreError, TransportError
from blocklist.core.hashing import HashKey
from blocklist.core.update import Update
from blocklist.store import layout
from blocklist.store.open import open_store
from blocklist.store.port import Store
from blocklist.subscriber import settings
from blocklist.subscriber.transport import NOT_MODIFIED, OK, HttpTransport
from signing import names, policy

_STATIC = "static+"
_GONE = frozenset({404})
_S3 = "s3:"
_HIDDEN = frozenset({403, 404, 410})  # object stores say 403 for what may not be listed


@dataclass(frozen=True, slots=True)
class NotModified:
    """The API's answer that nothing is new."""


class Source(Protocol):
    """A place to pull from.

    Attributes:
        url: Where it is.
        place: Its name in messages.
        requests: Requests made so far.
        received: Bytes received so far.
        asked_wait: Seconds for which it asked to be left alone, since `begin`.
    """

    url: str
    place: str

    @property
    def requests(self) -> int:
        """Requests made so far."""

    @property
    def received(self) -> int:
        """Bytes received so far."""

    @property
    def asked_wait(self) -> float | None:
        """Seconds for which it asked to be left alone, since `begin`; None: it did not."""

    def begin(self, seconds: float) -> None:
        """Give all that follows so much time together."""

    def metadata(self, name: str) -> Iterable[bytes] | None:
        """Return the chunks of a metadata file, None when there is none.

        Raises:
            TransportError, NotAuthorised: It could not be had.
        """

    def object(self, list_name: str, feed: Feed, file: str, limit: int) -> bytes | None:
        """Return an object (`<sha256>.<name>`), cut at `limit` + 1 bytes; None: there is none.

        Raises:
            TransportError, NotAuthorised: It could not be had.
        """

    def close(self) -> None:
        """Give up connections."""


class StaticSource:
    """A folder behind any HTTP server; what it hides or lacks is not there."""

    _absent = _HIDDEN

    def __init__(
        self, url: str, token: str | None = None, login: tuple[str, str] | None = None
    ) -> None:
        self._http = HttpTransport(url, token, login=login)
        self.url = self._http.url
        self.place = self._http.place

    @property
    def requests(self) -> int:
        """Requests made so far."""
        return self._http.requests

    @property
    def received(self) -> int:
        """Bytes received so far."""
        return self._http.received

    @property
    def asked_wait(self) -> float | None:
        """See `Source.asked_wait`."""
        return self._http.asked_wait

    @property
    def exposes_credentials(self) -> bool:
        """Whether a token or password crosses a network unencrypted."""
        return self._http.exposes_credentials

    def begin(self, seconds: float) -> None:
        """See `Source.begin`."""
        self._http.begin(seconds)

    def metadata(self, name: str) -> Iterable[bytes] | None:
        """See `Source.metadata`."""
        path, limit = metadata_path(name), metadata_limit(name)
        # What must be there and is refused is a matter of credentials, not of what exists.
        absent = _GONE if name == names.TIMESTAMP_FILE else self._absent
        return _chunks(self._get(path, limit, settings.METADATA_SECONDS, absent))

    def object(self, list_name: str, feed: Feed, file: str, limit: int) -> bytes | None:
        """See `Source.object`."""
        path = object_path(list_name, feed, file)
        return self._get(path, limit, settings.SOURCE_SECONDS, self._absent)

    def close(self) -> None:
        """See `Source.close`."""
        self._http.close()

    def _get(self, path: str, limit: int, seconds: float, absent: frozenset[int]) -> bytes | None:
        answer = self._http.get(path, limit=limit, accept=absent, seconds=seconds)
        return None if answer.status in absent else answer.data


class ApiSource(StaticSource):
    """Our API. The version numbers sent along decide what is news: no ETag is kept."""

    _absent = _GONE

    def __init__(self, url: str, token: str | None = None) -> None:
        super().__init__(f"{url.rstrip('/')}/v1", token)

    def update(
        self, list_name: str, feed: Feed, have: int, versions: Mapping[str, int]
    ) -> Update | NotModified | None:
        """Return the update document from version `have` (0: none) on; None: there is none.

        Args:
            list_name: The list.
            feed: The feed.
            have: The version held.
            versions: Versions held of root, targets and timestamp, 0 for none.

        Raises:
            TransportError, NotAuthorised: It could not be had.
            MalformedFeed: Something else came.
        """
        answer = self._http.get(
            f"lists/{list_name}/{feed}/update",
            limit=settings.MAX_UPDATE_BYTES,
            accept={NOT_MODIFIED, *self._absent},
            query={"from": str(have), **{role: str(number) for role, number in versions.items()}},
        )
        if answer.status == NOT_MODIFIED:
            return NotModified()
        return None if answer.status in self._absent else self._read(answer.data, list_name, feed)

    def news(self, list_name: str, feed: Feed, have: int, wait: float) -> int | None:
        """Return the version that the API offers, None when it is `have` after a wait.

        What it says is not verified: a reason to pull, nothing else.

        Args:
            list_name: The list.
            feed: The feed.
            have: The version known, 0 for none.
            wait: Seconds for which the API may hold the request (RFC 7240, 4.3).

        Raises:
            TransportError, NotAuthorised: It could not be had.
            MalformedFeed: Something else came.
        """
        answer = self._http.get(
            f"lists/{list_name}/{feed}",
            limit=settings.MAX_STATE_FILE_BYTES,
            accept={NOT_MODIFIED, *self._absent},
            headers={"If-None-Match": f'"{have}"', "Prefer": f"wait={wait:.0f}"},
        )
        if answer.status != OK:
            return None
        return documents.optional(documents.parse("a feed", answer.data), "version", int)

    def hash_keys(self) -> Mapping[str, Mapping[str, HashKey]]:
        """Return the hash keys that the caller may have, by list and id; none from an older API.

        Raises:
            TransportError, NotAuthorised: They could not be had.
            MalformedFeed, UnknownFormat: Something else came.
        """
        limit, seconds = settings.MAX_HASH_KEYS_BYTES, settings.HASH_KEYS_SECONDS
        data = self._get("enrolment", limit, seconds, self._absent)
        if data is not None and len(data) > limit:
            raise MalformedFeed(f"expected an enrolment of at most {limit} bytes")
        return read_hash_keys(data) if data is not None else {}

    def _read(self, data: bytes, list_name: str, feed: Feed) -> Update:
        if len(data) > settings.MAX_UPDATE_BYTES:
            raise MalformedFeed(f"expected an update of at most {settings.MAX_UPDATE_BYTES} bytes")
        update = Update.from_bytes(data)
        if (update.list, update.feed) != (list_name, feed):
            raise MalformedFeed(f"expected an update of {list_name}/{feed}, got another")
        return update


class StoreSource:
    """A storage that this machine reads directly, such as a folder or a bucket."""

    asked_wait: float | None = None

    def __init__(self, store: Store, url: str) -> None:
        self._store = store
        self.url = url
        self.place = url
        if url.startswith(_S3):
            self.place = url.partition("?")[0]
        self.requests = 0
        self.received = 0

    def begin(self, seconds: float) -> None:
        """Do nothing: the storage has its own limits."""

    def metadata(self, name: str) -> Iterable[bytes] | None:
        """See `Source.metadata`."""
        return _chunks(self._get(metadata_path(name), metadata_limit(name)))

    def object(self, list_name: str, feed: Feed, file: str, limit: int) -> bytes | None:
        """See `Source.object`."""
        return self._get(object_path(list_name, feed, file), limit)

    def close(self) -> None:
        """Do nothing: nothing is open between two calls."""

    def _get(self, key: str, limit: int) -> bytes | None:
        self.requests += 1
        try:
            # The port refuses what is longer; one that is a bit longer is for the caller to judge.
            found = self._store.get(key, limit=limit + settings.SURPLUS_BYTES)
        except (StoreError, LocalError) as error:
            if self._hidden(key, error):
                return None
            raise TransportError(str(error)) from error
        if found is None:
            return None
        self.received += len(found.data)
        return found.data[: limit + 1]

    def _hidden(self, key: str, error: StoreError | LocalError) -> bool:
        """Tell whether an error may say that nothing is there.

        A bucket refuses to tell who may not list it what it lacks (403). The timestamp is always
        there: asking for it settles whether the credentials are to blame.
        """
        refused = self.url.startswith(_S3) and isinstance(error, LocalError)
        return refused and key != metadata_path(names.TIMESTAMP_FILE)


def open_source(source: SourceUrl, default_token: str | None) -> Source:
    """Return the source that an enrolment names; nothing is contacted yet.

    Args:
        source: Where.
        default_token: The enrolment's token, for our API when the source has none of its own.

    Raises:
        InputError: Another kind of URL; the message never repeats it, it may hold credentials.
        LocalError: What this kind needs is not installed.
    """
    scheme = source.url.partition(":")[0].lower()
    if scheme in ("http", "https"):
        if source.login:
            raise InputError("expected a source that is our API with a token, got a password")
        return ApiSource(source.url, source.token or default_token)
    if scheme in (f"{_STATIC}http", f"{_STATIC}https"):
        return StaticSource(source.url[len(_STATIC) :], source.token, source.login)
    if scheme not in ("file", "s3"):
        raise InputError(
            "expected a source as https://, static+https://, file: or s3://, got another scheme"
        )
    if source.token or source.login:
        raise InputError(
            f"expected a {scheme}: source without token and password: this machine has its own keys"
        )
    return StoreSource(open_store(source.url), source.url)


def exposes_credentials(source: Source) -> bool:
    """Tell whether a source sends a token or password over an unencrypted network."""
    return isinstance(source, StaticSource) and source.exposes_credentials


def metadata_path(name: str) -> str:
    """Return where a metadata file lies in a source."""
    return layout.METADATA.removeprefix(layout.FEED) + name


def object_path(list_name: str, feed: Feed, file: str) -> str:
    """Return where an object lies in a source."""
    return layout.targets_prefix(list_name, feed).removeprefix(layout.FEED) + file


def metadata_limit(name: str) -> int:
    """Return the most bytes that a metadata file may have, by the role in its name."""
    role = name.removesuffix(".json").rpartition(".")[2]
    limits = {
        names.ROOT: policy.MAX_ROOT_BYTES,
        names.TIMESTAMP: policy.MAX_TIMESTAMP_BYTES,
        names.SNAPSHOT: policy.MAX_SNAPSHOT_BYTES,
    }
    return limits.get(role, policy.MAX_TARGETS_BYTES)


def _chunks(data: bytes | None) -> Iterable[bytes] | None:
    return None if data is None else [data]
