"""Source files: which entry a line is, what is refused, and what is said about it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocklist.core.errors import BadSource, BadUrl
from blocklist.core.source_csv import MAX_REASON_CHARS
from blocklist.core.source_lines import LineReader
from blocklist.core.sources import (
    MAX_LINE_BYTES,
    SHOWN_BAD_LINES,
    BadLine,
    BadLines,
    Source,
    parse_source,
)


def lines_of(text: str, **options: bool) -> set[bytes]:
    return set(parse_source(text.encode(), **options).lines)


def code_of(text: str) -> str:
    with pytest.raises(BadLines) as caught:
        parse_source(text.encode())
    (bad,) = caught.value.bad
    return bad.code


@pytest.mark.parametrize(
    ("text", "line"),
    [
        # anything with a scheme or a slash is a URL
        ("http://example.com/a/b?x=1", b"u example.com/a/b?x=1"),
        ("https://Example.COM", b"u example.com/"),
        ("http://example.com/", b"u example.com/"),
        ("example.com/", b"u example.com/"),
        ("example.com/a?", b"u example.com/a"),
        ("ftp://example.com/a", b"u example.com/a"),
        ("http://example.com?q", b"u example.com/?q"),
        ("http://192.0.2.7/a", b"u 192.0.2.7/a"),
        ("http://[2001:DB8:0::1]/a", b"u [2001:db8::1]/a"),
        ("http%3A%2F%2Fexample.com%2Fa/b", b"u example.com/a/b"),
        ("http://example.com/a%20b%09", b"u example.com/a%20b%09"),
        ("example.com/a,b", b"u example.com/a,b"),
        ("http://example.com:/a", b"u example.com/a"),
        # defanged
        ("hxxps://example[.]com/a[.]b", b"u example.com/a[.]b"),
        ("example[.]com", b"h example.com"),
        (".example[.]com", b"d example.com"),
        # /* at the end of a path without a query
        ("http://example.com/a/*", b"p example.com/a"),
        ("example.com/a//./b/*", b"p example.com/a/b"),
        ("example.com/a%2F/*", b"p example.com/a"),
        ("example.com/*/*", b"p example.com/*"),
        # a star anywhere else is itself
        ("example.com/a*", b"u example.com/a*"),
        ("example.com/a/**", b"u example.com/a/**"),
        ("example.com/*/a", b"u example.com/*/a"),
        ("example.com/a?b=/*", b"u example.com/a?b=/*"),
        ("example.com/a/*?", b"u example.com/a/*"),
        ("example.com/a/%2a", b"u example.com/a/*"),
        ("example.com/a%2F*", b"u example.com/a/*"),
        # a bare name or address is a host
        ("example.com", b"h example.com"),
        ("EXAMPLE.com.", b"h example.com"),
        ("b\u00fccher.example", b"h xn--bcher-kva.example"),
        ("3221225991", b"h 192.0.2.7"),
        ("[2001:db8::1]", b"h [2001:db8::1]"),
        ("2001:DB8::1", b"h [2001:db8::1]"),
        ("localhost", b"h localhost"),
        ("_dmarc.a-b.example", b"h _dmarc.a-b.example"),
        ("ex%61mple.com", b"h example.com"),
        # a dot before it makes it a domain
        (".example.com", b"d example.com"),
        (".Example.com.", b"d example.com"),
    ],
)
def test_a_line_is_the_entry_that_it_says(text: str, line: bytes) -> None:
    assert lines_of(text) == {line}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("example.com/*", "prefix-root"),
        ("http://example.com/*", "prefix-root"),
        ("http://example.com/a/../*", "prefix-root"),
        ("http://example.com//*", "prefix-root"),
        ("http://example.com/a%3Fb/*", "prefix-unclear"),
        ("example.com/" + "a/" * 65 + "*", "prefix-depth"),
        ("*.example.com", "wildcard"),
        ("*.example.com/a", "wildcard"),
        ("http://*.example.com/a", "wildcard"),
        ("http://%2a.example.com/a", "wildcard"),
        ("www.*.example", "wildcard"),
        (".*.example", "wildcard"),
        ("ads*.example/a", "wildcard"),
        (".example.com/a", "domain-path"),
        (".192.0.2.7", "domain-address"),
        (".[2001:db8::1]", "domain-address"),
        (".0xc0000207", "domain-address"),
        (".", "domain-name"),
        ("..example.com", "domain-name"),
        (".com", "single-label"),
        (".com.", "single-label"),
        (".localhost", "single-label"),
        ("http://example.com:8080/a", "port"),
        ("http://example.com:80/", "port"),
        ("http://example.com%3A80/", "port"),
        ("http://u:p@example.com:80/", "port"),
        ("http://[2001:db8::1]:80/", "port"),
        ("example.com:8080", "port"),
        ("[2001:db8::1]:80", "port"),
        (".example.com:8080", "port"),
        ("example.com:8080/a/*", "port"),
        ("someone@example.com", "not-bare"),
        ("someone%40example.com", "not-bare"),
        ("example.com?q", "not-bare"),
        ("example.com#part", "not-bare"),
        ("example.com%2Fa", "not-bare"),
        ("example.com\\a", "not-bare"),
        # it would become a part of the entry, or vanish
        ("192.0.2.7 example.com", "white-space"),
        ("192.0.2.7 example.com/a", "white-space"),
        ("http://example.com/a b", "white-space"),
        ("http://example.com/a\tmalware", "white-space"),
        ("http://example.com/a http://example.net/b", "white-space"),
        ("example.com/a\x0cb", "white-space"),
        ("example.com/a\u2028b", "white-space"),
        ("example.com/a\u3000/*", "white-space"),
        (". example.com", "white-space"),
        # no name or address: nothing would ever match, or not what was meant
        ("link,reason.example", "host-shape"),
        ("a(b.example", "host-shape"),
        ("http://example.com\\a/b", "host-shape"),
        ("http://example.com%5Ca/b", "host-shape"),
        ("http://exam%20ple.com/", "host-shape"),
        ("http://%ff.example/a/*", "host-shape"),
        (".a,b.example", "host-shape"),
        ("1.2.3.4%20.example", "host-shape"),
        ("mailto:someone", "no-authority"),
        ("http:///a", "empty-host"),
        ("http://example.com:x/", "bad-port"),
        ("http://example.com/" + "a" * 8192, "url-too-long"),
        ("http://example.com/a\rhttp://example.com/b", "line-end"),
    ],
)
def test_a_line_that_would_be_narrower_or_wider_is_refused(text: str, code: str) -> None:
    assert code_of(text) == code


def test_a_prefix_may_have_64_segments() -> None:
    path = "/a" * 64
    assert lines_of(f"example.com{path}/*") == {f"p example.com{path}".encode()}


@pytest.mark.parametrize(
    "text",
    ["", "\n\n", "  \t\n\u3000\n", "# comment\n", "   # comment", "\ufeff", "\ufeff# comment"],
)
def test_blank_lines_and_comments_are_no_entries(text: str) -> None:
    assert parse_source(text.encode()) == Source(set(), {}, 0, {}, (), ())


@pytest.mark.parametrize(
    "text",
    [
        "example.com # why",
        "example.com\t#",
        "example.com\u3000# a # b",
        "  example.com\r\n",
        "\ufeffexample.com",
        "# \x0b\x0c\x1c\x85\u2028 in a comment\nexample.com",
    ],
)
def test_what_surrounds_an_entry_is_not_part_of_it(text: str) -> None:
    assert lines_of(text) == {b"h example.com"}


def test_only_line_feeds_end_lines() -> None:
    with pytest.raises(BadLines) as caught:
        parse_source("example.com/a\x0cb\nexample.com/a\u2028b\n:80".encode())
    assert [bad.number for bad in caught.value.bad] == [1, 2, 3]


def test_a_byte_order_mark_inside_the_file_is_refused() -> None:
    assert code_of("example.com\n\ufeffexample.com") == "byte-order-mark"


def test_user_info_and_fragment_are_dropped_and_counted() -> None:
    text = "http://u:p@example.com/a#f\nhttp://example.com/b#\nhttp://u%40example.com/c/*#f"
    source = parse_source(text.encode())
    assert source.lines == {b"u example.com/a", b"u example.com/b", b"p example.com/c"}
    assert source.dropped == {"user-info": 2, "fragment": 3}


def test_ports_are_dropped_and_counted_when_asked() -> None:
    text = "http://example.com:8080/a\nexample.net:80\n.example.org:80\n[2001:db8::1]:80\nh:1/a/*"
    source = parse_source(text.encode(), drop_ports=True)
    assert source.lines == {
        b"u example.com/a",
        b"h example.net",
        b"d example.org",
        b"h [2001:db8::1]",
        b"p h/a",
    }
    assert source.dropped == {"port": 5}


def test_what_is_refused_does_not_count_as_dropped() -> None:
    text = "http://u@example.com:80/\n.192.0.2.7:80\nhttp://u@example.com/*#f"
    assert parse_source(text.encode(), skip_bad=True).dropped == {}


def test_duplicates_are_counted() -> None:
    source = parse_source(b"example.com\nEXAMPLE.com\nhttp://example.com/\nexample.com\n")
    assert source.lines == {b"h example.com", b"u example.com/"}
    assert source.duplicates == 2


def test_notes_tell_root_pages_and_literal_stars_without_saying_which() -> None:
    source = parse_source(b"http://example.com/\nexample.net/\nexample.com/*.jpg\nexample.org")
    roots, stars = source.notes
    assert "root pages" in roots
    assert roots.endswith(": 2")
    assert "literal *" in stars
    assert stars.endswith(": 1")
    assert "example" not in roots + stars


def test_all_bad_lines_are_reported_without_their_text() -> None:
    with pytest.raises(BadLines) as caught:
        parse_source(b"good.example\nsecret.example:80\n\n*.secret.example\nhttp:///secret\n")
    message = str(caught.value)
    assert [(bad.number, bad.code) for bad in caught.value.bad] == [
        (2, "port"),
        (4, "wildcard"),
        (5, "empty-host"),
    ]
    assert "got 3 bad ones (port 1, wildcard 1, empty-host 1)" in message
    assert all(f"line {number}: expected" in message for number in (2, 4, 5))
    assert "secret" not in message


def test_the_message_shows_the_first_bad_lines_and_counts_the_rest() -> None:
    with pytest.raises(BadLines) as caught:
        parse_source(b"h:80\n" * (SHOWN_BAD_LINES + 5))
    message = str(caught.value)
    assert len(caught.value.bad) == SHOWN_BAD_LINES + 5
    assert f"line {SHOWN_BAD_LINES}:" in message
    assert f"line {SHOWN_BAD_LINES + 1}:" not in message
    assert message.endswith("and 5 more")


def test_skip_bad_leaves_bad_lines_out() -> None:
    source = parse_source(b"example.com\nexample.com:80\n", skip_bad=True)
    assert source.lines == {b"h example.com"}
    assert [(bad.number, bad.code) for bad in source.bad] == [(2, "port")]
    assert isinstance(source.bad[0], BadLine)


@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("example.com\n".encode("utf-16"), "UTF-16"),
        ("example.com\n".encode("utf-16-be"), "NUL byte in line 1"),
        (b"\xfe\xff\0e", "UTF-16"),
        (b"example.com\nexam\0ple.com\n", "NUL byte in line 2"),
        (b"example.com\nb\xfccher.example\n", "other bytes at byte 2 of line 2"),
        (b"a.example\r\nb.example\r\n# \xff\n", "other bytes at byte 3 of line 3"),
        (b"a.example\n" + b"x" * 10_000_000, "got 10000000 bytes in line 2"),
        (b"#" * (MAX_LINE_BYTES + 1), f"got {MAX_LINE_BYTES + 1} bytes in line 1"),
    ],
)
def test_what_is_not_text_is_refused_as_a_whole(data: bytes, message: str, skip_bad: bool) -> None:
    with pytest.raises(BadSource, match=message):
        parse_source(data, skip_bad=skip_bad)


def test_a_line_may_be_as_long_as_the_limit() -> None:
    line = b"example.com #" + b"x" * (MAX_LINE_BYTES - 13)
    assert parse_source(line + b"\r\n").lines == {b"h example.com"}


def test_encoding_errors_do_not_carry_the_line() -> None:
    with pytest.raises(BadSource) as caught:
        parse_source(b"secret.example/\xff\n")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "header", ["url", "URL,Kind,Reason", '"URL", kind', "\ufeffurl,kind", "# ours\n\nurl,reason"]
)
def test_a_first_line_with_a_url_column_begins_csv(header: str) -> None:
    cells = ["example.com"] + [""] * header.count(",")
    text = f"{header}\r\n{','.join(cells)}\r\n"
    assert lines_of(text) == {b"h example.com"}


@pytest.mark.parametrize("text", ["curl", "my-url", "http://example.com/a,url", "#url", "a/url"])
def test_other_first_lines_are_text(text: str) -> None:
    reader = LineReader(drop_ports=False)
    line = reader.text_line(text)
    assert lines_of(text) == ({line} if line else set())


def test_the_format_can_be_named() -> None:
    assert parse_source(b"url\n", format="text").lines == {b"h url"}
    assert parse_source(b"url\n", format="csv").lines == set()
    assert parse_source(b"", format="csv").lines == set()


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ("http://example.com/a,,", b"u example.com/a"),
        ("example.com/a/*,,", b"p example.com/a"),
        (".example.com,,", b"d example.com"),
        ("example.com,,", b"h example.com"),
        ("example.com/a,url,", b"u example.com/a"),
        ("example.com/a/%2a,url,", b"u example.com/a/*"),
        ("example.com/a/b*,url,", b"u example.com/a/b*"),
        ("http://example.com/a,PREFIX,", b"p example.com/a"),
        ("example.com/a/,prefix,", b"p example.com/a"),
        ("example.com, host ,", b"h example.com"),
        ("192.0.2.7,host,", b"h 192.0.2.7"),
        ("example.com,domain,", b"d example.com"),
        (".example.com,domain,", b"d example.com"),
        ("hxxp://example[.]com/a,url,", b"u example.com/a"),
        ('"http://example.com/a,b",url,', b"u example.com/a,b"),
        ('"http://example.com/""a""",,', b'u example.com/"a"'),
    ],
)
def test_a_csv_row_is_the_entry_that_it_says(row: str, line: bytes) -> None:
    assert lines_of(f"url,kind,reason\n{row}\n") == {line}


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("example.com/a,host,", "kind-shape"),
        ("http://example.com,host,", "kind-shape"),
        (".example.com,host,", "kind-shape"),
        ("example.com/a,domain,", "domain-path"),
        ("192.0.2.7,domain,", "domain-address"),
        ("*.example.com,domain,", "wildcard"),
        ("example.com,url,", "kind-shape"),
        ("example.com,prefix,", "kind-shape"),
        (".example.com,url,", "kind-shape"),
        ("example.com/,prefix,", "prefix-root"),
        ("example.com/a?,prefix,", "prefix-query"),
        ("example.com/a?b,prefix,", "prefix-query"),
        ("example.com/a/*,prefix,", "kind-star"),
        ("example.com/a/*,url,", "kind-star"),
        ("example.com:80,host,", "port"),
        ("example.com,domains,", "kind"),
        ("example.com,u,", "kind"),
        ("com,domain,", "single-label"),
        ("example.com/a b,url,", "white-space"),
        ("a(b.example,host,", "host-shape"),
        (",host,", "empty-url"),
        ("example.com", "columns"),
        ("http://example.com/a,b,url,x", "columns"),
        ('"http://example.com/a\nhttp://example.com/b",,', "line-end"),
        ("example.com,host,a\x07b", "reason"),
        ("example.com,host,a\u202eb", "reason"),
        ('example.com,host,"a\nb"', "reason"),
        ("example.com,host," + "x" * (MAX_REASON_CHARS + 1), "reason"),
        ("#example.com,,", "not-bare"),
    ],
)
def test_a_csv_row_that_contradicts_itself_is_refused(row: str, code: str) -> None:
    assert code_of(f"url,kind,reason\n{row}\n") == code


