"""A wide entry is forced, released by two of three, noticed, withdrawn: the records tell it all."""

from pathlib import Path

import pytest

from blocklist.core.errors import GuardRefused
from blocklist.publisher import history
from blocklist.publisher.audit.bundle import Bundle
from blocklist.publisher.audit.export import export
from blocklist.publisher.audit.run import audit_bundle, audit_list
from signing import verify
from tests.curation_kit import Team
from tests.publisher_kit import LIST, urls, without_sync

WHY = "the whole company is one shop"


@pytest.fixture(name="team")
def _team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    without_sync(monkeypatch)
    team = Team.made(tmp_path)
    team.publish(urls(range(40)), reason="the first list")
    team.kit.clock.tick(days=1)
    with pytest.raises(GuardRefused, match="shrink"):
        team.publish(urls(range(3)), reason="spring clean")
    team.publish(urls(range(3)) + ".a.example\n", reason="new", allowed={"shrink": WHY})
    team.kit.clock.tick(days=1)
    carried = team.withdraw("ann", "http://shop.a.example/")
    assert carried.staged is not None
    team.approve("cyd", carried.staged.digest)
    team.release(carried.staged.digest)
    team.kit.clock.tick(days=1)
    team.publish(urls(range(4)), reason="next")
    return team


def test_history_tells_when_why_and_how_it_ended(team: Team) -> None:
    (wide,) = history.covering(team.kit.repository(), LIST, "http://shop.a.example/page")
    assert (wide.line, wide.first, wide.last, wide.reason) == (b"d a.example", 2, 2, "new")
    assert wide.removal is not None
    assert (wide.removal.version, wide.removal.operation) == (3, "withdraw")
    assert wide.removal.reason == "taken down"
    assert (wide.removal.created - wide.first_created).days == 1


def test_the_log_tells_who_approved_what(team: Team) -> None:
    log = history.log(team.kit.repository(), LIST)
    assert [one.operation for one in log] == ["publish", "withdraw", "publish", "publish"]
    assert [one.sealed for one in log] == [False, True, True, True]
    who = [{by.who for by in one.account.approvals} for one in log if one.account is not None]
    both, with_cyd = {"ann@desk", "ben@desk"}, {"ann@desk", "cyd@desk"}
    assert who == [both, with_cyd, both, both]
    forced = log[2]
    assert [one["guard"] for one in forced.overrides] == ["shrink"]
    assert forced.account is not None
    assert all("shrink" in approval.allowed for approval in forced.account.approvals)


def test_all_of_it_is_proven_here_and_in_a_bundle_for_an_auditor(
    team: Team, tmp_path: Path
) -> None:
    report = audit_list(team.kit.repository(), LIST)
    assert report.problems == []
    assert (report.checked["signatures"], report.checked["approvals"]) == (8, 8)
    export(team.kit.repository(), LIST, str(tmp_path / "out.zip"), first=2, last=3)
    with Bundle(str(tmp_path / "out.zip")) as bundle:
        told = audit_bundle(bundle, verify.self_signed_root(team.kit.root()))
    assert told.problems == []
    assert (told.first, told.last, told.checked["approvals"]) == (2, 3, 4)


def test_an_analyst_audits_as_well_as_the_machine_with_the_online_key(team: Team) -> None:
    assert audit_list(team.at("ben"), LIST).problems == []
    assert history.covering(team.at("cyd"), LIST, "http://a.example/")


def test_a_rollback_does_not_list_again_what_was_withdrawn_since(team: Team) -> None:
    """Also not what came back after that and was removed for another reason."""
    with pytest.raises(GuardRefused, match="withdrawn"):
        team.rollback("ann", 2)
    team.publish(urls(range(4)) + ".a.example\n", reason="again", allowed={"withdrawn": WHY})
    team.publish(urls(range(4)), reason="and gone")
    assert team.rollback("ann", 5).staged is not None
    with pytest.raises(GuardRefused, match="withdrawn"):
        team.rollback("ann", 2)
    told = team.rollback("ann", 2, allowed={"withdrawn": WHY}, reason="told to")
    assert told.outcome.added == (b"d a.example",)
