"""Stores for tests: one in memory that fails the test on misuse, and one that fails on purpose.

`MemoryStore` raises AssertionError when code under test breaks a rule of the port or of the layout.
`FaultyStore` puts faults before any store; a `FaultPlan` decides which write meets which fault:

    plan = fault_at(3, Fault.CRASH_AFTER)          # writes are counted from 1
    with pytest.raises(SimulatedCrash):
        publish(FaultyStore(store, plan))
    publish(store)                                 # the rerun, by a new process

`MemoryStore.faults` does the same without a wrapper. Setting it begins counting anew and revives.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from hashlib import sha256
from typing import TypeVar

from blocklist.core.errors import OutcomeUnknown, StoreUnreachable, TooLarge
from blocklist.store.layout import FEED, TARGETS, TIMESTAMP
from blocklist.store.port import (
    DEFAULT_OBJECT_LIMIT,
    Listed,
    Object,
    Store,
    validate_key,
    validate_prefix,
)

Result = TypeVar("Result")


class SimulatedCrash(BaseException):
    """The process died here. Not an Exception: no handler may live on."""


class Fault(Enum):
    """What happens to one write."""

    CRASH_BEFORE = auto()  # died, not written
    CRASH_AFTER = auto()  # written, died
    LOST = auto()  # not written; StoreUnreachable
    LANDED_BUT_ERRORED = auto()  # written, could not be read back; OutcomeUnknown


FaultPlan = Callable[[int, str, str], Fault | None]
"""From number of the write (from 1), operation (put_new, replace_if, delete) and key to a fault."""


def no_faults(number: int, op: str, key: str) -> None:
    """Let every write succeed."""


def fault_at(number: int, fault: Fault) -> FaultPlan:
    """Let one write meet a fault, the others succeed."""
    return lambda at, op, key: fault if at == number else None


def fault_on(key: str, fault: Fault) -> FaultPlan:
    """Let every write to one key meet a fault."""
    return lambda number, op, at: fault if at == key else None


class _Gate:
    """Counts writes, applies the plan, and after a crash lets nothing through."""

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan
        self.writes = 0
        self.dead = False

    def read(self) -> None:
        if self.dead:
            raise SimulatedCrash("this process has crashed already")

    def write(self, op: str, key: str, action: Callable[[], Result]) -> Result:
        self.read()
        self.writes += 1
        fault = self.plan(self.writes, op, key)
        if fault is Fault.LOST:
            raise StoreUnreachable(f"lost: {op} {key}")
        if fault is not Fault.CRASH_BEFORE:
            result = action()
        if fault in {Fault.CRASH_BEFORE, Fault.CRASH_AFTER}:
            self.dead = True
            raise SimulatedCrash(f"{fault.name}: {op} {key}")
        if fault is Fault.LANDED_BUT_ERRORED:
            raise OutcomeUnknown(f"no answer: {op} {key}")
        return result


class FaultyStore:
    """One process's view of a store, on which its writes meet the faults of a plan.

    After a simulated crash every operation crashes again: clean-up code that a dead process
    would not have run has no effect.

    Attributes:
        writes: How many writes were begun; a run without faults tells how many there are.
    """

    def __init__(self, inner: Store, plan: FaultPlan = no_faults) -> None:
        self._inner = inner
        self._gate = _Gate(plan)

    @property
    def writes(self) -> int:
        return self._gate.writes

    def get(self, key: str, *, limit: int = DEFAULT_OBJECT_LIMIT) -> Object | None:
        self._gate.read()
        return self._inner.get(key, limit=limit)

    def put_new(self, key: str, data: bytes) -> bool:
        return self._gate.write("put_new", key, lambda: self._inner.put_new(key, data))

    def replace_if(self, key: str, data: bytes, token: str) -> str | None:
        action = lambda: self._inner.replace_if(key, data, token)  # noqa: E731 - one line, typed
        return self._gate.write("replace_if", key, action)

    def list(self, prefix: str) -> Iterator[Listed]:
        self._gate.read()
        return self._inner.list(prefix)

    def delete(self, key: str) -> bool:
        return self._gate.write("delete", key, lambda: self._inner.delete(key))


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of the journal: what was asked, and whether it had an effect or found something."""

    op: str
    key: str
    done: bool