def test_csv_keeps_the_first_reason_of_an_entry() -> None:
    text = (
        "reason,url\n,example.com\n first \u00fc ,example.com\nsecond,example.com\n,example.net\n"
    )
    source = parse_source(text.encode())
    assert source.lines == {b"h example.com", b"h example.net"}
    assert source.reasons == {b"h example.com": "first \u00fc"}
    assert source.duplicates == 2


def test_csv_numbers_are_those_of_the_lines_on_which_rows_begin() -> None:
    text = '\n# ours\nurl,reason\nexample.com:1,x\n\n"example.com:2","a\nb"\nexample.com:3,x\n'
    with pytest.raises(BadLines) as caught:
        parse_source(text.encode())
    assert [bad.number for bad in caught.value.bad] == [4, 6, 8]


@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('url,kind\nexample.com,host\nexample.net,"host\n', "row at line 3"),
        ('url\n"example.com"x\n', "row at line 2"),
        ("url\nexample.com\rexample.net\n", "row at line 2"),
        ('url\n"' + "example.com\n" * 20_000, "row at line 2"),
        ("kind,reason\n", "column url"),
        ("url,kind,category\n", "expected CSV columns"),
        ("url,kind,URL\n", "expected CSV columns"),
        ("url;kind\n", "column url"),
    ],
)
def test_broken_csv_is_refused_as_a_whole(text: str, message: str, skip_bad: bool) -> None:
    with pytest.raises(BadSource, match=message) as caught:
        parse_source(text.encode(), format="csv", skip_bad=skip_bad)
    assert "example" not in str(caught.value)


