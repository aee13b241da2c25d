"""A subscriber's sources: order, credentials of their own, proxies, private CAs, buckets."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from blocklist.core.enrolment import Enrolment, SourceUrl
from blocklist.core.errors import Exit, InputError
from blocklist.subscriber import pull
from blocklist.subscriber.enrol import enrol
from blocklist.subscriber.state import State
from tests.subscriber_http import Served, serve
from tests.subscriber_repo import Repo, assert_at_head, enrolled, lines_of, refused
from tests.subscriber_tls import Authority, authority, proxy

DOWN = "http://127.0.0.1:1"
NAME = "feed.test"
TOKEN, OTHER, PASSWORD = "a-token-of-the-api", "a-token-of-the-mirror", "a-password"
SECRETS = (TOKEN, OTHER, PASSWORD, "cHJveHk")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncs take time, and the environment's proxies and certificates are not ours."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    for name in list(os.environ):
        if name.lower().endswith(("_proxy", "_ca_bundle")):
            monkeypatch.delenv(name)


@pytest.fixture(name="repo")
def _repo() -> Repo:
    repo = Repo()
    repo.release(lines_of(1))
    return repo


@pytest.fixture(name="ca", scope="module")
def _ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("ca"), NAME)


def enrolled_with(path: Path, repo: Repo, *sources: SourceUrl, token: str | None = None) -> State:
    """Return a state that is enrolled with sources that have credentials of their own."""
    state = State(path)
    document = json.loads(repo.enrolment("https://x.example", token=token).to_bytes())
    document["sources"] = [source.to_document() for source in sources]
    enrolment = Enrolment.from_bytes(json.dumps(document).encode())
    enrol(state, enrolment, accept_dev=True, now=repo.now)
    return state


def words(one: Any) -> list[str]:
    return [tried.word for tried in one.sources]


def assert_no_secret(*texts: object) -> None:
    assert not any(secret in str(text) for secret in SECRETS for text in texts)


class TestCredentials:
    def test_each_source_gets_its_own_and_no_other(self, repo: Repo, tmp_path: Path) -> None:
        with (
            serve(repo, "none of ours") as api,
            serve(repo, "nor of these") as mirror,
            serve(repo, login=f"isp:{PASSWORD}") as web,
        ):
            state = enrolled_with(
                tmp_path / "s",
                repo,
                SourceUrl(api.url),
                SourceUrl(mirror.url, OTHER),
                SourceUrl(f"static+{web.url}/feed", None, "isp", PASSWORD),
                token=TOKEN,
            )
            pulled = pull(state)
        assert_at_head(state, repo, pulled)
        assert {*api.authorizations} == {f"Bearer {TOKEN}"}
        assert {*mirror.authorizations} == {f"Bearer {OTHER}"}
        assert {str(one).partition(" ")[0] for one in web.authorizations} == {"Basic"}
        for one in pulled:
            assert words(one) == ["not-authorised", "not-authorised", "used"]
        assert_no_secret(pulled, state.enrolment())
        for path in (path for path in state.directory.rglob("*") if path.is_file()):
            secret = any(word in path.read_text("latin-1") for word in SECRETS)
            assert secret == (path.name == "enrolment.json")
        assert stat.S_IMODE((state.directory / "enrolment.json").stat().st_mode) == 0o600

    @pytest.mark.parametrize(
        "wrong",
        [
            {"user": "isp"},
            {"password": PASSWORD},
            {"token": OTHER, "user": "isp", "password": PASSWORD},
            {"token": 7},
        ],
    )
    def test_halves_and_both_kinds_are_refused(
        self, repo: Repo, tmp_path: Path, wrong: dict[str, Any]
    ) -> None:
        document = json.loads(repo.enrolment("https://x.example").to_bytes())
        document["sources"] = [{"url": "static+https://x.example", **wrong}]
        with pytest.raises(InputError) as caught:
            Enrolment.from_bytes(json.dumps(document).encode())
        assert_no_secret(caught.value)

    def test_a_wrong_password_is_not_authorised(self, repo: Repo, tmp_path: Path) -> None:
        with serve(repo, login="isp:another") as web:
            source = SourceUrl(f"static+{web.url}/feed", None, "isp", PASSWORD)
            state = enrolled_with(tmp_path / "s", repo, source)
            assert_no_secret(refused(state, Exit.NOT_AUTHORISED))
            assert len(web.log) == 2  # once for each feed


class TestOrder:
    @pytest.fixture(name="lying")
    def _lying(self, repo: Repo) -> Repo:
        """The same repository with a timestamp that somebody else has signed."""
        lying = Repo()
        lying.objects = dict(repo.objects)
        lying.trust = repo.trust
        lying.forge_timestamp("somebody")
        return lying

    def test_the_first_that_works_is_used_and_the_others_are_named(
        self, repo: Repo, lying: Repo, tmp_path: Path
    ) -> None:
        with serve(lying) as liar, serve(repo) as good, serve(repo) as unused:
            sources = (DOWN, f"static+{liar.url}/feed", good.url, unused.url)
            state = enrolled(tmp_path / "s", repo, *sources)
            pulled = pull(state)
        assert_at_head(state, repo, pulled)
        for one in pulled:
            assert words(one) == ["unreachable", "tampered", "used"]
            assert [tried.exit_code for tried in one.sources] == [10, 13, 0]
            assert len(one.warnings) == 2
        assert unused.log == []

    def test_without_any_good_one_the_most_serious_failure_counts(
        self, repo: Repo, lying: Repo, tmp_path: Path
    ) -> None:
        with serve(lying) as liar, serve(repo, "another token") as closed:
            sources = (closed.url, f"static+{liar.url}/feed", DOWN)
            state = enrolled(tmp_path / "s", repo, *sources, token=TOKEN)
            failure = refused(state, Exit.TAMPERED)
        for one in failure.failed:
            assert words(one) == ["not-authorised", "tampered", "unreachable"]


class TestProxyAndCertificates:
    """The environment decides, as everywhere with requests."""

    def through(
        self, path: Path, repo: Repo, monkeypatch: pytest.MonkeyPatch, **variables: str
    ) -> State:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return enrolled(path, repo, f"https://{NAME}", token=TOKEN)

    @pytest.mark.parametrize("bundle", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
    def test_a_proxy_and_a_private_ca(
        self,
        bundle: str,
        repo: Repo,
        ca: Authority,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The name only exists for the proxy, which sees neither token nor path."""
        with serve(repo, TOKEN, tls=ca.context) as served, proxy(served.url) as between:
            settings = {"HTTPS_PROXY": between.url, bundle: str(ca.ca_file)}
            state = self.through(tmp_path / "s", repo, monkeypatch, **settings)
            pulled = pull(state)
        assert_at_head(state, repo, pulled)
        assert {line.split()[1] for line in between.asked} == {f"{NAME}:443"}
        assert_no_secret(*between.headers)
        assert not any("/v1/" in text for text in between.headers)
        assert len(served.log) == 2

    def test_a_certificate_of_nobody_we_trust(
        self, repo: Repo, ca: Authority, tmp_path: Path
    ) -> None:
        with serve(repo, TOKEN, tls=ca.context) as served:
            state = enrolled(tmp_path / "s", repo, served.url, token=TOKEN)
            failure = refused(state, Exit.UNREACHABLE)
            assert "SSLError" in str(failure)
            assert served.log == []  # the token was not sent either

    def test_no_proxy_is_respected(
        self, repo: Repo, ca: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca.ca_file))
        with serve(repo, tls=ca.context) as served, proxy(served.url) as between:
            monkeypatch.setenv("https_proxy", between.url)
            for name, passed in (("", True), ("127.0.0.1,other.test", False)):
                monkeypatch.setenv("no_proxy", name)
                before = len(between.asked)
                state = enrolled(tmp_path / f"s-{passed}", repo, served.url)
                assert_at_head(state, repo, pull(state))
                assert (len(between.asked) > before) == passed

    def test_a_proxy_that_wants_a_password(
        self, repo: Repo, ca: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca.ca_file))
        with (
            serve(repo, TOKEN, tls=ca.context) as served,
            proxy(served.url, password=PASSWORD) as between,
        ):
            for user, code in (("", Exit.UNREACHABLE), (f"proxy:{PASSWORD}@", None)):
                url = between.url.replace("//", f"//{user}")
                state = self.through(tmp_path / f"s{code}", repo, monkeypatch, HTTPS_PROXY=url)
                if code is not None:
                    assert_no_secret(refused(state, code))
                else:
                    assert_at_head(state, repo, pull(state))

    def test_a_proxy_that_is_down(
        self, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        down = DOWN.replace("//", f"//proxy:{PASSWORD}@")
        state = self.through(tmp_path / "s", repo, monkeypatch, HTTPS_PROXY=down)
        assert_no_secret(refused(state, Exit.UNREACHABLE))

    def test_netrc_does_not_replace_the_token(
        self, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text(f"machine 127.0.0.1 login somebody password {PASSWORD}\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        with serve(repo, TOKEN) as api, serve(repo) as web:
            for name, url in (("api", api.url), ("web", f"static+{web.url}/feed")):
                state = enrolled(tmp_path / name, repo, url, token=TOKEN)
                assert_at_head(state, repo, pull(state))
        assert {*api.authorizations} == {f"Bearer {TOKEN}"}
        assert {*web.authorizations} == {None}


def test_a_bucket_without_the_server_extra(repo: Repo, tmp_path: Path) -> None:
    """It is said at once, by `enrol`, and what to do about it."""
    enrolment = tmp_path / "isp.json"
    enrolment.write_bytes(repo.enrolment("s3://bucket/feed").to_bytes())
    without = "import sys; sys.modules['boto3'] = None; from blocklist.cli import run"
    words = ["enrol", str(enrolment), "--accept-dev", "--state", str(tmp_path / "s")]
    done = subprocess.run(
        [sys.executable, "-c", f"{without}; sys.exit(run({words!r}))"],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (Exit.LOCAL, "")
    assert "[server]" in done.stderr
    assert not (tmp_path / "s").exists()


def test_our_client_is_polite(repo: Repo, tmp_path: Path) -> None:
    """One request when nothing is new, with what is held in it."""
    with serve(repo) as served:
        state = enrolled(tmp_path / "s", repo, served.url)
        pull(state)
        served.log.clear()
        pull(state)
    assert _questions(served) == [{"from", "root", "targets", "timestamp"}] * 2


def _questions(served: Served) -> list[set[str]]:
    return [
        {part.partition("=")[0] for part in one.partition("?")[2].split("&")} for one in served.log
    ]
