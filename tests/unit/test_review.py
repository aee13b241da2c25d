"""The review of a release: what a reviewer sees at ten changes and at a hundred thousand."""

import json
import re
import sys

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocklist.cli import review_text
from blocklist.core.errors import UnknownFormat
from blocklist.publisher.curation.review import Removal, Review, build, covers
from blocklist.publisher.guards import GUARDS, Change, Finding, GuardFiles, find
from blocklist.publisher.settings import Settings

SEED = b"drawn on this machine"
# A name that is not defanged: two labels of letters with a bare dot between them, before any path.
LIVE = re.compile(r"(?<![\w/\]])[a-z0-9-]+\.(?:example|test|co\.uk|iana\.org)")


def rendered(review: Review, *, full: bool = False) -> list[str]:
    text = review_text.render(review, full=full)
    assert not LIVE.search(text), LIVE.search(text)
    assert "http://" not in text
    return text.splitlines()


def ten() -> Review:
    added = [
        b"d shop.example",
        b"h 192.0.2.7",
        b"h www.shop.co.uk",
        b"p site.example/dir",
        b"u site.example/",
        b"u site.example/page",
        b"u www.site.example/page?id=7",
    ]
    removed = [b"h gone.test", b"u img.site.example/old", b"u shop.co.uk/x"]
    finding = Finding("shared-platform", "1 entry (1 domain) to add: too wide", (added[0],))
    return build(
        1_000,
        added,
        removed,
        findings=[finding],
        overrides={"shared-platform": "see http://ticket.example/9"},
        returning={
            added[5]: Removal(7, "withdraw", "the owner of http://site.example/ cleaned up"),
            b"u elsewhere.example/": Removal(8, "publish", None),
        },
        reason="from http://tips.example/today\nsecond line\x1b[2J",
        seed=SEED,
    )


TEN = """\
1,000 entries become 1,004: +7 (3 url, 1 prefix, 2 host, 1 domain), -3 (2 url, 1 host)
reason, in the stager's words: "from hxxp://tips[.]example/today second line%1B[2J"

GUARD shared-platform: 1 entry (1 domain) to add: too wide
  overridden; why, in the stager's words: "see hxxp://ticket[.]example/9"
  domain shop[.]example  covers every page of this name and of every name below it

entries that return after they were removed: 1
  + url    site[.]example/page
      removed in version 7 (withdraw): "the owner of hxxp://site[.]example/ cleaned up"

root pages, was the host meant? 1
  + url    site[.]example/  covers only the root page, with any query
    a host entry site[.]example would cover every page of exactly this host, not of names below it

all changes, by registrable domain or address:
site[.]example  +4 -1
  - url    img[.]site[.]example/old  covers this page, with any query
  + prefix site[.]example/dir  covers this path and everything below it, with any query
  + url    site[.]example/  covers only the root page, with any query
  + url    site[.]example/page  covers this page, with any query
  + url    www[.]site[.]example/page?id=7  covers this page with exactly this query
shop[.]co[.]uk  +1 -1
  - url    shop[.]co[.]uk/x  covers this page, with any query
  + host   www[.]shop[.]co[.]uk  covers every page of exactly this host, not of names below it
192[.]0[.]2[.]7  +1 -0
  + host   192[.]0[.]2[.]7  covers every page of exactly this host, not of names below it
gone[.]test  +0 -1
  - host   gone[.]test  covers every page of exactly this host, not of names below it
shop[.]example  +1 -0
  + domain shop[.]example  covers every page of this name and of every name below it"""


def test_ten_changes_are_shown_one_by_one() -> None:
    assert "\n".join(rendered(ten())) == TEN
    assert rendered(ten(), full=True) == TEN.splitlines()


