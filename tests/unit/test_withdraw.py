"""Withdraw and rollback: every mistake can be taken back, by as many people as a release needs."""

import re
from pathlib import Path

import pytest

from blocklist.core.errors import GuardRefused, InputError
from blocklist.publisher.curation import carry, staging
from blocklist.publisher.curation.candidate import Candidate
from blocklist.publisher.curation.carry import Carried
from blocklist.publisher.curation.checking import Stale
from blocklist.publisher.publish import publish
from blocklist.publisher.request import Options, withdrawal
from signing.errors import LostRace
from tests.curation_kit import Team
from tests.fakes import FaultyStore
from tests.publisher_kit import LIST, TEST_LINE, Kit, urls, without_sync

WHOLE = """\
http://www.a.example/dir/page?id=7
http://www.a.example/dir/page
www.a.example/dir/*
www.a.example
.a.example
http://other.example/page
"""


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    without_sync(monkeypatch)
    kit = Kit.made(tmp_path)
    kit.publish(WHOLE)
    return kit


@pytest.fixture
def team(tmp_path: Path) -> Team:
    team = Team.made(tmp_path)
    team.publish(WHOLE)
    return team


def withdraw(kit: Kit, *addresses: str, **options: bool) -> Carried:
    request = withdrawal(LIST, addresses, Options(reason="taken down", **options))
    return carry.carry(kit.repository(), request)


def rollback(kit: Kit, version: int, **options: object) -> Carried:
    request = carry.rollback(kit.repository(), LIST, version, Options(**options))  # type: ignore[arg-type]
    return carry.carry(kit.repository(), request)


# Withdraw.


def test_every_kind_that_covers_the_url_goes(kit: Kit) -> None:
    done = withdraw(kit, "hxxps://WWW[.]a[.]example:8080/dir/./page?id=7#x")
    assert [line.decode() for line in done.outcome.removed] == [
        "d a.example",
        "h www.a.example",
        "p www.a.example/dir",
        "u www.a.example/dir/page",
        "u www.a.example/dir/page?id=7",
    ]
    assert kit.lines(2) == [TEST_LINE, "u other.example/page"]
    record = kit.record(2)
    assert (record.operation, record.reason) == ("withdraw", "taken down")


@pytest.mark.parametrize(
    ("url", "gone"),
    [
        ("http://www.a.example/dir/page?id=8", ["d", "h", "p", "u"]),  # not `?id=7`
        ("http://www.a.example/dir", ["d", "h", "p"]),
        ("http://www.a.example/", ["d", "h"]),
        ("http://x.y.a.example/", ["d"]),
        ("http://other.example/page?x", ["u"]),
    ],
)
def test_what_does_not_cover_it_stays(kit: Kit, url: str, gone: list[str]) -> None:
    done = withdraw(kit, url)
    assert [line.decode()[0] for line in done.outcome.removed] == gone


def test_several_urls_at_once(kit: Kit) -> None:
    done = withdraw(kit, "http://other.example/page", "http://x.a.example/")
    assert [line.decode() for line in done.outcome.removed] == [
        "d a.example",
        "u other.example/page",
    ]


def test_a_url_that_nothing_covers_is_named_by_its_place(kit: Kit) -> None:
    before = kit.objects()
    with pytest.raises(InputError, match=r"1 of 2 URLs \(number 2\)") as caught:
        withdraw(kit, "http://other.example/page", "http://secret.example/")
    assert "secret" not in str(caught.value)
    assert kit.objects() == before
    done = withdraw(kit, "http://other.example/page", "http://secret.example/", ignore_missing=True)
    assert done.published is not None
    assert done.published.notes == ("1 URLs were not covered",)


@pytest.mark.parametrize("url", ["", "http:///x", "x" * 9000])
def test_a_url_that_cannot_be_judged_is_named_by_its_place(kit: Kit, url: str) -> None:
    with pytest.raises(InputError, match="URL 2") as caught:
        withdraw(kit, "http://other.example/page", url)
    assert not url or url not in str(caught.value)
    assert caught.value.__cause__ is None


def test_no_url_is_an_error(kit: Kit) -> None:
    with pytest.raises(InputError, match="at least one URL"):
        withdraw(kit)


def test_the_test_entry_stays(kit: Kit) -> None:
    with pytest.raises(InputError, match="test entry"):
        withdraw(kit, "http://test-entry.demo.example/")


def test_no_guard_of_the_whole_list_is_in_the_way(kit: Kit) -> None:
    kit.publish(urls(range(400)), allowed=dict.fromkeys(("churn", "shrink"), "test"))
    done = withdraw(kit, *(f"http://site-{n:04}.example/page/{n}" for n in range(400)))
    assert done.published is not None
    assert done.published.removed == 400
    assert kit.lines(3) == [TEST_LINE]


def test_a_dry_run_writes_nothing(kit: Kit) -> None:
    before = kit.objects()
    done = withdraw(kit, "http://other.example/page", dry_run=True)
    assert len(done.outcome.removed) == 1
    assert kit.objects() == before


