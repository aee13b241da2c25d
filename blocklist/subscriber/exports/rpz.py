"""Response policy zones (draft-vixie-dnsop-dns-rpz): one file for BIND, Unbound, PowerDNS, others.

    $TTL 60
    $ORIGIN rpz.example.
    @ SOA localhost. hostmaster.localhost. 7 300 60 604800 60
    @ NS localhost.
    host.example CNAME .                  NXDOMAIN, or what the policy says
    name.example CNAME .                  a domain is its name
    *.name.example CNAME .                and all below it
    ok.name.example CNAME rpz-passthru.   a name that must pass

The order is that of bytes: the same rules are always the same file. There are no comments: a zone
file is read by more people than the list it is made of.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from blocklist.core.errors import InputError
from blocklist.subscriber.exports.names import MAX_NAME_BYTES, Names, is_name
from blocklist.subscriber.exports.rules import Action, Rule

TTL_SECONDS = 60  # a withdrawn entry is open again within that time
MAX_ZONE_BYTES = 100  # of its name: what is left is the room for listed names
NXDOMAIN, NODATA = "nxdomain", "nodata"
UNDERSCORE = "underscore"  # servers refuse zones with addresses of such names
HYPHEN = "hyphen"  # at the end of a label; the same
RESERVED = "reserved"  # names that zones give another meaning

_PASS = "CNAME rpz-passthru."  # noqa: S105 - no password
_OTHER_TRIGGERS = ("rpz-ip", "rpz-client-ip", "rpz-nsip", "rpz-nsdname")
_EDGE_HYPHEN = re.compile(r"(?:^|\.)-|-(?:\.|$)")
_SERIALS = 1 << 32
_SERIAL = re.compile(rb"@ SOA \S+ \S+ (\d+) ")


@dataclass(frozen=True, slots=True)
class Policy:
    """What a resolver answers for a blocked name.

    Attributes:
        text: As it was given: `nxdomain`, `nodata`, an address, or a name.
    """

    text: str

    def __post_init__(self) -> None:
        if self.text not in (NXDOMAIN, NODATA) and not self.address and not _is_target(self.text):
            raise InputError("expected nxdomain, nodata, an address or a name as the policy")

    @property
    def address(self) -> str | None:
        """The address that blocked names are answered with, in its one spelling; None for none."""
        try:
            return str(ip_address(self.text))
        except ValueError:
            return None

    @property
    def record_type(self) -> str:
        """What to ask for to see the policy: `AAAA` for an IPv6 address, else `A`."""
        return "AAAA" if ":" in (self.address or "") else "A"

    @property
    def data(self) -> str:
        """What stands behind a blocked name in the zone."""
        if self.text == NXDOMAIN:
            return "CNAME ."
        if self.text == NODATA:
            return "CNAME *."
        if self.address:
            return f"{self.record_type} {self.address}"
        return f"CNAME {self.text}."


def room(zone: str) -> int:
    """Return how long names may be in a zone.

    Raises:
        InputError: That is no name of a zone.
    """
    if not is_name(zone) or len(zone) > MAX_ZONE_BYTES:
        raise InputError(
            f"expected a zone's name of lower-case labels, at most {MAX_ZONE_BYTES} bytes"
        )
    return MAX_NAME_BYTES - len(f".{zone}")


def holdable(names: Names, policy: Policy) -> Names:
    """Return the names that zones with this policy can hold; the others are counted as skipped."""
    skipped = dict(names.skipped)

    def fits(name: str) -> bool:
        reason = None
        if name.endswith(tuple(f".{word}" for word in _OTHER_TRIGGERS)):
            reason = RESERVED
        elif policy.address is not None and "_" in name:
            reason = UNDERSCORE
        elif policy.address is not None and _EDGE_HYPHEN.search(name):
            reason = HYPHEN
        if reason is not None:
            skipped[reason] = skipped.get(reason, 0) + 1
        return reason is None

    hosts = frozenset(one for one in names.hosts if fits(one.name))
    domains = frozenset(one for one in names.domains if fits(one.name))
    return Names(hosts, domains, skipped)


def render(rules: Mapping[str, Rule], zone: str, serial: int, policy: Policy) -> bytes:
    """Return the zone file.

    Args:
        rules: By name; names that `names.classify` and `holdable` let through.
        zone: Its name.
        serial: From `next_serial`.
        policy: What is answered for blocked names.
    """
    data = {Action.BLOCK: policy.data, Action.PASS: _PASS}
    head = (
        f"$TTL {TTL_SECONDS}\n$ORIGIN {zone}.\n"
        f"@ SOA localhost. hostmaster.localhost. {serial} 300 60 604800 60\n@ NS localhost.\n"
    )
    lines: list[str] = []
    for name, rule in rules.items():
        lines.append(f"{name} {data[rule.exact]}\n")
        if rule.below is not None:
            lines.append(f"*.{name} {data[rule.below]}\n")
    return (head + "".join(sorted(lines))).encode("ascii")


def owners(zone_file: bytes) -> Iterator[bytes]:
    """Yield the names that a zone file of ours has rules for; some twice."""
    for line in zone_file.split(b"\n"):
        owner = line.partition(b" ")[0]
        if owner and not owner.startswith((b"$", b"@")):
            yield owner.removeprefix(b"*.")


def serial_of(zone_file: bytes) -> int | None:
    """Return the serial of a zone file of ours, None for other bytes."""
    found = _SERIAL.search(zone_file[:1_000])
    return int(found[1]) % _SERIALS if found else None


def next_serial(last: int | None, version: int) -> int:
    """Return the serial of a new file: the list's version, where that is later than the last one.

    Later by RFC 1982, which wraps: an earlier version after a rollback, or the same version with
    another exception, gets the number after the last. 0 is left out, some take it for "none".
    """
    wanted = version % _SERIALS
    if last is not None and not is_later(wanted, last):
        wanted = (last + 1) % _SERIALS
    return wanted or 1


def is_later(serial: int, other: int) -> bool:
    """Tell whether a serial comes after another one (RFC 1982)."""
    return 0 < (serial - other) % _SERIALS < _SERIALS // 2


def _is_target(text: str) -> bool:
    return is_name(text) and "." in text and not text.startswith("rpz-")
