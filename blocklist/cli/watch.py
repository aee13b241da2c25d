"""`watch`: keep lists, exports and hooks current until somebody stops it."""

import signal
from pathlib import Path

import click

from blocklist.cli import context, output
from blocklist.core.errors import InputError, UnknownList
from blocklist.subscriber.monitoring import health, textfile
from blocklist.subscriber.monitoring.health import Ages
from blocklist.subscriber.monitoring.report import report
from blocklist.subscriber.state import State
from blocklist.subscriber.watching.daemon import Daemon
from blocklist.subscriber.watching.notify import Notifier
from blocklist.subscriber.watching.registry import registry
from blocklist.subscriber.watching.rounds import Rounds


@click.command()
@click.argument("lists", nargs=-1, metavar="[LIST]..")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.01, max=1_440),
    default=5.0,
    show_default=True,
    metavar="MINUTES",
    help="Pull this often, news or not.",
)
@click.option(
    "--hook",
    metavar="COMMAND",
    help="Run after each change of what is in force; {lists} is replaced by names.",
)
@click.option(
    "--prometheus",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write figures into FILE after each round, as `status` does.",
)
@context.state
def watch(
    lists: tuple[str, ...], interval: float, hook: str | None, prometheus: Path | None, state: Path
) -> None:
    """Keep all lists (or these), every export and a hook current: a daemon.

    It waits for news at the publisher's API, pulls, and runs what consumes the lists that changed;
    what fails is tried again. SIGHUP reads the enrolment again, SIGTERM ends it.
    """
    where = State(state)
    enrolled = where.enrolment().lists
    if unknown := set(lists) - set(enrolled):
        raise UnknownList(f"expected an enrolled list, got {min(unknown)!r}")
    if prometheus is not None and not prometheus.parent.is_dir():
        raise InputError(f"expected a folder at {prometheus.parent}")

    def write_figures() -> None:
        if prometheus is not None:
            found = report(where, context.now())
            textfile.write(prometheus, found, health.level(found, health.problems(found, Ages())))

    rounds = Rounds(where, registry(where, hook, _tell), _tell, write_figures)
    daemon = Daemon(rounds, lists, interval * 60, Notifier())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.stop())
    signal.signal(signal.SIGHUP, lambda *_: daemon.reload())
    daemon.run()


def _tell(line: str) -> None:
    click.echo(f"blocklist: {output.safe(line)}", err=True)


COMMANDS = (watch,)
