"""One run of an export.

    lists in force -> names -> rules -> bytes -> checker -> rename -> hook -> probe

The file in place is replaced as a whole, after the checker took the new one, or not at all. That a
hook is due is written down before the rename, so a run that is killed at any moment is finished by
the next one. The hook runs when the file changed, or when it or the probe failed the last time.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from blocklist.core import listbytes
from blocklist.core.entries import Feed
from blocklist.core.errors import (
    BlocklistError,
    Exit,
    ExportPending,
    ExportRefused,
    InputError,
    NotInstalled,
    UnknownList,
)
from blocklist.core.sources import parse_source
from blocklist.store.localfiles import (
    local_errors,
    read_limited,
    sweep,
    sync_folder,
    temporary_file,
)
from blocklist.store.locks import file_lock
from blocklist.subscriber import settings
from blocklist.subscriber.exceptions import Exceptions
from blocklist.subscriber.exports import probe, record, rpz, running
from blocklist.subscriber.exports.names import Names, classify
from blocklist.subscriber.exports.record import Counts, Definition, Record, Written
from blocklist.subscriber.exports.rules import Rule, passing, rules
from blocklist.subscriber.resolver import Resolver
from blocklist.subscriber.state import State, make_folder

FILE_MODE = 0o640  # a daemon reads it as a member of the folder's group
MAX_FILE_BYTES = 4 << 30
MAX_NEVER_BLOCK_BYTES = 64 << 20
_ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Exported:
    """What a run did.

    Attributes:
        record: As it stands now.
        changed: A file was replaced.
        warnings: Lines for people.
    """

    record: Record
    changed: bool
    warnings: tuple[str, ...]


def export(state: State, definition: Definition, now: datetime) -> Exported:
    """Bring one export to what is in force.

    Raises:
        InputError: The definition cannot be used; nothing was changed, nor recorded.
        NotInstalled: A list is not installed; the old export stays live.
        ExportRefused: Checker or limit refused it; the old one stays live.
        ExportPending: It is in place, but hook or probe failed; the next run tries again.
        LocalError, Busy: This machine; the old one stays live.
    """
    _expect_usable(state, definition)
    make_folder(state.directory / record.FOLDER, state.directory)
    lock = state.directory / record.FOLDER / f"{definition.name}.lock"
    with file_lock(lock, wait_seconds=settings.LOCK_WAIT_SECONDS, what="this export"):
        held = record.read(state.directory, definition.name)
        if held is not None and held.definition.out != definition.out:
            raise InputError(
                f"export {definition.name!r} writes another file: give this one a name of its own"
            )
        run = _Run(state, definition, held, now)
        try:
            return run.go()
        except BlocklistError as error:
            known = held is not None and held.definition == definition
            if known or not isinstance(error, InputError):
                run.keep_failure(error)
            raise


def recorded(state: State) -> list[Record]:
    """Return all exports of a state as they stand.

    Raises:
        LocalError: A record is damaged or cannot be read.
        UnknownFormat: A newer version of this program wrote one.
    """
    found = (record.read(state.directory, name) for name in record.names(state.directory))
    return [one for one in found if one is not None]


def _expect_usable(state: State, definition: Definition) -> None:
    """Refuse what can be refused before anything is read."""
    if definition.format != record.RPZ:
        raise InputError(f"expected the format {record.RPZ} of an export")
    rpz.room(_allow_zone(definition))
    rpz.Policy(definition.policy)
    Resolver.parse(definition.resolver)
    running.checker(definition.check)
    if definition.hook is not None:
        running.split(definition.hook)
    if definition.allow_out == definition.out:
        raise InputError("expected two files for the zone and the allow zone, got one")
    enrolled = {name for name, _ in state.feeds()}
    if not enrolled:
        raise NotInstalled(f"nothing is enrolled in {state.directory}: enrol first")
    if unknown := set(definition.lists) - enrolled:
        raise UnknownList(f"expected an enrolled list, got {min(unknown)!r}")


def _allow_zone(definition: Definition) -> str:
    return f"{_ALLOW}.{definition.zone}"


class _Run:
    """One run; the export's lock is held."""

    def __init__(
        self, state: State, definition: Definition, held: Record | None, now: datetime
    ) -> None:
        self._state = state
        self._definition = definition
        self._held = held
        self._now = now
        self._policy = rpz.Policy(definition.policy)
        self._warnings: list[str] = []

    def go(self) -> Exported:
        versions, lines = self._lists()
        allowed = self._allowed()
        blocked = rpz.holdable(classify(lines), self._policy)
        found = rules(blocked, allowed, rpz.room(self._definition.zone))
        skipped = dict(blocked.skipped)
        for reason, count in found.skipped.items():
            skipped[reason] = skipped.get(reason, 0) + count
        counts = Counts(len(lines), len(lines) - sum(skipped.values()), skipped)
        if not counts.enforced:
            raise ExportRefused("expected an entry that can be enforced here, got none")

        def made(serial: int) -> list[tuple[Path, str, bytes]]:
            return list(self._files(found.of, allowed, serial))

        changed, serial = self._place(made, counts, versions)
        written = Written(versions, serial, self._now)
        if not changed and self._held is not None and self._held.written is not None:
            written = replace(written, time=self._held.written.time)
        held = self._held
        if changed or held is None or held.pending or held.definition != self._definition:
            self._put_in_force(written, counts)
        done = self._record(written, written, counts, pending=False)
        record.write(self._state.directory, done)
        return Exported(done, changed, tuple(self._warnings))

    def keep_failure(self, error: BlocklistError) -> None:
        """Write down how the run failed; what is live stays as it was known."""
        word = record.FAILED
        if isinstance(error, ExportRefused):
            word = record.REFUSED
        elif isinstance(error, ExportPending):
            word = record.PENDING
        with suppress(BlocklistError):  # the failure itself is told, and may be the same full disk
            now = record.read(self._state.directory, self._definition.name) or self._record(
                None, None, Counts(), pending=False
            )
            code, message = int(error.exit_code), str(error)
            failed = replace(now, word=word, exit=code, message=message, time=self._now)
            record.write(self._state.directory, replace(failed, definition=self._definition))

    def _lists(self) -> tuple[dict[str, int], list[bytes]]:
        """Return the versions in force and all their entries."""
        names = self._definition.lists or tuple(dict.fromkeys(n for n, _ in self._state.feeds()))
        versions: dict[str, int] = {}
        lines: set[bytes] = set()
        for name in names:
            if (name, Feed.CLEAR) not in set(self._state.feeds()):
                raise InputError(
                    f"expected the clear feed of {name!r}: a hashed feed holds no names to export"
                )
            installed, data = self._state.feed(name, Feed.CLEAR).load_current()
            versions[name] = installed.current.version
            lines.update(listbytes.clear_lines(data))
        return versions, sorted(lines)

    def _allowed(self) -> Names:
        """Return the names that must pass: exceptions and the operator's file."""
        exceptions = Exceptions.load(self._state.directory, self._now)
        lines = {entry.line for entry in exceptions.names()}
        if narrower := len(exceptions.in_force) - len(lines):
            self._warnings.append(f"{narrower} exceptions are for pages: names cannot honour them")
        if self._definition.never_block is not None:
            lines.update(_never_block(Path(self._definition.never_block)))
        return classify(lines)

    def _files(
        self, found: Mapping[str, Rule], allowed: Names, serial: int
    ) -> Iterable[tuple[Path, str, bytes]]:
        """Yield the files, the one that lets names pass first, with zone and bytes."""
        one = self._definition
        if one.allow_out is not None:
            zone = _allow_zone(one)
            data = rpz.render(passing(allowed), zone, serial, self._policy)
            yield Path(one.allow_out), zone, data
        yield Path(one.out), one.zone, rpz.render(found, one.zone, serial, self._policy)

    def _place(
        self,
        made: Callable[[int], list[tuple[Path, str, bytes]]],
        counts: Counts,
        versions: dict[str, int],
    ) -> tuple[bool, int]:
        """Replace the files unless they are the same; return whether, and the serial in place."""
        last = self._held.written.serial if self._held and self._held.written else None
        there = {path: read_limited(path, MAX_FILE_BYTES) for path, _, _ in made(1)}
        if last is not None and all(there[path] == data for path, _, data in made(last)):
            return False, last
        for data in there.values():  # the record may be lost, or older after a crash
            found = rpz.serial_of(data or b"")
            if found is not None and (last is None or rpz.is_later(found, last)):
                last = found
        serial = rpz.next_serial(last, sum(versions.values()))
        files = made(serial)
        self._expect_small_change(there[files[-1][0]], files[-1][2])
        with ExitStack() as stack, local_errors("write the export"):
            aside = [
                stack.enter_context(temporary_file(path.parent, data, FILE_MODE, ignore_umask=True))
                for path, _, data in files
            ]
            for (_, zone, _), file in zip(files, aside, strict=True):
                self._expect_good(zone, file)
            self._note_pending(counts)
            for (path, _, _), file in zip(files, aside, strict=True):
                os.utime(file)  # BIND reads a file again that is newer than its last look
                file.replace(path)
                sync_folder(path.parent)
        for path in there:
            with suppress(OSError):  # what stays is scrap of a killed run, for the next time
                sweep(path.parent, shared=True)
        return True, serial

    def _expect_small_change(self, old: bytes | None, new: bytes) -> None:
        most = self._definition.max_change
        if most is None or old is None:
            return
        change = len(set(rpz.owners(old)) ^ set(rpz.owners(new)))
        if change > most:
            raise ExportRefused(
                f"expected at most {most} names to come or go, got {change} (--max-change)"
            )

    def _expect_good(self, zone: str, file: Path) -> None:
        """Ask the checker."""
        words = running.checker(self._definition.check)
        if words is None:
            if self._definition.check == running.AUTOMATIC:
                self._warnings.append("named-checkzone is not installed: the zone was not checked")
            return
        values = {"zone": zone, "file": str(file)}
        problem = running.failure(words, values, running.CHECK_SECONDS)
        if problem is not None:
            raise ExportRefused(f"the checker refused the file: {problem}")

    def _note_pending(self, counts: Counts) -> None:
        """Write down that a hook is due, before there is a reason for it."""
        held = self._held
        written, live = (held.written, held.live) if held else (None, None)
        due = self._record(written, live, held.counts if held else counts, pending=True)
        record.write(self._state.directory, replace(due, word=record.PENDING))

    def _put_in_force(self, written: Written, counts: Counts) -> None:
        """Run hook and probe.

        Raises:
            ExportPending: One failed.
        """
        live = self._held.live if self._held else None
        due = self._record(written, live, counts, pending=True)
        record.write(self._state.directory, replace(due, word=record.PENDING))
        one = self._definition
        if one.hook is not None:
            values = {"zone": one.zone, "file": one.out}
            problem = running.failure(running.split(one.hook), values, running.HOOK_SECONDS)
            if problem is not None:
                raise ExportPending(f"the file is in place, but the hook failed: {problem}")
        if one.probe is not None:
            problem = probe.failure(Resolver.parse(one.resolver), one.probe, self._policy)
            if problem is not None:
                raise ExportPending(f"the file is in place, but not proven: {problem}")

    def _record(
        self, written: Written | None, live: Written | None, counts: Counts, *, pending: bool
    ) -> Record:
        return Record(
            self._definition,
            written,
            live,
            counts,
            pending,
            record.LIVE,
            int(Exit.DONE),
            "",
            self._now,
        )


def _never_block(path: Path) -> Iterable[bytes]:
    """Return the entries of a file of names.

    Raises:
        InputError: It cannot be read, or holds something else than names.
    """
    data = read_limited(path, MAX_NEVER_BLOCK_BYTES)
    if data is None:
        raise InputError(f"expected a file of names at {path}, there is none")
    lines = parse_source(data, format="text").lines
    if skipped := classify(lines).skipped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
        raise InputError(f"expected names alone in {path}, got others: {reasons}")
    return lines
