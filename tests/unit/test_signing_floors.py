"""Floors: numbers that the next ones are above, since older metadata was accepted knowingly."""

from dataclasses import replace
from pathlib import Path

import pytest

from signing.errors import Rollback
from signing.trust import TrustState
from tests.publisher_kit import LIST, Kit, without_sync


@pytest.fixture(name="kit")
def _kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    without_sync(monkeypatch)
    kit = Kit.made(tmp_path)
    kit.publish("a.example/x")
    return kit


def ahead(kit: Kit) -> TrustState:
    """Return the trust of a home that has seen version 7."""
    trust = kit.home.trust()
    return replace(trust, seen={**trust.seen, LIST: (7, "f" * 64)})


def test_what_was_seen_becomes_a_floor(kit: Kit) -> None:
    head = kit.head()
    with pytest.raises(Rollback):
        ahead(kit).advance(head.root, head.everything())
    restored = ahead(kit).restored(head.everything(), {LIST: 5})
    assert restored.floors == {LIST: 7}  # what was seen counts more than what somebody says
    assert (restored.above(LIST, 1), restored.above("other", 3)) == (7, 3)
    assert restored.advance(head.root, head.everything()) == restored


def test_floors_are_kept_and_the_higher_one_counts(kit: Kit) -> None:
    low, high = (ahead(kit).restored(kit.head().everything(), {LIST: at}) for at in (50, 90))
    assert TrustState.from_bytes(high.to_bytes()).floors == {LIST: 90}
    assert low.merged(high).floors == high.merged(low).floors == {LIST: 90}


def test_a_floor_is_gone_once_it_is_passed(kit: Kit) -> None:
    kit.home.replace_trust(ahead(kit).restored(kit.head().everything(), {LIST: 50}))
    assert kit.publish(add="b.example/y").version == 51
    assert kit.home.trust().floors == {}
    assert b"floors" not in kit.home.trust().to_bytes()


def test_a_lower_head_than_the_accepted_one_is_still_a_rollback(kit: Kit) -> None:
    kit.publish(add="b.example/y")
    head = kit.head()
    restored = ahead(kit).restored(head.everything(), {})
    behind = replace(restored, seen={**restored.seen, LIST: (3, "e" * 64)})
    with pytest.raises(Rollback):
        behind.advance(head.root, head.everything())
