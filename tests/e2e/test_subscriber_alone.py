"""An ISP installs the subscriber without the server's packages: every command of theirs runs."""

import subprocess
import sys

import pytest

from tests.cli_kit import ISP, PROGRAM, World

SERVER_PACKAGES = ("flask", "werkzeug", "gunicorn", "gevent", "boto3", "redis", "publicsuffixlist")
WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({SERVER_PACKAGES!r})); {PROGRAM}"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["--help"], 0),
        (["pull"], 0),
        (["check", "http://never-listed.example/"], 0),
        (["status"], 0),
        (["export", "list"], 0),
        (["serve"], 30),
        (["publish", "demo", "v1.txt"], 30),
    ],
)
def test_it_runs_without_the_servers_packages(world: World, command: list[str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *command],
        cwd=world.folder,
        env=world.env(ISP),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
