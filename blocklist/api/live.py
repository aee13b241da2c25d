"""One verified state of the repository, with what each list offers in it.

The top-level roles must verify, or there is no new state. A single list that does not is left out
and named: one misbehaving list must not block the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tuf.api.metadata import Targets

from blocklist.core.entries import Feed
from blocklist.core.errors import BlocklistError, FeedError
from blocklist.core.release import FeedRelease, read_release
from signing import names, policy, verify
from signing.errors import Malformed, TrustError
from signing.head import Head, read_head
from signing.port import MetadataStore
from signing.roles import RoleFile, delegated_names, targets_of
from signing.trust import TrustState


class NotServable(BlocklistError):
    """What is live in the storage does not verify, so that it cannot be served."""

    http_status = 503
    retryable = True


@dataclass(frozen=True, slots=True)
class Live:
    """A verified head.

    Attributes:
        head: Top-level roles.
        roles: Verified list roles by name.
        releases: What they say, by list and feed.
        refused: Lists whose role or facts cannot be used, and why.
    """

    head: Head
    roles: Mapping[str, RoleFile[Targets]]
    releases: Mapping[tuple[str, Feed], FeedRelease]
    refused: Mapping[str, str]

    def knows(self, list_name: str) -> bool:
        """Tell whether the repository has a list of that name, released or not."""
        return list_name in delegated_names(self.head.targets.signed)

    def release(self, list_name: str, feed: Feed) -> FeedRelease | None:
        """Return the live release of a feed; None: nothing released yet, or no such list.

        Raises:
            NotServable: It does not verify.
        """
        if list_name in self.refused:
            raise NotServable(f"the live version of list {list_name} does not verify")
        return self.releases.get((list_name, feed))


def load(metadata: MetadataStore, trust: TrustState) -> tuple[Live, TrustState]:
    """Read and verify the head and all its lists.

    Raises:
        TrustError: The top-level roles do not verify, or are older than seen.
        StoreError: The storage failed.
    """
    head, trust = read_head(metadata, trust)
    roles: dict[str, RoleFile[Targets]] = {}
    releases: dict[tuple[str, Feed], FeedRelease] = {}
    refused: dict[str, str] = {}
    for name in head.released():
        try:
            role = _role(metadata, head, name)
            found = {(name, feed): _release(role, feed) for feed in Feed}
            trust = trust.advance(head.root, [role])
        except (TrustError, FeedError) as error:
            refused[name] = str(error)
        else:
            roles[name] = role
            releases |= found
    return Live(head, roles, releases, refused), trust


def _role(metadata: MetadataStore, head: Head, name: str) -> RoleFile[Targets]:
    file = names.file_name(name, verify.meta_of(head.snapshot, name).version)
    stored = metadata.get(file, limit=policy.MAX_TARGETS_BYTES)
    if stored is None:
        raise Malformed(f"expected {file} in the repository, it is missing")
    return verify.delegated(head.targets, head.snapshot, name, stored.data)


def _release(role: RoleFile[Targets], feed: Feed) -> FeedRelease:
    return read_release(role.name, feed, role.version, targets_of(role.signed))
