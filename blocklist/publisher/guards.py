"""Guards: releases that would do harm are refused unless somebody takes the blame by name.

    empty    no source entry at all
    shrink   net loss over a tenth and over 25 entries
    churn    added plus removed over 15 percent and over 200 entries

Shares are of the entries of the previous release; `shrink` and `churn` are off while the list has
no release. Each names what it counted; none names an entry.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from blocklist.core.errors import GuardRefused, InputError
from blocklist.publisher.settings import Settings


@dataclass(frozen=True, slots=True)
class Change:
    """What a release would do, in numbers.

    Attributes:
        before: Entries of the previous release; None when there is none.
        source: Entries after it, without the test entry.
        added, removed: Entries that come and go.
    """

    before: int | None
    source: int
    added: int
    removed: int


def _empty(change: Change, _: Settings) -> str | None:
    return "expected at least one entry, got none" if change.source == 0 else None


def _shrink(change: Change, settings: Settings) -> str | None:
    if change.before is None:
        return None
    loss = change.removed - change.added
    if loss > settings.shrink_entries and loss > settings.shrink_share * change.before:
        return (
            f"the list would lose {loss} of {change.before} entries, more than "
            f"{settings.shrink_entries} and {settings.shrink_share:.0%}"
        )
    return None


def _churn(change: Change, settings: Settings) -> str | None:
    if change.before is None:
        return None
    moved = change.added + change.removed
    if moved > settings.churn_entries and moved > settings.churn_share * change.before:
        return (
            f"{change.added} entries would come and {change.removed} go, of {change.before}: more "
            f"than {settings.churn_entries} and {settings.churn_share:.0%}"
        )
    return None


GUARDS: Mapping[str, Callable[[Change, Settings], str | None]] = {
    "empty": _empty,
    "shrink": _shrink,
    "churn": _churn,
}


def check(change: Change, settings: Settings, allowed: Mapping[str, str]) -> list[dict[str, str]]:
    """Run all guards.

    Args:
        change: What the release would do.
        settings: The organisation's bounds.
        allowed: Reason by guard code that may be overridden.

    Returns:
        The overrides that were needed, for the record.

    Raises:
        GuardRefused: A guard that is not overridden.
        InputError: An override of a guard that does not exist.
    """
    for code in allowed:
        if code not in GUARDS:
            raise InputError(f"unknown guard {code!r}; guards are {', '.join(GUARDS)}")
    overrides = []
    for code, guard in GUARDS.items():
        finding = guard(change, settings)
        if finding is None:
            continue
        if code not in allowed:
            raise GuardRefused(code, f"guard {code}: {finding} (--allow {code} --reason TEXT)")
        overrides.append({"guard": code, "finding": finding, "reason": allowed[code]})
    return overrides
