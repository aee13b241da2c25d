"""A list's hash key is replaced under subscribers: of our API, of a static server, of both."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from blocklist.api.app import create_app
from blocklist.core.documents import format_time
from blocklist.core.enrolment import SourceUrl, read_hash_keys
from blocklist.core.entries import Feed
from blocklist.core.errors import Exit, MalformedFeed, UnknownFormat
from blocklist.core.hashing import HashKey
from blocklist.publisher import rotation
from blocklist.publisher.rotation import ANNOUNCED, ROTATED
from blocklist.publisher.subscribers import add_subscriber
from blocklist.store import layout
from blocklist.store.directory import DirectoryStore
from blocklist.subscriber import Blocklist, Pulled, PullFailed, pull, settings
from blocklist.subscriber.enrol import enrol
from blocklist.subscriber.state import State
from blocklist.subscriber.status import FeedStatus, status, text
from tests.publisher_kit import LIST, Kit, without_sync
from tests.subscriber_http import running

BOTH = [Feed.CLEAR, Feed.HASHED]
PLANTED = HashKey(b"p" * 32)
URLS = [f"http://site-{n}.example/page/{n}" for n in range(30)]
UNLISTED = ["http://site-1.example/page/2", "http://other.example/"]


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    without_sync(monkeypatch)


@dataclass
class Site:
    """A publisher whose storage our API and a static server offer.

    Attributes:
        kit: The publisher.
        api, web: Addresses of the sources.
        log: Paths that our API was asked for.
        instead: What our API answers to `/v1/enrolment` instead; None: the truth.
    """

    kit: Kit
    api: str = ""
    web: str = ""
    log: list[str] | None = None
    instead: Response | None = None

    def subscriber(self, name: str, *sources: str, feeds: list[Feed] | None = None) -> State:
        """Enrol somebody who has not pulled yet."""
        state = State(self.kit.folder / name)
        urls = [SourceUrl(source) for source in sources]
        new = add_subscriber(self.kit.repository(), name, [LIST], feeds or BOTH, urls)
        enrol(state, new.enrolment, accept_dev=True, now=self.kit.clock.now)
        return state

    def renew(self, state: State, name: str) -> None:
        """Hand over a new enrolment for the same state."""
        sources = list(state.enrolment().sources)
        new = add_subscriber(self.kit.repository(), name, [LIST], BOTH, sources)
        enrol(state, new.enrolment, accept_dev=True, now=self.kit.clock.now)

    def rotate(self, *, reason: str | None = None) -> str:
        done = rotation.rotate_hash_key(
            self.kit.repository(), LIST, at_once=reason is not None, reason=reason
        )
        return done.state

    def asked(self) -> int:
        """Return how often our API was asked for an enrolment."""
        return sum(path == "/v1/enrolment" for path in self.log or ())

    def key_ids(self) -> list[str]:
        return [key.id for key in self.kit.repository().secret(LIST).hash_keys]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    kit = Kit.made(tmp_path, directory=True)
    kit.publish("\n".join(URLS[:20]))
    site = Site(kit, log=[])
    app = create_app(DirectoryStore(tmp_path / "store"), clock=_ticking(kit))

    @Request.application
    def between(request: Request) -> Response:
        assert site.log is not None
        site.log.append(request.path)
        if request.path == "/v1/enrolment" and site.instead is not None:
            return site.instead
        return Response.from_app(app, request.environ)

    with _server(between) as site.api, _static(tmp_path / "store" / "feed") as site.web:
        yield site


def _ticking(kit: Kit) -> Callable[[], datetime]:
    """Return the publisher's clock, a second further each time: the API looks that often."""
    ticks = iter(range(1_000_000))
    return lambda: kit.clock.now + timedelta(seconds=next(ticks))


@contextmanager
def _server(app: Callable[..., object]) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def _static(folder: Path) -> Iterator[str]:
    with running(partial(_Quiet, directory=str(folder))) as url:  # type: ignore[arg-type] # a maker of handlers
        yield f"static+{url}"


def pulled(site: Site, state: State) -> dict[Feed, Pulled]:
    found = {one.feed: one for one in pull(state, now=site.kit.clock.now)}
    assert_right(site, state)
    return found


