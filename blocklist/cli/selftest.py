"""`selftest`: proof that blocking works, for the operator and for whoever audits them."""

import ipaddress
import json
from pathlib import Path
from urllib.parse import urlsplit

import click

from blocklist.cli import context, output
from blocklist.core.errors import Exit, InputError
from blocklist.store.localfiles import write_atomic
from blocklist.subscriber.resolver import Resolver
from blocklist.subscriber.selftest import HTTP_PORT, Asked, Report
from blocklist.subscriber.selftest import selftest as run_selftest
from blocklist.subscriber.state import State
from blocklist.subscriber.verdicts import BLOCK_STATUS, Verdict

_REPORT_MODE = 0o644  # test entries are no secret
_EXITS = {
    Verdict.PASS: Exit.DONE,
    Verdict.FAIL: Exit.NOT_BLOCKING,
    Verdict.INCONCLUSIVE: Exit.INCONCLUSIVE,
}


@click.command()
@click.option("--dns", multiple=True, metavar="ADDR", help="A resolver, as ADDRESS[:PORT].")
@click.option("--http-proxy", "proxies", multiple=True, metavar="ADDR", help="A proxy: HOST:PORT.")
@click.option(
    "--control", required=True, metavar="ADDR", help="A resolver or authority without a filter."
)
@click.option("--garden", "gardens", multiple=True, metavar="ADDR", help="Your block page's.")
@click.option(
    "--block-status", default=BLOCK_STATUS, show_default=True, help="Of your proxy's block page."
)
@click.option(
    "--http-port",
    default=HTTP_PORT,
    show_default=True,
    type=click.IntRange(1, 2**16 - 1),
    help="Where the test entry's site listens.",
)
@click.option("--list", "lists", multiple=True, help="Only these lists; may be repeated.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the report (JSON) there."
)
@context.state
@context.as_json
def selftest(
    dns: tuple[str, ...],
    proxies: tuple[str, ...],
    control: str,
    gardens: tuple[str, ...],
    block_status: int,
    http_port: int,
    lists: tuple[str, ...],
    out: Path | None,
    state: Path,
    as_json: bool,
) -> int:
    """Does your resolver or proxy block each list's test entry, and not its sibling?

    Exit code 0: it does. 33: it does not, or blocks too much. 34: that cannot be told.
    """
    asked = Asked(
        Resolver.parse(control),
        tuple(Resolver.parse(text) for text in dns),
        tuple(_proxy(text) for text in proxies),
        tuple(_address(text) for text in gardens),
        block_status,
        http_port,
    )
    report = run_selftest(State(state), asked, context.now(), lists)
    document = report.to_document()
    if out is not None:
        write_atomic(out, (json.dumps(document, indent=1) + "\n").encode(), mode=_REPORT_MODE)
    output.emit(document, as_json=as_json, text=_told(report))
    return int(_EXITS[report.verdict])


def _told(report: Report) -> str:
    lines = [
        f"{one.judged.verdict.upper():<12}  {one.kind} {one.filter}, {one.list}"
        f" version {one.version if one.version is not None else '-'}: {one.judged.reason}"
        for one in report.checks
    ]
    return "\n".join(lines)


def _proxy(text: str) -> str:
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        known = parts.scheme == "http" and parts.hostname and parts.port
    except ValueError:
        known = None
    if not known or parts.path.strip("/") or parts.query or parts.username is not None:
        raise InputError("expected a proxy as HOST:PORT")
    return f"http://{parts.netloc}"


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise InputError("expected an address of a block page") from error


COMMANDS = (selftest,)
