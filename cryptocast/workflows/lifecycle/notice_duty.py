"""What the leader of the servers on a store does about notices: looks at what is served, and sends what is due."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptocast.errors import CryptocastError
from cryptocast.market import Market
from cryptocast.registry import Condition
from cryptocast.workflows.context import Context
from cryptocast.workflows.lifecycle.conditions import lasting_fallback, stale, standing_fallback
from cryptocast.workflows.notices.receiver import Receiver
from cryptocast.workflows.notices.sending import send_due
from cryptocast.workflows.reports import CoinForecast

log = logging.getLogger(__name__)

EVERY_S: Final = 10.0


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
    _since: dict[str, float] = field(default_factory=dict)  # the fallback of each coin, by the monotonic clock

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
        registry = self.context.registry()
        if conditions:
            await asyncio.to_thread(registry.observe, conditions, self.context.wall_clock())
        if self.receiver is not None:
            await send_due(self.context, registry, self.receiver)

    def _conditions(self) -> Iterator[Condition]:
        """Of a fallback that is younger than it is told at, nothing: what was told before it may go on."""
        data = self.context.config.data
        for one in tuple(self.newest.values()):
            market = Market(one.source, one.vs, data.granularity)
            yield from stale(one.coin, market, data.source, is_stale=one.stale, last=one.as_of)
            yield from self._fallback(one)

    def _fallback(self, forecast: CoinForecast) -> Sequence[Condition]:
        if standing_fallback(forecast) is None:
            self._since.pop(forecast.coin, None)
            return (lasting_fallback(forecast, None),)
        now = self.context.clock()
        minutes = (now - self._since.setdefault(forecast.coin, now)) / 60.0
        is_long = minutes >= self.context.config.notify.fallback_minutes
        return (lasting_fallback(forecast, minutes),) if is_long else ()
