"""Which lines come and go between two clear lists.

Both are sorted, so one pass suffices. Equal stretches, nearly everything, are compared as blocks;
lines are only looked at where something changed, and only changed lines take memory.
"""

from dataclasses import dataclass

from blocklist.core.listbytes import clear_lines

_BLOCK = 4_096  # bytes compared at once; halved down to one where they differ


@dataclass(frozen=True, slots=True)
class Changes:
    """Lines without line feeds, sorted bytewise.

    Attributes:
        add: Lines that only the new list has.
        remove: Lines that only the old list has.
    """

    add: list[bytes]
    remove: list[bytes]


def between(old: bytes, new: bytes, *, max_bytes: int) -> Changes | None:
    """Return what turns one list into another; None when that is too much.

    Args:
        old, new: Valid clear list bytes.
        max_bytes: The most that the changed lines may take, line feeds included.
    """
    changes = Changes([], [])
    at, to = 0, 0
    while at < len(old) and to < len(new) and max_bytes >= 0:
        same = _same(old, at, new, to)
        at, to = at + same, to + same
        gone, come = _line(old, at), _line(new, to)
        if come and (not gone or come < gone):
            changes.add.append(come[:-1])
            to += len(come)
            max_bytes -= len(come)
        elif gone:
            changes.remove.append(gone[:-1])
            at += len(gone)
            max_bytes -= len(gone)
    if max_bytes < len(old) - at + len(new) - to:
        return None
    changes.remove.extend(clear_lines(old[at:]))
    changes.add.extend(clear_lines(new[to:]))
    return changes


def _same(old: bytes, at: int, new: bytes, to: int) -> int:
    """Return how many bytes of whole lines are equal from the starts of two lines on."""
    start, block = at, _BLOCK
    while block and at < len(old):
        mine = old[at : at + block]
        if mine == new[to : to + block]:
            at, to = at + len(mine), to + len(mine)
        else:
            block //= 2
    return max(old.rfind(b"\n", start, at) + 1 - start, 0)


def _line(data: bytes, at: int) -> bytes:
    """Return the line that begins at `at`, with its line feed; nothing at the end."""
    return data[at : data.find(b"\n", at) + 1] if at < len(data) else b""
