"""What differs between two releases of a feed, in three forms.

    json    {"list", "feed", "from", "to", "add": [lines], "remove": [lines]}       clear
    text    "- line" for what goes, then "+ line" for what comes, each sorted       clear
    binary  the delta from one to the other (docs/spec.md, "Deltas")                both feeds

Both lists are rebuilt and must have their signed digests. A diff is made once for all who ask at
the same time, remembered, and shared with the other processes. It never changes: the digests of
both lists are part of its name. Finding the name may read much: that takes a slot as well.
"""

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum

from blocklist.api.cache import ByteLru
from blocklist.api.diffing.chain import Chains, Gone, state
from blocklist.api.diffing.lately import Lately
from blocklist.api.diffing.past import Past
from blocklist.api.diffing.sealed import Blobs, Sealed
from blocklist.api.flights import Flights
from blocklist.api.heavy import Heavy
from blocklist.api.live import Live, NotServable
from blocklist.api.reader import FeedReader
from blocklist.core import changes, delta
from blocklist.core.entries import Feed
from blocklist.core.errors import BlocklistError
from blocklist.core.release import FeedRelease
from blocklist.store.port import Store

MAX_DIFF_BYTES = 32 << 20  # of changed lines, or of a binary diff; beyond it take the snapshot
MAX_LIST_BYTES = 256 << 20  # of either list; beyond it likewise
WAIT_SECONDS = 30  # for a free slot to compute in
_CACHE_BYTES = 32 << 20  # diffs, whole process
_NAMES_BYTES = 1 << 20  # names of diffs, whole process
_NAME_PREFIX = "blocklist diff 1"
_NEVER = b""  # the name of what cannot be named: a version never was released


class Form(StrEnum):
    """In which form a diff is wanted; the values are media types."""

    JSON = "application/json"
    TEXT = "text/plain"
    BINARY = "application/octet-stream"


FORMS = {Feed.CLEAR: (Form.JSON, Form.TEXT, Form.BINARY), Feed.HASHED: (Form.BINARY,)}
"""Forms of each feed; the first is what who does not care gets."""


class NeverReleased(BlocklistError):
    """A number that no release has."""

    http_status = 404


@dataclass(frozen=True, slots=True)
class Wanted:
    """One diff.

    Attributes:
        list, feed, form: Of what, and how.
        start: The version held; 0: the empty list.
        end: The version wanted, 1 or more, not below `start`.
    """

    list: str
    feed: Feed
    form: Form
    start: int
    end: int


