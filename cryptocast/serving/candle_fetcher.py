"""Where the server fetches candles: in a thread of its own, behind a breaker, each series once at a time."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.errors import UnknownCoin, UnknownCurrency
from cryptocast.data.sources.table import SOURCES, rule_of
from cryptocast.errors import CryptocastError, DataError, UpstreamError
from cryptocast.market import Market
from cryptocast.net import Breaker, Breakers, Priority, Try
from cryptocast.serving.clients import CLIENT
from cryptocast.serving.problems import INTERNAL
from cryptocast.serving.strangers import Strangers, Unknown
from cryptocast.serving.worker import Worker
from cryptocast.workflows.coin_pool import choice_of
from cryptocast.workflows.context import Context, Resolved
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.market_data.connect import access_of, upstream_factory
from cryptocast.workflows.market_data.resolve import CoinCandles, Sources, open_store

__all__ = ["BarKeeper", "Fetched"]

log = logging.getLogger(__name__)

DEADLINE_S: Final = 20.0  # of a call with its retries: somebody may be waiting for the next one
MAX_WAITING: Final = 64
MAX_UNKNOWN: Final = 20_000
Fetched: TypeAlias = dict[str, CryptocastError | None]


class BarKeeper:
    """`on_change` is awaited when candles were brought, on the event loop; `on_try` hears of each request to the
    upstream, in another thread.

    refusal: why the store cannot be written; then nobody is asked for what could not be kept. strangers: which coins
    the server is set up for; without, all of them. The others come in a thread of their own, one call each, so that
    none of ours waits behind them.
    """

    def __init__(
        self,
        context: Context,
        *,
        on_change: Callable[[], Awaitable[object]],
        on_try: Callable[[Try], None] | None = None,
        refusal: Callable[[], str | None] = lambda: None,
        strangers: Strangers | None = None,
    ) -> None:
        self._context = context
        self._on_change, self._on_try, self._refusal = on_change, on_try, refusal
        self._strangers = strangers
        self._worker, self._worker_for_others = Worker(max_waiting=MAX_WAITING), Worker(max_waiting=MAX_WAITING)
        self._unknown = Unknown(clock=time.monotonic, most=MAX_UNKNOWN)
        self._flights: dict[SeriesKey, asyncio.Task[Fetched]] = {}
        self._breakers = {
            source.name: Breakers(_named(f"{source.name} bars")) for source in SOURCES.values() if source.ages_by_clock
        }

    @property
    def breakers(self) -> Mapping[str, Breakers]:
        """Those of each source, by what their names begin with."""
        return {f"{source} bars": group for source, group in self._breakers.items()}

    def start(self) -> None:
        """Begin to work."""
        self._worker.start()
        self._worker_for_others.start()

    async def close(self) -> None:
        """Leave what is under way to its own deadline."""
        for flight in self._flights.values():
            flight.cancel()
        await asyncio.gather(self._worker.close(), self._worker_for_others.close())

    async def for_request(self, request: Request, lacking: DataError) -> CryptocastError | None:
        """Bring the candles that a request lacks; None once they are here. For the CLIENT, if they are of a coin that
        the server is not set up for. `lacking`, what is said of it now, where nothing is fetched from its source: it
        can never be had."""
        (coin,) = request.selection.coins
        selection = request.selection
        source = rule_of(selection.source or "auto").fetched
        if source is None:
            return lacking
        series = SeriesKey(Market(source.name, selection.vs or "usd", selection.granularity or "daily"), coin)
        flight = self._flights.get(series)
        if flight is None:
            priority = Priority.USER
            if self._strangers is not None and not self._strangers.is_ours(coin, series.vs):
                priority = Priority.STRANGER
                refused = self._unknown.why(*_subjects(series)) or self._strangers.refusal(CLIENT.get())
                if refused is not None:
                    return refused
            flight = asyncio.create_task(self._settled(series, priority))
            self._flights[series] = flight
            flight.add_done_callback(lambda _: self._flights.pop(series, None))
        return (await asyncio.shield(flight))[coin]

    async def _settled(self, series: SeriesKey, priority: Priority) -> Fetched:
        """What came of one series. What the upstream does not know is believed for a time, of a coin of ours never."""
        coin, vs = series.coin, series.vs
        fetched = await self.bring([coin], series.market, priority)
        error = fetched[coin]
        if error is None or self._strangers is None:
            return fetched
        if priority is Priority.STRANGER and isinstance(error, UnknownCoin | UnknownCurrency):
            of_currency, of_coin = _subjects(series)
            self._unknown.remember(of_currency if isinstance(error, UnknownCurrency) else of_coin, error)
        if isinstance(error, UnknownCoin) and self._strangers.is_passing(coin, vs, error):
            return {
                coin: UpstreamError(f"{error} The server is set up for it, and no list of coins says so: ask again.")
            }
        return fetched

    async def bring(self, coins: Sequence[str], market: Market, priority: Priority) -> Fetched:
        """Bring the coins of a market that is fetched up to date: None for those that are, else why not. Raises nothing
        of its own."""
        if (refusal := self._refusal()) is not None:
            return dict.fromkeys(coins, DataError(f"The store cannot be written ({refusal}): no candles are fetched."))
        try:
            worker = self._worker_for_others if priority is Priority.STRANGER else self._worker
            fetched, changed = await worker.submit(partial(self._fetch, coins, market, priority))
        except CryptocastError as error:
            return dict.fromkeys(coins, error)
        if changed:
            await self._on_change()
        return fetched

    def _fetch(self, coins: Sequence[str], market: Market, priority: Priority) -> tuple[Fetched, list[str]]:
        config = self._context.config
        fetched: Fetched = {}
        changed = []
        # Of a coin that somebody names in passing the bars of one call are enough.
        most = SOURCES[market.source].days_a_call(market.granularity) if priority is Priority.STRANGER else None
        days = min(config.data.days, most) if most is not None else None
        breakers = self._breakers[market.source]
        access = access_of(self._context, breakers=breakers, on_try=self._on_try, deadline_s=DEADLINE_S)
        try:
            with Sources(
                config,
                self._context.candles or open_store(config),
                Resolved(tuple(coins), choice_of(market.source), market.vs, market.granularity, now=None),
                wall_clock=self._context.wall_clock,
                upstream_factory=upstream_factory(market.source, access),
                priority=priority,
                tries=1 if priority is Priority.STRANGER else 2,
            ) as sources:
                for coin, outcome in sources.find_all(coins, days=days, older=False):
                    fetched[coin] = None if isinstance(outcome, CoinCandles) else outcome
                    if isinstance(outcome, CoinCandles) and outcome.change is not None:
                        changed.append(coin)
        except CryptocastError as error:
            return {**dict.fromkeys(coins, error), **fetched}, changed
        except Exception:
            log.exception("fetching the candles of %d coins failed", len(coins))
            return {**dict.fromkeys(coins, CryptocastError(INTERNAL)), **fetched}, changed
        return fetched, changed


def _named(kind: str) -> Callable[[str], Breaker]:
    return lambda name: Breaker(f"{kind} {name}")


def _subjects(series: SeriesKey) -> tuple[Hashable, Hashable]:
    """What may be unknown upstream: the currency, and the coin in it."""
    return (series.source, series.vs), (series.source, series.vs, series.coin)
