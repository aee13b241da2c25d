"""What an admin asks for, and what it makes of the lines of the previous release.

publish    a whole list, or changes to the last one
withdraw   the removal of every entry that covers one of some URLs
rollback   the content of an earlier version, as a whole list
"""

import hashlib
from collections.abc import Container, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Final, Literal

from blocklist.core import matching
from blocklist.core.canonical import split_url
from blocklist.core.defang import refang
from blocklist.core.errors import BadSource, BadUrl, InputError
from blocklist.core.sources import Source, parse_source
from blocklist.publisher import guards
from blocklist.publisher.guards import GuardFiles
from blocklist.publisher.hash_keys import Step

PUBLISH: Final = "publish"
WITHDRAW: Final = "withdraw"
ROLLBACK: Final = "rollback"
INCOMPLETE: Final = (
    "not all records can be read: entries that were withdrawn may return unnoticed; "
    "`blocklist audit verify` tells which"
)
_SHOWN_PLACES: Final = 10  # of URLs that nothing covers, in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How sources are read and which guards are overridden.

    Attributes:
        format: `auto`, `text` or `csv`.
        skip_bad: Leave out bad lines instead of refusing the release.
        drop_ports: Accept entries with a port, without it (which widens them).
        ignore_missing: Removing what is not listed is counted, not refused.
        allowed: Reason by guard code to override.
        reason: Why, for the record.
        dry_run: Stop before the first write.
    """

    format: Literal["auto", "text", "csv"] = "auto"
    skip_bad: bool = False
    drop_ports: bool = False
    ignore_missing: bool = False
    allowed: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A release that an admin asks for: a whole list, or changes to the last one.

    Attributes:
        list: The list.
        whole: The parsed source of a whole list; None for changes.
        add, remove: Parsed sources of changes.
        options: See `Options`.
        source: Facts about the source files for the record.
        notes: What may not be meant as it was written, in words.
        base: The version that a whole list was computed from, 0 for none; None: the one met first.
        hash_key: A change of the hash key, which leaves the lines as they are.
        operation: `publish`, `withdraw` or `rollback`.
        withdrawn: For each URL to withdraw, the lines of all entries that would cover it.
        renew: Sign again although nothing changes and nothing is due.
    """

    list: str
    whole: Source | None
    add: tuple[Source, ...]
    remove: tuple[Source, ...]
    options: Options
    source: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    base: int | None = None
    hash_key: Step | None = None
    operation: str = PUBLISH
    withdrawn: tuple[frozenset[bytes], ...] = ()
    renew: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The lines a request leads to.

    Attributes:
        lines: All entry lines after it, the test entry included.
        added, removed: Lines that come and go, sorted.
        listed_already, missing: How many additions and removals changed nothing.
        left_out: How many entries to add a guard would have refused, by its code.
        history_complete: Whether guards could read all records.
    """

    lines: Set[bytes]
    added: tuple[bytes, ...]
    removed: tuple[bytes, ...]
    listed_already: int
    missing: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    history_complete: bool = True

    def told(self, source: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return facts about the sources with what was left out of them."""
        return {**source, "left_out": dict(self.left_out)} if self.left_out else source

    def without_refused(
        self, test_line: bytes, files: GuardFiles, allowed: Container[str]
    ) -> "Outcome":
        """Return it without the entries that a guard of entries would refuse."""
        news = [line for line in self.added if line != test_line]
        kept, left_out = guards.leave_out(news, files, allowed)
        if not left_out:
            return self
        dropped = frozenset(news).difference(kept)
        lines = dict.fromkeys(line for line in self.lines if line not in dropped).keys()
        added = tuple(line for line in self.added if line not in dropped)
        return replace(self, lines=lines, added=added, left_out=left_out)


def read_request(
    list_name: str,
    whole: tuple[str, bytes] | None,
    add: list[tuple[str, bytes]],
    remove: list[tuple[str, bytes]],
    options: Options,
    *,
    base: int | None = None,
) -> Request:
    """Parse the sources of a request; each is a name for messages and its bytes.

    Without any, the request is for the list as it is: it renews a release that grows old.

    Raises:
        BadSource: Naming the file and all its bad lines.
        InputError: A whole list and changes.
    """
    if whole is not None and (add or remove):
        raise InputError("expected either a whole list or --add and --remove, got both")
    files = [("whole", [whole] if whole else []), ("add", add), ("remove", remove)]
    parsed: dict[str, tuple[Source, ...]] = {}
    facts: list[dict[str, Any]] = []
    for role, sources in files:
        parsed[role] = tuple(_parse(name, data, options) for name, data in sources)
        for (_, data), source in zip(sources, parsed[role], strict=True):
            facts.append(_facts(role, data, source))
    whole_source = parsed["whole"][0] if parsed["whole"] else None
    notes = tuple(note for sources in parsed.values() for item in sources for note in item.notes)
    add_sources, remove_sources = parsed["add"], parsed["remove"]
    return Request(
        list_name,
        whole_source,
        add_sources,
        remove_sources,
        options,
        {"files": facts},
        notes,
        base,
    )


