"""From BLOCKLIST_STORAGE to a store."""

import sys
from pathlib import Path

import pytest

from blocklist.core.errors import InputError, LocalError
from blocklist.store.open import open_store
from blocklist.store.s3 import S3Store


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file:store", "store"),
        ("file:./a/store", "a/store"),
        ("file:{}/store", "{}/store"),
        ("file://{}/store", "{}/store"),
        ("file:100%25 literal", "100%25 literal"),
    ],
)
def test_file_url_names_a_directory(
    url: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative to where the process is when it opens the store, wherever it goes then."""
    monkeypatch.chdir(tmp_path)
    store = open_store(url.format(tmp_path))
    assert list(tmp_path.iterdir()) == [], "opening creates nothing"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.put_new("private/a", b"1")
    assert (tmp_path / folder.format(tmp_path) / "private" / "a").read_bytes() == b"1"


@pytest.mark.parametrize(
    "url",
    ["", "store", "/srv/store", "file:", "file://", "file://host/dir", "file:a\0b", "ftp:x", ":x"],
)
def test_other_storage_is_refused_by_saying_what_is_expected(url: str) -> None:
    with pytest.raises(InputError, match="expected storage as file:DIR"):
        open_store(url)


def test_s3_url_names_a_bucket() -> None:
    store = open_store("s3://bucket/team?endpoint_url=https://s3.example")
    assert isinstance(store, S3Store)
    assert store.name == "s3://bucket/team"


def test_opening_s3_contacts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("connected"))
    assert open_store("s3://bucket?endpoint_url=http://127.0.0.1:9")


def test_s3_url_with_credentials_is_refused_without_repeating_it() -> None:
    with pytest.raises(InputError, match="without user") as refused:
        open_store("s3://bucket/prefix?endpoint_url=http://user:sesame@s3.example")
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize("package", ["boto3", "botocore"])
def test_s3_without_boto3_says_what_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("blocklist.store.s3")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(LocalError, match=r"extra \[server\]"):
        open_store("s3://bucket")


def test_folders_need_no_boto3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert open_store(f"file:{tmp_path}").get("private/a") is None
