"""One zone file in BIND, Unbound and PowerDNS Recursor, as operators run them, asked by `dig`.

Behind them is an authority that knows every name, so that "no such name" is always the filter.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocklist.cli import run as blocklist
from blocklist.subscriber import pull
from blocklist.subscriber.exports import probe
from scripts.services.resolvers import REAL, ZONE, Authority, Bind, Filter, Recursor
from scripts.services.resolvers import Unbound as UnboundResolver
from tests.integrations.conftest import Case
from tests.services import absent, install, started, used
from tests.subscriber_repo import TEST_HOST, Repo, enrolled

TARGETS = (Bind, UnboundResolver, Recursor)
PADDED = ".".join(["x"] * 110)
LONGEST = "x." * 119 + "domain.example"  # 252 bytes: no room for the zone's name behind it
LONG = ".".join(["l" * 60, "m" * 60, "n" * 60, "long.example"])  # 195 bytes
TOO_LONG = ".".join(["l" * 60, "m" * 60, "n" * 60, "o" * 55, "example"])  # 246, without the zone
LINES = [
    b"h host.example",
    b"d domain.example",
    b"h deep.in.domain.example",
    b"d nested.domain.example",
    b"h under_score.example",
    b"h a.b.c.d.e.f.g.h.i.j.example",
    f"h {LONG}".encode(),
    f"h {TOO_LONG}".encode(),
    f"d {PADDED}.labels.example".encode(),
    b"h 192.0.2.66",
    b"u paths.example/page",
    b"u paths.example/search?q=1",
    b"p folders.example/folder",
    b"d spared.example",
]
NEVER_BLOCK = (
    "ok.domain.example\n.all.domain.example\nx.y.between.domain.example\n.spared.example\n"
)
BLOCKED = [
    TEST_HOST,
    "host.example",
    "HOST.Example",
    "domain.example",
    "www.domain.example",
    f"{PADDED}.domain.example",
    LONGEST,
    "deep.in.domain.example",
    "in.domain.example",
    "padded.in.domain.example",
    "under.deep.in.domain.example",
    "www.nested.domain.example",
    "below.ok.domain.example",
    "between.domain.example",
    "y.between.domain.example",
    "z.y.between.domain.example",
    "below.x.y.between.domain.example",
    "under_score.example",
    "a.b.c.d.e.f.g.h.i.j.example",
    LONG,
    f"{PADDED}.labels.example",
]
OPEN = [
    f"sibling.{TEST_HOST}",
    "www.host.example",
    f"{PADDED}.host.example",
    "nothost.example",
    "notdomain.example",
    "example",
    "ok.domain.example",
    "all.domain.example",
    "www.all.domain.example",
    f"{PADDED}.all.domain.example",
    "x.y.between.domain.example",
    "spared.example",
    "www.spared.example",
    "paths.example",
    "www.paths.example",
    "folders.example",
    "b.c.d.e.f.g.h.i.j.example",
    "x.labels.example",
    TOO_LONG,
]


@dataclass
class Site:
    """An operator's machine: a state, a resolver, and the command that connects them."""

    folder: Path
    repo: Repo
    resolver: Filter
    case: Case

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def export(self, *more: str) -> int:
        """Run the command; options in `more` count instead of those that are given here."""
        given = [
            *("--state", str(self.state), "--out", str(self.resolver.zone), "--zone", ZONE),
            *(
                "--allow-zone",
                str(self.resolver.allow),
                "--never-block",
                str(self.folder / "never"),
            ),
            *("--probe", TEST_HOST, "--resolver", f"127.0.0.1:{self.resolver.port}"),
            *("--hook", self.resolver.hook),
        ]
        return blocklist(["export", "rpz", *given, *more])

    def again(self) -> int:
        return blocklist(["export", "run", "--state", str(self.state)])

    def release(self, lines: list[bytes]) -> None:
        self.repo.release(lines)
        self.repo.write(self.folder / "repo")
        pull(self.state)

    @property
    def record(self) -> dict:
        return json.loads((self.state / "exports/rpz.json").read_bytes())

    def expect_blocked(self, *names: str) -> None:
        for name in names:
            self.case(f"{name} is blocked", self.resolver.dig(name)[0] == "NXDOMAIN")
        self.case("for all types", self.resolver.dig(names[0], "AAAA")[0] == "NXDOMAIN")

    def expect_open(self, *names: str) -> None:
        for name in names:
            self.case(f"{name} is open", self.resolver.dig(name) == ("NOERROR", (REAL,)))


@pytest.fixture(scope="module", name="authority")
def _authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    try:
        started(authority, "BIND")
        yield authority
    finally:
        authority.stop()