def refused(site: Site, state: State) -> PullFailed:
    """The hashed feed cannot be pulled for want of a key, and stays as it was."""
    folder = state.feed(LIST, Feed.HASHED).path
    before = {path: path.read_bytes() for path in folder.iterdir() if path.name != "outcome.json"}
    with pytest.raises(PullFailed) as failed:
        pull(state, now=site.kit.clock.now)
    assert failed.value.exit_code == Exit.NOT_AUTHORISED
    assert "renewed enrolment" in str(failed.value)
    after = {path: path.read_bytes() for path in folder.iterdir() if path.name != "outcome.json"}
    assert after == before
    return failed.value


def verdicts(state: State, feed: Feed) -> list[bool]:
    opened = Blocklist.open(state.directory, LIST, feed=feed)
    return [opened.match(url) is not None for url in [*URLS, *UNLISTED]]


def assert_right(site: Site, state: State) -> None:
    """What is in force is the whole newest list, and both feeds say the same."""
    version = site.kit.head().roles[LIST].version
    lines = site.kit.lines(version)
    expected = [f"u {url.removeprefix('http://')}" in lines for url in [*URLS, *UNLISTED]]
    assert any(expected)
    for _, feed in state.feeds():
        assert verdicts(state, feed) == expected
        installed = state.feed(LIST, feed).read()
        assert installed is not None
        assert installed.current.version == version


def hashed(site: Site, state: State) -> FeedStatus:
    (found,) = (one for one in status(state, site.kit.clock.now) if one.feed is Feed.HASHED)
    return found


def later(site: Site, **time: float) -> None:
    """Let time pass; the publisher's timer signs on."""
    site.kit.clock.tick(**time)


def test_a_subscriber_of_the_api_follows_by_itself(site: Site) -> None:
    """A matcher that stays open all the time never has a gap either."""
    kit, state = site.kit, site.subscriber("isp", site.api)
    pulled(site, state)
    opened = Blocklist.open(state.directory, LIST, feed=Feed.HASHED)
    assert site.rotate() == ANNOUNCED
    found = pulled(site, state)
    assert found[Feed.HASHED].warnings == ()
    assert set(state.enrolment().lists[LIST].hash_keys) == set(site.key_ids())
    assert site.asked() == 1
    coming = hashed(site, state).next_hash_key
    assert coming is not None
    assert coming.held
    assert "the new one is enrolled" in text(status(state, kit.clock.now))
    later(site, hours=24)
    kit.publish(add="\n".join(URLS[20:25]))
    assert pulled(site, state)[Feed.HASHED].way == "ladder"
    later(site, hours=24)
    assert site.rotate() == ROTATED
    assert opened.match(URLS[0]) is not None
    found = pulled(site, state)
    assert (found[Feed.CLEAR].way, found[Feed.HASHED].way) == ("same", "snapshot")
    assert hashed(site, state).next_hash_key is None
    kit.publish(remove=URLS[0])
    assert pulled(site, state)[Feed.HASHED].way == "ladder"
    assert site.asked() == 1
    assert kit.problems() == []


def test_who_was_away_all_the_time_recovers_in_one_pull(site: Site) -> None:
    state = site.subscriber("isp", site.api)
    pulled(site, state)
    site.rotate()
    later(site, days=3)
    assert site.rotate() == ROTATED
    site.kit.publish(add=URLS[21])
    found = pulled(site, state)
    assert (found[Feed.HASHED].changed, found[Feed.HASHED].warnings) == (True, ())
    assert site.asked() == 1


def test_a_key_that_leaked_is_replaced_at_once_under_who_asks_the_api(site: Site) -> None:
    state = site.subscriber("isp", site.api)
    static = site.subscriber("proxy", site.web)
    for one in (state, static):
        pulled(site, one)
    assert site.rotate(reason="leaked") == ROTATED
    pulled(site, state)
    refused(site, static)


def test_who_pulls_from_a_static_server_is_told_and_keeps_its_list(site: Site) -> None:
    state = site.subscriber("isp", site.web)
    pulled(site, state)
    start = format_time(site.kit.clock.now + timedelta(hours=48))
    site.rotate()
    for _ in range(2):  # loud: each time
        (warning,) = pulled(site, state)[Feed.HASHED].warnings
        assert start in warning
        assert "ask for a renewed enrolment" in warning
    found = hashed(site, state)
    assert found.next_hash_key is not None
    assert not found.next_hash_key.held
    assert warning in found.next_steps
    assert "NOT enrolled" in text([found])
    later(site, days=2)
    site.rotate()
    before = verdicts(state, Feed.HASHED)
    failure = refused(site, state)
    assert [one.feed for one in failure.pulled] == [Feed.CLEAR]
    assert verdicts(state, Feed.HASHED) == before
    assert any("renewed enrolment" in step for step in hashed(site, state).next_steps)
    site.renew(state, "isp, renewed")
    pulled(site, state)
    assert hashed(site, state).next_hash_key is None