@pytest.mark.parametrize("header", ["url;kind;reason", "url\tkind", "id|url"])
def test_csv_with_other_delimiters_is_not_taken_for_text(header: str) -> None:
    with pytest.raises(BadSource, match="commas"):
        parse_source(f"{header}\n".encode())


@pytest.mark.parametrize("header", ["link,reason", '"Link", "why"', "# ours\nlink,kind,reason"])
def test_csv_without_a_url_column_is_not_taken_for_text(header: str) -> None:
    with pytest.raises(BadSource, match="column url"):
        parse_source(f"{header}\nhttp://example.com/a,phish\n".encode(), skip_bad=True)


PIECES = [
    *("http://", "https://", "hxxp://", "ftp://", "http:", "://", "/", "//", "/*", "*", "*."),
    *("example.com", "EXAMPLE", "a", "1.2.3.4", "0x7f", "[::1]", "::1", "[.]", ".", "..", "/./"),
    *(":", ":80", "@", "u:p@", "?", "?x", "#", " #", "#f", " ", "\t", "\r", "\x0b", "\\", "\ufeff"),
    *("%", "%2F", "%2a", "%40", "%3a80", "%3F", "%252e", "\u00e9", "\u3002", "\u3000", "-", "_"),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=7).map("".join)


def outcome(reader: LineReader, method: str, text: str) -> tuple[object, ...]:
    try:
        line = getattr(reader, method)(text)
    except BadUrl as error:
        line = error.code
    return line, dict(reader.dropped), reader.root_pages, reader.literal_stars


