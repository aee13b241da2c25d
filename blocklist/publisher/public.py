"""`fsck --public URL`: what can a stranger read, seen from outside?

Asks, without credentials, for real objects of the storage in every spelling that a public address
may have, and for listings:

    bucket, or web server over everything       URL/feed/targets/..    URL/private/..
    web server over the folder `feed`           URL/targets/..         URL/../private/..
    our API                                     URL/v1/targets/..

Metadata and hashed targets may be readable. Clear targets, everything under `private/`, listings,
access lists and policies may not (docs/spec.md, 10). An object counts as read when the very bytes
of the storage came back: a page for visitors with status 200 is no leak. It is a sample, one object
of each sort: rules of buckets and web servers are by prefix.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from urllib.parse import quote, urlsplit

from blocklist.core.entries import Feed
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from blocklist.store.port import Listed
from signing import names

GLANCE_BYTES = 65_536  # of an answer; enough to know an object by, or a listing
LISTED_AT_MOST = 10_000  # objects of a folder among which a sample is taken
REFUSALS = frozenset(range(400, 500)) - {429}  # statuses that say no; 5xx and 429 say nothing

METADATA = "metadata"
HASHED = "hashed targets"
CLEAR = "clear targets"
PRIVATE = "private objects"
LISTINGS = "listings"
_PRIVATE = f"{layout.RECORDS.partition('/')[0]}/"
_DIGEST_CHARS = 64
_MAY_BE_PUBLIC = frozenset({METADATA, HASHED})

_QUERIES = (
    "list-type=2",
    "list-type=2&prefix={private}",
    "prefix={private}",
    "prefix={targets}",
    "versions",
    "uploads",
    "acl",
    "policy",
)
_MARKS = (
    b"<ListBucketResult",
    b"<ListVersionsResult",
    b"<ListMultipartUploadsResult",
    b"<AccessControlPolicy",
    b'"Statement"',
    b"<title>Index of ",
    b'href="private/',
    b'href="targets/',
    b'href="metadata/',
)

Ask = Callable[[str], bytes | None]
"""Gives the first bytes of an answer with status 200 to a path below the host, with its query;
None: refused, with one of `REFUSALS`. Raises `TransportError` when there is no such answer."""


@dataclass(frozen=True, slots=True)
class Sample:
    """An object of the storage.

    Attributes:
        kind: What it stands for, such as `clear targets`.
        key: Its key.
        data: Its first bytes.
    """

    kind: str
    key: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outside:
    """What a stranger can read at one address.

    Attributes:
        url: The address.
        asked: Requests made.
        readable: By kind: whether it can be read, None when nothing of the kind is stored.
        problems: What may not be read and can be, a line each.
    """

    url: str
    asked: int
    readable: dict[str, bool | None]
    problems: tuple[str, ...]


def samples(repository: Repository) -> list[Sample]:
    """Return one object of each sort that the storage holds.

    Raises:
        StoreError: The storage cannot be read.
    """
    store = repository.store
    found = [(METADATA, layout.METADATA + names.file_name(names.ROOT, 1))]
    for name in repository.head(None).released():
        for feed, kind in ((Feed.CLEAR, CLEAR), (Feed.HASHED, HASHED)):
            objects = store.list(layout.targets_prefix(name, feed))
            found += [(kind, key) for key in _smallest(objects, _target_sort)]
    found += [(PRIVATE, key) for key in _smallest(store.list(_PRIVATE), _folder)]
    stored = ((kind, key, store.get(key)) for kind, key in found)
    return [
        Sample(kind, key, object_.data[:GLANCE_BYTES]) for kind, key, object_ in stored if object_
    ]


def look(url: str, sample: Iterable[Sample], ask: Ask) -> Outside:
    """Try to read everything as a stranger would.

    Args:
        url: `http(s)://HOST[/base]`.
        sample: Objects to ask for.
        ask: Asks the host.

    Raises:
        TransportError: It did not answer every question: nothing is proven.
    """
    base = urlsplit(url).path.strip("/")
    visit = _Visit(base, list(sample), ask)
    for one in visit.sample:
        visit.read(one)
    visit.list()
    return Outside(url, visit.asked, visit.readable, tuple(visit.problems))


@dataclass(slots=True)
class _Visit:
    """A stranger's visit: what was asked and found so far."""

    base: str
    sample: list[Sample]
    ask: Ask
    asked: int = 0
    readable: dict[str, bool | None] = field(
        default_factory=lambda: dict.fromkeys((METADATA, HASHED, CLEAR, PRIVATE, LISTINGS))
    )
    problems: list[str] = field(default_factory=list)

    def read(self, one: Sample) -> None:
        """Try to read an object, however it may be spelled."""
        paths = [path for path in _spelled(self.base, one.key) if _same(self._get(path), one.data)]
        self.readable[one.kind] = bool(self.readable[one.kind] or paths)
        if paths and one.kind not in _MAY_BE_PUBLIC:
            folder = paths[0].rpartition("/")[0]
            self.problems.append(f"{one.kind} can be read by anybody: /{folder}/..")

    def list(self) -> None:
        """Try to be told what there is, and who may read it."""
        paths = dict.fromkeys(_listings(self.base, self.sample))
        told = [path for path in paths if _tells(self._get(path), self.sample)]
        self.readable[LISTINGS] = bool(told)
        self.problems += [
            f"/{path} tells anybody what is stored, or who may read it" for path in told
        ]

    def _get(self, path: str) -> bytes | None:
        self.asked += 1
        return self.ask(path)


