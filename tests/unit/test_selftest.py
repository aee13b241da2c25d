"""`selftest` against resolvers and proxies that block, do not, or block too much."""

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from blocklist.cli import run
from blocklist.core.errors import Exit, NotInstalled, UnknownList
from blocklist.subscriber import pull
from blocklist.subscriber.enrol import enrol
from blocklist.subscriber.resolver import Resolver
from blocklist.subscriber.selftest import Asked, selftest, sibling_of
from blocklist.subscriber.state import State
from blocklist.subscriber.verdicts import Verdict
from tests.dns_kit import BROKEN, NO_NAME, NOTHING, REFUSED, SILENT, serving
from tests.subscriber_repo import TEST_HOST, Repo

SIBLING = sibling_of(TEST_HOST)
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SITE, SITE6, OTHER, GARDEN = "127.0.0.80", "2001:db8::80", "192.0.2.7", "192.0.2.99"
REAL = {TEST_HOST: [SITE, SITE6], SIBLING: [SITE]}
NOWHERE: dict[str, str] = {}


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(name="state")
def _state(tmp_path: Path) -> State:
    repo = Repo()
    repo.release([b"h listed.example"])
    state = State(tmp_path / "state")
    source = f"file:{repo.write(tmp_path / 'repo')}"
    enrol(state, repo.enrolment(source), accept_dev=True, now=repo.now)
    pull(state)
    return state


def dns_verdict(state: State, filtered: Mapping, control: Mapping = REAL) -> tuple[Verdict, str]:
    with serving(filtered) as resolver, serving(control) as authority:
        report = selftest(state, Asked(authority, dns=(resolver,), gardens=(GARDEN,)), NOW)
    (check,) = report.checks
    assert report.verdict is check.judged.verdict
    return report.verdict, check.judged.reason


@pytest.mark.parametrize("blocked", [NO_NAME, NOTHING, REFUSED, [GARDEN], ["0.0.0.0", "::"]])
def test_a_resolver_that_blocks_the_test_entry_alone_passes(blocked: object, state: State) -> None:
    verdict, reason = dns_verdict(state, REAL | {TEST_HOST: blocked})
    assert verdict is Verdict.PASS, reason


def test_an_unfiltered_resolver_fails(state: State) -> None:
    assert dns_verdict(state, REAL)[0] is Verdict.FAIL
    elsewhere = {TEST_HOST: [OTHER], SIBLING: [OTHER]}  # another server of the same site
    assert dns_verdict(state, elsewhere)[0] is Verdict.FAIL


def test_a_resolver_that_forgets_ipv6_fails(state: State) -> None:
    assert dns_verdict(state, REAL | {TEST_HOST: [SITE6]})[0] is Verdict.FAIL


@pytest.mark.parametrize("blocked", [NO_NAME, NOTHING, [GARDEN]])
def test_a_resolver_that_blocks_the_sibling_fails(blocked: object, state: State) -> None:
    verdict, reason = dns_verdict(state, {TEST_HOST: NO_NAME, SIBLING: blocked})
    assert (verdict, "sibling is blocked" in reason) == (Verdict.FAIL, True)


@pytest.mark.parametrize(
    ("filtered", "control"),
    [
        (NOWHERE, NOWHERE),  # the names do not exist at all
        ({SIBLING: [SITE]}, {SIBLING: [SITE]}),  # the test entry does not
        ({}, {TEST_HOST: [SITE]}),  # the sibling does not
        ({TEST_HOST: [GARDEN]}, NOWHERE),
        ({TEST_HOST: [GARDEN], SIBLING: [SITE]}, {TEST_HOST: [GARDEN], SIBLING: [SITE]}),
        ({SIBLING: [SITE]}, {TEST_HOST: ["0.0.0.0"], SIBLING: [SITE]}),  # the control filters
        ({}, {TEST_HOST: [GARDEN], SIBLING: [GARDEN]}),
        ({TEST_HOST: NO_NAME}, {TEST_HOST: [SITE], SIBLING: [GARDEN]}),
        ({TEST_HOST: BROKEN, SIBLING: [SITE]}, REAL),
        ({TEST_HOST: NO_NAME, SIBLING: BROKEN}, REAL),
        ({SIBLING: [SITE]}, {TEST_HOST: BROKEN, SIBLING: [SITE]}),
        ({SIBLING: [SITE]}, {TEST_HOST: REFUSED, SIBLING: REFUSED}),
    ],
)
def test_what_others_would_answer_too_is_inconclusive(
    filtered: Mapping, control: Mapping, state: State
) -> None:
    assert dns_verdict(state, filtered, control)[0] is Verdict.INCONCLUSIVE


