"""How a review is shown: for people on a page or two, or all of it; exact as JSON.

Up to `EVERYTHING` changes all of them are shown. Beyond, people see what the guards found, what
returns, root pages, the widest entries, the largest groups and a sample, each bounded; `--full`
shows all the rest. The order is that of what would hurt most.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

from blocklist.cli import output
from blocklist.core.defang import defang
from blocklist.core.entries import Entry, Kind
from blocklist.publisher.curation.review import COVERS, Change, Group, Review, covers

EVERYTHING: Final = 50  # changes that are all shown
SHOWN: Final = 20  # entries of one finding, or of one section
GROUPS: Final = 10

_NONE = "-"


def show(text: str) -> None:
    """Print a review: through a pager on a terminal, as it is anywhere else."""
    if sys.stdout.isatty():
        click.echo_via_pager(text + "\n")
    else:
        click.echo(text)


def render(review: Review, *, full: bool) -> str:
    """Return a review for people, defanged.

    Args:
        review: What to show.
        full: Show every entry, however many there are.
    """
    most = sys.maxsize if full else SHOWN
    sections = [
        _summary(review),
        _findings(review, most),
        _returning(review, most),
        _root_pages(review, most),
    ]
    if full or len(review.added) + len(review.removed) <= EVERYTHING:
        sections += [_largest(review)] if len(review.groups) > GROUPS else []
        sections.append(_everything(review))
    else:
        sections += [_widest(review), _largest(review), _sample(review)]
    return "\n\n".join("\n".join(lines) for lines in map(list, sections) if lines)


def document(review: Review) -> dict[str, Any]:
    """Return a review for `--json`, exact."""
    return {
        "before": review.before,
        "after": review.after,
        "add": _text(review.added),
        "remove": _text(review.removed),
        "kinds": {"add": _words(review.counts("+")), "remove": _words(review.counts("-"))},
        "groups": [
            {
                "name": group.name,
                "add": _words(group.counts("+")),
                "remove": _words(group.counts("-")),
            }
            for group in review.groups
        ],
        "findings": [
            {
                "guard": finding.guard,
                "text": finding.text,
                "lines": _text(finding.lines),
                "override": review.overrides.get(finding.guard),
            }
            for finding in review.findings
        ],
        "returning": [
            {"line": line.decode(), **removal._asdict()}
            for line, removal in review.returning.items()
        ],
        "root_pages": _text(review.root_pages),
        "sample": [{"sign": one.sign, "line": one.line.decode()} for one in review.sample],
        "reason": review.reason,
    }


def _summary(review: Review) -> Iterator[str]:
    yield (
        f"{review.before:,} entries become {review.after:,}: "
        f"+{len(review.added):,} ({_kinds(review.counts('+'))}), "
        f"-{len(review.removed):,} ({_kinds(review.counts('-'))})"
    )
    yield f"reason, in the stager's words: {_said(review.reason)}"


def _findings(review: Review, most: int) -> Iterator[str]:
    if not review.findings:
        yield "guards found nothing"
    for finding in review.findings:
        yield f"GUARD {finding.guard}: {finding.text}"
        if finding.guard in review.overrides:
            said = _said(review.overrides[finding.guard])
            yield f"  overridden; why, in the stager's words: {said}"
        else:
            yield "  not overridden: this cannot be released"
        yield from _entries(finding.lines, most)


def _returning(review: Review, most: int) -> Iterator[str]:
    if not review.returning:
        return
    yield f"entries that return after they were removed: {len(review.returning):,}"
    for line, removal in list(review.returning.items())[:most]:
        yield f"  + {_shown(line)}"
        how = output.safe(removal.operation)
        yield f"      removed in version {removal.version} ({how}): {_said(removal.reason)}"
    yield from _more(len(review.returning), most)


def _root_pages(review: Review, most: int) -> Iterator[str]:
    if not review.root_pages:
        return
    yield f"root pages, was the host meant? {len(review.root_pages):,}"
    for line in review.root_pages[:most]:
        host = Entry.from_line(line).host
        yield f"  + {_shown(line)}  covers {covers(line)}"
        yield f"    a host entry {defang(host)} would cover {COVERS[Kind.HOST]}"
    yield from _more(len(review.root_pages), most)


def _widest(review: Review) -> Iterator[str]:
    wide = [line for line in review.added if line.startswith(b"d ")]
    if wide:
        yield f"domain entries that come: {len(wide):,}"
        yield from _entries(wide, SHOWN)


def _largest(review: Review) -> Iterator[str]:
    yield f"the largest of {len(review.groups):,} registrable domains and addresses:"
    header = ("name", "added", "kinds added", "removed", "kinds removed")
    yield output.table(header, map(_row, review.groups[:GROUPS]))


def _row(group: Group) -> Sequence[object]:
    come, go = group.counts("+"), group.counts("-")
    name = defang(group.name)
    return (name, sum(come.values()), _kinds(come), sum(go.values()), _kinds(go))


def _everything(review: Review) -> Iterator[str]:
    yield "all changes, by registrable domain or address:"
    for group in review.groups:
        come, go = sum(group.counts("+").values()), sum(group.counts("-").values())
        yield f"{defang(group.name)}  +{come:,} -{go:,}"
        yield from map(_change, group.changes)


def _sample(review: Review) -> Iterator[str]:
    yield f"a sample of {len(review.sample)}, drawn on this machine (--full shows all):"
    yield from map(_change, review.sample)


def _change(change: Change) -> str:
    return f"  {change.sign} {_shown(change.line)}  covers {covers(change.line)}"


def _entries(lines: Sequence[bytes], most: int) -> Iterator[str]:
    for line in lines[:most]:
        yield f"  {_shown(line)}  covers {covers(line)}"
    yield from _more(len(lines), most)


def _more(count: int, most: int) -> Iterator[str]:
    if count > most:
        yield f"  and {count - most:,} more (--full shows all)"


def _shown(line: bytes) -> str:
    return output.shown(line.decode())


def _said(text: str | None) -> str:
    """Return somebody's words: quoted, so that they are not taken for ours."""
    return f'"{output.safe(text)}"' if text else "none was given"


def _kinds(counts: Mapping[Kind, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in counts.items()) or _NONE


def _words(counts: Mapping[Kind, int]) -> dict[str, int]:
    return {kind.value: count for kind, count in counts.items()}


def _text(lines: Sequence[bytes]) -> list[str]:
    return [line.decode() for line in lines]
