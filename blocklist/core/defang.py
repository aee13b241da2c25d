"""Defanged URLs: how people see listed URLs, so that nothing links to them or fetches them.

`http://host.example/p?q` is shown as `hxxp://host[.]example/p?q`. Only the scheme and the
dots of the authority change: path and query stay exact, and the way back loses nothing.
Read back are also `hxxps`, `(.)`, `[:]` and `[://]`, which other tools write.
"""

import re

_SCHEME = re.compile(r"(\s*)([A-Za-z][A-Za-z0-9+.-]*)(\[://\]|\[:\]//|://)")
_DEFANGED = re.compile(r"\[([.:])\]|\((\.)\)")
_AUTHORITY = re.compile(r"[^/?#]*")
_TO_X = str.maketrans("tT", "xX")
_TO_T = str.maketrans("xX", "tT")


def defang(url_or_expression: str) -> str:
    """Return a URL, expression or host that programs do not take for a link.

    `refang` gives the argument back, unless that was defanged already.
    """
    opening, authority, rest = _split(url_or_expression)
    space, scheme, mark = opening
    if scheme.lower() in ("http", "https"):
        scheme = scheme.translate(_TO_X)
    return space + scheme + mark + authority.replace(".", "[.]") + rest


def refang(text: str) -> str:
    """Return the URL, expression or host that a defanged one stands for; others unchanged."""
    opening, authority, rest = _split(text)
    space, scheme, mark = opening
    if scheme.lower() in ("hxxp", "hxxps"):
        scheme = scheme.translate(_TO_T)
    authority = _DEFANGED.sub(lambda match: match[1] or match[2], authority)
    return space + scheme + (mark and "://") + authority + rest


def _split(text: str) -> tuple[tuple[str, str, str], str, str]:
    """Return (white space, scheme, `://` as written), the authority, and all after it."""
    match = _SCHEME.match(text)
    start = match.end() if match else 0
    authority = _AUTHORITY.match(text, start)
    end = authority.end() if authority else start
    opening = (match[1], match[2], match[3]) if match else ("", "", "")
    return opening, text[start:end], text[end:]
