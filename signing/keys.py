"""Ed25519 keys in OpenSSH files: never overwritten, never readable by others.

A private key is an OpenSSH file of mode 0600, encrypted with bcrypt when a passphrase is given
(PKCS#8 as written by pyca has a weak key derivation); its public half lies beside it as `.pub`.
A key is known by its TUF key id: SHA-256 of the canonical JSON of the public key.

The private half may also lie in ssh-agent (`signing.agent`): `NAME.agent` beside `NAME.pub` says
so.
"""

import os
import re
import secrets
import stat
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from signing import agent
from signing.errors import KeyTrouble, SignaturesMissing

BCRYPT_ROUNDS = 100  # about a second for each guess
MAX_KEY_FILE_BYTES = 16_384
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

Passphrase = Callable[[Path], bytes]
"""Asked for the passphrase of one key file, only when that file is encrypted."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A private key, known by its public half; nothing secret is held in memory.

    Attributes:
        path: Where it is, or would be.
        public: Its public half.
        in_agent: It lies in ssh-agent, not at `path`.
    """

    path: Path
    public: Key
    in_agent: bool = False

    def signer(self, passphrase: Passphrase) -> Signer:
        """Load the private key, or find the agent that holds it.

        Raises:
            KeyTrouble: Readable by others, damaged, wrong passphrase, not this public key, or no
                agent.
        """
        if self.in_agent:
            return agent.AgentSigner(self.public)
        private = _load_private(self.path, passphrase)
        public = SSlibKey.from_crypto(private.public_key())
        if public.keyid != self.public.keyid:
            raise KeyTrouble(f"expected {self.path} to be the private half of its .pub file")
        return CryptoSigner(private, public)


def is_name(name: str) -> bool:
    """Tell whether a key may have this name: a letter or digit, then up to 63 of those, _ and -."""
    return bool(_NAME.fullmatch(name))


def create(path: Path, *, passphrase: bytes | None = None) -> KeyFile:
    """Make a new key at `path` (mode 0600) and its public half at `path` + `.pub`.

    A crash leaves no key, both files, or the private one alone: see `restore_public`.

    Raises:
        KeyTrouble: A file is already there, or the disk refuses.
    """
    if _public_path(path).exists():
        raise KeyTrouble(f"key file {_public_path(path)} exists; keys are never overwritten")
    private = Ed25519PrivateKey.generate()
    encryption: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        builder = PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(BCRYPT_ROUNDS)
        encryption = builder.build(passphrase)
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, encryption)
    _write_new(path, secret, 0o600)
    return _with_public(path, private)


def restore_public(path: Path, passphrase: Passphrase) -> KeyFile:
    """Write the `.pub` that an interrupted `create` did not.

    Raises:
        KeyTrouble: As `KeyFile.signer`; there is a public half; or the disk refuses.
    """
    return _with_public(path, _load_private(path, passphrase))


def register_agent(path: Path, public: Key) -> KeyFile:
    """Note that the private half of a key lies in ssh-agent: `path` + `.agent`, then `.pub`.

    Raises:
        KeyTrouble: A file of that name is there already, or the disk refuses.
    """
    if path.exists() or _public_path(path).exists():
        raise KeyTrouble(f"key file {path} exists; keys are never overwritten")
    if not _agent_path(path).exists():  # left by an interrupted attempt
        _write_new(_agent_path(path), b"the private half lies in ssh-agent\n", 0o600)
    _write_new(_public_path(path), agent.public_line(public), 0o644)
    return KeyFile(path, public, in_agent=True)


def read_public(path: Path) -> Key:
    """Return the public key in an OpenSSH `.pub` file.

    Raises:
        KeyTrouble: Missing, unreadable, or not an Ed25519 key.
    """
    try:
        key = load_ssh_public_key(_read(path))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyTrouble(f"expected an OpenSSH public key in {path}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyTrouble(f"expected an Ed25519 key in {path}, got another kind")
    return SSlibKey.from_crypto(key)


def find(directory: Path) -> list[KeyFile]:
    """Return the keys of a directory that has `NAME` or `NAME.agent` beside `NAME.pub`, by name."""
    found = []
    for path, public in _publics(directory):
        if path.exists():
            found.append(KeyFile(path, public))
        elif _agent_path(path).exists():
            found.append(KeyFile(path, public, in_agent=True))
    return found


def named(directory: Path) -> dict[str, str]:
    """Return the names of all public keys in a directory by key id, those of others included."""
    return {public.keyid: path.name for path, public in _publics(directory)}


def signers_for(
    role: str, keyids: Collection[str], threshold: int, keys: list[KeyFile], ask: Passphrase
) -> list[Signer]:
    """Load as many of our keys as the role's threshold asks for, or all we have.

    Raises:
        SignaturesMissing: None of our keys may sign for the role.
        KeyTrouble: A key that may sign cannot be loaded.
    """
    ours = {key.public.keyid: key for key in keys if key.public.keyid in keyids}
    if not ours:
        raise SignaturesMissing(f"expected a key that may sign for {role}, found none of them here")
    return [key.signer(ask) for key in list(ours.values())[:threshold]]


def _publics(directory: Path) -> list[tuple[Path, Key]]:
    """Return where the private half would be, and the key, of each `.pub` file."""
    try:
        publics = sorted(directory.glob("*.pub"))
    except OSError as error:
        raise KeyTrouble(f"cannot read {directory}: {error.strerror}") from error
    return [(public.with_suffix(""), read_public(public)) for public in publics]


def _load_private(path: Path, passphrase: Passphrase) -> Ed25519PrivateKey:
    """Load a private key file after checking its mode."""
    _refuse_shared(path)
    data = _read(path)
    try:
        try:
            key = load_ssh_private_key(data, password=None)
        except (TypeError, ValueError) as error:  # encrypted, as far as pyca tells
            if "password" not in str(error).lower():
                raise
            key = load_ssh_private_key(data, password=passphrase(path))
    except UnsupportedAlgorithm as error:
        raise KeyTrouble(f"expected an Ed25519 key in {path}, got one that is not known") from error
    except (ValueError, TypeError) as error:
        raise KeyTrouble(f"cannot read the key in {path}: damaged or wrong passphrase") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyTrouble(f"expected an Ed25519 key in {path}, got another kind")
    return key


def _refuse_shared(path: Path) -> None:
    """Refuse a private key that anybody but its owner may read."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise KeyTrouble(f"cannot read key file {path}: {error.strerror}") from error
    if mode & 0o077:
        raise KeyTrouble(f"expected key file {path} to have mode 0600, got {mode:04o}")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise KeyTrouble(f"cannot read key file {path}: {error.strerror}") from error


def _with_public(path: Path, private: Ed25519PrivateKey) -> KeyFile:
    """Write the public half of the key at `path`."""
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    _write_new(_public_path(path), public + b"\n", 0o644)
    return KeyFile(path, SSlibKey.from_crypto(private.public_key()))


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """Create a file that must not exist, complete and durable or not at all."""
    aside = path.with_name(f".tmp-{secrets.token_hex(16)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _write_synced(aside, data, mode)
            os.link(aside, path)  # never overwrites
        finally:
            aside.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except FileExistsError as error:
        raise KeyTrouble(f"key file {path} exists; keys are never overwritten") from error
    except OSError as error:
        raise KeyTrouble(f"cannot write key file {path}: {error.strerror}") from error


def _write_synced(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Make new names in a folder durable: a repository must not outlive its keys."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _public_path(path: Path) -> Path:
    return path.with_name(path.name + ".pub")


def _agent_path(path: Path) -> Path:
    return path.with_name(path.name + ".agent")
