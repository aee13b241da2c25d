"""Stage, approve, release: nothing gets out that enough people have not signed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from blocklist.core.errors import DigestMismatch, InputError
from blocklist.publisher.accounts import Approval
from blocklist.publisher.curation import approving, releasing, staging
from blocklist.publisher.curation.checking import Stale
from blocklist.publisher.publish import publish
from blocklist.publisher.request import Options, read_request
from blocklist.store import layout
from signing import keys
from signing.errors import LostRace, SignaturesMissing
from tests.curation_kit import Team
from tests.fakes import Fault, FaultyStore, SimulatedCrash, fault_at
from tests.publisher_kit import LIST, TEST_LINE, no_passphrase

FIRST = "a.example/x\nb.example/y\nhttp://c.example/z\n"


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team.made(tmp_path)


@pytest.fixture
def released(team: Team) -> Team:
    """A team whose list is at version 1."""
    assert team.publish(FIRST) == 1
    return team


# The way of a candidate.


def test_two_of_three_release(team: Team) -> None:
    digest = team.stage("ann", FIRST, reason="first list")
    assert team.approve("ann", digest).count.missing == 1
    with pytest.raises(SignaturesMissing, match=f"blocklist review demo {digest}"):
        team.release(digest)
    assert team.approve("cyd", digest).count.missing == 0
    assert team.release(digest).changed
    assert team.kit.lines(1) == [TEST_LINE, "u a.example/x", "u b.example/y", "u c.example/z"]
    assert team.kit.problems() == []


def test_all_three_may_sign(team: Team) -> None:
    digest = team.stage("ann", FIRST)
    for person in ("ann", "ben", "cyd"):
        team.approve(person, digest)
    assert len(team.release(digest).approvals) == 3
    assert len(team.kit.head().roles[LIST].metadata.signatures) == 3


def test_a_key_that_signs_twice_counts_once(team: Team) -> None:
    digest = team.stage("ann", FIRST)
    assert team.approve("ann", digest).changed
    again = team.approve("ann", digest)
    assert not again.changed
    assert again.count.missing == 1
    with pytest.raises(SignaturesMissing):
        team.release(digest)


def test_one_key_under_two_names_counts_once(team: Team) -> None:
    digest = team.stage("ann", FIRST)
    first = team.approve("ann", digest).approval
    with pytest.raises(SignaturesMissing):
        team.release(digest, given=[first, replace(first, who="ben@desk")])


def test_releasing_again_changes_nothing(team: Team) -> None:
    team.publish(FIRST)
    digest = team.stage("ann", add="d.example/1")
    team.approve("ann", digest)
    team.approve("ben", digest)
    assert team.release(digest).changed
    before = team.kit.objects()
    assert not team.release(digest).changed
    assert team.kit.objects() == before


def test_nobody_publishes_alone(released: Team) -> None:
    """Not even who has the online key and one list signing key on one machine."""
    keys.create(released.kit.home.keys_directory / "spare")
    request = read_request(LIST, None, [("add", b"d.example/1")], [], Options())
    before = released.kit.objects()
    for repository in (released.at("ann"), released.kit.repository()):
        with pytest.raises(SignaturesMissing, match="blocklist stage demo"):
            publish(repository, request)
    assert released.kit.objects() == before


def test_staging_and_approving_write_below_private_only(released: Team) -> None:
    before = set(released.kit.objects())
    digest = released.stage("ann", add="d.example/1")
    released.approve("ben", digest)
    new = set(released.kit.objects()) - before
    assert {key.split("/")[1] for key in new} == {"candidates", "approvals"}


def test_what_was_approved_is_what_is_released(released: Team) -> None:
    digest = released.stage("ann", add="d.example/1", remove="a.example/x", reason="review")
    released.approve("ann", digest)
    released.approve("ben", digest)
    candidate = released.candidate(digest)
    released.release(digest)
    assert released.kit.head().roles[LIST].signed.to_dict() == candidate.signed.to_dict()
    record = released.kit.record(2)
    assert (record.added, record.removed) == (("u d.example/1",), ("u a.example/x",))
    assert (record.reason, record.who) == ("review", "ann@desk")


def test_the_account_of_a_release_is_sealed_by_the_next(released: Team) -> None:
    released.publish(add="d.example/1")
    previous = released.kit.record(2).previous
    assert previous is not None
    assert previous.role == released.kit.archive().role(1).digest
    assert [item.who for item in previous.approvals] == [
        f"{person}@desk"
        for _, person in sorted((released.publics[p].public.keyid, p) for p in ("ann", "ben"))
    ]
    assert previous.who == "tester"
    head = released.kit.head()
    for approval in previous.approvals:
        approval.verify_statement(approving.keys_of(head, LIST)[approval.keyid])
    [online] = head.root.signed.roles["timestamp"].keyids
    previous.verify_statement(head.root.signed.keys[online])


# What makes a candidate worthless.


def test_another_release_makes_a_candidate_stale(released: Team) -> None:
    old = released.stage("ann", add="d.example/1")
    released.approve("ann", old)
    released.approve("ben", old)
    released.publish(add="e.example/1")
    for attempt in (lambda: released.release(old), lambda: released.approve("cyd", old)):
        with pytest.raises(Stale, match="newest is 2"):
            attempt()


def test_a_rebased_candidate_has_no_approvals(released: Team) -> None:
    old = released.stage("ann", add="d.example/1", reason="why")
    released.approve("ann", old)
    released.publish(add="e.example/1")
    new = released.rebase("ann", old)
    assert released.kit.record(2).added == ("u e.example/1",)
    with pytest.raises(SignaturesMissing, match="got 0"):
        released.release(new)
    released.approve("ann", new)
    released.approve("ben", new)
    released.release(new)
    assert released.kit.record(3).reason == "why"
    assert "u d.example/1" in released.kit.lines(3)


def test_what_was_rebased_is_void(released: Team) -> None:
    old = released.stage("ann", add="d.example/1")
    new = released.rebase("ann", old)
    assert new != old or released.kit.clock  # the same moment may give the same bytes
    with pytest.raises(InputError, match="voided by ann@desk: made anew"):
        released.approve("ben", old)


def test_a_voided_candidate_is_never_released(released: Team) -> None:
    digest = released.stage("ann", add="d.example/1")
    released.approve("ann", digest)
    released.approve("ben", digest)
    staging.void(released.at("cyd"), LIST, digest, "wrong file")
    with pytest.raises(InputError, match=r"voided by cyd@desk: wrong file"):
        released.release(digest)
    released.kit.memory.uproot(layout.void_key(LIST, digest))  # whoever writes to the storage
    with pytest.raises(InputError, match="removed from the storage"):
        released.release(digest)


def test_approvals_of_one_candidate_do_not_count_for_another(released: Team) -> None:
    one = released.stage("ann", add="d.example/1")
    other = released.stage("ann", add="e.example/1")
    given = [released.approve(person, one).approval for person in ("ann", "ben")]
    with pytest.raises(SignaturesMissing, match=r"got 0 \(2 that do not count\)"):
        released.release(other, given=given)
    moved = [replace(item, candidate=other) for item in given]
    with pytest.raises(SignaturesMissing, match=r"got 0 \(2 that do not count\)"):
        released.release(other, given=moved)


def test_a_candidate_grows_old(released: Team) -> None:
    digest = released.stage("ann", add="d.example/1")
    released.approve("ann", digest)
    released.kit.clock.tick(days=15)
    with pytest.raises(Stale, match="older than 14 days"):
        released.approve("ben", digest)


def test_a_candidate_from_the_future_is_refused(released: Team) -> None:
    released.kit.clock.tick(days=1)
    digest = released.stage("ann", add="d.example/1")
    released.kit.clock.tick(days=-1)
    with pytest.raises(DigestMismatch, match="set the clock"):
        released.approve("ben", digest)


def test_a_number_taken_by_something_else_is_lost(released: Team) -> None:
    digest = released.stage("ann", add="d.example/1")
    released.approve("ann", digest)
    released.approve("ben", digest)
    released.kit.store.put_new("feed/metadata/2.demo.json", b"{}")
    with pytest.raises(Stale, match="number 2 of demo is taken"):
        released.release(digest)
    new = released.rebase("ann", digest)
    released.approve("ann", new)
    released.approve("ben", new)
    assert released.release(new).version == 3


def test_the_unsigned_role_at_the_number_is_not_taken_for_a_release(released: Team) -> None:
    digest = released.stage("ann", add="d.example/1")
    released.approve("ann", digest)
    released.approve("ben", digest)
    role = approving.role_file(released.candidate(digest), {})
    released.kit.store.put_new("feed/metadata/2.demo.json", role.data)
    with pytest.raises(Stale, match="taken"):
        released.release(digest)


def test_a_signature_of_a_stolen_key_does_not_take_the_place_of_one_that_was_given(
    released: Team,
) -> None:
    """The thief of cyd's key lays the role there, with ann's signature and that one."""
    digest = released.stage("ann", add="d.example/1")
    given = [released.approve(person, digest).approval for person in ("ann", "ben")]
    candidate = released.candidate(digest)
    thief = keys.KeyFile(released.kit.folder / "cyd/keys/cyd", released.publics["cyd"].public)
    signer = thief.signer(no_passphrase)
    stolen = approving.signed(released.at("eve"), digest, candidate, signer, ())
    role = approving.role_file(candidate, {item.keyid: item for item in (given[0], stolen)})
    released.kit.store.put_new("feed/metadata/2.demo.json", role.data)
    account = layout.release_key(LIST, released.kit.head().roles[LIST].digest)
    for planted in (None, released.kit.objects()[account]):  # none, and a genuine one of version 1
        if planted is not None:
            released.kit.store.put_new(layout.release_key(LIST, role.digest), planted)
        with pytest.raises(Stale, match="number 2 of demo is taken"):
            released.release(digest)


def test_an_altered_candidate_is_not_the_one_that_was_named(released: Team) -> None:
    digest = released.stage("ann", add="d.example/1")
    key = layout.candidate_key(LIST, digest)
    other = released.stage("ann", add="evil.example/1")
    stored = released.kit.store.get(layout.candidate_key(LIST, other))
    assert stored is not None
    released.kit.memory.plant(key, stored.data)
    with pytest.raises(DigestMismatch, match="altered in the storage"):
        released.approve("ben", digest)


# Keys.


def test_a_key_that_may_not_sign_is_refused(released: Team) -> None:
    released.join("dan")
    digest = released.stage("ann", add="d.example/1")
    with pytest.raises(SignaturesMissing, match="found none here"):
        released.approve("dan", digest)
    with pytest.raises(SignaturesMissing, match="dan may not sign demo"):
        released.approve("dan", digest, key="dan")


def test_an_unknown_key_is_refused(released: Team) -> None:
    digest = released.stage("ann", add="d.example/1")
    with pytest.raises(InputError, match="'nobody'"):
        released.approve("ann", digest, key="nobody")


def test_two_keys_on_one_machine_have_to_be_named(released: Team, tmp_path: Path) -> None:
    for suffix in ("", ".pub"):
        found = tmp_path / "ben" / "keys" / f"ben{suffix}"
        (tmp_path / "ann" / "keys" / found.name).write_bytes(found.read_bytes())
    (tmp_path / "ann" / "keys" / "ben").chmod(0o600)
    digest = released.stage("ann", add="d.example/1")
    with pytest.raises(InputError, match="--key with one of ann, ben"):
        released.approve("ann", digest)
    assert released.approve("ann", digest, key="ben").changed


@pytest.mark.parametrize("field", ["signature", "statement", "who", "created", "allowed"])
def test_an_altered_approval_does_not_count(released: Team, field: str) -> None:
    digest = released.stage("ann", add="d.example/1")
    released.approve("ann", digest)
    approval = released.approve("ben", digest).approval
    document = json.loads(approval.to_bytes())
    old = document[field]
    document[field] = {
        "signature": "00" * 64,
        "statement": "zz",
        "who": "ann@desk",
        "created": "2020-01-01T00:00:00Z",
        "allowed": ["churn"],
    }[field]
    assert document[field] != old
    key = layout.approval_key(LIST, digest, approval.keyid)
    released.kit.memory.plant(key, json.dumps(document).encode())
    with pytest.raises(SignaturesMissing, match=r"got 1 \(1 that do not count\)"):
        released.release(digest)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format": 2}', b"\xff", b"[" * 9_000])
def test_garbage_among_approvals_is_counted_and_ignored(released: Team, data: bytes) -> None:
    digest = released.stage("ann", add="d.example/1")
    released.approve("ann", digest)
    released.kit.memory.plant(layout.approval_key(LIST, digest, "0" * 64), data)
    with pytest.raises(SignaturesMissing, match=r"got 1 \(1 that do not count\)"):
        released.release(digest)
    released.approve("ben", digest)
    assert released.release(digest).changed


# By file.


def test_candidate_and_approvals_travel_as_files(released: Team) -> None:
    """Ann has no access to the storage but for reading; ben has a copy of it only."""
    staged = released.staged("ann", add="d.example/1", keep=False)
    candidate = staging.Candidate.from_bytes(staged.data)
    given = []
    before = released.kit.objects()
    for person in ("ann", "ben"):
        done = approving.approve(
            released.at(person), staged.digest, candidate, keep=False, given=given
        )
        given.append(Approval.from_bytes(done.approval.to_bytes()))
    assert released.kit.objects() == before
    assert done.count.missing == 0
    assert releasing.release(released.kit.repository(), staged.digest, candidate, given).changed
    assert "u d.example/1" in released.kit.lines(2)


def test_equal_candidates_have_equal_bytes(released: Team) -> None:
    one = released.staged("ann", add="d.example/1")
    assert staging.Candidate.from_bytes(one.data).to_bytes() == one.data


# Two at once, and crashes.


def test_of_two_people_who_release_at_once_one_wins(released: Team, tmp_path: Path) -> None:
    one = released.stage("ann", add="d.example/1")
    two = released.stage("ben", add="e.example/1")
    for digest in (one, two):
        released.approve("ann", digest)
        released.approve("cyd", digest)
    other = replace(released, kit=released.kit.twin(tmp_path / "other"))

    class Overtaken(FaultyStore):
        """Lets the other release happen right before this one writes its role."""

        def put_new(self, key: str, data: bytes) -> bool:
            if key.endswith("2.demo.json"):
                releasing.release(other.kit.repository(), two, released.candidate(two))
            return super().put_new(key, data)

    with pytest.raises(LostRace):
        released.release(one, store=Overtaken(released.kit.store))
    assert "u e.example/1" in released.kit.lines(2)
    assert "u d.example/1" not in released.kit.lines(2)
    assert released.kit.problems() == []


def test_a_release_that_dies_anywhere_is_finished_by_the_next_run(tmp_path: Path) -> None:
    number = 0
    while True:
        number += 1
        team = Team.made(tmp_path / str(number))
        team.publish(FIRST)
        digest = team.stage("ann", add="d.example/1")
        team.approve("ann", digest)
        team.approve("ben", digest)
        store = FaultyStore(team.kit.store, fault_at((number + 1) // 2, _FAULTS[number % 2]))
        try:
            team.release(digest, store=store)
        except SimulatedCrash:
            pass
        else:
            break
        if number % 4 == 0:  # meanwhile another person signs: the role file on disk stays
            team.approve("cyd", digest)
        assert team.release(digest).version == 2
        assert "u d.example/1" in team.kit.lines(2)
        assert team.kit.problems() == []
    assert number > 20


_FAULTS = (Fault.CRASH_AFTER, Fault.CRASH_BEFORE)
