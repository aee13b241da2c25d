"""The bucket policies that ship, on the real S3 server: what is allowed works, all else is 403."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from scripts.services import buckets
from tests import cli_kit
from tests.cli_kit import World
from tests.cli_servers import serving
from tests.nginx_kit import get, running
from tests.services import S3Server, absent, used

POLICIES = Path(__file__).parents[2] / "config" / "policies"
USERS = ("publisher", "analyst", "refresher", "janitor", "api")
EVERYBODY = "public-reader"
KEYS = {
    "timestamp": "feed/metadata/timestamp.json",
    "snapshot": "feed/metadata/7.snapshot.json",
    "root": "feed/metadata/1.root.json",
    "role": "feed/metadata/3.demo.json",
    "hashed": "feed/targets/demo/hashed/" + "0" * 64 + ".list",
    "clear": "feed/targets/demo/clear/" + "0" * 64 + ".list",
    "enrolment": "private/enrolments/" + "0" * 64 + ".json",
    "secret": "private/lists/demo.json",
    "record": "private/records/demo/" + "0" * 64 + ".json.gz",
    "candidate": "private/candidates/demo/" + "0" * 64 + ".zip",
    "approval": "private/approvals/demo/" + "0" * 64 + "/" + "1" * 64 + ".json",
    "void": "private/voids/demo/" + "0" * 64 + ".json",
    "account": "private/releases/demo/" + "0" * 64 + ".json",
    "running": "private/gc/running.json",
    "probe": "private/probe/scratch",
    "foreign": "elsewhere/file",
}
FEED = {"timestamp", "snapshot", "root", "role", "hashed", "clear"}
METADATA = {"timestamp", "snapshot", "root", "role"}
OURS = KEYS.keys() - {"foreign"}
CURATION = {"candidate", "approval", "void"}
READS = {
    "publisher": OURS,
    "analyst": FEED | CURATION | {"secret", "record", "account", "probe"},
    "refresher": METADATA | {"probe"},
    "janitor": FEED | {"candidate", "approval", "running", "probe"},
    "api": FEED | {"enrolment", "secret"},
    EVERYBODY: METADATA | {"hashed"},
}
WRITES = {
    "publisher": OURS,
    "analyst": CURATION | {"secret", "probe"},
    "refresher": {"timestamp", "snapshot", "probe"},
    "janitor": {"hashed", "clear", "running", "probe"},
    "api": set[str](),
    EVERYBODY: set[str](),
}
DELETES = {
    "publisher": {"probe"},
    "analyst": {"probe"},
    "refresher": {"probe"},
    "janitor": {"hashed", "clear", "snapshot", "candidate", "approval", "running", "probe"},
    "api": set[str](),
    EVERYBODY: set[str](),
}


@dataclass(frozen=True)
class Bucket:
    """A bucket with the policies that ship.

    Attributes:
        name: The bucket.
        prefix: What all keys begin with.
        owner: A client that may do everything.
        clients: A client for each user.
    """

    name: str
    prefix: str
    owner: Any
    clients: Mapping[str, Any]

    def fill(self) -> None:
        for key in KEYS.values():
            self.owner.put_object(Bucket=self.name, Key=self.prefix + key, Body=b"x")


def policy(bucket: str, prefix: str, *names: str) -> str:
    """Return the policy files as one policy, edited as their README says."""
    files = [json.loads((POLICIES / f"{name}.json").read_text()) for name in names]
    statements = [statement for file in files for statement in file["Statement"]]
    text = json.dumps({"Version": files[0]["Version"], "Statement": statements})
    placed = re.sub(r":::hotline-blocklist/", f":::{bucket}/{prefix}", text)
    return placed.replace(":::hotline-blocklist", f":::{bucket}")


@pytest.fixture(scope="module", name="keys")
def _keys(s3_server: S3Server) -> dict[str, dict[str, str]]:
    """Make the users, and return the credentials of each."""
    if s3_server.ceph is None:
        absent("S3 users", "the server that was named makes none for us")
    found = {}
    for name in USERS:
        access, secret = f"POLICY{name.upper()}", f"secret-of-{name}-" + "0" * 20
        s3_server.ceph.make_user(f"blocklist-{name}", access, secret)
        found[name] = {"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret}
    return found


@pytest.fixture(scope="module", name="prefix", params=["", "lists/main/"], ids=["", "prefix"])
def _prefix(request: pytest.FixtureRequest) -> str:
    prefix: str = request.param
    return prefix


@pytest.fixture(scope="module", name="bucket")
def _bucket(prefix: str, s3_server: S3Server, keys: dict[str, dict[str, str]]) -> Bucket:
    """A bucket for the users."""
    return made(prefix, s3_server, keys, *USERS)


@pytest.fixture(scope="module", name="opened")
def _opened(prefix: str, s3_server: S3Server, keys: dict[str, dict[str, str]]) -> Bucket:
    """A bucket for the users and everybody."""
    return made(prefix, s3_server, keys, *USERS, EVERYBODY)


def made(prefix: str, s3_server: S3Server, keys: dict[str, dict[str, str]], *names: str) -> Bucket:
    """Return a new bucket with these policies and all objects."""
    owner, name = s3_server.client(), s3_server.new_bucket()
    owner.put_bucket_policy(Bucket=name, Policy=policy(name, prefix, *names))
    clients = {
        user: buckets.client(s3_server.endpoints["http"], *pair.values(), None)
        for user, pair in keys.items()
    }
    bucket = Bucket(name, prefix, owner, clients)
    bucket.fill()
    return bucket


@pytest.fixture(autouse=True)
def _counted(request: pytest.FixtureRequest) -> None:
    used(request, "S3 over http")


def status(function: Any, **arguments: Any) -> int:
    """Return the HTTP status of an S3 operation."""
    try:
        answer = function(**arguments)
    except ClientError as error:
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
    return int(answer["ResponseMetadata"]["HTTPStatusCode"])


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("what", sorted(KEYS))
def test_a_user_reads_and_writes_what_the_policy_says(bucket: Bucket, user: str, what: str) -> None:
    s3, where = bucket.clients[user], {"Bucket": bucket.name, "Key": bucket.prefix + KEYS[what]}
    assert status(s3.get_object, **where) == (200 if what in READS[user] else 403)
    assert status(s3.put_object, **where, Body=b"y") == (200 if what in WRITES[user] else 403)
    assert status(s3.delete_object, **where) == (204 if what in DELETES[user] else 403)
    for acl in ("public-read", "public-read-write", "authenticated-read"):
        assert status(s3.put_object_acl, **where, ACL=acl) in {403, 404}
        assert status(s3.put_object, **where, Body=b"y", ACL=acl) == 403
    bucket.fill()


@pytest.mark.parametrize("what", sorted(KEYS))
def test_everybody_reads_the_hashed_feed_and_nothing_else(
    opened: Bucket, s3_server: S3Server, what: str
) -> None:
    url = f"{s3_server.endpoints['http']}/{opened.name}/{opened.prefix}{KEYS[what]}"
    expected = 200 if what in READS[EVERYBODY] else 403
    assert requests.get(url, timeout=30).status_code == expected
    assert requests.put(url, data=b"y", timeout=30).status_code == 403
    assert requests.delete(url, timeout=30).status_code == 403


def test_everybody_may_not_list(opened: Bucket, s3_server: S3Server) -> None:
    url = f"{s3_server.endpoints['http']}/{opened.name}"
    assert requests.get(url, timeout=30).status_code == 403
    assert requests.get(f"{url}?policy", timeout=30).status_code == 403


@pytest.mark.parametrize("user", USERS)
def test_to_users_a_missing_object_is_404(bucket: Bucket, user: str) -> None:
    missing = f"{bucket.prefix}feed/metadata/99.root.json"
    s3 = bucket.clients[user]
    assert status(s3.get_object, Bucket=bucket.name, Key=missing) == 404
    assert status(s3.list_objects_v2, Bucket=bucket.name) == 200


@pytest.mark.parametrize("user", USERS)
def test_no_user_may_change_the_bucket(bucket: Bucket, user: str) -> None:
    s3, where = bucket.clients[user], {"Bucket": bucket.name}
    open_to_all = policy(bucket.name, bucket.prefix, EVERYBODY)
    assert status(s3.put_bucket_policy, **where, Policy=open_to_all) == 403
    assert status(s3.delete_bucket, **where) == 403
    assert status(s3.put_bucket_acl, **where, ACL="public-read") == 403


@pytest.mark.parametrize("what", sorted(KEYS))
def test_without_the_public_policy_nothing_is_public(
    bucket: Bucket, s3_server: S3Server, what: str
) -> None:
    url = f"{s3_server.endpoints['http']}/{bucket.name}/{bucket.prefix}{KEYS[what]}"
    assert requests.get(url, timeout=30).status_code == 403


@pytest.fixture(name="world")
def _world(
    prefix: str, s3_server: S3Server, keys: dict[str, dict[str, str]], tmp_path: Path
) -> tuple[Bucket, dict[str, World]]:
    """A bucket with a published list, and one folder as each user sees it."""
    bucket = made(prefix, s3_server, keys, *USERS, EVERYBODY)
    for key in KEYS.values():
        bucket.owner.delete_object(Bucket=bucket.name, Key=prefix + key)
    url = s3_server.url(bucket.name, "https", prefix)
    places = {"BLOCKLIST_STORAGE": url}
    world = {user: World(tmp_path, places | environment) for user, environment in keys.items()}
    world["publisher"].done("init", "--dev")
    world["publisher"].done("list", "create", "demo")
    world["publisher"].done("publish", "demo", "-", given=cli_kit.pages(0, 50))
    return bucket, world


def test_publisher_refresher_and_api_do_their_work_with_their_own_rights(
    world: tuple[Bucket, dict[str, World]],
) -> None:
    _, by = world
    by["refresher"].done("refresh")
    with serving(by["api"]) as api:
        for who, feed in cli_kit.FEEDS.items():
            cli_kit.enrol(by["publisher"], who, feed, api.url)
            assert by["publisher"].done("pull", state=who)["lists"][0]["to"] == 1
    refused = by["refresher"].run("publish", "demo", "--add", "-", given="a.example\n")
    assert refused.code != 0
    assert by["api"].run("refresh").code != 0
    by["publisher"].done("publish", "demo", "--add", "-", given="a.example\n")
    assert len(by["publisher"].done("log", "demo")) == 2
    assert by["janitor"].done("gc")["gone"] == {}
    assert by["janitor"].run("refresh").code != 0


def test_analysts_do_their_work_with_their_own_rights(
    world: tuple[Bucket, dict[str, World]],
) -> None:
    _, by = world
    publisher, analyst = by["publisher"], by["analyst"]
    for name in ("dan", "eli"):
        publisher.done("keys", "new", name, "--no-passphrase")
    keys = [word for name in ("dan", "eli") for word in ("--key", f"home/keys/{name}.pub")]
    publisher.done("list", "create", "two", "--threshold", "2", *keys)
    digest = analyst.done("stage", "two", "-", given=cli_kit.pages(0, 9))["candidate"]
    assert analyst.done("review", "two", digest)["approvals"] == 0
    for name in ("dan", "eli"):
        analyst.done("approve", "two", digest, "--key", name)
    assert analyst.run("release", "two", digest).code == 30
    assert publisher.done("release", "two", digest)["version"] == 1
    rotation = analyst.done("list", "rotate-hash-key", "two", "--key", "dan")
    analyst.done("void", "two", rotation["staged"]["candidate"], "--reason", "not yet")
    assert analyst.done("audit", "verify", "two")["ok"]
    assert analyst.run("refresh").code == 30
    words = ("--list", "two", "--feed", "clear", "--out", "mine.json")
    assert analyst.run("subscriber", "add", "mine", *words).code == 30


def test_the_public_bucket_through_nginx(
    request: pytest.FixtureRequest,
    world: tuple[Bucket, dict[str, World]],
    s3_server: S3Server,
    tmp_path: Path,
) -> None:
    used(request, "nginx")
    bucket, _ = world
    edits = {
        "# include blocklist/public-bucket.conf;": "include blocklist/public-bucket.conf;",
        "proxy_pass https://s3.hotline.example;": f"proxy_pass {s3_server.endpoints['https']};",
        "proxy_ssl_name s3.hotline.example;": "proxy_ssl_name 127.0.0.1;",
        "/etc/ssl/certs/ca-certificates.crt": str(s3_server.ca_file),
        "/hotline-blocklist/feed/": f"/{bucket.name}/{bucket.prefix}feed/",
    }
    listed = bucket.owner.list_objects_v2(Bucket=bucket.name, Prefix=bucket.prefix)["Contents"]
    found = [item["Key"].removeprefix(bucket.prefix) for item in listed]
    assert {key.split("/")[0] for key in found} == {"feed", "private"}
    with running(tmp_path / "nginx", "127.0.0.1:9", edits) as nginx:
        for key in found:
            public = key.startswith("feed/metadata/") or "/hashed/" in key
            answer = get(nginx, f"/{key}", "somebodys-token")
            assert answer.status_code == (200 if public else 404)
            if public:
                mutable = key == KEYS["timestamp"]
                assert ("immutable" in answer.headers["Cache-Control"]) is not mutable
        assert get(nginx, "/feed/metadata/99.root.json").status_code == 404
