"""The helper's half of Squid's protocol, on lists that a pull installed."""

import io
import os
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from blocklist.core.entries import Feed
from blocklist.core.errors import NotInstalled
from blocklist.subscriber import Blocklist, pull, settings
from blocklist.subscriber.enrol import enrol
from blocklist.subscriber.squid import MAX_LINE_BYTES, Helper, serve
from blocklist.subscriber.state import State
from tests.cli_kit import ROOT, arguments
from tests.subscriber_repo import BOTH, Repo

LINES = [
    b"u one.example/page",
    b"u one.example/c%23",
    b"u root.example/",
    b"p two.example/folder",
    b"h three.example",
    b"h [2001:db8::1]",
    b"d four.example",
]
TOO_LONG = "http://one.example/" + "a" * 9000
LISTED = b"OK tag=demo message=demo/1 blocklist_=listed"


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(name="repo")
def _repo() -> Repo:
    repo = Repo()
    repo.release(LINES)
    return repo


@pytest.fixture(name="state")
def _state(tmp_path: Path, repo: Repo) -> State:
    state = State(tmp_path / "state")
    source = f"file:{repo.write(tmp_path / 'repo')}"
    enrol(state, repo.enrolment(source), accept_dev=True, now=repo.now)
    pull(state)
    return state


def made(state: State, feed: Feed | None = None, **options: bool) -> tuple[Helper, list[str]]:
    said: list[str] = []
    return Helper(lambda: Blocklist.open(state.directory, feed=feed), said.append, **options), said


def escaped(url: str) -> bytes:
    """Return a URL as Squid's `%#>ru` gives it."""
    return quote(url, safe=":/?&=@!$'()*+,;.-_~[]", errors="surrogateescape").encode()


@pytest.mark.parametrize("feed", BOTH)
def test_the_verdicts(feed: Feed, state: State) -> None:
    helper, said = made(state, feed)

    def asked(url: str) -> bytes:
        return helper.answer(b"7 " + escaped(url) + b" GET -").removeprefix(b"7 ")

    for url in (
        "http://one.example/page",
        "https://one.example/p%61ge?with=query",
        "http://one.example/p%2561ge",
        "http://one.example/page#fragment",
        "http://one.example/c%23",
        "http://two.example/folder/below",
        "http://three.example:8080/any",
        "http://www.four.example/",
        "http://[2001:db8:0::1]/x",
    ):
        assert asked(url) == LISTED, url
    for url in (
        "http://one.example/pages",
        "http://one.example/c#23",
        "http://one.example/",
        "http://two.example/folders",
        "http://www.three.example/",
        "http://four.example.test/",
    ):
        assert asked(url) == b"ERR", url
    assert said == []


@pytest.mark.parametrize("feed", BOTH)
def test_a_tunnel_shows_only_its_host(feed: Feed, state: State) -> None:
    """A path entry, and that of a root page too, never closes the whole host."""
    helper, _ = made(state, feed)
    for request in (b"three.example:443", b"www.four.example", b"%5B2001:db8::1%5D:443"):
        assert helper.answer(b"0 " + request + b" CONNECT -") == b"0 " + LISTED
    for request in (b"one.example:443", b"two.example:443", b"root.example:443", b"root.example"):
        assert helper.answer(b"0 " + request + b" CONNECT -") == b"0 ERR"
    assert helper.answer(b"2001:db8::1") == LISTED


def test_with_and_without_channels(state: State) -> None:
    helper, _ = made(state)
    assert helper.answer(b"http://three.example/") == LISTED
    assert helper.answer(b"3 http://three.example/") == b"3 " + LISTED
    assert helper.answer(b"4294967296 http://no.example/ -") == b"4294967296 ERR"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        b"http://",
        b"http://a..b:x/",
        b"urn:isbn:1",
        b"\xff\x00",
        b"%",
        b"%00",
        b"*",
        b"a b c",
        b"://",
        b"[::1",
        b":443",
    ],
)
def test_garbage_has_an_answer_that_is_no_verdict(line: bytes, state: State) -> None:
    helper, said = made(state)
    bad = helper.answer(b"5 " + line)
    assert bad.startswith((b"5 BH ", b"5 ERR"))
    assert b"\n" not in bad
    assert (bad == b"5 ERR") or len(said) == 1
    helper.answer(b"6 " + line)
    assert len(said) <= 1


def test_what_cannot_be_judged_is_listed_unless_told_otherwise(state: State) -> None:
    assert made(state)[0].answer(escaped(TOO_LONG)) == b"OK message=undecided blocklist_=listed"
    assert made(state, allow_undecided=True)[0].answer(escaped(TOO_LONG)) == b"ERR"
    assert made(state)[0].answer(escaped(TOO_LONG.replace("one.", "no."))) == b"ERR"


