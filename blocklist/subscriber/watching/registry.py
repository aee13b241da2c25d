"""The consumers of a state: every export that was made once, and one hook of the operator's."""

from collections.abc import Iterator
from datetime import UTC, datetime

from blocklist.core.errors import BlocklistError, HookFailed
from blocklist.subscriber.exports import Definition, export, record, running
from blocklist.subscriber.state import State
from blocklist.subscriber.watching.consumers import Consumer, Registry
from blocklist.subscriber.watching.rounds import Tell

_HOOK = "the hook"


def registry(state: State, hook: str | None, tell: Tell) -> Registry:
    """Return what tells the consumers whenever it is asked.

    Args:
        state: Where.
        hook: A command line, with `{lists}` for the names of the lists that changed; None: none.
        tell: Called with warnings of exports.

    Raises:
        InputError: The hook is no command line.
    """
    words = running.split(hook) if hook is not None else None

    def run_hook(changed: tuple[str, ...]) -> None:
        problem = running.failure(words or (), {"lists": ",".join(changed)}, running.HOOK_SECONDS)
        if problem is not None:
            raise HookFailed(problem)

    def consumers() -> Iterator[Consumer]:
        for name in record.names(state.directory):
            yield _export(state, name, tell)
        if words is not None:
            yield Consumer(_HOOK, (), run_hook)

    return consumers


def _export(state: State, name: str, tell: Tell) -> Consumer:
    """Return the consumer of one export; one that cannot be read fails until it can."""
    title = f"export {name}"
    try:
        found = record.read(state.directory, name)
    except BlocklistError as error:
        problem = error  # the name of the clause ends with it

        def fail(_: tuple[str, ...]) -> None:
            raise problem

        return Consumer(title, (), fail, pending=True)
    if found is None:  # deleted a moment ago
        return Consumer(title, (), lambda _: None)
    definition: Definition = found.definition

    def run(_: tuple[str, ...]) -> None:
        for warning in export(state, definition, datetime.now(UTC)).warnings:
            tell(f"{title}: warning: {warning}")

    pending = found.pending or found.word != record.LIVE
    return Consumer(title, definition.lists, run, versions=True, pending=pending)
