"""How often and how much at a time one client may ask: a bucket and a count for each address, in bounded memory."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

BURST_S: Final = 20.0  # seconds' worth of requests that may come at once
MAX_CLIENTS: Final = 10_000


class ClientRates:
    """One bucket for each client. Beyond `max_clients` the bucket that was used longest ago is forgotten."""

    def __init__(
        self, rate_per_s: float, *, clock: Callable[[], float] = time.monotonic, max_clients: int = MAX_CLIENTS
    ) -> None:
        self._rate, self._burst = rate_per_s, max(1.0, rate_per_s * BURST_S)
        self._clock, self._max = clock, max_clients
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, at

    def __len__(self) -> int:
        return len(self._buckets)

    def wait_s(self, client: str) -> float:
        """0 if the client may ask now, which is counted; else the seconds until it may. Rate 0: no limit."""
        if self._rate == 0.0:
            return 0.0
        now = self._clock()
        tokens, at = self._buckets.get(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate)
        allowed = tokens >= 1.0
        self._buckets[client] = (tokens - 1.0 if allowed else tokens, now)
        self._buckets.move_to_end(client)
        if len(self._buckets) > self._max:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - tokens) / self._rate


@dataclass(slots=True)
class Connections:
    """Connections by address, or what stands for them: see `Front`. most: of one address, 0 for any number."""

    most: int
    on_refused: Callable[[], None]
    open: Counter[str] = field(default_factory=Counter)

    def came(self, address: str) -> bool:
        """Count one more. Whether it may stay; it has to go in either case."""
        self.open[address] += 1
        if 0 < self.most < self.open[address]:
            self.on_refused()
            return False
        return True

    def went(self, address: str) -> None:
        """One less."""
        self.open[address] -= 1
        if self.open[address] <= 0:
            del self.open[address]
