"""What operators copy besides nginx and policies: each file against the program that reads it."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from blocklist.api.settings import ApiSettings
from blocklist.cli import cli
from blocklist.core.errors import Exit
from blocklist.publisher.settings import Settings
from blocklist.store.s3_url import parse_s3_url
from blocklist.store.shared_url import validate_redis_url
from scripts.services import __main__ as services
from scripts.services.ceph import Ceph
from scripts.services.process import until
from tests import cli_kit
from tests.cli_kit import ISP, ROOT, World
from tests.nginx_kit import bearer
from tests.services import program

CONFIG = ROOT / "config"
UNITS = sorted((CONFIG / "systemd").iterdir())
SERVICES = [path for path in UNITS if path.suffix == ".service"]
TIMERS = [path for path in UNITS if path.suffix == ".timer"]
INSTALLED = "/opt/blocklist/bin/blocklist"
EXPOSURE = 1.5  # of 10; `systemd-analyze security`
VARIABLES = {
    "BLOCKLIST_STORAGE",
    "BLOCKLIST_REDIS",
    "BLOCKLIST_CONFIG",
    "BLOCKLIST_WORKERS",
    "BLOCKLIST_HOME",
    "BLOCKLIST_STATE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "HTTPS_PROXY",
    "REQUESTS_CA_BUNDLE",
}


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def checked(*words: str) -> str:
    """Return what a checker says that finds nothing wrong."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


# Settings.


def test_the_settings_file_has_every_setting_with_its_default() -> None:
    tables = tomllib.loads((CONFIG / "blocklist.toml").read_text("utf-8"))
    assert tables == {"publisher": asdict(Settings()), "api": asdict(ApiSettings())}
    for table, settings in (("publisher", Settings()), ("api", ApiSettings())):
        for name, value in asdict(settings).items():
            assert type(tables[table][name]) is type(value)
    assert Settings.from_table(tables["publisher"]) == Settings()
    assert ApiSettings.from_table(tables["api"]) == ApiSettings()


def test_commands_take_the_settings_file(world: World) -> None:
    environment = {"BLOCKLIST_CONFIG": str(CONFIG / "blocklist.toml")}
    assert replace(world, environment=environment).run("status").code == 0


def test_the_page_about_hosting_has_the_settings_of_the_api() -> None:
    page = (ROOT / "docs" / "hosting.md").read_text("utf-8")
    rows = re.search(r"(?m)^\| in `\[api\]` .*\n.*\n((?:\|.*\n)+)", page)
    assert rows is not None
    shown = dict(re.findall(r"(?m)^\| `(\w+)` \| (\d+) \|", rows[1]))
    assert {name: int(value) for name, value in shown.items()} == asdict(ApiSettings())


def environment_files() -> dict[str, dict[str, str]]:
    """Return the variables of each file that config/environment shows, commented ones too."""
    text = (CONFIG / "environment").read_text("utf-8")
    parts = re.split(r"(?m)^# ([a-z]+\.env)\b.*\n", text)[1:]
    files = dict(zip(parts[::2], parts[1::2], strict=True))
    return {
        name: dict(re.findall(r"(?m)^#?([A-Z_]+)=(.*)$", lines)) for name, lines in files.items()
    }


def test_the_environment_has_known_variables_with_valid_values() -> None:
    files = environment_files()
    assert files.keys() == {"api.env", "publisher.env", "subscriber.env"}
    for variables in files.values():
        assert variables.keys() <= VARIABLES
    for name in ("api.env", "publisher.env"):
        assert parse_s3_url(files[name]["BLOCKLIST_STORAGE"]).bucket == "hotline-blocklist"
    validate_redis_url(files["api.env"]["BLOCKLIST_REDIS"])


# systemd.


@pytest.fixture(name="units")
def _units(tmp_path: Path) -> list[Path]:
    """The units, where the program is installed elsewhere."""
    (tmp_path / "blocklist").write_text("#!/bin/sh\n")
    (tmp_path / "blocklist").chmod(0o755)
    copies = []
    for path in UNITS:
        copies.append(tmp_path / path.name)
        text = path.read_text("utf-8")
        copies[-1].write_text(text.replace(INSTALLED, str(tmp_path / "blocklist")))
    return copies


def test_systemd_finds_nothing_wrong_with_the_units(units: list[Path]) -> None:
    systemd = program("systemd-analyze", "systemd")
    program("kill", "procps")  # a unit names it, and a bare machine has none
    assert checked(systemd, "verify", "--man=no", *map(str, units)) == ""


def test_systemd_finds_an_error_in_a_unit(units: list[Path]) -> None:
    """The checker is one that can fail."""
    systemd = program("systemd-analyze", "systemd")
    units[0].write_text(units[0].read_text().replace("ProtectSystem=strict", "ProtectSystm=x"))
    done = subprocess.run(
        [systemd, "verify", "--man=no", str(units[0])], capture_output=True, text=True, check=False
    )
    assert "ProtectSystm" in done.stderr


@pytest.mark.parametrize("name", names(SERVICES))
def test_a_service_is_exposed_to_little(name: str) -> None:
    systemd = program("systemd-analyze", "systemd")
    said = checked(systemd, "security", "--offline=true", str(CONFIG / "systemd" / name))
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert level is not None
    assert float(level[1]) <= EXPOSURE


@pytest.mark.parametrize("name", names(TIMERS))
def test_a_timer_has_a_service_and_runs_every_five_minutes(name: str) -> None:
    systemd = program("systemd-analyze", "systemd")
    text = (CONFIG / "systemd" / name).read_text("utf-8")
    assert name.replace(".timer", ".service") in names(SERVICES)
    calendar = re.findall(r"(?m)^OnCalendar=(.+)$", text)
    said = checked(systemd, "calendar", "--iterations=2", *calendar)
    assert "*-*-* *:00/5:00" in said
    assert re.search(r"(?m)^Persistent=true$", text)
    assert re.search(r"(?m)^RandomizedDelaySec=", text)