@given(TEXTS, st.booleans())
def test_plain_lines_take_no_other_way_than_the_rules(text: str, drop_ports: bool) -> None:
    fast, full = LineReader(drop_ports=drop_ports), LineReader(drop_ports=drop_ports)
    assert outcome(fast, "text_line", text) == outcome(full, "unusual_line", text)


CLEAN_PIECES = [
    *("a", "-", "_", ".", "1.2.3.4", "10", "256", "0x7f", "com", "/", "//", "/.", "..", "?", "x="),
    *("%", "%20", "%2f", "%2A", "%3F", "%25", "%23", "%0a", "%E9", "*", ":", "@", "#", ",", "\\"),
]
CLEAN_TEXTS = st.tuples(
    st.sampled_from(["", "", "http://", "https://"]),
    st.sampled_from(["a.example", "192.0.2.7", "", "x"]),
    st.sampled_from(["", "/", "/"]),
    st.lists(st.sampled_from(CLEAN_PIECES), max_size=6).map("".join),
).map("".join)


@given(CLEAN_TEXTS | TEXTS)
def test_clean_lines_take_no_other_way_than_the_rules(text: str) -> None:
    fast, full = LineReader(drop_ports=False), LineReader(drop_ports=False)
    line = fast.clean_line(text.encode())
    if line is not None:
        assert outcome(full, "unusual_line", text)[0] == line
        assert (fast.root_pages, fast.literal_stars) == (full.root_pages, full.literal_stars)


@given(st.binary(max_size=200) | st.lists(TEXTS).map(lambda texts: "\n".join(texts).encode()))
def test_any_bytes_are_a_source_or_refused(data: bytes) -> None:
    try:
        source = parse_source(data, skip_bad=True)
    except BadSource:
        return
    for line in source.lines:
        assert line[:2] in (b"u ", b"p ", b"h ", b"d ")
        assert line[2:].decode("ascii").isprintable()
        assert b" " not in line[2:]


@pytest.mark.parametrize(
    "text",
    [
        "http://hosting.example",
        "https://hosting.example",
        "http://192.0.2.7",
        "hosting.example",
        "192.0.2.7",
        "http://hosting.example/",
        "hosting.example/a%20b?c=%21",
        "hosting.example/a//b",
        "hosting.example/?",
    ],
)
def test_the_shortcut_for_clean_lines_never_changes_an_entry(text: str) -> None:
    """A URL without a path is that root page; only a bare name is a whole host."""
    clean = LineReader(drop_ports=False).clean_line(text.encode())
    assert clean in (None, LineReader(drop_ports=False).unusual_line(text))
