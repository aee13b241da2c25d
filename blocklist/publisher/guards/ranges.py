"""Addresses that no public site has: an entry on one blocks something else on every network.

The table is our own, from the IANA registries of special-purpose addresses (RFC 6890), so that all
machines agree whatever their Python knows. The ranges for documentation (192.0.2.0/24 and its
likes) are not refused: nothing answers there, an entry harms nobody, and every example uses them.
"""

from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

_V4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by customers of a provider (RFC 6598)
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.88.99.0/24",  # relays of 6to4, given up (RFC 7526)
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
_V6: Final = tuple(
    map(
        IPv6Network,
        (
            "::/96",  # unspecified, loopback, and what once wrapped IPv4
            "100::/64",  # discarded
            "fc00::/7",  # unique local
            "fe80::/10",  # link-local
            "fec0::/10",  # site-local, given up (RFC 3879)
            "ff00::/8",  # multicast
        ),
    )
)
# Nearly all addresses are dismissed by their first byte.
_FIRST_BYTES: Final = frozenset(
    str(first)
    for network in _V4
    for first in range(network[0].packed[0], network[-1].packed[0] + 1)
)


def is_nowhere(host: str) -> bool:
    """Tell whether an address (dotted quad or `[IPv6]`) is none of a public site."""
    try:
        if host.startswith("["):
            v6 = IPv6Address(host[1:-1])
            return any(v6 in network for network in _V6)
        if host.partition(".")[0] not in _FIRST_BYTES:
            return False
        v4 = IPv4Address(host)
    except AddressValueError:  # no canonical host; whatever it is, no site has it
        return True
    return any(v4 in network for network in _V4)
