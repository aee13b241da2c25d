"""The subscriber's side of trust: `tuf.ngclient` on a pinned root, with caps and a deadline.

Adds to the library what it leaves open: a total deadline (it has only gaps between bytes), "the
same version with other content" for the list role, a role that is delegated but has no release
yet, and one exception class for each of the five outcomes.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api import exceptions as tuf
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater

from signing import names, policy, verify
from signing.errors import (
    KeyTrouble,
    Malformed,
    Rollback,
    Stale,
    Tampered,
    TrustError,
    UnknownRole,
    Unreachable,
)
from signing.roles import RoleFile, Target, delegated_names, is_dev, targets_of

Fetch = Callable[[str], Iterable[bytes] | None]
"""Gives the chunks of a metadata file by name (`timestamp.json`, `3.root.json`), None: not there.

What it raises passes through unchanged; it must not be an OSError.
"""

_BASE = "metadata:"


@dataclass(frozen=True, slots=True)
class Release:
    """A verified version of one list.

    Attributes:
        name: The list's role.
        version: Its version.
        digest: Hex SHA-256 of the role file.
        targets: What it vouches for, by path.
    """

    name: str
    version: int
    digest: str
    targets: Mapping[str, Target]


@dataclass(frozen=True, slots=True)
class Verified:
    """The outcome of a refresh.

    Attributes:
        release: None when the list has no release yet.
        versions: Version by role name, top-level roles and the list's.
        expires: Expiry by role name.
        dev: The repository says its keys are throw-away ones.
    """

    release: Release | None
    versions: Mapping[str, int]
    expires: Mapping[str, datetime]
    dev: bool


def refresh(
    directory: Path,
    pinned_root: bytes,
    role: str,
    fetch: Fetch,
    *,
    known: tuple[int, str] | None = None,
    seconds: float = policy.UPDATE_DEADLINE,
) -> Verified:
    """Bring the trust directory up to date and return the list's verified release.

    Args:
        directory: Persistent client state; one process at a time.
        pinned_root: Root metadata that people have compared.
        role: The list.
        fetch: Where metadata comes from; not trusted.
        known: Version and role digest of the installed release.
        seconds: Total deadline.

    Raises:
        UnknownRole: The repository delegates no such list.
        Unreachable, Stale, Rollback, Tampered, Malformed: The five outcomes.
        KeyTrouble: The trust directory cannot be written.
    """
    fetcher = _Fetcher(fetch, time.monotonic() + seconds)
    try:
        with _outcomes(fetcher):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            updater = Updater(
                str(directory),
                _BASE,
                fetcher=fetcher,
                config=policy.updater_config(),
                bootstrap=pinned_root,
            )
            updater.refresh()
            found = _released(directory, role)
            if found:
                updater.get_targetinfo(_probe(directory, role))
    except OSError as error:
        raise KeyTrouble(f"cannot keep trust state in {directory}: {error.strerror}") from error
    return _verified(directory, role if found else None, known)


def local(directory: Path, role: str) -> Verified:
    """Return what the trust directory holds, as last verified, without fetching anything."""
    return _verified(directory, role if _released(directory, role) else None, None)


def local_versions(directory: Path) -> dict[str, int]:
    """Return the versions of the top-level roles held, 0 for those that are not."""
    kinds: dict[str, type[Any]] = {
        names.ROOT: Root,
        names.TIMESTAMP: Timestamp,
        names.TARGETS: Targets,
    }
    found = {}
    for name, kind in kinds.items():
        try:
            found[name] = verify.parse(name, _path(directory, name).read_bytes(), kind).version
        except (OSError, TrustError):
            found[name] = 0
    return found


class _Fetcher(FetcherInterface):
    """Feeds ngclient from a `Fetch`; keeps the error that `Fetch` raised, and the deadline."""

    def __init__(self, fetch: Fetch, deadline: float) -> None:
        self._source = fetch
        self._deadline = deadline
        self.error: Exception | None = None
        self.asked = ""  # the last file asked for, for messages

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = self.asked = url.removeprefix(_BASE).lstrip("/")
        try:
            chunks = self._source(name)
        except Exception as error:
            self.error = error
            raise
        if chunks is None:
            raise tuf.DownloadHTTPError(f"{name} is not there", 404)
        return self._timed(chunks)

    def _timed(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        iterator = iter(chunks)
        while True:
            if time.monotonic() > self._deadline:
                raise tuf.SlowRetrievalError("the update took too long")
            try:
                chunk = next(iterator)
            except StopIteration:
                return
            except Exception as error:
                self.error = error
                raise
            yield chunk


_OUTCOMES: tuple[tuple[type[Exception], type[TrustError]], ...] = (  # subclasses come first
    (tuf.DownloadLengthMismatchError, Tampered),
    (tuf.DownloadError, Unreachable),
    (tuf.ExpiredMetadataError, Stale),
    (tuf.BadVersionNumberError, Rollback),
    (tuf.UnsignedMetadataError, Tampered),
    (tuf.LengthOrHashMismatchError, Tampered),
    (tuf.RepositoryError, Malformed),
    (RecursionError, Malformed),
)


@contextmanager
def _outcomes(fetcher: _Fetcher) -> Iterator[None]:
    """Turn the library's exceptions into the five outcomes, and give the source's error back."""
    try:
        yield
    except tuple(theirs for theirs, _ in _OUTCOMES) as error:
        if fetcher.error is not None:
            raise fetcher.error from error
        for theirs, ours in _OUTCOMES:
            if isinstance(error, theirs):
                raise ours(_message(error, fetcher.asked)) from error
        raise


def _message(error: BaseException, asked: str) -> str:
    """Return the library's message in one line, with the file that was asked for last."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if not asked or asked in text else f"{text} ({asked})"


