"""Which entries are names that DNS can answer for.

`classify` is the one place that makes `HostName` and `DomainName`, and it makes them of whole
`host` and `domain` entries only. An entry with a path has no way here: its host is never looked at.

Addresses are skipped too. A resolver is not asked for them, and what response policy zones offer
instead (`rpz-ip`) blocks every name that is hosted at the address.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from blocklist.core.addresses import is_address
from blocklist.core.entries import Entry, Kind

PATH = "path"  # a `url` or `prefix` entry: DNS would have to block all of its host
ADDRESS = "address"
SINGLE_LABEL = "single-label"  # `com`: all of a top-level domain, or a name of no public site
NAME_SHAPE = "name-shape"  # an empty or long label, or bytes that zone files give a meaning

MAX_LABEL_BYTES = 63
MAX_NAME_BYTES = 253

_LABEL = rf"[a-z0-9_-]{{1,{MAX_LABEL_BYTES}}}"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


@dataclass(frozen=True, slots=True, order=True)
class HostName:
    """A name that is listed alone."""

    name: str


@dataclass(frozen=True, slots=True, order=True)
class DomainName:
    """A name that is listed with all names below it."""

    name: str


@dataclass(frozen=True, slots=True)
class Names:
    """What DNS can enforce of a list, and why not more.

    Attributes:
        hosts: Names alone.
        domains: Names with all below.
        skipped: Number of entries that cannot be enforced, by reason.
    """

    hosts: frozenset[HostName]
    domains: frozenset[DomainName]
    skipped: Mapping[str, int]


def classify(lines: Iterable[bytes]) -> Names:
    """Return the names among entries.

    Args:
        lines: Lines of clear list bytes, without line feeds.

    Raises:
        UnknownFormat: A line of a kind that this version does not know.
    """
    hosts: set[HostName] = set()
    domains: set[DomainName] = set()
    skipped: Counter[str] = Counter()
    for line in lines:
        entry = Entry.from_line(line)
        if entry.kind not in (Kind.HOST, Kind.DOMAIN):
            skipped[PATH] += 1
        elif (reason := _why_not(entry.expression)) is not None:
            skipped[reason] += 1
        elif entry.kind is Kind.HOST:
            hosts.add(HostName(entry.expression))
        else:
            domains.add(DomainName(entry.expression))
    return Names(frozenset(hosts), frozenset(domains), dict(skipped))


def is_name(text: str) -> bool:
    """Tell whether text is a lower-case name as zones hold it, without a final dot."""
    return len(text) <= MAX_NAME_BYTES and _NAME.fullmatch(text) is not None


def _why_not(host: str) -> str | None:
    if is_address(host):
        return ADDRESS
    if not is_name(host):
        return NAME_SHAPE
    return None if "." in host else SINGLE_LABEL
