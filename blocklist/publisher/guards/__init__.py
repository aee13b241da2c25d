"""Guards: releases that would do harm are refused unless somebody takes the blame by name.

`GUARDS` lists the codes, in the order in which they are told. Those of the whole list look at
numbers (`whole.py`), those of entries at each line that a release adds (`lines.py`). What they find
is the same on every machine with the same guard files: people who approve a release compute it
again and compare. No message names an entry; a finding holds the lines for whoever may see them.
"""

from blocklist.publisher.guards.change import Change, Finding
from blocklist.publisher.guards.check import (
    GUARDS,
    GuardsRefused,
    check,
    find,
    leave_out,
)
from blocklist.publisher.guards.files import GuardFiles

__all__ = [
    "GUARDS",
    "Change",
    "Finding",
    "GuardFiles",
    "GuardsRefused",
    "check",
    "find",
    "leave_out",
]
