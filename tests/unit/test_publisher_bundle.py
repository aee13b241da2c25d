"""Bundles for auditors: whole, the same each time, and harmless however they were altered."""

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from blocklist.core.errors import BlocklistError, InputError, LocalError, MalformedFeed
from blocklist.publisher.accounts import Account
from blocklist.publisher.audit import bundle as bundles
from blocklist.publisher.audit.bundle import MANIFEST, Bundle, Manifest
from blocklist.publisher.audit.export import export
from blocklist.publisher.audit.report import Report
from blocklist.publisher.audit.run import audit_bundle, pinned_root
from blocklist.store import layout
from signing import roles, verify
from signing.errors import Tampered, TrustError
from tests.history_kit import Past
from tests.publisher_kit import LIST, Kit, without_sync


@pytest.fixture(autouse=True)
def _without_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sync(monkeypatch)


@pytest.fixture
def past(tmp_path: Path) -> Past:
    """Versions 1, 2, 3, 5, 6 and 7, the last two under other keys."""
    past = Past.made(tmp_path, people=2, threshold=2)
    past.release(added=["u a.example/x", "h b.example"], reason="weekly")
    past.release(removed=["h b.example"], operation="withdraw")
    past.release(added=["h c.example"], version=5)
    past.commit()
    past.rotate([CryptoSigner.generate_ed25519()])
    past.release(added=["h d.example"])
    past.release()
    past.commit()
    return past


def exported(past: Past, first: int = 1, last: int | None = None) -> Path:
    path = past.kit.folder / "bundle.zip"
    path.unlink(missing_ok=True)
    export(past.kit.repository(), LIST, str(path), first=first, last=last)
    return path


def audited(path: Path, kit: Kit) -> Report:
    """Audit a bundle from the first root, without storage and home."""
    with Bundle(str(path)) as bundle:
        return audit_bundle(bundle, verify.self_signed_root(kit.root()))


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("first", "last", "versions"),
    [
        (1, None, [1, 2, 3, 5, 6, 7]),
        (2, 5, [2, 3, 5]),
        (4, 6, [5, 6]),
        (3, 4, [3]),
        (1, 1, [1]),
        (7, 7, [7]),
    ],
)
def test_a_bundle_of_any_range_is_verified_offline(
    past: Past, first: int, last: int | None, versions: list[int]
) -> None:
    path = exported(past, first, last)
    report = audited(path, past.kit)
    assert report.problems == []
    assert (report.first, report.last) == (versions[0], versions[-1])
    assert report.checked["records"] == report.checked["accounts"] == len(versions)
    assert report.checked.get("rebuilt lists", 0) == int(first == 1)
    files = contents(path)
    assert json.loads(files[MANIFEST])["from"] == versions[0]
    assert sum(".demo.json" in name for name in files) == len(versions)


def test_a_bundle_holds_no_secret_and_no_list(past: Past) -> None:
    for name in contents(exported(past)):
        assert name.startswith(
            ("feed/metadata/", "private/records/", "private/releases/", MANIFEST)
        )


