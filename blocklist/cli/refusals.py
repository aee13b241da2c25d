"""What guards found, for people and as JSON."""

from collections.abc import Iterable, Iterator
from typing import Any

from blocklist.cli import output
from blocklist.publisher.guards import Finding

SHOWN_ENTRIES = 20  # of one guard, for people; `--json` has them all


def finding_texts(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield, for people, the entries that guards are about, defanged."""
    for finding in findings:
        if not finding.lines:
            continue
        yield f"  guard {finding.guard}:"
        for line in finding.lines[:SHOWN_ENTRIES]:
            yield f"    {output.shown(line.decode())}"
        if (left := len(finding.lines) - SHOWN_ENTRIES) > 0:
            yield f"    and {left:,} more"


def finding_documents(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return findings for `--json`, exact."""
    return [
        {"guard": item.guard, "text": item.text, "lines": [line.decode() for line in item.lines]}
        for item in findings
    ]
