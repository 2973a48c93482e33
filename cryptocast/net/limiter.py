"""At most so many calls in any minute, and none before the time that the upstream asked to wait for."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

__all__ = ["Limiter"]

WINDOW_S: Final = 60.0


class Limiter:
    """A sliding window over one minute. Callers are let through in the order in which they came."""

    def __init__(
        self,
        calls_per_minute: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if calls_per_minute < 1:
            raise ValueError(f"calls_per_minute is {calls_per_minute}, expected 1 or more")
        self._calls: deque[float] = deque(maxlen=calls_per_minute)
        self._not_before = float("-inf")
        self._clock, self._sleep = clock, sleep
        self._turn = asyncio.Lock()

    async def acquire(self) -> None:
        """Wait until the next call may go out, and count it."""
        async with self._turn:
            while (wait := self.wait_s()) > 0:
                await self._sleep(wait)
            self._calls.append(self._clock())

    def wait_s(self) -> float:
        """Seconds until a call may go out; 0 or less: now."""
        full = len(self._calls) == self._calls.maxlen
        next_slot = self._calls[0] + WINDOW_S if full else float("-inf")
        return max(next_slot, self._not_before) - self._clock()

    def pause(self, seconds: float) -> None:
        """Let no call through for so long, whoever asks."""
        self._not_before = max(self._not_before, self._clock() + seconds)
