"""`mirror DIR`: a complete copy of the storage in a folder, as backup or to read from.

The head is read and verified first, then everything is copied, the timestamp of that head last. So
the folder always holds a consistent repository, also when releases happen meanwhile or the copy is
interrupted; copying again goes on. What is deleted in the storage stays in the folder.
"""

from dataclasses import dataclass
from pathlib import Path

from blocklist.core.errors import InputError
from blocklist.publisher.keeping import copying
from blocklist.publisher.keeping.copying import Copied
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from blocklist.store.directory import DirectoryStore
from blocklist.store.localfiles import local_errors
from blocklist.store.locks import file_lock
from blocklist.store.port import Store
from blocklist.store.prefixed import Prefixed
from signing import names, policy, verify
from signing.errors import LostRace, Rollback, TrustError
from signing.head import Head, read_head
from signing.trust import TrustState

_LOCK = ".mirror"
_OURS = (layout.FEED, layout.PRIVATE)


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What a mirror did.

    Attributes:
        report: Counts, and what is damaged in the storage.
        timestamp: Version of the timestamp that is live in the folder.
        lists: Version of each list that is.
    """

    report: Copied
    timestamp: int
    lists: dict[str, int]


def mirror(repository: Repository, folder: Path) -> Mirrored:
    """Bring a folder up to date with the storage.

    Raises:
        InputError: The folder holds something else.
        Rollback: It holds a newer head than the storage.
        TrustError: The head of the storage cannot be verified; nothing was copied.
        StoreError, LocalError: Copying again goes on.
    """
    with local_errors(f"make {folder}"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with file_lock(folder / _LOCK, wait_seconds=0.0, what="the folder"):
        to = DirectoryStore(folder)
        head = repository.head(None)
        expect_same(to, repository.store, head, folder)
        report = Copied()
        copying.copy(repository.store, to, copying.prove(repository.store, head), report)
        _heads(to, head)
        _commit(to, head)
        read_head(_metadata(to), TrustState(head.root), None)  # proves that it is whole
    lists = {name: role.version for name, role in head.roles.items()}
    return Mirrored(report, head.timestamp.version, lists)


def expect_same(to: Store, source: Store, head: Head, folder: Path) -> None:
    """Refuse a folder with another repository, or with anything else.

    Raises:
        InputError: It is not empty, and not a copy of this repository.
    """
    first = layout.METADATA + names.file_name(names.ROOT, 1)
    there = to.get(first, limit=policy.MAX_ROOT_BYTES)
    ours = source.get(first, limit=policy.MAX_ROOT_BYTES)
    if there is None:  # new, or a first copy that was interrupted
        strange = next((one.key for one in to.list("") if not one.key.startswith(_OURS)), None)
        if strange is None and to.get(layout.TIMESTAMP) is not None:
            strange = layout.TIMESTAMP
        if strange is not None:
            raise InputError(f"{folder} holds something else, such as {strange}")
        return
    broken: list[str] = []
    if ours is None or there.data != ours.data:  # it may be the storage's that is damaged
        copying.roots(to, head, broken)
    if broken:
        raise InputError(f"{folder} holds another repository; nothing was changed")


def _heads(to: Store, head: Head) -> None:
    """Write the files of the head that were verified, should the storage have lost one since."""
    for role in (head.root, *head.everything()):
        if role.name != names.TIMESTAMP:
            to.put_new(layout.METADATA + names.file_name(role.name, role.version), role.data)


def _commit(to: Store, head: Head) -> None:
    """Make the head live in the folder."""
    data = head.timestamp.data
    there = to.get(layout.TIMESTAMP, limit=policy.MAX_TIMESTAMP_BYTES)
    if there is None:
        to.put_new(layout.TIMESTAMP, data)
        return
    if there.data == data:
        return
    try:
        held = verify.timestamp(head.root, there.data)
    except TrustError:  # of an online key that was rotated away since, or damaged
        held = None
    if held is not None and held.version >= head.timestamp.version:
        raise Rollback(
            f"expected timestamp {held.version} or newer in the storage, got "
            f"{head.timestamp.version}: the folder is newer"
        )
    if to.replace_if(layout.TIMESTAMP, data, there.token) is None:
        raise LostRace("something else writes to the folder")


def _metadata(store: Store) -> Prefixed:
    return Prefixed(store, layout.METADATA)
