"""What the server does by itself: brings bars when they close, computes before anybody asks, follows promotions."""

import asyncio
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

import filelock

from cryptocast.config import Config
from cryptocast.data.schema import BAR_US
from cryptocast.files import OWN_FILE, make_own_folder
from cryptocast.net import Priority
from cryptocast.serving.candle_fetcher import Fetched
from cryptocast.serving.forecast_cache import Answered, Answers, Outcome
from cryptocast.serving.telemetry import Sample
from cryptocast.times import EPOCH
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.market_data.resolve import GRACE

__all__ = ["Duty", "Leader", "Refresher"]

log = logging.getLogger(__name__)

TICK_S: Final = 0.5  # how late a promotion may be noticed
DUTY_S: Final = 60.0  # after this the forecasts of new bars are given out, whatever the ledger does
AGAIN: Final = timedelta(minutes=1)  # after bars that did not come; twice as long each time, to AGAIN_MOST
AGAIN_MOST: Final = timedelta(minutes=30)
SPREAD_S: Final = 20.0  # after a close, so that the servers of the world do not ask in the same second
FOLLOW_S: Final = 5.0  # how often a follower looks whether the leader has gone
STEP_S: Final = 5.0  # a wall clock that moves by more against the monotonic one was set
LOCK: Final = Path("run") / "serve-leader.lock"

# Work of the leader for coins with new bars, or all of them: the ledger, the scores of what has matured.
Duty: TypeAlias = Callable[[Sequence[str]], Awaitable[None]]
BringAll: TypeAlias = Callable[[Sequence[str], Priority], Awaitable[Fetched]]


class Leader:
    """One process of those that serve a store: the others follow, and one of them leads when this one ends.

    refusal: why the lock cannot even be asked for, as the system said; None where it can.
    """

    def __init__(self, store: Path) -> None:
        # Taken and given back in threads of the event loop, none of which owns it.
        self._lock = filelock.FileLock(store / LOCK, thread_local=False, mode=OWN_FILE)
        self.refusal: str | None = None

    def leads(self) -> bool:
        """Whether this process leads now; tries to. False where no lock can be had."""
        if self._lock.is_locked:
            return True
        try:
            make_own_folder(Path(self._lock.lock_file).parent)
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            self.refusal = None
            return False
        except OSError as error:
            self.refusal = error.strerror or str(error)
            return False
        self.refusal = None
        return True

    def leave(self) -> None:
        """Let another process lead."""
        if self._lock.is_locked:
            self._lock.release()


