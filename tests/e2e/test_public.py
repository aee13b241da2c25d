"""Storage that strangers can reach: what they can read, and how subscribers pull from it."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from scripts.services.process import Daemon, answers, free_ports, require_until
from tests.cli_kit import STORE, World, enrol
from tests.cli_servers import serving, static
from tests.forks import Forks
from tests.services import S3Server, absent, program, used
from tests.subscriber_http import serve
from tests.subscriber_repo import Repo, lines_of

START_SECONDS = 30.0
PREFIX = "lists/eu"
READER = ("BLOCKLISTREADERKEY01", "blocklistreadersecret0000000000000000001")
_made_readers: set[int] = set()


def access(bucket: str, who: Any, actions: dict[str, list[str]]) -> str:
    """Return a bucket policy: actions, and the keys that they are for (empty: the bucket)."""
    statements = [
        {
            "Effect": "Allow",
            "Principal": who,
            "Action": f"s3:{action}",
            "Resource": [f"arn:aws:s3:::{bucket}/{key}".rstrip("/") for key in keys],
        }
        for action, keys in actions.items()
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


PUBLIC = [f"{PREFIX}/feed/metadata/*", f"{PREFIX}/feed/targets/*/hashed/*"]
READ_ALL = [f"{PREFIX}/feed/*"]


@dataclass(frozen=True)
class Bucket:
    """The prepared world, its storage in a bucket of a real S3 server."""

    world: World
    server: S3Server
    scheme: str
    name: str

    @property
    def url(self) -> str:
        """Where strangers find the storage."""
        return f"{self.server.endpoints[self.scheme]}/{self.name}/{PREFIX}"

    def allow(self, who: Any, **actions: list[str]) -> None:
        policy = access(self.name, who, actions)
        self.server.client().put_bucket_policy(Bucket=self.name, Policy=policy)


@pytest.fixture(name="bucket")
def _bucket(prepared: World, s3_server: S3Server, scheme: str, tmp_path: Path) -> Bucket:
    world = prepared.copied(tmp_path)
    client, name = s3_server.client(), s3_server.new_bucket()
    for path in (path for path in world.store.rglob("*") if path.is_file()):
        key = path.relative_to(world.store).as_posix()
        if not key.startswith("."):
            client.put_object(Bucket=name, Key=f"{PREFIX}/{key}", Body=path.read_bytes())
    shutil.rmtree(world.store)
    own = {"BLOCKLIST_STORAGE": s3_server.url(name, scheme, PREFIX), **s3_server.environment}
    if scheme == "https":
        own["REQUESTS_CA_BUNDLE"] = str(s3_server.ca_file)
    return Bucket(replace(world, environment=own), s3_server, scheme, name)


def readable(world: World, url: str, code: int, by: Forks) -> dict[str, Any]:
    ran = world.run("fsck", "--public", url, "--json", by=by)
    assert ran.code == code, ran
    assert ran.json["ok"] == (code == 0)
    (found,) = ran.json["public"]
    assert found["url"] == url
    assert bool(found["problems"]) == (code != 0)
    return dict(found)


class TestBucket:
    def test_a_right_policy(self, bucket: Bucket, forks: Forks) -> None:
        """Strangers get metadata and the hashed feed; what is missing is 403 to them."""
        bucket.allow("*", GetObject=PUBLIC)
        found = readable(bucket.world, bucket.url, 0, forks)
        assert [kind for kind, read in found["readable"].items() if read] == [
            "metadata",
            "hashed targets",
        ]
        source = f"static+{bucket.url}/feed"
        enrol(bucket.world, "stranger", "hashed", source, by=forks)
        for changed in (True, False):
            (pulled,) = bucket.world.done("pull", state="stranger", by=forks)["lists"]
            assert (pulled["changed"], pulled["to"], pulled["warnings"]) == (changed, 2, [])
        enrol(bucket.world, "curious", "clear", source, by=forks)
        ran = bucket.world.run("pull", "--json", state="curious", by=forks)
        assert (ran.code, ran.json["lists"]) == (10, [])

    def test_a_policy_that_opens_everything(self, bucket: Bucket, forks: Forks) -> None:
        bucket.allow("*", GetObject=["*"], ListBucket=[""])
        found = readable(bucket.world, bucket.url, 13, forks)
        assert all(found["readable"].values())
        told = "\n".join(found["problems"])
        for what in ("clear targets", "private objects", "?list-type=2", "private/enrolments"):
            assert what in told

    def test_a_policy_that_opens_one_folder_too_many(self, bucket: Bucket, forks: Forks) -> None:
        bucket.allow("*", GetObject=[*PUBLIC, f"{PREFIX}/feed/targets/*"])
        found = readable(bucket.world, bucket.url, 13, forks)
        assert found["readable"]["clear targets"]
        assert not found["readable"]["private objects"]
        assert not found["readable"]["listings"]

    def test_a_list_of_keys_for_everybody(self, bucket: Bucket, forks: Forks) -> None:
        bucket.server.client().put_bucket_acl(Bucket=bucket.name, ACL="public-read")
        found = readable(bucket.world, bucket.url, 13, forks)
        assert [kind for kind, read in found["readable"].items() if read] == ["listings"]

    def test_a_closed_bucket(self, bucket: Bucket, forks: Forks) -> None:
        ran = bucket.world.run("fsck", "--public", bucket.url, by=forks)
        assert ran.code == 0
        assert "is it the right address?" in ran.err
        enrol(bucket.world, "stranger", "hashed", f"static+{bucket.url}/feed", by=forks)
        assert bucket.world.run("pull", state="stranger", by=forks).code == 15

    def test_the_storage_itself_is_a_source(self, bucket: Bucket, forks: Forks) -> None:
        """Without --source, as with a folder."""
        words = ("subscriber", "add", "own", "--list", "demo", "--feed", "clear")
        bucket.world.done(*words, "--out", "own.json", by=forks)
        bucket.world.done("enrol", "own.json", "--accept-dev", state="own", by=forks)
        for changed in (True, False):
            (pulled,) = bucket.world.done("pull", state="own", by=forks)["lists"]
            assert (pulled["changed"], pulled["to"]) == (changed, 2)
            assert pulled["sources"][0]["source"] == f"s3://{bucket.name}/{PREFIX}/feed"

    def test_keys_that_may_read_but_not_list(self, bucket: Bucket, forks: Forks) -> None:
        """To them the bucket says 403 for what it lacks, such as the next root."""
        ceph = bucket.server.ceph
        if ceph is None:
            absent("S3 users", "the server that was named makes none for us")
        if id(ceph) not in _made_readers:
            ceph.make_user("reader", *READER)
            _made_readers.add(id(ceph))
        url = bucket.server.url(bucket.name, bucket.scheme, f"{PREFIX}/feed")
        enrol(bucket.world, "reader", "clear", url, by=forks)
        keys = dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), READER, strict=True))
        reader = replace(bucket.world, environment=bucket.world.environment | keys)
        ran = reader.run("pull", state="reader", by=forks)
        assert (ran.code, "not allowed" in ran.err) == (10, True)
        assert READER[0] not in ran.err
        bucket.allow({"AWS": ["arn:aws:iam:::user/reader"]}, GetObject=READ_ALL)
        for changed in (True, False):
            (pulled,) = reader.done("pull", state="reader", by=forks)["lists"]
            assert (pulled["changed"], pulled["to"]) == (changed, 2)


def test_the_api_shows_strangers_nothing(world: World, forks: Forks) -> None:
    with serving(world) as api:
        found = readable(world, api.url, 0, forks)
    assert not any(found["readable"].values())


def test_a_web_server_over_everything_is_found(world: World, forks: Forks) -> None:
    with static(world.store) as web:
        found = readable(world, web.url, 13, forks)
    assert all(found["readable"].values())


def test_a_web_server_over_the_feed(world: World, forks: Forks) -> None:
    with static(world.store / "feed") as web:
        found = readable(world, web.url, 13, forks)
    assert not found["readable"]["private objects"]
    assert found["readable"]["clear targets"]
    assert found["readable"]["listings"]


NGINX = """\
{user}
daemon off;
pid {folder}/pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    server {{
        listen 127.0.0.1:{port};
        {locations}
    }}
}}
"""
RIGHT = "location ~ ^/feed/(metadata|targets/[a-z0-9-]+/hashed)/ {{ root {store}; }}"


@contextmanager
def nginx(request: pytest.FixtureRequest, world: World, locations: str) -> Iterator[str]:
    """Run an nginx over a world's storage; give its URL."""
    used(request, "nginx")
    folder = world.folder / "nginx"
    folder.mkdir()
    port = free_ports(1)
    user = "user root;" if os.geteuid() == 0 else ""
    text = locations.format(store=world.store)
    (folder / "conf").write_text(NGINX.format(user=user, folder=folder, port=port, locations=text))
    daemon = Daemon(
        folder, "nginx", [program("nginx", "nginx"), "-p", str(folder), "-c", str(folder / "conf")]
    )
    daemon.start()
    try:
        require_until("nginx", lambda: answers(port), START_SECONDS, daemon)
        yield f"http://127.0.0.1:{port}"
    finally:
        daemon.stop()