class Diffs:
    """Makes diffs.

    Args:
        reader: The repository.
        store: The whole storage, for the secrets that shared diffs are sealed with.
        shared: Where processes share what they computed; None: there is only this one.
        wait_seconds: How long a diff waits for others to be computed.

    Attributes:
        computed: Answers that this process computed.
        cached: Answers that somebody had computed before or was computing.
    """

    def __init__(
        self,
        reader: FeedReader,
        store: Store,
        shared: Blobs | None = None,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self.computed = 0
        self.cached = 0
        self._reader = reader
        self._sealed = Sealed(store, shared)
        self._heavy = Heavy(wait_seconds)
        self._chains = Chains(reader, self._heavy)
        self._flights = Flights[bytes]()
        self._bodies = ByteLru(_CACHE_BYTES)
        self._names = ByteLru(_NAMES_BYTES)
        self._gone = Lately()

    def name(self, live: Live, wanted: Wanted) -> str:
        """Return the name of a diff: 64 hex digits that stand for its content.

        Raises:
            NeverReleased: One of the versions never was a release.
            Gone: That, or what one of them was, cannot be proven any more.
            StoreError: The storage failed.
            TooBusy: Too many other diffs are being computed.
        """
        # The digest of the live role file stands for the whole history, which it chains.
        key = (state(live, wanted.list), wanted)

        def make() -> bytes:
            with self._heavy.slot():
                name = _name(self._past(live, wanted), wanted)
            self._names.put(key, name)
            return name

        known = self._names.get(key)
        if known is None:
            known = self._flights.run(("name", key), make)
        if known == _NEVER:
            raise NeverReleased("expected a version that was released")
        return known.decode()

    def body(self, live: Live, wanted: Wanted) -> bytes:
        """Return a diff.

        Raises:
            NeverReleased, StoreError: As `name`.
            Gone: Also when there is more to it than is made here; the snapshot can be had.
            NotServable: The live list cannot be rebuilt.
            TooBusy: Too many other diffs are being computed.
        """
        name = self.name(live, wanted)
        fresh = False

        def make() -> bytes:
            nonlocal fresh
            body = self._sealed.get(live, wanted.list, name)
            if body is None:
                body = self._computed(live, wanted, name)
                fresh = True
                self._sealed.put(live, wanted.list, name, body)
            self._bodies.put(name, body)
            return body

        body = self._bodies.get(name)
        if body is None:
            body = self._flights.run(name, make)
        if fresh:
            self.computed += 1
        else:
            self.cached += 1
        return body

    def _past(self, live: Live, wanted: Wanted) -> Past:
        chain = self._chains.of(live, wanted.list)
        return Past(chain, self._reader.objects, wanted.list, self._heavy)

    def _computed(self, live: Live, wanted: Wanted, name: str) -> bytes:
        """Compute a diff in a slot, unless that could not be done a moment ago."""
        why = self._gone.get(name)
        if why is not None:
            raise Gone(why)
        with self._heavy.slot():
            try:
                return self._compute(live, wanted)
            except Gone as error:
                self._gone.put(name, str(error))
                raise

    def _compute(self, live: Live, wanted: Wanted) -> bytes:
        past = self._past(live, wanted)
        start, end = _pair(past, wanted)
        _expect_comparable(start, end, wanted)
        old = past.content(start) if start is not None else b""
        try:
            new = past.content(end, (wanted.start, old) if start else None)
        except Gone as error:
            if end.version != live.roles[wanted.list].version:
                raise
            raise NotServable(f"the live version of list {wanted.list} is incomplete") from error
        body = self._heavy.run(render, wanted, old, new)
        if body is None:
            raise Gone("there is more to the diff than is sent at once")
        return body


def render(wanted: Wanted, old: bytes, new: bytes) -> bytes | None:
    """Return what turns valid list bytes into others; None when it is more than a diff may be."""
    if wanted.form is Form.BINARY:
        body = delta.encode(wanted.feed, old, new)
        return body if len(body) <= MAX_DIFF_BYTES else None
    found = changes.between(old, new, max_bytes=MAX_DIFF_BYTES)
    if found is None:
        return None
    return _text(found) if wanted.form is Form.TEXT else _json(wanted, found)


def _text(found: changes.Changes) -> bytes:
    gone = (b"- %b\n" % line for line in found.remove)
    come = (b"+ %b\n" % line for line in found.add)
    return b"".join((*gone, *come))


def _json(wanted: Wanted, found: changes.Changes) -> bytes:
    document = {
        "list": wanted.list,
        "feed": wanted.feed.value,
        "from": wanted.start,
        "to": wanted.end,
        "add": [line.decode("ascii") for line in found.add],
        "remove": [line.decode("ascii") for line in found.remove],
    }
    return json.dumps(document).encode() + b"\n"


def _expect_comparable(start: FeedRelease | None, end: FeedRelease, wanted: Wanted) -> None:
    """Refuse what is as well had as a snapshot, before anything is read.

    Under another hash key all entry hashes are others. From nothing to all is a snapshot.
    """
    rekeyed = start is not None and start.facts.hash_key_id != end.facts.hash_key_id
    whole = start is None and wanted.form is Form.BINARY
    large = max(end.content.length, start.content.length if start else 0) > MAX_LIST_BYTES
    if rekeyed or whole or large:
        raise Gone("the snapshot is what leads there")


def _pair(past: Past, wanted: Wanted) -> tuple[FeedRelease | None, FeedRelease]:
    """Return both releases; None for the empty list.

    Raises:
        NeverReleased, Gone, StoreError: As `Diffs.name`.
    """
    end = _released(past.release(wanted.feed, wanted.end))
    start = _released(past.release(wanted.feed, wanted.start)) if wanted.start else None
    return start, end


def _released(release: FeedRelease | None) -> FeedRelease:
    if release is None:
        raise NeverReleased("expected a version that was released")
    return release


def _name(past: Past, wanted: Wanted) -> bytes:
    try:
        start, end = _pair(past, wanted)
    except NeverReleased:
        return _NEVER
    parts = (
        _NAME_PREFIX, wanted.list, wanted.feed, wanted.form, wanted.start, wanted.end,
        start.content.sha256 if start is not None else None, end.content.sha256,
    )  # fmt: skip
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest().encode()
