"""The ladder: which deltas a release stores, and the way from one version to another.

Release M stores the delta from the previous release and, for each k with 2^k dividing M, up to
1,024, the one from version max(1, M - 2^k). A subscriber walks back from the head by the
smallest `from` that is not below what it holds, then applies forward (docs/spec.md, "Ladder").

Versions can be missing. The first release above a missing number stands in for it: a release
takes, for each step, the newest multiple after the previous release, and a rung to a missing
number starts from its stand-in. So ways are logarithmic whatever is missing, and about two
deltas are stored a release. Everything here is arithmetic; `froms_of` tells what is stored.
"""

from collections.abc import Callable, Iterable

STEP_MAX = 1024  # versions, longest step of the ladder
MAX_HOPS = 32  # deltas in a way; beyond it the snapshot is cheaper
SNAPSHOT_SHARE = 4  # a new snapshot when the ladder outweighs 1/4 of the last one
SNAPSHOT_RELEASES = 256  # releases after which a new snapshot is due in any case

FromsOf = Callable[[int], Iterable[int]]


def rungs(version: int, previous: int | None = None) -> tuple[int, ...]:
    """Return the thresholds of a version's ladder, descending; empty for version 1.

    For each, the release stores the delta from `ceil_release(threshold, previous, ..)`.

    Args:
        version: The release.
        previous: The release before it, `version - 1` unless numbers are missing between.
    """
    covered = version - 1 if previous is None else previous
    thresholds = {version - 1}
    for step in (1 << k for k in range(STEP_MAX.bit_length())):
        multiple = version - version % step
        if multiple > covered:
            thresholds.add(max(1, multiple - step))
    return tuple(sorted((at for at in thresholds if 1 <= at < version), reverse=True))


def next_from(froms: Iterable[int], have: int) -> int | None:
    """Return the smallest of `froms` that is not below `have`, None without one."""
    return min((start for start in froms if start >= have), default=None)


def walk(have: int, head: int, froms_of: FromsOf) -> list[tuple[int, int]] | None:
    """Find the way from the version held to the head.

    Args:
        have: The version held.
        head: The version wanted.
        froms_of: Names the versions that a version's stored deltas start from.

    Returns:
        Hops (from, to) in the order in which to apply them, none when `have` is the head;
        None when no way of at most `MAX_HOPS` exists or a version claims a delta from itself
        or above.
    """
    hops: list[tuple[int, int]] = []
    at = head
    while at != have:
        froms = _below(at, froms_of)
        start = next_from(froms, have)
        if start is None or len(hops) == MAX_HOPS:
            return None
        hops.append((start, at))
        at = start
    return hops[::-1]


def ceil_release(target: int, start: int, froms_of: FromsOf) -> int:
    """Return the oldest release at or above `target`, walking back from release `start`.

    Every release names its predecessor among its froms: where none is at or above `target`, the
    release itself is the one looked for. It is `start` when that is below `target`.
    """
    at = start
    while (step := next_from(_below(at, froms_of), target)) is not None:
        at = step
    return at


def snapshot_due(snapshot_bytes: int, ladder_bytes: int, releases: int) -> bool:
    """Tell whether a new snapshot should be stored.

    Args:
        snapshot_bytes: Length of the newest stored snapshot.
        ladder_bytes: Length of all deltas stored since.
        releases: Releases since.
    """
    return ladder_bytes * SNAPSHOT_SHARE > snapshot_bytes or releases >= SNAPSHOT_RELEASES


def _below(version: int, froms_of: FromsOf) -> tuple[int, ...]:
    """Return a version's froms, none when any does not lie strictly below it (hostile)."""
    froms = tuple(froms_of(version))
    return froms if all(1 <= start < version for start in froms) else ()
