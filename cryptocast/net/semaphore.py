"""So many at a time, a bounded queue before the door, and a bounded time in the queue."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from cryptocast.net.answer import Overloaded


class Gate:
    """`places` inside, `max_waiting` before the door, first come first served."""

    def __init__(self, places: int, max_waiting: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._places, self._max_waiting, self._clock = places, max_waiting, clock
        self._queue: deque[asyncio.Future[None]] = deque()
        self._inside = 0
        self.waited_s = self.longest_wait_s = 0.0
        self.turned_away = 0

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @asynccontextmanager
    async def place(self, timeout_s: float) -> AsyncIterator[None]:
        """One place while the block runs. Raises Overloaded if the queue is full or the place does not come in time."""
        await self._enter(timeout_s)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, timeout_s: float) -> None:
        if self._inside < self._places:
            self._inside += 1
            return
        if len(self._queue) >= self._max_waiting:
            self.turned_away += 1
            raise Overloaded(f"{self._max_waiting} calls are already waiting for a free connection.", retry_after_s=1.0)
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        started = self._clock()
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except BaseException as error:
            self._withdraw(turn)
            if isinstance(error, TimeoutError):
                self.turned_away += 1
                raise Overloaded(f"No connection became free in {timeout_s:.1f} s.", retry_after_s=1.0) from error
            raise
        finally:
            waited = self._clock() - started
            self.waited_s += waited
            self.longest_wait_s = max(self.longest_wait_s, waited)

    def _withdraw(self, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self._leave()  # the place came in the same moment: hand it on
        elif turn in self._queue:
            self._queue.remove(turn)

    def _leave(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)  # the place passes from hand to hand
                return
        self._inside -= 1
