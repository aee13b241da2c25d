"""Public suffixes: names below which strangers register names (publicsuffix.org), both sections.

The list comes with the package `publicsuffixlist`; the lock file pins which one. A top-level domain
that it does not know counts as a suffix. Reading it takes a tenth of a second, once a process, and
only where it is asked: subscribers do without the package.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from blocklist.core.addresses import is_address
from blocklist.core.errors import LocalError
from blocklist.core.hosts import parents

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


def is_public(name: str) -> bool:
    """Tell whether a canonical name of two or more labels is a public suffix."""
    return _suffixes().is_public(name)


def is_above(name: str) -> bool:
    """Tell whether a public suffix of the list lies below a canonical name."""
    return name in _above()


def registrable(host: str) -> str:
    """Return the registrable domain of a canonical host; the host itself where there is none."""
    if is_address(host):
        return host
    return _suffixes().privatesuffix(host) or host


@cache
def digest() -> str:
    """Return the SHA-256 of the list that is installed."""
    return hashlib.sha256(_data()).hexdigest()


@cache
def _suffixes() -> "PublicSuffixList":
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList(_data().decode("utf-8"))


@cache
def _above() -> frozenset[str]:
    return frozenset(_parents_of(_data().decode("utf-8").splitlines()))


def _parents_of(rules: Iterable[str]) -> Iterator[str]:
    """Yield every name of two or more labels that lies above a rule's names."""
    for rule in rules:
        if rule.count(".") < 2 or rule.startswith(("//", "!")):
            continue
        name = rule.strip().partition(".")[2]  # of `*.name` too: what is below it is a suffix
        yield from parents(name if name.isascii() else name.encode("idna").decode("ascii"))


@cache
def _data() -> bytes:
    """Return the list that the package carries.

    Raises:
        LocalError: It is not installed.
    """
    try:
        from publicsuffixlist import PSLFILE
    except ModuleNotFoundError as error:
        raise LocalError(
            "guards need publicsuffixlist: install blocklist with the extra [server]"
        ) from error
    return Path(PSLFILE).read_bytes()
