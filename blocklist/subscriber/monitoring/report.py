"""Everything that is known here of how a subscriber stands; none of it is a listed URL."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from blocklist.core import documents
from blocklist.core.errors import BlocklistError, MalformedFeed
from blocklist.store.localfiles import local_errors, read_limited
from blocklist.subscriber import settings
from blocklist.subscriber.decisions import Decisions, decisions
from blocklist.subscriber.state import State
from blocklist.subscriber.status import FeedStatus, status

EXPORTS = "exports"


@dataclass(frozen=True, slots=True)
class ExportReport:
    """How one export stands, as its last run wrote it down (`STATE/exports/NAME.json`).

    Attributes:
        name: Of the export.
        versions: By list, those that hook and probe found in force; empty before the first.
        live_since: When that was found; None before the first.
        entries: Entries of its lists.
        enforced: How many of them it enforces.
        skipped: The others, by reason.
        pending: Hook or probe of the newest file have not succeeded yet.
        outcome: How the last run ended: `live`, `refused`, `pending` or `failed`.
        message: In words; empty when all is well.
        time: When it ended.
    """

    name: str
    versions: Mapping[str, int]
    live_since: datetime | None
    entries: int
    enforced: int
    skipped: Mapping[str, int]
    pending: bool
    outcome: str
    message: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """How a subscriber stands.

    Attributes:
        now: When this was found.
        feeds: Every enrolled feed.
        decided: Local decisions.
        exports: Every export.
        troubles: What could not be read of the exports, a line each.
    """

    now: datetime
    feeds: tuple[FeedStatus, ...]
    decided: Decisions
    exports: tuple[ExportReport, ...] = ()
    troubles: tuple[str, ...] = ()


def report(state: State, now: datetime) -> Report:
    """Return how a subscriber stands; what is damaged is told in it.

    Raises:
        LocalError: The state cannot be read.
    """
    feeds = tuple(status(state, now))
    exports, troubles = [], []
    folder = state.directory / EXPORTS
    with local_errors(f"read {folder}"):
        paths = sorted(folder.glob("*.json"))
    for path in paths:
        try:
            exports.append(_export(path))
        except BlocklistError as error:
            troubles.append(f"export {path.stem}: its record cannot be read: {error}")
    return Report(now, feeds, decisions(state.directory, now), tuple(exports), tuple(troubles))


def _export(path: Path) -> ExportReport:
    document = documents.parse(path.name, read_limited(path, settings.MAX_STATE_FILE_BYTES) or b"")
    live = documents.optional(document, "live", dict)
    pending = document.get("pending")
    if not isinstance(pending, bool):
        raise MalformedFeed("expected 'pending' as true or false")
    return ExportReport(
        path.stem,
        _counts(live, "versions") if live is not None else {},
        documents.moment(live, "time") if live is not None else None,
        documents.field(document, "entries", int),
        documents.field(document, "enforced", int),
        _counts(document, "skipped"),
        pending,
        documents.field(document, "outcome", str),
        documents.field(document, "message", str),
        documents.moment(document, "time"),
    )


def _counts(document: Mapping[str, object], name: str) -> dict[str, int]:
    found = documents.field(document, name, dict)
    return {key: documents.field(found, key, int) for key in found}
