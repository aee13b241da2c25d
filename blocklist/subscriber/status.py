"""Status: what is in force, how the last pull ended, and what to do next."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from blocklist.core import documents
from blocklist.core.entries import Feed
from blocklist.core.errors import BlocklistError
from blocklist.subscriber import outcomes
from blocklist.subscriber.outcomes import NextHashKey, Outcome
from blocklist.subscriber.state import State

_NEXT_STEPS = {
    "unreachable": "check network, proxy and the sources' addresses; the next pull tries again",
    "stale": "check this machine's clock; if it is right, ask the publisher whether `refresh` runs",
    "rollback": "a source serves old metadata: tell the publisher, use another source",
    "tampered": "do not override; tell the publisher by telephone, use another source",
    "malformed": "something else answers for the source (a portal?), or the publisher erred: ask",
    "not-authorised": "ask the publisher for a renewed enrolment, then `enrol` it",
    "needs-newer-client": "install a newer version of this program",
    "unknown-list": "the publisher no longer has this list: ask for a new enrolment",
    "local-trouble": "check disk space and permissions of the state directory",
}


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """One feed of one list.

    Attributes:
        list, feed: Which.
        version, entries, digest, installed_at, created: Of the version in force; None for none.
        previous: The version kept beside it.
        last: How the last attempt ended, None before the first.
        expires: The earliest expiry among the roles, and `expiring` its role; as last verified.
        stale: That expiry has passed: the list is in force, but its age cannot be vouched for.
        next_hash_key: The hash key that is announced, and whether it is enrolled; None: none is.
        trouble: What is wrong on this machine, empty when nothing is.
        next_steps: What to do, for people.
    """

    list: str
    feed: Feed
    version: int | None
    entries: int | None
    digest: str | None
    installed_at: datetime | None
    created: datetime | None
    previous: int | None
    last: Outcome | None
    expires: datetime | None
    expiring: str | None
    stale: bool
    next_hash_key: NextHashKey | None
    trouble: str
    next_steps: tuple[str, ...]


def status(state: State, now: datetime) -> list[FeedStatus]:
    """Return the status of every enrolled feed.

    Raises:
        LocalError: The state cannot be read.
    """
    return [_feed_status(state, name, feed, now) for name, feed in state.feeds()]


def text(feeds: list[FeedStatus]) -> str:
    """Return the status for people, a block for each feed."""
    return "\n".join(_block(one) for one in feeds) or "nothing is enrolled here\n"


def _feed_status(state: State, name: str, feed: Feed, now: datetime) -> FeedStatus:
    folder = state.feed(name, feed)
    installed, trouble = None, ""
    try:
        installed = folder.read()
        if installed is not None and not folder.intact(installed.current):
            trouble = "the installed list is damaged: pull again"
    except BlocklistError as error:
        trouble = str(error)
    last = outcomes.read(folder.path)
    announced = _announced(state, name, last)
    expiring, expires = _earliest(last)
    current = installed.current if installed else None
    previous = installed.previous if installed else None
    return FeedStatus(
        list=name,
        feed=feed,
        version=current.version if current else None,
        entries=current.entries if current else None,
        digest=current.digest if current else None,
        installed_at=current.installed_at if current else None,
        created=current.created if current else None,
        previous=previous.version if previous else None,
        last=last,
        expires=expires,
        expiring=expiring,
        stale=expires is not None and expires <= now,
        next_hash_key=announced,
        trouble=trouble,
        next_steps=_next_steps(last, trouble, announced),
    )


def _earliest(last: Outcome | None) -> tuple[str | None, datetime | None]:
    if last is None or not last.expires:
        return None, None
    return min(last.expires.items(), key=lambda item: item[1])


def _announced(state: State, name: str, last: Outcome | None) -> NextHashKey | None:
    """Return what the last successful pull saw; the key may have been enrolled since."""
    seen = last.next_hash_key if last is not None else None
    if seen is None or seen.held:
        return seen
    with suppress(BlocklistError):  # who may not read secrets is told what the pull found
        enrolment = state.find_enrolment()
        item = enrolment.lists.get(name) if enrolment is not None else None
        return replace(seen, held=item is not None and seen.key_id in item.hash_keys)
    return seen


def _next_steps(
    last: Outcome | None, trouble: str, announced: NextHashKey | None
) -> tuple[str, ...]:
    steps = ["pull"] if last is None else []
    if trouble:
        steps.append(trouble)
    if last is not None and last.word in _NEXT_STEPS:
        steps.append(_NEXT_STEPS[last.word])
    if announced is not None and announced.warning:
        steps.append(announced.warning)
    return tuple(steps)


def _block(one: FeedStatus) -> str:
    rows = [("list", f"{one.list} ({one.feed})"), ("in force", _in_force(one))]
    if one.last is None:
        rows.append(("last pull", "never"))
    else:
        ended = f"{documents.format_time(one.last.time)} {one.last.word}"
        rows.append(("last pull", f"{ended}: {one.last.message}".removesuffix(": ")))
        rows += [("source", line) for line in _sources(one.last)]
    if one.expires is not None:
        past = "EXPIRED" if one.stale else "expires"
        rows.append(("metadata", f"{one.expiring} {past} {documents.format_time(one.expires)}"))
    if one.next_hash_key is not None:
        rows.append(("hash key", _coming(one.next_hash_key)))
    rows += [("next", step) for step in one.next_steps]
    return "".join(f"{label:<10} {value}\n" for label, value in rows)


def _coming(announced: NextHashKey) -> str:
    held = "the new one is enrolled" if announced.held else "the new one is NOT enrolled"
    return f"changes on {documents.format_time(announced.start)}, {held}"


def _sources(last: Outcome) -> Iterator[str]:
    """Yield a line for each source; nothing for a single one that was used."""
    if len(last.sources) > 1 or last.exit_code:
        for tried in last.sources:
            until = tried.not_before
            pause = f", not asked before {documents.format_time(until)}" if until else ""
            yield f"{tried.source} {tried.word}{pause}"


def _in_force(one: FeedStatus) -> str:
    if one.version is None or one.installed_at is None:
        return "nothing"
    kept = f", version {one.previous} kept" if one.previous is not None else ""
    since = documents.format_time(one.installed_at)
    return f"version {one.version}, {one.entries} entries, since {since}{kept}"
