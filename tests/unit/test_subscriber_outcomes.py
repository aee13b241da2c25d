"""Words and ranks of outcomes, and the document of the last one."""

from datetime import UTC, datetime

import pytest

from blocklist.core.entries import Feed
from blocklist.core.errors import (
    Busy,
    DigestMismatch,
    LocalError,
    MalformedFeed,
    NotAuthorised,
    TransportError,
    UnknownFormat,
)
from blocklist.subscriber.job import Pulled
from blocklist.subscriber.outcomes import Failure, Outcome, failed, most_serious, word
from blocklist.subscriber.pull import Failed, PullFailed
from blocklist.subscriber.transport import SourceDown
from signing.errors import (
    KeyTrouble,
    Malformed,
    Rollback,
    Stale,
    Tampered,
    UnknownRole,
    Unreachable,
)

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
IN_ORDER = [Tampered, Rollback, Malformed, Stale, Unreachable, NotAuthorised, UnknownFormat]


@pytest.mark.parametrize("number", range(len(IN_ORDER)))
def test_the_most_serious_one_wins(number: int) -> None:
    """13 before 12, 14, 11, 10 (docs/operating.md), then the rest, wherever they stand."""
    errors: list[Failure] = [LocalError("x"), *(kind("x") for kind in reversed(IN_ORDER[number:]))]
    assert type(most_serious(errors)) is IN_ORDER[number]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TransportError("x"), "unreachable"),
        (Stale("x"), "stale"),
        (Rollback("x"), "rollback"),
        (DigestMismatch("x"), "tampered"),
        (MalformedFeed("x"), "malformed"),
        (NotAuthorised("x"), "not-authorised"),
        (UnknownFormat("x"), "needs-newer-client"),
        (UnknownRole("x"), "unknown-list"),
        (KeyTrouble("x"), "local-trouble"),
        (Busy("x"), "local-trouble"),
    ],
)
def test_words(error: Failure, expected: str) -> None:
    assert word(error) == expected


def test_a_failure_keeps_what_the_last_success_knew() -> None:
    good = Outcome(NOW, "updated", 0, "", NOW, {"root": 1}, {"root": NOW})
    bad = failed(Stale("too old"), good, NOW)
    assert Outcome.from_bytes(bad.to_bytes()) == bad
    assert (bad.exit_code, bad.message, bad.succeeded_at) == (11, "too old", NOW)
    assert (bad.versions, bad.expires) == ({"root": 1}, {"root": NOW})


def test_pull_failed_speaks_for_the_worst() -> None:
    errors: list[Failure] = [SourceDown("slow down", 7.0), Rollback("old")]
    done: list[Pulled] = []
    error = PullFailed(done, [Failed("demo", Feed.CLEAR, one) for one in errors])
    assert (error.exit_code, error.retryable, error.retry_after) == (12, False, 7.0)
    assert str(error) == "demo/clear: old"
