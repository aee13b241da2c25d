"""`audit verify`: every kind of damage to the account of a list is found, all of it in one run."""

import gzip
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from blocklist.core.errors import StoreUnreachable, UnknownList
from blocklist.publisher.accounts import Account
from blocklist.publisher.audit.report import Report
from blocklist.publisher.audit.run import audit_list
from blocklist.store import layout
from signing import roles
from tests.history_kit import Past
from tests.publisher_kit import LIST, without_sync

A, B, C = "u a.example/x", "h b.example", "d c.example"


@pytest.fixture(autouse=True)
def _without_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sync(monkeypatch)


@pytest.fixture
def past(tmp_path: Path) -> Past:
    """Versions 1, 2, 3, 5, 6, signed by two of three."""
    past = begun(tmp_path)
    past.commit()
    return past


def begun(folder: Path) -> Past:
    past = Past.made(folder, people=3, threshold=2)
    past.release(added=[A, B], reason="weekly")
    past.release(removed=[A], operation="withdraw", reason="mistaken")
    past.release(added=[A, C], version=5)
    past.release(removed=[B])
    return past


def audited(past: Past) -> Report:
    return audit_list(past.kit.repository(), LIST)


def told(past: Past) -> list[tuple[int, str]]:
    return [(one.version, one.text) for one in audited(past).problems]


def only(past: Past, version: int, words: str) -> None:
    """Expect problems with one version only, and that the words are in one of them."""
    problems = told(past)
    assert {at for at, _ in problems} == {version}, problems
    assert any(words in text for _, text in problems), problems


def account_key(past: Past, version: int) -> str:
    return layout.release_key(LIST, past.roles[version].digest)


def test_a_whole_history_has_no_problem(past: Past) -> None:
    report = audited(past)
    assert report.problems == []
    assert (report.first, report.last, report.digest) == (1, 6, past.roles[6].digest)
    assert report.checked == {
        "roots": 1,
        "releases": 5,
        "records": 5,
        "accounts": 5,
        "signatures": 10,
        "approvals": 10,
        "rebuilt lists": 1,
    }
    (note,) = report.notes
    assert "version 6" in note


def test_a_list_without_release_has_nothing_to_audit(past: Past) -> None:
    past.kit.create("new")
    report = audit_list(past.kit.repository(), "new")
    assert (report.problems, report.last) == ([], 0)


def test_an_unknown_list_is_bad_input(past: Past) -> None:
    with pytest.raises(UnknownList):
        audit_list(past.kit.repository(), "nosuch")


def test_a_storage_that_does_not_answer_says_nothing_about_the_list(past: Past) -> None:
    repository = past.kit.repository()
    head = repository.head()

    class Silent:
        def get(self, key: str, **limit: Any) -> Any:
            if "private" in key:
                raise StoreUnreachable("no answer")
            return past.kit.store.get(key, **limit)

    with pytest.raises(StoreUnreachable):
        audit_list(replace(repository, store=Silent()), LIST)  # type: ignore[arg-type]
    assert repository.head().timestamp.data == head.timestamp.data


def test_releases_after_all_keys_were_rotated_are_verified_under_those_of_their_time(
    tmp_path: Path,
) -> None:
    past = begun(tmp_path)
    past.rotate([CryptoSigner.generate_ed25519() for _ in range(2)])
    past.release(added=[B])
    past.commit()
    past.rotate([CryptoSigner.generate_ed25519()])
    past.release(removed=[C])
    past.release(added=[C])
    past.commit()
    report = audited(past)
    assert report.problems == []
    assert report.checked["signatures"] == 2 * 6 + 2


# Records.


@pytest.mark.parametrize("version", [1, 3, 6])
@pytest.mark.parametrize("how", ["missing", "altered", "swapped", "rewritten"])
def test_a_damaged_record_is_found(past: Past, version: int, how: str) -> None:
    key, memory = past.record_key(version), past.kit.memory
    data = memory.objects[key]
    document = json.loads(gzip.decompress(data))
    document["who"] = "somebody else"
    rewritten = gzip.compress(json.dumps(document).encode(), mtime=0)
    damage = {"altered": data[:-1], "swapped": memory.objects[past.record_key(2)]}
    memory.uproot(key)
    if how != "missing":
        memory.plant(key, damage.get(how, rewritten))
    only(past, version, "missing" if how == "missing" else "altered")


