"""The ten commands of docs/subscribers.md, run as they stand, with a real BIND and a real Squid.

Of the page's text only places change, the same way in its files and commands (`Machine.placed`):

    /etc, /opt, /var       folders of the test
    127.0.0.1              the resolver, on a port of loopback
    127.0.0.1:3128         the proxy
    192.0.2.53             a resolver without a filter, and the port of all its web sites
    -g bind, -g proxy      our own group, where we are not root

`rndc` and `squid` are those of the machine, told which configuration they belong to. Both daemons
run before the first command and filter nothing.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocklist.core.entries import Feed
from scripts.services.process import HOST
from scripts.services.resolvers import REAL, Authority, Bind
from scripts.services.squid import Squid
from tests.cli_kit import ROOT
from tests.integrations.test_squid import curl, web
from tests.services import program, started, used
from tests.subscriber_repo import TEST_HOST, Repo

SECTION = "## From enrolment to blocking, in ten commands\n"
LINES = [b"h host.example", b"d domain.example", b"u paths.example/page"]
PLACE = re.compile(r"(?<![\w.~/-])/(etc|opt|var)/")
PATH = f"{os.environ['PATH']}:/usr/sbin"
TIMEOUT_SECONDS = 120
# The whole web is one server behind the proxy, whatever the port in the URL.
WEB = "cache_peer {host} parent {port} 0 no-query originserver default\nnever_direct allow all\n"


def blocks() -> dict[str, str]:
    """Return the blocks of the section by their names."""
    text = (ROOT / "docs/subscribers.md").read_text("utf-8")
    section = text.partition(SECTION)[2].partition("\n## ")[0]
    return dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))


class Unfiltered(Authority):
    """Knows every name, as one of loopback, where the web is."""

    def configure(self) -> None:
        """See `Server.configure`."""
        super().configure()
        zone = self.folder / "root.zone"
        zone.write_text(zone.read_text().replace(REAL, HOST))


class Resolver(Bind):
    """BIND with the kit's configuration, but the page's lines in place of the kit's zones."""

    lines = ("", "")  # within `options` and behind it

    def configure(self) -> None:
        """See `Server.configure`."""
        super().configure()
        path = self.folder / "named.conf"
        inside, behind = self.lines
        text = re.sub(r'^zone ".*\n', "", path.read_text(), flags=re.MULTILINE)
        text = re.sub(r"response-policy .*\n.*; };\n", f"{inside}}};\n", text)
        path.write_text(text + behind)


class Proxy(Squid):
    """Squid that finds every web site on one port of loopback."""

    origin = 0
    lines = ""  # before the first `http_access allow`

    def write(self) -> None:
        """See `Squid.write`."""
        super().write()
        path = self.folder / "squid.conf"
        before, allow, after = path.read_text().partition("http_access allow all\n")
        peer = WEB.format(host=HOST, port=self.origin)
        path.write_text(before + self.lines + allow + after + peer)


