"""Content-addressed objects of a release, safe beside a `gc` that deletes at the same time.

An object that a release needs may lie there already, as leftover of another release, and `gc` may
just be deleting it. Two orders meet, as in Dekker's algorithm (docs/adr/0012):

    publisher   write objects; write role file; put back what is gone; commit
    gc          delete objects; read all role files, not only the live ones; put back what they name

Whichever looks last sees what the other one did: no head names an object that is gone for good.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from blocklist.core.errors import DigestMismatch, OutcomeUnknown, StoreError, StoreUnreachable
from blocklist.store.port import Store

FRESH = timedelta(hours=6)
"""Objects made by this command that long ago are too young for any `gc`: its grace is a day."""


class Blobs:
    """The objects of one release.

    Args:
        store: The storage.
        clock: Gives the time; that of this machine.
    """

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._begun = clock()
        self._made: dict[str, bytes] = {}
        self._reused: dict[str, bytes] = {}

    def put(self, key: str, data: bytes) -> None:
        """Store an object, or make sure that what is there is the same.

        Args:
            key: Its key, which names the digest of `data`.
            data: The object.

        Raises:
            DigestMismatch: Other bytes are there.
            StoreUnreachable: It may not be there; nothing names it yet.
        """
        made = self._put(key, data)
        (self._made if made else self._reused)[key] = data

    def confirm(self) -> None:
        """Put back what `gc` took meanwhile: between writing the role file and the commit.

        What this command made itself is looked at only when that was long ago: the machine may
        have slept.

        Raises:
            DigestMismatch, StoreUnreachable: As `put`.
        """
        asleep = abs(self._clock() - self._begun) > FRESH
        for key, data in {**self._reused, **(self._made if asleep else {})}.items():
            self._put(key, data)

    def _put(self, key: str, data: bytes) -> bool:
        """Create the object; False: it was there, with the same bytes."""
        for _ in range(3):
            try:
                if self._store.put_new(key, data):
                    return True
            except OutcomeUnknown as error:
                raise StoreUnreachable(f"nothing was released, run it again: {error}") from error
            found = self._store.get(key)
            if found is not None and found.data == data:
                return False
            if found is not None:
                raise DigestMismatch(
                    f"{key} does not hold what its name says; see `blocklist fsck`"
                )
        raise StoreError(f"{key} was there and is gone, again and again")
