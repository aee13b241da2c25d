"""Guards of the whole list: they look at how much changes, not at what.

    empty        no source entry is left
    shrink       net loss over a tenth and over 25 entries
    churn        added plus removed over 15 percent and over 200 entries
    unparseable  over half of a source's lines, and over 25, are no entries (with --skip-bad)
    withdrawn    entries would return although they were withdrawn

Shares are of the entries of the previous release; `shrink` and `churn` are off while the list has
no release. Which of them look at an operation is in `SKIPPED`:

- A withdrawal only removes, and must not wait. New hash keys and renewals change no entry.
- A rollback is told the version to go back to, so that much changes is no sign of a wrong file.
  That the list would lose much harms as in any release, and what was withdrawn must not come back.
"""

from collections.abc import Callable, Mapping
from typing import Final

from blocklist.publisher.guards.change import Change, Finding, counted
from blocklist.publisher.settings import Settings

WholeGuard = Callable[[Change, Settings], Finding | None]


def _empty(change: Change, _: Settings) -> Finding | None:
    if change.source:
        return None
    return Finding("empty", "expected at least one entry, got none")


def _shrink(change: Change, settings: Settings) -> Finding | None:
    loss = len(change.removed) - len(change.added)
    if change.before is None or not _passed(
        loss, settings.shrink_entries, settings.shrink_share, change.before
    ):
        return None
    text = (
        f"the list would lose {loss} of {change.before} entries, more than "
        f"{settings.shrink_entries} and {settings.shrink_share:.0%}"
    )
    return Finding("shrink", text)


def _churn(change: Change, settings: Settings) -> Finding | None:
    come, go = len(change.added), len(change.removed)
    if change.before is None or not _passed(
        come + go, settings.churn_entries, settings.churn_share, change.before
    ):
        return None
    text = (
        f"{come} entries would come and {go} go, of {change.before}: more "
        f"than {settings.churn_entries} and {settings.churn_share:.0%}"
    )
    return Finding("churn", text)


def _unparseable(change: Change, settings: Settings) -> Finding | None:
    if not _passed(change.bad, settings.bad_lines, settings.bad_share, change.read):
        return None
    text = (
        f"{change.bad} of {change.read} lines of the sources are no entries, more than "
        f"{settings.bad_lines} and {settings.bad_share:.0%}"
    )
    return Finding("unparseable", text)


def _withdrawn(change: Change, _: Settings) -> Finding | None:
    lines = tuple(line for line in change.news if line in change.withdrawn)
    if not lines:
        return None
    return Finding("withdrawn", f"{counted(lines)} would return that had been withdrawn", lines)


WHOLE: Final[Mapping[str, WholeGuard]] = {
    "empty": _empty,
    "shrink": _shrink,
    "churn": _churn,
    "unparseable": _unparseable,
    "withdrawn": _withdrawn,
}

SKIPPED: Final[Mapping[str, frozenset[str]]] = {
    "withdraw": frozenset(WHOLE),
    "announce-hash-key": frozenset(WHOLE),
    "rotate-hash-key": frozenset(WHOLE),
    "rollback": frozenset({"churn"}),
}


def applies(code: str, change: Change) -> bool:
    """Tell whether a guard of the whole list looks at this change."""
    moved = change.added or change.removed or change.read
    renewal = change.before is not None and not moved
    return not renewal and code not in SKIPPED.get(change.operation, frozenset())


def _passed(count: int, most: int, share: float, whole: int) -> bool:
    """Tell whether a count passes both of its bounds."""
    return count > most and count > share * whole
