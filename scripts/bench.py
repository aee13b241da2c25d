"""`make bench`: what the design promises, as ratios measured side by side in one run, or as bytes.

CPU seconds of this process; absolute figures depend on the machine, the ratios hardly do.
"""

import hashlib
import math
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import brotli

from blocklist.core import delta, listbytes
from blocklist.core.canonical import split_url
from blocklist.core.canonical_rules import split_url_by_rules
from blocklist.core.entries import Feed
from blocklist.core.hashing import ENTRY_HASH_BYTES, HashKey, hash_lines
from blocklist.core.sources import parse_source
from blocklist.publisher.build import build_feeds
from scripts import bench_api, bench_history, bench_matcher, bench_nginx, bench_squid, sample

KEY = HashKey(bytes(range(32)))
MILLION = 1_000_000
REPEATS = 5
PROCESSES = 3


def main() -> int:
    """Run all measurements; exit 1 when a promise is broken."""
    results = [*canonicalisation(), *full_publish(), *delta_sizes(), *applying()]
    results += bench_matcher.measure()
    results += [*bench_history.measure(), *bench_api.measure(), *behind_nginx()]
    results += bench_squid.measure()
    print(f"\n{'measurement':<66}{'figure':>12}{'promise':>12}")
    for what, figure, promise in results:
        mark = "" if promise is None or figure <= promise else "  BROKEN"
        told = "-" if promise is None else f"{promise:.3g}"
        print(f"{what:<66}{figure:>12,.3f}{told:>12}{mark}")
    return int(any(promise is not None and figure > promise for _, figure, promise in results))


Result = tuple[str, float, float | None]


def behind_nginx() -> Iterable[Result]:
    """Compare our nginx configuration, authorisation cached, with nginx serving a file."""
    print("a 20 kB object through nginx ..", flush=True)
    ratio = bench_nginx.measure().ratio
    yield "20 kB object through our nginx / static file, CPU", ratio, 2


def canonicalisation() -> Iterable[Result]:
    """Compare the fast path with the oracle on the same real URLs, in turn."""
    print("canonicalisation ..", flush=True)
    urls = [f"http://{entry}" for entry in everything() if "/" in entry]
    rounds = [
        (
            cpu(lambda: _each(split_url, urls)),
            cpu(lambda: _each(split_url_by_rules, urls)),
        )
        for _ in range(REPEATS)
    ]
    yield f"fast canonicalisation / oracle, CPU, {len(urls):,} URLs", best_ratio(rounds), 1 / 6


