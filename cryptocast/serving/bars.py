"""Where the server fetches candles: in a thread of its own, behind a breaker, each series once at a time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeAlias

import msgspec

from cryptocast.config import Granularity
from cryptocast.errors import CryptocastError, DataError
from cryptocast.net import Breaker, Breakers, Priority, Try
from cryptocast.serving.problems import INTERNAL
from cryptocast.serving.worker import Worker
from cryptocast.workflows.candles import Found, Sources, open_store
from cryptocast.workflows.context import Context
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.upstream import upstream_factory

__all__ = ["BarKeeper", "Fetched"]

log = logging.getLogger(__name__)

DEADLINE_S: Final = 20.0  # of a call with its retries: somebody may be waiting for the next one
MAX_WAITING: Final = 64
Fetched: TypeAlias = dict[str, CryptocastError | None]
Series: TypeAlias = tuple[str, str, Granularity]


class BarKeeper:
    """`on_change` is awaited when candles were brought, on the event loop; `on_try` hears of each request to the
    upstream, in another thread. `refusal`: why the store cannot be written; then nobody is asked for what could not be
    kept."""

    def __init__(
        self,
        context: Context,
        *,
        on_change: Callable[[], Awaitable[object]],
        on_try: Callable[[Try], None] | None = None,
        refusal: Callable[[], str | None] = lambda: None,
    ) -> None:
        coingecko = context.config.coingecko
        limited = msgspec.structs.replace(coingecko, deadline_s=min(DEADLINE_S, coingecko.deadline_s))
        self._context = replace(context, config=msgspec.structs.replace(context.config, coingecko=limited))
        self._on_change, self._on_try, self._refusal = on_change, on_try, refusal
        self._worker = Worker(max_waiting=MAX_WAITING)
        self._flights: dict[Series, asyncio.Task[Fetched]] = {}
        self.breakers = Breakers(lambda name: Breaker(f"coingecko bars {name}"))

    def start(self) -> None:
        """Begin to work."""
        self._worker.start()

    async def close(self) -> None:
        """Leave what is under way to its own deadline."""
        for flight in self._flights.values():
            flight.cancel()
        await self._worker.close()

    async def for_request(self, request: Request, lacking: DataError) -> CryptocastError | None:
        """Bring the candles that a request lacks; None once they are here. `lacking`, what is said of it now, where
        nothing is fetched from its source: it can never be had."""
        (coin,) = request.selection.coins
        if request.selection.source not in ("auto", "coingecko"):
            return lacking
        series = (coin, request.selection.vs or "usd", request.selection.granularity or "daily")
        flight = self._flights.get(series)
        if flight is None:
            flight = asyncio.create_task(self.bring([coin], series[1], series[2], Priority.USER))
            self._flights[series] = flight
            flight.add_done_callback(lambda _: self._flights.pop(series, None))
        return (await asyncio.shield(flight))[coin]

    async def bring(self, coins: Sequence[str], vs: str, granularity: Granularity, priority: Priority) -> Fetched:
        """Bring the coins up to date: None for those that are, else why not. Raises nothing of its own."""
        if (refusal := self._refusal()) is not None:
            return dict.fromkeys(coins, DataError(f"The store cannot be written ({refusal}): no candles are fetched."))
        try:
            fetched, changed = await self._worker.submit(partial(self._fetch, coins, vs, granularity, priority))
        except CryptocastError as error:
            return dict.fromkeys(coins, error)
        if changed:
            await self._on_change()
        return fetched

    def _fetch(
        self, coins: Sequence[str], vs: str, granularity: Granularity, priority: Priority
    ) -> tuple[Fetched, list[str]]:
        config = self._context.config
        fetched: Fetched = {}
        changed = []
        try:
            with Sources(
                config,
                self._context.candles or open_store(config),
                source="coingecko",
                vs=vs,
                granularity=granularity,
                now=None,
                wall_clock=self._context.wall_clock,
                upstream_factory=upstream_factory(self._context, breakers=self.breakers, on_try=self._on_try),
                priority=priority,
                tries=2,
            ) as sources:
                for coin, outcome in sources.find_all(coins, older=False):
                    fetched[coin] = None if isinstance(outcome, Found) else outcome
                    if isinstance(outcome, Found) and outcome.written is not None:
                        changed.append(coin)
        except CryptocastError as error:
            return {**dict.fromkeys(coins, error), **fetched}, changed
        except Exception:
            log.exception("fetching the candles of %d coins failed", len(coins))
            return {**dict.fromkeys(coins, CryptocastError(INTERNAL)), **fetched}, changed
        return fetched, changed
