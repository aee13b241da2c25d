"""Large bodies of one process: each is held once, however many send it, and not too many at a time.

A body counts while anybody has it, and is forgotten with the last one; so who sends one keeps it.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from blocklist.api.heavy import TooBusy
from blocklist.api.limits import LARGE_BYTES
from blocklist.api.problems import BUSY, Problem

_RETRY_SECONDS = "5"


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Body:
    """Bytes to send.

    Attributes:
        data: They.
        intact: Whether they are what their name or signature says.
    """

    data: bytes
    intact: bool = True


class Bodies:
    """The large bodies that somebody has.

    Args:
        capacity: Bytes of different ones in all. One that alone is more does not count, but
            there is one such at a time.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: WeakValueDictionary[Hashable, Body] = WeakValueDictionary()

    def get(self, key: Hashable) -> Body | None:
        """Return the body that somebody has under `key`, if anybody does."""
        return self._held.get(key)

    def of(self, key: Hashable, data: bytes) -> Body:
        """Return the body of bytes that are remembered anyway, so that there is room for them."""
        held = self._held.get(key)
        if held is not None:
            return held
        body = Body(data)
        if len(data) > LARGE_BYTES:
            self._held[key] = body
        return body

    def add(self, key: Hashable, body: Body) -> Body:
        """Take up a new body; one that is not intact is nobody else's.

        Raises:
            TooBusy: There is no room.
        """
        if len(body.data) > LARGE_BYTES:
            self.expect_room(len(body.data))
            self._held[key if body.intact else object()] = body
        return body

    def expect_room(self, size: int) -> None:
        """Look whether a body of `size` bytes can be taken up.

        Raises:
            TooBusy: It cannot.
        """
        sizes = [len(body.data) for body in self._held.values()]
        if size > self._capacity:
            fits = all(other <= self._capacity for other in sizes)
        else:
            fits = size + sum(n for n in sizes if n <= self._capacity) <= self._capacity
        if not fits:
            raise TooBusy("too many large bodies are being sent")


def busy() -> Problem:
    """Return the answer to who is one too many."""
    return Problem(BUSY, "too much is being read and sent", {"Retry-After": _RETRY_SECONDS})
