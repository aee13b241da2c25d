"""Does a filter block the test entry, and only that? Pure judgement of what probes brought.

It *passes* only where nobody who filters nothing could have answered the same: that is what the
control is for, a resolver or authority that filters nothing. What no answer can prove is
*inconclusive*. The test entry is a `host` entry: it must be blocked, its sibling must not.
"""

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from blocklist.subscriber.probes import Fetched, Reply, Resolved

BLOCK_STATUS: Final = 451
_SERVER_ERRORS: Final = range(500, 600)  # what a proxy says of a site that it cannot reach


class Verdict(StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105 - a verdict, no secret
    INCONCLUSIVE = "inconclusive"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, and why."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Both answers to one question of DNS."""

    filtered: Resolved
    control: Resolved


def worst(judged: Iterable[Judged]) -> Judged:
    """Return the most serious: fail, then inconclusive; the first of these."""
    order = list(Verdict)
    return max(judged, key=lambda one: order.index(one.verdict))


def dns_listed(pairs: Mapping[str, Pair], gardens: Collection[str]) -> Judged:
    """Judge what a resolver says of the test entry.

    Args:
        pairs: By record type.
        gardens: Addresses that stand for "blocked", besides `0.0.0.0` and `::`.
    """
    if _unanswered(pairs) is not None:
        return Judged(Verdict.INCONCLUSIVE, f"{_unanswered(pairs)} about the test entry")
    for pair in pairs.values():
        if any(not _garden(address, gardens) for address in pair.filtered.addresses):
            return Judged(Verdict.FAIL, "the test entry is not blocked: it has an address")
    if any(set(pair.control.addresses) & set(pair.filtered.addresses) for pair in pairs.values()):
        return Judged(Verdict.INCONCLUSIVE, "the control is filtered too: both block")
    if any(pair.filtered.addresses for pair in pairs.values()):
        return Judged(Verdict.PASS, "the test entry leads to the block page")
    if _has_site(pairs, gardens):
        return Judged(Verdict.PASS, "the test entry has no address, and has one without the filter")
    return Judged(
        Verdict.INCONCLUSIVE,
        "the test entry has no address anywhere: an unfiltered resolver would answer the same",
    )


def dns_sibling(pairs: Mapping[str, Pair], gardens: Collection[str]) -> Judged:
    """Judge what a resolver says of the sibling; arguments as `dns_listed`."""
    if _unanswered(pairs) is not None:
        return Judged(Verdict.INCONCLUSIVE, f"{_unanswered(pairs)} about the sibling")
    for pair in pairs.values():
        if any(_garden(address, gardens) for address in pair.filtered.addresses):
            return Judged(Verdict.FAIL, "the sibling is blocked: it leads to the block page")
        if not pair.filtered.addresses and _has_site({"": pair}, gardens):
            return Judged(Verdict.FAIL, "the sibling is blocked: it has no address")
    if _has_site(pairs, gardens):
        return Judged(Verdict.PASS, "the sibling has an address")
    return Judged(
        Verdict.INCONCLUSIVE,
        "the sibling has no address anywhere: who blocks too much would answer the same",
    )


def http_listed(filtered: Fetched, control: Fetched | None, status: int) -> Judged:
    """Judge what a proxy says of the test entry.

    Args:
        filtered: Its answer.
        control: What the site itself says; None when it is not known where that is.
        status: What stands for "blocked".
    """
    if filtered.status is None or control is None:
        return _unknown(filtered, "the test entry")
    if filtered.status != status:
        why = f"the test entry is not blocked: expected status {status}, got {filtered.status}"
        return Judged(Verdict.FAIL, why)
    if control.status == status:
        why = "the site itself says the same: an unfiltered proxy would, too"
        return Judged(Verdict.INCONCLUSIVE, why)
    return Judged(Verdict.PASS, f"the test entry is blocked with status {status}")


def http_sibling(filtered: Fetched, control: Fetched | None, status: int) -> Judged:
    """Judge what a proxy says of the sibling; arguments as `http_listed`."""
    if filtered.status is None or control is None:
        return _unknown(filtered, "the sibling")
    if filtered.status == status and control.status != status:
        return Judged(Verdict.FAIL, f"the sibling is blocked with status {status}")
    if filtered.status == control.status != status:
        return Judged(Verdict.PASS, "the sibling is answered as by the site itself")
    if control.status is None and filtered.status in _SERVER_ERRORS:
        return Judged(Verdict.PASS, "the sibling is not blocked, but there is no site")
    why = f"expected the answer of the site about the sibling, got status {filtered.status}"
    return Judged(Verdict.INCONCLUSIVE, why)


def _unknown(filtered: Fetched, what: str) -> Judged:
    who = "the proxy" if filtered.status is None else "the control"
    return Judged(Verdict.INCONCLUSIVE, f"{who} did not answer about {what}")


def _unanswered(pairs: Mapping[str, Pair]) -> str | None:
    if any(pair.filtered.reply is Reply.FAILED for pair in pairs.values()):
        return "the resolver did not answer"
    refused = (Reply.FAILED, Reply.REFUSED)
    if any(pair.control.reply in refused for pair in pairs.values()):
        return "the control did not answer"
    return None


def _has_site(pairs: Mapping[str, Pair], gardens: Collection[str]) -> bool:
    """Tell whether the control knows an address that does not stand for "blocked"."""
    addresses = (address for pair in pairs.values() for address in pair.control.addresses)
    return any(not _garden(address, gardens) for address in addresses)


def _garden(address: str, gardens: Collection[str]) -> bool:
    return address in gardens or ipaddress.ip_address(address).is_unspecified
