"""Lifetimes and limits of metadata, in one place (docs/spec.md, "Limits")."""

from datetime import datetime, timedelta

from tuf.ngclient import UpdaterConfig

ROOT_LIFETIME = timedelta(days=457)  # 15 months
TARGETS_LIFETIME = timedelta(days=457)  # 15 months
LIST_LIFETIME = timedelta(days=90)
SNAPSHOT_LIFETIME = timedelta(days=7)
TIMESTAMP_LIFETIME = timedelta(hours=24)

RENEW_BELOW = 0.5  # share of its life left at which a role is signed again
WARN_BELOW = 0.25  # share of its life left at which operators are warned

MAX_ROOT_BYTES = 65_536
MAX_TIMESTAMP_BYTES = 4_096
MAX_SNAPSHOT_BYTES = 262_144
MAX_TARGETS_BYTES = 524_288
MAX_ROOT_ROTATIONS = 256  # in one refresh
MAX_DELEGATIONS = 128
MAX_JUMP = 1_000_000  # between two numbers of a role: whoever takes the last one ends a list
MAX_BURNED = 1_000  # leftovers skipped in a row before the store is called malformed

CLOCK_SLACK = timedelta(minutes=10)  # clocks may differ by so much
UPDATE_DEADLINE = 120.0  # seconds for one whole update


def updater_config() -> UpdaterConfig:
    """Return the limits for `tuf.ngclient`."""
    return UpdaterConfig(
        max_root_rotations=MAX_ROOT_ROTATIONS,
        max_delegations=MAX_DELEGATIONS,
        root_max_length=MAX_ROOT_BYTES,
        timestamp_max_length=MAX_TIMESTAMP_BYTES,
        snapshot_max_length=MAX_SNAPSHOT_BYTES,
        targets_max_length=MAX_TARGETS_BYTES,
    )


def life_left(expires: datetime, lifetime: timedelta, now: datetime) -> float:
    """Return the share of its life that is left, 1.0 when new, 0.0 or less when expired."""
    return (expires - now) / lifetime