def _smallest(objects: Iterable[Listed], sort: Callable[[str], str]) -> list[str]:
    """Return the key of the smallest object of each sort."""
    best: dict[str, Listed] = {}
    for one in islice(objects, LISTED_AT_MOST):
        known = best.get(sort(one.key))
        if one.size and (known is None or one.size < known.size):
            best[sort(one.key)] = one
    return [one.key for one in best.values()]


def _target_sort(key: str) -> str:
    """Return `list`, `snapshot` or `delta`."""
    return key.rpartition("/")[2].partition(".")[2].partition("-")[0]


def _folder(key: str) -> str:
    """Return the folder below `private/`."""
    return key.removeprefix(_PRIVATE).partition("/")[0]


def _spelled(base: str, key: str) -> Iterator[str]:
    """Yield the paths under which an object may be found."""
    yield _joined(base, key)
    if key.startswith(layout.FEED):
        for folder in ("", "v1"):
            yield _joined(base, folder, key.removeprefix(layout.FEED))
        return
    yield _joined(base, "v1", key)
    yield f"{_joined(base, 'feed')}../{key}"  # nginx: `location /feed` with `alias ../feed/`
    if base:
        yield _joined(*base.split("/")[:-1], key)
        yield f"{base}../{key}"


def _listings(base: str, sample: Iterable[Sample]) -> Iterator[str]:
    """Yield the paths that would list a folder or bucket, or say who may read it."""
    segments = base.split("/") if base else []
    for depth in range(len(segments) + 1):  # the bucket may be any folder on the way
        folder = "/".join((*segments[:depth], ""))
        below = "/".join((*segments[depth:], ""))
        of = {
            "private": quote(below + _PRIVATE, safe=""),
            "targets": quote(below + layout.TARGETS, safe=""),
        }
        yield from (f"{folder}?{query.format(**of)}" for query in _QUERIES)
    for one in sample:
        yield f"{_joined(base, one.key)}?acl"
        for path in _spelled(base, one.key):
            yield from _folders(path)
    yield ""


def _folders(path: str) -> Iterator[str]:
    """Yield the folders that a path leads through, the nearest first."""
    while path := path.rpartition("/")[0]:
        yield f"{path}/"


def _joined(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def _same(data: bytes | None, stored: bytes) -> bool:
    return data is not None and data[:GLANCE_BYTES] == stored


def _tells(data: bytes | None, sample: Iterable[Sample]) -> bool:
    """Tell whether an answer is a listing, access list or policy."""
    if not data:
        return False
    files = (one.key.rpartition("/")[2].encode() for one in sample)
    digests = [file[:_DIGEST_CHARS] for file in files if len(file) > _DIGEST_CHARS]
    return any(mark in data for mark in (*_MARKS, *digests))
