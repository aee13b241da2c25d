"""Addresses in a URL: any legal spelling of IPv4, and IPv6 in its shortest form.

IPv4 follows `inet_aton`: one to four parts, each decimal, octal (`0` first) or hexadecimal
(`0x` first), the last part filling the bytes that remain. As in the Safe Browsing Go client,
a part too large for its bytes keeps its low bits (`276.2.3` is `20.2.0.3`), up to 32 bits.
IPv6 follows RFC 4291 section 2.2 and RFC 5952 section 4, without a zone and always in hexadecimal;
the two prefixes that only wrap an IPv4 address (RFC 4291 2.5.5.2, RFC 6052 2.1) are unwrapped.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

MAX_IPV6_TEXT = 45  # characters: six groups of four digits, then a dotted quad
MAX_SPACED_QUAD = 15  # characters, rubbish included

_MAPPED = 0xFFFF  # ::ffff:0:0/96, the upper 96 bits
_NAT64 = 0x0064_FF9B << 64  # 64:ff9b::/96, the upper 96 bits

_QUAD = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.(?!\Z)|\Z)){4}")
_SPACED_QUAD = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3}){3}) ")
_PART = re.compile(r"0x(?P<hex>[0-9a-f]+)|0(?P<oct>[0-7]*)|(?P<dec>[1-9][0-9]*)")
_BASES = {"hex": 16, "oct": 8, "dec": 10}
_MAX_DIGITS = 253  # of one part: far below Python's own limit, as long as a host can be


def is_address(host: str) -> bool:
    """Tell whether a canonical host is an address (dotted quad or `[IPv6]`) and not a name."""
    return host.startswith("[") or _QUAD.fullmatch(host) is not None


def dotted_quad(host: str) -> str | None:
    """Return the dotted quad that a host spells, or None when it is no IPv4 address.

    Args:
        host: Lower-case, without leading, trailing or doubled dots.

    The Windows resolver takes a quad followed by a space and rubbish, up to 15 characters
    in all, for that quad; the Go client's vectors ask for the same.
    """
    if len(host) <= MAX_SPACED_QUAD and (spaced := _SPACED_QUAD.match(host)):
        host = spaced[1]
    parts = host.split(".")
    if len(parts) > 4:
        return None
    numbers = [_number(part) for part in parts]
    address = b""
    for index, number in enumerate(numbers):
        if number is None or number >= 1 << 32:
            return None
        size = 1 if index < len(parts) - 1 else 5 - len(parts)
        address += number.to_bytes(4, "big")[-size:]
    return str(IPv4Address(address))


def _number(part: str) -> int | None:
    """Return the value of one part as the C library reads it, or None."""
    match = _PART.fullmatch(part)
    if match is None or match.lastgroup is None or len(part) > _MAX_DIGITS:
        return None
    return int(match[match.lastgroup] or "0", _BASES[match.lastgroup])


def ipv6_host(text: str) -> str | None:
    """Return the canonical host for what stands between brackets, or None when it is no IPv6.

    `2001:DB8:0:0::1` becomes `[2001:db8::1]`; `::ffff:1.2.3.4` becomes `1.2.3.4`.
    """
    if len(text) > MAX_IPV6_TEXT or "%" in text:
        return None
    try:
        value = int(IPv6Address(text))
    except AddressValueError:
        return None
    if value >> 32 in (_MAPPED, _NAT64):
        return str(IPv4Address(value & 0xFFFF_FFFF))
    return f"[{IPv6Address(value).compressed}]"