class MemoryStore:
    """A `Store` in memory that fails the test when its user breaks the rules.

    It asserts that data are bytes; that nothing under `feed/` but timestamp.json is ever
    replaced, empty, or comes back with other bytes after a delete; that a target has the digest
    in its name; that no body returns to a key it had left; that timestamp.json is never
    deleted; that no key is the folder of another.

    Attributes:
        journal: Every operation that reached the store, in order.
        forbid_deleted_reads: Whether reading a deleted key fails the test as well.
    """

    def __init__(
        self,
        faults: FaultPlan = no_faults,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.journal: list[Operation] = []
        self.forbid_deleted_reads = False
        self._gate = _Gate(faults)
        self._clock = clock
        self._lock = threading.RLock()
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self._past: dict[str, set[str]] = {}  # digests of every body that a key has had
        self._folders: set[str] = set()
        self._deleted: set[str] = set()

    @property
    def faults(self) -> FaultPlan:
        """The plan in force."""
        return self._gate.plan

    @faults.setter
    def faults(self, plan: FaultPlan) -> None:
        self._gate = _Gate(plan)

    @property
    def objects(self) -> dict[str, bytes]:
        """A copy of everything stored."""
        with self._lock:
            return {key: data for key, (data, _) in sorted(self._objects.items())}

    @property
    def writes(self) -> list[str]:
        """Keys written, in order (not those that lost)."""
        return [at.key for at in self.journal if at.done and at.op in {"put_new", "replace_if"}]

    def plant(self, key: str, data: bytes) -> None:
        """Put any bytes anywhere, as a vandal would: no rule is checked."""
        self._objects[key] = (data, self._clock())

    def uproot(self, key: str) -> None:
        """Remove an object, as a vandal would."""
        del self._objects[key]

    def get(self, key: str, *, limit: int = DEFAULT_OBJECT_LIMIT) -> Object | None:
        validate_key(key)
        self._gate.read()
        with self._lock:
            data = self._objects.get(key, (None, None))[0]
            self._note("get", key, data is not None)
            surprising = self.forbid_deleted_reads and data is None and key in self._deleted
            assert not surprising, f"read of deleted {key}"
        if data is not None and len(data) > limit:
            raise TooLarge(f"expected at most {limit} bytes in {key}, got {len(data)}")
        return None if data is None else Object(data, _digest(data))

    def put_new(self, key: str, data: bytes) -> bool:
        validate_key(key)
        return self._gate.write("put_new", key, lambda: self._put_new(key, data))

    def replace_if(self, key: str, data: bytes, token: str) -> str | None:
        validate_key(key)
        action = lambda: self._replace_if(key, data, token)  # noqa: E731 - one line, typed
        return self._gate.write("replace_if", key, action)

    def list(self, prefix: str) -> Iterator[Listed]:
        validate_prefix(prefix)
        self._gate.read()
        with self._lock:
            self._note("list", prefix, True)
            found = [
                Listed(key, len(data), modified)
                for key, (data, modified) in sorted(self._objects.items())
                if key.startswith(prefix)
            ]
        return iter(found)

    def delete(self, key: str) -> bool:
        validate_key(key)
        return self._gate.write("delete", key, lambda: self._delete(key))

    def _put_new(self, key: str, data: bytes) -> bool:
        with self._lock:
            self._assert_lawful(key, data)
            new = key not in self._objects
            if new:
                self._assert_no_clash(key)
                self._assert_same_as_before(key, data)
                self._store(key, data)
            self._note("put_new", key, new)
            return new

    def _replace_if(self, key: str, data: bytes, token: str) -> str | None:
        with self._lock:
            self._assert_lawful(key, data)
            assert key == TIMESTAMP or not key.startswith(FEED), f"{key} is immutable"
            current = self._objects.get(key)
            won = current is not None and _digest(current[0]) == token
            if won:
                back = _digest(data) in self._past.get(key, ())
                assert not back, f"a body came back to {key}"
                self._store(key, data)
            self._note("replace_if", key, won)
            return _digest(data) if won else None

    def _delete(self, key: str) -> bool:
        with self._lock:
            assert key != TIMESTAMP, "timestamp.json is never deleted"
            found = self._objects.pop(key, None) is not None
            self._deleted.add(key)
            self._note("delete", key, found)
            return found

    def _store(self, key: str, data: bytes) -> None:
        self._objects[key] = (data, self._clock())
        self._past.setdefault(key, set()).add(_digest(data))
        self._folders |= _folders(key)
        self._deleted.discard(key)

    def _assert_lawful(self, key: str, data: bytes) -> None:
        assert isinstance(data, bytes), f"{key}: expected bytes, got {type(data).__name__}"
        assert data or not key.startswith(FEED), f"{key}: empty"
        if key.startswith(TARGETS):
            digest = key.rpartition("/")[2].partition(".")[0]
            assert digest == _digest(data), f"{key}: holds a target of another digest"

    def _assert_no_clash(self, key: str) -> None:
        clash = key in self._folders or any(above in self._objects for above in _folders(key))
        assert not clash, f"{key}: one key is the folder of another"

    def _assert_same_as_before(self, key: str, data: bytes) -> None:
        past = self._past.get(key, set())
        same = not past or not key.startswith(FEED) or _digest(data) in past
        assert same, f"{key} came back with other bytes"

    def _note(self, op: str, key: str, done: bool) -> None:
        self.journal.append(Operation(op, key, done))


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def _folders(key: str) -> set[str]:
    parts = key.split("/")[:-1]
    return {"/".join(parts[: depth + 1]) for depth in range(len(parts))}
