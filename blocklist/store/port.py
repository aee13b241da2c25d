"""The storage port: five operations on named objects, and what every adapter promises.

Adapters: `directory` (a folder, the default), `s3` with the server extra. One contract suite,
`tests/contract`, holds each of them to the docstring of `Store`. Source: docs/spec.md, "Storage".
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from blocklist.core.errors import InputError

DEFAULT_OBJECT_LIMIT = 1 << 30  # bytes; the largest object, a clear snapshot of 10,000,000 entries
MAX_KEY_BYTES = 512
MAX_SEGMENT_BYTES = 255  # what file systems hold in one name

_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")
_PREFIX = re.compile(r"[A-Za-z0-9._/-]*")


@dataclass(frozen=True, slots=True)
class Object:
    """An object as read.

    Attributes:
        data: The whole object.
        token: What `replace_if` compares; opaque, only good for the key it was read from.
    """

    data: bytes
    token: str


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as listed.

    Attributes:
        key: Its full key.
        size: Bytes.
        modified: When it was written, by the storage's clock; aware, UTC.
    """

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Findings:
    """How a storage was found to keep the contract below.

    Attributes:
        storage: What people call it: `s3://bucket/prefix`.
        conditions: How it does conditional writes: `If-Match quoted`, `If-Match bare`, `ignored`
            or `refused`.
        usable: Whether we write there.
        warning: What somebody should know or do; None when all is well.
    """

    storage: str
    conditions: str
    usable: bool
    warning: str | None


@runtime_checkable
class Probing(Protocol):
    """A store that has to find out how its storage keeps the contract, by writing there."""

    @property
    def name(self) -> str:
        """What people call the storage."""

    def probe(self) -> Findings:
        """Return what was found, now or earlier by the same object.

        Raises:
            StoreUnreachable: The storage did not answer.
            LocalError: This machine may not write there, or cannot reach it as it is set up.
        """


class Store(Protocol):
    """Named objects: immutable ones, and few that are replaced by compare-and-swap.

    **Durable on return.** When `put_new`, `replace_if` or `delete` returns, its effect survives a
    power failure. That includes False from `put_new`: what is there then is durable too, so
    that a rerun may build on what a crashed command left.

    **Read after write.** Once a write has returned, every later `get` and `list`, by any process
    on any machine, sees it. A missing key that was asked for before is no exception: nothing is
    remembered about it. (S3: strong consistency since 2020. No caching proxy in between.)

    **Atomic.** A reader gets the whole old object or the whole new one, never a mix, a part or an
    empty object. `get` returns data and token of the same moment.

    **One winner.** Of any number of concurrent `put_new` of different bytes to one key, exactly
    one gets True and its bytes stay; nothing is ever overwritten by `put_new`. Of concurrent
    `replace_if` with the same token, exactly one gets a new token. (S3: `If-None-Match: *` and
    `If-Match: ETag`; a store that ignores or refuses conditions does not satisfy this port.)

    **Tokens** may be derived from the content (SHA-256; an S3 ETag), so a body that came back
    would bring back its token. Callers therefore never write a body that the key has held
    before: whatever is replaced carries a rising version or a nonce.

    **Ambiguous answers** are settled before the caller hears of them. When the adapter cannot
    tell whether its write happened, it reads the key back: own bytes there is success, other
    bytes is a lost race, what was there before is `StoreUnreachable` (nothing was changed), and
    only when reading fails as well it raises `OutcomeUnknown`. (S3: 5xx, a broken connection, 409,
    and also 412 whenever the request may have been sent more than once, retries of the client
    library included. A request that timed out may still be under way: it is sent again, which its
    condition makes safe, before anything is concluded from reading; when none of these requests
    was answered, that is `OutcomeUnknown`, whatever is read.) So when answers get lost, writers of
    *equal* bytes may each be told that they won; who needs to be the only one writes a nonce. And
    a replace that landed unheard and was replaced by others before it was read back counts as
    lost. `OutcomeUnknown` also says that a write is visible but was not confirmed as durable.

    **Crashes.** A writer that dies at any moment leaves the key as it was or completely written,
    plus at most scrap that no operation shows and that a later writer removes.

    **Listing** is by key, bytewise. An object that exists all the while is listed once; one that
    comes or goes meanwhile may or may not be. Nothing else is promised about concurrent changes.

    **Keys** have the shape of `validate_key`. No key is the folder of another (`a` and `a/b`):
    S3 has room for both, a directory has not, `layout` never makes such a pair. Below an object
    and at a folder, reading finds nothing.

    `delete` is for objects that nothing refers to any more; it is not ordered against a
    concurrent write of the same key. An object that is replaced is never deleted.

    All operations raise `InputError` for a key of the wrong shape, `StoreUnreachable` when the
    storage does not answer, `LocalError` when this machine is the reason (disk, permissions).
    """

    def get(self, key: str, *, limit: int = DEFAULT_OBJECT_LIMIT) -> Object | None:
        """Return the object, or None when there is none.

        Raises:
            TooLarge: The object has more than `limit` bytes; it was not read as a whole.
        """

    def put_new(self, key: str, data: bytes) -> bool:
        """Create the object.

        Returns:
            True: created. False: something is already there; it was left alone.

        Raises:
            OutcomeUnknown: It may or may not have been created.
        """

    def replace_if(self, key: str, data: bytes, token: str) -> str | None:
        """Replace the object if it is still the one that `token` was read with.

        Returns:
            The new token, or None: lost the race (also when there is no object any more).

        Raises:
            OutcomeUnknown: It may or may not have been replaced.
        """

    def list(self, prefix: str) -> Iterator[Listed]:
        """Iterate over the objects whose key begins with `prefix`, sorted by key bytewise.

        `prefix` is a plain string prefix, not a folder: `a/1` finds `a/1.json` and `a/10.json`.
        """

    def delete(self, key: str) -> bool:
        """Delete the object; afterwards there is none.

        Returns:
            Whether there was one. Concurrent callers may all be told True.
        """


def validate_key(key: str) -> None:
    """Refuse a key that not every storage can hold, or that leaves its place.

    A key is relative, of segments `[A-Za-z0-9._-]+` joined by single slashes, none of them `.`
    or `..`, at most 512 bytes, at most 255 a segment. The first segment does not begin with a
    dot: there adapters keep their own files.

    Raises:
        InputError: Another shape; the message does not repeat the key, it may come from outside.
    """
    segments = key.split("/")
    if len(key) > MAX_KEY_BYTES or key.startswith("."):
        raise InputError(
            f"expected a key of at most {MAX_KEY_BYTES} bytes, not beginning with a dot"
        )
    if not all(is_segment(segment) for segment in segments):
        raise InputError("expected a key of segments A-Z a-z 0-9 . _ - joined by single slashes")


def validate_prefix(prefix: str) -> None:
    """Refuse a prefix that no key begins with; the empty one is allowed.

    Raises:
        InputError: Another shape.
    """
    folder = prefix.rpartition("/")[0]
    if not _PREFIX.fullmatch(prefix) or len(prefix) > MAX_KEY_BYTES or prefix.startswith("/"):
        raise InputError(f"expected the beginning of a key, at most {MAX_KEY_BYTES} bytes")
    if folder:
        validate_key(folder)


def is_segment(name: str) -> bool:
    """Tell whether `name` may stand between two slashes of a key."""
    fits = len(name) <= MAX_SEGMENT_BYTES and name not in {".", ".."}
    return fits and _SEGMENT.fullmatch(name) is not None
