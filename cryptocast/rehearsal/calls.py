"""What was asked: counts that tests read instead of patching the code that asks."""

import threading
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any, Final

from cryptocast.rehearsal.faults import Fault
from cryptocast.rehearsal.messages import Endpoint

KEPT: Final = 20_000


@dataclass(frozen=True, slots=True)
class Call:
    """One request. A fault that ends without an answer has status 0."""

    at_s: float  # unix seconds of the wall
    clock_s: float  # of the clock that is played
    endpoint: Endpoint
    ids: tuple[str, ...]
    path: str
    params: dict[str, str]
    status: int
    fault: Fault | None
    connection: int


@dataclass(frozen=True, slots=True)
class ConnectionCounts:
    """ConnectionCounts: open now, of these idle, and accepted since the start."""

    open: int
    idle: int
    accepted: int


class Calls:
    """The requests so far, control requests left out. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._log: deque[Call] = deque(maxlen=KEPT)
        self._endpoints: Counter[str] = Counter()
        self._ids: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._faults: Counter[str] = Counter()

    def add(self, call: Call) -> None:
        """Count a request."""
        with self._lock:
            self._log.append(call)
            self._endpoints[call.endpoint] += 1
            self._ids.update(call.ids)
            self._statuses[call.status] += 1
            if call.fault is not None:
                self._faults[call.fault] += 1
            self._lock.notify_all()

    def wait(self, total: int, *, timeout_s: float = 5.0) -> bool:
        """Wait until there were so many; False if there are not after the time."""
        with self._lock:
            return self._lock.wait_for(lambda: self._endpoints.total() >= total, timeout_s)

    @property
    def log(self) -> tuple[Call, ...]:
        """The last 20,000, oldest first."""
        with self._lock:
            return tuple(self._log)

    @property
    def total(self) -> int:
        """How many there were."""
        with self._lock:
            return self._endpoints.total()

    def count(self, endpoint: Endpoint | None = None, *, coin: str | None = None, status: int | None = None) -> int:
        """How many of the log are of this endpoint, ask for this coin and were answered so."""
        return sum(
            (endpoint is None or call.endpoint == endpoint)
            and (coin is None or coin in call.ids)
            and (status is None or call.status == status)
            for call in self.log
        )

    def clear(self) -> None:
        """Forget them."""
        with self._lock:
            self._log.clear()
            for counter in (self._endpoints, self._ids, self._statuses, self._faults):
                counter.clear()

    def summary(self) -> dict[str, Any]:
        """Counts as plain values: total, endpoints, ids, statuses, faults."""
        with self._lock:
            return {
                "total": self._endpoints.total(),
                "endpoints": dict(self._endpoints),
                "ids": dict(self._ids),
                "statuses": {str(status): n for status, n in self._statuses.items()},
                "faults": dict(self._faults),
            }