def _released(directory: Path, role: str) -> bool:
    """Tell whether the verified snapshot metadata names the list.

    Raises:
        UnknownRole: The verified targets role does not delegate it.
    """
    top = _load(directory, names.TARGETS, Targets)
    if role not in delegated_names(top.signed):
        raise UnknownRole(f"the repository has no list {role!r}")
    return names.meta_name(role) in _load(directory, names.SNAPSHOT, Snapshot).signed.meta


def _probe(directory: Path, role: str) -> str:
    """Return a path inside the role's delegation: asking for it makes ngclient load the role."""
    delegations = _load(directory, names.TARGETS, Targets).signed.delegations
    patterns = (delegations.roles or {})[role].paths if delegations else None
    if not patterns:
        raise Malformed(f"expected paths in the delegation of {role}, got none")
    return patterns[0].replace("*", "list")


def _verified(directory: Path, role: str | None, known: tuple[int, str] | None) -> Verified:
    """Read back what ngclient has verified and persisted."""
    root = _load(directory, names.ROOT, Root)
    files: list[RoleFile[Any]] = [
        root,
        _load(directory, names.TIMESTAMP, Timestamp),
        _load(directory, names.SNAPSHOT, Snapshot),
        _load(directory, names.TARGETS, Targets),
    ]
    release = None
    if role is not None:
        file = _load(directory, role, Targets)
        verify.not_older(role, file.version, file.digest, known)
        release = Release(role, file.version, file.digest, targets_of(file.signed))
        files.append(file)
    elif known is not None:
        raise Rollback(f"expected version {known[0]} or newer, got no release at all")
    return Verified(
        release,
        {file.name: file.version for file in files},
        {file.name: file.signed.expires for file in files},
        is_dev(root.signed),
    )


def _load(directory: Path, name: str, kind: type[verify.T]) -> RoleFile[verify.T]:
    try:
        return verify.parse(name, _path(directory, name).read_bytes(), kind)
    except OSError as error:
        raise KeyTrouble(f"cannot read {name} in {directory}: {error.strerror}") from error


def _path(directory: Path, name: str) -> Path:
    return directory / f"{name}.json"
