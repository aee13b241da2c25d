"""The directory store: objects as files below one folder, on one machine or a shared mount.

    ROOT/feed/..  ROOT/private/..   the objects, each under its key
    ROOT/.tmp/                      objects being written; scrap of crashed writers for an hour
    ROOT/.lock                      flock(2) of `replace_if`

How the contract of `Store` is kept:

1. The body goes to a new file in `.tmp/` and is synced. A crash leaves scrap, no object.
2. `put_new` links it to the key: link(2) never overwrites, so one of many wins and nobody is
   harmed. `replace_if` compares and renames under the lock: rename(2) is atomic for readers.
3. The folder is synced, and when it is new the folders above it. Only then the write is durable.
   When that sync fails the object is visible already: `OutcomeUnknown`, not failure.

An error of link or rename does not prove that nothing happened (NFS repeats requests whose answer
was lost): when the key then names the file that we wrote, that is success. Folders are opened one
by one without following symbolic links, so no key leads out of the root. `feed/` is made with modes
0644 and 0755, all else with 0600 and 0700, both less the umask. One system user writes.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from blocklist.core.errors import LocalError, OutcomeUnknown, StoreUnreachable, TooLarge
from blocklist.store.layout import FEED
from blocklist.store.localfiles import reason, sweep, sync_folder, temporary_file
from blocklist.store.locks import file_lock
from blocklist.store.port import (
    DEFAULT_OBJECT_LIMIT,
    Listed,
    Object,
    is_segment,
    validate_key,
    validate_prefix,
)

LOCK_WAIT_SECONDS = 30.0  # a holder needs milliseconds; a stopped one must not stop all others

_TEMPORARY = ".tmp"
_LOCK = ".lock"
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe put there must not block us
_IN_THE_WAY = frozenset({errno.ELOOP, errno.ENOTDIR})
_LOCAL = _IN_THE_WAY | {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
}


class DirectoryStore:
    """A `Store` in a folder. Reading never creates anything; the first `put_new` makes the root.

    Safe for threads and processes. A store that has written and whose root then vanishes (a lost
    mount) fails instead of beginning an empty one.

    Args:
        root: The folder; made absolute at once.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._ready = False
        self._durable: set[str] = set()  # folders whose own names this process has synced

    def get(self, key: str, *, limit: int = DEFAULT_OBJECT_LIMIT) -> Object | None:
        """Return the object, or None when there is none; see `Store.get`."""
        folder, name = _split(key)
        with self._errors("read", key), suppress(FileNotFoundError), self._folder(folder) as fd:
            return _read(fd, name, limit)
        return None

    def put_new(self, key: str, data: bytes) -> bool:
        """Create the object; see `Store.put_new`."""
        folder, name = _split(key)
        with self._errors("write", key):
            self._prepare()
            with self._body(key, data) as body, self._folder(folder, make=True) as fd:
                created = _link(body, fd, name)
                _confirm(fd, key)
        return created

    def replace_if(self, key: str, data: bytes, token: str) -> str | None:
        """Replace the object if it is still the one of `token`; see `Store.replace_if`."""
        if not self._is_current(key, token):  # who has lost already needs no lock
            return None
        lock = self._root / _LOCK
        with file_lock(lock, wait_seconds=LOCK_WAIT_SECONDS, what="the storage directory"):
            return self._replace(key, data) if self._is_current(key, token) else None

    def list(self, prefix: str) -> Iterator[Listed]:
        """Iterate over the objects whose key begins with `prefix`; see `Store.list`."""
        validate_prefix(prefix)
        return self._listed(prefix)

    def delete(self, key: str) -> bool:
        """Delete the object; see `Store.delete`."""
        folder, name = _split(key)
        with self._errors("delete", key), suppress(FileNotFoundError), self._folder(folder) as fd:
            if _is_object(os.stat(name, dir_fd=fd, follow_symlinks=False)):
                os.unlink(name, dir_fd=fd)
                _confirm(fd, key)
                return True
        return False

    def _is_current(self, key: str, token: str) -> bool:
        current = self.get(key)
        return current is not None and current.token == token

    def _replace(self, key: str, data: bytes) -> str:
        folder, name = _split(key)
        with self._errors("replace", key):
            self._prepare()
            with self._body(key, data) as body, self._folder(folder) as fd:
                _rename(body, fd, name)
                _confirm(fd, key)
        return _token(data)

    def _listed(self, prefix: str) -> Iterator[Listed]:
        folder, slash, start = prefix.rpartition("/")
        with self._errors("list", prefix), ExitStack() as opened:
            try:
                fd = opened.enter_context(self._folder(folder))
            except FileNotFoundError:
                return
            yield from _walk(fd, folder + slash, start)

    @contextmanager
    def _folder(self, folder: str, *, make: bool = False) -> Iterator[int]:
        """Open a folder of the store, going down from the root by names that are no links.

        Raises:
            FileNotFoundError: There is none; also below an object, where no key can be.
        """
        with ExitStack() as opened:
            fd = opened.enter_context(self._opened_root())
            path = ""
            for name in folder.split("/") if folder else ():
                path += f"{name}/"
                if make:
                    self._make_folder(fd, name, path)
                elif _is_plain(fd, name):
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
                fd = opened.enter_context(_opened(name, _FOLDER, within=fd))
            yield fd

    @contextmanager
    def _opened_root(self) -> Iterator[int]:
        with ExitStack() as opened:
            try:
                fd = opened.enter_context(_opened(str(self._root), os.O_DIRECTORY))
            except (FileNotFoundError, NotADirectoryError) as exc:
                raise StoreUnreachable(
                    f"expected a directory at {self._root}, got: {reason(exc)}"
                ) from exc
            yield fd

    def _make_folder(self, parent: int, name: str, path: str) -> None:
        try:
            os.mkdir(name, 0o755 if path.startswith(FEED) else 0o700, dir_fd=parent)
        except FileExistsError:
            if path in self._durable:
                return
        os.fsync(parent)  # also for one that a crashed writer made and did not sync
        self._durable.add(path)

    def _prepare(self) -> None:
        """Make what a writer needs, and remove scrap: once, when writing begins."""
        if self._ready:
            return
        missing = [path for path in (self._root, *self._root.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(mode=0o755, exist_ok=True)
            sync_folder(path.parent)
        temporary = self._root / _TEMPORARY
        temporary.mkdir(mode=0o700, exist_ok=True)
        sweep(temporary)
        self._ready = True

    @contextmanager
    def _body(self, key: str, data: bytes) -> Iterator[Path]:
        mode = 0o644 if key.startswith(FEED) else 0o600
        with temporary_file(self._root / _TEMPORARY, data, mode) as path:
            yield path

    @contextmanager
    def _errors(self, doing: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            blocked = exc.errno in _IN_THE_WAY
            why = "a symbolic link or special file is in the way" if blocked else reason(exc)
            message = f"cannot {doing} {key} in {self._root}: {why}"
            failure = LocalError if exc.errno in _LOCAL else StoreUnreachable
            raise failure(message) from exc


def _split(key: str) -> tuple[str, str]:
    validate_key(key)
    folder, _, name = key.rpartition("/")
    return folder, name


def _token(data: bytes) -> str:
    return sha256(data).hexdigest()


@contextmanager
def _opened(path: str, flags: int, *, within: int | None = None) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags, dir_fd=within)
    try:
        yield fd
    finally:
        os.close(fd)


def _is_plain(folder: int, name: str) -> bool:
    return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _is_object(status: os.stat_result) -> bool:
    """Tell a plain file from a folder; anything else is in the way of an object."""
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        return stat.S_ISREG(status.st_mode)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _read(folder: int, name: str, limit: int) -> Object | None:
    with _opened(name, _FILE, within=folder) as fd:
        status = os.fstat(fd)
        if not _is_object(status):
            return None
        if status.st_size > limit:
            raise TooLarge(f"expected at most {limit} bytes in {name}, got {status.st_size}")
        with os.fdopen(fd, "rb", closefd=False) as file:
            data = file.read(status.st_size)
    return Object(data, _token(data))


def _link(body: Path, folder: int, name: str) -> bool:
    """Give the body its key unless the key is taken; tell which."""
    own = body.stat()
    try:
        os.link(body, name, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as exc:
        if _holds(folder, name, own):
            return True
        if not isinstance(exc, FileExistsError):
            raise
        return False
    return True


def _rename(body: Path, folder: int, name: str) -> None:
    own = body.stat()
    try:
        os.replace(body, name, dst_dir_fd=folder)
    except OSError:
        if not _holds(folder, name, own):
            raise


def _holds(folder: int, name: str, own: os.stat_result) -> bool:
    """Tell whether the key names our own file although the system reported an error."""
    try:
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise OutcomeUnknown(f"cannot tell whether {name} was written: {reason(exc)}") from exc
    return os.path.samestat(there, own)


def _confirm(folder: int, key: str) -> None:
    """Make the change of a name durable."""
    try:
        os.fsync(folder)
    except OSError as exc:
        raise OutcomeUnknown(
            f"{key} has changed, but the system did not confirm it: {reason(exc)}"
        ) from exc


def _walk(folder: int, path: str, start: str = "") -> Iterator[Listed]:
    for name in _names(folder, start):
        if not path and name.startswith("."):
            continue  # our own files
        with suppress(FileNotFoundError):  # gone meanwhile
            if name.endswith("/"):
                with _opened(name, _FOLDER, within=folder) as below:
                    yield from _walk(below, path + name)
            else:
                yield _listed(folder, path, name)


def _names(folder: int, start: str) -> list[str]:
    """Return the names in a folder, folders with a slash: so sorting them sorts the keys."""
    names = []
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(start) and is_segment(entry.name):
                if entry.is_dir(follow_symlinks=False):
                    names.append(f"{entry.name}/")
                elif entry.is_file(follow_symlinks=False):
                    names.append(entry.name)
    return sorted(names)


def _listed(folder: int, path: str, name: str) -> Listed:
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return Listed(path + name, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
