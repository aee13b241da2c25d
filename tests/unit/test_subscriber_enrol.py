"""Enrolment: what is accepted, what is refused, what is kept."""

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocklist.core.enrolment import Enrolment, SourceUrl
from blocklist.core.entries import Feed
from blocklist.core.errors import InputError, LocalError, NotInstalled, UnknownFormat
from blocklist.core.hashing import HashKey
from blocklist.subscriber import pull
from blocklist.subscriber.enrol import Enrolled, enrol, fingerprint_text, root_fingerprint
from blocklist.subscriber.state import State
from tests.subscriber_repo import BOTH, KEY, Repo, damage_json, lines_of

NOW = datetime.now(UTC)


@pytest.fixture(name="repo", scope="module")
def _repo() -> Repo:
    return Repo()


@pytest.fixture(name="state")
def _state(tmp_path: Path) -> State:
    return State(tmp_path / "deep" / "state")


def accept(state: State, enrolment: Enrolment, **options: object) -> Enrolled:
    return enrol(state, enrolment, **{"accept_dev": True, "now": NOW, **options})


class TestAccepting:
    def test_what_is_kept(self, state: State, repo: Repo) -> None:
        enrolment = repo.enrolment("https://feed.example", token="secret")
        accepted = accept(state, enrolment)
        assert accepted.lists == (("demo", Feed.CLEAR), ("demo", Feed.HASHED))
        assert (accepted.dev, accepted.warnings) == (True, ())
        assert state.enrolment() == enrolment

    def test_modes(self, state: State, repo: Repo) -> None:
        """Secrets are for the owner, the way to the lists for the group too."""
        accept(state, repo.enrolment("https://feed.example"))
        modes = {
            path.relative_to(state.directory).as_posix(): stat.S_IMODE(path.stat().st_mode)
            for path in [state.directory, *state.directory.rglob("*")]
        }
        assert modes == {
            ".": 0o750,
            "enrolment.json": 0o600,
            "lock": 0o600,
            "lists": 0o750,
            "lists/demo": 0o750,
            "lists/demo/clear": 0o750,
            "lists/demo/hashed": 0o750,
        }

    def test_a_directory_that_hands_its_group_on_goes_on_doing_so(
        self, state: State, repo: Repo
    ) -> None:
        state.directory.mkdir(parents=True)
        state.directory.chmod(0o2750)
        accept(state, repo.enrolment("https://feed.example"))
        folders = [path for path in state.directory.rglob("*") if path.is_dir()]
        assert len(folders) == 4
        assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o2750}

    def test_the_fingerprint_as_people_write_it(self, state: State, repo: Repo) -> None:
        digest = root_fingerprint(repo.root)
        grouped = fingerprint_text(digest)
        assert grouped.split() == [digest[at : at + 4] for at in range(0, 64, 4)]
        for written in (digest, grouped, grouped.upper(), grouped.replace(" ", ":")):
            accept(state, repo.enrolment("https://feed.example"), fingerprint=written)

    def test_a_repository_that_is_not_for_development(self, state: State) -> None:
        real = Repo(dev=False)
        accepted = enrol(state, real.enrolment("https://feed.example"), now=NOW)
        assert not accepted.dev

    def test_warnings(self, state: State, repo: Repo) -> None:
        insecure = repo.enrolment("http://feed.example", token="secret")
        later = NOW + timedelta(days=1000)
        root, token = accept(state, insecure, now=later).warnings
        assert "expired" in root
        assert "unencrypted to feed.example:80" in token


