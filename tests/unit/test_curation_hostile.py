"""What hostile hands leave in the storage: typed errors, and nothing that people did not sign."""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Targets

from blocklist.core import documents
from blocklist.core.entries import Feed
from blocklist.core.errors import BlocklistError, DigestMismatch, LocalError, MalformedFeed
from blocklist.core.hashing import HashKey
from blocklist.publisher import assemble
from blocklist.publisher.accounts import APPROVAL, Approval
from blocklist.publisher.curation import approving, preparing, reviewing, staging
from blocklist.publisher.curation import candidate as candidates
from blocklist.publisher.curation.candidate import Candidate
from blocklist.publisher.curation.checking import Stale
from blocklist.publisher.hash_keys import ROTATE, Step
from blocklist.publisher.publish import notes_of
from blocklist.publisher.records import Record
from blocklist.publisher.request import INCOMPLETE, Options, Request, read_request
from blocklist.store import layout
from signing import policy, statements
from signing.errors import TrustError
from signing.roles import Target, new_delegated, targets_of
from tests.curation_kit import Team
from tests.publisher_kit import LIST

FIRST = "a.example/x\nb.example/y\nhttp://c.example/z\n"
ADD = "d.example/1"
FIRST_MOMENT, LAST = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"
TYPED = (BlocklistError, TrustError)

Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture
def team(tmp_path: Path) -> Team:
    team = Team.made(tmp_path)
    team.publish(FIRST)
    return team


def role_with(candidate: Candidate, created: datetime, custom: dict[str, Any]) -> Targets:
    """Return the role of a candidate with other facts."""
    targets = []
    for target in targets_of(candidate.signed).values():
        facts = dict(target.custom) if target.custom else None
        if facts and "record" in facts:
            facts |= custom
        targets.append(Target(target.path, target.length, target.sha256, facts))
    return new_delegated(candidate.version, targets, created)


def altered(team: Team, change: Edit, **custom: Any) -> tuple[str, Candidate]:
    """Return a candidate whose record was edited, and whose role names the edited record."""

    def edit(candidate: Candidate) -> Candidate:
        document = json.loads(gzip.decompress(candidate.record))
        change(document)
        text = json.dumps(document, separators=(",", ":"))
        record = gzip.compress(text.encode(), mtime=0)
        created = documents.parse_time(document["created"])
        facts = {"record": candidates.digest(record), "created": document["created"], **custom}
        until = created if created.year < 9000 else team.kit.clock()
        return replace(candidate, record=record, signed=role_with(candidate, until, facts))

    return team.forged(add=ADD, candidate=edit)


def signer_of(team: Team, person: str) -> Any:
    home = team.at(person).home
    [file] = home.key_files()
    return file.signer(home.passphrase)


def approved(team: Team, digest: str, *people: str) -> dict[str, Approval]:
    return {person: team.approve(person, digest).approval for person in people}


# Records of another shape.

_FILE = {"entries": 1, "duplicates": 0, "dropped": {}, "skipped": {}}
SHAPES: dict[str, Edit] = {
    "files are no list": lambda d: d.update(source={"files": 7}),
    "files of text": lambda d: d.update(source={"files": ["x"]}),
    "no counts": lambda d: d.update(source={"files": [{"entries": 1, "duplicates": 0}]}),
    "counts are a list": lambda d: d.update(source={"files": [_FILE | {"skipped": []}]}),
    "counts are text": lambda d: d.update(source={"files": [_FILE | {"skipped": {"a": "b"}}]}),
    "a count without end": lambda d: d.update(
        source={"files": [_FILE | {"skipped": {"a": 1e999}}]}
    ),
    "fewer than none": lambda d: d.update(source={"files": [_FILE | {"entries": -1}]}),
    "entries in words": lambda d: d.update(source={"files": [_FILE | {"entries": "1"}]}),
    "a version in words": lambda d: d.update(
        source={"files": [], "version": "1"}, operation="rollback"
    ),
    "overrides of text": lambda d: d.update(overrides=["churn"]),
    "overrides of nothing": lambda d: d.update(overrides=[None]),
    "an empty override": lambda d: d.update(overrides=[{}]),
    "an override without a reason": lambda d: d.update(
        overrides=[{"guard": "early-rotation", "finding": "x"}], operation="rotate-hash-key"
    ),
    "a guard that is a list": lambda d: d.update(
        overrides=[{"guard": [], "finding": "x", "reason": "y"}]
    ),
    "more in an override": lambda d: d.update(
        overrides=[{"guard": "churn", "finding": "x", "reason": "y", "note": "z"}]
    ),
}