def test_an_enrolment_that_is_renewed_in_time_leaves_no_gap(site: Site) -> None:
    state = site.subscriber("isp", site.web)
    pulled(site, state)
    site.rotate()
    pulled(site, state)
    site.renew(state, "isp, renewed")
    coming = hashed(site, state).next_hash_key
    assert coming is not None
    assert coming.held  # also before the next pull
    assert pulled(site, state)[Feed.HASHED].warnings == ()
    later(site, days=2)
    site.rotate()
    pulled(site, state)


def test_a_new_subscriber_gets_the_keys_of_now_and_not_the_former_ones(site: Site) -> None:
    def given(name: str) -> list[str]:
        state = site.subscriber(name, site.web, feeds=[Feed.HASHED])
        return list(state.enrolment().lists[LIST].hash_keys)

    (first,) = given("one")
    site.rotate()
    assert given("two") == site.key_ids() == [first, site.key_ids()[1]]
    later(site, days=2)
    site.rotate()
    assert given("three") == site.key_ids()[1:]


def test_the_api_gives_keys_to_who_pulls_from_elsewhere_first(site: Site) -> None:
    state = site.subscriber("isp", site.web, site.api)
    pulled(site, state)
    site.rotate()
    assert pulled(site, state)[Feed.HASHED].warnings == ()
    assert [path for path in site.log or () if path.startswith("/v1/lists")] == []
    later(site, days=2)
    site.rotate()
    pulled(site, state)


def test_without_the_api_the_announcement_is_a_warning_and_it_is_asked_again(site: Site) -> None:
    state = site.subscriber("isp", site.web, site.api)
    pulled(site, state)
    site.rotate()
    site.instead = Response(status=500)
    warnings = pulled(site, state)[Feed.HASHED].warnings
    assert len(warnings) == 2
    site.instead = Response(status=429, headers={"Retry-After": "600"})
    pulled(site, state)
    assert site.asked() == 2
    pulled(site, state)
    assert site.asked() == 2  # as it wished
    later(site, minutes=11)
    site.instead = None
    assert pulled(site, state)[Feed.HASHED].warnings == ()


# -- a storage and an API that are not to be trusted -----------------------------------------------


def alter(site: Site, *keys: HashKey) -> None:
    secret = site.kit.repository().secret(LIST)
    path = site.kit.folder / "store" / layout.list_secret_key(LIST)
    path.write_bytes(replace(secret, hash_keys=keys).to_bytes())


