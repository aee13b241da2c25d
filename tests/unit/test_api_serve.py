"""`serve` before it becomes gunicorn: what it checks, and what it starts."""

import importlib.util
import os
import socket
import sys
from pathlib import Path

import pytest

from blocklist.api import gunicorn_conf, wsgi
from blocklist.api.serve import listen, serve
from blocklist.core.errors import Exit, InputError, LocalError, StoreUnreachable
from tests.api_repo import Repo


class Started(BaseException):
    """Stands for the program that takes over."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """Record what would have been executed."""
    calls: list[tuple[list[str], dict[str, str]]] = []

    def execve(path: str, argv: list[str], env: dict[str, str]) -> None:
        assert path == sys.executable
        calls.append((argv, env))
        raise Started

    monkeypatch.setattr(os, "execve", execve)
    return calls


def test_it_starts_one_worker_and_hands_the_storage_over_unseen(
    started: list[tuple[list[str], dict[str, str]]], tmp_path: Path
) -> None:
    repo = Repo(tmp_path / "store")
    with pytest.raises(Started):
        serve(repo.url, "127.0.0.1:0")
    ((argv, env),) = started
    assert argv[:3] == [sys.executable, "-m", "gunicorn"]
    assert argv[argv.index("--workers") + 1] == "1"
    assert not any(str(tmp_path) in word for word in argv)
    assert env["BLOCKLIST_STORAGE"] == repo.url
    os.close(int(argv[-1].removeprefix("fd://")))


@pytest.mark.parametrize(
    "bind",
    ["", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "::1:8080",
     "[::1]", "http://127.0.0.1:80", "127.0.0.1:80/", "a b:80", "unix:/x", "127.0.0.1:-1"],
)  # fmt: skip
def test_another_address_is_refused(bind: str) -> None:
    with pytest.raises(InputError, match="HOST:PORT"):
        listen(bind)


def test_an_address_that_is_taken_is_a_local_error() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(LocalError, match="in use") as caught,
    ):
        listen(f"127.0.0.1:{taken.getsockname()[1]}")
    assert caught.value.exit_code is Exit.LOCAL


def test_an_address_of_another_machine_is_a_local_error() -> None:
    with pytest.raises(LocalError, match=r"cannot listen on 192\.0\.2\.1:8080"):
        listen("192.0.2.1:8080")


def test_a_name_that_does_not_resolve_is_a_local_error() -> None:
    with pytest.raises(LocalError, match="cannot listen"):
        listen("no-such-host.invalid:8080")


def test_the_socket_is_inherited() -> None:
    with listen("127.0.0.1:0") as listener:
        assert listener.get_inheritable()


def test_a_storage_without_a_repository_is_a_local_error(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="blocklist init"):
        serve(f"file:{tmp_path}")


def test_a_storage_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable):
        serve(f"file:{tmp_path / 'none'}")


def test_another_kind_of_storage_is_bad_input() -> None:
    with pytest.raises(InputError, match="expected storage"):
        serve("ftp://example.com/x")


@pytest.mark.parametrize("missing", ["flask", "gunicorn", "gevent"])
def test_a_missing_package_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )
    with pytest.raises(LocalError, match=rf"needs {missing}: .*\[server\]"):
        serve(f"file:{tmp_path}")


def test_the_factory_needs_the_storage_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BLOCKLIST_STORAGE", raising=False)
    with pytest.raises(InputError, match="BLOCKLIST_STORAGE"):
        wsgi.create()


def test_nothing_is_loaded_before_gevent_patches() -> None:
    assert gunicorn_conf.preload_app is False
    assert gunicorn_conf.worker_class == "gevent"
