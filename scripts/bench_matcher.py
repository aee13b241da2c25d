"""What a check costs, against a Python set of all entry hashes and the reference matcher.

Benign traffic as a filter sees it: 300,000 URLs on 100,000 hosts by Zipf's law, a third with a
query, some with escapes, some on hosts of which pages are listed, one in a thousand listed.
Everything goes through the public library, on an installed clear feed.

`python -m scripts.bench_matcher --large` adds a list of ten million entries: some minutes, and
four gigabytes of memory while the list is made.
"""

import hashlib
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import accumulate, chain
from pathlib import Path

from blocklist.core.canonical import split_url
from blocklist.core.entries import Feed
from blocklist.core.hashing import EntryHasher, HashKey
from blocklist.core.listbytes import clear_lines, encode_clear
from blocklist.core.matcherfile import record_key
from blocklist.core.matching import ClearIndex, find, host_lines, path_lines
from blocklist.subscriber import Blocklist, matcher_files
from blocklist.subscriber.installed import FeedFolder, Version
from blocklist.subscriber.state import State, make_folder

KEY = HashKey(bytes(range(32)))
SMALL, MIDDLE, LARGE = 150_000, 1_000_000, 10_000_000
URLS, HOSTS, REFERENCE_URLS = 300_000, 100_000, 20_000
REPEATS = 3
SHARED_HOSTS = 20  # on which many pages are listed, and which everybody visits

Result = tuple[str, float, float | None]


def measure(sizes: Iterable[int] = (SMALL, MIDDLE)) -> Iterator[Result]:
    """Yield the figures of each size, and what the largest costs against the smallest."""
    costs: dict[int, tuple[float, float]] = {}
    for size in sizes:
        print(f"checking URLs against {size:,} entries ..", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            state, data = install(Path(folder), size)
            yield from file_figures(state, size)
            urls = traffic(size)
            first, warm = ours(state, urls)
            costs[size] = first, warm
            if size < LARGE:
                theirs = best(plain_set(data), urls)
                yield f"benign, first pass / set, CPU, {size:,} entries", first / theirs, 1 / 5
                yield f"benign, warm / set, CPU, {size:,} entries", warm / theirs, 1 / 15
            reference = best(reference_of(data), urls[:REFERENCE_URLS])
            reference *= URLS / REFERENCE_URLS
            yield f"benign, first pass / reference, CPU, {size:,} entries", first / reference, None
            yield f"  warm, microseconds for a URL, {size:,} entries", warm / URLS * 1e6, None
    smallest, largest = min(costs), max(costs)
    for what, at in (("first pass", 0), ("warm", 1)):
        ratio = costs[largest][at] / costs[smallest][at]
        yield f"benign, {what}, {largest:,} / {smallest:,} entries, CPU", ratio, 1.3


def entries(size: int) -> Iterator[bytes]:
    """Yield entry lines: hosts, and pages of other hosts, some of them on shared hosts."""
    for number in range(size):
        match number % 8:
            case 0 | 1:
                yield b"h listed%d.example" % number
            case 2:
                yield b"u shared%d.example/user%d/page" % (number // 8 % SHARED_HOSTS, number)
            case _:
                yield b"u pages%d.example/some/where/%d.html" % (number, number)


def traffic(size: int) -> list[str]:
    """Return benign URLs in the order in which they are asked; the same for all sizes but hits."""
    draw = random.Random(7)
    weights = list(accumulate(1 / rank for rank in range(1, HOSTS + 1)))
    hosts = draw.choices(range(HOSTS), cum_weights=weights, k=URLS)
    return [url(draw, host, size) for host in hosts]


def url(draw: random.Random, host: int, size: int) -> str:
    """Return one URL on a host."""
    if draw.random() < 0.001:
        return f"http://listed{8 * draw.randrange(size // 8)}.example/"
    name = f"www.site{host}.example" if host % 3 else f"cdn{host}.assets.example"
    if draw.random() < 0.002:
        name = f"shared{host % SHARED_HOSTS}.example"
    if draw.random() < 0.02:
        name = name.upper()
    path = "/".join(f"part{draw.randrange(1000)}" for _ in range(draw.randrange(1, 5)))
    query = f"?id={draw.randrange(10**6)}" if draw.random() < 0.35 else ""
    escape = "%20x" if draw.random() < 0.06 else ""
    return f"https://{name}/{path}{escape}{query}"


def install(directory: Path, size: int) -> tuple[State, bytes]:
    """Install a list as a pull does; return the state and the list bytes."""
    state = State(directory / "state")
    data = encode_clear(entries(size))
    folder = state.feed("bench", Feed.CLEAR)
    state.prepare()
    make_folder(folder.path, state.directory)
    version = version_of(data, size)
    start = time.process_time()
    key = record_key(Feed.CLEAR, version.digest, None)
    matcher_files.write(folder, version, data, key)
    print(f"  making its matcher file: {time.process_time() - start:.2f} s of CPU", flush=True)
    folder.install(version, data)
    return state, data


def version_of(data: bytes, size: int) -> Version:
    """Return a version that holds the list bytes."""
    digest, now = hashlib.sha256(data).hexdigest(), datetime.now(UTC)
    return Version(1, digest, digest, len(data), size, now, None, now)


def file_figures(state: State, size: int) -> Iterator[Result]:
    """Measure the file, and opening it."""
    folder: FeedFolder = state.feed("bench", Feed.CLEAR)
    length = next(folder.path.glob("*.matcher")).stat().st_size
    yield f"matcher file, bytes for an entry, {size:,} entries", length / size, 25
    took = min(cpu(lambda: Blocklist.open(state.directory)) for _ in range(5))
    yield f"opening it, ms of CPU, {size:,} entries", took * 1000, 50 if size >= LARGE else None


def ours(state: State, urls: list[str]) -> tuple[float, float]:
    """Return CPU seconds of the first pass from nothing, and of the same again."""
    first, warm = [], []
    for _ in range(REPEATS):
        lists = Blocklist.open(state.directory)
        first.append(cpu(lambda lists=lists: each(lists.match, urls)))
        warm.append(cpu(lambda lists=lists: each(lists.match, urls)))
    return min(first), min(warm)


def plain_set(data: bytes) -> Callable[[str], object]:
    """Return a check by a set of the hashes of all entries, each candidate hashed."""
    hasher = EntryHasher(KEY)
    listed = set(hasher.entry_hashes(clear_lines(data)))

    def check(text: str) -> bool:
        host, path, query = split_url(text)
        lines = chain(host_lines(host), path_lines(host, path, query))
        return any(found in listed for found in hasher.entry_hashes(lines))

    return check


def reference_of(data: bytes) -> Callable[[str], object]:
    """Return a check by the reference matcher, on list bytes in memory."""
    index = ClearIndex(data)
    return lambda text: find(index, text)


def best(check: Callable[[str], object], urls: list[str]) -> float:
    """Return the CPU seconds of the quietest of some runs."""
    return min(cpu(lambda: each(check, urls)) for _ in range(REPEATS))


def each(check: Callable[[str], object], urls: list[str]) -> None:
    """Ask for every URL."""
    for text in urls:
        check(text)


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> int:
    """Measure alone; exit 1 when a promise is broken."""
    sizes = (SMALL, MIDDLE, LARGE) if "--large" in sys.argv[1:] else (SMALL, MIDDLE)
    broken = False
    for what, figure, promise in measure(sizes):
        bad = promise is not None and figure > promise
        broken |= bad
        told = "" if promise is None else f"  promise {promise:.3g}{'  BROKEN' if bad else ''}"
        print(f"{what:<66}{figure:>10.3f}{told}", flush=True)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
