"""Defanged URLs: what people see, and the way back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocklist.core.defang import defang, refang


@pytest.mark.parametrize(
    ("plain", "shown"),
    [
        ("http://host.example/p.html?q=a.b", "hxxp://host[.]example/p.html?q=a.b"),
        ("https://www.host.example", "hxxps://www[.]host[.]example"),
        ("HTTP://Host.Example/", "HXXP://Host[.]Example/"),
        ("host.example/p.html", "host[.]example/p.html"),
        ("host.example", "host[.]example"),
        (".host.example", "[.]host[.]example"),
        ("host.example?a.b", "host[.]example?a.b"),
        ("http://user.name@host.example:80/", "hxxp://user[.]name@host[.]example:80/"),
        ("http://192.0.2.1/x", "hxxp://192[.]0[.]2[.]1/x"),
        ("http://[2001:db8::1]/a.b", "hxxp://[2001:db8::1]/a.b"),
        ("[::ffff:192.0.2.1]/", "[::ffff:192[.]0[.]2[.]1]/"),
        ("ftp://host.example/", "ftp://host[.]example/"),
        ("host.example/http://other.example/", "host[.]example/http://other.example/"),
        ("", ""),
    ],
)
def test_shown_and_read_back(plain, shown):
    assert defang(plain) == shown
    assert refang(shown) == plain


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("hxxps[://]host(.)example/a", "https://host.example/a"),
        ("hxxp[:]//host[.]example[:]8080/a", "http://host.example:8080/a"),
        ("http[:]//host[.]example", "http://host.example"),
        ("hXXp://host[.]example", "hTTp://host.example"),
        ("  hxxp://host[.]example", "  http://host.example"),
        ("hxxp://[::1][:]80/", "http://[::1]:80/"),
        ("hxxp://host.example", "http://host.example"),
        ("hxxpx://host[.]example", "hxxpx://host.example"),
    ],
)
def test_what_other_tools_write(written, plain):
    assert refang(written) == plain


@pytest.mark.parametrize(
    "plain",
    [
        "http://host.example/a[.]b(.)c[:]d?e[.]f[://]#g[.]",
        "http://[::]/",
        "http://[2001:db8::1]:80/",
        "host.example?a[.]b",
        "host.example#hxxp://a[.]b",
        "hxxp.example/hxxp://",
    ],
)
def test_what_is_not_defanged_stays(plain):
    assert refang(plain) == plain


@given(
    st.sampled_from(["", "http://", "https://", "HtTp://", "ftp://", " http://"]),
    st.lists(st.sampled_from(["a", ".", "[", "]", "(", ")", "::", "@", "-", "%2E", "\u00e9"])),
    st.text(alphabet=st.characters()),
)
def test_the_way_back_loses_nothing(scheme, authority, rest):
    url = scheme + "".join(authority) + "/" + rest
    assert refang(defang(url)) == url
