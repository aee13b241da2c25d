"""Access that ends, and begins again, under a running API: within a minute, without a restart."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.cli_kit import ISP, World, enrol
from tests.cli_servers import Api, serving
from tests.forks import Forks
from tests.services import S3Server, used

MINUTE = 60  # seconds in which a change is in effect
POLL_SECONDS = 0.5
UPDATE = "/v1/lists/demo/hashed/update?from=1&root=1"
LISTED = "http://listed.example/page"


@dataclass(frozen=True)
class Poll:
    """A poll of one subscriber, as curl would send it."""

    url: str
    token: str

    def send(self, **headers: str) -> tuple[int, str]:
        """Return the status and the entity tag, empty without one."""
        sent = {"Authorization": f"Bearer {self.token}", **headers}
        try:
            with urlopen(Request(self.url + UPDATE, headers=sent), timeout=MINUTE) as answer:
                return answer.status, answer.headers["ETag"]
        except HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.headers.get("ETag", "")

    def until(self, status: int) -> None:
        """Poll until the status is that, for a minute."""
        end = time.monotonic() + MINUTE
        while self.send()[0] != status:
            assert time.monotonic() < end, f"no {status} within a minute"
            time.sleep(POLL_SECONDS)

    def waiting(self, etag: str) -> list[int]:
        """Wait for news again and again; return what was answered, the last one other than 304."""
        end = time.monotonic() + 2 * MINUTE
        answers: list[int] = []
        while (not answers or answers[-1] == 304) and time.monotonic() < end:
            answers.append(self.send(**{"If-None-Match": etag, "Prefer": "wait=20"})[0])
        return answers


def token_of(world: World, name: str) -> str:
    token: str = json.loads((world.folder / f"{name}.json").read_text())["token"]
    return token


def document(world: World, name: str) -> Path:
    """Return where the storage keeps the document of a subscriber."""
    (found,) = [
        path
        for path in (world.store / "private" / "enrolments").iterdir()
        if json.loads(path.read_text())["name"] == name
    ]
    return found


@pytest.fixture(name="stored", params=["file", "s3"])
def _stored(request: pytest.FixtureRequest, tmp_path: Path, forks: Forks) -> World:
    """A world with one release, in a folder and on a real S3 server."""
    world = World(tmp_path)
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        used(request, "S3 over TLS")
        url = server.url(server.new_bucket(), "https", "hotline")
        world = World(tmp_path, {"BLOCKLIST_STORAGE": url, **server.environment})
    world.done("init", "--dev", by=forks)
    world.done("list", "create", "demo", by=forks)
    world.done("publish", "demo", "--add", "-", given=f"{LISTED}\n", by=forks)
    return world


def test_a_subscriber_who_is_revoked(stored: World, forks: Forks) -> None:
    """Neither a poll nor one that waited since before gets anything; who stays is not disturbed."""
    world = stored
    with serving(world) as api, ThreadPoolExecutor(1) as pool:
        for name in (ISP, "stays"):
            enrol(world, name, "hashed", api.url, by=forks)
            world.done("pull", state=name, by=forks)
        poll = Poll(api.url, token_of(world, ISP))
        stays = Poll(api.url, token_of(world, "stays"))
        status, etag = poll.send()
        assert status == 200
        waiting = pool.submit(poll.waiting, etag)
        done = world.done("subscriber", "revoke", ISP, "--reason", "left us", by=forks)
        assert (done["state"], done["changed"]) == ("revoked", True)
        poll.until(401)
        world.done("publish", "demo", "--add", "-", given="new.example\n", by=forks)
        answers = waiting.result()
        assert (answers[-1], set(answers[:-1]) <= {304}) == (401, True)
        assert stays.send()[0] == 200
        _refused_but_protected(world, forks)
        _given_access_again(world, api, forks)
        assert poll.send()[0] == 401


def _refused_but_protected(world: World, forks: Forks) -> None:
    """The pull says what is wrong, and by which source; the installed list stays in force."""
    assert world.run("pull", by=forks).code == 15
    (feed,) = world.done("status", by=forks)["subscriber"]
    (source,) = feed["last"]["sources"]
    assert (feed["last"]["exit"], source["outcome"], source["exit"]) == (15, "not-authorised", 15)
    assert f"{source['source']} not-authorised" in world.run("status", by=forks).out
    assert world.run("check", LISTED, by=forks).code == 1


def _given_access_again(world: World, api: Api, forks: Forks) -> None:
    """The name is free; the old token stays in the record, revoked."""
    again = world.run("subscriber", "revoke", ISP, by=forks)
    assert (again.code, "already" in again.out) == (0, True)
    assert "subscriber add" in world.run("subscriber", "renew", ISP, "--expires", "never").complaint
    (world.folder / f"{ISP}.json").unlink()
    enrol(world, ISP, "hashed", api.url, by=forks)
    api.until_seen(2, token_of(world, ISP), "hashed")
    (pulled,) = world.done("pull", by=forks)["lists"]
    assert pulled["to"] == 2
    rows = world.done("subscriber", "list", by=forks)["subscribers"]
    shown = [(row["name"], row["state"], row["reason"]) for row in rows]
    assert shown == [(ISP, "revoked", "left us"), (ISP, "valid", None), ("stays", "valid", None)]


def test_a_subscriber_whose_token_ended_is_renewed(world: World, forks: Forks) -> None:
    with serving(world) as api:
        enrol(world, "late", "hashed", api.url, by=forks)
        path = document(world, "late")
        past = {"expires": "2001-01-01T00:00:00Z"}
        path.write_text(json.dumps(json.loads(path.read_text()) | past))
        poll = Poll(api.url, token_of(world, "late"))
        assert poll.send()[0] == 401
        assert world.run("pull", state="late", by=forks).code == 15
        done = world.done("subscriber", "renew", "late", "--expires", "2999-12-31", by=forks)
        assert (done["state"], done["expires"]) == ("valid", "3000-01-01T00:00:00Z")
        poll.until(200)
        assert world.done("pull", state="late", by=forks)["lists"][0]["changed"]


class TestCommands:
    def test_who_has_access(self, world: World, forks: Forks) -> None:
        words = ("subscriber", "add", "ops", "--list", "demo", "--feed", "clear", "--feed")
        given = ("hashed", "--admin", "--expires", "2999-12-31", "--out", "ops.json")
        world.done(*words, *given, by=forks)
        ran = world.run("subscriber", "list", "--json", by=forks)
        rows = {row["name"]: row for row in ran.json["subscribers"]}
        assert list(rows) == ["isp", "ops", "proxy"]
        assert rows["ops"]["lists"] == {"demo": ["clear", "hashed"]}
        assert (rows["ops"]["admin"], rows["isp"]["admin"]) == (True, False)
        assert (rows["ops"]["expires"], rows["isp"]["expires"]) == ("3000-01-01T00:00:00Z", None)
        shown = world.run("subscriber", "list", by=forks).out
        assert "demo/clear demo/hashed" in shown
        secrets = [token_of(world, name) for name in rows]
        secrets += [path.stem for path in document(world, "ops").parent.iterdir()]
        assert not [secret for secret in secrets if secret in ran.out + shown]

    def test_a_damaged_document_is_told_and_hides_nobody(self, world: World, forks: Forks) -> None:
        path = document(world, "proxy")
        path.write_text("{")
        ran = world.run("subscriber", "list", "--json", by=forks)
        (warning,) = ran.json["warnings"]
        assert [row["name"] for row in ran.json["subscribers"]] == ["isp"]
        assert (path.stem[:12] in warning, path.stem in ran.out + ran.err) == (True, False)
        assert "warning: private/enrolments/" in ran.err

    def test_a_home_with_trust_state_alone(self, world: World, forks: Forks) -> None:
        home = world.folder / "desk"
        home.mkdir()
        (home / "trust.json").write_bytes((world.folder / "home" / "trust.json").read_bytes())
        desk = World(world.folder, {"BLOCKLIST_HOME": "desk"})
        assert desk.done("subscriber", "renew", ISP, "--expires", "2999-12-31", by=forks)["changed"]
        assert desk.done("subscriber", "revoke", ISP, by=forks)["changed"]
        assert len(desk.done("subscriber", "list", by=forks)["subscribers"]) == 2

    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            ("renew isp", "Missing option '--expires'"),
            ("renew isp --expires 2001-01-01", "in the future"),
            ("renew isp --expires soon", "expected a date"),
            ("renew nobody --expires never", "no subscriber 'nobody'"),
            ("revoke", "Missing argument"),
            ("revoke nobody", "no subscriber 'nobody'"),
            ("revoke http://a.example/x", "no subscriber 'hxxp://a[.]example/x'"),
            ("revoke isp --nonsense", "No such option"),
            ("list isp", "unexpected extra argument"),
        ],
    )
    def test_bad_usage(self, prepared: World, forks: Forks, words: str, complaint: str) -> None:
        assert complaint in prepared.refused(2, "subscriber", *words.split(), by=forks)

    @pytest.mark.parametrize("words", ["list", "revoke isp", "renew isp --expires never"])
    @pytest.mark.parametrize(
        ("option", "code"), [("--storage=file:nowhere", 10), ("--home=nowhere", 30)]
    )
    def test_places_that_are_none(
        self, prepared: World, forks: Forks, words: str, option: str, code: int
    ) -> None:
        prepared.refused(code, "subscriber", *words.split(), option, by=forks)
        assert not (prepared.folder / "nowhere").exists()
