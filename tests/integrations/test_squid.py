"""Squid, as `config/squid` wires it: curl through it, for both feeds."""

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from blocklist.subscriber import pull
from blocklist.subscriber.enrol import enrol
from blocklist.subscriber.selftest import Asked, selftest, sibling_of
from blocklist.subscriber.state import State
from blocklist.subscriber.verdicts import Verdict
from scripts.services.process import HOST, until
from scripts.services.squid import Squid
from tests.dns_kit import serving
from tests.services import program, started, used
from tests.subscriber_repo import BOTH, TEST_HOST, Repo

SECRET = "a-word-that-only-listed-addresses-have"
LINES = [
    f"u one.example/{SECRET}".encode(),
    f"u one.example/search?q={SECRET}".encode(),
    f"p two.example/{SECRET}".encode(),
    b"u root.example/",
    b"h host.example",
    b"d domain.example",
]
LISTED = [
    f"one.example/{SECRET}",
    f"one.example/{SECRET}?any=query",
    f"ONE.example/./x/../%61{SECRET[1:]}",
    f"one.example/{SECRET}#fragment",
    f"one.example/search?q={SECRET}",
    f"two.example/{SECRET}",
    f"two.example/{SECRET}/below",
    "root.example/",
    f"host.example/{SECRET}",
    f"domain.example/{SECRET}",
    f"www.domain.example/{SECRET}",
    f"a.b.c.d.e.f.g.domain.example/{SECRET}",
]
OPEN = [
    "one.example/",
    f"one.example/{SECRET}-neighbour",
    f"one.example/{SECRET}/below",
    f"one.example/{SECRET}%23fragment",
    f"one.example/search?q={SECRET}2",
    "one.example/search",
    f"two.example/{SECRET}s",
    "root.example/page",
    f"www.host.example/{SECRET}",
    f"sibling.example/{SECRET}",
    f"notdomain.example/{SECRET}",
]
TUNNELS = {"host.example": True, "www.domain.example": True, "one.example": False,
           "two.example": False, "root.example": False, "sibling.example": False}  # fmt: skip
LATER = "later.example"
NAMES = {page.partition("/")[0].lower() for page in [*LISTED, *OPEN]}
NAMES |= {LATER, TEST_HOST, sibling_of(TEST_HOST)}
HOSTILE = ["/" + "%25" * 2600, "/" + "a/../" * 1600, "/?" + "%3F" * 2600, "/" + "/.." * 2600]


