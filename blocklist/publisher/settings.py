"""What an organisation may set, with the defaults that ship (docs/operating.md, "Settings")."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from blocklist.core.errors import InputError

MIB = 1 << 20
_END = 1 << 53  # what a number in a file may mean without being rounded
_FILES = {"protected_file", "platforms_file", "allow_file"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the publisher; shares are of the entries of the previous release.

    Attributes:
        shrink_share, shrink_entries: Net loss that the `shrink` guard refuses when both are passed.
        churn_share, churn_entries: Added plus removed that the `churn` guard refuses, likewise.
        bad_share, bad_lines: Lines left out as no entries that the `unparseable` guard refuses,
            likewise; the share is of the lines of the sources.
        protected_file, platforms_file: Guard files that add to those that ship; empty for none.
        allow_file: Guard file of what must not be listed in part either; empty for none.
        list_object_bytes: A whole list is also stored as one object while under this many bytes.
        cache_bytes: Old list bytes kept in the home, to make deltas from.
        lock_seconds: How long a command waits for another one on the same home.
        trust_clock: Sign although the repository was signed later than this clock says.
        race_seconds: How long a release by changes is re-applied after lost races.
        candidate_days: How old a candidate may be when it is approved or released.
        single_writer: Write also to an S3 storage that ignores or refuses conditional writes;
            whoever sets it sees to it that one process at a time writes, `refresh` included.
        keep_days, keep_versions: `gc` keeps releases that are younger, or among so many newest.
        gc_grace_days: Objects that nothing names are left alone so long, by the storage's clock.
        stale_candidate_days: A candidate whose base is no longer the newest release is kept so
            long.
    """

    shrink_share: float = 0.10
    shrink_entries: int = 25
    churn_share: float = 0.15
    churn_entries: int = 200
    bad_share: float = 0.50
    bad_lines: int = 25
    protected_file: str = ""
    platforms_file: str = ""
    allow_file: str = ""
    list_object_bytes: int = 8 * MIB
    cache_bytes: int = 1024 * MIB
    lock_seconds: float = 60.0
    race_seconds: float = 60.0
    candidate_days: float = 14.0
    trust_clock: bool = False
    single_writer: bool = False
    keep_days: float = 90.0
    keep_versions: int = 2_000  # more than the longest step of the ladder
    gc_grace_days: float = 1.0
    stale_candidate_days: float = 30.0

    @property
    def candidate_lifetime(self) -> timedelta:
        """The same as a duration."""
        return timedelta(days=self.candidate_days)

    @classmethod
    def from_table(cls, table: Mapping[str, Any], folder: Path = Path()) -> "Settings":
        """Read the `[publisher]` table of the configuration file; unknown keys are refused.

        Args:
            table: The table.
            folder: Of the configuration file: where the paths of guard files begin.
        """
        known = {item.name: item for item in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in table.items():
            if name not in known:
                raise InputError(f"unknown setting publisher.{name}")
            values[name] = _checked(name, value, type(known[name].default))
        for name in _FILES & values.keys():
            values[name] = str(folder / values[name]) if values[name] else ""
        if values.get("gc_grace_days", 1) < 1:
            raise InputError("expected publisher.gc_grace_days as a number of 1 or more")
        return cls(**values)


def _checked(name: str, value: object, wanted: type) -> object:
    if wanted is bool:
        if not isinstance(value, bool):
            raise InputError(f"expected publisher.{name} as true or false")
        return value
    if wanted is str:
        if not isinstance(value, str) or "\0" in value:
            raise InputError(f"expected publisher.{name} as a path")
        return value
    number = isinstance(value, (int, wanted)) and not isinstance(value, bool)
    if not number or not 0 <= value < _END:  # type: ignore[operator] # false for NaN too
        raise InputError(f"expected publisher.{name} as a number of 0 or more")
    return wanted(value)
