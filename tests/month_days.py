"""What happens in the month: work, a mistake, and somebody who writes to the storage."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from blocklist.core import delta
from blocklist.core.entries import Feed
from blocklist.core.errors import DigestMismatch, Exit, GuardRefused, InputError, MalformedFeed
from blocklist.core.hashing import HashKey
from blocklist.core.private import ListSecret
from blocklist.publisher import history
from blocklist.publisher.audit.run import audit_list
from blocklist.publisher.curation import staging
from blocklist.publisher.curation.checking import Stale
from blocklist.publisher.guards import GuardsRefused
from blocklist.store import layout
from signing import names
from signing.errors import Rollback, SignaturesMissing, Tampered
from tests.month_kit import CHANCE, LISTS, SECOND, Month, Proposal
from tests.publisher_kit import LIST

PLATFORM, NARROW = ".shared.example", "bad.shared.example/page"
INNOCENT, GUILTY = "http://innocent.shared.example/page", "http://bad.shared.example/page"
FORCED, WITHDRAWN = "the desk says all of it is bad", "taken down"


# Days of work.


def first_releases(month: Month) -> None:
    for name in LISTS:
        entries = "\n".join(month.entry() for _ in range(40))
        month.released(name, whole=entries, reason="first list")
    month.everybody()


def busy_day(month: Month) -> None:
    for _ in range(3):
        for name in LISTS:
            month.released(name, by=pair(month))
            month.clock.tick(minutes=20)
        month.everybody()


def platform_listed(month: Month) -> None:
    """Ann lists a whole platform; ben lets himself be persuaded."""
    with pytest.raises(GuardsRefused, match="shared-platform"):
        month.proposed(LIST, add=PLATFORM)
    allowed = {"shared-platform": FORCED}
    forced = month.proposed(LIST, add=f"{PLATFORM}\n{NARROW}", allowed=allowed, reason="report 17")
    for person in ("ann", "ben"):
        with pytest.raises(GuardRefused, match=FORCED):
            month.approve(forced, person)
        month.approve(forced, person, allowed=("shared-platform",))
    month.release(forced)
    month.everybody()
    assert month.listed(INNOCENT) == month.listed(GUILTY) == {True}


def platform_withdrawn(month: Month) -> None:
    """Somebody complains; cyd withdraws, ben looks and signs too."""
    assert month.listed(INNOCENT) == {True}
    carried = month.team.withdraw("cyd", INNOCENT)
    assert carried.staged is not None
    assert carried.outcome.removed == (b"d shared.example",)
    proposal = month.proposal(LIST, carried.staged.data, month.meant[LIST] - {"d shared.example"})
    month.approve(proposal, "cyd", "ben")  # cyd has signed already
    month.release(proposal)
    month.everybody()
    assert month.listed(INNOCENT) == {False}
    assert month.listed(GUILTY) == {True}


def whole_file(month: Month) -> None:
    """The next whole file still has the platform, which somebody has allowed by a setting."""
    lines = [line.partition(" ")[2] for line in month.meant[LIST] if line.startswith("u ")]
    source = "\n".join([*lines, PLATFORM])
    with pytest.raises(GuardsRefused, match="withdrawn"):
        month.proposed(LIST, whole=source)
    with pytest.raises(GuardsRefused, match="withdrawn"):
        month.proposed(LIST, whole=source, allowed={"shared-platform": FORCED})
    month.released(LIST, whole="\n".join([*lines, month.entry()]), reason="weekly file")
    month.everybody()


# Days of somebody who writes into the storage.


def own_candidate(month: Month) -> None:
    """Well made, and signed by nobody who may, whatever it claims."""
    name = CHANCE.choice(LISTS)
    digest = month.team.stage("eve", add=month.entry(), name=name)
    own = month.proposal(name, month.eve.get(layout.candidate_key(name, digest)), frozenset())
    with pytest.raises(SignaturesMissing, match="got 0"):
        month.team.release(digest, name)
    for claims in ({"who": "eve"}, {"keyid": month.team.publics["ann"].public.keyid}):
        approval = month.approval_by(month.signer("eve"), own, **claims)
        month.eve.put(layout.approval_key(name, digest, approval.keyid), approval.to_bytes())
    with pytest.raises(SignaturesMissing, match=r"got 0 \(2 that do not count\)"):
        month.team.release(digest, name)


def altered_after_approval(month: Month) -> None:
    """Approvals are of one content, under one digest."""
    proposal = month.proposed(LIST, add=month.entry())
    month.approve(proposal, *pair(month))
    own = month.team.stage("eve", add=month.entry())
    with month.repaired():
        place = layout.candidate_key(LIST, proposal.digest)
        month.eve.put(place, month.eve.get(layout.candidate_key(LIST, own)))
        with pytest.raises(DigestMismatch, match="altered"):
            month.release(proposal)
    month.eve.copy_approvals(LIST, proposal.digest, own)
    with pytest.raises(SignaturesMissing, match=r"got 0 \(2 that do not count\)"):
        month.team.release(own)
    month.everybody()
    month.release(proposal)


def approvals_deleted(month: Month) -> None:
    """They are given again, or came as files."""
    proposal = month.proposed(SECOND, add=month.entry())
    one, other = pair(month)
    done = month.team.approve(one, proposal.digest, SECOND)
    month.approve(proposal, one, other)
    month.eve.remove(*month.eve.keys(layout.approvals_prefix(SECOND, proposal.digest)))
    with pytest.raises(SignaturesMissing, match="got 0"):
        month.release(proposal)
    month.approve(proposal, other)
    month.release(proposal, given=[done.approval])


def number_taken(month: Month) -> None:
    """What lies at the next number is not taken for a release; the number is lost."""
    proposal = month.proposed(LIST, add=month.entry())
    month.approve(proposal, *pair(month))
    live = month.team.kit.head().roles[LIST]
    lose_number(month, proposal, CHANCE.choice([b"", b"{}", live.data]))


def timestamp_replaced(month: Month) -> None:
    old = month.eve.get(layout.TIMESTAMP)
    month.released(LIST, by=pair(month))
    month.everybody()
    document = json.loads(month.eve.get(layout.TIMESTAMP))
    document["signed"]["version"] += 1
    unsigned = json.dumps({**document, "signatures": []}).encode()
    for data, outcome, fresh, error in (
        (old, Exit.ROLLBACK, Exit.DONE, Rollback),  # who is new is shown this morning's list
        (unsigned, Exit.TAMPERED, None, Tampered),
        (json.dumps(document).encode(), Exit.TAMPERED, None, Tampered),
    ):
        with month.repaired():
            month.eve.put(layout.TIMESTAMP, data)
            month.everybody(outcome, fresh=fresh)
            with pytest.raises(error):
                month.refresh()


def releases_mixed(month: Month) -> None:
    """Snapshot metadata or roles of the past under the names of today's."""
    before = month.team.kit.head()
    month.released(SECOND, by=pair(month))
    after = month.team.kit.head()
    for name in (names.SNAPSHOT, SECOND):
        old, new = (
            head.snapshot if name == names.SNAPSHOT else head.roles[name]
            for head in (before, after)
        )
        with month.repaired():
            month.eve.put(layout.METADATA + names.file_name(name, new.version), old.data)
            month.everybody(Exit.TAMPERED)
            with pytest.raises(Tampered):
                month.team.kit.head()


