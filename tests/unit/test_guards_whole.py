"""Guards of the whole list at and just beyond their bounds, and the operations that pass them."""

import pytest

from blocklist.core.errors import GuardRefused, InputError
from blocklist.publisher.guards import GUARDS, Change, GuardFiles, check, find
from blocklist.publisher.guards.whole import WHOLE
from blocklist.publisher.settings import Settings

DEFAULTS = Settings()
NOTHING: frozenset[bytes] = frozenset()
FILES = GuardFiles.of(NOTHING, NOTHING, NOTHING)


def pages(count: int, start: int = 0) -> tuple[bytes, ...]:
    return tuple(f"u site-{n:06}.example/page".encode() for n in range(start, start + count))


def change(before: int | None, added: int, removed: int, operation: str = "publish") -> Change:
    return Change(
        before,
        (before or 0) + added - removed,
        pages(added),
        pages(removed, 500_000),
        operation=operation,
    )


def codes(change: Change, settings: Settings = DEFAULTS) -> list[str]:
    return [finding.guard for finding in find(change, settings, FILES)]


@pytest.mark.parametrize(
    ("before", "added", "removed", "code"),
    [
        (100, 0, 25, None),  # at the count
        (100, 0, 26, "shrink"),
        (260, 0, 26, None),  # at the share
        (259, 0, 26, "shrink"),
        (1000, 0, 100, None),
        (1000, 0, 101, "shrink"),
        (1000, 20, 120, None),  # a net loss of a hundred
        (1000, 19, 120, "shrink"),
        (30, 0, 25, None),  # a small list may lose nearly all
        (1000, 100, 100, None),  # churn at the count
        (1000, 101, 100, "churn"),
        (2000, 200, 100, None),  # at the share
        (2000, 201, 100, "churn"),
        (2000, 301, 0, "churn"),  # growth counts too
        (200, 200, 0, None),
        (200, 201, 0, "churn"),
        (None, 10_000, 0, None),  # off while the list has no release
    ],
)
def test_bounds(before: int | None, added: int, removed: int, code: str | None) -> None:
    assert codes(change(before, added, removed)) == ([code] if code else [])


@pytest.mark.parametrize(
    ("bad", "read", "refused"),
    [
        (25, 25, False),  # at the count: somebody looked at them and said --skip-bad
        (26, 26, True),
        (26, 52, False),  # at the share
        (26, 51, True),
        (1000, 2001, False),
        (0, 0, False),
    ],
)
@pytest.mark.parametrize("before", [None, 1000])
def test_bounds_of_bad_lines(bad: int, read: int, refused: bool, before: int | None) -> None:
    found = codes(Change(before, 1000, pages(1), (), bad=bad, read=read))
    assert found == (["unparseable"] if refused else [])


def test_the_bounds_of_bad_lines_are_settings() -> None:
    tight = Settings(bad_share=0.1, bad_lines=0)
    assert codes(Change(10, 10, pages(1), bad=1, read=9), tight) == ["unparseable"]
    assert codes(Change(10, 10, pages(1), bad=1, read=10), tight) == []


@pytest.mark.parametrize(
    ("before", "removed"), [(None, 0), (1, 1), (5, 4)], ids=["first", "changes", "all"]
)
def test_a_release_without_source_entry_is_refused(before: int | None, removed: int) -> None:
    assert codes(Change(before, 0, (), pages(removed))) == ["empty"]


def test_a_list_that_was_emptied_by_a_withdrawal_can_be_renewed() -> None:
    assert codes(Change(1, 0, (), ())) == []


def test_what_was_withdrawn_does_not_return_by_itself() -> None:
    new = pages(3)
    found = find(Change(9, 12, new, withdrawn={new[1], b"h elsewhere.example"}), DEFAULTS, FILES)
    assert [(item.guard, item.lines) for item in found] == [("withdrawn", (new[1],))]
    assert found[0].text == "1 entry (1 url) would return that had been withdrawn"


@pytest.mark.parametrize(
    ("operation", "passes"),
    [
        ("publish", set()),
        ("rollback", {"churn"}),
        ("withdraw", set(WHOLE)),
        ("announce-hash-key", set(WHOLE)),
        ("rotate-hash-key", set(WHOLE)),
    ],
)
def test_what_an_operation_passes(operation: str, passes: set[str]) -> None:
    lost = change(1000, 10, 900, operation)
    back = Change(9, 0, pages(1), withdrawn={*pages(1)}, bad=30, read=31, operation=operation)
    assert set(codes(lost)) == {"shrink", "churn"} - passes
    assert set(codes(back)) == {"empty", "unparseable", "withdrawn"} - passes


def test_no_operation_passes_the_guards_of_entries() -> None:
    new = (b"h localhost",)
    for operation in ("publish", "rollback", "withdraw", "rotate-hash-key"):
        assert codes(Change(9, 9, new, operation=operation)) == ["single-label"]


def test_bounds_are_settings() -> None:
    wide = Settings(shrink_share=0.5, churn_entries=10_000)
    assert codes(change(1000, 0, 400), wide) == []
    assert codes(change(1000, 0, 501), wide) == ["shrink"]
    tight = Settings(shrink_share=0.0, shrink_entries=0)
    assert codes(change(1000, 0, 0), tight) == []
    assert codes(change(1000, 0, 1), tight) == ["shrink"]


def test_an_override_is_returned_with_its_finding_and_reason() -> None:
    (override,) = check(change(1000, 0, 101), DEFAULTS, FILES, {"shrink": "court order"})
    assert override["guard"] == "shrink"
    assert override["reason"] == "court order"
    assert "101 of 1000" in override["finding"]


def test_an_override_of_one_guard_does_not_override_another() -> None:
    with pytest.raises(GuardRefused) as caught:
        check(change(1000, 0, 500), DEFAULTS, FILES, {"shrink": "why"})
    assert caught.value.code == "churn"
    assert "--allow churn" in str(caught.value)
    assert "shrink" not in str(caught.value)
    both = check(change(1000, 0, 500), DEFAULTS, FILES, {"shrink": "why", "churn": "why"})
    assert [override["guard"] for override in both] == ["shrink", "churn"]


def test_an_override_that_was_not_needed_is_not_recorded() -> None:
    allowed = dict.fromkeys(GUARDS, "just in case")
    assert check(change(1000, 1, 1), DEFAULTS, FILES, allowed) == []


def test_an_unknown_guard_is_bad_input() -> None:
    with pytest.raises(InputError, match="unknown guard 'shrnk'") as caught:
        check(change(1000, 1, 1), DEFAULTS, FILES, {"shrnk": "why"})
    assert caught.value.exit_code == 2
