"""Guards of entries: what each refuses, and the nearest thing that it lets pass."""

import pytest

from blocklist.publisher.guards import Change, Finding, GuardFiles, find, leave_out
from blocklist.publisher.guards.lines import LINES
from blocklist.publisher.settings import Settings

SETTINGS = Settings()
NOTHING: frozenset[bytes] = frozenset()
SHIPPED = GuardFiles.load(SETTINGS)
OWN = GuardFiles.of(
    protected=frozenset(
        {b"h school.example", b"d police.example", b"u news.example/a", b"p wiki.example/w"}
    ),
    platforms=frozenset(
        {
            b"h host.example",
            b"d share.example",
            b"u share.example/watch",
            b"p share.example/file/d",
            b"u alone.example/go",
        }
    ),
    allow=frozenset(
        {
            b"h ally.example",
            b"d friends.example",
            b"u site.example/good",
            b"u site.example/q?id=1",
            b"p site.example/fine/dir",
        }
    ),
)


def found(line: str, files: GuardFiles = OWN) -> list[str]:
    change = Change(9, 9, (line.encode(),))
    return [finding.guard for finding in find(change, SETTINGS, files)]


def cases(text: str) -> list[tuple[str, bool]]:
    """Return lines and whether they are refused: those after a `!` are."""
    rows = [row.strip() for row in text.strip().splitlines()]
    return [(row.removeprefix("! "), row.startswith("! ")) for row in rows]


@pytest.mark.parametrize(
    ("line", "refused"),
    cases("""
    ! h co.uk
    ! d co.uk
    ! h github.io
    ! d github.io
    ! d blogspot.com
    ! d xn--55qx5d.cn
    ! d amazonaws.com
    ! d compute.amazonaws.com
    ! d foo.ck
      h user.github.io
      d user.github.io
      d shop.co.uk
      h amazonaws.com
      d www.ck
      h shop.example
      d shop.example
      u co.uk/
      p github.io/dir
      h 192.0.2.7
      h [2001:db8::1]
    """),
)
def test_public_suffix(line: str, refused: bool) -> None:
    assert found(line) == (["public-suffix"] if refused else [])


@pytest.mark.parametrize(
    ("line", "refused"),
    cases("""
    ! h localhost
    ! u intranet/page
    ! p intranet/dir
    ! d example
      h a.example
      h [2001:db8::1]
      u 192.0.2.7/x
    """),
)
def test_single_label(line: str, refused: bool) -> None:
    assert found(line) == (["single-label"] if refused else [])


@pytest.mark.parametrize(
    ("line", "refused"),
    cases("""
    ! h 0.0.0.0
    ! h 10.0.0.0
    ! h 10.255.255.255
      h 9.255.255.255
      h 11.0.0.0
    ! h 100.64.0.0
    ! h 100.127.255.255
      h 100.63.255.255
      h 100.128.0.0
    ! u 127.0.0.1/page?x
    ! h 169.254.169.254
      h 169.253.255.255
    ! h 172.16.0.0
    ! h 172.31.255.255
      h 172.15.255.255
      h 172.32.0.0
    ! p 192.168.0.1/dir
      h 192.167.255.255
      h 192.169.0.0
    ! h 198.18.0.1
    ! h 198.19.255.255
      h 198.20.0.0
    ! h 224.0.0.1
    ! h 239.255.255.255
    ! h 255.255.255.255
      h 223.255.255.255
      h 192.0.2.7
      h 198.51.100.7
      u 203.0.113.7/x
      h [2001:db8::1]
      h [2600::1]
    ! h [::]
    ! h [::1]
    ! h [fc00::1]
    ! h [fdff::1]
      h [fe00::1]
    ! u [fe80::1]/x
    ! h [fec0::1]
    ! h [ff02::1]
    ! h [100::1]
      h [2001:4860:4860::1]
      h 10.0.0.1.example
    """),
)
def test_address(line: str, refused: bool) -> None:
    assert found(line) == (["address"] if refused else [])


@pytest.mark.parametrize(
    ("line", "refused"),
    cases("""
    ! h school.example
    ! d school.example
    ! u school.example/
      u school.example/page
      u school.example/?q
      p school.example/dir
      h www.school.example
      d www.school.example
    ! h police.example
    ! d police.example
    ! h www.police.example
    ! d a.b.police.example
    ! u police.example/
    ! u www.police.example/
      u www.police.example/page
      p www.police.example/dir
      h notpolice.example
    ! u news.example/a
    ! h news.example
    ! d news.example
      u news.example/
      u news.example/a?q
      u news.example/a/
    ! p wiki.example/w
    ! h wiki.example
      p wiki.example/w/x
      u wiki.example/w
    """),
)
def test_protected(line: str, refused: bool) -> None:
    assert found(line) == (["protected"] if refused else [])