def test_records_of_another_shape_are_malformed(team: Team) -> None:
    for shape, change in SHAPES.items():
        digest, lie = altered(team, change)
        for act in (
            lambda lie=lie, digest=digest: approving.approve(team.at("ben"), digest, lie),
            lambda lie=lie, digest=digest: reviewing.look(team.at("ben"), digest, lie),
            lambda digest=digest: team.rebase("cyd", digest),
        ):
            with pytest.raises(MalformedFeed):
                pytest.fail(f"{shape}: {act()}")
    states = [item.state for item in reviewing.candidates(team.at("ben"), LIST)]
    assert states.count("bad") == len(SHAPES)


@pytest.mark.parametrize("operation", ["announce-hash-key", "rotate-hash-key", "publish"])
def test_the_ends_of_the_calendar(team: Team, operation: str) -> None:
    secret = team.at("ann").secret(LIST)
    secret = replace(secret, hash_keys=(*secret.hash_keys, HashKey.from_hex("11" * 32)))
    team.kit.memory.plant(layout.list_secret_key(LIST), secret.to_bytes())
    for made, start in ((LAST, FIRST_MOMENT), (FIRST_MOMENT, LAST), (LAST, LAST)):
        custom: dict[str, Any] = {"created": made}
        if operation == "announce-hash-key":
            custom["next_hash_key"] = {"id": secret.hash_keys[-1].id, "from": start}
        digest, lie = altered(team, lambda d: d.update(operation=operation, added=[]), **custom)
        with pytest.raises(TYPED):
            approving.approve(team.at("ben"), digest, lie)


def test_what_no_reader_of_a_record_would_see_is_not_signed(team: Team) -> None:
    digest, lie = altered(team, lambda d: d.update(note="for a later version to read"))
    with pytest.raises(DigestMismatch, match="record of the candidate"):
        approving.approve(team.at("ben"), digest, lie)


def test_a_candidate_is_not_older_than_what_it_was_made_on(team: Team) -> None:
    before = documents.format_time(team.kit.clock())
    team.kit.clock.tick(days=5)
    team.publish(FIRST + "n.example/x\n")
    digest, lie = altered(team, lambda d: d.update(created=before))
    with pytest.raises(DigestMismatch, match="older than what it was made on"):
        approving.approve(team.at("ben"), digest, lie)


def test_a_rollback_leads_to_the_version_that_it_names(team: Team) -> None:
    """Churn is not looked at for a rollback, so the word has to be true."""
    for source in ({"files": [], "version": 1}, {"files": [], "version": 9}, {"files": []}):
        told = {"operation": "rollback", "source": source}
        digest, lie = altered(team, lambda d, told=told: d.update(told))
        with pytest.raises(TYPED, match=r"no rollback|expected a version|names no version"):
            approving.approve(team.at("ben"), digest, lie)


@pytest.mark.parametrize("finding", ["it has a new colour", None])
def test_why_a_rotation_is_early_is_found_here(team: Team, finding: str | None) -> None:
    """None: what is true. The text is what people are shown before they accept it."""
    repository = team.at("ann")
    secret = repository.secret(LIST)
    secret = replace(secret, hash_keys=(*secret.hash_keys, HashKey.from_hex("11" * 32)))
    team.kit.memory.plant(layout.list_secret_key(LIST), secret.to_bytes())
    old, new = (key.id for key in secret.hash_keys)
    step = Step(ROTATE, old, new, early="stolen")
    request = Request(LIST, None, (), (), Options(), {"files": []}, hash_key=step)
    prepared = preparing.prepare(repository, request, assemble.read_base(repository, LIST))
    if finding is not None:
        [true] = prepared.told.overrides
        lie = replace(prepared.told, overrides=({**true, "finding": finding},))
        prepared = replace(prepared, told=lie)
    candidate = Candidate.of(preparing.made_of(repository, prepared, 2))
    digest = team.planted(candidate)
    if finding is None:
        assert team.approve("ben", digest, allowed=["early-rotation"]).changed
    else:
        with pytest.raises(DigestMismatch, match="hash key of demo is not the one"):
            approving.approve(team.at("ben"), digest, candidate, allowed=["early-rotation"])