def test_all_damage_is_found_in_one_run(past: Past) -> None:
    past.kit.memory.uproot(past.record_key(1))
    past.kit.memory.plant(past.record_key(3), b"x")
    past.kit.memory.uproot(past.record_key(5))
    past.kit.memory.uproot(account_key(past, 6))
    assert [version for version, _ in told(past)] == [6, 5, 3, 1]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"entries": 9}, "number of entries"),
        ({"list": "other"}, "another list"),
        ({"base": (1, "0" * 64)}, "the one before it"),
        ({"digests": {"clear": "0" * 64, "hashed": "0" * 64}}, "digests"),
        ({"delegation": None}, "whose keys"),
        ({"delegation": (9, "0" * 64)}, "9.targets.json"),
        ({"delegation": (2, "0" * 64)}, "2.targets.json is not the one"),
    ],
)
def test_a_record_that_was_signed_but_is_not_true_is_found(
    tmp_path: Path, facts: dict[str, Any], words: str
) -> None:
    """Who holds the keys may lie about the past, but not unnoticed."""
    past = begun(tmp_path)
    past.release(added=["h d.example"], **facts)
    past.release()
    past.commit()
    only(past, 7, words)


@pytest.mark.parametrize(
    ("added", "removed", "version"),
    [([A], [], 7), ([], ["h never.example"], 0)],
)
def test_records_that_do_not_add_up_to_the_signed_list_are_found(
    tmp_path: Path, added: list[str], removed: list[str], version: int
) -> None:
    past = begun(tmp_path)
    past.release(added, removed)
    past.commit()
    assert version in {at for at, _ in told(past)}


def test_a_release_that_hides_a_change_is_found(tmp_path: Path) -> None:
    """The list has an entry more than the record says."""
    past = begun(tmp_path)
    past.lines.add("h hidden.example")
    past.release(added=["h d.example"])
    past.release()
    past.commit()
    problems = told(past)
    assert (7, "its entries do not add up") in problems
    assert (8, "the records do not add up to the signed list") in problems


# Role files.


@pytest.mark.parametrize("version", [1, 3, 5])
@pytest.mark.parametrize("how", ["missing", "altered", "swapped", "too large"])
def test_a_damaged_role_file_is_found_and_what_is_older_still_looked_at(
    past: Past, version: int, how: str
) -> None:
    key, memory = past.role_key(version), past.kit.memory
    damage = {
        "altered": past.roles[version].data.replace(b"canonical", b"kanonical"),
        "swapped": past.roles[2].data,
        "too large": b" " * 1_000_000,
    }
    memory.uproot(key)
    if how != "missing":
        memory.plant(key, damage[how])
    if version > 1:
        memory.uproot(past.record_key(1))
    if how == "too large":
        assert [at for at, _ in told(past)] == [version, *([1] if version > 1 else [])]
        return
    report = audited(past)
    assert [one.version for one in report.problems] == [version, *([1] if version > 1 else [])]
    assert any("rebuilt" in note for note in report.notes)


def test_an_older_role_file_below_a_gap_counts_only_if_the_keys_of_its_time_sign_it(
    past: Past,
) -> None:
    past.kit.memory.uproot(past.role_key(3))
    forged = roles.seal(LIST, past.roles[2].signed, [CryptoSigner.generate_ed25519()])
    past.kit.memory.plant(past.role_key(2), forged.data)
    problems = told(past)
    assert [at for at, _ in problems] == [3, 2]
    assert "expected 2 valid signatures" in problems[1][1]
    assert audited(past).first == 1


def test_a_missing_targets_role_of_the_past_is_found(tmp_path: Path) -> None:
    past = begun(tmp_path)
    past.commit()
    past.rotate([CryptoSigner.generate_ed25519()])
    past.release()
    past.commit()
    past.kit.memory.uproot(layout.METADATA + "2.targets.json")
    assert [at for at, _ in told(past)] == [6, 5, 3, 2, 1]


def test_a_missing_root_is_found(past: Past) -> None:
    past.kit.memory.uproot(layout.METADATA + "1.root.json")
    (problem,) = told(past)
    assert problem[0] == 0
    assert "1.root.json" in problem[1]


# Accounts.


def test_a_missing_account_of_the_newest_release_is_found(past: Past) -> None:
    past.kit.memory.uproot(account_key(past, 6))
    only(past, 6, "was lost")


@pytest.mark.parametrize("data", [b"", b"no account", b"{}", b"[" * 5_000, b"x" * (2 << 20)])
def test_an_account_that_is_none_is_found(past: Past, data: bytes) -> None:
    past.kit.memory.plant(account_key(past, 6), data)
    problems = told(past)
    assert [at for at, _ in problems] == [6]