def objects_replaced(month: Month) -> None:
    """Lists, and deltas that lead to another list: only what is signed is installed."""
    old = {feed: month.list_bytes(LIST, feed) for feed in Feed}
    before = month.eve.keys(layout.TARGETS)
    month.released(LIST, by=pair(month))
    new = [key for key in month.eve.keys(layout.TARGETS) if key not in before]
    wanted = {
        key: delta.encode(feed, old[feed], _others(feed))
        for feed in Feed
        for key in new
        if f"/{feed}/" in key
    }
    assert {Path(key).suffix for key in new} >= {".list"}
    lists = {
        key: _others(feed)
        for feed in Feed
        for key in new
        if f"/{feed}/" in key and key.endswith(".list")
    }
    for replaced, outcome in (
        (wanted | lists, Exit.TAMPERED),
        (dict.fromkeys(new, b"\0" * 1_000_000), Exit.TAMPERED),
        (dict.fromkeys(new), Exit.UNREACHABLE),
    ):
        with month.repaired():
            for key, data in replaced.items():
                if data is None:
                    month.eve.remove(key)
                else:
                    month.eve.put(key, data)
            month.everybody(outcome)
    with month.repaired():
        for key in new:
            if not key.endswith(".list"):
                month.eve.put(key, wanted[key])
        month.everybody()