def full_publish() -> Iterable[Result]:
    """Parse, canonicalise, hash, sort and digest a million URLs in a process of its own."""
    print("a million URLs, both feeds ..", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.txt"
        source.write_text("\n".join(million_urls()))
        command = [sys.executable, "-m", "scripts.bench", "--full-publish", str(source)]
        runs = []
        for _ in range(PROCESSES):
            out = subprocess.run(command, check=True, capture_output=True, text=True)
            runs.append([float(word) for word in out.stdout.split()])
    ratio = best_ratio([(ours, theirs) for ours, theirs, _ in runs])
    yield "full publish of 1,000,000 URLs / oracle canonicaliser, CPU", ratio, 0.5
    yield "  its peak memory, MB", max(megabytes for *_, megabytes in runs), 600


def full_publish_child(path: Path) -> None:
    """Print CPU seconds of publish and oracle, and the peak memory before the oracle runs."""
    source = path.read_bytes()
    start = time.process_time()
    feeds = build_feeds(parse_source(source).lines, KEY)
    digests = feeds.digests
    ours = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if len(feeds.content[Feed.HASHED]) < 0.9 * MILLION * ENTRY_HASH_BYTES or len(digests) != 2:
        raise SystemExit("the sample is not a million entries")
    del feeds
    lines = source.decode().splitlines()
    theirs = cpu(lambda: _each(split_url_by_rules, lines))
    print(ours, theirs, peak)


def delta_sizes() -> Iterable[Result]:
    """Sum the stored bytes of all 120 steps of the sample against the limits."""
    print("deltas of 120 steps ..", flush=True)
    totals = dict.fromkeys(("hashed", "limit", "clear", "tool", "paths", "tool paths"), 0.0)
    old: list[bytes] = []
    for number, entries in enumerate(sample.versions()):
        new = sorted(parse_source("\n".join(entries).encode(), skip_bad=True).lines)
        if number:
            add_step(totals, old, new)
        old = new
    yield (
        "hashed deltas / information-theoretic limit, bytes",
        *over(totals, "hashed", "limit", 1.02),
    )
    yield "clear deltas / diff -n + brotli 11, bytes", *over(totals, "clear", "tool", 0.65)
    yield "  entries with a path only", *over(totals, "paths", "tool paths", 1.0)


def add_step(totals: dict[str, float], old: list[bytes], new: list[bytes]) -> None:
    """Add one step's bytes, ours and the yardsticks'."""
    totals["hashed"] += len(delta.encode(Feed.HASHED, hash_lines(old, KEY), hash_lines(new, KEY)))
    totals["limit"] += hashed_limit(old, new)
    for ours, tool, keep in (("clear", "tool", None), ("paths", "tool paths", b"/")):
        before, after = (
            listbytes.encode_clear(line for line in lines if keep is None or keep in line)
            for lines in (old, new)
        )
        totals[ours] += len(delta.encode(Feed.CLEAR, before, after))
        totals[tool] += len(brotli.compress(rcs_diff(before, after), quality=11, lgwin=24))


def hashed_limit(old: list[bytes], new: list[bytes]) -> float:
    """Return log2(C(n, r)) + 128 a - log2(a!) in bytes: which are removed, and which are new."""
    before, after = set(old), set(new)
    n, r, a = len(before), len(before - after), len(after - before)
    bits = log2_factorial(n) - log2_factorial(r) - log2_factorial(n - r)
    return (bits + 8 * ENTRY_HASH_BYTES * a - log2_factorial(a)) / 8


def log2_factorial(n: int) -> float:
    """Return log2(n!)."""
    return math.lgamma(n + 1) / math.log(2)


def rcs_diff(old: bytes, new: bytes) -> bytes:
    """Return what `diff -n` prints; its own files, deleted afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("old", "new")]
        for path, data in zip(paths, (old, new), strict=True):
            path.write_bytes(data)
        done = subprocess.run(["diff", "-n", *map(str, paths)], capture_output=True)
    if done.returncode > 1:
        raise SystemExit(f"diff failed: {done.stderr.decode()}")
    return done.stdout


def applying() -> Iterable[Result]:
    """Apply 1,000 changes to a million entry hashes, SHA-256 included."""
    print("applying to a million entry hashes ..", flush=True)
    hashes = sorted({secrets.token_bytes(ENTRY_HASH_BYTES) for _ in range(MILLION + 500)})
    old = b"".join(hashes[:-500])
    removed = set(hashes[:MILLION:2000])
    new = b"".join(item for item in hashes if item not in removed)
    step = delta.encode(Feed.HASHED, old, new)

    def apply() -> None:
        result = delta.apply(Feed.HASHED, old, step, max_bytes=1 << 30)
        if hashlib.sha256(result).digest() != hashlib.sha256(new).digest():
            raise SystemExit("the delta gave another list")

    once = min(cpu(apply) for _ in range(REPEATS))
    hashing = min(cpu(lambda: hashlib.sha256(new).digest()) for _ in range(REPEATS))
    yield "apply 1,000 changes to 1,000,000 hashes, CPU s", once - hashing, 0.1


def everything() -> list[str]:
    """Return every entry that was ever in the sample, in a fixed order."""
    found: set[str] = set()
    for entries in sample.versions():
        found |= entries
    return sorted(entry for entry in found if not sample.with_port(entry))


def million_urls() -> list[str]:
    """Return a million distinct URLs: real paths, on real hosts first and then on numbered ones."""
    entries = [entry for entry in everything() if "/" in entry]
    urls: list[str] = []
    number = 0
    while len(urls) < MILLION:
        prefix = f"s{number}." if number else ""
        urls += [f"http://{prefix}{e}" for e in entries if number == 0 or not e[0].isdigit()]
        number += 1
    return urls[:MILLION]


def _each(work: Callable[[str], object], urls: Iterable[str]) -> None:
    for url in urls:
        work(url)


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def best_ratio(rounds: list[tuple[float, float]]) -> float:
    """Return the ratio of the quietest runs of both sides."""
    return min(ours for ours, _ in rounds) / min(theirs for _, theirs in rounds)


def over(totals: dict[str, float], ours: str, theirs: str, promise: float) -> tuple[float, float]:
    """Print both totals and return their ratio and the promise."""
    print(f"  {ours}: {totals[ours]:,.0f} bytes, {theirs}: {totals[theirs]:,.0f} bytes")
    return totals[ours] / totals[theirs], promise


if __name__ == "__main__":
    if sys.argv[1:2] == ["--full-publish"]:
        full_publish_child(Path(sys.argv[2]))
    else:
        sys.exit(main())