class TestNginx:
    def test_the_hashed_feed_alone(
        self, request: pytest.FixtureRequest, world: World, forks: Forks
    ) -> None:
        with nginx(request, world, RIGHT) as url:
            for address in (url, f"{url}/feed"):
                found = readable(world, address, 0, forks)
                assert [kind for kind, read in found["readable"].items() if read] == [
                    "metadata",
                    "hashed targets",
                ]

    def test_a_slash_too_many(
        self, request: pytest.FixtureRequest, world: World, forks: Forks
    ) -> None:
        """nginx then serves what lies beside the folder, as `/feed../private/`."""
        with nginx(request, world, "location /feed {{ alias {store}/feed/; }}") as url:
            found = readable(world, url, 13, forks)
        assert any("/feed../private/" in problem for problem in found["problems"])

    def test_an_index(self, request: pytest.FixtureRequest, world: World, forks: Forks) -> None:
        index = RIGHT.replace("root", "autoindex on; root")
        with nginx(request, world, index) as url:
            found = readable(world, url, 13, forks)
        assert [kind for kind, read in found["readable"].items() if read] == [
            "metadata",
            "hashed targets",
            "listings",
        ]


def test_an_address_where_nobody_answers(world: World, forks: Forks) -> None:
    complaint = world.refused(10, "fsck", "--public", "http://127.0.0.1:1", by=forks)
    assert "127.0.0.1:1" in complaint


