"""What a storage makes of conditional writes, found by trying it on an object of its own.

    1. create                          must succeed
    2. create again                    must fail, or conditions are ignored
    3. replace, If-Match current       quoted; when that fails bare
    4. replace, If-Match stale         must fail, or conditions are ignored

Any answer that is not clear (5xx, a broken connection) begins the whole probe anew with another
object, so a failing server is never taken for one that ignores conditions. What a probe cannot
find is a server that checks conditions without being atomic: docs/adr/0010.
"""

import secrets
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from blocklist.core.errors import BlocklistError, LocalError, StoreError, StoreUnreachable
from blocklist.store.layout import PROBES
from blocklist.store.port import Findings
from blocklist.store.s3_bucket import Bucket
from blocklist.store.s3_errors import Fate, RequestFailed
from blocklist.store.s3_write import Conditions

PROBES_AT_MOST = 5
SCRAP_AGE = timedelta(hours=1)  # no probe takes this long, clocks included

_REMEDY = (
    "two publishers at once would lose releases: take a storage with conditional writes, or let "
    "one process at a time write and set publisher.single_writer = true"
)
_ACCEPTED = (
    "and single_writer is set: releases are lost as soon as two processes write at once, "
    "`refresh` included"
)


def probe(bucket: Bucket) -> Conditions:
    """Find out how the storage does conditional writes.

    Raises:
        StoreUnreachable: No probe got clear answers; nothing is known.
        LocalError: Nothing can be written there at all.
    """
    failure: BlocklistError = StoreUnreachable(f"no time to probe {bucket.name}")
    for _ in bucket.patience.tries(PROBES_AT_MOST):
        one = _Probe(bucket)
        try:
            return one.run()
        except RequestFailed as failed:
            if failed.fate is Fate.DENIED:
                raise failed.failure from failed.__cause__
            failure = failed.failure
        finally:
            one.clean()
    raise failure


def sweep(bucket: Bucket) -> None:
    """Remove what probes that were killed have left."""
    oldest = datetime.now(UTC) - SCRAP_AGE
    with suppress(StoreError, LocalError):
        for found in bucket.list(PROBES):
            if found.modified < oldest:
                bucket.delete(found.key)


def findings(name: str, conditions: Conditions, *, single_writer: bool) -> Findings:
    """Say what a probe has found, and whether we write to such a storage."""
    if conditions.kept:
        return Findings(name, conditions, usable=True, warning=None)
    what = f"conditional writes are {conditions} by {name}"
    more = _ACCEPTED if single_writer else _REMEDY
    return Findings(name, conditions, usable=single_writer, warning=f"{what}; {more}")


class _Probe:
    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._key = PROBES + secrets.token_hex(16)
        self._made = False

    def run(self) -> Conditions:
        try:
            return self._asked()
        except RequestFailed as failed:
            if failed.fate is Fate.UNSUPPORTED:
                return Conditions.REFUSED
            raise

    def clean(self) -> None:
        if self._made:
            with suppress(StoreError, LocalError):
                self._bucket.delete(self._key)

    def _asked(self) -> Conditions:
        first = self._put(Conditions.QUOTED, None)
        if first is None:
            return Conditions.REFUSED
        if self._put(Conditions.QUOTED, None):
            return Conditions.IGNORED
        for conditions in (Conditions.QUOTED, Conditions.BARE):
            if self._put(conditions, first):
                return Conditions.IGNORED if self._put(conditions, first) else conditions
        return Conditions.REFUSED

    def _put(self, conditions: Conditions, etag: str | None) -> str | None:
        """Send one write and return its entity tag, None when its condition was not met."""
        nonce = secrets.token_hex(16)  # also the body: every object here has another entity tag
        condition = conditions.unless_changed(etag)
        try:
            made = self._bucket.put(self._key, nonce.encode(), nonce, condition)
        except RequestFailed as failed:
            self._made |= failed.fate in {Fate.UNHEARD, Fate.PENDING}
            if failed.fate is Fate.CONDITION:
                return None
            raise
        self._made = True
        return made