def test_nobody_takes_a_key_that_was_swapped_in_the_storage(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Announced or in use: its id is signed."""
    monkeypatch.setattr(settings, "MAX_WAITS", 0)  # our API says that it will be ready soon
    state = site.subscriber("isp", site.api)
    pulled(site, state)
    site.rotate()
    old, new = site.kit.repository().secret(LIST).hash_keys
    alter(site, old, PLANTED)
    (warning,) = pulled(site, state)[Feed.HASHED].warnings
    assert "renewed enrolment" in warning
    assert set(state.enrolment().lists[LIST].hash_keys) == {old.id}
    alter(site, old, new)
    later(site, days=2)
    site.rotate()
    alter(site, old, PLANTED)
    refused(site, state)
    assert set(state.enrolment().lists[LIST].hash_keys) == {old.id}
    alter(site, old, new)
    later(site, minutes=1)
    pulled(site, state)


def answer(**changes: object) -> Response:
    """Return an answer of a hostile API, which has a key of its own for everything."""
    key = {"id": PLANTED.id, "key": PLANTED.hex(), "status": "current"}
    item = {"list": LIST, "feeds": ["clear", "hashed"], "hash_keys": [key], "test_host": "x.test"}
    document = {
        "format": 1,
        "name": "somebody",
        "token": "another",
        "root": "{}",
        "sources": [{"url": "https://evil.example"}],
        "lists": [item, {**item, "list": "other"}],
        **changes,
    }
    return Response(json.dumps(document), mimetype="application/json")


HOSTILE: dict[str, Callable[[str, str], Response]] = {
    "its own key": lambda old, new: answer(),
    "its own key under the id": lambda old, new: answer(
        lists=[{"list": LIST, "hash_keys": [{"id": new, "key": PLANTED.hex()}]}]
    ),
    "no keys": lambda old, new: answer(lists=[]),
    "no list": lambda old, new: answer(lists="none"),
    "another format": lambda old, new: answer(format=2),
    "not JSON": lambda old, new: Response(b"<html>"),
    "nothing": lambda old, new: Response(b""),
    "too much": lambda old, new: Response(b" " * (settings.MAX_HASH_KEYS_BYTES + 1)),
    "refused": lambda old, new: Response(status=403),
    "not there": lambda old, new: Response(status=404),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_whatever_an_api_answers_nothing_but_signed_keys_is_taken(site: Site, what: str) -> None:
    state = site.subscriber("isp", site.api)
    pulled(site, state)
    before = (state.directory / "enrolment.json").read_bytes()
    site.rotate()
    site.instead = HOSTILE[what](*site.key_ids())
    assert pulled(site, state)[Feed.HASHED].warnings != ()
    later(site, days=2)
    site.rotate()
    failure = refused(site, state)
    for text_ in [str(failure), *(line for one in failure.failed for line in one.warnings)]:
        assert PLANTED.hex() not in text_
    assert (state.directory / "enrolment.json").read_bytes() == before
    site.instead = None
    pulled(site, state)


def test_the_key_of_one_list_is_not_taken_for_another(site: Site) -> None:
    state = site.subscriber("isp", site.api)
    pulled(site, state)
    site.rotate()
    new = site.kit.repository().secret(LIST).hash_keys[1]
    key = {"id": new.id, "key": new.hex()}
    site.instead = answer(lists=[{"list": "other", "hash_keys": [key]}])
    assert pulled(site, state)[Feed.HASHED].warnings != ()
    assert new.id not in state.enrolment().lists[LIST].hash_keys


def test_with_the_signed_key_nothing_else_is_taken(site: Site) -> None:
    state = site.subscriber("isp", site.api)
    pulled(site, state)
    before = state.enrolment()
    site.rotate()
    new = site.kit.repository().secret(LIST).hash_keys[1]
    keys = [{"id": key.id, "key": key.hex()} for key in (PLANTED, new)]
    site.instead = answer(lists=[{"list": LIST, "hash_keys": keys, "test_host": "x.test"}])
    pulled(site, state)
    item = before.lists[LIST]
    more = replace(item, hash_keys={**item.hash_keys, new.id: new})
    assert state.enrolment() == replace(before, lists={LIST: more})
    assert (state.directory / "enrolment.json").stat().st_mode & 0o777 == 0o600


# -- a disk that is full ---------------------------------------------------------------------------


def test_a_list_is_not_installed_before_its_key_is_written(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A matcher would find a list that it cannot read."""
    state = site.subscriber("isp", site.api)
    pulled(site, state)
    site.rotate()
    rename = os.replace

    def full(source: str | Path, target: str | Path, **more: int) -> None:
        if Path(target).name == "enrolment.json":
            raise OSError(28, "No space left on device")
        rename(source, target, **more)

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", full)
        assert pulled(site, state)[Feed.HASHED].warnings != ()  # only announced: no failure
        later(site, days=2)
        site.rotate()
        with pytest.raises(PullFailed) as failed:
            pull(state, now=site.kit.clock.now)
        assert failed.value.exit_code == Exit.LOCAL
        assert any(verdicts(state, Feed.HASHED))
    pulled(site, state)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", MalformedFeed),
        (b"[]", MalformedFeed),
        (b'{"format": true, "lists": []}', MalformedFeed),
        (b'{"format": 2, "lists": []}', UnknownFormat),
        (b'{"format": 1}', MalformedFeed),
        (b'{"format": 1, "lists": [[]]}', MalformedFeed),
        (b'{"format": 1, "lists": [{"list": 7, "hash_keys": []}]}', MalformedFeed),
        (b'{"format": 1, "lists": [{"list": "a", "hash_keys": {}}]}', MalformedFeed),
        (b'{"format": 1, "lists": [{"list": "a", "hash_keys": [7]}]}', MalformedFeed),
        (b'{"format": 1, "lists": [{"list": "a", "hash_keys": [{"key": "00"}]}]}', MalformedFeed),
        (b'{"format": 1, "lists": [{"list": "a", "hash_keys": [{"key": "zz"}]}]}', MalformedFeed),
        (b'{"format": 1, "lists": [{"list": "a", "hash_keys": []}, '
         b'{"list": "a", "hash_keys": []}]}', MalformedFeed),
    ],
)  # fmt: skip
def test_hash_keys_in_another_shape_are_refused(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_hash_keys(data)
