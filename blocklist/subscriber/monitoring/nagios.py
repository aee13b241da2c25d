"""Output for Nagios and what speaks like it (Monitoring Plugins Development Guidelines).

    BLOCKLIST WARNING - demo is HELD at .. | 'demo/clear age'=312s;3600;21600;0 holds=1;;;0 ..

The first line has the worst problem and performance data; the other problems follow, a line each.
"""

from collections.abc import Iterator, Sequence

from blocklist.subscriber.monitoring.health import Ages, Level, Problem, level
from blocklist.subscriber.monitoring.report import Report


def text(found: Report, listed: Sequence[Problem], ages: Ages) -> str:
    """Return the output for a report and its problems, the worst first."""
    worst = level(found, list(listed))
    first = _line(listed[0].text) if listed else _fine(found)
    more = [f"{one.level.name}: {_line(one.text)}" for one in listed[1:]]
    data = " ".join(_performance(found, ages))
    head = f"BLOCKLIST {worst.name} - {first}" + (f" | {data}" if data else "")
    return "\n".join([head, *more])


def unknown(reason: str) -> str:
    """Return the output when nothing can be told."""
    return f"BLOCKLIST {Level.UNKNOWN.name} - {_line(reason)}"


def _fine(found: Report) -> str:
    if not found.feeds:
        return "nothing is enrolled here"
    feeds = [f"{one.list}/{one.feed} version {one.version}" for one in found.feeds]
    exports = [
        f"export {one.definition.name} {one.counts.enforced} of {one.counts.entries}"
        for one in found.exports
    ]
    return ", ".join([*feeds, *exports])


def _performance(found: Report, ages: Ages) -> Iterator[str]:
    limits = f"{ages.warning.total_seconds():.0f};{ages.critical.total_seconds():.0f};0"
    for feed in found.feeds:
        name = f"{feed.list}/{feed.feed}"
        if feed.version is not None:
            yield f"'{name} version'={feed.version}"
            yield f"'{name} entries'={feed.entries};;;0"
        if feed.last is not None and feed.last.succeeded_at is not None:
            age = max((found.now - feed.last.succeeded_at).total_seconds(), 0)
            yield f"'{name} age'={age:.0f}s;{limits}"
    for export in found.exports:
        name, counts = export.definition.name, export.counts
        yield f"'export {name} enforced'={counts.enforced};;;0;{counts.entries}"
    if found.decided.exceptions is not None:
        yield f"exceptions={len(found.decided.exceptions.in_force)};;;0"
    if found.decided.holds is not None:
        yield f"holds={len(found.decided.holds.in_force)};;;0"


def _line(text: str) -> str:
    """Return text in one line and without the character that begins performance data."""
    return " ".join(text.replace("|", "/").split())