@pytest.mark.parametrize("url", ["ftp://x.example", "x.example", "http://a:b@x.example", "-"])
def test_what_is_no_address(world: World, forks: Forks, url: str) -> None:
    world.refused(2, "fsck", "--public", url, by=forks)


@pytest.fixture(name="other")
def _other() -> Iterator[str]:
    """A server that asks for a password."""
    repo = Repo()
    repo.release(lines_of(1))
    with serve(repo, login="isp:a-password") as served:
        yield served.url


class TestCredentialsFromFiles:
    def add(self, world: World, by: Forks, *sources: str) -> Any:
        given = [word for source in sources for word in ("--source", source)]
        words = ("subscriber", "add", "new", "--list", "demo", "--feed", "clear", *given)
        return world.run(*words, "--out", "new.json", by=by)

    def test_sources_keep_their_order_and_credentials(
        self, world: World, forks: Forks, other: str
    ) -> None:
        """No argument, which everybody on the machine can read, holds a secret."""
        source = {"url": f"static+{other}/feed", "user": "isp", "password": "a-password"}
        mirror = {"url": "https://mirror.example", "token": "another-token"}
        files = [
            f"@{world.file(f'{n}.json', json.dumps(one))}" for n, one in enumerate((source, mirror))
        ]
        ran = self.add(world, forks, files[0], f"file:{STORE}/feed", files[1])
        assert ran.code == 0, ran
        assert "a-password" not in ran.out + ran.err
        enrolment = json.loads((world.folder / "new.json").read_text())
        assert enrolment["sources"] == [source, {"url": f"file:{STORE}/feed"}, mirror]
        world.done("enrol", "new.json", "--accept-dev", state="new", by=forks)
        (pulled,) = world.done("pull", state="new", by=forks)["lists"]
        # The first server has another repository: the password was right, its metadata is not.
        assert [one["outcome"] for one in pulled["sources"]] == ["tampered", "used"]

    @pytest.mark.parametrize(
        "text",
        [
            "no JSON",
            "[]",
            '{"token": "secret-word"}',
            '{"url": "https://x.example", "passwd": "secret-word"}',
            '{"url": "https://x.example", "user": "isp", "password": "secret-word"}',
            '{"url": "static+https://x.example", "password": "secret-word"}',
            '{"url": "static+https://x.example", "token": "secret word"}',
            '{"url": "https://x.example", "token": "secret-word", "token": "secret-word"}',
            '{"url": "ftp://secret-word.example"}',
        ],
    )
    def test_what_is_no_source(self, world: World, forks: Forks, text: str) -> None:
        ran = self.add(world, forks, f"@{world.file('source.json', text)}")
        assert ran.code == 2
        assert "secret" not in ran.complaint
        assert not (world.folder / "new.json").exists()

    def test_a_file_that_is_not_there(self, world: World, forks: Forks) -> None:
        ran = self.add(world, forks, "@nowhere.json")
        assert (ran.code, "nowhere.json" in ran.complaint) == (2, True)
