"""Somebody stages a lie and gets all else right: whoever approves makes everything again."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blocklist.core import delta, documents
from blocklist.core.entries import Feed
from blocklist.core.errors import DigestMismatch, FeedError, GuardRefused, InputError, MalformedFeed
from blocklist.core.hashing import hash_lines
from blocklist.publisher.assemble import read_base
from blocklist.publisher.build import Feeds
from blocklist.publisher.curation import approving
from blocklist.publisher.curation import candidate as candidates
from blocklist.publisher.curation.candidate import Candidate
from blocklist.publisher.curation.checking import Stale, Unforeseen
from blocklist.publisher.records import Record
from blocklist.publisher.request import Outcome
from signing.roles import Target, new_delegated, targets_of
from tests.curation_kit import Team, hashed
from tests.publisher_kit import LIST, TEST_LINE

FIRST = "a.example/x\nb.example/y\nhttp://c.example/z\n"
ADD = "d.example/1\ne.example/1\n"


@pytest.fixture
def team(tmp_path: Path) -> Team:
    team = Team.made(tmp_path, lists=(LIST, "other"))
    team.publish(FIRST)
    return team


def refused(team: Team, digest: str, lie: Candidate) -> None:
    """The lie is refused, nothing is signed and nothing written."""
    before = team.kit.objects()
    with pytest.raises((DigestMismatch, MalformedFeed)):
        approving.approve(team.at("ben"), digest, lie)
    assert team.kit.objects() == before


def test_the_truth_is_approved(team: Team) -> None:
    digest, truth = team.forged(add=ADD)
    assert approving.approve(team.at("ben"), digest, truth).changed


def test_an_entry_that_only_the_hashed_feed_has(team: Team) -> None:
    key = read_base(team.at("ann"), LIST).secret.hash_keys[0]

    def hidden(feeds: Feeds) -> Feeds:
        lines = [*feeds.content[Feed.CLEAR].splitlines(), b"d victim.example"]
        return hashed(feeds, hash_lines(sorted(lines), key))

    digest, lie = team.forged(add=ADD, feeds=hidden)
    refused(team, digest, lie)


def test_an_entry_that_the_hashed_feed_lacks(team: Team) -> None:
    key = read_base(team.at("ann"), LIST).secret.hash_keys[0]

    def hidden(feeds: Feeds) -> Feeds:
        lines = feeds.content[Feed.CLEAR].splitlines()
        return hashed(feeds, hash_lines([line for line in lines if b"d.example" not in line], key))

    refused(team, *team.forged(add=ADD, feeds=hidden))


def test_a_hashed_feed_under_a_key_of_somebody_else(team: Team) -> None:
    other = read_base(team.at("ann"), "other").secret.hash_keys[0]

    def hidden(feeds: Feeds) -> Feeds:
        return hashed(feeds, hash_lines(feeds.content[Feed.CLEAR].splitlines(), other))

    refused(team, *team.forged(add=ADD, feeds=hidden))


@pytest.mark.parametrize(
    "change",
    [
        lambda o: replace(o, added=o.added[:1]),
        lambda o: replace(o, added=()),
        lambda o: replace(o, removed=(b"u a.example/x",)),
        lambda o: replace(o, added=(*o.added, b"u f.example/1")),
    ],
    ids=["one addition omitted", "all additions omitted", "a removal made up", "one made up"],
)
def test_a_summary_that_is_not_what_happens(
    team: Team, change: Callable[[Outcome], Outcome]
) -> None:
    refused(team, *team.forged(add=ADD, lines=change))


@pytest.mark.parametrize(
    "line",
    [
        b"d com",
        b"h HOST.example",
        b"u host.example",
        b"u host.example/a/../b",
        b"p host.example/",
        b"p host.example/dir/",
        b"d 192.0.2.7",
        b"h host.example:80",
        b"u xn--mnchen-3ya.example/%7e",
        b"x host.example",
        b"u  host.example/x",
        b"h 0xC0.0.2.7",
        b"h [2001:DB8::1]",
        b"u host.example/x#y",
        b"u host.example/x?",
    ],
)
def test_a_line_that_no_source_leads_to(team: Team, line: bytes) -> None:
    def with_line(outcome: Outcome) -> Outcome:
        added = tuple(sorted((*outcome.added, line)))
        return replace(outcome, lines={*outcome.lines, line}, added=added)

    digest, lie = team.forged(add=ADD, lines=with_line)
    with pytest.raises(DigestMismatch, match="no canonical entries"):
        approving.approve(team.at("ben"), digest, lie)


def altered(team: Team, change: Callable[[dict[str, Any]], None]) -> tuple[str, Candidate]:
    """Return a candidate whose record was edited, and whose role names the edited record."""

    def edit(candidate: Candidate) -> Candidate:
        document = json.loads(gzip.decompress(candidate.record))
        change(document)
        text = json.dumps(document, separators=(",", ":"))
        record = gzip.compress(text.encode(), mtime=0)
        targets = []
        for target in targets_of(candidate.signed).values():
            custom = dict(target.custom) if target.custom else None
            if custom and "record" in custom:
                custom["record"] = candidates.digest(record)
            targets.append(Target(target.path, target.length, target.sha256, custom))
        created = documents.parse_time(document["created"])
        signed = new_delegated(candidate.version, targets, created)
        return replace(candidate, record=record, signed=signed)

    return team.forged(add=ADD, candidate=edit)


def test_an_edit_of_nothing_is_approved(team: Team) -> None:
    """So that the tests below refuse for the right reason."""
    digest, truth = altered(team, lambda document: None)
    assert approving.approve(team.at("ben"), digest, truth).changed


EDITS: dict[str, Callable[[dict[str, Any]], None]] = {
    "an override of nothing": lambda d: d.update(
        overrides=[{"guard": "churn", "finding": "made up", "reason": "trust me"}]
    ),
    "fewer entries": lambda d: d.update(entries=3),
    "other digests": lambda d: d.update(digests={"clear": "0" * 64, "hashed": "0" * 64}),
    "another list": lambda d: d.update(list="other"),
    "a withdrawal": lambda d: d.update(operation="withdraw"),
    "a hash key, to pass the guards": lambda d: d.update(operation="announce-hash-key"),
    "an unknown operation": lambda d: d.update(operation="renovate"),
    "other approvals before": lambda d: d["previous"].update(who="mallory"),
    "no account before": lambda d: d.update(previous=None),
    "reasons for others": lambda d: d.update(reasons={"u a.example/x": "slander"}),
    "unsorted": lambda d: d.update(added=d["added"][::-1]),
    "twice": lambda d: d.update(added=[d["added"][0], *d["added"]]),
    "numbers for entries": lambda d: d.update(added=[1, 2]),
    "not ASCII": lambda d: d.update(added=["u \u00fc.example/x"]),
    "the test entry goes": lambda d: d.update(removed=[TEST_LINE]),
    "what is listed comes": lambda d: d.update(added=["u a.example/x", *d["added"]]),
    "what is not listed goes": lambda d: d.update(removed=["u nowhere.example/x"]),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edited_record(team: Team, edit: Callable[[dict[str, Any]], None]) -> None:
    refused(team, *altered(team, edit))


@pytest.mark.parametrize("field", ["base", "delegation"])
def test_a_record_made_on_something_else(team: Team, field: str) -> None:
    def edit(document: dict[str, Any]) -> None:
        document[field]["sha256"] = "0" * 64

    digest, lie = altered(team, edit)
    with pytest.raises((DigestMismatch, Stale)):
        approving.approve(team.at("ben"), digest, lie)


def test_the_base_of_the_candidate_is_another_role_file(team: Team) -> None:
    digest, lie = team.forged(add=ADD, candidate=lambda c: replace(c, base=(1, "0" * 64)))
    with pytest.raises(DigestMismatch, match="another version 1"):
        approving.approve(team.at("ben"), digest, lie)


def test_a_candidate_of_another_list_does_not_pass_for_this_one(team: Team) -> None:
    team.publish(FIRST, name="other")
    digest, lie = team.forged(add=ADD, candidate=lambda c: replace(c, list="other"))
    with pytest.raises((FeedError, InputError)):
        approving.approve(team.at("ben"), digest, lie)


def objects(change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Callable[..., Candidate]:
    return lambda c: replace(c, objects=change(dict(c.objects)))


@pytest.mark.parametrize("part", ["clear/", "hashed/"])
@pytest.mark.parametrize("name", [".delta-1", ".snapshot"])
@pytest.mark.parametrize("how", ["missing", "truncated", "of another list", "garbage"])
def test_an_object_that_is_not_what_it_should_be(
    team: Team, part: str, name: str, how: str
) -> None:
    def change(found: dict[str, bytes]) -> dict[str, bytes]:
        [key] = [key for key in found if part in key and key.endswith(name)]
        data = found.pop(key)
        feed = Feed(part[:-1])
        empty = delta.encode(feed, b"", b"")
        lies = {"truncated": data[:-1], "of another list": empty, "garbage": b"\xff" * 40}
        if how != "missing":
            found[key] = lies[how]
        return found

    digest, lie = team.forged(add=ADD, candidate=objects(change))
    refused(team, digest, lie)


def test_an_object_that_nothing_names(team: Team) -> None:
    stray = f"feed/targets/demo/clear/{'0' * 64}.delta-1"
    refused(team, *team.forged(add=ADD, candidate=objects(lambda o: {**o, stray: b"x"})))


@pytest.mark.parametrize("name", ["delta-1", "snapshot", "list"])
@pytest.mark.parametrize("feed", Feed)
def test_a_role_that_lacks_what_subscribers_need(team: Team, feed: Feed, name: str) -> None:
    def without(candidate: Candidate) -> Candidate:
        targets = [
            target
            for path, target in targets_of(candidate.signed).items()
            if path != f"demo/{feed}/{name}"
        ]
        created = Record.from_bytes(candidate.record).created
        kept = {k: v for k, v in candidate.objects.items() if not k.endswith(f".{name}")}
        return replace(
            candidate, signed=new_delegated(candidate.version, targets, created), objects=kept
        )

    refused(team, *team.forged(add=ADD, candidate=without))


def test_a_longer_life_than_agreed(team: Team) -> None:
    def longer(candidate: Candidate) -> Candidate:
        candidate.signed.expires = candidate.signed.expires.replace(year=2099)
        return candidate

    refused(team, *team.forged(add=ADD, candidate=longer))


def test_a_target_outside_of_the_list(team: Team) -> None:
    def stray(candidate: Candidate) -> Candidate:
        targets = [*targets_of(candidate.signed).values(), Target("other/clear/list", 1, "0" * 64)]
        created = Record.from_bytes(candidate.record).created
        return replace(candidate, signed=new_delegated(candidate.version, targets, created))

    refused(team, *team.forged(add=ADD, candidate=stray))


# Guards.


def test_overrides_have_to_be_accepted_by_name(team: Team) -> None:
    digest = team.stage("ann", "a.example/x\nlocalhost", allowed={"single-label": "court order"})
    with pytest.raises(GuardRefused, match=r"court order.*--allow single-label"):
        team.approve("ben", digest)
    with pytest.raises(InputError, match="'churn'"):
        team.approve("ben", digest, allowed=("single-label", "churn"))
    approval = team.approve("ben", digest, allowed=("single-label",)).approval
    assert approval.allowed == ("single-label",)


def test_guards_of_the_approver_count(team: Team, tmp_path: Path) -> None:
    """Ann has no such file; ben's names what she lists."""
    protected = tmp_path / "protected.txt"
    protected.write_text(".d.example\n")
    digest = team.stage("ann", add="d.example\n")
    candidate = team.candidate(digest)
    with pytest.raises(Unforeseen, match="protected"):
        approving.approve(team.at("ben", protected_file=str(protected)), digest, candidate)
    assert team.approve("ben", digest).changed


