"""Drafts: what is put to people is computed from their own trust, and edited drafts are refused."""

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blocklist.core.errors import BlocklistError, InputError
from blocklist.publisher import start
from blocklist.publisher.ceremonies import ceremony
from signing import drafts
from signing.drafts import Draft
from signing.errors import (
    LostRace,
    Malformed,
    Rollback,
    SignaturesMissing,
    Tampered,
    TrustError,
    Unsafe,
)
from signing.proposals import ListChange, RootChange
from tests.ceremony_kit import LEAD, LISTS, ONLINE, TARGETS, Hotline
from tests.publisher_kit import LIST, without_sync
from tests.signing_kit import key

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Hotline:
    with pytest.MonkeyPatch.context() as patch:
        without_sync(patch)
        hotline = Hotline.started(tmp_path_factory.mktemp("drafts") / "hotline")
        hotline.new_key("dee", "dee")
        hotline.new_key(LEAD, "list-2")
    return hotline


@pytest.fixture
def hotline(shared: Hotline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hotline:
    without_sync(monkeypatch)
    return shared.copied(tmp_path / "hotline")


@pytest.fixture
def signed(hotline: Hotline) -> Draft:
    """The next root, with `dee` for `cyd`, signed by ann."""
    change = RootChange([hotline.key("dee")], [hotline.key("cyd").keyid])
    return hotline.signed(hotline.propose(change), "ann")


@pytest.fixture
def lists(hotline: Hotline) -> Draft:
    """The next targets role, with another key for the list, signed."""
    draft = hotline.propose_lists(ListChange(LIST, [hotline.key("list-2")]))
    return hotline.signed(draft, TARGETS)


def edited(draft: Draft, edit: Edit) -> bytes:
    document = json.loads(draft.to_bytes())
    edit(document)
    return json.dumps(document).encode()


def outcome(hotline: Hotline, data: bytes) -> TrustError:
    """Return how a draft is refused: to be shown, signed, and committed, with nothing changed."""
    before = hotline.memory.objects
    with pytest.raises(TrustError) as shown:
        ceremony.review(hotline.home("ben"), drafts.read(data), hotline.clock())
    with pytest.raises(type(shown.value)):
        ceremony.sign(hotline.home("ben"), drafts.read(data), [], hotline.clock())
    with pytest.raises(type(shown.value)):
        hotline.commit(drafts.read(data))
    assert hotline.memory.objects == before
    return shown.value


def root_of(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["drafted"]["root"]["signed"]
    return found


def lists_of(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["drafted"]["targets"]["signed"]
    return found


def put(value: Any, *path: Any) -> Edit:
    """Return an edit that sets one value, by its path from the top."""

    def edit(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = value

    return edit


def spaced(document: dict[str, Any]) -> None:
    """Python reads such hex; clients in other languages would refuse the root for it."""
    first = document["drafted"]["root"]["signatures"][0]
    first["sig"] = f" {first['sig']}"


def one_signature_twice(document: dict[str, Any]) -> None:
    document["drafted"]["root"]["signatures"] *= 2


def of_a_stranger(document: dict[str, Any]) -> None:
    document["drafted"]["root"]["signatures"][0]["keyid"] = "ab" * 32


def one_key_with_two_ids(document: dict[str, Any]) -> None:
    root = root_of(document)
    first = root["roles"]["root"]["keyids"][0]
    root["keys"]["ab" * 32] = root["keys"][first]
    root["roles"]["root"]["keyids"].append("ab" * 32)


def online_is_a_root_key(document: dict[str, Any]) -> None:
    root = root_of(document)
    for role in ("snapshot", "timestamp"):
        root["roles"][role]["keyids"] = root["roles"]["root"]["keyids"][:1]


SIGNED = ("drafted", "root", "signed")
EDITS: dict[str, tuple[Edit, type[TrustError], str]] = {
    "a description": (put("only renews", "description"), Malformed, "exactly the fields"),
    "a field more in the base": (put(1, "base", "note"), Malformed, "exactly the fields"),
    "a field more beside signatures": (put(1, "drafted", "root", "x"), Malformed, "exactly"),
    "another format": (put(2, "format"), Malformed, "format 1"),
    "format true": (put(True, "format"), Malformed, "format 1"),
    "another kind": (put("targets", "kind"), Malformed, "kind targets"),
    "an unknown kind": (put(["root"], "kind"), Malformed, "known kind"),
    "no roots": (put([], "base", "roots"), Malformed, "the roots that it follows"),
    "roots that are no text": (put([7], "base", "roots"), Malformed, "as text"),
    "no targets": (put(None, "base", "targets"), Malformed, "targets role that it follows"),
    "targets of nobody": (put("{}", "base", "targets"), Malformed, "TUF metadata of targets"),
    "a later expiry": (put("2027-12-31T00:00:00Z", *SIGNED, "expires"), Tampered, "was changed"),
    "an endless expiry": (put("9999-12-31T00:00:00Z", *SIGNED, "expires"), Unsafe, "expiry"),
    "a past expiry": (put("2001-01-01T00:00:00Z", *SIGNED, "expires"), Unsafe, "expiry"),
    "a threshold of 1": (put(1, *SIGNED, "roles", "root", "threshold"), Unsafe, "at least 2"),
    "a threshold of true": (put(True, *SIGNED, "roles", "root", "threshold"), Unsafe, "known keys"),
    "a threshold of all": (put(3, *SIGNED, "roles", "root", "threshold"), Unsafe, "be lost"),
    "a skipped number": (put(3, *SIGNED, "version"), Unsafe, "expected root version 2, got 3"),
    "the same number": (put(1, *SIGNED, "version"), Unsafe, "expected root version 2, got 1"),
    "a field more in the root": (put(1, *SIGNED, "note"), Unsafe, "changes only keys"),
    "throw-away": (put({"dev": True}, *SIGNED, "x-blocklist"), Unsafe, "changes only keys"),
    "no consistent snapshots": (put(False, *SIGNED, "consistent_snapshot"), Unsafe, "only keys"),
    "1 for true": (put(1, *SIGNED, "consistent_snapshot"), Unsafe, "only keys"),
    "spaces in a signature": (spaced, Tampered, "signed another root"),
    "one key with two ids": (one_key_with_two_ids, Unsafe, "digests of the keys"),
    "a key of nobody": (put(None, *SIGNED, "keys"), Malformed, "TUF metadata"),
    "online is a root key": (online_is_a_root_key, Unsafe, "each key to have a role"),
    "one signature twice": (one_signature_twice, Malformed, "TUF metadata"),
    "a signature of a stranger": (of_a_stranger, Tampered, "abab abab abab abab.*may not"),
    "a test host": (put({LIST: "a.example"}, "unsigned"), Malformed, "test host for each new"),
    "text as signatures": (put("none", "drafted", "root", "signatures"), Malformed, "metadata"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_draft_that_was_edited_by_hand_is_refused(
    hotline: Hotline, signed: Draft, name: str
) -> None:
    edit, expected, text = EDITS[name]
    error = outcome(hotline, edited(signed, edit))
    assert type(error) is expected
    assert re.search(text, str(error)), error


def other_paths(document: dict[str, Any]) -> None:
    lists_of(document)["delegations"]["roles"][0]["paths"] = [f"{LIST}/*"]


def paths_of_another(document: dict[str, Any]) -> None:
    lists_of(document)["delegations"]["roles"][0]["paths"] = ["other/clear/*"]


def not_terminating(document: dict[str, Any]) -> None:
    lists_of(document)["delegations"]["roles"][0]["terminating"] = False


LIST_EDITS: dict[str, tuple[Edit, type[TrustError]]] = {
    "other paths": (other_paths, Unsafe),
    "paths of another list": (paths_of_another, Unsafe),
    "not terminating": (not_terminating, Unsafe),
    "1 for terminating": (
        lambda d: lists_of(d)["delegations"]["roles"][0].update(terminating=1),
        Unsafe,
    ),
    "a number that leaves none for others": (
        lambda d: lists_of(d).update(version=2**53 - 1),
        Unsafe,
    ),
    "a target": (
        lambda d: lists_of(d)["targets"].update({"x": {"length": 1, "hashes": {"sha256": "00"}}}),
        Unsafe,
    ),
    "an older number": (lambda d: lists_of(d).update(version=2), Unsafe),
    "the next but one": (lambda d: lists_of(d).update(version=4), Tampered),
    "a lower threshold": (
        lambda d: lists_of(d)["delegations"]["roles"][0].update(threshold=0),
        Malformed,
    ),
    "no signature": (
        lambda d: d["drafted"]["targets"].update(signatures=[]),
        SignaturesMissing,
    ),
}


@pytest.mark.parametrize("name", LIST_EDITS)
def test_an_edited_draft_of_lists_is_refused(hotline: Hotline, lists: Draft, name: str) -> None:
    edit, expected = LIST_EDITS[name]
    before = hotline.memory.objects
    with pytest.raises(expected):
        hotline.commit(drafts.read(edited(lists, edit)))
    assert hotline.memory.objects == before
    hotline.commit(lists)


def test_a_test_host_of_others_is_refused(hotline: Hotline) -> None:
    """No signature covers it, and no guard reports a test entry."""
    change = ListChange("new", [hotline.key("list-2")], paths=start.list_paths("new"))
    signed = hotline.signed(hotline.propose_lists(change), TARGETS)
    with pytest.raises(InputError, match=r"harmless test host, got one of others \(protected\)"):
        hotline.commit(replace(signed, unsigned={"new": "www.iana.org"}))
    assert not hotline.commit(signed).unchanged


def test_no_edit_at_all_causes_anything_but_a_typed_error(hotline: Hotline, signed: Draft) -> None:
    """Each value of the draft in turn is replaced by odd ones."""
    chance = random.Random(7)
    odd: list[Any] = [None, True, -1, 1.5, "", "x" * 99, [], {}, [[]], {"a": {}}, 2**70, "\ud800"]
    places = list(paths(json.loads(signed.to_bytes())))
    for path in places:
        for value in chance.sample(odd, 2):
            data = edited(signed, put(value, *path))
            try:
                ceremony.review(hotline.home("ben"), drafts.read(data), hotline.clock())
            except (TrustError, BlocklistError):
                continue
            unsigned = path[-1] == "signatures" and value == []  # then it only lacks some
            assert unsigned or json.loads(data) == json.loads(signed.to_bytes()), path


def paths(value: Any, *path: Any) -> Any:
    """Yield where each value of a JSON document is."""
    if path:
        yield path
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield from paths(inner, *path, name)
    for number, inner in enumerate(value) if isinstance(value, list) else ():
        yield from paths(inner, *path, number)


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"{}", b"[" * 9999, b"\xff", b'{"format":1,"format":1}', b"NaN"]
)
def test_what_is_no_draft_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        drafts.read(data)


def test_a_draft_that_is_too_large_is_not_parsed() -> None:
    with pytest.raises(Malformed, match="at most"):
        drafts.read(b" " * (drafts.MAX_DRAFT_BYTES + 1))


def test_a_draft_for_another_repository_is_refused(
    hotline: Hotline, signed: Draft, tmp_path: Path
) -> None:
    other = Hotline.started(tmp_path / "other")
    error = outcome(other, signed.to_bytes())
    assert isinstance(error, Tampered)
    assert "another repository" in str(error)


def test_a_forged_history_of_roots_is_refused(hotline: Hotline, signed: Draft) -> None:
    """Who signs walks the roots in the draft with the checks of a client."""
    forged = json.loads(hotline.kit().root())
    forged["signed"]["version"] = 2
    data = edited(signed, lambda d: d["base"]["roots"].append(json.dumps(forged)))
    assert isinstance(outcome(hotline, data), Tampered)


def test_a_draft_that_follows_an_older_state_is_stale(hotline: Hotline, lists: Draft) -> None:
    hotline.change_lists(None)
    with pytest.raises(LostRace, match=r"follows targets version 2, live is 3.*propose"):
        ceremony.review(hotline.home("ben"), lists, hotline.clock(), hotline.repository("ben"))
    ceremony.review(hotline.home("cyd"), lists, hotline.clock())  # cyd has not seen it
    with pytest.raises((LostRace, Rollback)):
        hotline.commit(lists)


def test_a_home_that_has_seen_newer_needs_no_storage_to_refuse(
    hotline: Hotline, lists: Draft
) -> None:
    hotline.change_lists(None)
    hotline.change_lists(None)
    hotline.kit("ben").head()
    with pytest.raises(Rollback):
        ceremony.review(hotline.home("ben"), lists, hotline.clock())


def test_a_root_that_was_overtaken_says_so(hotline: Hotline, signed: Draft) -> None:
    hotline.change_root(RootChange(), "ann", "ben")
    hotline.kit("ben").head()
    with pytest.raises(Rollback, match="follows root version 1, version 2 is known here"):
        ceremony.review(hotline.home("ben"), signed, hotline.clock())


def test_a_custodian_who_was_away_follows_all_roots_without_a_network(hotline: Hotline) -> None:
    for people in (("ann", "ben"), ("ben", "cyd")):
        hotline.change_root(RootChange(), *people)
    draft = hotline.propose(RootChange())
    review = ceremony.review(hotline.home("cyd"), draft, hotline.clock())
    assert review.descriptions[0].subject == "root version 4, after version 3"
    assert hotline.home("cyd").trust().root.version == 1  # only a repository changes that


def test_the_review_tells_what_changes_and_what_will_be(hotline: Hotline, signed: Draft) -> None:
    names = hotline.home("ben").keys_directory
    for name in ("dee", "cyd"):
        (source,) = hotline.folder.glob(f"*/home/keys/{name}.pub")
        (names / f"{name}.pub").write_bytes(source.read_bytes())
    review = ceremony.review(hotline.home("ben"), signed, hotline.clock())
    (told,) = review.descriptions
    assert [line for line in told.changes if "(cyd)" in line and line.startswith("DROPS root key")]
    assert [line for line in told.changes if "(dee)" in line and line.startswith("adds root key")]
    assert told.after[0].startswith("root: 2 of ")
    assert "(dee)" in told.after[0]
    assert "(cyd)" not in told.after[0]
    tallies = {tally.by: (tally.have, tally.need) for tally in review.tallies}
    assert tallies == {"the old root": (1, 2), "the new root": (1, 2)}
    assert review.signed == {"root": (hotline.key("ann").keyid,)}
    assert review.may_sign == ("ben",)


def test_one_key_that_signs_twice_counts_once(hotline: Hotline, signed: Draft) -> None:
    again, added = ceremony.sign(hotline.home("ann"), signed, ["ann"], hotline.clock())
    assert added == []
    assert again.to_bytes() == signed.to_bytes()
    with pytest.raises(SignaturesMissing, match="expected 2 signatures on root, got 1"):
        hotline.commit(again, signed)


def test_old_and_new_keys_both_have_to_sign(hotline: Hotline) -> None:
    """Two new keys do not replace the old threshold, nor the other way round."""
    for name in ("eve", "fay"):
        hotline.new_key(name, name)
        hotline.pin(name)
    hotline.pin("dee")
    new = [hotline.key(name) for name in ("dee", "eve", "fay")]
    drop = [hotline.key(name).keyid for name in ("ann", "ben", "cyd")]
    draft = hotline.propose(RootChange(new, drop))
    for people in (("ann", "ben"), ("dee", "eve"), ("ann", "dee")):
        with pytest.raises(SignaturesMissing):
            hotline.commit(hotline.signed(draft, *people))
    hotline.commit(hotline.signed(draft, "ann", "ben", "dee", "eve"))
    assert hotline.client("any").versions["root"] == 2


@pytest.mark.parametrize("who", ["dee", LEAD])
def test_somebody_without_a_key_that_counts_cannot_sign(hotline: Hotline, who: str) -> None:
    draft = hotline.propose(RootChange())
    hotline.pin("dee")
    with pytest.raises(SignaturesMissing, match="found none"):
        ceremony.sign(hotline.home(who), draft, [], hotline.clock())
    with pytest.raises(SignaturesMissing, match="got 'nobody'"):
        ceremony.sign(hotline.home("ann"), draft, ["nobody"], hotline.clock())


def test_with_two_keys_in_one_home_one_is_chosen(hotline: Hotline) -> None:
    folder = hotline.home("ann").keys_directory
    for file in hotline.home("ben").keys_directory.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
        (folder / file.name).chmod(0o600)
    draft = hotline.propose(RootChange())
    with pytest.raises(InputError, match="--key with one of ann, ben"):
        ceremony.sign(hotline.home("ann"), draft, [], hotline.clock())
    assert ceremony.sign(hotline.home("ann"), draft, ["ben"], hotline.clock())[1] == ["root"]


def test_two_different_drafts_are_not_put_together(hotline: Hotline, signed: Draft) -> None:
    other = hotline.signed(hotline.propose(RootChange()), "ben")
    with pytest.raises(Tampered, match="copies of one draft"):
        hotline.commit(signed, other)


# What is not proposed.


@pytest.mark.parametrize(
    ("people", "threshold", "text"),
    [
        (["ann"], 1, "at least 2"),
        (["ann", "ben", "cyd"], 1, "at least 2"),
        (["ann", "ben"], 2, "could be lost"),
        (["ann", "ben", "cyd"], 3, "could be lost"),
        (["ann", "ben", "ann"], 2, "once, got .* twice"),
        (["ann", "ben", ONLINE], 2, "two jobs"),
    ],
)
def test_a_fragile_repository_is_not_begun(
    hotline: Hotline, people: list[str], threshold: int, text: str
) -> None:
    with pytest.raises(Unsafe, match=text):
        hotline.first(root=[hotline.key(name) for name in people], threshold=threshold)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda h: RootChange([h.key("ann")]), "there already"),
        (lambda h: RootChange([h.key("dee")] * 2), "twice"),
        (lambda h: RootChange(drop=[h.key("dee").keyid]), "to drop"),
        (lambda h: RootChange(drop=[h.key("ann").keyid[:7]]), "to drop"),
        (lambda h: RootChange(drop=[h.key("ann").keyid]), "could be lost"),
        (lambda h: RootChange(threshold=3), "could be lost"),
        (lambda h: RootChange(threshold=1), "at least 2"),
        (lambda h: RootChange(online=[h.key("ben")]), "two jobs"),
        (lambda h: RootChange(online=[h.key(TARGETS)]), "two jobs"),
        (lambda h: RootChange(online=[h.key(LISTS)]), "a key of demo"),
        (lambda h: RootChange(targets=[h.key(ONLINE)]), "two jobs"),
    ],
)
def test_a_fragile_root_is_not_proposed(
    hotline: Hotline, change: Callable[[Hotline], RootChange], text: str
) -> None:
    with pytest.raises(Unsafe, match=text):
        hotline.propose(change(hotline))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda h: ListChange(LIST, [h.key(LISTS)]), "already"),
        (lambda h: ListChange(LIST, drop=[h.key("dee").keyid]), "to drop"),
        (lambda h: ListChange(LIST, drop=[h.key(LISTS).keyid]), "threshold of 1 to 0"),
        (lambda h: ListChange(LIST, threshold=2), "threshold of 1 to 1"),
        (lambda h: ListChange(LIST, [h.key(ONLINE)]), "an online key of its own"),
        (lambda h: ListChange("nosuch", threshold=1), "list that exists"),
        (lambda h: ListChange(LIST, [h.key("dee")], paths=["demo/clear/*"]), "exists already"),
        (lambda h: ListChange("root", [h.key("dee")], paths=["root/clear/*"]), "no TUF role"),
        (lambda h: ListChange("other", paths=["other/clear/*"]), "threshold of 1 to 0"),
    ],
)
def test_a_list_that_cannot_work_is_not_proposed(
    hotline: Hotline, change: Callable[[Hotline], ListChange], text: str
) -> None:
    with pytest.raises(Unsafe, match=text):
        hotline.propose_lists(change(hotline))