@pytest.mark.parametrize("name", names(SERVICES))
def test_a_service_runs_a_command_that_exists(name: str) -> None:
    text = (CONFIG / "systemd" / name).read_text("utf-8")
    (line,) = re.findall(rf"(?m)^ExecStart={INSTALLED} (.+)$", text)
    verb, *options = shlex.split(line)
    known = {option for parameter in cli.commands[verb].params for option in parameter.opts}
    assert {word for word in options if word.startswith("--")} <= known
    variables = set(re.findall(r"(?m)^Environment=([A-Z_]+)=", text))
    assert variables <= VARIABLES


# gunicorn.


@dataclass
class Gunicorn:
    """gunicorn as somebody starts it by hand."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        assert until(lambda: "Listening at" in self.log.read_text() or self.ended, 60)
        found = re.search(r"Listening at: (\S+)", self.log.read_text())
        assert found is not None, self.log.read_text()
        return found[1]

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def workers(self) -> list[int]:
        return [
            int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", self.log.read_text())
        ]


@contextmanager
def gunicorn(world: World, **environment: str) -> Iterator[Gunicorn]:
    log = world.folder / f"gunicorn-{len(environment)}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", str(CONFIG / "gunicorn.conf.py")],
            cwd=world.folder,
            env=world.env() | {"BLOCKLIST_BIND": "127.0.0.1:0"} | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield Gunicorn(process, log)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=60)


@pytest.fixture(scope="module", name="world")
def _world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = cli_kit.made(tmp_path_factory.mktemp("world"))
    world.done("publish", "demo", "-", given="a.example\n")
    return world


def test_a_reload_of_gunicorn_loses_no_poll(world: World) -> None:
    token = json.loads((world.folder / f"{ISP}.json").read_text())["token"]
    with gunicorn(world) as server, ThreadPoolExecutor() as pool:
        poll_url = f"{server.url}/v1/lists/demo/hashed/update?from=1&root=1"

        def asked(**more: str) -> requests.Response:
            return requests.get(poll_url, headers=bearer(token) | more, timeout=90)

        etag = asked().headers["ETag"]
        poll = pool.submit(asked, **{"If-None-Match": etag, "Prefer": "wait=55"})
        figures = f"{server.url}/metrics"
        waiting = "blocklist_waiting_polls 1"
        assert until(lambda: waiting in requests.get(figures, timeout=30).text, 30)
        before = server.workers()
        os.kill(server.process.pid, signal.SIGHUP)
        assert until(lambda: len(server.workers()) > len(before), 60)
        assert poll.result().status_code == 304
        assert asked().status_code == 200
        assert not server.ended


def test_gunicorn_refuses_several_workers_without_redis(world: World) -> None:
    with gunicorn(world, BLOCKLIST_WORKERS="2") as server:
        assert server.process.wait(timeout=60) == Exit.USAGE
    assert "Redis" in server.log.read_text()


# Docker.


def compose() -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load((CONFIG / "compose.yaml").read_text("utf-8"))
    return value


def test_docker_compose_finds_nothing_wrong_with_its_file() -> None:
    checked(program("docker-compose", "docker-compose"), "-f", str(CONFIG / "compose.yaml"),
            "config", "--quiet")  # fmt: skip


def test_the_compose_file_says_that_it_was_not_run() -> None:
    for name in ("compose.yaml", "Dockerfile"):
        head = (CONFIG / name).read_text("utf-8").partition("\n\n")[0].lower()
        assert re.search(r"not (run|built) where it was written", head)


def test_the_compose_file_fits_the_rest() -> None:
    file = compose()["services"]
    for name in ("api", "publisher", "refresh"):
        variables = file[name]["environment"]
        assert variables.keys() <= VARIABLES
        url, _, ca_file = variables["BLOCKLIST_STORAGE"].rpartition("&")
        assert ca_file == "ca_file=/services/s3/tls.pem"
        location = parse_s3_url(url)
        assert location.bucket in " ".join(file["bucket"]["command"])
        assert location.endpoint_url == f"https://127.0.0.1:{services.S3_PORT + 1}"
        assert variables["AWS_ACCESS_KEY_ID"] == Ceph.access_key
        assert variables["AWS_SECRET_ACCESS_KEY"] == Ceph.secret_key
        validate_redis_url(variables["BLOCKLIST_REDIS"])
    verb, *options = file["api"]["command"]
    known = {option for parameter in cli.commands[verb].params for option in parameter.opts}
    assert {word for word in options if word.startswith("--")} <= known
    assert f"http://127.0.0.1:{services.S3_PORT}" in file["bucket"]["command"][-1]


def test_what_the_compose_file_mounts_and_builds_is_there() -> None:
    mounts = [
        mount for service in compose()["services"].values() for mount in service.get("volumes", [])
    ]
    sources = {mount.split(":")[0] for mount in mounts if mount.startswith("./")}
    assert sources - {"./tls"} == {
        "./blocklist.toml",
        "./nginx/blocklist.conf",
        "./nginx/blocklist",
    }
    assert all((CONFIG / source).exists() for source in sources - {"./tls"})
    docker = (CONFIG / "Dockerfile").read_text("utf-8")
    copied = {name for line in re.findall(r"(?m)^COPY (.+) \S+$", docker) for name in line.split()}
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    targets = set(re.findall(r"(?m)^FROM \S+ AS (\S+)$", docker))
    built = [
        service["build"]["target"]
        for service in compose()["services"].values()
        if "build" in service
    ]
    assert set(built) == targets
