"""`init`, `publish` and `status` on S3, as processes: what they find out, and what they say."""

from pathlib import Path

import pytest

from tests.cli_kit import World
from tests.s3_kit import CREDENTIALS, FakeS3, serving
from tests.services import S3Server

ENTRIES = "a.example/x\nb.example/\n"


@pytest.fixture
def world(tmp_path: Path, s3_server: S3Server, scheme: str) -> World:
    url = s3_server.url(s3_server.new_bucket(), scheme, "team/lists")
    return World(tmp_path, {"BLOCKLIST_STORAGE": url, **s3_server.environment})


def test_init_and_status_name_what_was_found(world: World, s3_server: S3Server) -> None:
    made = world.run("init", "--dev")
    assert made.code == 0, made
    line = next(line for line in made.out.splitlines() if line.startswith("storage: "))
    assert line.startswith("storage: s3://test-")
    if s3_server.ceph is not None:
        assert line.endswith("/team/lists, conditional writes: If-Match bare")
    world.done("list", "create", "demo")
    assert world.done("publish", "demo", "-", given=ENTRIES)["version"] == 1
    assert line in world.run("status").out.splitlines()
    found = world.done("status")["repository"]["storage"]
    assert found["usable"]
    assert f"conditional writes: {found['conditional_writes']}" in line
    assert world.done("fsck")["ok"]


def test_single_writer_reaches_the_storage(tmp_path: Path) -> None:
    with serving(FakeS3("ignored")) as server:
        url = f"s3://bucket/p?endpoint_url={server.endpoint}&region=us-east-1"
        world = World(tmp_path, {"BLOCKLIST_STORAGE": url, **CREDENTIALS})
        complaint = world.refused(30, "init", "--dev")
        assert "ignored by s3://bucket/p; two publishers at once would lose releases" in complaint
        alone = world.with_config("[publisher]\nsingle_writer = true\n")
        made = alone.run("init", "--dev")
        assert made.code == 0, made
        assert "blocklist: warning: conditional writes are ignored" in made.err
        shown = alone.run("status")
        assert shown.code == 0, shown
        assert "blocklist: warning: conditional writes are ignored" in shown.err
        assert "conditional writes: ignored" in shown.out


def test_missing_credentials_are_one_line(tmp_path: Path) -> None:
    nobody = {
        "BLOCKLIST_STORAGE": "s3://bucket?endpoint_url=http://127.0.0.1:9",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    complaint = World(tmp_path, nobody).refused(30, "init", "--dev")
    assert "no usable AWS credentials were found" in complaint


def test_unreachable_storage_is_10(tmp_path: Path) -> None:
    with serving(FakeS3()) as server:
        url = f"s3://bucket?endpoint_url={server.endpoint}"
    world = World(tmp_path, {"BLOCKLIST_STORAGE": url, **CREDENTIALS})
    assert "cannot be connected to" in world.refused(10, "init", "--dev")
