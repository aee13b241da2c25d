"""Guard files: what an organisation keeps, beside what ships in `data/`.

Three files, in the words of sources (`.name` a name and all below it, a bare name that host,
`name/page`, `name/dir/*`); settings name them. `protected_file` and `platforms_file` add to the
lists that ship, `allow_file` stands alone. A file that does not parse stops everything.
"""

import hashlib
from collections.abc import Set
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Self

from blocklist.core.errors import BadSource, InputError, LocalError
from blocklist.core.sources import parse_source
from blocklist.publisher.guards import suffixes
from blocklist.publisher.guards.coverage import Cover
from blocklist.publisher.settings import Settings
from blocklist.store.localfiles import read_limited

MAX_FILE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class GuardFiles:
    """What the guards of entries know.

    Attributes:
        protected: Names that no entry may cover.
        platforms: Hosts that many people share.
        allow: The organisation's allow file.
        digest: SHA-256 over all of it and the public suffix list: machines with the same digest
            find the same.
    """

    protected: Cover
    platforms: Cover
    allow: Cover
    digest: str

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """Read what ships and the files that settings name.

        Raises:
            InputError: A file that is missing, unreadable or does not parse, naming all bad lines.
            LocalError: The public suffix list is not installed.
        """
        protected = _shipped("protected.txt") | _own("protected_file", settings.protected_file)
        platforms = _shipped("platforms.txt") | _own("platforms_file", settings.platforms_file)
        return cls.of(protected, platforms, _own("allow_file", settings.allow_file))

    @classmethod
    def of(cls, protected: Set[bytes], platforms: Set[bytes], allow: Set[bytes]) -> Self:
        """Return what guards know from lines of entries."""
        state = hashlib.sha256(suffixes.digest().encode())
        for lines in (protected, platforms, allow):
            state.update(b"\n\n" + b"\n".join(sorted(lines)))
        return cls(Cover.of(protected), Cover.of(platforms), Cover.of(allow), state.hexdigest())


@cache
def _shipped(name: str) -> Set[bytes]:
    file = resources.files(__package__) / "data" / name
    return parse_source(file.read_bytes(), format="text").lines


def _own(setting: str, path: str) -> Set[bytes]:
    """Return the lines of an organisation's file; none when there is no file."""
    if not path:
        return frozenset()
    name = f"{path} (publisher.{setting})"
    try:
        data = read_limited(Path(path), MAX_FILE_BYTES)
    except LocalError as error:
        raise InputError(f"{name}: {error}") from error
    if data is None:
        raise InputError(f"{name}: expected a file, there is none")
    try:
        return parse_source(data).lines
    except BadSource as error:
        error.args = (f"{name}: {error}",)
        raise
