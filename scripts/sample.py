"""The public sample list: 121 consecutive versions (see scripts/data/README.md)."""

import json
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path

DATA = Path(__file__).parent / "data" / "urlhaus"
VERSIONS = 121


def versions(count: int = VERSIONS) -> Iterator[set[str]]:
    """Yield the entries of each version in turn; the same set object, changed in place."""
    entries = set(lzma.decompress((DATA / "base.txt.xz").read_bytes()).decode().splitlines())
    yield entries
    with lzma.open(DATA / "changes.jsonl.xz", "rt", encoding="utf-8") as file:
        for _, line in zip(range(count - 1), file, strict=False):
            step = json.loads(line)
            entries.difference_update(step["remove"])
            entries.update(step["add"])
            yield entries


def slice_of(entries: set[str], one_in: int) -> list[str]:
    """Return all entries with a path, and one in `one_in` of the bare hosts, sorted."""
    return sorted(
        entry for entry in entries if "/" in entry or zlib.crc32(entry.encode()) % one_in == 0
    )


def with_port(entry: str) -> bool:
    """Tell whether an entry names a port, which a source refuses unless told otherwise."""
    return ":" in entry.partition("/")[0]
