"""How often somebody may ask: requests of a token, failed authentications of an address.

In any 60 seconds one process lets through at most the limit, exactly. Each process counts for
itself; a request never waits for Redis. `flush`, in the background, tells the others what was
counted here and learns what they counted. A request is known everywhere after two flushes, that of
its process and that of the other; so several processes let through at most the limit, plus what
the others let through in two flush intervals. Without Redis each process holds the limit alone.
"""

import hashlib
import ipaddress
import math
import secrets
import threading
from collections import OrderedDict
from datetime import datetime

from blocklist.api.problems import TOO_MANY_REQUESTS, Problem
from blocklist.api.reader import Clock
from blocklist.api.rolling import SLOTS, Tally
from blocklist.api.settings import ApiSettings
from blocklist.store.shared import SharedState, SharedStateDown

FLUSH_SECONDS = 1.0  # between two flushes
LATE_SLOTS = 4  # seconds read again at each flush: others tell later, and clocks differ
MAX_CALLERS = 16_384  # tokens whose counts are kept; 1 kB each
MAX_ADDRESSES = 16_384

_NAME_CHARS = 32  # of a digest: enough to tell names apart
_NETWORK_BITS = 64  # of an IPv6 address: what one customer is given


class Limiter:
    """The limits of one process.

    Args:
        settings: How many.
        clock: The present time.
        shared: Through which processes tell each other; None: one process alone.
    """

    def __init__(self, settings: ApiSettings, clock: Clock, shared: SharedState | None) -> None:
        self._clock = clock
        self._callers = _Limit("callers", settings.requests_per_minute, MAX_CALLERS, shared)
        self._addresses = _Limit(
            "addresses", settings.unauthenticated_per_minute, MAX_ADDRESSES, shared
        )

    def check(self, digest: str) -> None:
        """Count a request of a token, by the token's digest; one that is refused does not count.

        Raises:
            Problem: 429: there were too many within the last minute.
        """
        now = self._clock()
        _refuse(self._callers.take(digest[:_NAME_CHARS], now), now)

    def check_address(self, address: str) -> None:
        """Refuse a client whose authentication failed too often, before it is tried again.

        Raises:
            Problem: 429.
        """
        now = self._clock()
        _refuse(self._addresses.blocked(_network(address), now), now)

    def failed(self, address: str) -> None:
        """Count a failed authentication of a client."""
        self._addresses.add(_network(address), self._clock())

    def flush(self) -> None:
        """Tell the other processes what was counted here, and learn what they counted.

        Raises:
            SharedStateDown: Redis failed; nothing is lost, the next flush makes up for it.
        """
        now = self._clock()
        self._callers.flush(now)
        self._addresses.flush(now)


class _Limit:
    """One limit on many names; the one not seen for longest is forgotten first."""

    def __init__(self, topic: str, limit: int, most: int, shared: SharedState | None) -> None:
        self._topic = topic
        self._limit = limit
        self._most = most
        self._shared = shared
        self._holder = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._tallies: OrderedDict[str, Tally] = OrderedDict()
        self._touched: set[str] = set()  # counted here in a second that is not told completely
        self._told = 0  # the first second that is not
        self._heard = 0  # the last second that was read

    def take(self, name: str, now: datetime) -> int | None:
        """Count once unless the limit is reached; then return the second when it is not."""
        with self._lock:
            tally, slot = self._tally(name, now)
            if tally.total >= self._limit:
                return tally.below(self._limit)
            self._count(name, tally, slot)
            return None

    def blocked(self, name: str, now: datetime) -> int | None:
        """Return the second when the limit is not reached any more; None: it is not."""
        with self._lock:
            if name not in self._tallies:
                return None
            tally, _ = self._tally(name, now)
            return tally.below(self._limit) if tally.total >= self._limit else None

    def add(self, name: str, now: datetime) -> None:
        """Count once."""
        with self._lock:
            tally, slot = self._tally(name, now)
            self._count(name, tally, slot)

    def flush(self, now: datetime) -> None:
        """Exchange counts with the other processes."""
        if self._shared is None:
            return
        slot = _slot(now)
        first = slot - SLOTS + 1
        reading = range(max(first, min(self._heard, slot) - LATE_SLOTS), slot + 1)
        with self._lock:
            touched, self._touched = self._touched, set()
            telling = range(max(first, min(self._told, slot)), slot + 1)
            counts = self._counts(touched, telling, now)
        try:
            heard = self._shared.count(self._topic, self._holder, counts, reading)
        except SharedStateDown:
            with self._lock:
                self._touched |= touched
            raise
        with self._lock:
            # This second is not over: it is told again, as a whole.
            self._touched |= counts.get(slot, {}).keys()
            self._told = self._heard = slot
            self._hear(heard, now)

    def _tally(self, name: str, now: datetime) -> tuple[Tally, int]:
        slot = _slot(now)
        tally = self._tallies.get(name)
        if tally is None:
            tally = self._tallies[name] = Tally()
            if len(self._tallies) > self._most:
                self._tallies.popitem(last=False)
        self._tallies.move_to_end(name)
        tally.advance(slot)
        return tally, slot

    def _count(self, name: str, tally: Tally, slot: int) -> None:
        tally.add(slot)
        if self._shared is not None:
            self._touched.add(name)
            if len(self._touched) > self._most:  # Redis is away, and names flood in
                self._touched &= self._tallies.keys()

    def _counts(self, names: set[str], slots: range, now: datetime) -> dict[int, dict[str, int]]:
        """Return what was counted here, by second and name."""
        counts: dict[int, dict[str, int]] = {}
        for name in names & self._tallies.keys():
            tally, _ = self._tally(name, now)
            for slot in slots:
                if tally.own(slot):
                    counts.setdefault(slot, {})[name] = tally.own(slot)
        return counts

    def _hear(self, heard: dict[int, dict[str, int]], now: datetime) -> None:
        for slot, names in heard.items():
            for name, count in names.items():
                self._tally(name, now)[0].hear(slot, count)


def _slot(now: datetime) -> int:
    return int(now.timestamp())


def _refuse(second: int | None, now: datetime) -> None:
    if second is not None:
        wait = max(1, math.ceil(second - now.timestamp()))
        detail = "wait as long as Retry-After says"
        raise Problem(TOO_MANY_REQUESTS, detail, {"Retry-After": str(wait)})


def _network(address: str) -> str:
    """Return a name for a client's address, without the address: IPv6 by network, digested."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        place = "unknown"  # a Unix socket, or nonsense from a proxy
    else:
        mapped = parsed.ipv4_mapped if parsed.version == 6 else None
        bits = _NETWORK_BITS if parsed.version == 6 and mapped is None else 32
        place = str(ipaddress.ip_network((mapped or parsed, bits), strict=False))
    return hashlib.sha256(place.encode()).hexdigest()[:_NAME_CHARS]
