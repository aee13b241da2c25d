"""`fsck`: the storage from within, or with `--public` from outside, as a stranger sees it."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from blocklist.cli import context, output
from blocklist.core.errors import Exit
from blocklist.publisher import fsck as checking
from blocklist.publisher import public
from blocklist.publisher.repository import Repository
from blocklist.subscriber.transport import OK, HttpTransport

QUESTION_SECONDS = 180.0  # one question, waits that the server asks for included
WAIT_SECONDS = 90.0  # the longest such wait; many questions without a token wear patience out


@click.command()
@click.option(
    "--public",
    "urls",
    multiple=True,
    metavar="URL",
    help="Instead: what can a stranger read at this address? May be repeated.",
)
@context.publisher
def fsck(
    urls: tuple[str, ...], storage: str, home: Path, config: Path | None, as_json: bool
) -> int:
    """Verify the whole storage, from the first root to the last digest.

    Exit code 13: something is damaged, or can be read by strangers that may not be.
    """
    repository = context.open_repository(storage, home, config)
    return _outside(repository, urls, as_json) if urls else _inside(repository, as_json)


def _inside(repository: Repository, as_json: bool) -> int:
    report = checking.fsck(repository)
    document = {"ok": not report.problems, "checked": report.checked, "problems": report.problems}
    counts = ", ".join(f"{count:,} {what}" for what, count in report.checked.items())
    lines = [f"checked {counts}", *report.problems] if report.problems else [f"all well: {counts}"]
    output.emit(document, as_json=as_json, text="\n".join(lines))
    return int(Exit.TAMPERED) if report.problems else int(Exit.DONE)


def _outside(repository: Repository, urls: tuple[str, ...], as_json: bool) -> int:
    doors = [_stranger(url) for url in urls]  # a bad address is refused before anything is asked
    sample = public.samples(repository)
    seen = [public.look(url, sample, ask) for url, ask in zip(urls, doors, strict=True)]
    problems = [problem for one in seen for problem in one.problems]
    for one in seen:
        output.warn(_doubts(one))
    document = {"ok": not problems, "public": [_document(one) for one in seen]}
    output.emit(document, as_json=as_json, text="\n".join(_told(one) for one in seen))
    return int(Exit.TAMPERED) if problems else int(Exit.DONE)


def _stranger(url: str) -> public.Ask:
    """Return how somebody without any credentials asks the host of an address."""
    HttpTransport(url)
    host = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    http = HttpTransport(host, wait_seconds=WAIT_SECONDS)

    def ask(path: str) -> bytes | None:
        http.begin(QUESTION_SECONDS)
        answer = http.get(path, limit=public.GLANCE_BYTES, accept=public.REFUSALS)
        return answer.data if answer.status == OK else None

    return ask


def _doubts(one: public.Outside) -> list[str]:
    doubts = [
        f"{one.url}: no {kind} are stored, so nothing is proven about them"
        for kind, readable in one.readable.items()
        if readable is None
    ]
    if not any(one.readable.values()):
        doubts.append(f"{one.url}: nothing at all can be read there; is it the right address?")
    return doubts


def _document(one: public.Outside) -> dict[str, Any]:
    return {
        "url": one.url,
        "requests": one.asked,
        "readable": one.readable,
        "problems": list(one.problems),
    }


def _told(one: public.Outside) -> str:
    words = {True: "readable", False: "not readable", None: "none stored"}
    lines = [f"{one.url}, asked {one.asked} times without credentials"]
    lines += [f"  {kind:<16} {words[readable]}" for kind, readable in one.readable.items()]
    return "\n".join([*lines, *(f"  PROBLEM: {problem}" for problem in one.problems)])
