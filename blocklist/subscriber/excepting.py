"""Adding and removing exceptions; `exceptions` says what they are."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from blocklist.core.entries import Entry, Kind
from blocklist.core.errors import BadUrl, BlocklistError, InputError, NotInstalled
from blocklist.core.hosts import parents
from blocklist.core.source_lines import LineReader
from blocklist.store.localfiles import write_atomic
from blocklist.store.locks import file_lock
from blocklist.subscriber import settings
from blocklist.subscriber.exceptions import FILE, Excepted, Exceptions
from blocklist.subscriber.state import State

MODE = 0o640


@dataclass(frozen=True, slots=True)
class Edited:
    """What became of the exceptions.

    Attributes:
        entries: Those that were added, changed or removed.
        warnings: Lines for people.
    """

    entries: tuple[Excepted, ...]
    warnings: tuple[str, ...] = ()


def add(
    state: State, written: Sequence[str], *, until: datetime, reason: str, now: datetime
) -> Edited:
    """Add exceptions; one that is there gets the new end and reason.

    Args:
        state: Where.
        written: As in a source: a page, `host/dir/*`, a bare name or address, or `.name`.
        until: When they end.
        reason: Why.
        now: The time.

    Raises:
        InputError: One of them is no entry, the end is past or too far, or there is no reason.
        NotInstalled: Nothing is enrolled here.
        LocalError, UnknownFormat, Busy: Nothing was changed.
    """
    expect_end(until, now, settings.MAX_EXCEPTION_TIME, "an exception")
    reason = one_line(reason)
    entries, warnings = _entries(written)
    new = {entry: Excepted(entry, until, reason, now) for entry in entries}
    with editing(state):
        held = Exceptions.load(state.directory, now)
        old = {one.entry: one for one in held.records}
        for entry in new.keys() & old.keys():
            new[entry] = replace(new[entry], added=old[entry].added)
        _write(state, (old | new).values(), now)
    return Edited(tuple(new.values()), (*warnings, *_about_test_hosts(state, list(new))))


def remove(state: State, written: Sequence[str], *, now: datetime) -> Edited:
    """Remove exceptions, ended or not.

    Raises:
        InputError: One of them is no entry, or no such exception is there; nothing was removed.
        NotInstalled, LocalError, UnknownFormat, Busy: Nothing was changed.
    """
    entries, _ = _entries(written)
    with editing(state):
        left = {one.entry: one for one in Exceptions.load(state.directory, now).records}
        missing = [number for number, entry in enumerate(entries, 1) if entry not in left]
        if missing:
            raise InputError(f"expected exceptions that are there, got another (number {missing})")
        gone = tuple(left.pop(entry) for entry in entries)
        _write(state, left.values(), now)
    return Edited(gone)


def expect_end(until: datetime, now: datetime, longest: timedelta, what: str) -> None:
    """Refuse an end that is past or too far away.

    Raises:
        InputError: It is.
    """
    if until <= now:
        raise InputError(f"expected the end of {what} in the future, got one that is past")
    if until > now + longest:
        raise InputError(f"expected the end of {what} within {longest.days} days, got a later one")


def one_line(reason: str) -> str:
    """Return a reason as it is kept.

    Raises:
        InputError: There is none, or it is too long.
    """
    reason = " ".join(reason.split())
    if not reason or len(reason) > settings.MAX_REASON_CHARS:
        raise InputError(f"expected a reason of 1 to {settings.MAX_REASON_CHARS} characters")
    return reason


def editing(state: State) -> AbstractContextManager[None]:
    """Hold the lock on local decisions: a pull may hold the state's own for minutes.

    Raises:
        NotInstalled: Nothing is enrolled here.
        Busy: Another command held it for a minute.
        LocalError: It cannot be locked.
    """
    if not any(state.feeds()):
        raise NotInstalled(f"nothing is enrolled in {state.directory}: enrol first")
    path = state.directory / "local.lock"
    return file_lock(path, wait_seconds=settings.LOCK_WAIT_SECONDS, what="this state")


def _entries(written: Sequence[str]) -> tuple[list[Entry], list[str]]:
    """Return the entries in order, once each, and what to tell people."""
    reader = LineReader(drop_ports=False)
    entries: dict[Entry, None] = {}
    for number, text in enumerate(written, 1):
        try:
            entries[Entry.from_line(reader.entry_line(text, None))] = None
        except BadUrl as error:
            raise InputError(f"exception {number} of {len(written)}: {error}") from error
    if not entries:
        raise InputError("expected a URL, got none")
    pages = reader.root_pages
    note = f"{pages} for the root page of a host alone (its bare name spares all of it)"
    return list(entries), [note] if pages else []


def _write(state: State, records: Iterable[Excepted], now: datetime) -> None:
    data = Exceptions(tuple(sorted(records, key=lambda one: one.entry)), now).to_bytes()
    if len(data) > settings.MAX_EXCEPTIONS_BYTES:
        raise InputError(f"expected exceptions of {settings.MAX_EXCEPTIONS_BYTES} bytes at most")
    write_atomic(state.directory / FILE, data, mode=MODE)


def _about_test_hosts(state: State, entries: list[Entry]) -> list[str]:
    """Warn when a list's test entry is spared: no proof of blocking can then succeed."""
    hosts = set()
    with suppress(BlocklistError):  # the enrolment is not everybody's to read
        enrolment = state.find_enrolment()
        hosts = {item.test_host for item in enrolment.lists.values()} if enrolment else set()
    for entry in entries:
        wide = {
            Kind.HOST: {entry.host},
            Kind.DOMAIN: {h for h in hosts if entry.host in parents(h)},
        }
        if hosts & wide.get(entry.kind, set()):
            return ["the test entry of a list is spared: proofs that the filter works will fail"]
    return []