def test_as_json_it_is_exact() -> None:
    document = json.loads(json.dumps(review_text.document(ten())))
    assert (document["before"], document["after"]) == (1_000, 1_004)
    assert document["add"] == [line.decode() for line in ten().added]
    assert document["remove"] == [line.decode() for line in ten().removed]
    assert document["kinds"]["add"] == {"url": 3, "prefix": 1, "host": 2, "domain": 1}
    assert document["groups"][0] == {
        "name": "site.example",
        "add": {"url": 3, "prefix": 1},
        "remove": {"url": 1},
    }
    assert document["findings"] == [
        {
            "guard": "shared-platform",
            "text": "1 entry (1 domain) to add: too wide",
            "lines": ["d shop.example"],
            "override": "see http://ticket.example/9",
        }
    ]
    (back,) = document["returning"]
    assert (back["line"], back["version"]) == ("u site.example/page", 7)
    assert (back["operation"], back["reason"][:9]) == ("withdraw", "the owner")
    assert document["root_pages"] == ["u site.example/"]
    assert len(document["sample"]) == 10
    assert document["reason"].endswith("\x1b[2J")


@pytest.fixture(scope="module")
def large() -> Review:
    added = [f"u p{n % 9}.site-{n // 30:05}.example/{n}".encode() for n in range(60_000)]
    added += [f"u forum.example/thread/{n}".encode() for n in range(15_000)]
    added += [f"d wide-{n:03}.example".encode() for n in range(100)]
    added += [f"u root-{n:03}.example/".encode() for n in range(100)]
    added += [b"d co.uk", b"h localhost", b"h 10.0.0.1", b"d iana.org"]
    added += [f"h 192.168.{n // 250}.{n % 250}".encode() for n in range(996)]
    removed = [f"u old-{n % 500}.test/{n}".encode() for n in range(23_800)]
    change = Change(100_000, 152_400, tuple(added), tuple(removed))
    nothing: frozenset[bytes] = frozenset()
    platforms = frozenset(line for line in added if line.startswith(b"d wide"))
    files = GuardFiles.of(frozenset({b"d iana.org"}), platforms, nothing)
    return build(
        100_000,
        added,
        removed,
        findings=find(change, Settings(), files),
        overrides={"churn": "a new source"},
        returning={line: Removal(5, "publish", None) for line in added[:500]},
        seed=SEED,
    )


def test_a_hundred_thousand_changes_are_readable(large: Review) -> None:
    assert len(large.added) + len(large.removed) == 100_000
    lines = rendered(large)
    assert len(lines) < 250
    text = "\n".join(lines)
    codes = [finding.guard for finding in large.findings]
    assert codes == [
        *("churn", "public-suffix", "single-label", "address", "protected", "shared-platform")
    ]
    for finding in large.findings:
        assert f"GUARD {finding.guard}: {finding.text}" in text
    for entry in ("domain co[.]uk", "host   localhost", "host   10[.]0[.]0[.]1", "iana[.]org"):
        assert entry in text
    assert text.count("not overridden") == len(codes) - 1
    assert "and 977 more (--full shows all)" in text  # of 997 addresses
    assert "entries that return after they were removed: 500" in text
    assert "root pages, was the host meant? 100" in text
    assert re.search(r"^forum\[\.\]example +15,000 +15,000 url +0 +-$", text, re.MULTILINE)
    assert "a sample of 20, drawn on this machine" in text
    for change in large.sample:
        assert f"  {change.sign} {review_text.output.shown(change.line.decode())}  covers" in text


def test_full_shows_every_change_once(large: Review) -> None:
    lines = rendered(large, full=True)
    start = lines.index("all changes, by registrable domain or address:")
    listed = [line for line in lines[start:] if line.startswith(("  + ", "  - "))]
    assert len(listed) == len(set(listed)) == 100_000
    assert not any("--full" in line for line in lines)


def test_the_sample_is_spread_and_drawn_by_the_seed(large: Review) -> None:
    groups = {change: group.name for group in large.groups for change in group.changes}
    assert len({groups[change] for change in large.sample}) == len(large.sample) == 20

    def drawn(seed: bytes) -> tuple[object, ...]:
        return build(9, large.added[:5_000], large.removed[:500], seed=seed).sample

    assert drawn(b"1") == drawn(b"1")
    assert not set(drawn(b"1")) & set(drawn(b"2"))


