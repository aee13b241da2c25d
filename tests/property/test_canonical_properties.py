"""Canonical URLs: the fast path against the rules, the form's own promises, on mutated URLs."""

import random
import re
from collections.abc import Callable

from hypothesis import example, given, settings
from hypothesis import strategies as st

from blocklist.core.addresses import is_address
from blocklist.core.canonical import canonical_host, canonical_url, expression, split_url
from blocklist.core.canonical_rules import (
    MAX_URL_BYTES,
    REASONS,
    canonical_host_by_rules,
    split_url_by_rules,
    unescaped,
)
from blocklist.core.errors import BadUrl, UrlLimit

SEEDS = [
    "http://example.com/",
    "https://www.example.com:8080/a/b.html?x=1&y=2#top",
    "sub.domain.example/path//to/./page/../end",
    "http://user:pass@host.test/%7Euser/%2e%2E/?q=%25%32%35",
    "http://192.0.2.1/a.exe",
    "http://0x7f.1/",
    "http://3221225985:80/?",
    "http://[2001:db8::1]:443/x",
    "http://[::ffff:192.0.2.1]/",
    "http://b\u00fccher.example/stra\u00dfe",
    "http://xn--bcher-kva.example/%E4%BD%A0",
    "http://a_b.-c.test/~x;y=1/!$&'()*+,=:@",
    "http%3A%2F%2Fhost.example:80/",
    "host.test:8080/a?b?c",
    "http://host.example/%252e%252e/%2525252541",
    "host.test",
]
TOKENS = [
    *"/?#@:.%[]\\ \t\r\n\0\x1f\x7f-_~+&=aAzZ09",
    *("%2F", "%2f", "%3F", "%23", "%40", "%3a", "%25", "%2525", "%41", "%00", "%0a", "%20", "%5b"),
    *(
        "//",
        "/./",
        "/../",
        "/.",
        "/..",
        "..",
        "://",
        "http://",
        "%%",
        "%2",
        "%G1",
        "??",
        "0x",
        "1.",
    ),
    *("\u00e9", "\u3002", "\uff0e", "\uff0f", "\uff11", "\u3000", "\u2028", "\xad", "\u0301"),
    *("\u200d", "\u2100", "\u05d0", "\u0130", "\U0001f600", "\udcff", "\udcc3\udcbc", "\ud800"),
    *(
        "%C3%BC",
        "%c3",
        "%FF",
        "%E3%80%82",
        "\x85",
        "\xa0",
        "\x1c",
        ":99999",
        ":080",
        "@[",
        "0." * 5,
    ),
]
CANONICAL = re.compile(r"http://[!\"$-.0->A-Z\[-~]+/[!\"$->@-~]*(\?[!\"$-~]*)?")

Edits = list[tuple[str, int, int]]


def mutate(url: str, edits: Edits) -> str:
    """Replace a few characters of a URL (or none: an insertion) by tokens."""
    for token, where, drop in edits:
        start = where % (len(url) + 1)
        url = url[:start] + token + url[start + drop :]
    return url


def edits() -> st.SearchStrategy[Edits]:
    edit = st.tuples(st.sampled_from(TOKENS), st.integers(0, 200), st.integers(0, 3))
    return st.lists(edit, max_size=8)


def urls() -> st.SearchStrategy[str | bytes]:
    mutated = st.builds(mutate, st.sampled_from(SEEDS), edits())
    return st.one_of(mutated, st.text(max_size=60), st.binary(max_size=60))


def generated(count: int) -> list[str]:
    """Return the same mutated URLs in every run."""
    draw = random.Random(20261122)
    lines = []
    for _ in range(count):
        changes = [
            (draw.choice(TOKENS), draw.randrange(200), draw.randrange(4))
            for _ in range(draw.randrange(7))
        ]
        lines.append(mutate(draw.choice(SEEDS), changes))
    return lines


def outcome(call: Callable[[str | bytes], object], url: str | bytes) -> object:
    """Return what a call returns, or its error as class and code."""
    try:
        return call(url)
    except BadUrl as error:
        return type(error), error.code


def rounds(data: bytes) -> bytes:
    """Undo escapes as the published rule says: again and again."""
    while (
        after := re.sub(rb"%[0-9A-Fa-f]{2}", lambda m: bytes.fromhex(m[0][1:].decode()), data)
    ) != data:
        data = after
    return data


def check(url: str | bytes) -> None:
    """Hold one URL against every promise of the module."""
    expected = outcome(split_url_by_rules, url)
    assert outcome(split_url, url) == expected
    host = outcome(canonical_host_by_rules, url)
    assert outcome(canonical_host, url) == host
    if isinstance(expected[0], str):
        assert host == expected[0]
        check_form(canonical_url(url), host)
    elif expected[0] is UrlLimit:
        assert isinstance(host, str)
    else:
        assert host == expected
        assert expected[1] in REASONS


def check_form(canonical: str, host: str) -> None:
    assert CANONICAL.fullmatch(canonical)
    assert canonical.startswith(f"http://{host}/")
    path = canonical.removeprefix(f"http://{host}").partition("?")[0]
    assert not re.search(r"//|/\.\.?(/|\Z)", path)
    assert not re.search(r"^\.|\.\.|\.$", host)
    assert is_address(host) or not re.search(r"[\[\]:]", host)
    if len(canonical) <= MAX_URL_BYTES:
        assert canonical_url(canonical) == canonical
        listed = expression(split_url(canonical))
        assert expression(split_url(listed)) == listed


@settings(deadline=None, max_examples=500)
@given(urls())
@example("http://example.com/\n")
@example("http://1.2.3/")
@example("http://example.0x1/")
@example("http://a\uff0541.example/")
@example("http:/%2Fhost.example/")
@example("host.example\ud800")
def test_any_url(url: str | bytes) -> None:
    check(url)


def test_generated_urls() -> None:
    for url in generated(2000):
        check(url)


def test_generated_urls_reach_both_outcomes() -> None:
    """The sample above means something: it has good URLs, bad ones of most kinds, and addresses."""
    outcomes = [outcome(split_url, url) for url in generated(2000)]
    good = [parts for parts in outcomes if isinstance(parts[0], str)]
    assert 600 < len(good) < 1600
    assert sum(is_address(parts[0]) for parts in good) > 50
    assert len({parts[1] for parts in outcomes if parts[0] is BadUrl}) >= 6


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(SEEDS), edits())
def test_text_and_bytes_are_the_same_url(url: str, changes: Edits) -> None:
    text = mutate(url, changes).replace("\ud800", "")
    data = text.encode("utf-8", "surrogateescape")
    assert outcome(split_url, text) == outcome(split_url, data)
    assert outcome(canonical_host, text) == outcome(canonical_host, data)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(["%", "25", "2", "5", "%25", "41", "a", "%%32%35"]), max_size=40))
def test_unescaping_at_once_is_unescaping_in_rounds(pieces: list[str]) -> None:
    data = "".join(pieces).encode()
    assert unescaped(data) == rounds(data)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(SEEDS), edits(), st.integers(0, 3))
def test_a_long_rest_leaves_the_host_alone(url: str, changes: Edits, tail: int) -> None:
    """Whatever follows the authority, `canonical_host` answers as for the short URL."""
    short = re.split(r"[?#]", mutate(url, changes))[0].strip()
    rest = ["/x", "?%" + "25" * 1100, "?" + "a" * 9000, "#" + "/" * 9000][tail]
    before, after = outcome(canonical_host, short), outcome(canonical_host, short + rest)
    assert before == after or before == (BadUrl, "empty-url")
