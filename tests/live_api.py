"""`blocklist serve` on a small repository with every sort of token, for tests from outside."""

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from blocklist.core.entries import Feed
from blocklist.core.private import ListSecret, Subscription
from blocklist.store import layout
from tests.api_repo import KEY, NOW, Repo, sha256
from tests.cli_kit import ROOT
from tests.cli_servers import STOP_SECONDS, _url

RELEASES = 9
BURNED = 6
TOKENS = {
    name: f"{name}-token-that-is-as-long-as-a-real-one"
    for name in ("full", "clear", "hashed", "admin", "expired", "revoked", "nobody")
}
_SERVE = "from blocklist.cli import main; main()"
_PLENTY = 1_000_000  # requests a minute
_CONFIG = f"[api]\nrequests_per_minute = {_PLENTY}\nunauthenticated_per_minute = {_PLENTY}\n"


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        headers: By lower-case name.
    """

    status: int
    headers: Mapping[str, str]
    data: bytes


@dataclass(frozen=True)
class LiveApi:
    """A running API.

    Attributes:
        url: Where it listens, without a slash at the end.
        repo: What it serves: `demo` released, `none` not.
        log: Everything that it said.
    """

    url: str
    repo: Repo
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def ask(
        self,
        target: str,
        token: str | None = "full",
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Send one request, its target as it is."""
        sent = dict(headers or {})
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {TOKENS[token]}")
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as client:
            client._validate_path = lambda path: None  # type: ignore[attr-defined] # raw targets
            client.request(method, target, body=body, headers=sent)
            answer = client.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())


@contextmanager
def live_api(folder: Path) -> Iterator[LiveApi]:
    """Serve a new repository until the block ends."""
    repo = _repository(folder / "store")
    config = folder / "config.toml"
    config.write_text(_CONFIG)
    log = folder / "log"
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "PYTHONPATH": str(ROOT),
        "BLOCKLIST_STORAGE": repo.url,
        "BLOCKLIST_CONFIG": str(config),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, "serve", "--bind", "127.0.0.1:0"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield LiveApi(_url(process, log), repo, log)
    finally:
        process.terminate()
        process.wait(timeout=STOP_SECONDS)


def _repository(path: Path) -> Repo:
    repo = Repo(path)
    repo.releases(BURNED - 1)
    repo.release(to=BURNED + 1)
    repo.releases(RELEASES - BURNED - 1)
    repo.delegate("none")
    for name in ("demo", "none"):
        secret = ListSecret(name, f"test-entry.{name}.example", (KEY,))
        assert repo.store.put_new(layout.list_secret_key(name), secret.to_bytes())
    everything = {"demo": tuple(Feed), "none": tuple(Feed)}
    past = NOW - timedelta(days=1)
    for subscription in (
        _subscription("full", everything),
        _subscription("clear", {"demo": (Feed.CLEAR,)}),
        _subscription("hashed", {"demo": (Feed.HASHED,)}),
        _subscription("admin", everything, admin=True),
        _subscription("expired", everything, expires=past),
        _subscription("revoked", everything, revoked=past),
    ):
        key = layout.enrolment_key(subscription.token_digest)
        assert repo.store.put_new(key, subscription.to_bytes())
    return repo


def _subscription(name: str, lists: dict[str, tuple[Feed, ...]], **more: object) -> Subscription:
    digest = sha256(TOKENS[name].encode())
    return Subscription(f"{name}.example", digest, lists, NOW, **more)  # type: ignore[arg-type] # one of three fields