def test_the_same_past_gives_the_same_bundle_readable_by_its_owner_only(past: Path) -> None:
    once = exported(past).read_bytes()
    path = exported(past)
    assert path.read_bytes() == once
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_there_is_never_overwritten(past: Past, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("precious")
    with pytest.raises(LocalError, match="not touched"):
        export(past.kit.repository(), LIST, str(tmp_path / "there"))
    assert (tmp_path / "there").read_text() == "precious"


@pytest.mark.parametrize(("first", "last"), [(8, None), (5, 3), (1, 8), (4, 4), (0, 3)])
def test_a_range_without_release_is_bad_input_and_leaves_nothing(
    past: Past, tmp_path: Path, first: int, last: int | None
) -> None:
    with pytest.raises(InputError):
        export(past.kit.repository(), LIST, str(tmp_path / "out"), first=first, last=last)
    assert not (tmp_path / "out").exists()


def test_what_is_damaged_is_not_exported(past: Past, tmp_path: Path) -> None:
    for key in (past.record_key(3), past.role_key(2), layout.METADATA + "2.targets.json"):
        data = past.kit.memory.objects[key]
        past.kit.memory.plant(key, b"x")
        with pytest.raises((BlocklistError, TrustError)):
            export(past.kit.repository(), LIST, str(tmp_path / "out"))
        assert not (tmp_path / "out").exists()
        past.kit.memory.plant(key, data)


def test_a_list_without_release_has_nothing_to_export(past: Past, tmp_path: Path) -> None:
    past.kit.create("new")
    with pytest.raises(InputError, match="has none"):
        export(past.kit.repository(), "new", str(tmp_path / "out"))


# Whom to trust.


def test_a_bundle_of_another_repository_is_not_believed(past: Past, tmp_path: Path) -> None:
    other = Past.made(tmp_path / "other")
    other.commit()
    with pytest.raises(Tampered, match="trusted root"):
        audited(exported(other), past.kit)


def test_the_root_in_the_bundle_with_the_fingerprint_is_trusted(past: Past) -> None:
    with Bundle(str(exported(past))) as bundle:
        root = verify.self_signed_root(past.kit.root())
        assert pinned_root(bundle, root.digest).data == root.data
        with pytest.raises(InputError, match="fingerprint"):
            pinned_root(bundle, "0" * 64)


def test_a_newest_release_that_its_keys_did_not_sign_is_not_believed(past: Past) -> None:
    """Nothing names the newest one by its digest, so its signatures have to hold."""
    path = exported(past)
    files = contents(path)
    forged = roles.seal(LIST, past.roles[7].signed, [CryptoSigner.generate_ed25519()])
    files[past.role_key(7)] = forged.data
    with pytest.raises(Tampered, match="expected 1 valid signatures"):
        audited(packed(path, files), past.kit)


def test_a_bundle_cannot_bring_its_own_targets_role(past: Past, tmp_path: Path) -> None:
    """A history made up from nothing, with the real roots put into it."""
    forger = Past.made(tmp_path / "forger", people=2, threshold=2)
    forger.release(added=["h e.example"])
    forger.commit()
    path = exported(forger)
    files = contents(path)
    files[layout.METADATA + "1.root.json"] = past.kit.root()
    with pytest.raises(Tampered, match="targets keys of a root"):
        audited(packed(path, files), past.kit)


# Damage.


def damaged(past: Past, change: Callable[[dict[str, bytes]], None], first: int = 1) -> Report:
    path = exported(past, first)
    files = contents(path)
    change(files)
    return audited(packed(path, files), past.kit)


def test_what_was_taken_out_or_altered_is_found(past: Past) -> None:
    def change(files: dict[str, bytes]) -> None:
        del files[past.record_key(3)]
        files[past.record_key(5)] = files[past.record_key(2)]
        files[past.role_key(1)] = b"x"

    report = damaged(past, change)
    assert [one.version for one in report.problems] == [5, 3, 1]


def test_a_manifest_that_claims_an_older_beginning_is_found(past: Past) -> None:
    def change(files: dict[str, bytes]) -> None:
        files[MANIFEST] = Manifest(LIST, 1, 7).to_bytes()

    assert {one.version for one in damaged(past, change, first=3).problems} >= {2}


def test_the_account_of_the_newest_release_cannot_be_taken_out(past: Past) -> None:
    def change(files: dict[str, bytes]) -> None:
        (key,) = (name for name in files if "releases" in name)
        account = Account.from_bytes(files.pop(key))
        assert account.version == 7

    (problem,) = damaged(past, change).problems
    assert (problem.version, "lost" in problem.text) == (7, True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no archive",
        b"PK\x05\x06" + bytes(18),
        b"PK\x05\x06" + b"\xff" * 16 + b"\0\0",
        b"PK\x05\x06" + b"\xff" * 18,
        b"x" * 5_000,
    ],
)
def test_what_is_no_bundle_is_malformed(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file.zip").write_bytes(data)
    with pytest.raises(MalformedFeed):
        Bundle(str(tmp_path / "file.zip"))


def test_a_file_that_cannot_be_read_is_bad_input(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nosuch.zip"):
        with pytest.raises(InputError):
            Bundle(str(path))


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/passwd", "feed/metadata/timestamp.json", "private/lists/demo.json", "x"],
)
def test_a_bundle_with_anything_else_in_it_is_malformed(past: Past, name: str) -> None:
    with pytest.raises(MalformedFeed):
        damaged(past, lambda files: files.update({name: b"x"}))


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format": 2, "list": "demo", "from": 1, "to": 7}',
        b'{"format": 1, "list": "demo", "from": 5, "to": 2}',
        b'{"format": 1, "list": "demo", "from": 0, "to": 7}',
        b'{"format": 1, "list": "../x", "from": 1, "to": 7}',
        b'{"format": 1, "list": "root", "from": 1, "to": 1}',
        b'{"format": 1, "list": "demo", "from": 1, "to": 8}',
        b" " * 10_000,
    ],
)
def test_a_bad_manifest_is_a_typed_error(past: Past, manifest: bytes) -> None:
    with pytest.raises(BlocklistError):
        damaged(past, lambda files: files.update({MANIFEST: manifest}))


