"""Holds: a list stays at the version in force until a date, whatever is released meanwhile.

    STATE/hold.json      0640

Pulls go on verifying, and say what they hold back. The version held is in force or kept beside it,
verified when it was installed; nothing older can be had. A hold ends by itself: the next pull puts
the newest version in force. A damaged file is an error; what is in force stays.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from blocklist.core import documents
from blocklist.core.entries import Feed
from blocklist.core.errors import (
    InputError,
    LocalError,
    MalformedFeed,
    NotInstalled,
    UnknownFormat,
    UnknownList,
)
from blocklist.store.localfiles import read_limited, write_atomic
from blocklist.subscriber import settings
from blocklist.subscriber.excepting import expect_end, one_line
from blocklist.subscriber.installed import FeedFolder, Version
from blocklist.subscriber.state import State

FILE = "hold.json"
FORMAT = 1
MODE = 0o640


@dataclass(frozen=True, slots=True)
class Hold:
    """The hold on one list.

    Attributes:
        list: Which.
        version: The version that was asked for; None: whichever was in force.
        until: When it ends.
        reason: Why, in one line.
        since: When it was made.
    """

    list: str
    version: int | None
    until: datetime
    reason: str
    since: datetime

    def to_document(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "version": self.version,
            "until": documents.format_time(self.until),
            "reason": self.reason,
            "since": documents.format_time(self.since),
        }

    @classmethod
    def from_document(cls, name: str, document: Mapping[str, Any]) -> "Hold":
        """Read the object.

        Raises:
            MalformedFeed: It is damaged.
        """
        return cls(
            name,
            documents.optional(document, "version", int),
            documents.moment(document, "until"),
            documents.field(document, "reason", str),
            documents.moment(document, "since"),
        )


@dataclass(frozen=True, slots=True)
class Holds:
    """The holds of a state directory at one moment.

    Attributes:
        records: All that the file holds, ended ones too, by list.
        now: The moment.
    """

    records: tuple[Hold, ...]
    now: datetime

    @classmethod
    def load(cls, state_directory: Path, now: datetime) -> "Holds":
        """Return the holds of a state directory; none without a file.

        Raises:
            LocalError: The file is damaged or cannot be read.
            UnknownFormat: A newer version of this program wrote it.
        """
        path = state_directory / FILE
        data = read_limited(path, settings.MAX_EXCEPTIONS_BYTES)
        try:
            return cls(_read(data) if data is not None else (), now)
        except MalformedFeed as error:
            raise LocalError(
                f"{path} is damaged; mend it, or remove it and hold again: {error}"
            ) from error

    def on(self, list_name: str) -> Hold | None:
        """Return the hold in force on a list."""
        return next((one for one in self.in_force if one.list == list_name), None)

    @property
    def in_force(self) -> tuple[Hold, ...]:
        """Those that count."""
        return tuple(one for one in self.records if one.until > self.now)

    @property
    def ended(self) -> tuple[Hold, ...]:
        """Those that do not count any more."""
        return tuple(one for one in self.records if one.until <= self.now)


def hold(
    state: State,
    names: Collection[str],
    *,
    version: int | None,
    until: datetime,
    reason: str,
    now: datetime,
) -> tuple[Hold, ...]:
    """Hold lists at the version in force, or put the version kept beside it in force and hold that.

    Args:
        state: Where.
        names: Lists; all enrolled ones by default.
        version: In force or kept in every feed of the list; then there may be one list only.
        until: When the hold ends.
        reason: Why.
        now: The time.

    Raises:
        InputError: The end is past or too far, there is no reason, or no such version is kept.
        UnknownList: A name that is not enrolled.
        NotInstalled: Nothing is enrolled, or nothing of a list is in force.
        LocalError, UnknownFormat, Busy: Nothing is held.
    """
    expect_end(until, now, settings.MAX_HOLD_TIME, "a hold")
    reason = one_line(reason)
    wanted = _enrolled(state, names)
    if version is not None and len(wanted) > 1:
        raise InputError(f"expected one list beside a version, got {len(wanted)}")
    with state.locked():
        changes = [change for name in wanted for change in _changes(state, name, version)]
        new = {name: Hold(name, version, until, reason, now) for name in wanted}
        old = {one.list: one for one in Holds.load(state.directory, now).records}
        # The hold comes last: it never claims a version that is not in force. Without it, the
        # next pull puts the newest in force again.
        for folder, found in changes:
            folder.install(replace(found, installed_at=now), None)
        _write(state, old | new)
    return tuple(new.values())


def release(state: State, names: Collection[str], now: datetime) -> tuple[Hold, ...]:
    """Let lists go on with the next pull; all by default. Return the holds that were there.

    Raises:
        InputError: There is none.
        UnknownList, NotInstalled, LocalError, UnknownFormat, Busy: Nothing was changed.
    """
    wanted = _enrolled(state, names)
    with state.locked():
        held = {one.list: one for one in Holds.load(state.directory, now).records}
        gone = [held.pop(name) for name in wanted if name in held]
        if not gone:
            raise InputError("expected a hold to release, got none")
        _write(state, held)
    return tuple(gone)


def _enrolled(state: State, names: Collection[str]) -> list[str]:
    there = list(dict.fromkeys(name for name, _ in state.feeds()))
    if not there:
        raise NotInstalled(f"nothing is enrolled in {state.directory}: enrol first")
    for name in names:
        if name not in there:
            raise UnknownList(f"expected an enrolled list, got {name!r}")
    return list(dict.fromkeys(names)) or there


def _changes(state: State, name: str, version: int | None) -> list[tuple[FeedFolder, Version]]:
    """Return which versions must be put in force, all of them kept and intact."""
    changes = []
    for folder, feed in ((state.feed(name, f), f) for n, f in state.feeds() if n == name):
        installed = folder.read()
        if installed is None:
            raise NotInstalled(f"nothing of {name}/{feed} is in force: pull first")
        if version in (None, installed.current.version):
            continue
        kept = installed.previous
        if kept is None or kept.version != version or not folder.intact(kept):
            there = [one.version for one in (installed.current, kept) if one is not None]
            raise InputError(f"expected a version of {name}/{feed} that is here, one of {there}")
        _expect_key(state, name, feed, kept)
        changes.append((folder, kept))
    return changes


def _expect_key(state: State, name: str, feed: Feed, version: Version) -> None:
    """Refuse a version that could not be matched against."""
    if version.hash_key_id is not None:
        item = state.enrolment().lists.get(name)
        if item is None or version.hash_key_id not in item.hash_keys:
            raise LocalError(
                f"expected the hash key of version {version.version} of {name}/{feed}, "
                "it is not enrolled any more"
            )


def _write(state: State, records: Mapping[str, Hold]) -> None:
    holds = {name: records[name].to_document() for name in sorted(records)}
    data = (json.dumps({"format": FORMAT, "holds": holds}, indent=1) + "\n").encode()
    write_atomic(state.directory / FILE, data, mode=MODE)


def _read(data: bytes) -> tuple[Hold, ...]:
    document = documents.parse(FILE, data)
    number = documents.field(document, "format", int)
    if number != FORMAT:
        raise UnknownFormat(f"expected {FILE} of format {FORMAT}, got {number}")
    found = []
    for name, item in documents.field(document, "holds", dict).items():
        if not isinstance(item, dict):
            raise MalformedFeed("expected holds as JSON objects")
        found.append(Hold.from_document(name, item))
    return tuple(found)
