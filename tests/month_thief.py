"""What the thief of a list signing key tries, and how the key is revoked."""

from copy import deepcopy
from dataclasses import replace

import pytest

from blocklist.core.errors import Exit
from blocklist.publisher import history
from blocklist.publisher.accounts import Approval
from blocklist.publisher.ceremonies import ceremony, enact
from blocklist.publisher.curation import approving
from blocklist.publisher.curation.checking import Stale
from blocklist.store import layout
from signing import names, roles
from signing.errors import SignaturesMissing, Tampered
from signing.proposals import ListChange
from tests.month_days import lose_number
from tests.month_kit import LISTS, SECOND, Month
from tests.publisher_kit import LIST


def alone(month: Month) -> None:
    """One key of three, once and under two names."""
    month.steal("cyd")
    for name in LISTS:
        digest = month.team.stage("eve", add=month.entry(), name=name)
        file = month.eve.get(layout.candidate_key(name, digest))
        own = month.proposal(name, file, frozenset())
        for claims in ({}, {"keyid": month.team.publics["ben"].public.keyid, "who": "ben@desk"}):
            approval = month.approval_by(month.stolen, own, **claims)
            month.eve.put(layout.approval_key(name, digest, approval.keyid), approval.to_bytes())
        with pytest.raises(SignaturesMissing, match=r"got 1 \(1 that do not count\)"):
            month.team.release(digest, name)
        both = [month.approval_by(month.stolen, own, who=who) for who in ("cyd@desk", "ann@desk")]
        with pytest.raises(SignaturesMissing, match="got 1"):
            month.team.release(digest, name, given=both)


def signs_a_role(month: Month) -> None:
    """At the next number, also with an honest signature beside it, and with all that names it."""
    proposal = month.proposed(LIST, add=month.entry())
    month.approve(proposal, "ann", "ben")
    head, now = month.team.kit.head(), month.clock()
    live = head.roles[LIST]
    evil = deepcopy(live.signed)
    evil.version = proposal.version
    role = roles.seal(LIST, evil, [month.stolen])
    role.metadata.signatures.update(live.metadata.signatures)
    role = replace(role, data=role.metadata.to_bytes(roles.SERIALIZER))
    snap = roles.seal(
        names.SNAPSHOT,
        roles.next_snapshot(head.snapshot.signed, head.snapshot.version + 1, [role], now),
        [month.stolen],
    )
    stamp = roles.next_timestamp(head.timestamp.version + 1, snap, now)
    with month.repaired():
        for file in (role, snap):
            place = names.file_name(file.name, file.version)
            month.eve.put(layout.METADATA + place, file.data)
        month.everybody()
        signed = roles.seal(names.TIMESTAMP, stamp, [month.stolen])
        month.eve.put(layout.TIMESTAMP, signed.data)
        month.everybody(Exit.TAMPERED)
        with pytest.raises(Tampered):
            month.refresh()
    lose_number(month, proposal, role.data)
    takes_a_place(month)


def takes_a_place(month: Month) -> None:
    """The stolen key in ben's place, beside ann's genuine signature, on what both approved."""
    proposal = month.proposed(SECOND, add=month.entry())
    month.approve(proposal, "ann", "ben")
    ann = month.team.publics["ann"].public.keyid
    genuine = month.eve.get(layout.approval_key(SECOND, proposal.digest, ann))
    two = [Approval.from_bytes(genuine), month.approval_by(month.stolen, proposal)]
    candidate = month.team.candidate(proposal.digest, SECOND)
    role = approving.role_file(candidate, {approval.keyid: approval for approval in two})
    lose_number(month, proposal, role.data)


def is_noticed(month: Month) -> None:
    """A third approval, of cyd, who was on holiday."""
    proposal = month.proposed(LIST, add=month.entry())
    month.approve(proposal, "ann", "ben")
    third = month.approval_by(month.stolen, proposal)
    month.eve.put(layout.approval_key(LIST, proposal.digest, third.keyid), third.to_bytes())
    month.release(proposal)
    account = history.log(month.team.kit.repository(), LIST, 1)[0].account
    assert account is not None
    assert sorted(item.who for item in account.approvals) == ["ann@desk", "ben@desk", "cyd@desk"]


def key_is_revoked(month: Month) -> None:
    """By the holders of the targets key, for both lists; dan joins."""
    before = month.proposed(LIST, add=month.entry())
    month.approve(before, "ann", "ben")
    month.team.join("dan")
    lost = month.team.publics["cyd"].public.keyid
    repository = month.team.kit.repository()
    for name in LISTS:
        change = ListChange(name, add=[month.team.publics["dan"].public], drop=[lost])
        draft = ceremony.propose_targets(repository, change)
        draft, _ = ceremony.sign(repository.home, draft, ["targets"], month.clock())
        assert not enact.enact(repository, [draft]).unchanged
        month.everybody()
    month.honest.add("dan")
    with pytest.raises(Stale, match="the targets role changed"):
        month.release(before)
    again = month.rebased(before)
    month.approve(again, "ben", "dan")
    month.release(again)


def is_nobody(month: Month) -> None:
    """The stolen key counts no more, in whatever company."""
    for name in LISTS:
        proposal = month.proposed(name, add=month.entry())
        month.approve(proposal, "ann")
        approval = month.approval_by(month.stolen, proposal)
        place = layout.approval_key(name, proposal.digest, approval.keyid)
        month.eve.put(place, approval.to_bytes())
        with pytest.raises(SignaturesMissing, match=r"got 1 \(1 that do not count\)"):
            month.team.release(proposal.digest, name)
        month.approve(proposal, "dan")
        month.release(proposal)
    cannot_sign(month)


def cannot_sign(month: Month) -> None:
    """A role of the time when the key counted, signed by it and by ann, at the next number."""
    proposal = month.proposed(SECOND, add=month.entry())
    month.approve(proposal, "ann", "dan")
    signed = roles.seal(
        SECOND, month.team.candidate(proposal.digest, SECOND).signed, [month.stolen]
    )
    lose_number(month, proposal, signed.data)