def test_an_edited_finding(team: Team) -> None:
    """The override is there, but says something harmless."""
    digest = team.stage("ann", "a.example/x\nlocalhost", allowed={"single-label": "why"})
    candidate = team.candidate(digest)

    def edit(document: dict[str, Any]) -> None:
        document["overrides"][0]["finding"] = "1 entry (1 url) to add: harmless"

    document = json.loads(gzip.decompress(candidate.record))
    edit(document)
    record = gzip.compress(json.dumps(document).encode(), mtime=0)
    lie = replace(candidate, record=record)
    with pytest.raises(Unforeseen):
        approving.approve(team.at("ben"), team.planted(lie), lie, allowed=("single-label",))


def test_a_dropped_override(team: Team) -> None:
    digest = team.stage("ann", "a.example/x\nlocalhost", allowed={"single-label": "why"})
    candidate = team.candidate(digest)
    document = json.loads(gzip.decompress(candidate.record))
    document["overrides"] = []
    lie = replace(candidate, record=gzip.compress(json.dumps(document).encode(), mtime=0))
    with pytest.raises(Unforeseen, match="single-label"):
        approving.approve(team.at("ben"), team.planted(lie), lie)


# Files that are no candidates.


def zipped(members: dict[str, bytes], **how: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def members(team: Team) -> dict[str, bytes]:
    staged = team.staged("ann", add=ADD, keep=False)
    with zipfile.ZipFile(io.BytesIO(staged.data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("candidate.json"),
        lambda m: m.pop("role.json"),
        lambda m: m.pop("record.json.gz"),
        lambda m: m.update({"candidate.json": b"{}"}),
        lambda m: m.update({"candidate.json": b"\xff"}),
        lambda m: m.update({"role.json": b"{}"}),
        lambda m: m.update({"record.json.gz": b"{}"}),
        lambda m: m.update({"../../etc/passwd": b"x"}),
        lambda m: m.update({"objects/clear/x.list": b"x"}),
        lambda m: m.update({f"objects/other/clear/{'0' * 64}.list": b"x"}),
        lambda m: m.update({str(number): b"" for number in range(300)}),
        lambda m: m.update({"candidate.json": m["candidate.json"].replace(b"demo", b"root")}),
        lambda m: m.update({"candidate.json": m["candidate.json"].replace(b": 2", b": 3")}),
    ],
)
def test_a_file_of_another_shape(team: Team, change: Callable[[dict[str, bytes]], object]) -> None:
    found = members(team)
    change(found)
    with pytest.raises(FeedError):
        approving.approve(team.at("ben"), "0" * 64, Candidate.from_bytes(zipped(found)))


@pytest.mark.parametrize("data", [b"", b"PK", b"\0" * 100, b"PK\x05\x06" + b"\0" * 18])
def test_no_zip_file(data: bytes) -> None:
    with pytest.raises(MalformedFeed):
        Candidate.from_bytes(data)


def test_a_compressed_bomb(team: Team) -> None:
    bomb = members(team) | {"record.json.gz": b"\0" * 50_000_000}
    with pytest.raises(MalformedFeed, match="without compression"):
        Candidate.from_bytes(zipped(bomb, compression=zipfile.ZIP_DEFLATED))


def test_a_cut_off_file(team: Team) -> None:
    data = team.staged("ann", add=ADD, keep=False).data
    for end in range(0, len(data), 97):
        with pytest.raises(MalformedFeed):
            Candidate.from_bytes(data[:end])


def test_any_changed_byte_gives_a_typed_error_or_the_same_content(team: Team) -> None:
    staged = team.staged("ann", add=ADD, keep=False)
    repository = team.at("ben")
    before = team.kit.objects()
    for at in range(0, len(staged.data), 31):
        data = bytearray(staged.data)
        data[at] ^= 1
        try:
            candidate = Candidate.from_bytes(bytes(data))
            checked = team.check("ben", candidate)
        except (FeedError, Stale, InputError, GuardRefused):
            continue
        assert checked.candidate.signed_bytes == Candidate.from_bytes(staged.data).signed_bytes
    assert team.kit.objects() == before
    assert repository.home.key_files()