def test_nothing_is_allowed_while_no_list_is_in_force(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither installed, damaged nor readable: refused, told, and tried again by itself."""
    monkeypatch.setattr(settings, "FOLLOW_SECONDS", 0.0)
    folder = state.feed("demo", Feed.CLEAR)
    (file,) = folder.path.glob("*.list")
    good = file.read_bytes()
    helper, said = made(state, Feed.CLEAR)
    file.write_bytes(good[:-9])
    file.with_suffix(".matcher").unlink()
    for _ in range(3):
        assert helper.answer(b"1 http://no.example/").startswith(b"1 BH ")
    assert len(said) == 1
    assert "NO LIST IN FORCE" in said[0]
    file.write_bytes(good)
    assert helper.answer(b"1 http://no.example/") == b"1 ERR"
    file.unlink()
    folder.document.write_bytes(b"{")
    assert helper.answer(b"1 http://three.example/") == b"1 " + LISTED  # the one in force stays


def test_a_list_that_cannot_be_read_any_more_is_no_verdict(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper, said = made(state)

    def damaged(self: Blocklist, url: str) -> None:
        raise NotInstalled("the installed list is damaged: pull again")

    with monkeypatch.context() as patched:
        patched.setattr(Blocklist, "match", damaged)
        assert helper.answer(b"1 http://no.example/").startswith(b"1 BH ")
    assert "CANNOT BE READ" in said[0]
    assert helper.answer(b"1 http://no.example/") == b"1 ERR"


def test_an_error_of_ours_says_nothing_of_the_url(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper, said = made(state)

    def broken(self: Blocklist, url: str) -> None:
        raise ValueError(url)

    monkeypatch.setattr(Blocklist, "match", broken)
    assert helper.answer(b"1 http://three.example/").startswith(b"1 BH ")
    assert said == ["internal error, please report it: ValueError"]


def test_lines_beyond_the_limit_and_cut_off_ones(state: State) -> None:
    helper, _ = made(state)
    long = b"8 http://three.example/" + b"a" * 3 * MAX_LINE_BYTES
    given = b"1 http://three.example/\r\n" + long + b"\n2 http://no.example/\n3 http://three.exa"
    answers = io.BytesIO()
    serve(helper, io.BytesIO(given), answers)
    one, eight, two, rest = answers.getvalue().split(b"\n")
    assert (one, two, rest) == (b"1 " + LISTED, b"2 ERR", b"")
    assert eight.startswith(b"8 BH ")


HOSTILE = [
    "http://one.example/" + "%25" * 2720,
    "http://one.example/%" + "25" * 4080,
    "http://one.example" + "/a" * 4080,
    "http://one.example" + "/.." * 2720,
    "http://one.example/" + "../a/" * 1600,
    "http://" + "a." * 4080 + "example/",
    "http://" + "%61." * 2000 + "example/",
    "http://one.example/?" + "%3F" * 2700,
    "http://" + "@" * 8100 + "one.example/",
    "http://[" + ":" * 8100 + "]/",
    "http://" + "\xe9." * 60 + "example/" + "%E9" * 2500,
]


def test_hostile_urls_are_judged_in_bounded_time(state: State) -> None:
    """Against a long URL of the plainest kind, by this process's own time."""
    helper, _ = made(state, Feed.HASHED)

    def seconds(url: str) -> float:
        line = b"1 " + escaped(url)
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            for _ in range(5):
                assert helper.answer(line).startswith(b"1 ")
            best = min(best, time.process_time() - start)
        return best

    plain = seconds("http://one.example/" + "a" * 8100)
    assert max(seconds(url) for url in HOSTILE) < 100 * plain


def test_the_command_answers_each_line_at_once_and_ends_with_squid(state: State) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        arguments("squid-helper", "--list", "demo", "--state", str(state.directory)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for number in range(3):
            process.stdin.write(b"%d http://three.example/secret GET -\n" % number)
            process.stdin.flush()
            assert process.stdout.readline() == b"%d %s\n" % (number, LISTED)
        process.stdin.write(b"9 http:// GET -\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"9 BH ")
        process.stdin.close()
        assert process.wait(timeout=60) == 0
        said = process.stderr.read()
    assert b"could not be understood" in said
    assert b"example" not in said


def test_the_command_survives_that_nobody_reads(state: State) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        arguments("squid-helper", "--state", str(state.directory)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(b"1 http://three.example/\n")
        process.stdin.close()
        process.wait(timeout=60)
        assert process.stderr.read() == b""


def test_the_command_says_that_there_is_no_list(tmp_path: Path) -> None:
    done = subprocess.run(
        arguments("squid-helper", "--state", str(tmp_path)),
        input=b"1 http://no.example/\n",
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith(b"1 BH ")
    assert b"NO LIST IN FORCE" in done.stderr