# Roles that are equal to Python only.


def test_true_is_no_version(tmp_path: Path) -> None:
    team = Team.made(tmp_path)

    def edit(candidate: Candidate) -> Candidate:
        return replace(
            candidate, signed=Targets.from_dict({**candidate.signed.to_dict(), "version": True})
        )

    digest, lie = team.forged(add=FIRST, candidate=edit)
    with pytest.raises(MalformedFeed):
        Candidate.from_bytes(lie.to_bytes())
    with pytest.raises(DigestMismatch):
        approving.approve(team.at("ben"), digest, lie)


def test_a_role_without_canonical_form_does_not_stop_a_review_of_others(team: Team) -> None:
    def edit(candidate: Candidate) -> Candidate:
        return replace(
            candidate, signed=Targets.from_dict({**candidate.signed.to_dict(), "x": 1.5})
        )

    digest, _ = team.forged(add=ADD, candidate=edit)
    signer = signer_of(team, "cyd")
    [honest] = approved(team, team.stage("ann", add=ADD), "ann").values()
    lie = replace(honest, keyid=signer.public_key.keyid, candidate=digest)
    lie = replace(lie, statement=statements.sign(signer, APPROVAL, lie.claims()))
    team.kit.memory.plant(layout.approval_key(LIST, digest, lie.keyid), lie.to_bytes())
    states = {item.digest: item.state for item in reviewing.candidates(team.at("ben"), LIST)}
    assert states[digest] == "bad"
    assert sorted(states.values()) == ["bad", "open", "released"]


def test_a_number_that_leaves_none_for_others(team: Team) -> None:
    for number in (2**53 - 1, 1 + policy.MAX_JUMP + 1):
        digest, lie = team.forged(add=ADD, version=number)
        with pytest.raises(DigestMismatch, match="above 1, got"):
            approving.approve(team.at("ben"), digest, lie)
    digest, candidate = team.forged(add=ADD, version=1 + policy.MAX_JUMP)
    assert approving.approve(team.at("ben"), digest, candidate).changed


# What is voided stays so.


def test_one_content_has_one_file(team: Team) -> None:
    """Else a voided candidate would come back under another digest."""
    data = team.staged("ann", add=ADD).data
    commented = data[:-2] + b"\x01\x00x"
    for other in (commented, b"x" + data, data + b"\0"):
        with pytest.raises(MalformedFeed):
            Candidate.from_bytes(other)
    assert Candidate.from_bytes(data).to_bytes() == data


# What is planted where an honest file belongs.


def test_an_approval_that_could_not_be_kept_is_not_called_given(team: Team) -> None:
    digest = team.stage("ann", add=ADD)
    key = layout.approval_key(LIST, digest, team.publics["ben"].public.keyid)
    team.kit.memory.plant(key, b"{}")
    with pytest.raises(DigestMismatch, match=f"{key} is not what it should be"):
        team.approve("ben", digest)
    team.kit.memory.uproot(key)
    assert team.approve("ben", digest).changed


def test_oversized_files_are_no_obstacle(team: Team) -> None:
    one, two = team.stage("ann", add=ADD), team.stage("ann", add="e.example/1")
    huge = b" " * (2 << 20)
    team.kit.memory.plant(layout.approval_key(LIST, one, "0" * 64), huge)
    team.kit.memory.plant(layout.void_key(LIST, two), huge)
    states = {item.digest: item.state for item in reviewing.candidates(team.at("ben"), LIST)}
    assert (states[one], states[two]) == ("open", "void")
    approved(team, one, "ann", "ben")
    assert team.release(one).changed


def test_the_account_of_another_release_does_not_pass_for_this_one(team: Team) -> None:
    digest = team.stage("ann", add=ADD)
    given = {item.keyid: item for item in approved(team, digest, "ann", "ben").values()}
    role = approving.role_file(team.candidate(digest), given)
    [old] = [data for key, data in team.kit.objects().items() if key.startswith(layout.RELEASES)]
    team.kit.memory.plant(layout.release_key(LIST, role.digest), old)
    with pytest.raises(DigestMismatch, match="is not what it should be"):
        team.release(digest)


