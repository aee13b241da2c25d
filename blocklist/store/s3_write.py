"""One conditional write, sent until it is known what became of it.

    answer                                        then
    200                                           written
    412 (404 for If-Match)                        look: ours, somebody else's, or as before
    5xx, 409, broken connection, timeout          maybe written: pause, send again
    connection refused, body cut off, 429         not written: pause, send again
    403, no such bucket, wrong clock              not written, and never will be

Sending again is safe because of the condition: what has been written cannot be written twice. A 412
is looked into even when it answers the first request, since a proxy may have sent that twice, or
the server means a race that nobody has won yet. Our own object is known by the nonce in its
metadata; where a server drops metadata, by its bytes. When the turns are used up:

    never sent as a whole                         the failure: nothing was changed
    looked: ours                                  written
    looked: somebody else's                       lost
    looked: as before                             the failure; `OutcomeUnknown` after a timeout
    cannot look                                   `OutcomeUnknown`

Source: the contract of `Store`, "Ambiguous answers"; figures in docs/adr/0010.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from blocklist.core.errors import (
    BlocklistError,
    LocalError,
    OutcomeUnknown,
    StoreError,
    StoreUnreachable,
    TooLarge,
)
from blocklist.store.s3_bucket import Bucket
from blocklist.store.s3_errors import Fate, RequestFailed

NOTHING_THERE = MappingProxyType({"IfNoneMatch": "*"})
_NO_CONDITION: Mapping[str, str] = MappingProxyType({})


class Conditions(StrEnum):
    """How a storage does conditional writes."""

    QUOTED = "If-Match quoted"  # as RFC 9110 has it
    BARE = "If-Match bare"  # Ceph compares the header with the bare digest
    IGNORED = "ignored"
    REFUSED = "refused"

    @property
    def kept(self) -> bool:
        """Whether conditional writes can be relied on."""
        return self in {Conditions.QUOTED, Conditions.BARE}

    def unless_changed(self, etag: str | None) -> Mapping[str, str]:
        """Return the condition that the object is the one of `etag`, None: that there is none."""
        if etag is None:
            return NOTHING_THERE
        return {"IfMatch": etag if self is Conditions.BARE else f'"{etag}"'}


@dataclass(slots=True)
class Write:
    """One call of `put_new` or `replace_if`.

    Args:
        bucket: Where.
        key: Which object.
        data: Its bytes to be.
        before: The entity tag it must have now; None when nothing may be there.
        conditions: How the storage does conditional writes. Where it does not, we look before
            each request: only right while nobody else writes (`single_writer`).
    """

    bucket: Bucket
    key: str
    data: bytes
    before: str | None
    conditions: Conditions
    _nonce: str = field(default_factory=lambda: secrets.token_hex(16))
    _maybe: bool = False  # a request may have been carried out
    _pending: bool = False  # .. and may still be under way

    def run(self) -> str | None:
        """Write.

        Returns:
            The new entity tag, or None: lost, something else is there.

        Raises:
            StoreUnreachable, LocalError: Nothing was changed.
            OutcomeUnknown: It may or may not have been written.
        """
        failure: BlocklistError = StoreUnreachable(f"no time to write {self.key}")
        for _ in self.bucket.patience.tries(self.bucket.patience.writes):
            try:
                return self._send()
            except RequestFailed as error:
                fate, failure = error.fate, error.failure
            self._maybe |= fate in {Fate.UNHEARD, Fate.PENDING}
            self._pending |= fate is Fate.PENDING
            if fate in {Fate.DENIED, Fate.UNSUPPORTED}:
                break
            if fate is Fate.CONDITION:
                seen = self._looked()
                if not seen.as_before:
                    return seen.own
        return self._settled(failure)

    def _send(self) -> str:
        if self.conditions.kept:
            condition = self.conditions.unless_changed(self.before)
            return self.bucket.put(self.key, self.data, self._nonce, condition)
        seen = self._looked() if self._maybe else self._look()
        if not seen.as_before:
            lost = StoreUnreachable(f"something else is at {self.key}")
            raise RequestFailed(Fate.CONDITION, lost)
        return self.bucket.put(self.key, self.data, self._nonce, _NO_CONDITION)

    def _settled(self, failure: BlocklistError) -> str | None:
        if not self._maybe:
            raise failure
        seen = self._looked()
        if not seen.as_before:
            return seen.own
        if self._pending:
            raise OutcomeUnknown(f"{failure}; it may still write that") from failure
        raise failure

    def _looked(self) -> "_Seen":
        try:
            return self._look()
        except (StoreError, LocalError) as error:
            raise OutcomeUnknown(f"cannot tell whether {self.key} was written: {error}") from error

    def _look(self) -> "_Seen":
        head = self.bucket.head(self.key)
        if head is None:
            return _Seen(as_before=self.before is None)
        if head.nonce == self._nonce:
            return _Seen(as_before=False, own=head.etag)
        if head.etag == self.before:
            return _Seen(as_before=True)
        unmarked = head.nonce is None and self._maybe
        return _Seen(as_before=False, own=self._own_bytes() if unmarked else None)

    def _own_bytes(self) -> str | None:
        """Return the entity tag if our bytes are there."""
        try:
            found = self.bucket.get(self.key, len(self.data))
        except TooLarge:
            return None
        return found.token if found is not None and found.data == self.data else None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What lies at the key: what was there before, or our object (its entity tag), or another."""

    as_before: bool
    own: str | None = None
