"""HTTP for the subscriber: one bounded GET. The only file that imports requests.

What requests leaves open is settled here: a cap on decoded bytes, a deadline for the whole exchange
(it only has gaps between bytes), redirects that never downgrade to http nor carry the token
to another host, no credentials from `.netrc`, no cookies. Proxies and CA certificates come from the
environment as always with requests. Messages name host and port, never a token, path or query.
"""

import math
import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from blocklist.core.errors import InputError, NotAuthorised, TransportError
from blocklist.subscriber import settings
from blocklist.version import VERSION

OK = 200
NOT_MODIFIED = 304
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REFUSED = frozenset({401, 403})
_CHUNK_BYTES = 65_536
_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to say "with a gzip header"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class SourceDown(TransportError):
    """A source did not answer as agreed.

    Attributes:
        retry_after: Seconds it asked us to wait, None when it did not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: One of those the caller accepts.
        data: The decoded body, at most one byte longer than the limit: then it was cut there.
    """

    status: int
    data: bytes


class HttpTransport:
    """GETs below one base URL, on one connection where possible. For one thread.

    Args:
        url: `http(s)://HOST[:PORT][/base]`.
        token: Bearer token, None for none.

    Attributes:
        place: `HOST:PORT`, for messages.
        requests: Requests sent, redirects included.
        received: Bytes of bodies, as they came over the wire.

    Raises:
        InputError: Not such a URL, or a token that no header can carry.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self._base = _checked(url).rstrip("/")
        self.place = _place(self._base)
        self.requests = 0
        self.received = 0
        self._token = _checked_token(token)
        self._session: requests.Session | None = None
        self.begin(settings.SOURCE_SECONDS)

    def begin(self, seconds: float) -> None:
        """Give all that follows so much time together."""
        self._deadline = time.monotonic() + seconds

    def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            self._session.close()
            self._session = None

    @property
    def exposes_token(self) -> bool:
        """Whether the token crosses a network unencrypted."""
        parts = urlsplit(self._base)
        return bool(self._token) and parts.scheme == "http" and parts.hostname not in _LOOPBACK

    def get(
        self,
        path: str,
        *,
        limit: int,
        accept: Collection[int] = (),
        query: Mapping[str, str] | None = None,
        seconds: float = math.inf,
    ) -> Answer:
        """Fetch `base/path`, whole or up to the limit.

        Args:
            path: Below the base URL, without a leading slash.
            limit: Bytes, decoded.
            accept: Statuses besides 200 that are an answer; their body is dropped.
            query: Parameters.
            seconds: Time for this request, besides the total.

        Raises:
            NotAuthorised: 401 or 403.
            SourceDown: No answer in time, or one that was not agreed.
        """
        left = min(seconds, self._deadline - time.monotonic())
        stop = threading.Event()
        answer = _start(lambda: self._follow(f"{self._base}/{path}", query, limit, accept, stop))
        try:
            return answer.result(timeout=max(left, 0))
        except TimeoutError:
            stop.set()
            self._session = None  # the thread may still be blocked in it: never use it again
            raise SourceDown(f"{self.place} did not answer in time") from None

    def _follow(
        self,
        url: str,
        query: Mapping[str, str] | None,
        limit: int,
        accept: Collection[int],
        stop: threading.Event,
    ) -> Answer:
        """Send the request, then what redirects ask for."""
        try:
            for _ in range(settings.MAX_REDIRECTS + 1):
                if stop.is_set():
                    break  # nobody waits any more
                with closing(self._send(url, query)) as response:
                    if response.status_code not in _REDIRECTS:
                        return self._answer(response, limit, accept, stop)
                    url, query = self._redirected(url, response), None
        # The messages of both libraries hold URLs: only the kind of error is told.
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise SourceDown(f"{self.place} cannot be reached: {type(error).__name__}") from error
        raise SourceDown(f"{self.place} redirects more than {settings.MAX_REDIRECTS} times")

    def _send(self, url: str, query: Mapping[str, str] | None) -> requests.Response:
        if self._session is None:
            self._session = _new_session()
        self.requests += 1
        return self._session.get(
            url,
            params=query,
            auth=_bearer(self._token if _same_host(self._base, url) else None),
            stream=True,
            allow_redirects=False,
            timeout=(settings.CONNECT_TIMEOUT_SECONDS, settings.READ_TIMEOUT_SECONDS),
        )

    def _redirected(self, url: str, response: requests.Response) -> str:
        """Return where a redirect leads (RFC 9110, 10.2.2)."""
        try:
            target = urljoin(url, response.headers.get("Location", ""))
            old, new = urlsplit(url).scheme, _origin(target)[0]
        except ValueError:
            raise SourceDown(f"{self.place} redirects to no URL") from None
        if new not in ("http", "https") or (old == "https" and new == "http"):
            raise SourceDown(f"{self.place} redirects away from {old}: refused")
        return target

    def _answer(
        self,
        response: requests.Response,
        limit: int,
        accept: Collection[int],
        stop: threading.Event,
    ) -> Answer:
        status = response.status_code
        if status == OK:
            return Answer(status, self._body(response, limit, stop))
        if status in accept:
            return Answer(status, b"")
        if status in _REFUSED:
            raise NotAuthorised(f"{self.place} refused the request with status {status}")
        raise SourceDown(f"expected an answer from {self.place}, got {status}", _wait(response))

    def _body(self, response: requests.Response, limit: int, stop: threading.Event) -> bytes:
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in ("identity", "gzip", ""):
            raise SourceDown(f"expected gzip or no encoding from {self.place}, got another")
        chunks = self._chunks(response, stop)
        if coding == "gzip":
            return _inflated(chunks, limit, self.place)
        body = bytearray()
        for chunk in chunks:
            body += chunk[: limit + 1 - len(body)]
            if len(body) > limit:
                break
        return bytes(body)

    def _chunks(self, response: requests.Response, stop: threading.Event) -> Iterator[bytes]:
        """Yield the body as it is on the wire; ends early once nobody waits any more."""
        for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
            self.received += len(chunk)
            yield chunk
            if stop.is_set():
                return


def _start(work: Callable[[], Answer]) -> Future[Answer]:
    """Run `work` in a thread that nothing waits for when the deadline passes."""
    future: Future[Answer] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)  # raised again by whoever waits

    threading.Thread(target=run, name="blocklist-get", daemon=True).start()
    return future


def _inflated(chunks: Iterator[bytes], limit: int, place: str) -> bytes:
    """Decompress one gzip member of up to `limit` + 1 bytes, never more in memory."""
    decoder = zlib.decompressobj(_GZIP)
    body = bytearray()
    try:
        for chunk in chunks:
            body += decoder.decompress(chunk, limit + 1 - len(body))
            if len(body) > limit:
                return bytes(body)
            if decoder.unused_data:  # zlib would copy and keep it all, chunk by chunk
                raise SourceDown(f"{place} sent more after the end of its gzip")
    except zlib.error:
        raise SourceDown(f"{place} sent damaged gzip") from None
    if not decoder.eof:
        raise SourceDown(f"{place} ended before the end of its gzip")
    return bytes(body)


class _Session(requests.Session):
    """A session that leaves redirects alone: requests parses them even when it may not follow."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        """Return None: redirects are ours."""
        return None


def _new_session() -> requests.Session:
    session = _Session()
    session.headers["Accept-Encoding"] = "gzip"
    session.headers["User-Agent"] = f"blocklist/{VERSION}"
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


def _bearer(token: str | None) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Return an `auth` that sets the token; being there, it also keeps `.netrc` out."""

    def apply(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    return apply


def _same_host(base: str, url: str) -> bool:
    """Tell whether the token may go there: the same origin, or its https instead of http."""
    old, new = _origin(base), _origin(url)
    return new in (old, ("https", old[1], 443 if old[::2] == ("http", 80) else None))


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _wait(response: requests.Response) -> float | None:
    """Return the seconds of `Retry-After` (RFC 9110, 10.2.3), None without a usable one."""
    text = response.headers.get("Retry-After", "").strip()
    seconds = None
    if text.isascii() and text.isdigit():
        seconds = float(text)
    else:
        with suppress(ValueError):
            moment = parsedate_to_datetime(text)
            aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            seconds = (aware - datetime.now(UTC)).total_seconds()
    if seconds is None:
        return None
    return min(max(seconds, 0.0), settings.MAX_RETRY_AFTER_SECONDS)


def _checked(url: str) -> str:
    """Return the URL if it is one to fetch from; the message does not repeat it."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        raise InputError("expected a source as http(s)://HOST[:PORT][/base], got another shape")
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError("expected a source without user, query and fragment; use its token")
    return url


def _checked_token(token: str | None) -> str | None:
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise InputError("expected a token of printable ASCII without spaces")
    return token


def _place(url: str) -> str:
    _, host, port = _origin(url)
    return f"[{host}]:{port}" if host and ":" in host else f"{host}:{port}"