def test_a_withdrawal_is_made_again_on_what_was_released_meanwhile(
    kit: Kit, tmp_path: Path
) -> None:
    """Also what was listed a moment ago goes, if it covers the URL."""
    twin = kit.twin(tmp_path / "twin")

    class Overtaken(FaultyStore):
        done = False

        def replace_if(self, key: str, data: bytes, token: str) -> str | None:
            if not self.done:
                self.done = True
                twin.publish(add="other.example\n")
            return super().replace_if(key, data, token)

    request = withdrawal(LIST, ["http://other.example/page"], Options(reason="why"))
    done = publish(kit.repository(Overtaken(kit.store)), request)
    assert [line.decode() for line in done.outcome.removed] == [
        "h other.example",
        "u other.example/page",
    ]


def test_what_was_withdrawn_does_not_come_back_unnoticed(kit: Kit) -> None:
    withdraw(kit, "http://other.example/page")
    with pytest.raises(GuardRefused, match="withdrawn"):
        kit.publish(WHOLE)
    with pytest.raises(GuardRefused, match="withdrawn"):
        kit.publish(add="other.example/page")
    kit.publish(WHOLE, allowed={"withdrawn": "the page is back"})
    assert "u other.example/page" in kit.lines(3)
    kit.publish(remove="other.example/page")  # an ordinary removal, so it may return
    kit.publish(add="other.example/page")


def test_two_people_withdraw(team: Team) -> None:
    first = team.stage("cyd", add="new.example/1")
    done = team.withdraw("ann", "http://other.example/page")
    assert done.published is None
    assert done.staged is not None
    assert done.count is not None
    assert (len(done.count.approvals), done.count.missing) == (1, 1)
    digest = done.staged.digest
    team.approve("ben", digest)
    assert team.release(digest).version == 2
    assert "u other.example/page" not in team.kit.lines(2)
    with pytest.raises(Stale):
        team.approve("cyd", first)


def test_somebody_without_a_key_stages_only(team: Team) -> None:
    request = withdrawal(LIST, ["http://other.example/page"], Options(reason="why"))
    done = carry.carry(team.kit.repository(), request)
    assert done.count is not None
    assert done.count.missing == 2


def test_a_withdrawal_is_not_rebased(team: Team) -> None:
    done = team.withdraw("ann", "http://other.example/page")
    assert done.staged is not None
    with pytest.raises(InputError, match="ask for the withdraw anew"):
        staging.rebased(done.staged.data, Options())


# Rollback.


def test_the_old_content_is_a_new_version(kit: Kit) -> None:
    kit.publish(add="new.example/1\nnew.example/2", remove="other.example/page")
    done = rollback(kit, 1, reason="wrong file")
    assert done.published is not None
    assert done.published.version == 3
    assert kit.lines(3) == kit.lines(1)
    assert kit.record(3).operation == "rollback"
    assert kit.record(3).source["version"] == 1
    assert kit.problems() == []


def test_what_was_withdrawn_since_stays_away(kit: Kit) -> None:
    withdraw(kit, "http://other.example/page")
    kit.publish(add="new.example/1")
    with pytest.raises(GuardRefused, match="withdrawn"):
        rollback(kit, 1, reason="wrong file")
    done = rollback(kit, 1, reason="on purpose", allowed={"withdrawn": "on purpose"})
    assert done.published is not None
    assert "u other.example/page" in kit.lines(4)


def test_two_people_roll_back(team: Team) -> None:
    team.publish(add="new.example/1")
    done = team.rollback("ann", 1, reason="wrong file")
    assert done.staged is not None
    team.approve("ben", done.staged.digest)
    team.release(done.staged.digest)
    assert team.kit.lines(3) == team.kit.lines(1)


def test_a_rollback_is_tied_to_the_version_it_was_computed_against(kit: Kit) -> None:
    kit.publish(add="new.example/1")
    request = carry.rollback(kit.repository(), LIST, 1, Options(reason="why"))
    kit.publish(add="new.example/2")
    before = kit.objects()
    with pytest.raises(LostRace, match="another release came first"):
        carry.carry(kit.repository(), request)
    assert kit.objects() == before


@pytest.mark.parametrize(("version", "why"), [(1, "newest already"), (2, "from 0 to 1")])
def test_a_version_that_cannot_be_rolled_back_to(kit: Kit, version: int, why: str) -> None:
    with pytest.raises(InputError, match=re.escape(why)):
        rollback(kit, version, reason="why")


def test_a_burned_number_is_no_version(kit: Kit) -> None:
    kit.store.put_new("feed/metadata/2.demo.json", b"{}")
    kit.publish(add="new.example/1")
    with pytest.raises(InputError, match="never released"):
        rollback(kit, 2, reason="why")


def test_the_candidate_of_a_rollback_can_be_rebased(team: Team) -> None:
    team.publish(add="new.example/1")
    done = team.rollback("ann", 1, reason="wrong file")
    assert done.staged is not None
    team.publish(add="new.example/2")
    digest = team.rebase("ann", done.staged.digest)
    assert Candidate.from_bytes(staging.find(team.at("ann"), LIST, digest)[1]).version == 4
    for person in ("ann", "ben"):
        team.approve(person, digest)
    team.release(digest)
    assert team.kit.lines(4) == sorted([*team.kit.lines(1), "u new.example/2"])
