"""Limits of canonical URLs: what is refused, what stays judged by its host alone."""

import pytest

from blocklist.core import addresses
from blocklist.core.canonical import canonical_host, canonical_url, expression, split_url
from blocklist.core.canonical_rules import (
    MAX_HOST_BYTES,
    MAX_UNESCAPE_ROUNDS,
    MAX_URL_BYTES,
    REASONS,
    split_url_by_rules,
)
from blocklist.core.errors import BadUrl, UrlLimit

BOTH = pytest.mark.parametrize("split", [split_url, split_url_by_rules])


@BOTH
@pytest.mark.parametrize("letter", ["a", "?", "%41", "\u00e9", " "])
def test_the_length_counts_the_bytes_of_the_input(split, letter):
    base = "http://example.com/x"
    size = len(letter.encode())
    spare = MAX_URL_BYTES - len(base)
    url = base + letter * (spare // size) + "b" * (spare % size)
    assert split(url)[0] == "example.com"
    with pytest.raises(UrlLimit) as caught:
        split(url + "b")
    assert caught.value.code == "url-too-long"


@BOTH
def test_white_space_counts_as_input(split):
    with pytest.raises(UrlLimit):
        split("http://example.com/" + " " * MAX_URL_BYTES)


@BOTH
@pytest.mark.parametrize("place", ["/", "?", "/a?b="])
def test_deep_escapes_after_the_host_are_a_limit(split, place):
    deepest = f"http://example.com{place}%" + "25" * (MAX_UNESCAPE_ROUNDS - 1)
    assert split(deepest)[0] == "example.com"
    with pytest.raises(UrlLimit) as caught:
        split(deepest + "25")
    assert caught.value.code == "too-many-escapes"
    assert canonical_host(deepest + "25") == "example.com"


@BOTH
def test_deep_escapes_in_the_host_are_malformed(split):
    with pytest.raises(BadUrl) as caught:
        split("http://%" + "25" * MAX_UNESCAPE_ROUNDS + "/")
    assert type(caught.value) is BadUrl
    assert caught.value.code == "too-many-escapes"


@BOTH
@pytest.mark.parametrize(
    ("start", "code"),
    [
        ("http:///", "empty-host"),
        ("http://example.com:port/", "bad-port"),
        ("http://[::1/", "bad-address"),
        ("http://\u2764.example/", "bad-idn"),
        ("mailto:/", "no-authority"),
        ("http://" + "a" * (MAX_HOST_BYTES + 1) + "/", "host-too-long"),
    ],
)
def test_a_bad_host_is_said_before_a_limit(split, start, code):
    with pytest.raises(BadUrl) as caught:
        split(start + "a" * MAX_URL_BYTES)
    assert type(caught.value) is BadUrl
    assert caught.value.code == code


@BOTH
def test_a_host_of_253_bytes_is_the_longest(split):
    host = "a." * 126 + "b"
    assert len(host) == MAX_HOST_BYTES
    assert split(f"http://{host}/")[0] == host
    assert split(f"http://{host}")[0] == host
    with pytest.raises(BadUrl) as caught:
        split(f"http://{host}b/")
    assert caught.value.code == "host-too-long"


def test_host_alone_has_the_same_limit():
    host = "a." * 126 + "b"
    assert canonical_host(host) == host
    with pytest.raises(BadUrl):
        canonical_host(host + "b")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/" + "/a%25" * 1_000_000,
        "example.com/%" + "25" * 1_000_000,
        "http:/%2Fuser@EXAMPLE.com:80/" + "%" * 100_000,
        "http://example%2Ecom?" + "/" * 100_000,
        "http://example.com#" + "\u00e9" * 100_000,
        b"http://example.com./" + b"\xff" * 100_000,
    ],
)
def test_the_host_of_a_url_of_any_length(url):
    assert canonical_host(url) == "example.com"


def test_an_authority_beyond_the_limit_is_malformed():
    with pytest.raises(BadUrl) as caught:
        canonical_host("http://" + "user@" * MAX_URL_BYTES + "example.com/")
    assert caught.value.code == "url-too-long"


@BOTH
def test_lone_surrogates_are_no_text(split):
    """Only the surrogates that `surrogateescape` makes stand for bytes."""
    with pytest.raises(BadUrl) as caught:
        split("http://example.com/\ud800")
    assert caught.value.code == "bad-encoding"
    assert split("http://example.com/\udcff") == ("example.com", "/%FF", None)


def test_no_message_holds_a_part_of_the_url():
    for url in (
        "",
        "mailto:secret",
        "http://secret:secret/",
        "http://[secret]/",
        "http://\u2764secret/",
    ):
        with pytest.raises(BadUrl) as caught:
            split_url(url)
        assert str(caught.value) == REASONS[caught.value.code]
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_canonical_url_may_outgrow_the_limit_on_the_input():
    """The one exception to "canonical URLs are their own canonical URL"."""
    url = canonical_url("http://example.com/" + "\u00e9" * 4000)
    assert len(url) > MAX_URL_BYTES
    with pytest.raises(UrlLimit):
        canonical_url(url)


def test_expression_has_no_empty_query():
    assert expression(("host.example", "/a", None)) == "host.example/a"
    assert expression(("host.example", "/a", "")) == "host.example/a"
    assert expression(("host.example", "/a", "b")) == "host.example/a?b"


@pytest.mark.parametrize("host", ["1.2.3.4", "255.255.255.255", "0.0.0.0", "[::]", "[2001:db8::1]"])
def test_addresses_are_told_from_names(host):
    assert addresses.is_address(host)


@pytest.mark.parametrize(
    "host", ["example.com", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4\n", "1.2.3.4."]
)
def test_names_are_told_from_addresses(host):
    assert not addresses.is_address(host)


def test_endless_numbers_are_names():
    assert addresses.dotted_quad("9" * 5000) is None
    assert addresses.dotted_quad("0x" + "f" * 5000) is None
