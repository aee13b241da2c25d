"""One publisher on one storage: the head as its own persistent trust sees it."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from securesystemslib.signer import Signer
from tuf.api.metadata import Targets

from blocklist.core.errors import LocalError, MalformedFeed, UnknownList
from blocklist.core.private import ListSecret
from blocklist.publisher.home import Home
from blocklist.publisher.settings import Settings
from blocklist.store import layout
from blocklist.store.port import Findings, Probing, Store
from blocklist.store.prefixed import Prefixed
from signing import names, policy
from signing.errors import Stale, TrustError, UnknownRole
from signing.head import Head, read_head
from signing.roles import RoleFile, delegations, seal
from signing.trust import TrustState

MAX_SECRET_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Repository:
    """What every publisher command works on.

    Attributes:
        store: The storage.
        home: This machine's keys and trust state.
        clock: Gives the time; aware, UTC.
        who: Who runs the command, for the records.
        settings: The organisation's settings.
    """

    store: Store
    home: Home
    clock: Callable[[], datetime]
    who: str = "unknown"
    settings: Settings = Settings()  # noqa: RUF009 - frozen

    @property
    def metadata(self) -> Prefixed:
        """The storage of role files."""
        return Prefixed(self.store, layout.METADATA)

    def head(self, lists: Iterable[str] | None = ()) -> Head:
        """Read and verify the head with these lists (None: all), and remember it.

        Raises:
            UnknownList: A list that does not exist.
            TrustError: The storage is not what it was.
        """
        try:
            head, trust = read_head(self.metadata, self.home.trust(), lists)
        except UnknownRole as error:
            raise UnknownList(str(error)) from error
        self.home.save_trust(trust)
        return head

    def remember(self, head: Head) -> None:
        """Keep a head that was just committed.

        Nothing is a failure here, neither a full disk nor a head that others have moved on since:
        the release is live, and the next command reads the head again.
        """
        with suppress(LocalError, TrustError):
            trust = self.home.trust()
            seen = {role.name: (role.version, role.digest) for role in head.everything()}
            self.home.save_trust(trust.merged(TrustState(head.root, seen)))

    def above(self, role: str, version: int) -> int:
        """Return the number that the next version of a role has to be above.

        That is more than the live one where a restored repository is behind what clients have seen.
        """
        return self.home.trust().above(role, version)

    def writable(self) -> Findings | None:
        """Return what the storage was found to do with conditional writes; None: nothing to find.

        Raises:
            StoreUnreachable: It did not answer.
            LocalError: It is not one that we write to, or we may not.
        """
        if not isinstance(self.store, Probing):
            return None
        found = self.store.probe()
        if not found.usable:
            raise LocalError(found.warning or found.conditions)
        return found

    def signing_time(self, head: Head) -> datetime:
        """Return the time to sign with, unless this clock is behind the one that signed the head.

        Raises:
            Stale: It is; what we sign would expire too early or be expired at once.
        """
        now = self.clock()
        signed = head.timestamp.signed.expires - policy.TIMESTAMP_LIFETIME
        if now + policy.CLOCK_SLACK < signed and not self.settings.trust_clock:
            raise Stale(
                "the repository was signed later than this clock says: set the clock "
                "(or publisher.trust_clock, if it was the other one that went wrong)"
            )
        return now

    def online_signer(self, head: Head) -> Signer:
        """Load the key that signs snapshot metadata and timestamp."""
        role = head.root.signed.roles[names.TIMESTAMP]
        return self.home.signers(names.TIMESTAMP, role.keyids, role.threshold)[0]

    def sign_targets(self, head: Head, signed: Targets) -> RoleFile[Targets]:
        """Sign a new version of the top-level targets role."""
        role = head.root.signed.roles[names.TARGETS]
        signers = self.home.signers(names.TARGETS, role.keyids, role.threshold)
        return seal(names.TARGETS, signed, signers)

    def list_signers(self, head: Head, name: str) -> list[Signer]:
        """Load the keys that sign a list, as many as its threshold needs or as we have."""
        role = (delegations(head.targets.signed).roles or {})[name]
        return self.home.signers(name, role.keyids, role.threshold)

    def secret(self, name: str) -> ListSecret:
        """Read hash keys and test host of a list.

        Raises:
            UnknownList: There are none.
        """
        found = self.store.get(layout.list_secret_key(name), limit=MAX_SECRET_BYTES)
        if found is None:
            raise UnknownList(f"expected the secrets of list {name!r} in the storage, found none")
        secret = ListSecret.from_bytes(found.data)
        if secret.name != name:
            raise MalformedFeed(f"expected the secrets of {name!r}, got those of another list")
        return secret
