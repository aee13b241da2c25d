"""Commands of an ISP or filter: enrol, pull, check."""

from pathlib import Path
from typing import Any

import click

from blocklist.cli import context, output
from blocklist.core.documents import format_time
from blocklist.core.enrolment import Enrolment
from blocklist.core.errors import Exit, InputError, UnknownList
from blocklist.subscriber import settings
from blocklist.subscriber.check import UNDECIDED, Checked
from blocklist.subscriber.check import check as check_urls
from blocklist.subscriber.decisions import decisions
from blocklist.subscriber.enrol import enrol as keep_enrolment
from blocklist.subscriber.enrol import fingerprint_text
from blocklist.subscriber.matcher import Blocklist
from blocklist.subscriber.pull import Pulled, PullFailed
from blocklist.subscriber.pull import pull as pull_lists
from blocklist.subscriber.state import State

MAX_URLS_BYTES = 1 << 30  # of a file of URLs to check


@click.command()
@click.argument("file")
@click.option("--fingerprint", metavar="HEX", help="What the publisher read out by telephone.")
@click.option("--accept-dev", is_flag=True, help="Accept a repository with throw-away keys.")
@context.state
@context.as_json
def enrol(file: str, fingerprint: str | None, accept_dev: bool, state: Path, as_json: bool) -> None:
    """Accept the enrolment FILE that the publisher made for you (`-`: standard input)."""
    data = context.read_source(file, settings.MAX_ENROLMENT_BYTES)
    done = keep_enrolment(
        State(state),
        Enrolment.from_bytes(data),
        accept_dev=accept_dev,
        fingerprint=fingerprint,
        now=context.now(),
    )
    output.warn(done.warnings)
    lists = [{"list": name, "feed": feed.value} for name, feed in done.lists]
    document = {
        "name": done.name,
        "lists": lists,
        "fingerprint": done.fingerprint,
        "dev": done.dev,
        "warnings": list(done.warnings),
    }
    names = ", ".join(f"{item['list']} ({item['feed']})" for item in lists)
    compared = "compared" if fingerprint else "compare it with the publisher by telephone"
    spoken = fingerprint_text(done.fingerprint)
    text = f"enrolled as {done.name}: {names}\nroot fingerprint ({compared})\n{spoken}"
    output.emit(document, as_json=as_json, text=text)


@click.command()
@click.argument("lists", nargs=-1, metavar="[LIST]..")
@context.state
@context.as_json
def pull(lists: tuple[str, ...], state: Path, as_json: bool) -> int:
    """Bring the enrolled lists (or these) to the newest version that can be verified."""
    try:
        pulled, failed = pull_lists(State(state), now=context.now(), names=lists or None), None
    except PullFailed as error:
        pulled, failed = error.pulled, error
    decided = decisions(state, context.now())
    output.warn(output.safe(line) for line in decided.warnings)
    document: dict[str, Any] = {"lists": [_pulled(item) for item in pulled]}
    document["warnings"] = list(decided.warnings)
    if failed is not None:
        document["failed"] = [
            {
                "list": item.list,
                "feed": item.feed.value,
                "error": str(item.error),
                "exit": int(item.error.exit_code),
                "sources": [tried.to_document() for tried in item.sources],
            }
            for item in failed.failed
        ]
    for item in pulled:
        output.warn(f"{item.list}/{item.feed}: {warning}" for warning in item.warnings)
    for problem in failed.failed if failed else ():
        kept = "; the installed list stays in force"
        message = f"blocklist: {problem.list}/{problem.feed}: {problem.error}{kept}"
        click.echo(" ".join(message.split()), err=True)
    output.emit(document, as_json=as_json, text="\n".join(_told(item) for item in pulled))
    return int(failed.exit_code) if failed else int(Exit.DONE)


def _pulled(item: Pulled) -> dict[str, Any]:
    return {
        "list": item.list,
        "feed": item.feed.value,
        "from": item.from_,
        "to": item.to,
        "changed": item.changed,
        "entries": item.entries,
        "digest": item.digest,
        "bytes": item.bytes,
        "requests": item.requests,
        "way": item.way,
        "held_back": item.held_back,
        "warnings": list(item.warnings),
        "sources": [tried.to_document() for tried in item.sources],
    }


def _told(item: Pulled) -> str:
    name = f"{item.list} ({item.feed})"
    cost = f"{item.requests} requests, {item.bytes:,} bytes"
    if item.to is None:
        return f"{name}: nothing released yet ({cost})"
    if item.held_back is not None:
        return f"{name}: HELD at version {item.to}, version {item.held_back} is verified ({cost})"
    if not item.changed:
        return f"{name}: version {item.to} is the newest ({cost})"
    start = f"{item.from_} -> " if item.from_ is not None else ""
    return f"{name}: version {start}{item.to}, {item.entries:,} entries ({cost})"


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL..")
@click.option("--list", "lists", multiple=True, help="Only these lists; may be repeated.")
@context.state
@context.as_json
def check(urls: tuple[str, ...], lists: tuple[str, ...], state: Path, as_json: bool) -> int:
    """Is URL listed? `-` reads URLs from standard input, one a line, and keeps them off `ps`.

    Exit code 1: something is listed. 2: nothing is, but a URL could not be understood.
    """
    _expect_enrolled(State(state), lists)
    checked = check_urls(Blocklist.open(state, *lists), _given(urls))
    document = [_verdict(item) for item in checked]
    output.emit(document, as_json=as_json, text="\n".join(_said(item) for item in checked))
    if any(item.listed for item in checked):
        return int(Exit.LISTED)
    bad = {number: item for number, item in enumerate(checked, 1) if item.listed is None}
    for number, item in bad.items():
        click.echo(f"blocklist: URL {number}: {item.reason}", err=True)
    undecided = any(item.error == UNDECIDED for item in bad.values())
    return int(Exit.LOCAL if undecided else Exit.USAGE) if bad else int(Exit.DONE)


def _expect_enrolled(state: State, lists: tuple[str, ...]) -> None:
    """Tell a name that is not enrolled from a list that is not installed yet."""
    enrolled = {name for name, _ in state.feeds()}
    if enrolled and (unknown := set(lists) - enrolled):
        raise UnknownList(f"expected an enrolled list, got {sorted(unknown)[0]!r}")


def _given(urls: tuple[str, ...]) -> list[str]:
    if "-" not in urls:
        return list(urls)
    if len(urls) > 1:
        raise InputError("expected either URLs or -, got both")
    data = context.read_source("-", MAX_URLS_BYTES)
    text = data.decode("utf-8", "surrogateescape")
    return [line for line in text.split("\n") if line.strip()]


def _verdict(item: Checked) -> dict[str, Any]:
    document: dict[str, Any] = {
        "url": item.url,
        "listed": item.listed,
        "list": item.list,
        "kind": item.kind.value if item.kind else None,
        "version": item.version,
    }
    if item.error is not None:
        document["error"] = item.error
    if item.exception is not None:
        document["exception"] = item.exception.to_document()
    return document


def _said(item: Checked) -> str:
    shown = output.shown_url(item.url)
    if item.listed is None:
        return f"error       {shown}: {item.reason}"
    if item.listed:
        return f"LISTED      {shown} ({item.list} version {item.version}, {item.kind} entry)"
    if item.exception is not None:
        until = format_time(item.exception.until)
        return (
            f"spared      {shown} (exception until {until}: {output.safe(item.exception.reason)})"
        )
    return f"not listed  {shown}"


COMMANDS = (enrol, pull, check)