def test_a_forged_account_is_not_sealed(team: Team) -> None:
    [(key, data)] = [
        item for item in team.kit.objects().items() if item[0].startswith(layout.RELEASES)
    ]
    team.kit.memory.plant(key, data.replace(b'"who": "ann@', b'"who": "eve@'))
    digest = team.stage("ann", add=ADD)
    assert Record.from_bytes(team.candidate(digest).record).previous is None


def test_a_role_that_lies_at_the_number_has_no_other_signatures(team: Team) -> None:
    """Else the account would name others than those who signed."""
    digest = team.stage("ann", add=ADD)
    given = approved(team, digest, "ann", "ben")
    role = approving.role_file(
        team.candidate(digest), {item.keyid: item for item in given.values()}
    )
    place = f"{layout.METADATA}2.{LIST}.json"
    document = json.loads(role.data)
    document["signatures"].append({"keyid": "0" * 64, "sig": "zz"})
    team.kit.memory.plant(place, json.dumps(document).encode())
    with pytest.raises(Stale):
        team.release(digest)
    team.kit.memory.plant(place, role.data)
    team.kit.memory.uproot(layout.approval_key(LIST, digest, given["ben"].keyid))
    approved(team, digest, "cyd")
    with pytest.raises(Stale):
        team.release(digest)


def test_a_signature_is_spelled_in_one_way(team: Team) -> None:
    """Clients in other languages cannot read hex with spaces in it."""
    digest = team.stage("ann", add=ADD)
    [honest] = approved(team, digest, "ann").values()
    signer, candidate = signer_of(team, "cyd"), team.candidate(digest)
    good = str(signer.sign(candidate.signed_bytes).signature)
    head = team.kit.repository().head([LIST])
    for odd, counts in ((good, 2), (good.upper(), 1), (f"{good[:2]} {good[2:]}", 1), ("", 1)):
        lie = replace(honest, keyid=signer.public_key.keyid, signature=odd)
        lie = replace(lie, statement=statements.sign(signer, APPROVAL, lie.claims()))
        found = approving.count(team.at("ben"), head, digest, candidate, [lie])
        assert len(found.approvals) == counts


# A history that was damaged.


def test_a_lost_record_is_told_to_whoever_reviews(team: Team) -> None:
    """Whoever deletes the record of a withdrawal could let the entry return."""
    team.publish(FIRST + "n.example/x\n")
    team.withdraw("ann", "http://n.example/x")
    [digest] = [item.digest for item in reviewing.candidates(team.at("ann"), LIST)[:1]]
    team.approve("ben", digest)
    team.release(digest)
    back = team.stage("ann", add="n.example/x", allowed={"withdrawn": "an error"})
    assert reviewing.look(team.at("ben"), back, team.candidate(back)).complete
    facts = team.kit.archive().release(Feed.CLEAR, 3).facts
    team.kit.memory.uproot(layout.record_key(LIST, facts.record))
    again = team.stage("cyd", add="n.example/x")
    looked = reviewing.look(team.at("cyd"), again, team.candidate(again))
    assert not looked.complete
    assert looked.review.returning == {}


# A home that was damaged.


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"x"])
def test_damaged_memory_of_the_secrets_is_a_local_error(team: Team, data: bytes) -> None:
    folder = team.kit.folder / "ann" / "lists"
    folder.mkdir(exist_ok=True)
    (folder / LIST).write_bytes(data)
    with pytest.raises(LocalError, match="is damaged"):
        staging.read(team.at("ann"), LIST, team.stage("ann", add=ADD))


def test_a_lost_record_is_said_aloud_by_everybody(tmp_path: Path) -> None:
    """A new release is not blocked by it, but what was withdrawn may return."""
    team = Team.made(tmp_path)
    team.publish("a.example/x\n")
    record = next(key for key in team.kit.objects() if key.startswith("private/records/"))
    team.publish(add="b.example/x\n")
    team.kit.memory.uproot(record)
    for person in ("ann", "ben"):
        shutil.rmtree(tmp_path / person / "index", ignore_errors=True)
    staged = team.staged("ann", add="c.example/x\n")
    assert not staged.outcome.history_complete
    assert INCOMPLETE in notes_of(read_request(LIST, None, [], [], Options()), staged.outcome)
    assert not team.approve("ben", staged.digest).checked.outcome.history_complete