def test_an_account_that_no_record_seals_is_found(tmp_path: Path) -> None:
    past = begun(tmp_path)
    past.release(previous=None)
    past.commit()
    only(past, 6, "was lost")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"who": "somebody else"}, "blocklist account"),
        ({"version": 3}, "another release"),
        ({"role": "0" * 64}, "another release"),
        ({"list": "other"}, "another release"),
        ({"keyid": "0" * 64}, "never online"),
        ({"candidate": "9" * 64}, "another candidate"),
    ],
)
def test_a_rewritten_account_is_found(past: Past, change: dict[str, Any], words: str) -> None:
    """By somebody with write access to the storage, before the next release seals it."""
    forged = replace(past.accounts[6], **change)
    past.kit.memory.plant(account_key(past, 6), forged.to_bytes())
    only(past, 6, words)


def approvals(past: Past, account: Account, how: str) -> Account:
    """Return an account with other approvals, which the online key signs again."""
    role = past.roles[account.version]
    first, second = account.approvals
    stranger = CryptoSigner.generate_ed25519()
    theirs = replace(first, keyid=stranger.public_key.keyid)
    changed = {
        "one only": (first,),
        "one twice": (first, first),
        "none": (),
        "of another candidate": (first, past.approval(role, past.people[1], candidate="9" * 64)),
        "of another version": (first, past.approval(role, past.people[1], version=3)),
        "of another list": (first, past.approval(role, past.people[1], list="other")),
        "other words": (first, replace(second, who="somebody else")),
        "allowed less": (first, replace(second, allowed=("shrink",))),
        "by a stranger": (first, theirs),
        "another signature": (first, past.approval(role, past.people[1], signature="0" * 128)),
        "no signature": (first, replace(second, statement="")),
        "no hex": (first, replace(second, statement="zz")),
    }
    return past.account(account.version, approvals=changed[how])


FORGED = {
    "one only": "no approval tells that",
    "one twice": "one key approved it twice",
    "none": "no approval tells that",
    "of another candidate": "another candidate",
    "of another version": "another candidate",
    "of another list": "another candidate",
    "other words": "expected a signature",
    "allowed less": "expected a signature",
    "by a stranger": "may not sign",
    "another signature": "another signature",
    "no signature": "expected a signature",
    "no hex": "expected a signature",
}


@pytest.mark.parametrize("how", FORGED)
@pytest.mark.parametrize("sealed", [False, True])
def test_a_forged_approval_is_found(tmp_path: Path, how: str, sealed: bool) -> None:
    """Also by who holds the online key, and also when the record of the next release seals it."""
    past = begun(tmp_path)
    forged = approvals(past, past.accounts[6], how)
    if sealed:
        past.accounts[6] = forged
        past.release()
        past.commit()
    else:
        past.commit()
        past.kit.memory.plant(account_key(past, 6), forged.to_bytes())
    only(past, 6, FORGED[how])


def test_an_override_that_not_everybody_approved_is_found(tmp_path: Path) -> None:
    past = begun(tmp_path)
    override = {"guard": "shrink", "finding": "it shrinks", "reason": "spring clean"}
    past.release(overrides=(override,))
    role, (one, two) = past.roles[7], past.people
    seen = (past.approval(role, one, allowed=("shrink",)), past.approval(role, two))
    past.accounts[7] = past.account(7, approvals=seen)
    past.release()
    past.commit()
    only(past, 7, "guard")


def test_a_release_with_one_signature_where_two_were_needed_is_found(tmp_path: Path) -> None:
    """The record of that time names a targets role that wanted two."""
    past = begun(tmp_path)
    two, past.people = past.people, past.people[:1]
    past.release()
    past.people = two
    past.release()
    past.commit()
    only(past, 7, "expected 2 valid signatures")


def test_no_message_holds_a_listed_url(past: Past) -> None:
    for version in past.roles:
        past.kit.memory.plant(past.record_key(version), b"x")
    assert not any(".example" in text for _, text in told(past))


# Hostile and many.


def test_any_change_of_any_byte_of_the_evidence_is_found(past: Past) -> None:
    rng = random.Random(7)
    keys = [past.record_key(version) for version in past.roles]
    keys += [past.role_key(version) for version in past.roles if version < 6]
    for _ in range(100):
        key = rng.choice([*keys, account_key(past, 6)])
        whole = past.kit.memory.objects[key]
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        past.kit.memory.plant(key, bytes(data))
        assert told(past), key
        past.kit.memory.plant(key, whole)


def test_two_thousand_releases_are_read_ahead_and_all_verified(tmp_path: Path) -> None:
    past = Past.made(tmp_path)
    for number in range(1_999):
        past.release(added=[f"h site-{number}.example"])
    past.commit()
    report = audited(past)
    assert report.problems == []
    assert report.checked["accounts"] == report.checked["records"] == 2_000
