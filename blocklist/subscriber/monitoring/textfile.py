"""Figures for Prometheus, as the textfile collector of its node exporter reads them.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text, version 0.0.4). The
subscriber side does without the client library: it needs gauges in a file, nothing else.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from blocklist.store.localfiles import write_atomic
from blocklist.subscriber.exports import record
from blocklist.subscriber.monitoring.health import Level
from blocklist.subscriber.monitoring.report import Report

MODE = 0o644  # the exporter runs as another user
_PREFIX = "blocklist_subscriber_"
_HELP = {
    "version": "Version of the list in force.",
    "entries": "Entries of the list in force.",
    "installed_timestamp_seconds": "When it was installed here.",
    "created_timestamp_seconds": "When the publisher made it.",
    "expires_timestamp_seconds": "When the metadata expires, as last verified.",
    "last_pull_timestamp_seconds": "When the last pull ended.",
    "last_success_timestamp_seconds": "When the last pull that succeeded ended.",
    "last_pull_exit": "What the last pull of the feed ended with (exit codes).",
    "last_pull_outcome": "1, with the outcome's word as a label.",
    "damaged": "1 when the installed list is damaged or cannot be read.",
    "next_hash_key_missing": "1 when a new hash key is announced and not enrolled.",
    "hold_until_timestamp_seconds": "When the hold on a list ends; only for holds in force.",
    "holds": "Holds in force.",
    "exceptions": "Exceptions in force.",
    "exceptions_ended": "Exceptions that have ended and are still kept.",
    "exception_next_end_timestamp_seconds": "When the next exception ends.",
    "decisions_damaged": "Files of exceptions and holds that cannot be read.",
    "export_live_version": "Version that an export has live.",
    "export_live_timestamp_seconds": "When that was found.",
    "export_last_run_timestamp_seconds": "When the last run of an export ended.",
    "export_ok": "1 when the last run of an export ended live.",
    "export_pending": "1 when hook or probe of the newest file have not succeeded yet.",
    "export_entries": "Entries of the lists of an export.",
    "export_enforced": "Entries that an export enforces.",
    "export_skipped": "Entries that an export cannot enforce, by reason.",
    "exports_damaged": "Records of exports that cannot be read.",
    "health": "0 OK, 1 warning, 2 critical, 3 unknown.",
    "status_timestamp_seconds": "When these figures were found.",
}


@dataclass(frozen=True, slots=True)
class _Sample:
    name: str
    labels: Mapping[str, str]
    value: float


def write(path: Path, found: Report, health: Level) -> None:
    """Put the figures into a file at once; readers see the old file or the new one.

    Raises:
        LocalError: The disk refuses; the old file stays.
    """
    write_atomic(path, text(found, health).encode(), mode=MODE)


def text(found: Report, health: Level) -> str:
    """Return the figures of a report."""
    samples = [*_feeds(found), *_decisions(found), *_exports(found)]
    samples.append(_Sample("health", {}, health))
    samples.append(_Sample("status_timestamp_seconds", {}, found.now.timestamp()))
    lines: list[str] = []
    for name, told in _HELP.items():
        lines += _family(name, told, [one for one in samples if one.name == name])
    return "".join(f"{line}\n" for line in lines)


def _family(name: str, told: str, samples: Iterable[_Sample]) -> Iterator[str]:
    full = f"{_PREFIX}{name}"
    for number, one in enumerate(samples):
        if number == 0:
            yield f"# HELP {full} {told}"
            yield f"# TYPE {full} gauge"
        labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in one.labels.items())
        yield f"{full}{{{labels}}} {one.value:.15g}" if labels else f"{full} {one.value:.15g}"


def _feeds(found: Report) -> Iterator[_Sample]:
    for feed in found.feeds:
        labels = {"list": feed.list, "feed": feed.feed.value}
        last, key = feed.last, feed.next_hash_key
        values: dict[str, float | datetime | None] = {
            "version": feed.version,
            "entries": feed.entries,
            "installed_timestamp_seconds": feed.installed_at,
            "created_timestamp_seconds": feed.created,
            "expires_timestamp_seconds": feed.expires,
            "last_pull_timestamp_seconds": last.time if last else None,
            "last_success_timestamp_seconds": last.succeeded_at if last else None,
            "last_pull_exit": last.exit_code if last else None,
            "damaged": bool(feed.trouble),
            "next_hash_key_missing": key is not None and not key.held,
        }
        yield from _samples(values, labels)
        if last is not None:
            yield _Sample("last_pull_outcome", {**labels, "outcome": last.word}, 1)


def _decisions(found: Report) -> Iterator[_Sample]:
    exceptions, holds = found.decided.exceptions, found.decided.holds
    yield _Sample("decisions_damaged", {}, len(found.decided.troubles))
    if holds is not None:
        yield _Sample("holds", {}, len(holds.in_force))
        for one in holds.in_force:
            yield from _samples({"hold_until_timestamp_seconds": one.until}, {"list": one.list})
    if exceptions is not None:
        yield _Sample("exceptions", {}, len(exceptions.in_force))
        yield _Sample("exceptions_ended", {}, len(exceptions.ended))
        soonest = min((one.until for one in exceptions.in_force), default=None)
        yield from _samples({"exception_next_end_timestamp_seconds": soonest}, {})


def _exports(found: Report) -> Iterator[_Sample]:
    yield _Sample("exports_damaged", {}, len(found.troubles))
    for export in found.exports:
        labels = {"export": export.definition.name}
        values: dict[str, float | datetime | None] = {
            "export_live_timestamp_seconds": export.live.time if export.live else None,
            "export_last_run_timestamp_seconds": export.time,
            "export_ok": export.word == record.LIVE,
            "export_pending": export.pending,
            "export_entries": export.counts.entries,
            "export_enforced": export.counts.enforced,
        }
        yield from _samples(values, labels)
        for name, version in export.live.versions.items() if export.live else ():
            yield _Sample("export_live_version", {**labels, "list": name}, version)
        for reason, number in export.counts.skipped.items():
            yield _Sample("export_skipped", {**labels, "reason": reason}, number)


def _samples(
    values: Mapping[str, float | datetime | None], labels: Mapping[str, str]
) -> Iterator[_Sample]:
    """Yield a sample for each value that is known."""
    for name, value in values.items():
        if isinstance(value, datetime):
            yield _Sample(name, labels, value.timestamp())
        elif value is not None:
            yield _Sample(name, labels, float(value))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
