"""Prove that a live resolver or proxy blocks the test entry of each list, and not its sibling."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from blocklist.core import documents
from blocklist.core.enrolment import EnrolledList
from blocklist.core.entries import Feed
from blocklist.core.errors import InputError, UnknownList
from blocklist.subscriber.probes import Fetched, Reply, fetch, resolve_all
from blocklist.subscriber.resolver import Resolver
from blocklist.subscriber.state import State
from blocklist.subscriber.verdicts import (
    BLOCK_STATUS,
    Judged,
    Pair,
    Verdict,
    dns_listed,
    dns_sibling,
    http_listed,
    http_sibling,
    worst,
)
from blocklist.version import VERSION

FORMAT = 1
HTTP_PORT = 80


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be proved, and against what.

    Attributes:
        dns: Resolvers.
        proxies: `http://HOST:PORT` of proxies.
        control: A resolver or authority that filters nothing.
        gardens: Addresses of block pages that a resolver may answer.
        block_status: What a proxy answers for "blocked".
        http_port: Where the site of the test entry listens, if there is one.
    """

    control: Resolver
    dns: tuple[Resolver, ...] = ()
    proxies: tuple[str, ...] = ()
    gardens: tuple[str, ...] = ()
    block_status: int = BLOCK_STATUS
    http_port: int = HTTP_PORT


@dataclass(frozen=True, slots=True)
class Check:
    """One list against one filter.

    Attributes:
        kind: `dns` or `http`.
        filter: Which one.
        list, version: The list and what is in force of it here; None: nothing is.
        name: The test entry.
        judged: The verdict.
        answers: All that was answered, for the report.
    """

    kind: str
    filter: str
    list: str
    version: int | None
    name: str
    judged: Judged
    answers: dict[str, Any]

    def to_document(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "kind": self.kind,
            "filter": self.filter,
            "list": self.list,
            "version": self.version,
            "test_entry": self.name,
            "sibling": sibling_of(self.name),
            "verdict": self.judged.verdict.value,
            "reason": self.judged.reason,
            "answers": self.answers,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of one run."""

    created: datetime
    control: Resolver
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """The most serious one."""
        return worst(check.judged for check in self.checks).verdict

    def to_document(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "format": FORMAT,
            "created": documents.format_time(self.created),
            "program": VERSION,
            "control": str(self.control),
            "verdict": self.verdict.value,
            "checks": [check.to_document() for check in self.checks],
        }


def sibling_of(name: str) -> str:
    """Return the host beside a test entry that is never listed (docs/spec.md, 4)."""
    return f"sibling.{name}"


def selftest(state: State, asked: Asked, now: datetime, names: Collection[str] = ()) -> Report:
    """Ask every filter about every list.

    Args:
        state: Of the subscriber; the enrolment names the test entries.
        asked: What to prove.
        now: For the report.
        names: Only these lists.

    Raises:
        InputError: There is no filter to ask.
        UnknownList: A name that is not enrolled.
        NotInstalled: Nothing is enrolled.
    """
    if not asked.dns and not asked.proxies:
        raise InputError("expected a resolver or a proxy to test, got neither")
    lists = state.enrolment().lists
    if unknown := set(names) - set(lists):
        raise UnknownList(f"expected an enrolled list, got {sorted(unknown)[0]!r}")
    checks = []
    for item in (lists[name] for name in names or lists):
        version = _in_force(state, item)
        checks += [_dns(resolver, asked, item, version) for resolver in asked.dns]
        checks += [_http(proxy, asked, item, version) for proxy in asked.proxies]
    return Report(now, asked.control, tuple(checks))


def _dns(resolver: Resolver, asked: Asked, item: EnrolledList, version: int | None) -> Check:
    judged, answers = [], {}
    for what, name, judge in (
        ("test_entry", item.test_host, dns_listed),
        ("sibling", sibling_of(item.test_host), dns_sibling),
    ):
        filtered, control = resolve_all(resolver, name), resolve_all(asked.control, name)
        pairs = {kind: Pair(filtered[kind], control[kind]) for kind in filtered}
        judged.append(judge(pairs, asked.gardens))
        answers[what] = {
            kind: {"filter": pair.filtered.to_document(), "control": pair.control.to_document()}
            for kind, pair in pairs.items()
        }
    return Check("dns", str(resolver), item.name, version, item.test_host, _all(judged), answers)


def _http(proxy: str, asked: Asked, item: EnrolledList, version: int | None) -> Check:
    judged, answers = [], {}
    for what, name, judge in (
        ("test_entry", item.test_host, http_listed),
        ("sibling", sibling_of(item.test_host), http_sibling),
    ):
        filtered = fetch(f"http://{_site(name, asked)}/", proxy=proxy)
        control = _directly(name, asked)
        judged.append(judge(filtered, control, asked.block_status))
        answers[what] = {
            "filter": filtered.to_document(),
            "control": control.to_document() if control else None,
        }
    return Check("http", proxy, item.name, version, item.test_host, _all(judged), answers)


def _directly(name: str, asked: Asked) -> Fetched | None:
    """Return what a site says without a proxy; None when the control does not say where it is."""
    found = resolve_all(asked.control, name)
    if any(one.reply in (Reply.FAILED, Reply.REFUSED) for one in found.values()):
        return None
    for address in (address for one in found.values() for address in one.addresses):
        host = f"[{address}]" if ":" in address else address
        answer = fetch(f"http://{host}:{asked.http_port}/", host=_site(name, asked))
        if answer.status is not None:
            return answer
    return Fetched(None)


def _site(name: str, asked: Asked) -> str:
    return name if asked.http_port == HTTP_PORT else f"{name}:{asked.http_port}"


def _all(judged: list[Judged]) -> Judged:
    found = worst(judged)
    if found.verdict is not Verdict.PASS:
        return found
    return Judged(Verdict.PASS, "; ".join(one.reason for one in judged))


def _in_force(state: State, item: EnrolledList) -> int | None:
    for feed in Feed:
        installed = state.feed(item.name, feed).read() if feed in item.feeds else None
        if installed is not None:
            return installed.current.version
    return None