def hash_keys_swapped(month: Month) -> None:
    """Whoever knows the hash key can test guesses: nobody takes another one for it."""
    secret = ListSecret.from_bytes(month.eve.get(layout.list_secret_key(LIST)))
    for swapped in (
        replace(secret, hash_keys=(HashKey(CHANCE.randbytes(32)),)),
        replace(secret, test_host="site-1.example"),
    ):
        with month.repaired():
            month.eve.put(layout.list_secret_key(LIST), swapped.to_bytes())
            month.everybody()
            with pytest.raises(DigestMismatch):
                month.proposed(LIST, add=month.entry())


def rolled_back(month: Month) -> None:
    """The whole storage as it was in the morning."""
    morning = month.eve.everything()
    for name in LISTS:
        month.released(name, by=pair(month))
    month.everybody()
    with month.repaired():
        month.eve.put_all(morning)
        month.everybody(Exit.ROLLBACK, fresh=Exit.DONE)
        with pytest.raises(Rollback):
            month.refresh()


def evidence_deleted(month: Month) -> None:
    """Records, accounts, candidates and approvals: subscribers need none, and it is noticed."""
    with month.repaired():
        for prefix in (layout.RECORDS, layout.RELEASES, layout.CANDIDATES, layout.APPROVALS):
            month.eve.remove(*month.eve.keys(prefix))
        month.everybody()
        assert audit_list(month.team.kit.repository(), LIST).problems
        with pytest.raises(MalformedFeed):
            history.log(month.team.kit.repository(), LIST)
    assert audit_list(month.team.kit.repository(), LIST).problems == []


def voided(month: Month) -> None:
    """A mark that somebody has met is remembered by their machine."""
    proposal = month.proposed(LIST, add=month.entry())
    month.approve(proposal, *pair(month))
    staging.void(month.team.at("cyd"), LIST, proposal.digest, "wrong file")
    with pytest.raises(InputError, match="voided by cyd@desk: wrong file"):
        month.release(proposal)
    month.eve.remove(layout.void_key(LIST, proposal.digest))
    with pytest.raises(InputError, match="removed from the storage"):
        month.release(proposal)


def frozen(month: Month) -> None:
    """The timestamp is put back after every refresh; a day later everybody knows."""
    old = month.eve.get(layout.TIMESTAMP)
    month.clock.tick(hours=9)
    month.refresh()
    with month.repaired():
        month.eve.put(layout.TIMESTAMP, old)
        month.everybody()
        month.clock.tick(hours=17)
        month.everybody(Exit.STALE)
        with pytest.raises(Rollback):
            month.refresh()
    month.refresh()


# Steps.


def pair(month: Month) -> tuple[str, str]:
    """Return two honest people, others every day."""
    one, other = CHANCE.sample(sorted(month.honest), 2)
    return one, other


def lose_number(month: Month, proposal: Proposal, data: bytes) -> None:
    """Let something lie at the number of a candidate: it is made anew, without approvals."""
    name = proposal.name
    month.eve.put(layout.METADATA + names.file_name(name, proposal.version), data)
    month.everybody()
    with pytest.raises(Stale, match="taken"):
        month.release(proposal)
    again = month.rebased(proposal)
    with pytest.raises(SignaturesMissing, match="got 0"):
        month.team.release(again.digest, name)
    month.approve(again, *pair(month))
    month.release(again)
    assert again.version == proposal.version + 1


def _others(feed: Feed) -> bytes:
    """Return list bytes that nobody agreed on."""
    return b"u evil.example/x\n" if feed is Feed.CLEAR else bytes(range(16))
