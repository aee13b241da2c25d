"""One bounded GET: caps, deadline, redirects, credentials, statuses, messages."""

import base64
import gzip
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import responses

import blocklist
from blocklist.core.enrolment import SourceUrl
from blocklist.core.entries import Feed
from blocklist.core.errors import InputError, NotAuthorised, TransportError
from blocklist.subscriber.sources import (
    ApiSource,
    StaticSource,
    StoreSource,
    exposes_credentials,
    metadata_limit,
    open_source,
)
from blocklist.subscriber.throttle import SourceDown
from blocklist.subscriber.transport import HttpTransport
from tests.subscriber_http import running

HOST = "https://feed.example"
SECRET = "a-token-nobody-may-see"


@pytest.fixture(name="web")
def _web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture(name="http")
def _http() -> Iterator[HttpTransport]:
    transport = HttpTransport(HOST, SECRET)
    yield transport
    transport.close()


def sent(web: responses.RequestsMock, number: int = -1) -> dict[str, str]:
    return dict(web.calls[number].request.headers)


class TestRequests:
    def test_a_password(self, web: responses.RequestsMock) -> None:
        web.get(f"{HOST}/a", body=b"")
        HttpTransport(HOST, login=("isp", SECRET)).get("a", limit=10)
        expected = base64.b64encode(f"isp:{SECRET}".encode()).decode()
        assert sent(web)["Authorization"] == f"Basic {expected}"

    def test_headers(self, web: responses.RequestsMock, http: HttpTransport) -> None:
        web.get(f"{HOST}/a", body=b"hello")
        assert http.get("a", limit=10).data == b"hello"
        assert sent(web)["User-Agent"] == f"blocklist/{blocklist.__version__}"
        assert sent(web)["Accept-Encoding"] == "gzip"
        assert sent(web)["Authorization"] == f"Bearer {SECRET}"
        assert (http.requests, http.received) == (1, 5)

    @pytest.mark.parametrize("token", [None, SECRET])
    def test_netrc_is_not_used(
        self,
        token: str | None,
        web: responses.RequestsMock,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Requests would even replace our token by what it finds there."""
        netrc = tmp_path / "netrc"
        netrc.write_text("machine feed.example login somebody password secret\n")
        monkeypatch.setenv("NETRC", str(netrc))
        web.get(f"{HOST}/a", body=b"")
        HttpTransport(HOST, token).get("a", limit=10)
        assert sent(web).get("Authorization") == (f"Bearer {token}" if token else None)

    def test_cookies_are_not_kept(self, web: responses.RequestsMock, http: HttpTransport) -> None:
        web.get(f"{HOST}/a", headers={"Set-Cookie": "who=me; Path=/"})
        http.get("a", limit=10)
        http.get("a", limit=10)
        assert "Cookie" not in sent(web)

    def test_a_body_beyond_the_limit_is_cut_one_byte_after_it(
        self, web: responses.RequestsMock, http: HttpTransport
    ) -> None:
        web.get(f"{HOST}/a", body=b"x" * 1_000_000)
        assert http.get("a", limit=99).data == b"x" * 100

    def test_gzip_is_undone_under_the_limit(
        self, web: responses.RequestsMock, http: HttpTransport
    ) -> None:
        zipped = gzip.compress(b"x" * 50_000_000, mtime=0)
        web.get(f"{HOST}/a", body=zipped, headers={"Content-Encoding": "gzip"})
        assert http.get("a", limit=99).data == b"x" * 100
        assert http.received <= len(zipped)

    @pytest.mark.parametrize(
        ("body", "encoding"),
        [
            (gzip.compress(b"x" * 1000, mtime=0)[:-9], "gzip"),
            (b"no gzip at all", "gzip"),
            (zlib.compress(b"x"), "deflate"),
            (gzip.compress(b"x", mtime=0) + b"y", "gzip"),
            (gzip.compress(b"x", mtime=0) * 2, "gzip"),
        ],
    )
    def test_damaged_encodings_are_transport_errors(
        self, body: bytes, encoding: str, web: responses.RequestsMock, http: HttpTransport
    ) -> None:
        web.get(f"{HOST}/a", body=body, headers={"Content-Encoding": encoding})
        with pytest.raises(SourceDown):
            http.get("a", limit=10_000)

    def test_what_follows_the_end_of_gzip_is_not_read(
        self, web: responses.RequestsMock, http: HttpTransport
    ) -> None:
        body = gzip.compress(b"{}", mtime=0) + bytes(10_000_000)
        web.get(f"{HOST}/a", body=body, headers={"Content-Encoding": "gzip"})
        with pytest.raises(SourceDown, match="after the end"):
            http.get("a", limit=10_000)
        assert http.received < 1_000_000


class TestRedirects:
    def test_on_the_same_host_keep_the_token(
        self, web: responses.RequestsMock, http: HttpTransport
    ) -> None:
        web.get(f"{HOST}/a", status=302, headers={"Location": "/b"})
        web.get(f"{HOST}/b", body=b"there")
        assert http.get("a", limit=10).data == b"there"
        assert sent(web)["Authorization"] == f"Bearer {SECRET}"
        assert http.requests == 2

    @pytest.mark.parametrize(
        "target", ["https://other.example/b", "https://feed.example:8443/b", "//other.example/b"]
    )
    def test_elsewhere_lose_the_token(
        self, target: str, web: responses.RequestsMock, http: HttpTransport
    ) -> None:
        """And all else: they are not followed."""
        web.get(f"{HOST}/a", status=307, headers={"Location": target})
        with pytest.raises(SourceDown, match="another host"):
            http.get("a", limit=10)
        assert len(web.calls) == 1

    @pytest.mark.parametrize("target", ["http://feed.example/b", "file:///x", "https://[", ""])
    def test_downgrades_and_nonsense_are_refused(
        self, target: str, web: responses.RequestsMock, http: HttpTransport
    ) -> None:
        web.get(f"{HOST}/a", status=302, headers={"Location": target})
        with pytest.raises(SourceDown, match="redirects"):
            http.get("a", limit=10)

    def test_an_upgrade_to_https_keeps_the_token(self, web: responses.RequestsMock) -> None:
        web.get("http://feed.example/a", status=301, headers={"Location": f"{HOST}/a"})
        web.get(f"{HOST}/a", body=b"there")
        HttpTransport("http://feed.example", SECRET).get("a", limit=10)
        assert sent(web)["Authorization"] == f"Bearer {SECRET}"

    def test_three_are_followed(self, web: responses.RequestsMock, http: HttpTransport) -> None:
        for number in range(4):
            target = {"Location": f"/{number + 1}"}
            web.get(f"{HOST}/{number}", status=302, headers=target)
        with pytest.raises(SourceDown, match="more than 3"):
            http.get("0", limit=10)
        assert http.requests == 4


class TestStatuses:
    @pytest.mark.parametrize("status", [401, 403])
    def test_a_refused_token(
        self, status: int, web: responses.RequestsMock, http: HttpTransport
    ) -> None:
        web.get(f"{HOST}/a", status=status)
        with pytest.raises(NotAuthorised) as caught:
            http.get("a", limit=10)
        assert not caught.value.retryable

    @pytest.mark.parametrize("status", [204, 206, 400, 418, 429, 500, 502, 503])
    def test_other_statuses_are_no_answer(
        self, status: int, web: responses.RequestsMock, http: HttpTransport
    ) -> None:
        web.get(f"{HOST}/a", status=status)
        with pytest.raises(SourceDown, match=str(status)) as caught:
            http.get("a", limit=10)
        assert caught.value.retryable

    def test_messages_name_host_and_port_only(
        self, web: responses.RequestsMock, http: HttpTransport
    ) -> None:
        for status in (401, 500):
            web.get(f"{HOST}/private/path", status=status)
            with pytest.raises(TransportError) as caught:
                http.get("private/path", limit=10, query={"from": "77"})
            text = str(caught.value)
            assert "feed.example:443" in text
            assert not any(part in text for part in (SECRET, "private", "77", "path"))


class Trickle(BaseHTTPRequestHandler):
    """One byte of body at a time, for ever; or of the headers, if asked for."""

    stop = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/body":
            self.send_response(200)
            self.end_headers()
        while not self.stop.wait(0.02):
            try:
                self.wfile.write(b"x")
            except OSError:
                return

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class TestRealConnections:
    @pytest.mark.parametrize("path", ["headers", "body"])
    def test_the_deadline_stops_a_trickle(self, path: str) -> None:
        Trickle.stop.clear()
        with running(Trickle) as url:
            transport = HttpTransport(url)
            with pytest.raises(SourceDown, match="in time"):
                transport.get(path, limit=10_000_000, seconds=0.2)
            Trickle.stop.set()
            for thread in threading.enumerate():
                if thread.name == "blocklist-get":
                    thread.join()

    def test_the_total_covers_all_requests(self) -> None:
        transport = HttpTransport("http://127.0.0.1:1")
        transport.begin(0)
        with pytest.raises(SourceDown):
            transport.get("a", limit=1)
        time.sleep(0)

    def test_a_refused_connection(self) -> None:
        with pytest.raises(SourceDown, match=r"127\.0\.0\.1:1 cannot be reached"):
            HttpTransport("http://127.0.0.1:1").get("a", limit=1)


class TestUrls:
    @pytest.mark.parametrize(
        "url",
        [
            "https://",
            "https:///path",
            "ftp://feed.example",
            "https://feed.example:99999",
            "https://feed.example:0",
            "https://[feed",
            "https://us er.example",
            "https://f\u00e9ed.example",
            f"https://somebody:{SECRET}@feed.example",
            f"https://feed.example/?sig={SECRET}",
            f"https://feed.example/#{SECRET}",
        ],
    )
    def test_bad_ones_are_refused_without_being_repeated(self, url: str) -> None:
        with pytest.raises(InputError) as caught:
            HttpTransport(url)
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "\u00e9"])
    def test_a_token_that_no_header_carries(self, token: str) -> None:
        with pytest.raises(InputError):
            HttpTransport(HOST, token)

    @pytest.mark.parametrize("login", [("a:b", SECRET), ("a", f"{SECRET}\n"), ("a\0", SECRET)])
    def test_a_login_that_no_header_carries(self, login: tuple[str, str]) -> None:
        with pytest.raises(InputError) as caught:
            HttpTransport(HOST, login=login)
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize(
        "source",
        [
            SourceUrl(HOST, None, "isp", SECRET),
            SourceUrl("file:x", SECRET),
            SourceUrl("file:x", None, "isp", SECRET),
            SourceUrl("s3://bucket/feed", SECRET),
        ],
    )
    def test_credentials_that_a_source_has_no_use_for(self, source: SourceUrl) -> None:
        """They are refused, not dropped: somebody believes that they are needed."""
        with pytest.raises(InputError) as caught:
            open_source(source, None)
        assert SECRET not in str(caught.value)

    def test_schemes(self, tmp_path: Path) -> None:
        kinds = {
            "https://feed.example/base": ApiSource,
            "http://feed.example": ApiSource,
            "static+https://feed.example/feed": StaticSource,
            "static+http://feed.example": StaticSource,
            f"file:{tmp_path}": StoreSource,
        }
        for url, kind in kinds.items():
            assert type(open_source(SourceUrl(url), None)) is kind

    @pytest.mark.parametrize(
        "url", ["s4://bucket/feed", "ftp://a.example", "feed", "static+file:x"]
    )
    def test_other_schemes_are_refused(self, url: str) -> None:
        with pytest.raises(InputError):
            open_source(SourceUrl(url), None)

    def test_the_default_token_is_for_the_api_only(self, web: responses.RequestsMock) -> None:
        web.get(f"{HOST}/v1/metadata/timestamp.json", body=b"{}")
        web.get(f"{HOST}/metadata/timestamp.json", body=b"{}")
        for number, url in enumerate((HOST, f"static+{HOST}")):
            source = open_source(SourceUrl(url), SECRET)
            assert source.metadata("timestamp.json") == [b"{}"]
            assert ("Authorization" in sent(web)) == (number == 0)

    def test_which_ones_expose_a_token(self) -> None:
        exposed = {
            "http://feed.example": True,
            "https://feed.example": False,
            "http://127.0.0.1:8000": False,
            "http://localhost:8000": False,
            "http://[::1]:8000": False,
            "static+http://feed.example": False,
            "file:x": False,
        }
        for url, expected in exposed.items():
            assert exposes_credentials(open_source(SourceUrl(url), SECRET)) is expected
        static = "static+http://a.example"
        for source in (SourceUrl(static, SECRET), SourceUrl(static, None, "isp", SECRET)):
            assert exposes_credentials(open_source(source, None))


class TestSources:
    @pytest.mark.parametrize("status", [403, 404, 410])
    def test_a_folder_lacks_what_it_hides(self, status: int, web: responses.RequestsMock) -> None:
        web.get(f"{HOST}/base/metadata/2.root.json", status=status)
        assert StaticSource(f"{HOST}/base/").metadata("2.root.json") is None

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_folder_that_refuses_what_must_be_there(
        self, status: int, web: responses.RequestsMock
    ) -> None:
        web.get(f"{HOST}/metadata/timestamp.json", status=status)
        with pytest.raises(NotAuthorised):
            StaticSource(HOST).metadata("timestamp.json")

    def test_the_api_refuses_what_it_hides(self, web: responses.RequestsMock) -> None:
        web.get(f"{HOST}/v1/metadata/2.root.json", status=403)
        web.get(f"{HOST}/v1/metadata/3.root.json", status=404)
        source = ApiSource(HOST)
        with pytest.raises(NotAuthorised):
            source.metadata("2.root.json")
        assert source.metadata("3.root.json") is None

    def test_objects_lie_under_list_and_feed(self, web: responses.RequestsMock) -> None:
        web.get(f"{HOST}/v1/targets/demo/hashed/00.delta-7", body=b"12345")
        assert ApiSource(HOST).object("demo", Feed.HASHED, "00.delta-7", 3) == b"1234"

    def test_an_api_without_update_falls_back(self, web: responses.RequestsMock) -> None:
        web.get(f"{HOST}/v1/lists/demo/clear/update", status=404)
        held = {"root": 1, "targets": 2, "timestamp": 3}
        assert ApiSource(HOST).update("demo", Feed.CLEAR, 4, held) is None
        assert web.calls[0].request.params == {
            "from": "4",
            "root": "1",
            "targets": "2",
            "timestamp": "3",
        }

    def test_limits_by_role(self) -> None:
        names = (
            "timestamp.json",
            "3.root.json",
            "3.snapshot.json",
            "3.targets.json",
            "3.demo.json",
        )
        assert [metadata_limit(name) for name in names] == [4096, 65_536, 262_144, 524_288, 524_288]
