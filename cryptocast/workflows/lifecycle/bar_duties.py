"""What one process of those on a store does with every new bar: outcomes and forecasts go into the ledger, and the
versions that matured are judged behind that."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import filelock

from cryptocast.errors import CryptocastError, DataError
from cryptocast.files import OWN_FILE, make_own_folder
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.forecast import ForecastMaker
from cryptocast.workflows.lifecycle.live_scoring import LedgerUpdate, judge, record

log = logging.getLogger(__name__)

DUTY_S: Final = 60.0  # after this the forecasts of new bars are given out, whatever the ledger does
LOCK: Final = Path("run") / "serve-leader.lock"

# Work of the leader for coins with new bars, or all of them.
Duty: TypeAlias = Callable[[Sequence[str]], Awaitable[None]]
# Runs a call in the thread that a ForecastMaker belongs to.
InThread: TypeAlias = Callable[[Callable[[], LedgerUpdate]], Awaitable[LedgerUpdate]]


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
        self.refusal = None
        try:
            make_own_folder(Path(self._lock.lock_file).parent)
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            return False
        except OSError as error:
            self.refusal = error.strerror or str(error)
            return False
        return True

    def leave(self) -> None:
        """Let another process lead."""
        if self._lock.is_locked:
            self._lock.release()


@dataclass(slots=True)
class BarDuties:
    """The duties, one after the other; the leader does them, the others none.

    coins: of the settings, for which they are done. judge: afterwards, while forecasts are given out: it takes long.
    """

    coins: Sequence[str]
    duties: Sequence[Duty] = ()
    judge: Duty | None = None
    deadline_s: float = DUTY_S
    leads: bool = False
    failures: int = 0
    last_error: str | None = None
    _unjudged: set[str] = field(default_factory=set)
    _judging: asyncio.Task[None] | None = None

    async def before_change(self, changed: Sequence[str]) -> None:
        """Bars of these coins have come, and no forecast from them is given out yet: what they end is scored, so that
        the online calibration has learned from them by then, and what they lead to is written into the ledger."""
        coins = [coin for coin in changed if coin in self.coins]
        if self.leads and coins:
            await self.perform(coins)

    async def perform(self, coins: Sequence[str]) -> None:
        """Every duty for these coins. Raises nothing: what fails is logged, and done with the next bar."""
        for duty in self.duties:
            await self._done(duty, coins)
        self._unjudged.update(coins)

    def judge_behind(self) -> None:
        """Begin to judge what has matured, unless that is under way."""
        if self.judge is not None and self._unjudged and (self._judging is None or self._judging.done()):
            coins, self._unjudged = sorted(self._unjudged), set()
            self._judging = asyncio.create_task(self._done(self.judge, coins))

    def cancel(self) -> None:
        """Leave what is being judged."""
        if self._judging is not None:
            self._judging.cancel()

    async def _done(self, duty: Duty, coins: Sequence[str]) -> None:
        try:
            await asyncio.wait_for(duty(coins), self.deadline_s)
        except Exception as error:
            self.failures += 1
            self.last_error = type(error).__name__
            log.exception("a duty failed for %d coins; it is done with their next bars", len(coins))


async def record_bars(forecaster: ForecastMaker, in_thread: InThread, coins: Sequence[str]) -> None:
    """One coin after the other, so that whoever asks for a forecast meanwhile waits for one at most."""
    for coin in coins:
        selection = _stored(forecaster.context, coin)
        try:
            recorded = await in_thread(partial(record, forecaster.context, selection, forecaster=forecaster))
        except CryptocastError as error:
            # As on an empty machine; or a busy queue, a disk that refuses: the next bar brings the next try.
            level = logging.INFO if isinstance(error, DataError) else logging.WARNING
            log.log(level, "nothing of %s was recorded: %s", coin, error)
            continue
        for message in recorded.errors:
            log.warning("not recorded: %s", message)
        if recorded.written or recorded.matured:
            log.info("%s: %d forecasts recorded, %d matured", coin, recorded.written, recorded.matured)


async def judge_versions(context: Context, coins: Sequence[str]) -> None:
    """How the versions of these coins do live, for their marks and the metrics; in a thread of its own, one by one."""
    for coin in coins:
        try:
            await asyncio.to_thread(judge, context, _stored(context, coin))
        except CryptocastError as error:
            log.info("no version of %s was judged: %s", coin, error)


def _stored(context: Context, coin: str) -> Selection:
    data = context.config.data
    return Selection((coin,), data.source, data.vs, data.granularity, stored=True)
