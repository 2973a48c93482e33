"""What the leader of the servers on a store does about notices: looks at what is served, and sends what is due."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptocast.errors import CryptocastError
from cryptocast.market import Market
from cryptocast.registry import Condition, NoticeCode
from cryptocast.workflows.context import Context
from cryptocast.workflows.lifecycle.conditions import lasting_fallback, stale, standing_fallback
from cryptocast.workflows.notices.receiver import Receiver
from cryptocast.workflows.notices.sending import send_due
from cryptocast.workflows.reports import CoinForecast

log = logging.getLogger(__name__)

EVERY_S: Final = 10.0
STALE_MINUTES: Final = 15.0  # so long a server has to bring what it lacks when it starts


@dataclass(slots=True)
class NoticeDuty:
    """One task for the life of the server. newest: the forecasts given out of the configured coins.

    receiver: None where nobody is to be told; what happens is noted in the outbox all the same, since a command on the
    same store may know somebody.
    """

    context: Context
    receiver: Receiver | None
    leads: Callable[[], bool]
    newest: Mapping[str, CoinForecast]
    every_s: float = EVERY_S
    _trouble: str | None = None  # that was logged last
    stale_minutes: float = STALE_MINUTES
    # Since when something has been so of a coin, by the monotonic clock.
    _since: dict[tuple[NoticeCode, str], float] = field(default_factory=dict)

    async def run(self) -> None:
        """Until it is cancelled. Whatever goes wrong is logged, and done again."""
        while True:
            try:
                if self.leads():
                    await self.perform()
                self._trouble = None
            except CryptocastError as error:  # a registry that is busy or read-only, a proxy that is none
                if str(error) != self._trouble:
                    log.warning("notices could not be looked after, which is tried again: %s", error)
                self._trouble = str(error)
            except Exception:
                log.exception("notices could not be looked after, which is tried again")
            await asyncio.sleep(self.every_s)

    async def perform(self) -> None:
        """Once."""
        conditions = list(self._conditions())
        registry = await asyncio.to_thread(self.context.registry)
        if conditions:
            await asyncio.to_thread(registry.observe, conditions, self.context.wall_clock())
        if self.receiver is not None:
            await send_due(self.context, registry, self.receiver)

    def _conditions(self) -> Iterator[Condition]:
        """Of what is younger than it is told at, nothing: what was told before it may go on."""
        data, notify = self.context.config.data, self.context.config.notify
        for one in tuple(self.newest.values()):
            market = Market(one.source, one.vs, data.granularity)
            minutes = self._minutes(NoticeCode.STALE, one.coin, holds=one.stale)
            if minutes is None or minutes >= self.stale_minutes:
                yield from stale(one.coin, market, data.source, is_stale=one.stale, last=one.as_of)
            minutes = self._minutes(NoticeCode.FALLBACK, one.coin, holds=standing_fallback(one) is not None)
            if minutes is None or minutes >= notify.fallback_minutes:
                yield lasting_fallback(one, minutes)

    def _minutes(self, code: NoticeCode, coin: str, *, holds: bool) -> float | None:
        """For how long it has been so, as far as this process knows; None: it is not."""
        if not holds:
            self._since.pop((code, coin), None)
            return None
        now = self.context.clock()
        return (now - self._since.setdefault((code, coin), now)) / 60.0
