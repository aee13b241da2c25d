"""What guards need to know of a release, gathered from where it is known."""

from collections.abc import Mapping, Set
from typing import Any

from blocklist.publisher.assemble import Base
from blocklist.publisher.guards import Change
from blocklist.publisher.index import open_index
from blocklist.publisher.repository import Repository
from blocklist.publisher.request import ROLLBACK, Outcome
from signing.head import Head


def change_of(
    repository: Repository,
    base: Base,
    outcome: Outcome,
    operation: str,
    source: Mapping[str, Any],
) -> Change:
    """Return what a release would do, as guards judge it.

    Args:
        repository: Where.
        base: What it is made on.
        outcome: The lines it would have, and which come and go.
        operation: What was asked for.
        source: Facts about the source files; counts in them are the word of whoever read them.
    """
    files = source.get("files") or ()
    bad = sum(sum(file["skipped"].values()) for file in files)
    restored = source.get("version") if operation == ROLLBACK else None
    read = bad + sum(file["entries"] + file["duplicates"] for file in files)
    return Change(
        before=len(base.lines) if base.version is not None else None,
        source=len(outcome.lines - {base.test_line}),
        added=outcome.added,
        removed=outcome.removed,
        withdrawn=_withdrawn(repository, base, outcome.added, restored),
        bad=bad,
        read=read,
        operation=operation,
        test_line=base.test_line,
    )


def _withdrawn(
    repository: Repository, base: Base, added: tuple[bytes, ...], restored: int | None
) -> Set[bytes]:
    """Return those of the lines to add whose latest removal was a withdrawal.

    For a rollback also those that were withdrawn at any time since the version that it restores.
    A history that is damaged is for `audit verify` to tell: it must not block new releases. What
    is known of it still counts.
    """
    if base.version is None or not added:
        return frozenset()
    return withdrawn_lines(repository, base.head, base.name, restored) & set(added)


def withdrawn_lines(
    repository: Repository, head: Head, list_name: str, restored: int | None
) -> frozenset[bytes]:
    """Return the lines of a list whose latest removal was a withdrawal, none of which is listed.

    Args:
        repository: Where.
        head: The live one.
        list_name: The list.
        restored: Also those that were withdrawn at any time since this version.
    """
    with open_index(repository, list_name, head=head, partly=True) as index:
        since = index.withdrawn_since(restored) if restored is not None else frozenset()
        return index.withdrawn() | since
