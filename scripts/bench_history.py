"""What long histories cost: `history` and its index at 100,000 releases against 1,000, and audits.

The releases have real role files and records, made by the kit of the tests; about 12 changes each.
"""

import random
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from blocklist.publisher import history
from blocklist.publisher.audit.run import audit_list
from blocklist.publisher.index import open_index
from tests.history_kit import Past
from tests.publisher_kit import LIST

FEW, MANY = 1_000, 100_000
AUDITED = (500, 4_000)
ADDED, REMOVED = 8, 4
STANDING = 4_000  # entries after which they are all removed
LOOKED_UP = 20
REPEATS = 5

Result = tuple[str, float, float | None]


def measure() -> Iterable[Result]:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as folder:
        print("histories of 1,000 and 100,000 releases ..", flush=True)
        few, many = (made(Path(folder) / str(n), n, signed=False) for n in (FEW, MANY))
        built = [cpu(lambda past=past: look_up(past)) for past in (few, many)]
        yield "index of 100,000 releases / of 1,000, CPU of making it", built[1] / built[0], 200
        yield "  CPU seconds for 100,000", built[1], None
        yield "history of 20 URLs at 100,000 releases / at 1,000, CPU", ratio(look_up, few, many), 3
        yield "  wall seconds of one at 100,000", wall(lambda: look_up(many, 1)), 1
        yield "index: one more release at 100,000 / at 1,000, CPU", ratio(one_more, few, many), 3
        short, long = (made(Path(folder) / f"audit-{n}", n, signed=True) for n in AUDITED)
        costs = [cpu(lambda past=past: audit(past)) for past in (short, long)]
        each = [cost / number for cost, number in zip(costs, AUDITED, strict=True)]
        yield "audit verify: a release of 4,000 / of 500, CPU", each[1] / each[0], 1.5
        yield "  CPU seconds for 100,000", each[1] * MANY, 600


def made(folder: Path, releases: int, *, signed: bool) -> Past:
    """Return a history of so many releases; entries come, stay a while, and go."""
    rng = random.Random(releases)
    past = Past.made(folder, signed=signed, exact=signed)
    waiting: list[str] = []
    for number in range(1, releases):
        added = [f"u site-{rng.randrange(5_000)}.example/{number}/{n}" for n in range(ADDED)]
        gone = [waiting.pop(rng.randrange(len(waiting))) for _ in range(REMOVED if waiting else 0)]
        past.release(added, gone)
        waiting += added
        if len(waiting) > STANDING:
            past.release(removed=waiting)
            waiting = []
    past.commit()
    return past


def look_up(past: Past, urls: int = LOOKED_UP) -> None:
    """Ask when some URLs were covered."""
    for number in range(urls):
        history.covering(past.kit.repository(), LIST, f"http://site-{number}.example/7/1?q")


def one_more(past: Past) -> None:
    """Bring the index up to date with one more release."""
    assert past.prev is not None
    past.release(added=[f"u new.example/{past.prev[0]}"])
    past.commit()
    with open_index(past.kit.repository(), LIST) as index:
        if index.version != past.prev[0]:
            raise SystemExit("the index is not up to date")


def audit(past: Past) -> None:
    """Audit everything."""
    if audit_list(past.kit.repository(), LIST).problems:
        raise SystemExit("the sample has problems")


def ratio(work: Callable[[Past], None], few: Past, many: Past) -> float:
    """Return the cost of `many` against `few`, the best of several turns."""
    rounds = [(cpu(lambda: work(many)), cpu(lambda: work(few))) for _ in range(REPEATS)]
    return min(one for one, _ in rounds) / min(other for _, other in rounds)


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds of this process that work takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def wall(work: Callable[[], object]) -> float:
    """Return the seconds that work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    for what, figure, promise in measure():
        print(f"{what:<66}{figure:>12.3f}{promise if promise is not None else '-':>12}")