class TestRefusing:
    def refused(self, state: State, enrolment: Enrolment, **options: object) -> str:
        with pytest.raises(InputError) as caught:
            accept(state, enrolment, **options)
        assert not state.directory.exists() or state.find_enrolment() is None
        return str(caught.value)

    def test_throw_away_keys(self, state: State, repo: Repo) -> None:
        enrolment = repo.enrolment("https://feed.example")
        assert "--accept-dev" in self.refused(state, enrolment, accept_dev=False)

    @pytest.mark.parametrize("cut", [0, 4, 63])
    def test_another_fingerprint(self, state: State, repo: Repo, cut: int) -> None:
        """Part of it is not enough."""
        enrolment = repo.enrolment("https://feed.example")
        part = root_fingerprint(repo.root)[:cut]
        assert "fingerprint" in self.refused(state, enrolment, fingerprint=part)

    def test_a_root_that_its_keys_did_not_sign(self, state: State, repo: Repo) -> None:
        root = repo.root.replace(b'"dev":true', b'"dev":false')
        assert root != repo.root
        self.refused(state, replace(repo.enrolment("https://feed.example"), root=root))
        self.refused(state, replace(repo.enrolment("https://feed.example"), root=b"no root"))

    @pytest.mark.parametrize(
        "changes",
        [
            {"sources": ()},
            {"lists": {}},
            {"sources": (SourceUrl("ftp://feed.example"),)},
            {"token": "two words"},
        ],
    )
    def test_what_no_pull_could_use(
        self, state: State, repo: Repo, changes: dict[str, object]
    ) -> None:
        self.refused(state, replace(repo.enrolment("https://feed.example"), **changes))

    @pytest.mark.parametrize(
        "changes",
        [{"name": "../../etc"}, {"name": "root"}, {"feeds": ()}, {"hash_keys": {}}],
    )
    def test_lists_that_no_pull_could_use(
        self, state: State, repo: Repo, changes: dict[str, object]
    ) -> None:
        enrolment = repo.enrolment("https://feed.example")
        item = replace(enrolment.lists["demo"], **changes)
        self.refused(state, replace(enrolment, lists={item.name: item}))

    @pytest.mark.parametrize(
        "changes",
        [
            {"root": 7},
            {"lists": {}},
            {"sources": "x"},
            {"name": None},
            {"lists": [[]]},
            {"root": "\ud800"},
            {"token": "\udfff"},
        ],
    )
    def test_other_shapes(self, repo: Repo, changes: dict[str, object]) -> None:
        data = repo.enrolment("https://feed.example").to_bytes()
        with pytest.raises(InputError):
            Enrolment.from_bytes(damage_json(data, **changes))

    @pytest.mark.parametrize(
        "host", ["", "b\u00fccher.example", "A.example", "a.example/", "\ud800"]
    )
    def test_a_test_host_that_is_not_canonical(self, repo: Repo, host: str) -> None:
        data = repo.enrolment("https://feed.example").to_bytes()
        (item,) = json.loads(data)["lists"]
        with pytest.raises(InputError, match="test_host"):
            Enrolment.from_bytes(damage_json(data, lists=[{**item, "test_host": host}]))

    def test_a_later_format(self, repo: Repo) -> None:
        data = repo.enrolment("https://feed.example").to_bytes()
        with pytest.raises(UnknownFormat):
            Enrolment.from_bytes(damage_json(data, format=2))


class TestAgain:
    def test_lists_and_keys_are_added_sources_replaced(self, state: State) -> None:
        repo = Repo(lists=("demo", "other"))
        first = repo.enrolment("https://a.example", names=("demo",), feeds=(Feed.CLEAR,), token="a")
        accept(state, first)
        newer = HashKey(b"a newer key".ljust(32))
        second = repo.enrolment("https://b.example", token="b")
        item = replace(second.lists["demo"], feeds=(Feed.HASHED,), hash_keys={newer.id: newer})
        accepted = accept(state, replace(second, lists={**second.lists, "demo": item}))
        kept = state.enrolment()
        assert kept.lists["demo"].feeds == BOTH
        assert set(kept.lists["demo"].hash_keys) == {KEY.id, newer.id}
        assert (kept.token, kept.sources) == ("b", (SourceUrl("https://b.example"),))
        assert set(accepted.lists) == {(n, f) for n in ("demo", "other") for f in BOTH}

    def test_another_repository_is_refused(self, state: State, repo: Repo) -> None:
        accept(state, repo.enrolment("https://a.example"))
        other = Repo(age=timedelta(days=1))
        with pytest.raises(InputError, match="another state directory"):
            accept(state, other.enrolment("https://b.example"))
        assert state.enrolment().root == repo.root

    def test_a_newer_root_of_the_chain_is_accepted_once_it_is_verified(
        self, state: State, tmp_path: Path
    ) -> None:
        repo = Repo()
        repo.release(lines_of(1))
        newer = repo.rotate_root()
        source = f"file:{repo.write(tmp_path / 'repo')}"
        accept(state, repo.enrolment(source))
        with pytest.raises(InputError):
            accept(state, replace(repo.enrolment(source), root=newer))
        pull(state)
        accept(state, replace(repo.enrolment(source), root=newer))
        assert state.enrolment().root == repo.root


class TestState:
    def test_nothing_enrolled(self, state: State) -> None:
        with pytest.raises(NotInstalled, match="enrol first"):
            pull(state)
        assert not state.directory.exists()

    def test_a_state_that_cannot_be_made(self, repo: Repo, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(LocalError):
            accept(State(tmp_path / "file" / "state"), repo.enrolment("https://a.example"))