def test_a_domain_above_a_protected_name_covers_it() -> None:
    files = GuardFiles.of(frozenset({b"h www.town.school.example"}), NOTHING, NOTHING)
    assert found("d town.school.example", files) == ["protected"]
    assert found("d school.example", files) == ["protected"]
    assert found("h school.example", files) == []
    assert found("d other.school.example", files) == []


@pytest.mark.parametrize(
    ("line", "refused"),
    cases("""
    ! h host.example
    ! d host.example
    ! u host.example/
    ! p host.example/dir
    ! u host.example/index.php
    ! u host.example/w/index.PHP
    ! u host.example/view.aspx/
      u host.example/a/b/index.php
      u host.example/index.php?id=7
      u host.example/index.html
      u host.example/aBc123
      p host.example/dir/b
      u host.example/?q=7
      h www.host.example
    ! d share.example
    ! h share.example
    ! h cdn.share.example
    ! d cdn.share.example
    ! u cdn.share.example/
    ! u share.example/watch
    ! u www.share.example/watch
    ! u www.share.example/watch/
      u www.share.example/watch?v=7
      u www.share.example/watch/7
    ! p share.example/file
    ! p share.example/file/d
    ! p www.share.example/file/d
      p www.share.example/file/d/7
      p share.example/file/e
      u share.example/file/d
    ! u alone.example/go
    ! h alone.example
      u alone.example/
      u alone.example/go?to=7
      u other.example/index.php
    """),
)
def test_shared_platform(line: str, refused: bool) -> None:
    assert found(line) == (["shared-platform"] if refused else [])


@pytest.mark.parametrize(
    ("line", "refused"),
    cases("""
    ! h ally.example
    ! d ally.example
    ! u ally.example/
    ! u ally.example/page?x
    ! p ally.example/dir
      h www.ally.example
    ! d friends.example
    ! h www.friends.example
    ! u a.b.friends.example/page
      h otherfriends.example
    ! h site.example
    ! d site.example
    ! u site.example/good
    ! u site.example/good?q
      u site.example/good/more
    ! u site.example/q
    ! u site.example/q?id=1
      u site.example/q?id=2
    ! p site.example/fine
    ! p site.example/fine/dir
    ! p site.example/fine/dir/sub
    ! u site.example/fine/dir/page
      u site.example/fine
      p site.example/fine/other
    """),
)
def test_allow_file(line: str, refused: bool) -> None:
    assert found(line) == (["allow-file"] if refused else [])


@pytest.mark.parametrize(
    ("line", "refused"),
    cases("""
    ! h drive.google.com
    ! d dropbox.com
    ! u docs.google.com/
    ! p docs.google.com/document/d
    ! u drive.google.com/uc
    ! u www.youtube.com/watch
    ! d wordpress.com
    ! p en.wikipedia.org/wiki
    ! u www.facebook.com/photo.php
    ! p github.com/someone
      u drive.google.com/uc?id=7
      p docs.google.com/document/d/7
      u en.wikipedia.org/wiki/Example
      u bit.ly/example
      u pastebin.com/example
      u pastebin.com/raw/example
      h blog.wordpress.com
      p github.com/someone/something
      u t.me/example
      h site.example
    """),
)
def test_platforms_that_ship(line: str, refused: bool) -> None:
    assert found(line, SHIPPED) == (["shared-platform"] if refused else [])


@pytest.mark.parametrize("line", ["d iana.org", "h www.inhope.org", "u letsencrypt.org/"])
def test_protected_names_that_ship(line: str) -> None:
    assert found(line, SHIPPED) == ["protected"]


def test_a_finding_counts_entries_by_kind_and_names_none() -> None:
    lines = (b"d share.example", b"h host.example", b"u host.example/", b"u share.example/")
    expected = Finding(
        "shared-platform",
        "4 entries (2 url, 1 host, 1 domain) to add: as wide as a platform that many people "
        "share, or a large part of it",
        lines,
    )
    assert find(Change(9, 9, lines), SETTINGS, OWN) == [expected]


def test_an_entry_that_several_guards_refuse_is_told_by_each_and_left_out_once() -> None:
    files = GuardFiles.of(*[frozenset({b"h host.example"})] * 3)
    assert found("h host.example", files) == ["protected", "shared-platform", "allow-file"]
    lines = (b"h host.example", b"h localhost", b"u a.example/x")
    kept, counts = leave_out(lines, files)
    assert kept == (b"u a.example/x",)
    assert counts == {"single-label": 1, "protected": 1}
    kept, counts = leave_out(lines, files, {"protected", "single-label"})
    assert kept == (b"h localhost", b"u a.example/x")
    assert counts == {"shared-platform": 1}
    assert leave_out(lines, files, set(LINES)) == (lines, {})
