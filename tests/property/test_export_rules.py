"""What a response policy zone does is what the list says, however a daemon reads wildcards."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from blocklist.core.hosts import parents
from blocklist.core.listbytes import encode_clear
from blocklist.core.matching import ClearIndex, find_host
from blocklist.subscriber.exports.names import classify
from blocklist.subscriber.exports.rpz import Policy, render
from blocklist.subscriber.exports.rules import rules

ZONE = "rpz.example"
NAMES = st.lists(st.sampled_from("abc"), min_size=2, max_size=5).map(".".join)
LINES = st.frozensets(
    st.builds(lambda kind, name: f"{kind} {name}".encode(), st.sampled_from("hd"), NAMES),
    max_size=6,
)
BLOCKED, PASSED = "CNAME .", "CNAME rpz-passthru."


def zone_of(blocked: frozenset[bytes], allowed: frozenset[bytes]) -> dict[str, str]:
    """Return what stands in the zone file, by owner."""
    found = rules(classify(blocked), classify(allowed), 200)
    text = render(found.of, ZONE, 1, Policy("nxdomain")).decode()
    records = [line.split(" ", 1) for line in text.splitlines() if line[0] not in "$@"]
    assert len(records) == len(dict(records))
    return dict(records)


def by_rfc_4592(zone: dict[str, str], name: str) -> str | None:
    """As BIND and Unbound: a wildcard says nothing below a nearer name that exists."""
    if name in zone:
        return zone[name]
    nodes = {parent for owner in zone for parent in lineage(owner)}
    if name in nodes:
        return None  # exists, without data
    encloser = next((one for one in lineage(name) if one in nodes), "")
    return zone.get(f"*.{encloser}")


def by_walking_up(zone: dict[str, str], name: str) -> str | None:
    """As PowerDNS: the nearest wildcard above counts."""
    owners = [name, *(f"*.{parent}" for parent in lineage(name)[1:])]
    return next((zone[owner] for owner in owners if owner in zone), None)


def lineage(name: str) -> list[str]:
    labels = name.split(".")
    return [".".join(labels[at:]) for at in range(len(labels))]


def check(blocked: frozenset[bytes], allowed: frozenset[bytes], name: str, read: Callable) -> None:
    listed = find_host(ClearIndex(encode_clear(blocked)), name)
    spared = find_host(ClearIndex(encode_clear(allowed)), name)
    assert (read(zone_of(blocked, allowed), name) == BLOCKED) == bool(listed and not spared)


@given(LINES, LINES, NAMES)
def test_as_dns_reads_wildcards(
    blocked: frozenset[bytes], allowed: frozenset[bytes], name: str
) -> None:
    check(blocked, allowed, name, by_rfc_4592)


@given(LINES, LINES, NAMES)
def test_as_others_read_wildcards(
    blocked: frozenset[bytes], allowed: frozenset[bytes], name: str
) -> None:
    check(blocked, allowed, name, by_walking_up)


@given(LINES, LINES)
def test_every_entry_is_enforced_or_counted(
    blocked: frozenset[bytes], allowed: frozenset[bytes]
) -> None:
    names = classify(blocked)
    found = rules(names, classify(allowed), 200)
    spared = {line for line in blocked if covered(line, allowed)}
    assert found.skipped == ({"never-block": len(spared)} if spared else {})
    assert len(names.hosts) + len(names.domains) == len(blocked)


def covered(line: bytes, allowed: frozenset[bytes]) -> bool:
    kind, name = line.decode().split(" ")
    above = any(f"d {parent}".encode() in allowed for parent in parents(name))
    return above or (kind == "h" and line in allowed)
