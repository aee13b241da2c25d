"""`refresh` and `status`: keep the head fresh, and say what is due."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from blocklist.core.entries import Feed
from blocklist.core.errors import LocalError, StoreError
from blocklist.core.release import read_release
from blocklist.publisher.racing import until_committed
from blocklist.publisher.repository import Repository
from blocklist.store.port import Findings, Probing, Store
from signing import commit, names, policy
from signing.errors import TrustError
from signing.head import Head
from signing.roles import delegated_names, is_dev, targets_of

_LIFETIMES = {
    names.ROOT: policy.ROOT_LIFETIME,
    names.TARGETS: policy.TARGETS_LIFETIME,
    names.SNAPSHOT: policy.SNAPSHOT_LIFETIME,
    names.TIMESTAMP: policy.TIMESTAMP_LIFETIME,
}


@dataclass(frozen=True, slots=True)
class RoleStatus:
    """How a role stands.

    Attributes:
        name: Role name.
        version: Its version.
        expires: When it expires.
        state: `fresh`, `due` (under a quarter of its life left) or `expired`.
    """

    name: str
    version: int
    expires: datetime
    state: str


@dataclass(frozen=True, slots=True)
class ListStatus:
    """How a list stands.

    Attributes:
        name: The list.
        version, entries, created: Of its newest release; None before the first.
        next_hash_key: From when on its announced hash key may be used; None: none is announced.
        warning: What somebody has to do, empty when nothing is due.
    """

    name: str
    version: int | None
    entries: int | None
    created: datetime | None
    next_hash_key: datetime | None = None
    warning: str = ""


@dataclass(frozen=True, slots=True)
class RepositoryStatus:
    """How the repository stands.

    Attributes:
        roles: Every role of the head.
        lists: Every list.
        dev: Its keys are throw-away ones.
        storage: How the storage does conditional writes; None where there is nothing to find.
    """

    roles: tuple[RoleStatus, ...]
    lists: tuple[ListStatus, ...]
    dev: bool
    storage: Findings | None = None

    @property
    def warnings(self) -> list[str]:
        """What somebody has to do soon, or should have done."""
        first = [self.storage.warning] if self.storage and self.storage.warning else []
        roles = [_warning(role) for role in self.roles if role.state != "fresh"]
        return [*first, *roles, *(item.warning for item in self.lists if item.warning)]


def refresh(repository: Repository) -> tuple[Head, list[str]]:
    """Sign snapshot metadata (under half its life) and timestamp again.

    Returns:
        The new head, and warnings about roles that only a release or a ceremony renews.

    Raises:
        LostRace: Others kept winning for `race_seconds`.
    """
    settings = repository.settings

    def attempt(taken: Mapping[str, int]) -> Head:
        head = _readable_head(repository)
        now, online = repository.signing_time(head), repository.online_signer(head)
        plan = commit.plan_refresh(repository.metadata, head, online, now, taken)
        return plan.write(repository.metadata)

    with repository.home.lock(settings.lock_seconds):
        after = until_committed(attempt, settings.race_seconds)
        repository.remember(after)
    return after, [*_unreadable(after), *_status(after, repository.clock()).warnings]


def status(repository: Repository) -> RepositoryStatus:
    """Return how the repository stands; its storage is read and verified, and probed."""
    found = _status(repository.head(None), repository.clock())
    return replace(found, storage=_storage(repository.store))


def _storage(store: Store) -> Findings | None:
    """Return what a probe finds; that somebody may only read is no failure here."""
    if not isinstance(store, Probing):
        return None
    try:
        return store.probe()
    except (StoreError, LocalError) as error:
        return Findings(store.name, "unknown", usable=False, warning=str(error))


def _readable_head(repository: Repository) -> Head:
    """Read the head with all lists, or with none: a damaged one must not make all others stale."""
    try:
        return repository.head(None)
    except TrustError:
        return repository.head()


def _unreadable(head: Head) -> list[str]:
    """Say that released lists could not be read."""
    if set(head.released()) == set(head.roles):
        return []
    return ["a list cannot be verified; run `blocklist fsck`"]


def _status(head: Head, now: datetime) -> RepositoryStatus:
    roles = [
        role_status(role.name, role.version, role.signed.expires, now)
        for role in (head.root, *head.everything())
    ]
    lists = [_list_status(head, name, now) for name in delegated_names(head.targets.signed)]
    return RepositoryStatus(tuple(roles), tuple(lists), is_dev(head.root.signed))


def _list_status(head: Head, name: str, now: datetime) -> ListStatus:
    role = head.roles.get(name)
    if role is None:
        return ListStatus(name, None, None, None)
    facts = read_release(name, Feed.HASHED, role.version, targets_of(role.signed)).facts
    start = facts.next_hash_key[1] if facts.next_hash_key is not None else None
    warning = ""
    if start is not None and start <= now:
        warning = f"{name} may have its new hash key: run `blocklist list rotate-hash-key {name}`"
    return ListStatus(name, role.version, facts.entries, facts.created, start, warning)


def role_status(name: str, version: int, expires: datetime, now: datetime) -> RoleStatus:
    """Return how a role stands."""
    left = policy.life_left(expires, _LIFETIMES.get(name, policy.LIST_LIFETIME), now)
    state = "expired" if left <= 0 else "due" if left < policy.WARN_BELOW else "fresh"
    return RoleStatus(name, version, expires, state)


def _warning(role: RoleStatus) -> str:
    verb = "expired" if role.state == "expired" else "expires"
    return f"{role.name} {verb} {role.expires:%Y-%m-%d %H:%M} UTC: {_remedy(role.name)}"


def _remedy(name: str) -> str:
    """Return who renews a role."""
    if name in (names.SNAPSHOT, names.TIMESTAMP):
        return "run `blocklist refresh` on a timer"
    if name in (names.ROOT, names.TARGETS):
        return "hold the yearly ceremony"
    return f"run `blocklist list renew {name}`"
