"""Which S3 storages a publisher writes to, and how `init` and `status` learn of it."""

from pathlib import Path

import pytest

from blocklist.cli import storage as told
from blocklist.core.errors import InputError, LocalError
from blocklist.publisher import start, upkeep
from blocklist.publisher.settings import Settings
from tests.publisher_kit import Kit
from tests.s3_kit import FakeS3, refusal, serving


def test_init_makes_nothing_for_a_storage_that_ignores_conditions(tmp_path: Path) -> None:
    with serving(FakeS3("ignored")) as server:
        kit = Kit(tmp_path, server.store())
        with pytest.raises(LocalError, match="single_writer = true"):
            start.init_dev(kit.repository())
        assert not kit.home.keys_directory.exists()
        assert list(kit.store.list("")) == []


def test_publisher_runs_on_one_that_ignores_them_if_it_is_alone(tmp_path: Path) -> None:
    with serving(FakeS3("ignored")) as server:
        kit = Kit(tmp_path, server.store(single_writer=True))
        start.init_dev(kit.repository())
        start.create_list(kit.repository(), "demo")
        assert kit.publish("a.example/x\n").version == 1
        status = upkeep.status(kit.repository())
        assert told.text(status.storage) == [
            "storage: s3://bucket, conditional writes: ignored",
        ]
        assert "releases are lost" in status.warnings[0]


def test_status_names_what_was_found(tmp_path: Path) -> None:
    with serving(FakeS3("bare")) as server:
        kit = Kit(tmp_path, server.store())
        start.init_dev(kit.repository())
        status = upkeep.status(kit.repository())
        assert status.warnings == []
        assert told.document(status.storage) == {
            "storage": "s3://bucket",
            "conditional_writes": "If-Match bare",
            "usable": True,
            "warning": None,
        }


def test_status_works_for_who_may_only_read(tmp_path: Path) -> None:
    with serving(FakeS3()) as server:
        start.init_dev(Kit(tmp_path, server.store()).repository())
        denied = refusal(403, "AccessDenied")
        server.plan = lambda at: denied if at.method == "PUT" else None
        status = upkeep.status(Kit(tmp_path, server.store()).repository())
        assert len(status.roles) == 4
        assert told.text(status.storage) == ["storage: s3://bucket, conditional writes: unknown"]
        assert "not allowed" in status.warnings[0]


def test_folder_has_nothing_to_find(tmp_path: Path) -> None:
    kit = Kit.made(tmp_path, directory=True)
    status = upkeep.status(kit.repository())
    assert status.storage is None
    assert (told.text(None), told.document(None)) == ([], None)


def test_single_writer_is_a_setting_and_off_by_default() -> None:
    assert Settings().single_writer is False
    assert Settings.from_table({"single_writer": True}).single_writer is True
    for wrong in (1, "true", "yes"):
        with pytest.raises(InputError, match=r"publisher\.single_writer as true or false"):
            Settings.from_table({"single_writer": wrong})
