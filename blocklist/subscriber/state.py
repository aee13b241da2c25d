"""The state directory of a subscriber.

    enrolment.json                  0600, secrets: sources, tokens, hash keys, the pinned root
    lock                            one pull or enrol at a time
    trust/                          0700, what `signing.client` has verified
    lists/<list>/<feed>/            0750, see `installed` and `outcomes`

Nothing in it is an absolute path: the directory can be copied and moved. Folders on the way to
the lists are 0750, so that a group can read lists and check URLs without the secrets (the hashed
feed needs its key, and with it the enrolment).
"""

import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from blocklist.core.enrolment import Enrolment
from blocklist.core.entries import Feed
from blocklist.core.errors import InputError, LocalError, NotInstalled
from blocklist.store.localfiles import local_errors, read_limited, write_atomic
from blocklist.store.locks import file_lock
from blocklist.subscriber import settings
from blocklist.subscriber.installed import FeedFolder
from signing import names, policy

FOLDER_MODE = 0o750
SECRET_MODE = 0o600
_ENROLMENT = "enrolment.json"
_LISTS = "lists"
_TRUST = "trust"
_ROOTS = "root_history"  # of `tuf.ngclient`


class State:
    """A state directory; reading it creates nothing.

    Args:
        directory: Where it is, or will be once something is enrolled.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def trust(self) -> Path:
        """The directory of `signing.client`."""
        return self.directory / _TRUST

    def locked(self) -> AbstractContextManager[None]:
        """Hold the state's lock.

        Raises:
            Busy: Another command held it for a minute.
            LocalError: It cannot be locked.
        """
        return file_lock(
            self.directory / "lock", wait_seconds=settings.LOCK_WAIT_SECONDS, what="this state"
        )

    def enrolment(self) -> Enrolment:
        """Return the enrolment.

        Raises:
            NotInstalled: Nothing has been enrolled here.
            LocalError: It is damaged or cannot be read.
            UnknownFormat: A newer version of this program wrote it.
        """
        found = self.find_enrolment()
        if found is None:
            raise NotInstalled(f"nothing is enrolled in {self.directory}: enrol first")
        return found

    def find_enrolment(self) -> Enrolment | None:
        """Return the enrolment, None when there is none; raises as `enrolment`."""
        path = self.directory / _ENROLMENT
        data = read_limited(path, settings.MAX_ENROLMENT_BYTES)
        try:
            return Enrolment.from_bytes(data) if data is not None else None
        except InputError as error:
            raise LocalError(f"{path} is damaged, enrol again: {error}") from error

    def write_enrolment(self, enrolment: Enrolment) -> None:
        """Keep an enrolment; its feeds get their folders first.

        Raises:
            LocalError: The disk refuses; the old one stays.
        """
        for item in enrolment.lists.values():
            for feed in item.feeds:
                make_folder(self.feed(item.name, feed).path, self.directory)
        path = self.directory / _ENROLMENT
        write_atomic(path, enrolment.to_bytes(), mode=SECRET_MODE)

    def prepare(self) -> None:
        """Create the directory.

        Raises:
            LocalError: The disk refuses.
        """
        with local_errors(f"create {self.directory}"):
            self.directory.parent.mkdir(parents=True, exist_ok=True)
        make_folder(self.directory, self.directory)

    def feed(self, list_name: str, feed: Feed) -> FeedFolder:
        """Return the folder of a feed."""
        return FeedFolder(self.directory / _LISTS / list_name / feed.value)

    def feeds(self) -> Iterator[tuple[str, Feed]]:
        """Yield the enrolled lists and feeds, as far as folders tell: no secret is needed.

        Raises:
            LocalError: The folders cannot be read.
        """
        with local_errors(f"read {self.directory}"):
            for path in sorted(self.directory.glob(f"{_LISTS}/*/*")):
                with suppress(ValueError):  # not ours
                    yield path.parent.name, Feed(path.name)

    def knows_root(self, root: bytes) -> bool:
        """Tell whether the trust directory has verified exactly this root."""
        with suppress(OSError):
            for path in (self.trust / _ROOTS).glob(f"*.{names.ROOT}.json"):
                if path.stat().st_size <= policy.MAX_ROOT_BYTES and path.read_bytes() == root:
                    return True
        return False

    def local_timestamp(self) -> bytes | None:
        """Return the timestamp in the trust directory, None when there is none."""
        return read_limited(self.trust / names.TIMESTAMP_FILE, policy.MAX_TIMESTAMP_BYTES)

    def tidy(self) -> None:
        """Remove what a killed pull left in the trust directory; the lock must be held."""
        with suppress(OSError):
            for path in self.trust.glob("tmp*"):  # names of `tempfile`, as tuf.ngclient uses it
                path.unlink()


def make_folder(path: Path, top: Path) -> None:
    """Create a folder and those between it and `top`, with mode 0750 whatever the umask.

    The set-group-id bit is inherited as usual.

    Raises:
        LocalError: The disk refuses.
    """
    with local_errors(f"create {path}"):
        for folder in [*reversed(path.parents), path]:
            if folder.is_relative_to(top) and not folder.is_dir():
                folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
                # A folder that hands its group on goes on doing so: chmod alone would end that.
                folder.chmod(FOLDER_MODE | folder.stat().st_mode & stat.S_ISGID)
