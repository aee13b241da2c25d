"""`gc`: delete what nobody needs any more, beside publishers on other machines.

Objects are named by their content, so a publisher may at any moment use one again that lies there
as leftover: it is told "already there", writes a role file that names it, and commits. So objects
go in batches, each in this order (docs/adr/0012):

    1. keep the objects in the home, durably
    2. delete them
    3. read every role file that a publisher has written meanwhile, live or not
    4. put back what those name; forget the rest

The publisher writes its role file first and then looks at its objects again (`reuse`). So either
its look comes after 2, and it puts them back, or its role file comes before 3, and we do. A run
that is killed between 2 and 4 is finished by the next one, and nobody else begins one before.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from blocklist.core.entries import Feed
from blocklist.publisher.chain import Reads
from blocklist.publisher.keeping import gc_candidates, gc_plan
from blocklist.publisher.keeping.copying import fetched
from blocklist.publisher.keeping.gc_plan import Doomed, InUse, Plan
from blocklist.publisher.keeping.gc_trash import Trash, running
from blocklist.publisher.racing import before_commit
from blocklist.publisher.repository import Repository
from blocklist.store import layout

BATCH_OBJECTS = 4_000  # metadata is listed once a batch
BATCH_BYTES = 256 << 20  # and one object more


@dataclass(slots=True)
class Collected:
    """What gc did, or would do.

    Attributes:
        gone: Number and bytes of what went, by kind.
        kept: Oldest kept and newest version, by list with a release.
        put_back: Objects that a publisher had begun to use meanwhile.
        damaged: Keys of objects that were left because they do not hold what their name says.
    """

    gone: dict[str, tuple[int, int]] = field(default_factory=dict)
    kept: dict[str, tuple[int, int]] = field(default_factory=dict)
    put_back: int = 0
    damaged: list[str] = field(default_factory=list)

    def count(self, doomed: Doomed) -> None:
        """Count one object that went."""
        number, size = self.gone.get(doomed.kind, (0, 0))
        self.gone[doomed.kind] = number + 1, size + doomed.listed.size


def dry_run(repository: Repository) -> Collected:
    """Return what `collect` would delete; nothing is changed.

    Raises:
        Stale, MalformedFeed, DigestMismatch, TrustError: As `collect`.
    """
    plan = gc_plan.make_plan(repository)
    report = _report(plan)
    in_use = InUse(repository, plan).digests()
    for doomed in gc_plan.objects(repository, plan):
        if _sha256(doomed) not in in_use:
            report.count(doomed)
    for doomed in _others(repository, plan):
        report.count(doomed)
    return report


def collect(repository: Repository, *, take_over: bool = False) -> Collected:
    """Delete what nobody needs any more.

    Args:
        repository: Where.
        take_over: Begin although an interrupted run of another home has not ended: it is lost.

    Raises:
        Busy: Another gc has begun on this storage.
        Stale: The head has expired, or this clock is ahead.
        MalformedFeed, DigestMismatch, TrustError: Something kept is missing or altered; nothing
            was deleted.
        StoreError, LocalError: The next run goes on.
    """
    with running(repository, take_over=take_over) as trash:
        plan = gc_plan.make_plan(repository)
        report = _report(plan)
        in_use = InUse(repository, plan)
        used = _finish(repository, plan, in_use, trash, report)
        for batch in _batches(gc_plan.objects(repository, plan)):
            going = [one for one in batch if _sha256(one) not in used]
            used = _sweep(repository, going, in_use, trash, report)
        for doomed in _others(repository, plan):
            if _delete(repository, doomed.listed.key):
                report.count(doomed)
    return report


def _report(plan: Plan) -> Collected:
    kept = {name: (of.oldest, of.newest) for name, of in plan.lists.items() if of.newest}
    return Collected(kept=kept)


def _others(repository: Repository, plan: Plan) -> Iterator[Doomed]:
    """Yield what no publisher would use again."""
    yield from gc_plan.snapshot_metadata(repository, plan)
    yield from gc_candidates.candidates(repository, plan)
    yield from gc_plan.probes(repository, plan)


def _batches(doomed: Iterable[Doomed]) -> Iterator[list[Doomed]]:
    batch: list[Doomed] = []
    size = 0
    for one in doomed:
        batch.append(one)
        size += one.listed.size
        if len(batch) == BATCH_OBJECTS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _sweep(
    repository: Repository,
    batch: list[Doomed],
    in_use: InUse,
    trash: Trash,
    report: Collected,
) -> set[str]:
    """Delete one batch, put back what is in use, and return the digests of all that is."""
    going = {one.listed.key: one for one in batch}
    for key in trash.fill(_read(repository, batch, report)):
        if _delete(repository, key):
            report.count(going[key])
    used = in_use.digests()
    _put_back(repository, used, trash, report)
    return used


def _read(
    repository: Repository, going: Iterable[Doomed], report: Collected
) -> Iterator[tuple[str, bytes]]:
    """Yield key and bytes of whole objects; a damaged one is for `fsck` to name."""
    with Reads(repository.store) as reads:
        for listed, data in fetched(reads, (doomed.listed for doomed in going)):
            parsed = layout.parse_target_key(listed.key)
            if data is None or parsed is None:
                continue
            if hashlib.sha256(data).hexdigest() == parsed[1]:
                yield listed.key, data
            else:
                report.damaged.append(listed.key)


def _put_back(repository: Repository, used: set[str], trash: Trash, report: Collected) -> None:
    """Put back what is named meanwhile, and forget the rest."""
    for key, data in trash.objects():
        parsed = layout.parse_target_key(key)
        if parsed is not None and parsed[1] in used:
            with before_commit():
                report.put_back += repository.store.put_new(key, data)
    trash.clear()


def _finish(
    repository: Repository, plan: Plan, in_use: InUse, trash: Trash, report: Collected
) -> set[str]:
    """Put back what an interrupted run has deleted and is needed; return digests in use."""
    used = in_use.digests()
    needed = {parsed[1] for key, _ in trash.objects() if (parsed := _needed(plan, key))}
    _put_back(repository, used | needed, trash, report)
    return used


def _needed(plan: Plan, key: str) -> tuple[str, str] | None:
    """Return path and digest of an object of the trash that retention needs."""
    parsed = layout.parse_target_key(key)
    if parsed is None:
        return None
    name, feed, target = parsed[0].split("/")
    retained = plan.lists.get(name)
    needs = retained is not None and retained.needs(Feed(feed), target, parsed[1])
    return parsed if needs else None


def _delete(repository: Repository, key: str) -> bool:
    with before_commit():  # deleted or not: the next run finds out
        return repository.store.delete(key)


def _sha256(doomed: Doomed) -> str:
    """Return the digest in an object's name."""
    return doomed.listed.key.rpartition("/")[2].partition(".")[0]
