"""One source, one feed: ask, verify, and say what it leads to. Writes only trust state.

From our API everything comes in one answer, from other sources file by file; the verification is
the same. Errors of this step are the source's fault, so the next source may do better.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from blocklist.core.entries import Feed
from blocklist.core.update import Update
from blocklist.subscriber.installed import Version
from blocklist.subscriber.sources import ApiSource, NotModified, Source
from blocklist.subscriber.state import State
from blocklist.subscriber.supply import Supply
from signing import client, names
from signing.client import Verified

_ROOT_FILE = f".{names.ROOT}.json"


@dataclass(frozen=True, slots=True)
class Answered:
    """What a source led to, verified.

    Attributes:
        verified: The verified metadata.
        supply: Where the objects come from.
    """

    verified: Verified
    supply: Supply


def ask(
    state: State,
    root: bytes,
    source: Source,
    list_name: str,
    feed: Feed,
    known: Version | None,
    usable: bool,
) -> Answered:
    """Ask a source for news of a feed and verify its metadata.

    Args:
        state: Holds the trust directory; its lock is held.
        root: The pinned root.
        source: Whom to ask.
        list_name, feed: For what.
        known: The version installed.
        usable: Its list bytes are intact.

    Raises:
        TransportError, NotAuthorised, MalformedFeed: The source did not answer as agreed.
        UnknownRole, Unreachable, Stale, Rollback, Tampered, Malformed: See `signing.client`.
        KeyTrouble, LocalError: The state cannot be read or written.
    """
    answer = None
    if isinstance(source, ApiSource):
        have = known.version if known and usable else 0
        answer = source.update(list_name, feed, have, client.local_versions(state.trust))
    fetch = _fetch(source, answer, state.local_timestamp)
    verified = client.refresh(
        state.trust,
        root,
        list_name,
        fetch,
        known=(known.version, known.role_digest) if known else None,
    )
    update = answer if isinstance(answer, Update) else None
    return Answered(verified, Supply(source, list_name, feed, update))


def _fetch(
    source: Source,
    answer: Update | NotModified | None,
    local_timestamp: Callable[[], bytes | None],
) -> client.Fetch:
    """Return a fetch that takes from the answer first.

    With "nothing new" the timestamp is the local one, so that its expiry is still checked. An API
    was told our root: newer roots are in its answer, or there are none.
    """
    if answer is None:
        return source.metadata
    files: Mapping[str, bytes] = {}
    if isinstance(answer, Update):
        files = answer.files
    elif (timestamp := local_timestamp()) is not None:
        files = {names.TIMESTAMP_FILE: timestamp}

    def fetch(name: str) -> Iterable[bytes] | None:
        if name in files:
            return [files[name]]
        return None if name.endswith(_ROOT_FILE) else source.metadata(name)

    return fetch
