"""Rules for names, exact also where daemons follow the wildcards of DNS (RFC 4592).

There, `*.parent.example` says nothing of names below another name that the zone holds: with a rule
for `a.b.parent.example` beside it, `x.b.parent.example` would be open. So rules below a blocked
domain are left out where they say the same, and where a name must pass below one, every name
between the two gets rules of its own, as has that name itself.

Names that must pass always win.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from blocklist.core.errors import ExportRefused
from blocklist.subscriber.exports.names import Names

NEVER_BLOCK = "never-block"
TOO_LONG = "too-long"  # with the zone's name behind it
_WILDCARD = len("*.")


class Action(Enum):
    """What a resolver does with a name."""

    BLOCK = "block"
    PASS = "pass"  # noqa: S105 - no password


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to one name and to those below it.

    Attributes:
        exact: To the name itself.
        below: To all names below it that no other rule is nearer to; None leaves them alone.
    """

    exact: Action
    below: Action | None


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules by name.

    Attributes:
        of: By name; names that no rule is for are left alone.
        skipped: Number of entries without a rule, by reason.
    """

    of: Mapping[str, Rule]
    skipped: Mapping[str, int]


def rules(blocked: Names, allowed: Names, room: int) -> Rules:
    """Return the rules that block `blocked` except for `allowed`.

    Args:
        blocked: What lists say.
        allowed: Names that must pass.
        room: The longest name, in bytes, that the target can hold.

    Raises:
        ExportRefused: A name that must pass is too long to say so, and its domain is blocked.
    """
    pass_hosts = {one.name for one in allowed.hosts}
    pass_domains = {one.name for one in allowed.domains}
    skipped = dict.fromkeys((NEVER_BLOCK, TOO_LONG), 0)
    domains: set[str] = set()
    for name in (one.name for one in blocked.domains):
        if _covered(name, pass_domains):
            skipped[NEVER_BLOCK] += 1
        elif len(name) + _WILDCARD > room:
            skipped[TOO_LONG] += 1
        else:
            domains.add(name)
    found = {
        name: Rule(Action.BLOCK, Action.BLOCK)
        for name in domains
        if not _covered(name.partition(".")[2], domains)
    }
    for name in (one.name for one in blocked.hosts):
        if name in pass_hosts or _covered(name, pass_domains):
            skipped[NEVER_BLOCK] += 1
        elif _covered(name, domains):
            continue  # blocked by the domain's rule
        elif len(name) > room:
            skipped[TOO_LONG] += 1
        else:
            found[name] = Rule(Action.BLOCK, None)
    carved = _carved(domains, pass_hosts, pass_domains)
    if any(len(name) + _WILDCARD > room for name in carved):
        raise ExportRefused("a name that must not be blocked is too long for the zone")
    found |= carved
    return Rules(found, {reason: count for reason, count in skipped.items() if count})


def passing(allowed: Names) -> Mapping[str, Rule]:
    """Return the rules of a zone of its own that lets names pass, whatever other zones say."""
    domains = {one.name for one in allowed.domains}
    found = {one.name: Rule(Action.PASS, None) for one in allowed.hosts}
    found |= {name: Rule(Action.PASS, Action.PASS) for name in domains}
    return {n: r for n, r in found.items() if not _covered(n.partition(".")[2], domains)}


def _carved(domains: set[str], pass_hosts: set[str], pass_domains: set[str]) -> dict[str, Rule]:
    """Return the rules that let names pass below blocked domains, and keep the others blocked."""
    found: dict[str, Rule] = {}
    for name in pass_hosts | pass_domains:
        if not _covered(name, domains) or _covered(name.partition(".")[2], pass_domains):
            continue
        below = Action.PASS if name in pass_domains else Action.BLOCK
        found[name] = Rule(Action.PASS, below)
        for between in _below(name.partition(".")[2], domains):
            exact = Action.PASS if between in pass_hosts else Action.BLOCK
            found[between] = Rule(exact, Action.BLOCK)
    return found


def _below(name: str, domains: set[str]) -> Iterator[str]:
    """Yield a name and its parents, as long as a blocked domain covers them."""
    while _covered(name, domains):
        yield name
        name = name.partition(".")[2]


def _covered(name: str, domains: set[str]) -> bool:
    """Tell whether a name or one of its parents is among `domains`."""
    while name:
        if name in domains:
            return True
        name = name.partition(".")[2]
    return False
