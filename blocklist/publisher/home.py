"""The publisher's home: keys, trust state, journal and cache of one machine.

    keys/NAME, keys/NAME.pub   private keys (0600) and their public halves; `.pub` files of others
                               give them names
    keys/NAME.agent            the private half lies in ssh-agent
    trust.json                 what was last seen of the repository
    journal/init.json          the first files, kept before the first write
    lists/<list>               test host and hash key ids of a list that was made or released here
    lists/<list>.coming        id of a hash key that was made here, to be announced
    voids/<sha256>             a candidate that was voided
    cache/<sha256>             list bytes of earlier versions; may be deleted at any time
    index/<list>.sqlite        what each release added and removed; may be deleted at any time
    gc/                        what `gc` is about to delete, until nobody can need it
    lock, trust.lock           one command at a time, one writer of trust.json

Nobody but its owner may read it.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from securesystemslib.signer import Signer

from blocklist.core.errors import LocalError
from blocklist.core.private import ListSecret
from blocklist.store.localfiles import local_errors, read_limited, sweep, write_atomic
from blocklist.store.locks import file_lock
from signing import keys
from signing.create import Files
from signing.trust import TrustState

MAX_STATE_BYTES = 1 << 20
TRUST_LOCK_SECONDS = 10.0  # a holder needs milliseconds
_NO_HOME = (
    "no repository is known here; run `blocklist init` or `blocklist trust pin` "
    "(BLOCKLIST_HOME is {})"
)


class Home:
    """A publisher's home directory; made on first use.

    Args:
        directory: Where it is.
        passphrase: Asked for the passphrase of an encrypted key file; an attribute too.
        cache_bytes: Bound of the cache.
    """

    def __init__(
        self, directory: Path, passphrase: keys.Passphrase, *, cache_bytes: int = 1 << 30
    ) -> None:
        self.directory = directory
        self.passphrase = passphrase
        self._cache_bytes = cache_bytes

    @contextmanager
    def lock(self, seconds: float) -> Iterator[None]:
        """Hold the home for one command, and clear away what a killed one left.

        Raises:
            Busy: Another command holds it for longer than `seconds`.
        """
        self._make(self.directory)
        lock = self.directory / "lock"
        with file_lock(lock, wait_seconds=seconds, what="BLOCKLIST_HOME"):
            for folder in (self.directory, self._journal, self._cache):
                if folder.is_dir():
                    sweep(folder)
            yield

    @property
    def keys_directory(self) -> Path:
        """Where the keys are."""
        return self.directory / "keys"

    def key_files(self) -> list[keys.KeyFile]:
        """Return the keys of this home."""
        return keys.find(self.keys_directory)

    def key_names(self) -> dict[str, str]:
        """Return the names that this home gives to keys, other people's `.pub` files included."""
        return keys.named(self.keys_directory)

    def signers(self, role: str, keyids: list[str], threshold: int) -> list[Signer]:
        """Load our keys that may sign for a role, as many as it needs or as we have.

        Raises:
            SignaturesMissing: None of our keys may.
            KeyTrouble: A key file cannot be used safely.
        """
        return keys.signers_for(role, keyids, threshold, self.key_files(), self.passphrase)

    def trust(self) -> TrustState:
        """Return what was last seen of the repository.

        Raises:
            LocalError: Nothing was; run `init` first.
        """
        data = read_limited(self._trust_file, MAX_STATE_BYTES)
        if data is None:
            raise LocalError(_NO_HOME.format(self.directory))
        return TrustState.from_bytes(data)

    def has_trust(self) -> bool:
        """Tell whether this home knows a repository."""
        return self._trust_file.exists()

    def save_trust(self, state: TrustState) -> None:
        """Keep what was seen, and what other commands have seen meanwhile.

        Raises:
            Tampered: They have seen one version with two contents.
        """
        if read_limited(self._trust_file, MAX_STATE_BYTES) == state.to_bytes():
            return
        self._make(self.directory)
        lock = self.directory / "trust.lock"  # `log` and `status` do without the home's lock
        with file_lock(lock, wait_seconds=TRUST_LOCK_SECONDS, what="the trust state"):
            held = read_limited(self._trust_file, MAX_STATE_BYTES)
            if held is not None:
                state = state.merged(TrustState.from_bytes(held))
            write_atomic(self._trust_file, state.to_bytes())

    def replace_trust(self, state: TrustState) -> None:
        """Keep a state in place of what was seen: older metadata was accepted knowingly."""
        self._make(self.directory)
        lock = self.directory / "trust.lock"
        with file_lock(lock, wait_seconds=TRUST_LOCK_SECONDS, what="the trust state"):
            write_atomic(self._trust_file, state.to_bytes())

    def journaled(self, make: Callable[[], Files]) -> Files:
        """Return the journaled first files, making and keeping them when there are none."""
        path = self._journal / "init.json"
        data = read_limited(path, MAX_STATE_BYTES)
        if data is not None:
            try:
                return {name: text.encode() for name, text in json.loads(data).items()}
            except (ValueError, AttributeError) as error:
                raise LocalError(f"{path} is damaged") from error
        files = make()
        self._make(path.parent)
        write_atomic(path, json.dumps({n: d.decode() for n, d in files.items()}).encode())
        return files

    def pin_secret(self, secret: ListSecret, *others: str) -> None:
        """Remember test host and hash key of a list: they are not signed as such.

        Args:
            secret: The secrets of the list.
            others: Ids of keys that it may have instead, until it has a release.
        """
        self._make(self._pins)
        words = [secret.test_host, secret.first_key.id, *others]
        write_atomic(self._pins / secret.name, " ".join(words).encode())

    def agrees_with(self, secret: ListSecret, *, released: bool) -> bool:
        """Tell whether these are the secrets remembered, or none are (made in another home).

        Once there is a release, signed metadata vouches for the hash key.
        """
        pinned = read_limited(self._pins / secret.name, MAX_STATE_BYTES)
        if pinned is None:
            return True
        host, *key_ids = self._pinned_words(secret.name, pinned)
        return host == secret.test_host and (released or secret.first_key.id in key_ids)

    def pin_coming(self, name: str, current_id: str, key_id: str) -> None:
        """Remember a hash key that was made here, to follow the one in use, before it is stored."""
        self._make(self._pins)
        write_atomic(self._pins / f"{name}.coming", f"{current_id} {key_id}".encode())

    def coming(self, name: str, current_id: str) -> str | None:
        """Return the id of the key made here to follow `current_id`, if one was.

        Only such a key may be announced by a later attempt: one that merely lies in the storage may
        be known to whoever put it there, or be a former one.
        """
        pinned = read_limited(self._pins / f"{name}.coming", MAX_STATE_BYTES)
        if pinned is None:
            return None
        before, key_id, *_ = self._pinned_words(f"{name}.coming", pinned)
        return key_id if before == current_id else None

    def _pinned_words(self, name: str, data: bytes) -> list[str]:
        """Return what a file of `lists/` says, two words at least."""
        words = data.decode("ascii", "replace").split()
        if len(words) < 2:
            raise LocalError(f"{self._pins / name} is damaged: restore it from a backup")
        return words

    def remember_void(self, candidate: str) -> None:
        """Remember for ever that a candidate, by its digest, was voided."""
        self._make(self._voids)
        write_atomic(self._voids / candidate, b"")

    def knows_void(self, candidate: str) -> bool:
        """Tell whether a candidate is remembered as voided."""
        return (self._voids / candidate).exists()

    def cached(self, digest: str) -> bytes | None:
        """Return cached list bytes if they are there and whole."""
        path = self._cache / digest
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if hashlib.sha256(data).hexdigest() != digest:
            path.unlink(missing_ok=True)
            return None
        with suppress(OSError):  # only tells what was used last
            os.utime(path)
        return data

    def cache(self, digest: str, data: bytes) -> None:
        """Keep list bytes, dropping the least recently used over the bound."""
        self._make(self._cache)
        if not (self._cache / digest).exists():
            write_atomic(self._cache / digest, data)
        with local_errors("clean the cache"):
            total = 0
            for _, size, path in sorted(_found(self._cache), reverse=True):
                total += size
                if total > self._cache_bytes:
                    path.unlink(missing_ok=True)

    def index(self) -> Path:
        """Return where the indexes of the records are; the folder is there."""
        folder = self.directory / "index"
        self._make(folder)
        return folder

    def gc_folder(self) -> Path:
        """Return where `gc` keeps what it deletes; the folder is there."""
        folder = self.directory / "gc"
        self._make(folder)
        return folder

    @property
    def _trust_file(self) -> Path:
        return self.directory / "trust.json"

    @property
    def _journal(self) -> Path:
        return self.directory / "journal"

    @property
    def _pins(self) -> Path:
        return self.directory / "lists"

    @property
    def _voids(self) -> Path:
        return self.directory / "voids"

    @property
    def _cache(self) -> Path:
        return self.directory / "cache"

    def _make(self, path: Path) -> None:
        with local_errors(f"make {path}"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)


def _found(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Give time of last use, size and path of every file; others may be writing and deleting."""
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            status = path.stat()
            yield status.st_mtime, status.st_size, path