def withdrawal(list_name: str, urls: Sequence[str], options: Options) -> Request:
    """Return a request to remove every entry that covers one of these URLs.

    Args:
        list_name: The list.
        urls: As people write them, defanged or not.
        options: `ignore_missing`: a URL that nothing covers is counted, not refused.

    Raises:
        InputError: None at all, or one that cannot be judged, by its place among them.
    """
    if not urls:
        raise InputError("expected at least one URL to withdraw")
    covering = []
    for place, url in enumerate(urls, 1):
        try:
            host, path, query = split_url(refang(url.strip()))
        except BadUrl as error:
            raise InputError(f"URL {place}: {error}") from None  # the cause could quote it
        lines = chain(matching.host_lines(host), matching.path_lines(host, path, query))
        covering.append(frozenset(lines))
    source = {"files": [], "urls": len(urls)}
    return Request(
        list_name, None, (), (), options, source, operation=WITHDRAW, withdrawn=tuple(covering)
    )


def content(
    list_name: str, version: int, lines: Set[bytes], base: int, options: Options
) -> Request:
    """Return a request for the content of an earlier version.

    Args:
        list_name: The list.
        version: The version that the lines are of.
        lines: All of them, the test entry included.
        base: The newest version, which this is computed against.
        options: Which guards are overridden, and why.
    """
    whole = Source(lines, {}, 0, {}, (), ())
    source = {"files": [], "version": version}
    return Request(list_name, whole, (), (), options, source, base=base, operation=ROLLBACK)


def reasons(request: Request) -> dict[str, str]:
    """Return the reasons that the sources give, by line."""
    found: dict[str, str] = {}
    sources = [request.whole] if request.whole else [*request.add, *request.remove]
    for source in sources:
        found.update({line.decode(): text for line, text in source.reasons.items()})
    return found


def apply_request(request: Request, before: frozenset[bytes], test_line: bytes) -> Outcome:
    """Return what the request makes of the previous release's lines.

    Raises:
        InputError: The same entry is added and removed, a removal names what is not listed or the
            test entry.
    """
    if request.operation == WITHDRAW:
        return _withdrawn(request, before, test_line)
    if request.whole is not None:
        whole: Set[bytes] = dict.fromkeys([*request.whole.lines, test_line]).keys()
        return Outcome(whole, tuple(sorted(whole - before)), tuple(sorted(before - whole)), 0, 0)
    add = frozenset().union(*(source.lines for source in request.add))
    remove = frozenset().union(*(source.lines for source in request.remove))
    if both := len(add & remove):
        raise InputError(f"expected no entry to be added and removed, got {both}")
    if test_line in remove:
        raise InputError("expected the test entry to stay; it proves that filters work")
    missing = len(remove - before)
    if missing and not request.options.ignore_missing:
        raise InputError(
            f"{missing} entries to remove are not listed (--ignore-missing to go on without them)"
        )
    wanted = add | {test_line}
    lines = (before | wanted) - remove
    return Outcome(
        lines,
        tuple(sorted(wanted - before)),
        tuple(sorted(remove & before)),
        len(add & before),
        missing,
    )


def _withdrawn(request: Request, before: frozenset[bytes], test_line: bytes) -> Outcome:
    """Remove every entry that covers one of the URLs, whatever its kind."""
    missing = [place for place, lines in enumerate(request.withdrawn, 1) if not lines & before]
    if missing and not request.options.ignore_missing:
        places = ", ".join(map(str, missing[:_SHOWN_PLACES]))
        raise InputError(
            f"no entry covers {len(missing)} of {len(request.withdrawn)} URLs (number {places}); "
            "nothing was changed (--ignore-missing to go on without them)"
        )
    gone = frozenset().union(*request.withdrawn) & before
    if test_line in gone:
        raise InputError("expected the test entry to stay; it proves that filters work")
    return Outcome(before - gone, (), tuple(sorted(gone)), 0, len(missing))


def _parse(name: str, data: bytes, options: Options) -> Source:
    """Parse one file; the error keeps its class and lines, and names the file."""
    try:
        return parse_source(
            data,
            format=options.format,
            drop_ports=options.drop_ports,
            skip_bad=options.skip_bad,
        )
    except BadSource as error:
        error.args = (f"{name}: {error}",)
        raise


def _facts(role: str, data: bytes, source: Source) -> dict[str, Any]:
    """Return what the record keeps of a source file."""
    skipped: dict[str, int] = {}
    for line in source.bad:
        skipped[line.code] = skipped.get(line.code, 0) + 1
    return {
        "role": role,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "entries": len(source.lines),
        "duplicates": source.duplicates,
        "dropped": dict(source.dropped),
        "skipped": skipped,
    }
