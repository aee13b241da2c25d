"""Key files: private, never overwritten, and refused as soon as anything about them is odd."""

import base64
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from signing import keys
from signing.errors import KeyTrouble, SignaturesMissing
from signing.keys import KeyFile

DATA = b"signed bytes"


class Died(BaseException):
    """The process died here."""


def nobody(path: Path) -> bytes:
    raise AssertionError(f"asked for a passphrase of {path}")


def saying(passphrase: bytes) -> keys.Passphrase:
    return lambda path: passphrase


@pytest.fixture
def key(tmp_path: Path) -> KeyFile:
    return keys.create(tmp_path / "keys" / "mine")


@pytest.fixture
def sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeyFile:
    monkeypatch.setattr(keys, "BCRYPT_ROUNDS", 1)
    return keys.create(tmp_path / "sealed", passphrase=b"correct horse")


def ecdsa(path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    path.with_name(path.name + ".pub").write_bytes(public)


def test_a_new_key_signs_and_its_public_file_verifies(key: KeyFile) -> None:
    signature = key.signer(nobody).sign(DATA)
    keys.read_public(Path(f"{key.path}.pub")).verify_signature(signature, DATA)


def test_a_new_key_is_for_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        key = keys.create(tmp_path / "new" / "key")
    finally:
        os.umask(before)
    assert key.path.stat().st_mode & 0o777 == 0o600
    assert key.path.parent.stat().st_mode & 0o777 == 0o700


def test_two_new_keys_differ(tmp_path: Path) -> None:
    assert keys.create(tmp_path / "a").public.keyid != keys.create(tmp_path / "b").public.keyid


def test_a_key_is_never_overwritten(key: KeyFile) -> None:
    before = key.path.read_bytes()
    with pytest.raises(KeyTrouble, match="never overwritten") as caught:
        keys.create(key.path)
    assert caught.value.exit_code == 30
    assert key.path.read_bytes() == before


def test_making_a_key_leaves_no_scrap(key: KeyFile) -> None:
    assert sorted(path.name for path in key.path.parent.iterdir()) == ["mine", "mine.pub"]


def test_a_public_file_of_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    public = tmp_path / "theirs.pub"
    public.write_bytes(b"somebody's")
    with pytest.raises(KeyTrouble):
        keys.create(tmp_path / "theirs")
    assert public.read_bytes() == b"somebody's"
    assert not (tmp_path / "theirs").exists()


def test_a_key_that_was_half_written_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash in the middle of `create` leaves no private key that cannot be read."""

    def die(descriptor: int) -> None:
        raise Died

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(Died):
        keys.create(tmp_path / "key")
    assert not (tmp_path / "key").exists()
    monkeypatch.undo()
    keys.create(tmp_path / "key").signer(nobody)


def test_an_interrupted_key_gets_its_public_file_back(key: KeyFile) -> None:
    """After a crash between the two files the private key is used, not replaced."""
    Path(f"{key.path}.pub").unlink()
    assert keys.find(key.path.parent) == []
    again = keys.restore_public(key.path, nobody)
    assert again.public.keyid == key.public.keyid
    assert [found.public.keyid for found in keys.find(key.path.parent)] == [key.public.keyid]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610, 0o601, 0o620])
def test_a_key_that_others_may_touch_is_refused(key: KeyFile, mode: int) -> None:
    key.path.chmod(mode)
    with pytest.raises(KeyTrouble, match="0600") as caught:
        key.signer(nobody)
    assert caught.value.exit_code == 30


def test_a_read_only_key_is_fine(key: KeyFile) -> None:
    key.path.chmod(0o400)
    assert key.signer(nobody).public_key.keyid == key.public.keyid


def test_a_passphrase_encrypts_with_bcrypt_in_openssh_format(sealed: KeyFile) -> None:
    text = sealed.path.read_bytes()
    assert text.startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    with pytest.raises((TypeError, ValueError), match="assword"):
        load_ssh_private_key(text, password=None)
    assert sealed.signer(saying(b"correct horse")).public_key.keyid == sealed.public.keyid


def test_the_bcrypt_rounds_are_costly() -> None:
    assert keys.BCRYPT_ROUNDS >= 64


def test_the_wrong_passphrase_is_refused(sealed: KeyFile) -> None:
    with pytest.raises(KeyTrouble, match="wrong passphrase") as caught:
        sealed.signer(saying(b"battery staple"))
    assert caught.value.exit_code == 30


def test_the_empty_passphrase_is_a_wrong_one(sealed: KeyFile) -> None:
    with pytest.raises(KeyTrouble):
        sealed.signer(saying(b""))


def test_nobody_is_asked_for_the_passphrase_of_a_plain_key(key: KeyFile) -> None:
    key.signer(nobody)


def test_the_public_file_of_another_key_is_refused(tmp_path: Path, key: KeyFile) -> None:
    other = keys.create(tmp_path / "other")
    public = Path(f"{key.path}.pub")
    public.write_bytes(Path(f"{other.path}.pub").read_bytes())
    (found,) = keys.find(key.path.parent)
    with pytest.raises(KeyTrouble, match="private half"):
        found.signer(nobody)


@pytest.mark.parametrize("keep", [0, 1, 40, 200, -30])
def test_a_truncated_key_is_refused(key: KeyFile, keep: int) -> None:
    key.path.write_bytes(key.path.read_bytes()[:keep])
    with pytest.raises(KeyTrouble):
        key.signer(nobody)


def test_random_bytes_are_no_key(key: KeyFile) -> None:
    key.path.write_bytes(os.urandom(400))
    with pytest.raises(KeyTrouble, match="damaged"):
        key.signer(nobody)


def test_a_missing_key_is_refused(key: KeyFile) -> None:
    key.path.unlink()
    with pytest.raises(KeyTrouble):
        key.signer(nobody)


def test_a_private_key_of_another_kind_is_refused(tmp_path: Path, key: KeyFile) -> None:
    ecdsa(tmp_path / "ec")
    with pytest.raises(KeyTrouble, match="Ed25519"):
        KeyFile(tmp_path / "ec", key.public).signer(nobody)


@pytest.mark.parametrize("kind", ["sk-ssh-ed25519@openssh.com", "ssh-ed448", "SQLite"])
def test_a_public_key_of_an_unknown_kind_is_refused(tmp_path: Path, kind: str) -> None:
    """Such as that of a security key, which people have beside their others."""
    (tmp_path / "odd.pub").write_text(f"{kind} AAAA somebody\n")
    for read in (lambda: keys.read_public(tmp_path / "odd.pub"), lambda: keys.find(tmp_path)):
        with pytest.raises(KeyTrouble, match=r"odd\.pub"):
            read()


def test_a_private_key_under_an_unknown_cipher_is_refused(sealed: KeyFile) -> None:
    first, *lines, last = sealed.path.read_text().splitlines()
    data = base64.b64decode("".join(lines)).replace(b"aes256-ctr", b"rot999-ctr")
    sealed.path.write_text("\n".join((first, base64.b64encode(data).decode(), last, "")))
    with pytest.raises(KeyTrouble, match="not known"):
        sealed.signer(saying(b"correct horse"))


def test_a_public_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    ecdsa(tmp_path / "ec")
    with pytest.raises(KeyTrouble, match="Ed25519"):
        keys.read_public(tmp_path / "ec.pub")


@pytest.mark.parametrize("text", [b"", b"ssh-ed25519", b"ssh-ed25519 AAAA\n", b"\xff\x00" * 50])
def test_what_is_no_public_key_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "x.pub"
    path.write_bytes(text)
    with pytest.raises(KeyTrouble):
        keys.read_public(path)


def test_find_takes_only_pairs_by_name(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        keys.create(tmp_path / name)
    (tmp_path / "c").unlink()
    assert [key.path.name for key in keys.find(tmp_path)] == ["a", "b"]


def test_find_in_a_missing_folder_finds_nothing(tmp_path: Path) -> None:
    assert keys.find(tmp_path / "none") == []


def test_only_keys_that_may_sign_are_loaded_and_no_more_than_needed(tmp_path: Path) -> None:
    mine = [keys.create(tmp_path / name) for name in ("a", "b", "c", "stranger")]
    allowed = [key.public.keyid for key in mine[:3]]
    found = keys.signers_for("demo", allowed, 2, mine, nobody)
    assert [signer.public_key.keyid for signer in found] == allowed[:2]


def test_a_copied_key_file_does_not_count_twice(tmp_path: Path) -> None:
    one, two = keys.create(tmp_path / "a"), keys.create(tmp_path / "c")
    copy = KeyFile(one.path, one.public)
    allowed = [one.public.keyid, two.public.keyid]
    found = keys.signers_for("demo", allowed, 2, [one, copy, two], nobody)
    assert [signer.public_key.keyid for signer in found] == allowed


def test_no_key_that_may_sign_is_missing_signatures(key: KeyFile) -> None:
    with pytest.raises(SignaturesMissing) as caught:
        keys.signers_for("demo", ["0" * 64], 1, [key], nobody)
    assert caught.value.exit_code == 24
