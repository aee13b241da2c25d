"""A month of three analysts, subscribers and an attacker, with a ledger of what people agreed on.

month = Month.begun(tmp_path, monkeypatch)
month.released(LIST, add="a.example/x")            # ann stages; ann and ben approve
month.everybody()                                  # all subscribers pull and are at the head
with month.repaired():                             # afterwards the storage is as it was
    month.eve.put(layout.TIMESTAMP, b"{}")
    month.everybody(Exit.MALFORMED)

After every pull of every subscriber, `Month.inspect` compares what is in force with the ledger. The
ledger takes keys, entries and what they mean from the people, never from the storage.
"""

import random
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Metadata, Targets

from blocklist.core import listbytes
from blocklist.core.enrolment import Enrolment, SourceUrl
from blocklist.core.entries import Feed
from blocklist.core.errors import Exit
from blocklist.core.hashing import hash_lines
from blocklist.publisher import subscribers, upkeep
from blocklist.publisher.accounts import Approval
from blocklist.publisher.curation import approving, staging
from blocklist.publisher.curation.candidate import Candidate
from blocklist.store import layout
from blocklist.subscriber import Blocklist, PullFailed, pull
from blocklist.subscriber.enrol import enrol
from blocklist.subscriber.installed import Version
from blocklist.subscriber.state import State
from signing import keys
from tests.attacker import Attacker
from tests.client_clock import follow
from tests.curation_kit import Team
from tests.publisher_kit import LIST, Clock, no_passphrase

SECOND = "second"
LISTS = (LIST, SECOND)
FEEDS = {"isp": Feed.HASHED, "proxy": Feed.CLEAR}
CHANCE = random.Random(4)
HONEST = 2  # distinct honest keys that must have signed whatever a subscriber holds


@dataclass(frozen=True)
class Proposal:
    """A candidate as the people mean it.

    Attributes:
        digest: Of the candidate.
        name: The list.
        lines: What the list shall hold, the test entry included.
        signed: Digest of what a signature on it is a signature on.
    """

    digest: str
    name: str
    version: int
    lines: frozenset[str]
    signed: str


@dataclass
class Agreed:
    """What honest people have approved, and by which keys."""

    proposal: Proposal
    keys: dict[str, Key] = field(default_factory=dict)
    released: bool = False


@dataclass
class Subscriber:
    """One feed of both lists, with a state that is kept.

    Attributes:
        seen: Highest version that was in force, by list.
        proven: Version by digest of role files whose signatures were verified.
    """

    state: State
    feed: Feed
    seen: dict[str, int] = field(default_factory=dict)
    proven: dict[str, Agreed] = field(default_factory=dict)


