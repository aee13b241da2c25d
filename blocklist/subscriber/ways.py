"""The ways to the list bytes of the verified version M, tried in this order.

    ladder     stored deltas from the version held
    snapshot   the newest snapshot, and the ladder from there
    list       the raw list bytes, stored while they are small

Only M's signed digest and length decide: role files of other versions are hints, and where the
objects come from is of no account. A way that is missing something or ends in other bytes is
followed by the next. Tampered only when all have failed and wrong bytes were among the reasons.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from blocklist.core import delta, ladder, listbytes
from blocklist.core.errors import (
    DigestMismatch,
    FeedError,
    LocalError,
    MalformedFeed,
    TransportError,
    UnknownFormat,
)
from blocklist.core.release import Blob, FeedRelease
from blocklist.subscriber import settings
from blocklist.subscriber.outcomes import most_serious
from blocklist.subscriber.supply import Supply
from signing.errors import Tampered

LADDER = "ladder"
SNAPSHOT = "snapshot"
LIST = "list"


@dataclass(frozen=True, slots=True)
class Reached:
    """Verified list bytes of M, and how they came.

    Attributes:
        data: List bytes.
        way: `ladder`, `snapshot` or `list`.
    """

    data: bytes
    way: str


def reach(release: FeedRelease, held: tuple[int, bytes] | None, supply: Supply) -> Reached:
    """Return the list bytes that the release's digest names.

    Args:
        release: The verified version M.
        held: Version and list bytes that are installed, None for nothing usable.
        supply: Hostile bytes.

    Raises:
        Tampered: No way works, and wrong bytes were met.
        TransportError: No way works, for want of objects.
        UnknownFormat: No way works, and bytes of a signed digest need a newer client.
        LocalError: The list is beyond our limit.
    """
    if release.content.length > listbytes.MAX_LIST_BYTES:
        raise LocalError(f"expected a list of at most {listbytes.MAX_LIST_BYTES} bytes")
    failures: list[FeedError | TransportError] = []
    for way, walk in _ways(release, held, supply):
        try:
            data = walk()
            _compare(release.content, data)
        except (FeedError, TransportError) as error:
            failures.append(error)
        else:
            return Reached(data, way)
    raise _verdict(release, failures)


def validate(release: FeedRelease, data: bytes) -> None:
    """Check the shape of list bytes that have the signed digest.

    Raises:
        MalformedFeed: The publisher signed something else than a list of `entries` entries.
        UnknownFormat: Entries of a kind that needs a newer client.
    """
    listbytes.validate(release.feed, data)
    entries = listbytes.count(release.feed, data)
    if entries != release.facts.entries or entries == 0:
        raise MalformedFeed(f"expected {release.facts.entries} entries, more than 0, got {entries}")


def _ways(
    release: FeedRelease, held: tuple[int, bytes] | None, supply: Supply
) -> list[tuple[str, Callable[[], bytes]]]:
    ways: list[tuple[str, Callable[[], bytes]]] = []
    if held is not None:
        ways.append((LADDER, lambda: _climb(*held, release, supply)))
    if release.snapshot is not None:
        snapshot = release.snapshot
        ways.append((SNAPSHOT, lambda: _from_snapshot(*snapshot, release, supply)))
    ways.append((LIST, lambda: supply.object(release.content)))
    return ways


def _from_snapshot(version: int, blob: Blob, release: FeedRelease, supply: Supply) -> bytes:
    # Named by M itself, so the publisher vouches for its size, however small M has become.
    data = _apply(
        release, b"", supply.object(blob), max_bytes=listbytes.MAX_LIST_BYTES, signed=True
    )
    return _climb(version, data, release, supply)


def _climb(version: int, data: bytes, release: FeedRelease, supply: Supply) -> bytes:
    """Apply the ladder from `version`, whose list bytes `data` are said to be, to M."""
    roles = {release.version: release}

    def froms_of(at: int) -> list[int]:
        if at not in roles:
            roles[at] = supply.hint(at)
        return list(roles[at].deltas)

    hops = ladder.walk(version, release.version, froms_of)
    if hops is None:
        raise TransportError(f"no stored deltas lead from version {version} to {release.version}")
    _affordable([roles[to].deltas[start] for start, to in hops], release)
    max_bytes = _most(max(len(data), release.content.length))
    for start, to in hops:
        step = supply.object(roles[to].deltas[start])
        data = _apply(release, data, step, max_bytes=max_bytes, signed=to == release.version)
    return data


def _affordable(steps: list[Blob], release: FeedRelease) -> None:
    """Refuse a ladder of hints that costs more than the whole list would."""
    allowed = _most(release.content.length)
    if sum(step.length for step in steps) > allowed:
        raise MalformedFeed(f"expected deltas of at most {allowed} bytes in all")


def _most(size: int) -> int:
    """Return the most bytes that hints may make us handle on the way to a list of `size` bytes."""
    return min(max(2 * size, settings.LADDER_FLOOR_BYTES), listbytes.MAX_LIST_BYTES)


def _apply(release: FeedRelease, old: bytes, step: bytes, *, max_bytes: int, signed: bool) -> bytes:
    """Apply a delta; a format we do not know only counts where a signature vouches for it."""
    try:
        return delta.apply(release.feed, old, step, max_bytes=max_bytes)
    except UnknownFormat as error:
        if signed:
            raise
        raise MalformedFeed(f"expected a delta: {error}") from error


def _compare(content: Blob, data: bytes) -> None:
    if len(data) != content.length or hashlib.sha256(data).hexdigest() != content.sha256:
        raise DigestMismatch("expected the signed list bytes, got others")


def _verdict(release: FeedRelease, failures: list[FeedError | TransportError]) -> Exception:
    """Return the error for a release that no way leads to."""
    for failure in failures:
        if isinstance(failure, UnknownFormat):
            return failure
    reasons = "; ".join(dict.fromkeys(str(failure) for failure in failures))
    if any(isinstance(failure, FeedError) for failure in failures):
        return Tampered(f"no way leads to version {release.version}: {reasons}")
    return most_serious(list(failures))