class Origin(BaseHTTPRequestHandler):
    """Every web site there is."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"open")

    def log_message(self, *args: object) -> None:
        pass


@dataclass(frozen=True)
class Answer:
    """What curl got."""

    status: int
    text: str

    def header(self, name: str) -> list[str]:
        return re.findall(rf"(?im)^{name}: (.*?)\r?$", self.text.partition("\r\n\r\n")[0])


@dataclass(frozen=True)
class Place:
    """A subscriber with a proxy, and the web behind it."""

    repo: Repo
    source: Path
    state: State
    squid: Squid
    origin: int

    def get(self, page: str) -> Answer:
        host, slash, rest = page.partition("/")
        return curl(self.squid, f"http://{host}:{self.origin}{slash}{rest}")

    def status(self, page: str) -> int:
        return self.get(page).status

    def tunnel(self, host: str) -> int:
        """Return what the proxy says to a CONNECT."""
        return curl(self.squid, f"http://{host}:{self.origin}/", "--proxytunnel").status

    def release(self, lines: list[bytes]) -> None:
        self.repo.release(lines)
        self.repo.write(self.source)
        pull(self.state)


def curl(squid: Squid, url: str, *words: str) -> Answer:
    argv = [program("curl", "curl"), "-si", "--path-as-is", "--globoff", "--noproxy", ""]
    argv += ["--proxy", squid.url, "--max-time", "60", *words]
    # curl drops a fragment itself; a hostile client would not.
    base, mark, fragment = url.partition("#")
    if mark:
        path = "/" + base.partition("://")[2].partition("/")[2]
        argv += ["--request-target", f"{base.removesuffix(path)}{path}#{fragment}"]
    done = subprocess.run([*argv, base], capture_output=True, timeout=90, check=False)
    text = done.stdout.decode("utf-8", "replace")
    found = re.match(r"HTTP/1\.\d (\d+)", text)
    return Answer(int(found[1]) if found else 0, text)


@contextmanager
def web() -> Iterator[int]:
    server = ThreadingHTTPServer((HOST, 0), Origin)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module", params=BOTH, name="module_place")
def _module_place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("squid")
    repo = Repo()
    repo.release(LINES)
    source = folder / "repo"
    state = State(folder / "state")
    enrolment = repo.enrolment(f"file:{repo.write(source)}", feeds=(request.param,))
    enrol(state, enrolment, accept_dev=True, now=repo.now)
    pull(state)
    squid = Squid(folder / "squid", state.directory, NAMES)
    try:
        started(squid, "Squid")
        with web() as origin:
            yield Place(repo, source, state, squid, origin)
    finally:
        squid.stop()


@pytest.fixture(name="place")
def _place(module_place: Place, request: pytest.FixtureRequest) -> Place:
    used(request, "Squid")
    return module_place


def test_what_is_listed_is_refused_and_nothing_else(place: Place) -> None:
    assert {page: place.status(page) for page in LISTED} == dict.fromkeys(LISTED, 451)
    assert {page: place.status(page) for page in OPEN} == dict.fromkeys(OPEN, 200)


def test_a_tunnel_is_refused_for_whole_hosts_only(place: Place) -> None:
    statuses = {host: place.tunnel(host) for host in TUNNELS}
    assert statuses == {host: 451 if listed else 200 for host, listed in TUNNELS.items()}


def test_the_answer_is_the_block_page_and_tells_nothing(place: Place) -> None:
    answer = place.get(f"host.example/{SECRET}")
    assert answer.status == 451
    assert answer.header("Link") == ['<https://isp.example/blocking>; rel="blocked-by"']
    assert answer.header("Cache-Control") == ["no-store"]
    assert "This page is not available" in answer.text
    assert SECRET not in answer.text
    assert "host.example" not in answer.text
    assert place.get("sibling.example/").header("Link") == []


def test_the_selftest_passes_with_it_and_fails_without(place: Place, tmp_path: Path) -> None:
    names = {TEST_HOST: [HOST], sibling_of(TEST_HOST): [HOST]}
    without = Squid(tmp_path / "squid", place.state.directory, NAMES, filtered=False)
    try:
        started(without, "Squid")
        with serving(names) as authority:
            for squid, verdict in ((place.squid, Verdict.PASS), (without, Verdict.FAIL)):
                asked = Asked(authority, proxies=(squid.url,), http_port=place.origin)
                report = selftest(place.state, asked, place.repo.now)
                assert report.verdict is verdict, report
                answers = report.checks[0].answers
                assert answers["test_entry"]["filter"]["blocked_by"] is (verdict is Verdict.PASS)
                assert answers["sibling"]["filter"] == {"status": 200, "blocked_by": False}
    finally:
        without.stop()


def test_hostile_urls_have_an_answer_and_the_helper_lives(place: Place) -> None:
    before = place.squid.helpers()
    for rest in HOSTILE:
        assert place.status(f"sibling.example{rest}") in {200, 400}
        assert place.status(f"host.example{rest}") == 451
    assert set(before) <= set(place.squid.helpers())


def test_squid_writes_no_listed_url(place: Place) -> None:
    for page in (
        f"two.example/{SECRET}/only-here",
        "host.example/only-here",
        "x.domain.example/only-here",
    ):
        assert place.status(page) == 451
    assert place.status("sibling.example/an-open-page") == 200
    assert until(lambda: b"an-open-page" in place.squid.written()["access.log"], 10)
    for data in place.squid.written().values():
        assert b"only-here" not in data


def test_a_killed_helper_is_started_again_and_nothing_listed_passes(place: Place) -> None:
    assert place.squid.kill_helpers()
    seen: set[int] = set()

    def refused() -> bool:
        seen.add(place.status(f"two.example/{SECRET}/killed"))
        return 451 in seen

    assert until(refused, 30)
    assert seen <= {403, 451}  # 403: asked while there was no helper
    assert place.status("two.example/killed") == 200
    assert place.squid.helpers()


def test_a_new_version_is_followed_without_a_reload(place: Place) -> None:
    assert place.status(f"{LATER}/") == 200
    helpers = place.squid.helpers()
    place.release([*LINES, f"d {LATER}".encode()])
    assert until(lambda: place.status(f"{LATER}/") == 451, 30)
    place.release(LINES)
    assert until(lambda: place.status(f"{LATER}/") == 200, 30)
    assert place.squid.helpers() == helpers


def test_without_a_list_everything_is_refused_until_there_is_one(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    used(request, "Squid")
    repo = Repo()
    repo.release(LINES)
    state = State(tmp_path / "state")
    source = tmp_path / "repo"
    enrol(state, repo.enrolment(f"file:{repo.write(source)}"), accept_dev=True, now=repo.now)
    squid = Squid(tmp_path / "squid", state.directory, NAMES)
    try:
        started(squid, "Squid")
        with web() as origin:
            place = Place(repo, source, state, squid, origin)
            assert place.status("sibling.example/") == 403
            assert until(lambda: b"NO LIST IN FORCE" in squid.written()["cache.log"], 10)
            pull(state)
            assert until(lambda: place.status("sibling.example/") == 200, 30)
            assert place.status("host.example/") == 451
            squid.kill()
            squid.start()
            assert place.status("host.example/") == 451
    finally:
        squid.stop()


def test_squid_finds_nothing_wrong_with_the_configuration(tmp_path: Path) -> None:
    squid = Squid(tmp_path / "squid", tmp_path, NAMES)
    program("squid", "squid-openssl")
    done = squid.check()
    assert done.returncode == 0, done.stderr
    assert not re.search(r"(?i)\b(warning|error|fatal|bungled)\b", done.stderr), done.stderr