@dataclass
class Month:
    """All of it.

    Attributes:
        honest: People whose key nobody else has.
        meant: What each list shall hold.
        agreed: What honest people approved, by `Proposal.signed`.
        live: The version that is released, by list.
        pulls: How many pulls were inspected.
        calls: How often everybody pulled.
        entries: How many entries were made up.
    """

    team: Team
    eve: Attacker
    enrolments: Mapping[str, Enrolment]
    people: list[Subscriber]
    honest: set[str] = field(default_factory=lambda: {"ann", "ben", "cyd"})
    meant: dict[str, frozenset[str]] = field(default_factory=dict)
    agreed: dict[str, Agreed] = field(default_factory=dict)
    live: dict[str, int] = field(default_factory=dict)
    pulls: int = 0
    calls: int = 0
    entries: int = 0

    @classmethod
    def begun(cls, folder: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> "Month":
        """Return the first morning: two lists without a release, two subscribers."""
        ours = folder / "platforms.txt"
        ours.write_text(".shared.example\n")
        team = Team.made(folder, lists=LISTS, directory=True, clock=clock, platforms_file=str(ours))
        team.join("eve")
        follow(monkeypatch, clock)
        store = folder / "store"
        source = [SourceUrl(f"file:{store / 'feed'}")]
        enrolments = {
            name: subscribers.add_subscriber(
                team.kit.repository(), name, LISTS, [feed], source
            ).enrolment
            for name, feed in FEEDS.items()
        }
        month = cls(team, Attacker(store), enrolments, [])
        month.people = [month.subscriber(name, name) for name in FEEDS]
        month.meant = {name: frozenset({f"h test-entry.{name}.example"}) for name in LISTS}
        return month

    @property
    def clock(self) -> Clock:
        return self.team.kit.clock

    def subscriber(self, name: str, folder: str) -> Subscriber:
        """Return somebody new who has the enrolment of that name."""
        state = State(self.team.kit.folder / "states" / folder)
        enrol(state, self.enrolments[name], accept_dev=True, now=self.clock())
        return Subscriber(state, FEEDS[name])

    def entry(self) -> str:
        """Return an entry that was never listed."""
        self.entries += 1
        return f"site-{self.entries % 17}.example/page/{self.entries}"

    # What people do.

    def proposed(
        self,
        name: str,
        *,
        add: str | None = None,
        remove: str | None = None,
        whole: str | None = None,
        by: str = "ann",
        **options: Any,
    ) -> Proposal:
        """Let somebody stage; what is meant is computed here, apart from the publisher's code."""
        before = self.meant[name] if whole is None else {f"h test-entry.{name}.example"}
        lines = before - _lines(remove) | _lines(add) | _lines(whole)
        made = self.team.staged(by, whole, add=add, remove=remove, name=name, **options)
        return self.proposal(name, made.data, frozenset(lines))

    def proposal(self, name: str, data: bytes, lines: frozenset[str]) -> Proposal:
        """Return what a candidate's file is meant to be."""
        found = Candidate.from_bytes(data)
        signed = sha256(found.signed_bytes).hexdigest()
        return Proposal(staging.digest_of(data), name, found.version, lines, signed)

    def rebased(self, old: Proposal, by: str = "ann") -> Proposal:
        """Let somebody make a candidate anew on the newest release."""
        digest = self.team.rebase(by, old.digest, old.name)
        data = self.eve.get(layout.candidate_key(old.name, digest))
        return self.proposal(old.name, data, old.lines)

    def approve(self, proposal: Proposal, *people: str, allowed: tuple[str, ...] = ()) -> None:
        """Let people approve, each on a machine of their own."""
        for person in people:
            done = self.team.approve(person, proposal.digest, proposal.name, allowed=allowed)
            if person in self.honest:
                known = self.agreed.setdefault(proposal.signed, Agreed(proposal))
                key = self.team.publics[person].public
                assert done.approval.keyid == key.keyid
                known.keys[key.keyid] = key

    def release(self, proposal: Proposal, given: list[Approval] | None = None) -> None:
        """Let the machine with the online key release what two honest people told it to."""
        known = self.agreed[proposal.signed]
        assert len(known.keys) >= HONEST
        done = self.team.release(proposal.digest, proposal.name, given=given or [])
        assert done.version == proposal.version
        known.released = True
        self.live[proposal.name] = proposal.version
        self.meant[proposal.name] = proposal.lines

    def released(self, name: str, by: tuple[str, str] = ("ann", "ben"), **what: Any) -> Proposal:
        """Stage, approve and release; without anything named, an entry that is new."""
        if not what:
            what = {"add": self.entry()}
        proposal = self.proposed(name, by=by[0], **what)
        self.approve(proposal, *by)
        self.release(proposal)
        return proposal

    def refresh(self) -> None:
        upkeep.refresh(self.team.kit.repository())

    def approval_by(self, signer: Signer, proposal: Proposal, **claims: Any) -> Approval:
        """Return an approval by a stolen or foreign key, that claims what it wants."""
        found = self.team.candidate(proposal.digest, proposal.name)
        thief = replace(self.team.at("eve"), who="cyd@desk")
        made = approving.signed(thief, proposal.digest, found, signer, ())
        return replace(made, **claims)

    def signer(self, person: str) -> Signer:
        """Return somebody's private key."""
        path = self.team.at(person).home.keys_directory / person
        return keys.KeyFile(path, self.team.publics[person].public).signer(no_passphrase)

    def steal(self, person: str) -> None:
        """Give the attacker a copy of somebody's key; it is not an honest one any more."""
        self.eve.stolen = self.signer(person)
        self.honest.discard(person)

    @property
    def stolen(self) -> Signer:
        """The key that was stolen."""
        assert self.eve.stolen is not None
        return self.eve.stolen

    @contextmanager
    def repaired(self) -> Iterator[None]:
        """Put the storage back from the copy that somebody keeps, after what happens meanwhile."""
        copy = self.eve.everything()
        yield
        self.eve.put_all(copy)

    # What subscribers do.

    def everybody(self, *outcomes: Exit, fresh: Exit | None = None) -> None:
        """Let every subscriber pull; on bad days, and every few days, one who has no state too.

        Args:
            outcomes: How the pulls fail, one of these for each feed; none: all are at the head.
            fresh: The same for whoever has no state, where it is not `outcomes`.
        """
        for subscriber in self.people:
            failed = self.pull(subscriber)
            assert failed <= set(outcomes), failed
            assert bool(failed) == bool(outcomes)
            if not outcomes:
                assert subscriber.seen == self.live
        self.calls += 1
        if outcomes or self.calls % 5 == 0:
            new = self.subscriber(CHANCE.choice(sorted(FEEDS)), "fresh")
            expected = set(outcomes) if fresh is None else {fresh} - {Exit.DONE}
            assert self.pull(new) == expected
            shutil.rmtree(new.state.directory)

    def pull(self, subscriber: Subscriber) -> set[Exit]:
        """Pull once and inspect; return how feeds failed."""
        failed: set[Exit] = set()
        try:
            pull(subscriber.state, now=self.clock())
        except PullFailed as error:
            failed = {Exit(item.error.exit_code) for item in error.failed}
        self.inspect(subscriber)
        return failed

    def inspect(self, subscriber: Subscriber) -> None:
        """See that all in force is what two honest people approved, is not older, is not empty."""
        self.pulls += 1
        for name in LISTS:
            folder = subscriber.state.feed(name, subscriber.feed)
            installed = folder.read()
            if installed is None:
                assert name not in subscriber.seen, "a list that was in force is gone"
                continue
            version = installed.current
            assert version.version >= subscriber.seen.get(name, 0), "a list went back"
            subscriber.seen[name] = version.version
            lines = self._proven(subscriber, name, version).proposal.lines
            assert len(lines) > 1
            assert folder.load(version) == self.list_bytes(name, subscriber.feed, lines)

    def listed(self, url: str) -> set[bool]:
        """Return what subscribers say of a URL."""
        return {Blocklist.open(one.state.directory).match(url) is not None for one in self.people}

    def _proven(self, subscriber: Subscriber, name: str, version: Version) -> Agreed:
        """Return what people agreed on, after two honest keys were found under it."""
        known = subscriber.proven.get(version.role_digest)
        if known is None:
            data = (subscriber.state.trust / f"{name}.json").read_bytes()
            assert sha256(data).hexdigest() == version.role_digest
            role: Metadata[Targets] = Metadata.from_bytes(data)
            known = self.agreed[sha256(role.signed_bytes).hexdigest()]
            for keyid, key in known.keys.items():
                key.verify_signature(role.signatures[keyid], role.signed_bytes)
            assert len({key.keyval["public"] for key in known.keys.values()}) >= HONEST
            subscriber.proven[version.role_digest] = known
        assert known.released
        assert (known.proposal.name, known.proposal.version) == (name, version.version)
        return known

    def list_bytes(self, name: str, feed: Feed, lines: frozenset[str] | None = None) -> bytes:
        """Return the list bytes that entries must have; those of the newest release."""
        encoded = sorted(line.encode() for line in (lines or self.meant[name]))
        if feed is Feed.CLEAR:
            return listbytes.encode_clear(encoded)
        [key] = self.enrolments["isp"].lists[name].hash_keys.values()
        return hash_lines(encoded, key)


def _lines(source: str | None) -> frozenset[str]:
    """Return the entry lines of a source of pages and names with all below them."""
    words = (source or "").split()
    return frozenset(f"d {word[1:]}" if word.startswith(".") else f"u {word}" for word in words)