def test_a_key_may_be_named_by_how_it_begins(hotline: Hotline) -> None:
    change = RootChange([hotline.key("dee")], [hotline.key("cyd").keyid[:8]])
    draft = hotline.propose(change)
    assert draft.root is not None
    assert hotline.key("cyd").keyid not in draft.root.signed.roles["root"].keyids


def test_a_proposal_needs_no_key_and_writes_nothing(hotline: Hotline) -> None:
    hotline.pin("dee")
    before = hotline.memory.objects
    draft = ceremony.propose_root(hotline.repository("dee"), RootChange())
    assert draft.root is not None
    assert draft.root.signatures == {}
    assert hotline.memory.objects == before


def test_a_draft_holds_nothing_secret(hotline: Hotline, signed: Draft, lists: Draft) -> None:
    held = signed.to_bytes() + lists.to_bytes()
    for path in hotline.folder.glob("*/home/keys/*"):
        if path.suffix != ".pub":
            for line in path.read_bytes().splitlines()[1:-1]:
                assert line not in held
    secret = hotline.repository().secret(LIST)
    assert secret.first_key.hex().encode() not in held


def test_a_foreign_key_in_a_list_is_shown_as_not_known(hotline: Hotline) -> None:
    stranger = key().public_key
    draft = hotline.propose_lists(ListChange(LIST, [stranger]))
    review = ceremony.review(hotline.home(TARGETS), draft, hotline.clock())
    assert any("(not known here)" in line for line in review.descriptions[0].changes)


def test_paths_of_a_list_are_those_of_its_feeds() -> None:
    assert start.list_paths("demo") == ["demo/clear/*", "demo/hashed/*"]
