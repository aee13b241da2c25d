"""`history`: in which versions an entry covered a URL, of which kind, and why."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from blocklist.core.entries import Feed
from blocklist.core.errors import BadUrl, InputError, Undecided, UnknownList
from blocklist.publisher import history
from blocklist.publisher.index import open_index
from tests.history_kit import Past
from tests.publisher_kit import LIST, Kit, named, without_sync

URL = "http://www.a.example/dir/page?q=1"
LONG = "http://{}/" + "x" * 9_000


@pytest.fixture(autouse=True)
def _without_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sync(monkeypatch)


@pytest.fixture
def past(tmp_path: Path) -> Past:
    """The page comes and goes several times, by several kinds and with missing numbers."""
    past = Past.made(tmp_path)
    past.release(added=["u www.a.example/dir/page"], reasons={"u www.a.example/dir/page": "case 1"})
    past.release(added=["p www.a.example/dir", "u b.example/x"], reason="a whole folder", version=5)
    past.release(removed=["u www.a.example/dir/page"], reason="covered by the folder")
    past.release(removed=["p www.a.example/dir"], operation="withdraw", reason="mistaken")
    past.release(added=["d a.example"], version=20)
    past.release(added=["u www.a.example/dir/page?q=1", "u www.a.example/dir/page?q=2"])
    past.release(removed=["d a.example"], operation="rollback", reason="too wide")
    past.commit()
    return past


def told(past: Past, url: str) -> list[tuple[str, int, int | None, str | None]]:
    found = history.covering(past.kit.repository(), LIST, url)
    return [(one.line.decode()[0], one.first, one.last, one.reason) for one in found]


def test_every_entry_that_covered_it_is_told_with_versions_and_reasons(past: Past) -> None:
    assert told(past, URL) == [
        ("u", 2, 5, "case 1"),
        ("p", 5, 6, "a whole folder"),
        ("d", 20, 21, None),
        ("u", 21, None, None),
    ]


def test_the_removal_is_told_with_its_operation_and_reason(past: Past) -> None:
    _, folder, domain, page = history.covering(past.kit.repository(), LIST, URL)
    assert folder.removal is not None
    assert domain.removal is not None
    assert (folder.removal.version, folder.removal.operation) == (7, "withdraw")
    assert (domain.removal.version, domain.removal.reason) == (22, "too wide")
    assert page.removal is None
    assert folder.last_created is not None
    assert folder.first_created < folder.last_created < folder.removal.created


@pytest.mark.parametrize(
    ("url", "kinds"),
    [
        ("http://a.example/", "d"),
        ("hxxp://www.a[.]example/dir", "pd"),
        ("https://www.a.example:8443/dir/page#top", "upd"),
        ("http://www.a.example/dirt", "d"),
        ("http://never.example/", ""),
        ("http://example/", ""),
        ("b.example/x?y", "u"),
        ("B.EXAMPLE/%78", "u"),
    ],
)
def test_it_covers_what_a_check_would_have_found(past: Past, url: str, kinds: str) -> None:
    assert "".join(kind for kind, *_ in told(past, url)) == kinds


def test_a_malformed_url_is_an_error_not_an_empty_history(past: Past) -> None:
    with pytest.raises(BadUrl) as caught:
        history.covering(past.kit.repository(), LIST, "http:///page")
    assert caught.value.exit_code == 2


def test_a_url_beyond_a_limit_is_undecided_where_narrower_entries_ever_were(past: Past) -> None:
    with pytest.raises(Undecided):
        history.covering(past.kit.repository(), LIST, LONG.format("www.a.example"))
    assert told(past, LONG.format("x.a.example")) == [("d", 20, 21, None)]
    assert told(past, LONG.format("never.example")) == []


def test_an_unknown_list_is_bad_input(past: Past) -> None:
    with pytest.raises(UnknownList):
        history.covering(past.kit.repository(), "nosuch", URL)


def test_a_list_without_release_has_covered_nothing(past: Past) -> None:
    past.kit.create("new")
    assert history.covering(past.kit.repository(), "new", URL) == []


# Who approved and released what the log shows.


def test_the_log_takes_who_approved_a_release_from_the_record_of_the_next(tmp_path: Path) -> None:
    past = Past.made(tmp_path, people=3, threshold=2)
    past.release(added=["h b.example"], operation="withdraw")
    past.release()
    past.commit()
    log = history.log(past.kit.repository(), LIST)
    assert [one.sealed for one in log] == [False, True, True]
    assert [one.account for one in log] == [past.accounts[version] for version in (3, 2, 1)]
    assert [one.operation for one in log] == ["publish", "withdraw", "publish"]


def test_the_account_of_the_newest_release_is_shown_only_if_the_online_key_signs_it(
    tmp_path: Path,
) -> None:
    past = Past.made(tmp_path)
    past.release()
    past.commit()
    key = f"private/releases/{LIST}/{past.roles[2].digest}.json"
    for data in (
        past.kit.memory.objects[key].replace(b"releaser", b"somebody"),
        past.accounts[1].to_bytes(),
        b"no account",
        b"{" * 2_000,
    ):
        past.kit.memory.plant(key, data)
        newest, first = history.log(past.kit.repository(), LIST)
        assert newest.account is None
        assert first.account == past.accounts[1]
    past.kit.memory.uproot(key)
    assert history.log(past.kit.repository(), LIST)[0].account is None


def test_an_account_of_another_release_is_not_shown(tmp_path: Path) -> None:
    past = Past.made(tmp_path)
    past.release()
    past.release(previous=past.accounts[1])
    past.release(previous=None)
    past.commit()
    log = history.log(past.kit.repository(), LIST)
    assert [one.account for one in log] == [past.accounts[4], None, None, past.accounts[1]]


def test_a_long_log_is_read_ahead_and_whole(tmp_path: Path) -> None:
    past = Past.made(tmp_path, signed=False, exact=False)
    for number in range(300):
        past.release(added=[f"h site-{number}.example"], version=2 * number + 2)
    past.commit()
    log = history.log(past.kit.repository(), LIST)
    assert [one.version for one in log] == [*range(600, 0, -2), 1]
    assert [one.entries for one in log] == list(range(301, 0, -1))


# What a version held, where its objects or keys are gone.


def test_what_a_version_held_adds_up_from_the_records_when_gc_took_its_objects(
    tmp_path: Path,
) -> None:
    kit = Kit.made(tmp_path)
    kit.publish("a.example/x\nb.example")
    kit.publish(add="c.example", remove="b.example")
    kit.publish(add="d.example")
    wanted = [history.diff(kit.repository(), LIST, 1, version) for version in (0, 2, 3)]
    shutil.rmtree(kit.folder / "home" / "cache")
    newest = kit.archive().release(Feed.CLEAR, 3).content.sha256
    for key in named(kit.objects(), "feed/targets/demo/clear/"):
        if newest not in key:
            kit.memory.uproot(key)
    assert [history.diff(kit.repository(), LIST, 1, version) for version in (0, 2, 3)] == wanted


def test_what_a_version_held_is_known_after_the_keys_that_signed_it_are_gone(past: Past) -> None:
    past.rotate([CryptoSigner.generate_ed25519()])
    past.release(added=["h b.example"])
    past.commit()
    found = history.diff(past.kit.repository(), LIST, 6, 23)
    assert found.add == (
        "h b.example",
        "u www.a.example/dir/page?q=1",
        "u www.a.example/dir/page?q=2",
    )
    assert found.remove == ("p www.a.example/dir",)
    with pytest.raises(InputError, match="version 19 was never released"):
        history.diff(past.kit.repository(), LIST, 19, 23)


def test_an_index_that_does_not_give_the_signed_list_is_not_believed(past: Past) -> None:
    with open_index(past.kit.repository(), LIST):
        pass
    db = sqlite3.connect(past.kit.folder / "home" / "index" / f"{LIST}.sqlite")
    db.execute("DELETE FROM ranges WHERE start = 20")
    db.commit()
    db.close()
    with pytest.raises(InputError, match="version 20 is gone"):
        history.diff(past.kit.repository(), LIST, 20, 0)
