"""From the newest release back: is any record missing, altered, or not what others say?

The newest role file is verified by its signatures. It vouches for the one before it and for its
own record, by their digests, and so on to the first. A record also seals the account of the
release before it. What cannot be read is noted, and the walk goes on below it as well as it can:
where a role file is lost, the next older one counts by its signatures alone.
"""

import re
from collections import deque
from collections.abc import Iterator

from tuf.api.metadata import Targets

from blocklist.core.errors import BlocklistError, MalformedFeed, StoreUnreachable
from blocklist.publisher import chain, records
from blocklist.publisher.accounts import MAX_ACCOUNT_BYTES, Account
from blocklist.publisher.audit.releases import check_account, check_record, check_signatures
from blocklist.publisher.audit.replay import Replay
from blocklist.publisher.audit.report import Report
from blocklist.publisher.audit.trust import Trust
from blocklist.publisher.chain import Link, Readable
from blocklist.publisher.records import Record
from blocklist.store import layout
from signing import names, policy, verify
from signing.errors import TrustError
from signing.roles import RoleFile


class Walk:
    """One audit of the releases of a list.

    Args:
        store: Holds role files, records and accounts.
        trust: Who was to sign.
        report: Where to note what is found.
        first: The oldest version to look at; 1 for all.
    """

    def __init__(self, store: Readable, trust: Trust, report: Report, first: int = 1) -> None:
        self._store = store
        self._trust = trust
        self._report = report
        self._first = first
        self._replay: Replay | None = Replay()
        self._after: tuple[Link, Record | None] | None = None

    def run(self, newest: RoleFile[Targets]) -> None:
        """Look at every release, from a verified one back."""
        report = self._report
        report.last, report.digest = newest.version, newest.digest
        signed = ""
        with chain.Reads(self._store) as reads:
            for link in self._ahead(reads, self._links(reads, newest)):
                signed = signed or link.clear.content.sha256
                report.first = link.version
                report.count("releases")
                self._release(reads, link)
        self._whole(signed)

    def _ahead(self, reads: chain.Reads, links: Iterator[Link]) -> Iterator[Link]:
        """Give the releases with their records read ahead."""
        waiting: deque[Link] = deque()
        for link in links:
            reads.ask(layout.record_key(link.role.name, link.facts.record))
            waiting.append(link)
            if len(waiting) > chain.AHEAD:
                yield waiting.popleft()
        yield from waiting

    def _links(self, reads: chain.Reads, newest: RoleFile[Targets]) -> Iterator[Link]:
        """Walk the chain, over what is broken in it."""
        start: RoleFile[Targets] | None = newest
        while start is not None:
            below = start.version
            try:
                for link in chain.walk(reads, start):
                    below = link.facts.prev[0] if link.facts.prev is not None else 0
                    yield link
                    if link.version <= self._first:
                        return
                return
            except StoreUnreachable:
                raise
            except (BlocklistError, TrustError) as error:
                self._report.problem(below, str(error))
                self._replay = None
                start = self._next_below(below)

    def _next_below(self, version: int) -> RoleFile[Targets] | None:
        """Return the newest older role file that the keys of its time sign."""
        name = self._report.name
        shape = re.compile(rf"{re.escape(layout.METADATA)}([1-9][0-9]{{0,15}})\.{name}\.json")
        found = (shape.fullmatch(one.key) for one in self._store.list(layout.METADATA))
        below = {int(match[1]) for match in found if match}
        for number in sorted(below, reverse=True):
            if self._first <= number < version:
                with self._report.noting(number, "the chain does not lead to it"):
                    role = signed_alone(self._store, self._trust, name, number)
                    self._report.notes.append(
                        f"the chain is broken above version {number}: what is older counts by the "
                        "signatures of its time"
                    )
                    return role
        return None

    def _release(self, reads: chain.Reads, link: Link) -> None:
        """Look at one release."""
        version, after = link.version, self._after
        record: Record | None = None
        with self._report.noting(version):
            data = reads.take(layout.record_key(link.role.name, link.facts.record))
            record = records.verified(link.role.name, link.facts.record, data)
            self._report.count("records")
            check_record(self._report, link, record)
        self._after = link, record
        if record is None:
            self._replay = None
            return
        if self._replay is not None and (wrong := self._replay.back(record.added, record.removed)):
            self._report.problem(
                version, f"{wrong} of its changes contradict those of a later release"
            )
        self._adds_up(link, record, after)
        account = self._account(link, after)
        if account is not None:
            sealed = after is not None
            if not check_account(self._report, link, account, self._trust, sealed=sealed):
                account = None
        check_signatures(self._report, link, record, account, self._trust)

    def _adds_up(
        self, link: Link, record: Record, after: tuple[Link, Record | None] | None
    ) -> None:
        """See that the numbers of entries differ by what the records add and remove."""
        entries = link.facts.entries
        newer, changes = after or (None, None)
        if newer is not None and changes is not None and _follows(newer, link):
            gain = len(changes.added) - len(changes.removed)
            good = newer.facts.entries == entries + gain
            self._report.expect(good, newer.version, "its entries do not add up")
        if link.facts.prev is None:
            good = entries == len(record.added) and not record.removed
            self._report.expect(good, link.version, "its entries do not add up")

    def _account(self, link: Link, after: tuple[Link, Record | None] | None) -> Account | None:
        """Return who approved and released it, from the record after it, which seals that."""
        if after is None:
            return self._unsealed(link)
        newer, sealing = after
        if sealing is None or not _follows(newer, link):
            return None  # the record that would have it is lost, which is noted
        good = sealing.previous is not None
        self._report.expect(good, link.version, "who approved and released it was lost")
        return sealing.previous

    def _unsealed(self, link: Link) -> Account | None:
        """Return the account of the newest release, which no record holds yet."""
        name, version = link.role.name, link.version
        with self._report.noting(version, "its account"):
            key = layout.release_key(name, link.role.digest)
            found = self._store.get(key, limit=MAX_ACCOUNT_BYTES)
            if found is None:
                raise MalformedFeed("who approved and released it was lost")
            self._report.notes.append(
                f"no record seals the account of version {version} here: the next release does"
            )
            return Account.from_bytes(found.data)
        return None

    def _whole(self, signed: str) -> None:
        """See that all records together give the signed list."""
        report = self._report
        if self._replay is None:
            report.notes.append("the list was not rebuilt from its records: some are lost")
        elif self._first > 1:
            report.notes.append(
                "the list was not rebuilt from its records: older ones are not here"
            )
        elif signed:
            never = self._replay.never_added()
            report.expect(not never, 0, f"{never} entries were removed that were never added")
            if self._replay.digest() != signed:
                report.problem(report.last, "the records do not add up to the signed list")
            report.count("rebuilt lists")


