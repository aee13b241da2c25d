"""Does the live resolver block what was exported?

It is asked for a name that is listed alone and for the name's sibling, which is not listed. Only a
name that is answered as the policy says *and* a sibling that is answered with data prove anything:
a resolver that filters nothing says NXDOMAIN too where there is no such name.
"""

import time

from blocklist.core.errors import LocalError
from blocklist.subscriber.exports.rpz import NODATA, NXDOMAIN, Policy
from blocklist.subscriber.resolver import NO_ERROR, NO_SUCH_NAME, Answer, Resolver

PROBE_SECONDS = 15.0  # daemons need a while to read a large file
_PAUSE_SECONDS = 0.25
SIBLING = "sibling"


def failure(resolver: Resolver, name: str, policy: Policy) -> str | None:
    """Ask until the name is blocked; return what is wrong, None when it provably is.

    Args:
        resolver: Whom to ask.
        name: The listed name; names of `sibling.NAME` are not listed.
        policy: What is answered for blocked names.
    """
    deadline = time.monotonic() + PROBE_SECONDS
    while True:
        problem = _look(resolver, name, policy)
        if problem is None or time.monotonic() > deadline:
            return problem
        time.sleep(_PAUSE_SECONDS)


def _look(resolver: Resolver, name: str, policy: Policy) -> str | None:
    try:
        if not _blocked(resolver.ask(name, policy.record_type), policy):
            return "the resolver does not block the probe's name"
        sibling = resolver.ask(f"{SIBLING}.{name}")
    except LocalError as error:
        return str(error)
    if sibling.code == NO_ERROR and sibling.data and not _blocked(sibling, policy):
        return None
    return "inconclusive: the resolver has no other answer for the sibling of the probe's name"


def _blocked(answer: Answer, policy: Policy) -> bool:
    if policy.text == NXDOMAIN:
        return answer.code == NO_SUCH_NAME
    if policy.text == NODATA:
        return answer.code == NO_ERROR and not answer.data
    return (policy.address or policy.text) in answer.data