@dataclass(slots=True)
class Refresher:
    """One task for the life of the server. Whatever goes wrong in a round is logged, and the next round comes.

    bring: fetches the configured coins; None where the settings name no upstream. requests: what is computed ahead.
    answered_by: the model that answered for each of them last, by coin.
    """

    config: Config
    answers: Answers
    requests: Sequence[Request]
    bring: BringAll | None
    leader: Leader
    wall_clock: Callable[[], datetime]
    clock: Callable[[], float] = time.monotonic
    duties: Sequence[Duty] = ()
    judge: Duty | None = None  # behind the duties, while forecasts are given out: it takes long
    rng: random.Random = field(default_factory=random.Random)
    leads: bool = False
    rounds: int = 0
    failures: int = 0
    last_fetch: datetime | None = None
    last_error: str | None = None
    answered_by: dict[str, str] = field(default_factory=dict)
    # By the monotonic clock, in seconds: a wall clock that ran ahead and came back leaves nothing undue for days.
    _due: float = -math.inf
    _compute_at: float = -math.inf
    _offset: timedelta | None = None  # of the wall clock
    _misses: int = 0
    _stamp: Hashable = None
    _performed_at: Hashable = None
    _refreshing: asyncio.Task[None] | None = None
    _judging: asyncio.Task[None] | None = None
    _unjudged: set[str] = field(default_factory=set)

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
            for task in (self._refreshing, self._judging):
                if task is not None:
                    task.cancel()
            self.leader.leave()

    async def round(self) -> None:
        """What is due now."""
        self._see_clock()
        now = self.clock()
        stamp = self.answers.stamp()
        if stamp != self._stamp or now >= self._compute_at:
            self._stamp = stamp
            await self.compute()
        if self.leads and self.duties and self._performed_at != (stamp,):
            self._performed_at = (stamp,)
            await self.perform(self.config.data.coins)
        if self.judge is not None and self._unjudged and (self._judging is None or self._judging.done()):
            coins, self._unjudged = sorted(self._unjudged), set()
            self._judging = asyncio.create_task(self._done(self.judge, coins))
        if self._refreshing is not None and self._refreshing.done():
            ended, self._refreshing = self._refreshing, None
            ended.result()
        # In a task of its own: while the upstream hangs, promotions are followed and forecasts computed all the same.
        if self._refreshing is None and now >= self._due:
            self._refreshing = asyncio.create_task(self._refresh(self.wall_clock()))

    def compute_soon(self) -> None:
        """Candles are others now: the next round computes what is asked for most before anybody asks."""
        self._compute_at = -math.inf

    def _see_clock(self) -> None:
        """Where the wall clock was set, everything is due anew."""
        offset = self.wall_clock() - EPOCH - timedelta(seconds=self.clock())
        if self._offset is not None and abs(offset - self._offset) > timedelta(seconds=STEP_S):
            moved = (offset - self._offset).total_seconds()
            log.warning("the wall clock moved by %+.0f s against the monotonic one: what it decides is due anew", moved)
            self._due = self._compute_at = -math.inf
        self._offset = offset

    async def before_change(self, changed: Sequence[str]) -> None:
        """Bars of these coins have come, and no forecast from them is given out yet: the leader scores what they end,
        so that the online calibration has learned from them by then, and writes what they lead to into the ledger."""
        configured = [coin for coin in changed if coin in self.config.data.coins]
        if self.leads and configured:
            await self.perform(configured)

    async def perform(self, coins: Sequence[str]) -> None:
        """Every duty for these coins. Raises nothing: what fails is logged, and done with the next bar."""
        for duty in self.duties:
            await self._done(duty, coins)
        self._unjudged.update(coins)

    async def _done(self, duty: Duty, coins: Sequence[str]) -> None:
        try:
            await asyncio.wait_for(duty(coins), DUTY_S)
        except Exception as error:
            self.failures += 1
            self.last_error = type(error).__name__
            log.exception("a duty failed for %d coins; it is done with their next bars", len(coins))

    async def settled(self) -> None:
        """Wait for the refresh that is under way."""
        if self._refreshing is not None:
            await asyncio.wait([self._refreshing])

    async def compute(self) -> None:
        """The configured coins, one after the other: whoever asks for another coin meanwhile waits for one at most."""
        wait_s = AGAIN_MOST.total_seconds()
        for request in self.requests:
            (outcome,) = await self.answers.of([request], timeout_s=self.config.serve.request_timeout_s)
            self._note(request.selection.coins[0], outcome)
            wait_s = min(wait_s, self.answers.left_s(outcome))
        self._compute_at = self.clock() + max(wait_s, TICK_S)

    def samples(self) -> Iterator[Sample]:
        """For `Telemetry.samples`: how many of the configured coins each model answers for."""
        by_model = Counter(self.answered_by.values())
        for model in sorted({"baseline", *by_model}):
            text = "Coins of the settings, by the model that answers for them."
            yield "cryptocast_configured_coins", text, {"model": model}, float(by_model[model])

    def _note(self, coin: str, outcome: Outcome) -> None:
        if isinstance(outcome, Answered):
            self.answered_by[coin] = outcome.made.model_used
        else:
            self.answered_by.pop(coin, None)

    async def _refresh(self, now: datetime) -> None:
        self._due = self.clock() + FOLLOW_S  # of those who do not lead, and of the leader if this fails
        self.leads = await asyncio.to_thread(self.leader.leads)
        if not self.leads:
            return
        if self.bring is not None:
            fetched = await self.bring(self.config.data.coins, Priority.REFRESH)
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