def test_a_resolver_that_says_nothing_is_inconclusive(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blocklist.subscriber.resolver.TRY_SECONDS", 0.05)
    silent = {TEST_HOST: SILENT, SIBLING: SILENT}
    assert dns_verdict(state, silent)[0] is Verdict.INCONCLUSIVE
    assert dns_verdict(state, {SIBLING: [SITE]}, silent)[0] is Verdict.INCONCLUSIVE


# Proxies.


@contextmanager
def web(statuses: Mapping[str, int]) -> Iterator[int]:
    """Answer each host with a status, as a site and as a proxy; 503 for all others."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = self.headers["Host"].partition(":")[0]
            self.send_response(statuses.get(host, 503))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


SITES = {TEST_HOST: 200, SIBLING: 404}


@pytest.mark.parametrize(
    ("proxied", "sites", "there", "verdict"),
    [
        ({TEST_HOST: 451, SIBLING: 404}, SITES, True, Verdict.PASS),
        (SITES, SITES, True, Verdict.FAIL),  # filters nothing
        ({TEST_HOST: 451, SIBLING: 451}, SITES, True, Verdict.FAIL),  # filters too much
        ({TEST_HOST: 403, SIBLING: 403}, SITES, True, Verdict.FAIL),  # no list in force
        ({TEST_HOST: 451, SIBLING: 403}, SITES, True, Verdict.INCONCLUSIVE),
        ({TEST_HOST: 451, SIBLING: 404}, SITES | {TEST_HOST: 451}, True, Verdict.INCONCLUSIVE),
        ({TEST_HOST: 451}, SITES, False, Verdict.PASS),  # no site: without a filter 503
        ({}, SITES, False, Verdict.FAIL),
        ({TEST_HOST: 451, SIBLING: 451}, SITES, False, Verdict.FAIL),
        ({TEST_HOST: 451, SIBLING: 403}, SITES, False, Verdict.INCONCLUSIVE),
    ],
)
def test_a_proxy(
    proxied: Mapping, sites: Mapping, there: bool, verdict: Verdict, state: State
) -> None:
    names = {TEST_HOST: ["127.0.0.1"], SIBLING: ["127.0.0.1"]} if there else NOWHERE
    with web(proxied) as proxy, web(sites) as site, serving(names) as authority:
        asked = Asked(authority, proxies=(f"http://127.0.0.1:{proxy}",), http_port=site)
        report = selftest(state, asked, NOW)
    assert (report.verdict, report.checks[0].kind) == (verdict, "http")


def test_a_proxy_that_is_not_there_or_a_control_that_fails_is_inconclusive(state: State) -> None:
    with web({}) as port:
        pass
    with serving(NOWHERE) as authority:
        asked = Asked(authority, proxies=(f"http://127.0.0.1:{port}",))
        assert selftest(state, asked, NOW).verdict is Verdict.INCONCLUSIVE
    with (
        serving({TEST_HOST: REFUSED, SIBLING: REFUSED}) as authority,
        web({TEST_HOST: 451}) as port,
    ):
        asked = Asked(authority, proxies=(f"http://127.0.0.1:{port}",))
        assert selftest(state, asked, NOW).verdict is Verdict.INCONCLUSIVE


# The command.


def test_the_command_writes_a_dated_report(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.json"
    with serving(REAL | {TEST_HOST: NO_NAME}) as good, serving(REAL) as authority:
        words = ["selftest", "--state", str(state.directory), "--control", str(authority)]
        assert run([*words, "--dns", str(good), "--out", str(out), "--json"]) == Exit.DONE
        report = json.loads(out.read_text())
        assert json.loads(capsys.readouterr().out) == report
        assert (report["verdict"], report["control"]) == ("pass", str(authority))
        assert datetime.fromisoformat(report["created"]).tzinfo is not None
        (check,) = report["checks"]
        assert (check["list"], check["version"], check["test_entry"]) == ("demo", 1, TEST_HOST)
        assert check["answers"]["test_entry"]["A"]["filter"]["reply"] == "no-name"
        assert run([*words, "--dns", str(authority)]) == Exit.NOT_BLOCKING
        assert capsys.readouterr().out.startswith("FAIL ")
        assert run([*words, "--dns", str(good), "--dns", str(authority)]) == Exit.NOT_BLOCKING
    with serving(NOWHERE) as nowhere:
        words = ["selftest", "--state", str(state.directory), "--control", str(nowhere)]
        assert run([*words, "--dns", str(nowhere)]) == Exit.INCONCLUSIVE


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--dns", "resolver.example"],
        ["--dns", "127.0.0.1:0"],
        ["--dns", "[::1]:x"],
        ["--http-proxy", "127.0.0.1"],
        ["--http-proxy", "https://127.0.0.1:3128"],
        ["--http-proxy", "user:pw@127.0.0.1:3128"],
        ["--dns", "127.0.0.1", "--garden", "garden.example"],
        ["--dns", "127.0.0.1", "--list", "unknown"],
    ],
)
def test_bad_usage(words: list[str], state: State, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["selftest", "--state", str(state.directory), "--control", "127.0.0.1"]
    assert run([*base, *words]) == Exit.USAGE
    assert capsys.readouterr().err.startswith("blocklist: expected ")


def test_how_resolvers_are_written() -> None:
    for text in ("127.0.0.1:53", "127.0.0.1:5300", "[::1]:5300"):
        assert str(Resolver.parse(text)) == text


def test_nothing_enrolled_and_unknown_lists(tmp_path: Path, state: State) -> None:
    asked = Asked(Resolver("127.0.0.1", 1), dns=(Resolver("127.0.0.1", 1),))
    with pytest.raises(NotInstalled):
        selftest(State(tmp_path / "nowhere"), asked, NOW)
    with pytest.raises(UnknownList):
        selftest(state, asked, NOW, ["other"])