def _follows(newer: Link, link: Link) -> bool:
    return newer.facts.prev == (link.version, link.role.digest)


def signed_alone(
    store: Readable, trust: Trust, name: str, version: int, *, proven: bool = False
) -> RoleFile[Targets]:
    """Return a role file that nothing names, by the signatures under the keys of its time.

    Args:
        store: Where.
        trust: Who was to sign.
        name: The list.
        version: Its version.
        proven: Only roots that are proven count.

    Raises:
        MalformedFeed, DigestMismatch: It, its record or the targets role is missing or altered.
        Tampered: It is not signed by those keys.
    """
    found = store.get(chain.role_key(name, version), limit=policy.MAX_TARGETS_BYTES)
    if found is None:
        raise MalformedFeed(f"expected {names.file_name(name, version)}, it is missing")
    role = verify.parse(name, found.data, Targets)
    if role.version != version:
        raise MalformedFeed(f"expected {name} version {version}, got {role.version}")
    digest = Link.of(role).facts.record
    sealed = store.get(layout.record_key(name, digest))
    record = records.verified(name, digest, sealed.data if sealed is not None else None)
    if record.delegation is None:
        raise MalformedFeed(f"the record of version {version} does not say whose keys were to sign")
    verify.signers(trust.targets(record.delegation, proven=proven), role)
    return role
