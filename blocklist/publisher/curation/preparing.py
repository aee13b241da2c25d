"""What a request makes of the newest release, before anything is assembled: lines, keys, guards."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from blocklist.publisher import guards, hash_keys
from blocklist.publisher.assemble import Assembled, Base, Told, assemble
from blocklist.publisher.build import Feeds, build_feeds
from blocklist.publisher.curation.guarding import change_of
from blocklist.publisher.guards import GuardFiles
from blocklist.publisher.hash_keys import Keying
from blocklist.publisher.racing import Superseded
from blocklist.publisher.repository import Repository
from blocklist.publisher.request import Outcome, Request, apply_request, reasons


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a request makes of the newest release.

    Attributes:
        base: What it is made on.
        outcome: The lines it leads to.
        keying: How the hashed feed is made.
        feeds: The list bytes.
        told: For the record.
    """

    base: Base
    outcome: Outcome
    keying: Keying
    feeds: Feeds
    told: Told

    @property
    def unchanged(self) -> bool:
        """The list is as asked already."""
        return self.base.feeds is not None and self.feeds.digests == self.base.feeds.digests


def prepare(repository: Repository, request: Request, base: Base) -> Prepared:
    """Apply a request to the newest release and let the guards look at it.

    Raises:
        InputError: The request does not fit the list.
        GuardRefused: It would do harm.
    """
    outcome = apply_request(request, base.lines, base.test_line)
    files = GuardFiles.load(repository.settings)
    if request.options.skip_bad:
        outcome = outcome.without_refused(base.test_line, files, request.options.allowed)
    overrides: list[Mapping[str, str]] = []
    if request.hash_key is None:
        change = change_of(repository, base, outcome, request.operation, request.source)
        overrides += guards.check(change, repository.settings, files, request.options.allowed)
        outcome = replace(outcome, history_complete=change.history_complete)
    now = repository.signing_time(base.head).replace(microsecond=0)
    keying = hash_keys.keying(request.hash_key, base.hashed, base.secret, now)
    told = Told(
        request.hash_key.operation if request.hash_key else request.operation,
        repository.who,
        now,
        request.options.reason,
        outcome.told(request.source),
        (*overrides, *keying.overrides),
        _reasons_of(outcome, reasons(request)),
    )
    return Prepared(base, outcome, keying, build_feeds(outcome.lines, keying.key), told)


def made_of(repository: Repository, prepared: Prepared, version: int) -> Assembled:
    """Return the version that was prepared, under a number."""
    return assemble(
        repository,
        prepared.base,
        prepared.outcome,
        prepared.feeds,
        prepared.keying,
        prepared.told,
        version,
    )


def expect_base(request: Request, base: Base, met: int | None = None) -> None:
    """Refuse a whole list that was computed from another version than the newest.

    Args:
        request: What is asked for.
        base: The newest release.
        met: The version that was met first, for a request that names none.

    Raises:
        Superseded: Somebody released since.
    """
    wanted = request.base if request.base is not None else met
    if request.whole is not None and wanted not in (None, base.version or 0):
        raise Superseded("another release came first; look at it and publish again")


def _reasons_of(outcome: Outcome, given: Mapping[str, str]) -> dict[str, str]:
    """Return the reasons for lines that come or go; others are no news."""
    moved = {line.decode() for line in (*outcome.added, *outcome.removed)}
    return {line: text for line, text in given.items() if line in moved}
