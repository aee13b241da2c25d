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
    withdrawn, complete = _withdrawn(repository, base, outcome.added, restored)
    return Change(
        before=len(base.lines) if base.version is not None else None,
        source=len(outcome.lines - {base.test_line}),
        added=outcome.added,
        removed=outcome.removed,
        withdrawn=withdrawn,
        bad=bad,
        read=read,
        operation=operation,
        test_line=base.test_line,
        history_complete=complete,
    )


def _withdrawn(
    repository: Repository, base: Base, added: tuple[bytes, ...], restored: int | None
) -> tuple[Set[bytes], bool]:
    """Return those of the lines to add whose latest removal was a withdrawal, and if that is all.

    For a rollback also those that were withdrawn at any time since the version that it restores.
    A history that is damaged is for `audit verify` to mend: it must not block new releases, but
    everybody is warned. What is known of it still counts.
    """
    if base.version is None or not added:
        return frozenset(), True
    found, complete = withdrawn_lines(repository, base.head, base.name, restored)
    return found & set(added), complete


def withdrawn_lines(
    repository: Repository, head: Head, list_name: str, restored: int | None
) -> tuple[frozenset[bytes], bool]:
    """Return the lines of a list whose latest removal was a withdrawal, none of which is listed.

    Also whether all records could be read; else some may be missing.

    Args:
        repository: Where.
        head: The live one.
        list_name: The list.
        restored: Also those that were withdrawn at any time since this version.
    """
    with open_index(repository, list_name, head=head, partly=True) as index:
        since = index.withdrawn_since(restored) if restored is not None else frozenset()
        return index.withdrawn() | since, index.complete
