"""At most so many calls in any minute, and none before the time that the upstream asked to wait for."""

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Final

from cryptocast.net.answer import Overloaded
from cryptocast.net.shared_window import MAX_PAUSE_S, SharedWindow

WINDOW_S: Final = 60.0
TICK_S: Final = 0.001  # shortest sleep, so that rounding of the clock cannot make a loop without end
NEVER: Final = float("inf")


class Priority(IntEnum):
    """Who goes first. STRANGER: a reader of the server who asks for what it is not set up for; never tried again."""

    USER = 0
    REFRESH = 1
    BACKFILL = 2
    STRANGER = 3


class Place:
    """One counted call."""

    __slots__ = ("_give_back", "at", "shared_at")

    def __init__(self, at: float, shared_at: float, give_back: Callable[["Place"], None]) -> None:
        self.at, self.shared_at = at, shared_at
        self._give_back: Callable[[Place], None] | None = give_back

    def give_back(self) -> None:
        """The call was not made: the place is free again. A second time does nothing."""
        if self._give_back is not None:
            give_back, self._give_back = self._give_back, None
            give_back(self)


@dataclass(order=True, slots=True)
class _Waiter:
    priority: Priority
    number: int
    expires_at: float = field(compare=False)
    turn: "asyncio.Future[Place]" = field(compare=False)


class Limiter:
    """A sliding window. Callers are let through by priority, and in the order in which they came within one.

    Time inside is monotonic. With `state_file`, processes that name the same file share one window, through the wall
    clock (see SharedWindow); each of them still keeps to its own window, whatever becomes of the file.
    """

    def __init__(
        self,
        calls_per_minute: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        wall: Callable[[], float] = time.time,
        state_file: Path | None = None,
        window_s: float = WINDOW_S,  # other than a minute for tests
        max_waiting: int = 10_000,
    ) -> None:
        if calls_per_minute < 1:
            raise ValueError(f"calls_per_minute is {calls_per_minute}, expected 1 or more")
        self._limit, self._window_s, self._max_waiting = calls_per_minute, window_s, max_waiting
        self._clock, self._sleep = clock, sleep
        self._shared: SharedWindow | None = None
        if state_file is not None:
            self._shared = SharedWindow(state_file, limit=calls_per_minute, window_s=window_s, wall=wall, clock=clock)
        self._calls: deque[float] = deque()
        self._not_before = float("-inf")
        self._queue: list[_Waiter] = []
        self._gone = 0  # callers in the queue who left or were turned away
        self._arrivals = 0
        self._doorman: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Callers in the queue."""
        return len(self._queue) - self._gone

    async def acquire(self, priority: Priority = Priority.USER, *, deadline_s: float | None = None) -> Place:
        """Wait until the next call may go out, and count it.

        Raises Overloaded, at once where that is certain, if the turn does not come within `deadline_s`, or if
        `max_waiting` callers wait already.
        """
        if not self._queue and self._take() <= 0:
            return self._place()
        self._refuse_hopeless(priority, deadline_s)
        self._arrivals += 1
        expires_at = NEVER if deadline_s is None else self._clock() + deadline_s
        waiter = _Waiter(priority, self._arrivals, expires_at, asyncio.get_running_loop().create_future())
        heapq.heappush(self._queue, waiter)
        if self._doorman is None or self._doorman.done():
            self._doorman = asyncio.create_task(self._let_in())
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            self._left(waiter)
            raise

    def wait_s(self) -> float:
        """Seconds until a call may go out, by what this process knows; 0 or less: now."""
        now = self._clock()
        while self._calls and self._calls[0] + self._window_s <= now:
            self._calls.popleft()
        next_slot = self._calls[0] + self._window_s if len(self._calls) >= self._limit else float("-inf")
        return max(next_slot, self._not_before) - now

    def pause(self, seconds: float) -> None:
        """Let no call through for so long (an hour at most), whoever asks, in every process that shares the window."""
        seconds = min(seconds, MAX_PAUSE_S)
        self._not_before = max(self._not_before, self._clock() + seconds)
        if self._shared is not None:
            self._shared.pause(seconds)

    def _take(self) -> float:
        """Count a call and return 0, or the seconds until it makes sense to ask again."""
        wait = self.wait_s()
        if self._shared is not None:
            # Looked at even if our own window says to wait: only who looks finds out that the wall clock was set back.
            wait = max(wait, self._shared.take(count=wait <= 0))
        if wait <= 0:
            self._calls.append(self._clock())
        return max(wait, 0.0)

    def _place(self) -> Place:
        return Place(self._calls[-1], self._shared.taken_at if self._shared else 0.0, self._give_back)

    def _give_back(self, place: Place) -> None:
        if place.at in self._calls:
            self._calls.remove(place.at)
        if self._shared is not None:
            self._shared.give_back(place.shared_at)

    def _left(self, waiter: _Waiter) -> None:
        """A caller was cancelled: before the turn came, or in the moment in which it came."""
        if waiter.turn.cancelled():
            self._gone += 1
        elif waiter.turn.exception() is None:
            waiter.turn.result().give_back()
        self._drop_gone()
        if not self._queue and self._doorman is not None:
            self._doorman.cancel()
            self._doorman = None

    def _refuse_hopeless(self, priority: Priority, deadline_s: float | None) -> None:
        wait = max(self.wait_s(), 0.0)
        if self.waiting >= self._max_waiting:
            raise Overloaded(f"{self.waiting} calls are already waiting for the rate limit.", retry_after_s=wait)
        if deadline_s is None:
            return
        # At least so long, for no window holds more than the limit; those who come later may still overtake.
        ahead = sum(waiter.priority <= priority and not waiter.turn.done() for waiter in self._queue)
        wait += ahead // self._limit * self._window_s
        if wait > deadline_s:
            raise Overloaded(
                f"The rate limit allows the next call in {wait:.0f} s, the caller has {deadline_s:.1f} s.",
                retry_after_s=wait,
            )

    async def _let_in(self) -> None:
        while self._queue:
            wait = self._take()
            if wait <= 0:
                heapq.heappop(self._queue).turn.set_result(self._place())
            else:
                soonest = min(waiter.expires_at for waiter in self._queue) - self._clock()
                await self._sleep(max(TICK_S, min(wait, soonest)))
                self._turn_away_expired()
            self._drop_gone()

    def _turn_away_expired(self) -> None:
        now = self._clock()
        wait = max(self.wait_s(), 0.0)
        for waiter in self._queue:
            if waiter.expires_at <= now and not waiter.turn.done():
                error = Overloaded(f"The rate limit allows the next call in {wait:.0f} s.", retry_after_s=wait)
                waiter.turn.set_exception(error)
                self._gone += 1

    def _drop_gone(self) -> None:
        """Forget callers who are no longer there: those at the head always, the others when they are many."""
        while self._queue and self._queue[0].turn.done():
            heapq.heappop(self._queue)
            self._gone -= 1
        if self._gone > 64 and self._gone > len(self._queue) // 2:
            self._queue = [waiter for waiter in self._queue if not waiter.turn.done()]
            heapq.heapify(self._queue)
            self._gone = 0
