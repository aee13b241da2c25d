"""All guards, run on a change: what they find, and whether it may go on."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final

from blocklist.core.errors import GuardRefused, InputError
from blocklist.publisher.guards.change import Change, Finding, counted
from blocklist.publisher.guards.coverage import subject
from blocklist.publisher.guards.files import GuardFiles
from blocklist.publisher.guards.lines import LINES, TEXTS, refusals
from blocklist.publisher.guards.whole import WHOLE, applies
from blocklist.publisher.settings import Settings

GUARDS: Final = (*WHOLE, *LINES)  # codes, in the order in which findings are told


class GuardsRefused(GuardRefused):
    """Guards refused the release; `code` is the first of them.

    Attributes:
        findings: What they found.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        told = "; ".join(f"guard {item.guard}: {item.text}" for item in findings)
        ways = [" ".join(f"--allow {item.guard}" for item in findings) + " --reason TEXT"]
        if skippable := [item.guard for item in findings if item.guard in LINES]:
            ways.append(f"--skip-bad to leave out the entries of {', '.join(skippable)}")
        super().__init__(findings[0].guard, f"{told} ({', or '.join(ways)})")
        self.findings = tuple(findings)


def find(change: Change, settings: Settings, files: GuardFiles) -> list[Finding]:
    """Return what all guards have against a change, in the order of `GUARDS`.

    Nothing but the arguments counts, so whoever has the same guard files finds the same.

    Args:
        change: What the release would do.
        settings: The organisation's bounds.
        files: What it protects and allows.
    """
    whole = [guard(change, settings) for code, guard in WHOLE.items() if applies(code, change)]
    return [finding for finding in whole if finding] + _of_lines(change.news, files)


def check(
    change: Change, settings: Settings, files: GuardFiles, allowed: Mapping[str, str]
) -> list[dict[str, str]]:
    """Run all guards.

    Args:
        change, settings, files: As for `find`.
        allowed: Reason by guard code that may be overridden.

    Returns:
        The overrides that were needed, for the record: `guard`, `finding`, `reason`.

    Raises:
        GuardsRefused: Guards that are not overridden, all of them.
        InputError: An override of a guard that does not exist.
    """
    for code in allowed:
        if code not in GUARDS:
            raise InputError(f"unknown guard {code!r}; guards are {', '.join(GUARDS)}")
    findings = find(change, settings, files)
    refused = [finding for finding in findings if finding.guard not in allowed]
    if refused:
        raise GuardsRefused(refused)
    return [
        {"guard": item.guard, "finding": item.text, "reason": allowed[item.guard]}
        for item in findings
    ]


def leave_out(
    added: Iterable[bytes], files: GuardFiles, allowed: Container[str] = ()
) -> tuple[tuple[bytes, ...], dict[str, int]]:
    """Leave out the entries that a guard of entries would refuse.

    Args:
        added: Lines that would come, without the test entry.
        files: What the organisation protects and allows.
        allowed: Codes that are overridden: what only they refuse is kept.

    Returns:
        The lines that are left, in their order, and how many were left out, each counted under
        the first code that refuses it.
    """
    kept: list[bytes] = []
    counts: Counter[str] = Counter()
    for line in added:
        codes = [code for code in refusals(subject(line), files) if code not in allowed]
        if codes:
            counts[codes[0]] += 1
        else:
            kept.append(line)
    return tuple(kept), {code: counts[code] for code in LINES if counts[code]}


def _of_lines(news: Iterable[bytes], files: GuardFiles) -> list[Finding]:
    found: dict[str, list[bytes]] = {code: [] for code in LINES}
    for line in news:
        for code in refusals(subject(line), files):
            found[code].append(line)
    return [_finding(code, tuple(sorted(lines))) for code, lines in found.items() if lines]


def _finding(code: str, lines: tuple[bytes, ...]) -> Finding:
    return Finding(code, f"{counted(lines)} to add: {TEXTS[code]}", lines)