def test_a_bundle_without_manifest_is_malformed(past: Past) -> None:
    with pytest.raises(MalformedFeed):
        damaged(past, lambda files: files.pop(MANIFEST) and None)


def test_an_object_that_is_there_twice_is_malformed(past: Past) -> None:
    path = exported(past)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(MANIFEST, b"{}")
    with pytest.raises(MalformedFeed, match="once"):
        Bundle(str(path))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_malformed(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as archive:
        archive.writestr(MANIFEST, Manifest(LIST, 1, 1).to_bytes())
    with pytest.raises(MalformedFeed, match="stored or deflated"):
        Bundle(str(tmp_path / "x.zip"))


def test_an_object_that_unpacks_to_too_much_is_found_not_read(past: Past) -> None:
    """A zip bomb in place of a role file."""
    path = exported(past)
    files = contents(path)
    files[past.role_key(3)] = bytes(50_000_000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    problems = audited(path, past.kit).problems
    assert [one.version for one in problems] == [3]
    assert "at most" in problems[0].text


def test_a_directory_that_would_take_too_much_memory_is_refused(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = exported(past)
    monkeypatch.setattr(bundles, "MAX_DIRECTORY_BYTES", 100)
    with pytest.raises(MalformedFeed, match="directory"):
        Bundle(str(path))
    monkeypatch.setattr(bundles, "MAX_BUNDLE_BYTES", 100)
    with pytest.raises(MalformedFeed, match="at most 100"):
        Bundle(str(path))


def test_the_directory_of_a_large_archive_is_looked_at_too(tmp_path: Path) -> None:
    """The record for more than 65,535 objects tells another size than the one at the very end."""
    large = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 1 << 60, 0)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, 0, 1)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 46, 0, 0)
    (tmp_path / "x.zip").write_bytes(large + locator + end)
    with pytest.raises(MalformedFeed, match="directory"):
        Bundle(str(tmp_path / "x.zip"))


def test_an_archive_with_more_than_65535_objects_can_be_read(tmp_path: Path) -> None:
    with bundles.new_bundle(str(tmp_path / "x.zip")) as writer:
        for number in range(70_000):
            writer.put(f"feed/metadata/{number + 1}.demo.json", b"")
        writer.put(MANIFEST, Manifest(LIST, 1, 70_000).to_bytes())
    with Bundle(str(tmp_path / "x.zip")) as bundle:
        assert bundle.manifest.last == 70_000
        assert sum(1 for _ in bundle.list("feed/")) == 70_000


def test_any_bytes_end_in_a_report_or_a_typed_error(past: Past) -> None:
    path = exported(past)
    whole = path.read_bytes()
    for seed in range(150):
        rng = random.Random(seed)
        data = bytearray(whole)
        for _ in range(rng.choice([1, 1, 3, 40])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        path.write_bytes(bytes(data))
        try:
            report = audited(path, past.kit)
        except (BlocklistError, TrustError):
            continue
        if not report.problems:  # the damage must have hit nothing: a time, an attribute
            with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
                assert archive.testzip() is None, seed
