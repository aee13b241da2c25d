"""What several API processes tell each other through Redis; the one door to redis-py.

    blocklist:limit:<topic>:<slot>   hash: process to its counts of one second, for a minute
    blocklist:board                  hash: who was seen at which version
    blocklist:leader, blocklist:head who watches the storage, and what it last saw there
    blocklist:blob:<key>             computed documents

Nothing here is the truth and nothing may be missed after a flush (docs/adr/0011). Keys and values
hold digests of tokens and names of lists, never a token, a listed URL or a subscriber's name.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from redis import BlockingConnectionPool, Redis, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from blocklist.core.errors import StoreError
from blocklist.store.shared_url import validate_redis_url

T = TypeVar("T")
Clock = Callable[[], float]

TIMEOUT_SECONDS = 0.5  # to connect, for each answer, and for a free connection
PAUSE_SECONDS = 1.0  # after a failure nobody asks for this long
MAX_CONNECTIONS = 8  # of one process
MAX_BLOB_BYTES = 4 << 20  # what is larger is computed again rather than sent around
COUNT_SECONDS = 120  # how long counts of a second are kept
BOARD_SECONDS = 90 * 86_400  # the board is forgotten when nothing was posted for so long

_BOARD = "blocklist:board"
_LEADER = "blocklist:leader"
_HEAD = "blocklist:head"

# KEYS: leader, head. ARGV: holder, lease in ms, how long the head is fresh in ms, the head or "".
_WATCH = """
local holder = redis.call('GET', KEYS[1])
local leads = not holder or holder == ARGV[1]
if leads then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  if ARGV[4] ~= '' then redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[3]) end
end
return {leads and 1 or 0, redis.call('GET', KEYS[2])}
"""

# The first that fits; redis-py's own texts may quote what was sent.
_REASONS: tuple[tuple[type[exceptions.RedisError], str], ...] = (
    (exceptions.AuthenticationError, "Redis refuses user or password: correct BLOCKLIST_REDIS"),
    (exceptions.AuthorizationError, "Redis refuses the user: correct BLOCKLIST_REDIS"),
    (exceptions.NoPermissionError, "Redis does not allow this user what is needed"),
    (exceptions.BusyLoadingError, "Redis is loading its data"),
    (exceptions.OutOfMemoryError, "Redis is full"),
    (exceptions.ReadOnlyError, "Redis is a replica that cannot be written"),
    (exceptions.TimeoutError, f"Redis did not answer within {TIMEOUT_SECONDS} s"),
    (exceptions.ConnectionError, "Redis cannot be reached"),
)


class SharedStateDown(StoreError):
    """Redis does not answer, or cannot do what is asked; go on alone and ask again later."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The answer to `SharedState.watch`.

    Attributes:
        leader: Whether the caller leads until its lease ends.
        announced: The head as the leader last announced it; None when that is not fresh.
    """

    leader: bool
    announced: str | None


class SharedState:
    """Redis, as far as the API uses it. Safe for threads and, after patching, for greenlets.

    Every method raises `SharedStateDown` when Redis does not answer in time, refuses the password,
    loads, is full or read-only. After a failure all methods do so at once for a second; then one
    caller tries while the others still fail at once. Nothing is sent twice.

    Args:
        client: A client that never repeats a command by itself.
        clock: Seconds that never go back.
    """

    def __init__(self, client: Redis, clock: Clock = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._trouble: str | None = None
        self._again_at = 0.0

    @classmethod
    def open(cls, url: str, clock: Clock = time.monotonic) -> "SharedState":
        """Return the state that a Redis URL names; nothing is connected yet.

        Args:
            url: `redis://`, `rediss://` (TLS) or `unix://`, see `shared_url`.
            clock: Seconds that never go back.

        Raises:
            InputError: Another shape; the message never repeats the URL, it may hold a password.
        """
        validate_redis_url(url)
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=TIMEOUT_SECONDS,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        return cls(Redis(connection_pool=pool), clock)

    def close(self) -> None:
        """Close the connections; the next question opens new ones."""
        self._client.close()
        self._client.connection_pool.disconnect()

    def up(self) -> bool:
        """Tell whether Redis answers."""
        try:
            return bool(self._ask(self._client.ping))
        except SharedStateDown:
            return False

    # -- counts ----------------------------------------------------------------------------------

    def count(
        self, topic: str, holder: str, counts: Mapping[int, Mapping[str, int]], slots: Sequence[int]
    ) -> dict[int, dict[str, int]]:
        """Tell what this process counted, and return what the others did, in one round trip.

        Counts replace what the same holder told of a slot before: telling twice is harmless.

        Args:
            topic: What is counted.
            holder: This process.
            counts: By slot and name, the whole count of each slot that changed.
            slots: Those to read. A slot is a second; it is forgotten after two minutes.

        Returns:
            By slot and name the sum of all other holders; slots without any are left out.
        """
        key = f"blocklist:limit:{topic}:"

        def exchange() -> list[Any]:
            pipe = self._client.pipeline(transaction=False)
            for slot, names in counts.items():
                pipe.hset(f"{key}{slot}", holder, json.dumps(names, separators=(",", ":")))
                pipe.expire(f"{key}{slot}", COUNT_SECONDS)
            for slot in slots:
                pipe.hgetall(f"{key}{slot}")
            return pipe.execute()

        found = self._ask(exchange)[2 * len(counts) :]
        mine = holder.encode()
        sums = {
            slot: _sum(text for name, text in told.items() if name != mine)
            for slot, told in zip(slots, found, strict=True)
        }
        return {slot: names for slot, names in sums.items() if names}

    # -- board -----------------------------------------------------------------------------------

    def post(self, fields: Mapping[str, str]) -> None:
        """Put entries on the board, over those of the same names."""
        if fields:
            pipe = self._client.pipeline(transaction=False)
            pipe.hset(_BOARD, items=[text for pair in fields.items() for text in pair])
            pipe.expire(_BOARD, BOARD_SECONDS)
            self._ask(pipe.execute)

    def posted(self, names: Sequence[str]) -> dict[str, str]:
        """Return those of these entries that are on the board."""
        if not names:
            return {}
        found = self._ask(lambda: self._client.hmget(_BOARD, list(names)))
        pairs = zip(names, found, strict=True)
        return {name: _text(value) for name, value in pairs if value is not None}

    def board(self) -> dict[str, str]:
        """Return the whole board."""
        found = self._ask(lambda: self._client.hgetall(_BOARD))
        return {_text(name): _text(value) for name, value in found.items()}

    def forget(self, names: Iterable[str]) -> None:
        """Take entries off the board."""
        gone = list(names)
        if gone:
            self._ask(lambda: self._client.hdel(_BOARD, *gone))

    # -- leader ----------------------------------------------------------------------------------

    def watch(self, holder: str, lease_seconds: float, seen: str | None) -> Watch:
        """Try to become or stay the leader, and learn what the leader announced.

        Only the holder of the lease renews it; another one gets it when it has ended. Atomic, in
        one round trip.

        Args:
            holder: This process.
            lease_seconds: How long leadership holds. An announcement is fresh for half of it, so
                that nobody believes for long what a leader said that died.
            seen: The head as this process sees it, announced if it leads; None: it cannot see it.
        """
        lease = max(2, round(lease_seconds * 1_000))
        args = (holder, lease, lease // 2, seen or "")
        leads, announced = self._ask(lambda: self._client.eval(_WATCH, 2, _LEADER, _HEAD, *args))
        return Watch(leads == 1, _text(announced) if announced is not None else None)

    # -- blobs -----------------------------------------------------------------------------------

    def get_blob(self, key: str) -> bytes | None:
        """Return a computed document, if some process put it; only a hint, as trusted as Redis."""
        data = self._ask(lambda: self._client.get(f"blocklist:blob:{key}"))
        return data if isinstance(data, bytes) else None

    def put_blob(self, key: str, data: bytes, seconds: int) -> None:
        """Keep a computed document for the others; one above `MAX_BLOB_BYTES` is not kept."""
        if len(data) <= MAX_BLOB_BYTES:
            self._ask(lambda: self._client.set(f"blocklist:blob:{key}", data, ex=seconds))

    # -- one question ----------------------------------------------------------------------------

    def _ask(self, question: Callable[[], T]) -> T:
        """Return what Redis answers.

        Raises:
            SharedStateDown: It failed now, or less than a second ago.
        """
        self._enter()
        try:
            answer = question()
        except (exceptions.RedisError, OSError) as error:  # OSError: an unreadable CA file
            reason = _reason(error)
            with self._lock:
                self._trouble, self._again_at = reason, self._clock() + PAUSE_SECONDS
            raise SharedStateDown(reason) from None  # the cause may quote what was sent
        with self._lock:
            self._trouble = None
        return answer

    def _enter(self) -> None:
        """Let everybody pass while all is well, else one in a second."""
        with self._lock:
            if self._trouble is None:
                return
            now = self._clock()
            if now < self._again_at:
                raise SharedStateDown(self._trouble)
            self._again_at = now + PAUSE_SECONDS


def _reason(error: Exception) -> str:
    """Return a sentence of ours for what went wrong."""
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            tls = "CERTIFICATE_VERIFY" in str(error)
            return "the certificate of Redis is not trusted" if tls else reason
    return f"Redis failed: {type(error).__name__}"


def _sum(texts: Iterable[bytes]) -> dict[str, int]:
    """Add up what several processes counted; what is not readable counts nothing."""
    sums: dict[str, int] = {}
    for text in texts:
        for name, number in _counts(text).items():
            sums[name] = sums.get(name, 0) + number
    return sums


def _counts(text: bytes) -> dict[str, int]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {name: n for name, n in value.items() if type(n) is int and 0 < n < 1 << 31}


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")
