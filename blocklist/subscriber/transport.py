"""HTTP for the subscriber: one bounded GET. The only file that imports requests.

What requests leaves open is settled here: a cap on decoded bytes, a deadline for the whole exchange
(it only has gaps between bytes), redirects that stay on the host, no credentials but those given
(none from `.netrc`), no cookies. Proxies and CA certificates come from the environment as always
with requests: HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE. Messages name host and
port, never a credential, path or query.
"""

import base64
import math
import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from http.cookiejar import DefaultCookiePolicy

import requests
import urllib3

from blocklist.core.errors import InputError, NotAuthorised
from blocklist.subscriber import origins, settings
from blocklist.subscriber.throttle import SourceDown, asked_wait
from blocklist.version import VERSION

OK = 200
NOT_MODIFIED = 304
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REFUSED = frozenset({401, 403})
_CHUNK_BYTES = 65_536
_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to say "with a gzip header"


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
        login: User and password instead of a token (Basic, RFC 7617).
        wait_seconds: The longest wait for which a server may ask and get it.

    Attributes:
        url: The same, without a slash at the end.
        place: `HOST:PORT`, for messages.
        requests: Requests sent, redirects included.
        received: Bytes of bodies, as they came over the wire.
        asked_wait: Seconds that the server asked for, when that was too long to wait here; it is
            not asked again until `begin`.

    Raises:
        InputError: Not such a URL, or credentials that no header can carry.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        login: tuple[str, str] | None = None,
        wait_seconds: float = settings.WAIT_SECONDS,
    ) -> None:
        self.url = origins.checked(url).rstrip("/")
        self.place = origins.place(self.url)
        self.requests = 0
        self.received = 0
        self._authorization = _authorization(token, login)
        self._wait_seconds = wait_seconds
        self._session: requests.Session | None = None
        self._headers: Mapping[str, str] = {}
        self.begin(settings.SOURCE_SECONDS)

    def begin(self, seconds: float) -> None:
        """Give all that follows so much time together."""
        self._deadline = time.monotonic() + seconds
        self._waits = settings.MAX_WAITS
        self.asked_wait: float | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            self._session.close()
            self._session = None

    @property
    def exposes_credentials(self) -> bool:
        """Whether a token or password crosses a network unencrypted."""
        return self._authorization is not None and origins.travels_openly(self.url)

    def get(
        self,
        path: str,
        *,
        limit: int,
        accept: Collection[int] = (),
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = math.inf,
    ) -> Answer:
        """Fetch `base/path`, whole or up to the limit.

        Args:
            path: Below the base URL, without a leading slash.
            limit: Bytes, decoded.
            accept: Statuses besides 200 that are an answer; their body is dropped.
            query: Parameters.
            headers: Besides our own; redirects get them too.
            seconds: Time for this request, besides the total.

        Raises:
            NotAuthorised: 401 or 403.
            SourceDown: No answer in time, or one that was not agreed.
        """
        end = min(self._deadline, time.monotonic() + seconds)
        self._headers = headers or {}
        while True:
            try:
                return self._once(f"{self.url}/{path}", query, limit, accept, end)
            except SourceDown as error:
                if error.retry_after is None or not self._waits_out(error.retry_after, end):
                    raise

    def _waits_out(self, seconds: float, end: float) -> bool:
        """Wait as asked, if it is short enough; else take note, to leave the server alone."""
        pause = max(seconds, settings.MIN_WAIT_SECONDS)
        self._waits -= 1
        if self._waits < 0 or pause > min(self._wait_seconds, end - time.monotonic()):
            self.asked_wait = pause
            return False
        time.sleep(pause)
        return True

    def _once(
        self,
        url: str,
        query: Mapping[str, str] | None,
        limit: int,
        accept: Collection[int],
        end: float,
    ) -> Answer:
        if self.asked_wait is not None:
            raise SourceDown(f"{self.place} asked to be left alone")
        stop = threading.Event()
        answer = _start(lambda: self._follow(url, query, limit, accept, stop))
        try:
            return answer.result(timeout=max(end - time.monotonic(), 0))
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
                    target = response.headers.get("Location", "")
                    url, query = origins.redirected(url, target), None
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
            headers=self._headers,
            auth=_with(self._authorization),
            stream=True,
            allow_redirects=False,
            timeout=(settings.CONNECT_TIMEOUT_SECONDS, settings.READ_TIMEOUT_SECONDS),
        )

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
        wait = asked_wait(status, response.headers.get("Retry-After"), datetime.now(UTC))
        raise SourceDown(f"expected an answer from {self.place}, got {status}", wait)

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


def _with(
    authorization: str | None,
) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Return an `auth` that sets the header; being there, it also keeps `.netrc` out."""

    def apply(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if authorization is not None:
            request.headers["Authorization"] = authorization
        return request

    return apply


def _authorization(token: str | None, login: tuple[str, str] | None) -> str | None:
    if login is not None:
        user, password = login
        if ":" in user or not (user + password).isprintable():
            raise InputError("expected a printable user, without colon, and password")
        return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
    if token is None:
        return None
    if not token or not (token.isascii() and token.isprintable() and " " not in token):
        raise InputError("expected a token of printable ASCII without spaces")
    return f"Bearer {token}"
