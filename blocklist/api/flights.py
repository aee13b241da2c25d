"""One computation for all who ask for the same thing at the same time."""

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from blocklist.core.errors import BlocklistError

V = TypeVar("V")


@dataclass(slots=True)
class _Flight(Generic[V]):
    landed: threading.Event = field(default_factory=threading.Event)
    values: list[V] = field(default_factory=list)  # one, once it is there
    error: BlocklistError | None = None


class Flights(Generic[V]):
    """Runs each computation once at a time; who comes meanwhile gets the same."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[V]] = {}
        self._lock = threading.Lock()

    def run(self, key: Hashable, make: Callable[[], V]) -> V:
        """Return what `make` returns, or what it returned to somebody else just now.

        Raises:
            BlocklistError: What `make` raises, to all who waited. Anything else only ends the
                one who computed; the next one tries.
        """
        while True:
            with self._lock:
                flight = self._flights.get(key)
                mine = flight is None
                flight = self._flights.setdefault(key, flight or _Flight())
            if mine:
                return self._fly(key, flight, make)
            flight.landed.wait()
            if flight.values:
                return flight.values[0]
            if flight.error is not None:
                raise flight.error.with_traceback(None)

    def _fly(self, key: Hashable, flight: _Flight[V], make: Callable[[], V]) -> V:
        try:
            value = make()
            flight.values.append(value)
        except BlocklistError as error:
            flight.error = error
            raise
        finally:
            with self._lock:
                del self._flights[key]
            flight.landed.set()
        return value
