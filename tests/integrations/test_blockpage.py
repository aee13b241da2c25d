"""The block page as it ships, served by nginx: what `config/blockpage/nginx.conf` sets up."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from scripts.services import install
from scripts.services.process import HOST, Daemon, answers, free_ports, require_until
from tests.cli_kit import ROOT
from tests.services import program, started, used

SHIPPED = ROOT / "config" / "blockpage"
SECRET = "a-word-that-only-listed-addresses-have"


class Garden:
    """nginx with nothing but the shipped vhost."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_ports(2)
        self.argv = ["nginx", "-p", f"{folder}/", "-c", "nginx.conf"]
        self._daemon = Daemon(folder, "garden", [*self.argv, "-g", "daemon off;"])

    def start(self) -> None:
        install.require(("nginx",), ("nginx",))
        self.write()
        self._daemon.start()
        require_until("nginx", lambda: answers(self.port), 20, self._daemon)

    def stop(self) -> None:
        self._daemon.stop()

    def write(self) -> None:
        text = (SHIPPED / "nginx.conf").read_text("utf-8")
        for old, new in {
            "listen 80 default_server;": f"listen {HOST}:{self.port} default_server;",
            "listen [::]:80 default_server;": f"listen {HOST}:{self.port + 1} default_server;",
            "/var/log/nginx/": f"{self.folder}/",
            "/etc/blocklist/blockpage;": f"{SHIPPED};",
        }.items():
            assert old in text
            text = text.replace(old, new)
        kinds = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
        folders = "".join(f"{kind}_temp_path {self.folder}/{kind};\n" for kind in kinds)
        user = "user root;\n" if os.geteuid() == 0 else ""
        head = f"{user}pid {self.folder}/nginx.pid;\nerror_log stderr crit;\nevents {{ }}\n"
        (self.folder / "nginx.conf").write_text(f"{head}http {{\n{folders}{text}}}\n")


@pytest.fixture(scope="module", name="module_garden")
def _module_garden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Garden]:
    garden = Garden(tmp_path_factory.mktemp("garden"))
    try:
        started(garden, "nginx")
        yield garden
    finally:
        garden.stop()


@pytest.fixture(name="garden")
def _garden(module_garden: Garden, request: pytest.FixtureRequest) -> Garden:
    used(request, "nginx")
    return module_garden


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", f"/{SECRET}?q={SECRET}", "/blocked.html", "/../x/%0d%0aX"])
def test_every_request_gets_the_page(garden: Garden, method: str, path: str) -> None:
    answer = requests.request(
        method,
        f"http://{HOST}:{garden.port}{path}",
        headers={"Host": "host.example", "If-None-Match": "*", "Range": "bytes=0-9"},
        data="x" * 100,
        timeout=30,
    )
    assert answer.status_code == 451
    assert answer.headers["Link"] == '<https://isp.example/blocking>; rel="blocked-by"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.content == (SHIPPED / "blocked.html").read_bytes()
    assert not re.search(f"{SECRET}|host\\.example", str(answer.headers))


def test_nothing_that_was_asked_for_is_written(garden: Garden) -> None:
    requests.get(f"http://{HOST}:{garden.port}/{SECRET}", timeout=30)
    files = [path for path in garden.folder.rglob("*") if path.is_file()]
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_nginx_finds_nothing_wrong_with_the_configuration(tmp_path: Path) -> None:
    garden = Garden(tmp_path)
    program("nginx", "nginx")
    garden.write()
    done = subprocess.run(
        [*garden.argv, "-t", "-q"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_can_be_a_template_of_squid_and_loads_nothing() -> None:
    page = (SHIPPED / "blocked.html").read_text("utf-8")
    assert "%" not in page
    assert not re.search(r"(?i)<script|\ssrc=|<link|url\(|https?://", page)
    for offer in ("If this worries you", "If you think that this is a mistake", "mailto:"):
        assert offer in page
