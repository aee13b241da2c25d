"""Guards of entries: each line that a release adds, judged alone.

    public-suffix    a host or domain on a public suffix, or a domain above one
    single-label     a host of one label, which is another machine on every network
    address          an address that no public site has (`ranges.py`)
    protected        what would cover a protected name, all of a host below one, or its root page
    shared-platform  what is as wide as a platform that many people share, or a large part of it
    allow-file       what covers an entry of the organisation's allow file, or is covered by one

On a host that many people share (`data/platforms.txt`, and the organisation's file) the following
is too wide; any page or path below is as narrow as such a host can be listed:

    host, domain     always
    prefix           of a single segment, or at or above a `name/dir/*` of the file
    url              without a query: the root page, a page of one or two segments that a script
                     makes (`.php`, ..), or a `name/page` of the file

One segment is not too little for a page: there it names one paste, one picture, one short link.
"""

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Final

from blocklist.core.addresses import is_address
from blocklist.core.entries import Kind
from blocklist.publisher.guards import ranges, suffixes
from blocklist.publisher.guards.coverage import Subject
from blocklist.publisher.guards.files import GuardFiles

# Pages of such names are programs: what they show is chosen by the query.
_SCRIPTS: Final = frozenset(
    (".asp", ".ashx", ".aspx", ".cfm", ".cgi", ".do", ".fcgi", ".jsp", ".jspx", ".php", ".phtml")
)

_SCRIPT_DEPTH: Final = 2  # segments, as in `/w/index.php`; deeper, such a name is some file's

LineGuard = Callable[[Subject, GuardFiles], bool]


def _public_suffix(item: Subject, _: GuardFiles) -> bool:
    if item.path or "." not in item.host or is_address(item.host):
        return False
    if item.kind is Kind.DOMAIN and suffixes.is_above(item.host):
        return True
    return suffixes.is_public(item.host)


def _single_label(item: Subject, _: GuardFiles) -> bool:
    return "." not in item.host and not is_address(item.host)


def _address(item: Subject, _: GuardFiles) -> bool:
    return is_address(item.host) and ranges.is_nowhere(item.host)


def _protected(item: Subject, files: GuardFiles) -> bool:
    cover = files.protected
    if item.line in cover.above or item.line in cover.roots:
        return True
    return item.is_wide and any(line in cover.lines for line in item.hosts if line[:1] == b"d")


def _shared_platform(item: Subject, files: GuardFiles) -> bool:
    cover = files.platforms
    if item.line in cover.above:
        return True
    if not cover.has_host(item):
        return False
    if item.is_wide:
        return True
    if item.query:
        return False
    path = item.path.removesuffix("/")
    if item.kind is Kind.PREFIX and path.count("/") <= 1:
        return True
    if item.kind is Kind.URL and _is_script(path):
        return True
    return any(line in cover.above for line in _same_path(item, path))


def _is_script(path: str) -> bool:
    return path.count("/") <= _SCRIPT_DEPTH and PurePosixPath(path).suffix.lower() in _SCRIPTS


def _same_path(item: Subject, path: str) -> list[bytes]:
    """Return the item as an entry of its host and of each parent name, as the file may have it."""
    letter = item.kind.letter
    names = [line[2:].decode() for line in item.hosts]
    return [f"{letter} {name}{path}".encode() for name in names]


def _allow_file(item: Subject, files: GuardFiles) -> bool:
    return files.allow.meets(item)


LINES: Final[Mapping[str, LineGuard]] = {
    "public-suffix": _public_suffix,
    "single-label": _single_label,
    "address": _address,
    "protected": _protected,
    "shared-platform": _shared_platform,
    "allow-file": _allow_file,
}

TEXTS: Final[Mapping[str, str]] = {
    "public-suffix": "on or above a public suffix, below which strangers have their names",
    "single-label": "on a name of one label, which is another machine on every network",
    "address": "on an address of no public site (private, loopback, link-local, multicast, "
    "reserved)",
    "protected": "would cover a protected name",
    "shared-platform": "as wide as a platform that many people share, or a large part of it",
    "allow-file": "would cover what the allow file has, or part of it",
}


def refusals(item: Subject, files: GuardFiles) -> list[str]:
    """Return the codes of the guards that have something against an entry."""
    return [code for code, guard in LINES.items() if guard(item, files)]
