"""Consumers of lists: exports and hooks, which run when what they consume has changed.

    STATE/watch.json      what each consumer has last been run for, with success

One that fails is due until it succeeds, also after a restart and although its lists stay the same.
A damaged file only makes every consumer run once more.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from blocklist.core import documents
from blocklist.core.errors import MalformedFeed
from blocklist.store.localfiles import read_limited, write_atomic
from blocklist.subscriber import settings
from blocklist.subscriber.exceptions import Exceptions
from blocklist.subscriber.state import State

FILE = "watch.json"
FORMAT = 1
MODE = 0o640

Marks = Mapping[str, str]  # by list: a digest of what is in force of it, exceptions included


@dataclass(frozen=True, slots=True)
class Consumer:
    """Something that is to run when lists in force change.

    Attributes:
        name: Unique, such as `export rpz`.
        lists: Which lists it consumes; empty for all.
        run: Runs it, with the names of the lists that changed; raises BlocklistError.
        versions: It also runs for a new version with the same entries.
        pending: It is due anyway: its last run failed, whoever ran it.
    """

    name: str
    lists: tuple[str, ...]
    run: Callable[[tuple[str, ...]], None]
    versions: bool = False
    pending: bool = False


Registry = Callable[[], Iterable[Consumer]]  # asked every time: consumers come and go


@dataclass(frozen=True, slots=True)
class Due:
    """A consumer that is to run.

    Attributes:
        consumer: Which.
        changed: The lists that changed.
        marks: What it is to be marked with when it has succeeded.
    """

    consumer: Consumer
    changed: tuple[str, ...]
    marks: Marks


def due(state: State, consumers: Iterable[Consumer], now: datetime) -> list[Due]:
    """Return the consumers for which something has changed.

    Raises:
        LocalError, UnknownFormat: What is in force, or the exceptions, cannot be read.
    """
    there = list(consumers)
    if not there:
        return []
    done = _read(state)
    exceptions = Exceptions.load(state.directory, now).digest
    found = []
    for one in there:
        marks = _marks(state, one, exceptions)
        before = done.get(one.name, {})
        if marks and (one.pending or marks != before):
            changed = tuple(name for name in marks if marks[name] != before.get(name))
            found.append(Due(one, changed, marks))
    return found


def mark(state: State, one: Due) -> None:
    """Remember that a consumer has succeeded.

    Raises:
        LocalError: The disk refuses; it will run once more.
    """
    done = {**_read(state), one.consumer.name: dict(one.marks)}
    data = (json.dumps({"format": FORMAT, "done": done}, indent=1) + "\n").encode()
    write_atomic(state.directory / FILE, data, mode=MODE)


def _marks(state: State, one: Consumer, exceptions: str) -> dict[str, str]:
    """Return a digest of what is in force for each list; none where nothing is."""
    parts: dict[str, list[str]] = {}
    for name, feed in state.feeds():
        if one.lists and name not in one.lists:
            continue
        installed = state.feed(name, feed).read()
        if installed is not None:
            version = str(installed.current.version) if one.versions else ""
            parts.setdefault(name, [exceptions]).append(
                f"{feed}{version} {installed.current.digest}"
            )
    return {
        name: hashlib.sha256("\n".join(found).encode()).hexdigest() for name, found in parts.items()
    }


def _read(state: State) -> dict[str, dict[str, str]]:
    data = read_limited(state.directory / FILE, settings.MAX_STATE_FILE_BYTES)
    if data is None:
        return {}
    try:
        done = documents.field(documents.parse(FILE, data), "done", dict)
        return {
            name: {key: documents.field(marks, key, str) for key in marks}
            for name in done
            if (marks := documents.field(done, name, dict))
        }
    except MalformedFeed:
        return {}
