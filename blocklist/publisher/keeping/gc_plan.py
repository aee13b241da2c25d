"""What `gc` may delete in one state of the repository.

| kind | may go |
|---|---|
| `lists`, `deltas`, `snapshots` | under `feed/targets`, when `retention` does not need them and they are older than the grace: collected releases, leftovers of crashes and lost races |
| `snapshot metadata` | superseded two days ago; never what is live or above |
| `candidates`, `approvals` | their base has not been the newest release for `stale_candidate_days` |
| `probes` | scraps of `private/probe/` older than the grace |

Never: roots, targets roles, role files of lists (they chain history and are hints for ladders; burned
ones say that a number was taken), records, accounts of releases, voids (what is void stays void),
secrets, enrolments, keys of other shapes (`fsck` names them), and whatever belongs to a list that the
head does not delegate.
"""  # noqa: E501 - a table

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from tuf.api.metadata import Targets

from blocklist.core.entries import Feed
from blocklist.core.errors import TooLarge
from blocklist.publisher.keeping.retention import SUPERSEDED, Retained, retain
from blocklist.publisher.repository import Repository
from blocklist.store import layout
from blocklist.store.port import DEFAULT_OBJECT_LIMIT, Listed
from signing import names, policy, verify
from signing.errors import Stale, TrustError
from signing.head import Head
from signing.roles import delegated_names, targets_of

KINDS = {"list": "lists", "snapshot": "snapshots"}


@dataclass(frozen=True, slots=True)
class Doomed:
    """An object that may go.

    Attributes:
        kind: What people call such objects.
        listed: The object.
    """

    kind: str
    listed: Listed


@dataclass(frozen=True, slots=True)
class Plan:
    """What is needed, in one state of the repository.

    Attributes:
        head: The verified state.
        lists: What is needed of each list that the head delegates.
        now: The time by which objects are old, on the storage's clock.
        grace: How long what nothing names is left alone.
    """

    head: Head
    lists: dict[str, Retained]
    now: datetime
    grace: timedelta

    def young(self, listed: Listed) -> bool:
        """Tell whether an object is within the grace."""
        return self.now - listed.modified < self.grace


def make_plan(repository: Repository) -> Plan:
    """Read the head, and the role files that retention needs.

    Raises:
        Stale: The head has expired, or this clock is ahead: everything would look old.
        MalformedFeed, DigestMismatch, TrustError: Something kept is missing or altered.
    """
    head = repository.head(None)
    clock = repository.clock()
    if verify.expired([head.timestamp], clock):
        raise Stale("the timestamp has expired, or this clock is ahead: run `blocklist refresh`")
    lists = {
        name: retain(repository, head, name, clock) for name in delegated_names(head.targets.signed)
    }
    grace = timedelta(days=repository.settings.gc_grace_days)
    return Plan(head, lists, _storage_time(repository, head, clock), grace)


def _storage_time(repository: Repository, head: Head, clock: datetime) -> datetime:
    """Return the time on the storage's clock, or an earlier one: times of objects are of it."""
    signed = head.timestamp.signed.expires - policy.TIMESTAMP_LIFETIME
    for listed in repository.store.list(layout.TIMESTAMP):
        if listed.key == layout.TIMESTAMP:
            return min(clock, listed.modified + (clock - signed))
    return min(clock, signed)


def objects(repository: Repository, plan: Plan) -> Iterator[Doomed]:
    """Yield the objects under `feed/targets` that may go unless a publisher is using them."""
    for name, retained in plan.lists.items():
        for feed in Feed:
            for listed in repository.store.list(layout.targets_prefix(name, feed)):
                parsed = layout.parse_target_key(listed.key)
                if parsed is None or listed.size > DEFAULT_OBJECT_LIMIT or plan.young(listed):
                    continue
                target, sha256 = parsed[0].rpartition("/")[2], parsed[1]
                if not retained.needs(feed, target, sha256):
                    yield Doomed(KINDS.get(target, "deltas"), listed)


def snapshot_metadata(repository: Repository, plan: Plan) -> Iterator[Doomed]:
    """Yield the snapshot metadata that was superseded long ago."""
    found = []
    for listed in repository.metadata.list(""):
        parsed = names.parse_file_name(listed.key)
        if parsed is not None and parsed[0] == names.SNAPSHOT:
            found.append((parsed[1], listed))
    for (version, listed), (_, later) in pairwise(sorted(found, key=lambda item: item[0])):
        if version < plan.head.snapshot.version and plan.now - later.modified > SUPERSEDED:
            full = Listed(layout.METADATA + listed.key, listed.size, listed.modified)
            yield Doomed("snapshot metadata", full)


def probes(repository: Repository, plan: Plan) -> Iterator[Doomed]:
    """Yield what killed probes have left."""
    for listed in repository.store.list(layout.PROBES):
        if not plan.young(listed):
            yield Doomed("probes", listed)


class InUse:
    """What role files name that a publisher may be about to make live, or has since the plan.

    Every file at or above the newest release of the plan counts, whoever wrote it: it is believed
    to need what it names, nothing else.

    Args:
        repository: Where.
        plan: The state that deletions are planned on.
    """

    def __init__(self, repository: Repository, plan: Plan) -> None:
        self._repository = repository
        self._plan = plan
        self._read: dict[str, frozenset[str]] = {}  # the files never change

    def digests(self) -> set[str]:
        """Return the digests of what such files name now; the storage is listed anew."""
        found: set[str] = set()
        for listed in self._repository.metadata.list(""):
            parsed = names.parse_file_name(listed.key)
            retained = self._plan.lists.get(parsed[0]) if parsed is not None else None
            if parsed is None or retained is None or parsed[1] < retained.newest:
                continue
            if listed.key not in self._read:
                self._read[listed.key] = self._named(parsed[0], listed.key)
            found |= self._read[listed.key]
        return found

    def _named(self, name: str, file: str) -> frozenset[str]:
        try:
            stored = self._repository.metadata.get(file, limit=policy.MAX_TARGETS_BYTES)
            role = verify.parse(name, stored.data, Targets) if stored is not None else None
        except (TrustError, TooLarge):  # nobody can make that live
            return frozenset()
        if role is None:
            return frozenset()
        return frozenset(target.sha256 for target in targets_of(role.signed).values())