def test_a_sample_takes_more_of_a_group_when_groups_are_few() -> None:
    added = [f"u a.example/{n}".encode() for n in range(100)] + [b"u b.example/1"]
    sample = build(9, added, [], seed=SEED).sample
    assert len(sample) == 20
    assert b"u b.example/1" in {change.line for change in sample}


def test_a_finding_that_nobody_overrides_says_so() -> None:
    finding = Finding("empty", "expected at least one entry, got none")
    lines = rendered(build(9, [], [b"u a.example/x"], findings=[finding], seed=SEED))
    assert "GUARD empty: expected at least one entry, got none" in lines
    assert "  not overridden: this cannot be released" in lines
    quiet = rendered(build(9, [], [b"u a.example/x"], seed=SEED))
    assert "guards found nothing" in quiet
    assert "reason, in the stager's words: none was given" in quiet


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"u a.example/", "only the root page, with any query"),
        (b"u a.example/?q", "this page with exactly this query"),
        (b"u a.example/x", "this page, with any query"),
        (b"u a.example/x/", "this page, with any query"),
        (b"p a.example/x", "this path and everything below it, with any query"),
        (b"h a.example", "every page of exactly this host, not of names below it"),
        (b"d a.example", "every page of this name and of every name below it"),
    ],
)
def test_the_width_of_an_entry_in_words(line: bytes, words: str) -> None:
    assert covers(line) == words


def test_what_is_no_entry_is_refused() -> None:
    with pytest.raises(UnknownFormat):
        build(9, [b"x a.example"], [], seed=SEED)


hosts = st.sampled_from(["a.example", "b.a.example", "shop.co.uk", "x.shop.co.uk", "192.0.2.7"])
lines = st.one_of(
    st.builds(lambda host: f"h {host}".encode(), hosts),
    st.builds(lambda host, n: f"u {host}/{n}".encode(), hosts, st.integers(0, 99)),
    st.builds(lambda host, n: f"p {host}/{n}".encode(), hosts, st.integers(0, 99)),
)


@given(st.frozensets(lines, max_size=80), st.frozensets(lines, max_size=80), st.booleans())
def test_counts_add_up(come: frozenset[bytes], go: frozenset[bytes], full: bool) -> None:
    added, removed = come - go, go - come
    review = build(1_000, [*added], [*removed], seed=SEED)
    for sign, changed in (("+", added), ("-", removed)):
        of_groups = [group.counts(sign) for group in review.groups]
        total = {kind: sum(c.get(kind, 0) for c in of_groups) for kind in review.counts(sign)}
        assert total == review.counts(sign)
        assert sum(total.values()) == len(changed)
    every = [change for group in review.groups for change in group.changes]
    assert sorted(line for _, line in every) == sorted([*added, *removed])
    assert set(review.sample) <= set(every)
    assert len(review.sample) == min(20, len(every)) == len(set(review.sample))
    assert review.after == 1_000 + len(added) - len(removed)
    rendered(review, full=full)


def test_a_pager_is_for_terminals_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paged: list[str] = []
    monkeypatch.setattr(click, "echo_via_pager", paged.append)
    review_text.show("a review")
    assert (capsys.readouterr().out, paged) == ("a review\n", [])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    review_text.show("a review")
    assert (capsys.readouterr().out, paged) == ("", ["a review\n"])


def test_every_guard_has_a_place_in_a_review() -> None:
    findings = [Finding(code, f"says {code}") for code in GUARDS]
    text = rendered(build(9, [b"u a.example/x"], [], findings=findings, seed=SEED))
    assert [line for line in text if line.startswith("GUARD")] == [
        f"GUARD {code}: says {code}" for code in GUARDS
    ]