@pytest.fixture(params=TARGETS, ids=lambda kind: kind.target, name="site")
def _site(
    request: pytest.FixtureRequest, tmp_path: Path, authority: Authority, case: object
) -> Iterator[Site]:
    kind = request.param
    used(request, kind.target)
    resolver = kind(tmp_path / "resolver", authority, tmp_path / "allow.zone", tmp_path / "zone")
    try:
        resolver.prepare()
    except install.Unavailable as error:
        absent(kind.target, str(error))
    repo = Repo()
    repo.release(LINES)
    state = enrolled(tmp_path / "state", repo, f"file:{repo.write(tmp_path / 'repo')}")
    pull(state)
    (tmp_path / "never").write_text(NEVER_BLOCK)
    try:
        yield Site(tmp_path, repo, resolver, case(kind.target, resolver.version))
    finally:
        resolver.stop()


def test_a_resolver_blocks_exactly_what_is_listed(site: Site) -> None:
    """Also through new versions, exceptions, refused files, a kill, and while it is down."""
    # No daemon yet: the file is in place, but nothing is proven.
    site.case("no daemon", site.export() == 32)
    assert site.record["pending"]
    assert site.record["live"] is None
    started(site.resolver, site.resolver.target)
    site.case("retried although nothing changed", site.again() == 0)
    assert site.record["live"]["versions"] == {"demo": 1}
    assert site.record["skipped"] == {"address": 1, "never-block": 1, "path": 3, "too-long": 1}
    site.expect_blocked(*BLOCKED)
    site.expect_open(*OPEN)

    # A new version.
    site.release([b"h new.example", *LINES[1:]])
    site.case("a new version", site.again() == 0)
    site.expect_blocked("new.example")
    site.expect_open("host.example")

    # A checker that refuses, and too large a change: what is live stays.
    before = site.resolver.zone.read_bytes()
    site.release([b"h newer.example"])
    site.case("checker refuses", site.export("--check", "false") == 31)
    site.case("too many changes", site.export("--max-change", "1") == 31)
    assert site.resolver.zone.read_bytes() == before
    assert site.record["live"]["versions"] == {"demo": 2}
    site.expect_blocked("new.example", "domain.example")
    site.expect_open("newer.example")

    # Killed: it comes back with what was live.
    site.resolver.kill()
    site.case("killed", site.export() == 32)
    site.resolver.start()
    site.case("restarted", site.again() == 0)
    site.expect_blocked("newer.example", TEST_HOST)
    site.expect_open("new.example", "domain.example")

    # An exception, as wide as written and until it ends.
    until = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    add = ["exception", "add", "newer.example", "--until", until, "--reason", "test"]
    assert blocklist([*add, "--state", str(site.state)]) == 0
    site.case("exception", site.again() == 0)
    site.expect_open("newer.example")
    assert blocklist(["exception", "remove", "newer.example", "--state", str(site.state)]) == 0
    site.case("exception ended", site.again() == 0)
    site.expect_blocked("newer.example")


@pytest.mark.parametrize(
    ("policy", "status", "data"),
    [
        ("garden.example", "NOERROR", ("garden.example.", REAL)),
        ("192.0.2.45", "NOERROR", ("192.0.2.45",)),
        ("2001:DB8::45", "NOERROR", ("2001:db8::45",)),
        ("nodata", "NOERROR", ()),
    ],
)
def test_a_walled_garden_gets_what_is_listed_and_nothing_else(
    site: Site, policy: str, status: str, data: tuple[str, ...]
) -> None:
    """Names that servers refuse beside an address are skipped, so the zone loads."""
    assert site.export("--policy", policy) == 32
    started(site.resolver, site.resolver.target)
    site.case(f"policy {policy} is proven", site.again() == 0)
    for name in (TEST_HOST, "host.example", f"{PADDED}.domain.example", "y.between.domain.example"):
        found = site.resolver.dig(name, "AAAA" if ":" in policy else "A")
        site.case(f"{name} is led to {policy}", found == (status, data))
    site.expect_open(
        f"sibling.{TEST_HOST}", "www.host.example", "ok.domain.example", "paths.example"
    )


def test_an_unfiltered_resolver_is_never_taken_for_a_filter(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that runs and does not filter: the file is in place, and that is not believed."""
    monkeypatch.setattr(probe, "PROBE_SECONDS", 0.5)
    unfiltered = ["--resolver", f"127.0.0.1:{site.resolver.authority.port}", "--hook", "true"]
    site.case("unfiltered", site.export(*unfiltered) == 32)
    assert site.record["live"] is None
    assert "does not block" in site.record["message"]