class Machine:
    """An operator's machine, in a folder: a resolver and a proxy that do not filter yet."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder = folder
        self.authority = authority
        nothing = folder / "no-zone"
        self.bind = Resolver(folder / "bind", authority, nothing, nothing)
        self.squid = Proxy(folder / "squid", folder, [], filtered=False)

    def placed(self, text: str) -> str:
        """Return text of the page, or of a shipped file, with the places of this machine."""
        text = PLACE.sub(rf"{self.folder}/\1/", text)
        text = text.replace("127.0.0.1:3128", f"{HOST}:{self.squid.port}")
        text = re.sub(r"127\.0\.0\.1(?!:)", f"{HOST}:{self.bind.port}", text)
        text = text.replace(
            "192.0.2.53", f"{HOST}:{self.authority.port} --http-port {self.squid.origin}"
        )
        return text if os.geteuid() == 0 else re.sub(r"-g \w+", f"-g {os.getgid()}", text)

    def start(self, origin: int) -> None:
        """Start both daemons; every web site is on that port."""
        started(self.bind, "BIND")
        self.squid.origin = origin
        started(self.squid, "Squid")

    def configure(self, files: dict[str, str]) -> None:
        """Write the page's three files, and the programs of this machine."""
        inside, _, zones = files["named.conf"].removeprefix("options {\n").partition("};\n")
        self.bind.lines = (self.placed(inside), self.placed(zones))
        self.bind.configure()
        self.squid.lines = self.placed(files["squid.conf"])
        self.squid.write()
        for name in ("etc/profile.d", "etc/squid", "var/lib", "var/log/squid", "opt/blocklist/bin"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "etc/profile.d/blocklist.sh").write_text(self.placed(files["blocklist.sh"]))
        self._command("opt/blocklist/bin/blocklist", [str(self.squid.folder / "blocklist")])
        self._command("sbin/rndc", [program("rndc", "bind9-utils"), *self.bind.hook.split()[1:3]])
        squid = program("squid", "squid-openssl")
        argv = [squid if word == "squid" else word for word in self.squid.argv]
        self._command("sbin/squid", argv)

    def checkout(self, repo: Repo) -> Path:
        """Return a folder with what ships and the publisher's enrolment."""
        checkout = self.folder / "checkout"
        shutil.copytree(ROOT / "config", checkout / "config")
        shipped = checkout / "config/squid/blocklist.conf"
        shipped.write_text(self.placed(shipped.read_text("utf-8")))
        source = f"file:{repo.write(self.folder / 'repo')}"
        enrolment = repo.enrolment(source, feeds=(Feed.CLEAR,))
        (checkout / "isp.json").write_bytes(enrolment.to_bytes())
        return checkout

    def run(self, commands: str, checkout: Path) -> subprocess.CompletedProcess[str]:
        """Run the commands in one shell, which ends at the first that fails."""
        path = f"{self.folder}/sbin:{PATH}"
        script = f". {self.folder}/etc/profile.d/blocklist.sh\nset -x\n{self.placed(commands)}"
        return subprocess.run(
            ["bash", "-eu", "-c", script],
            cwd=checkout,
            env={"PATH": path, "LC_ALL": "C.UTF-8", "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )

    def stop(self) -> None:
        """Stop both daemons."""
        self.squid.stop()
        self.bind.stop()

    def _command(self, name: str, words: list[str]) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        path.chmod(0o755)


@pytest.fixture(name="machine")
def _machine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Machine]:
    used(request, "BIND")
    used(request, "Squid")
    authority = Unfiltered(tmp_path / "authority")
    machine = Machine(tmp_path, authority)
    try:
        started(authority, "BIND")
        with web() as origin:
            machine.start(origin)
            yield machine
    finally:
        machine.stop()
        authority.stop()


def test_ten_commands_lead_from_enrolment_to_a_blocking_resolver_and_proxy(
    machine: Machine,
) -> None:
    page = blocks()
    commands = page.pop("ten").splitlines()
    assert len(commands) <= 10
    assert not re.search(r"&&|\|\||;|\\$", "\n".join(commands), re.MULTILINE)  # one command a line
    repo = Repo(dev=False)
    repo.release(LINES)
    assert machine.bind.dig("host.example") == ("NOERROR", (HOST,))
    assert curl(machine.squid, "http://host.example/").status == 200

    machine.configure(page)
    done = machine.run("\n".join(commands), machine.checkout(repo))
    assert done.returncode == 0, done.stdout + done.stderr
    ran = [line for line in done.stderr.splitlines() if line.startswith("+ ")]
    assert [line.split()[1] for line in ran] == [line.split()[0] for line in commands]

    for name in ("host.example", "domain.example", "www.domain.example", TEST_HOST):
        assert machine.bind.dig(name)[0] == "NXDOMAIN", name
        assert curl(machine.squid, f"http://{name}/").status == 451, name
    for name in ("sibling.example", "www.host.example", "paths.example", f"sibling.{TEST_HOST}"):
        assert machine.bind.dig(name) == ("NOERROR", (HOST,)), name
        assert curl(machine.squid, f"http://{name}/").status == 200, name
    assert curl(machine.squid, "http://paths.example/page").status == 451
    assert_readable(machine.folder / "var/lib/blocklist/lists")
    assert_readable(machine.folder / "var/lib/blocklist-dns")


def assert_readable(folder: Path) -> None:
    """The group that the page gives to a folder can read all that is made in it."""
    group = folder.parent.stat().st_gid if folder.name == "lists" else folder.stat().st_gid
    for path in [folder, *folder.rglob("*")]:
        found = path.stat()
        assert found.st_gid == group, path
        assert found.st_mode & 0o040, path
