"""What a server does by itself: brings bars when they close, computes before anybody asks, follows promotions."""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from cryptocast.config import Config
from cryptocast.data.schema import BAR_US
from cryptocast.times import EPOCH
from cryptocast.workflows.lifecycle.bar_duties import BarDuties, Leader
from cryptocast.workflows.market_data.bring import Fetched
from cryptocast.workflows.market_data.resolve import GRACE
from cryptocast.workflows.market_data.store_watch import ServedState

log = logging.getLogger(__name__)

TICK_S: Final = 0.5  # how late a promotion may be noticed
AGAIN: Final = timedelta(minutes=1)  # after bars that did not come; twice as long each time, to AGAIN_MOST
AGAIN_MOST: Final = timedelta(minutes=30)
SPREAD_S: Final = 20.0  # after a close, so that the servers of the world do not ask in the same second
FOLLOW_S: Final = 5.0  # how often a follower looks whether the leader has gone
STEP_S: Final = 5.0  # a wall clock that moves by more against the monotonic one was set

BringAll: TypeAlias = Callable[[], Awaitable[Fetched]]


@dataclass(slots=True)
class Refresher:
    """One task for the life of the server. Whatever goes wrong in a round is logged, and the next round comes.

    prepare: computes what is asked for most; gives the seconds until it is due again. bring: fetches the configured
    coins; None where the settings name no upstream.
    """

    config: Config
    state: ServedState
    leader: Leader
    duties: BarDuties
    wall_clock: Callable[[], datetime]
    clock: Callable[[], float]
    prepare: Callable[[], Awaitable[float]]
    bring: BringAll | None
    rng: random.Random = field(default_factory=random.Random)
    rounds: int = 0
    failures: int = 0
    last_fetch: datetime | None = None
    last_error: str | None = None
    # By the monotonic clock, in seconds: a wall clock that ran ahead and came back leaves nothing undue for days.
    _due: float = -math.inf
    _compute_at: float = -math.inf
    _offset: timedelta | None = None  # of the wall clock
    _misses: int = 0
    _state: Hashable = None
    _performed_at: Hashable = None
    _refreshing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                try:
                    await self.round()
                    self.rounds += 1
                except Exception as error:
                    self.failures += 1
                    self.last_error = type(error).__name__
                    log.exception("a round of the refresher failed; the next one comes")
                    await asyncio.sleep(min(30.0, 2.0 ** min(self.failures, 5)))
                await asyncio.sleep(TICK_S)
        finally:
            if self._refreshing is not None:
                self._refreshing.cancel()
            self.duties.cancel()
            self.leader.leave()

    async def round(self) -> None:
        """What is due now."""
        self._see_clock()
        now = self.clock()
        state, registry = self.state(), self.state.registry()
        if state != self._state or now >= self._compute_at:
            self._state = state
            await self.compute()
        if self.duties.leads and self._performed_at != (registry,):
            self._performed_at = (registry,)
            await self.duties.perform(self.config.data.coins)
        self.duties.judge_behind()
        if self._refreshing is not None and self._refreshing.done():
            ended, self._refreshing = self._refreshing, None
            ended.result()
        # In a task of its own: while the upstream hangs, promotions are followed and forecasts computed all the same.
        if self._refreshing is None and now >= self._due:
            self._refreshing = asyncio.create_task(self._refresh(self.wall_clock()))

    async def settled(self) -> None:
        """Wait for the refresh that is under way."""
        if self._refreshing is not None:
            await asyncio.wait([self._refreshing])

    async def compute(self) -> None:
        """The configured coins, before anybody asks."""
        wait_s = min(await self.prepare(), AGAIN_MOST.total_seconds())
        self._compute_at = self.clock() + max(wait_s, TICK_S)

    def _see_clock(self) -> None:
        """Where the wall clock was set, everything is due anew."""
        offset = self.wall_clock() - EPOCH - timedelta(seconds=self.clock())
        if self._offset is not None and abs(offset - self._offset) > timedelta(seconds=STEP_S):
            step_s = (offset - self._offset).total_seconds()
            log.warning(
                "the wall clock moved by %+.0f s against the monotonic one: what it decides is due anew", step_s
            )
            self._due = self._compute_at = -math.inf
        self._offset = offset

    async def _refresh(self, now: datetime) -> None:
        self._due = self.clock() + FOLLOW_S  # of those who do not lead, and of the leader if this fails
        self.duties.leads = await asyncio.to_thread(self.leader.leads)
        if not self.duties.leads:
            return
        if self.bring is not None:
            fetched = await self.bring()
            failed = {coin: error for coin, error in fetched.items() if error is not None}
            self.last_fetch = now
            self.last_error = str(next(iter(failed.values()))) if failed else None
            if failed:
                log.warning("%d of %d coins could not be refreshed: %s", len(failed), len(fetched), self.last_error)
            self._misses = self._misses + 1 if failed else 0
            await self.compute()
        self._due = self.clock() + self._wait_s(now)

    def _wait_s(self, now: datetime) -> float:
        """Until the next close, and the time that the upstream needs to have it; shorter after a failure."""
        granularity = self.config.data.granularity
        bar = timedelta(microseconds=BAR_US[granularity])
        closed = now - GRACE[granularity]
        due = closed - (closed - EPOCH) % bar + bar + GRACE[granularity]
        if self._misses:
            due = min(due, now + min(AGAIN_MOST, AGAIN * 2 ** min(self._misses - 1, 10)))
        return (due - now).total_seconds() + self.rng.uniform(0.0, SPREAD_S)
