"""`serve` before it becomes gunicorn: what it checks, and what it starts."""

import importlib.util
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

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


@pytest.mark.parametrize("missing", ["flask", "gunicorn", "gevent", "redis"])
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
    """What the parent of the workers loads is theirs before they patch."""
    program = (
        "import sys; from gunicorn.config import Config; from blocklist.api import gunicorn_conf\n"
        "config = Config(); config.set('worker_class', gunicorn_conf.worker_class)\n"
        "assert config.worker_class.__name__ == 'ApiWorker'\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "gevent" in loaded, done.stderr
    unpatched = {"flask", "boto3", "botocore", "urllib3", "requests", "redis", "prometheus_client"}
    assert not loaded & unpatched
    assert gunicorn_conf.preload_app is False


# -- several workers -----------------------------------------------------------------------------

REDIS = "redis://:secret@192.0.2.1:6379/0"


def test_several_workers_need_redis(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs Redis"):
        serve(Repo(tmp_path / "store").url, "127.0.0.1:0", workers=2)


@pytest.mark.parametrize("workers", [0, -1, 65])
def test_another_number_of_workers_is_refused(tmp_path: Path, workers: int) -> None:
    with pytest.raises(InputError, match="expected 1 to 64 workers"):
        serve("file:none", workers=workers, redis_url=REDIS)


def test_redis_is_handed_over_unseen(
    started: list[tuple[list[str], dict[str, str]]], tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[api]\n")
    with pytest.raises(Started):
        serve(
            Repo(tmp_path / "store").url, "127.0.0.1:0", workers=3, redis_url=REDIS, config=config
        )
    ((argv, env),) = started
    assert argv[argv.index("--workers") + 1] == "3"
    assert not any("secret" in word for word in argv)
    assert (env["BLOCKLIST_REDIS"], env["BLOCKLIST_CONFIG"]) == (REDIS, str(config))
    os.close(int(argv[-1].removeprefix("fd://")))


def test_a_redis_url_of_another_shape_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        serve("file:none", redis_url="http://:secret@192.0.2.1/")
    assert "secret" not in str(caught.value)


def test_wrong_settings_are_refused_before_anything_starts(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[api]\nrequests_per_minute = 0\n")
    with pytest.raises(InputError, match=r"api\.requests_per_minute"):
        serve("file:none", config=config)


class Arbiter:
    """As much of gunicorn's parent process as the hooks use."""

    def __init__(self, workers: int) -> None:
        self.cfg = SimpleNamespace(workers=workers, worker_connections=10)
        self.log = logging.getLogger("gunicorn.error")
        self.log.error_log = self.log  # type: ignore[attr-defined] # gunicorn's log has it
        self.num_workers = workers


def test_gunicorn_started_by_hand_refuses_several_workers_without_redis(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BLOCKLIST_REDIS", "")
    with pytest.raises(SystemExit) as caught:
        gunicorn_conf.on_starting(Arbiter(2))
    assert caught.value.code == Exit.USAGE


def test_a_signal_adds_no_worker_without_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    arbiter = Arbiter(2)
    monkeypatch.setenv("BLOCKLIST_REDIS", REDIS)
    gunicorn_conf.nworkers_changed(arbiter, 2, 1)
    assert arbiter.num_workers == 2
    monkeypatch.delenv("BLOCKLIST_REDIS")
    gunicorn_conf.nworkers_changed(arbiter, 2, 1)
    assert arbiter.num_workers == 1


def test_a_directory_of_counts_is_emptied_and_one_of_ours_is_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = tmp_path / "counts"
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(given))
    given.mkdir()
    (given / "counter_1.db").write_bytes(b"old")
    arbiter = Arbiter(1)
    gunicorn_conf.on_starting(arbiter)
    assert list(given.iterdir()) == []
    gunicorn_conf.on_exit(arbiter)
    assert given.exists()
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    gunicorn_conf.on_starting(arbiter)
    own = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    assert own.is_dir()
    gunicorn_conf.on_exit(arbiter)
    assert not own.exists()
