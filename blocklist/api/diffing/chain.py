"""Which role files of a list the live one proves, as version and digest, and the files themselves.

A role file must be signed by the keys that the list has now, or be named, with its digest, by the
chain of `prev` from one that is: keys are rotated, history stays (docs/spec.md, "Diff"). What was
proven is remembered for as long as the same file is live, and handed to the next one that names it:
nothing is read or proven twice. Files are parsed, hashed and verified away from the loop.
"""

import hashlib
import threading

from tuf.api.metadata import Targets

from blocklist.api.cache import ByteLru
from blocklist.api.diffing.lately import Lately
from blocklist.api.heavy import Heavy
from blocklist.api.live import Live
from blocklist.api.reader import FeedReader
from blocklist.core.entries import Feed
from blocklist.core.errors import BlocklistError, FeedError, TooLarge
from blocklist.core.release import FeedRelease, read_release
from signing import names, policy, verify
from signing.errors import TrustError
from signing.roles import RoleFile, targets_of

MAX_CHAIN = 1_024  # role files read along `prev` at once, when keys do not prove a release
_MAX_PROVEN = 8_192  # versions remembered for each list, about 150 bytes each
_FILES_BYTES = 16 << 20  # proven role files, whole process

Named = tuple[int, str]
"""Version and SHA-256 of a role file."""


class Gone(BlocklistError):
    """An earlier release that cannot be proven or rebuilt any more; the snapshot can be had."""

    http_status = 303


class Chain:
    """The role files of one list up to the live one.

    Args:
        reader: The repository.
        live: The state that proves them; it has a release of the list.
        name: The list.
        heavy: Where to compute; whoever calls holds a slot.
        files: Proven role files by their digest.
    """

    def __init__(
        self, reader: FeedReader, live: Live, name: str, heavy: Heavy, files: ByteLru
    ) -> None:
        self.head = live.roles[name].version
        self.state = state(live, name)
        self._reader = reader
        self._live = live
        self._name = name
        self._heavy = heavy
        self._files = files
        self._lock = threading.Lock()
        self._proven: dict[int, str] = {}
        self._gone = Lately()
        self._forget()

    def take_over(self, before: "Chain") -> None:
        """Take what another one proved, if the live file here names the one that is live there."""
        named = self._live.releases[self._name, Feed.CLEAR].facts.prev
        if self.state[1] == before.state[1] and named == (before.head, before.state[0]):
            self._proven |= before._proven.copy()

    def release(self, feed: Feed, version: int) -> FeedRelease:
        """Return what the proven role file of a version says of a feed.

        Raises:
            Gone: There is no such file, or nothing proves it.
            StoreError: The storage failed.
        """
        current = self._live.releases[self._name, feed]
        if version == self.head:
            return current
        with self._lock:  # who comes meanwhile gets what the first one finds
            digest = self._proven.get(version) or self._prove(version)
        return self._heavy.run(read, self._name, feed, version, self._named(version, digest))

    def _prove(self, version: int) -> str:
        """Return the digest of a role file by its signatures, else by the chain."""
        why = self._gone.get(version)
        if why is not None:
            raise Gone(why)
        if len(self._proven) >= _MAX_PROVEN:
            self._forget()
        try:
            return self._signed(version) or self._follow(version)
        except Gone as error:
            self._gone.put(version, str(error))
            raise

    def _signed(self, version: int) -> str | None:
        """Return the digest if the keys of now sign the file."""
        data = self._stored(version)
        found = self._heavy.run(signed, self._live.head.targets, self._name, data)
        if found is None:
            return None
        if found[0] != version:
            raise Gone(f"version {version} of {self._name} is another one")
        self._remember(found, data)
        return found[1]

    def _follow(self, version: int) -> str:
        """Return the digest that the successors name, from one that is proven."""
        at = min(known for known in self._proven if known > version)
        data = self._named(at, self._proven[at])
        for _ in range(MAX_CHAIN):
            named = self._heavy.run(prev, self._name, data, at)
            if named is None or not version <= named[0] < at:
                break
            data = self._named(*named)
            self._remember(named, data)
            at = named[0]
            if at == version:
                return named[1]
        raise Gone(f"version {version} of {self._name} is proven by neither keys nor history")

    def _named(self, version: int, digest: str) -> bytes:
        """Return the role file that has a digest."""
        if version == self.head:
            return self._live.roles[self._name].data
        data = self._files.get((self._name, digest))
        if data is None:
            data = self._stored(version)
            if self._heavy.run(sha256, data) != digest:
                raise Gone(f"version {version} of {self._name} is not the one in its history")
            self._files.put((self._name, digest), data)
        return data

    def _stored(self, version: int) -> bytes:
        """Return a role file as it is in the storage."""
        file = names.file_name(self._name, version)
        try:
            data = self._reader.metadata(file, policy.MAX_TARGETS_BYTES)
        except TooLarge:
            data = None  # nobody released that
        if data is None:
            raise Gone(f"the role file of version {version} of {self._name} is missing")
        return data

    def _remember(self, named: Named, data: bytes) -> None:
        self._proven[named[0]] = named[1]
        self._files.put((self._name, named[1]), data)

    def _forget(self) -> None:
        self._proven = {self.head: self.state[0]}


class Chains:
    """The chain of each list, for the state that is live.

    Args:
        reader: The repository.
        heavy: Where to compute.
    """

    def __init__(self, reader: FeedReader, heavy: Heavy) -> None:
        self._reader = reader
        self._heavy = heavy
        self._files = ByteLru(_FILES_BYTES)
        self._lock = threading.Lock()
        self._chains: dict[str, Chain] = {}

    def of(self, live: Live, name: str) -> Chain:
        """Return the chain of a list that has a release."""
        with self._lock:
            before = self._chains.get(name)
            if before is not None and before.state == state(live, name):
                return before
            chain = Chain(self._reader, live, name, self._heavy, self._files)
            if before is not None:
                chain.take_over(before)
            self._chains[name] = chain
            return chain


def state(live: Live, name: str) -> tuple[str, str]:
    """Return the digests of what proves a list's history: its live role file, and its keys'."""
    return live.roles[name].digest, live.head.targets.digest


def sha256(data: bytes) -> str:
    """Return the hex digest."""
    return hashlib.sha256(data).hexdigest()


def signed(targets: RoleFile[Targets], name: str, data: bytes) -> Named | None:
    """Return version and digest of a role file, None unless it is signed by the keys of now."""
    try:
        role = verify.delegated_alone(targets, name, data)
    except TrustError:
        return None
    return role.version, role.digest


def prev(name: str, data: bytes, version: int) -> Named | None:
    """Return what a proven role file names as the one before it.

    Raises:
        Gone: It cannot be read.
    """
    return read(name, Feed.CLEAR, version, data).facts.prev


def read(name: str, feed: Feed, version: int, data: bytes) -> FeedRelease:
    """Return what a proven role file says of a feed.

    Raises:
        Gone: It cannot be read.
    """
    try:
        role = verify.parse(name, data, Targets)
        return read_release(name, feed, version, targets_of(role.signed))
    except (TrustError, FeedError) as error:
        raise Gone(f"version {version} of {name} cannot be read") from error
