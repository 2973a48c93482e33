"""What the server is made of, and how long each part lives.

Each part is given what it needs when it is made, in the order below: the state that answers rest on, the leader's
duties, the watch that hears of changes and has the duties done, the fetcher of candles, and the caches before it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

from cryptocast.data.cached_store import CachedCandles, PublishedCandles
from cryptocast.data.sources.coingecko.source import COINGECKO, credits_of
from cryptocast.data.sources.table import AUTO, SOURCES, is_fetched
from cryptocast.net import Priority
from cryptocast.registry import PRODUCTION, CachedRegistry, RegistryWatch, registry_stamp
from cryptocast.serving.ab_routing import Sides
from cryptocast.serving.access import Keys
from cryptocast.serving.access_log import AccessLog
from cryptocast.serving.candle_fetcher import CandleFetcher
from cryptocast.serving.error_reporting import Reports
from cryptocast.serving.flights import Flights
from cryptocast.serving.forecast_cache import ForecastCache
from cryptocast.serving.gauges import LIVE_EVERY_S, LiveFigures, UpstreamFigures, configured_coins
from cryptocast.serving.health import Health, ServerBreakers, StoreRights
from cryptocast.serving.path_sampler import PathSampler
from cryptocast.serving.paths import Paths
from cryptocast.serving.query import ForecastQuery, coin_requests
from cryptocast.serving.rate_limit import ClientRates
from cryptocast.serving.response_cache import ResponseCache
from cryptocast.serving.telemetry import Telemetry
from cryptocast.serving.worker import Worker
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.forecast import ForecastMaker, Request
from cryptocast.workflows.ladder import Ladder, MakeForecast
from cryptocast.workflows.lifecycle.bar_duties import BarDuties, Duty, Leader, judge_versions, record_bars
from cryptocast.workflows.lifecycle.notice_duty import NoticeDuty
from cryptocast.workflows.lifecycle.refresher import BringAll, Refresher
from cryptocast.workflows.market_data.coin_lookup import find_coin
from cryptocast.workflows.market_data.connect import access_of
from cryptocast.workflows.market_data.live_prices import Ask, LivePrices, PriceUpstream, read_prices, write_prices
from cryptocast.workflows.market_data.store_watch import ServedState, Stamp, StoreWatch
from cryptocast.workflows.market_data.strangers import Strangers
from cryptocast.workflows.notices.receiver import receiver_of
from cryptocast.workflows.reports import ForecastDocument

log = logging.getLogger(__name__)

# Requests of the greatest size that may wait for the one thread that computes.
FULL_REQUESTS_WAITING: Final = 4
MOST_NAMES: Final = 16_384  # of coins: more than there are tickers and pairs
LOGINS_PER_S: Final = 0.25  # with a wrong token, of an address; five may come at once
KEPT_PRICES: Final = Path("cache") / "serving" / "prices.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `create_app` may be given in place of the usual: see there."""

    forecast: MakeForecast | None = None
    stamp: Stamp | None = None
    ask_prices: Ask | None = None
    refresh: bool = True
    duties: Sequence[Duty] = ()
    access_log: AccessLog | None = None


class Server:
    """Every part, connected; nothing runs until it is `opened`. The endpoints work with it.

    fetcher, refresher: None where the server does without.
    """

    def __init__(self, context: Context, paths: Paths, keys: Keys, reports: Reports, options: Options) -> None:
        self.config = config = context.config
        self.paths, self.keys, self.reports = paths, keys, reports
        self.pages: Flights[bytes] = Flights()
        self.logins = ClientRates(LOGINS_PER_S, clock=context.clock)
        self.forms = ClientRates(config.serve.client_rate_per_s, clock=context.clock)
        self.find_coin = lru_cache(MOST_NAMES)(partial(find_coin, config))
        store, self._options = config.store.path, options
        fresh = CachedCandles(store, lock_timeout_s=config.store.lock_timeout_s)
        published = PublishedCandles(store, fresh, lock_timeout_s=config.store.lock_timeout_s)
        registry = RegistryWatch(store, config.gate)
        self._registry = CachedRegistry.over(store, gate=config.gate, stamp=registry)
        self.context = replace(context, candles=published, kept_registry=self._registry)
        self._behind = replace(self.context, candles=fresh)  # of what works with bars before they are shown
        self.state = ServedState(options.stamp or registry)
        self.telemetry, self.rights, self.sides = Telemetry(), StoreRights(store), Sides()
        self.access_log = options.access_log
        if self.access_log is not None:
            self.access_log.on_lost = partial(self.telemetry.count, "access_log_lost")
        credits_left = credits_of(config, context.wall_clock)
        on_refusal = partial(self.telemetry.count, "stranger_refused")
        self.strangers = Strangers(config, credits_left, on_refusal=on_refusal)
        self._forecaster = ForecastMaker(self.context)
        self.breakers = ServerBreakers(self._forecaster.breakers)
        self._worker = Worker(max_waiting=FULL_REQUESTS_WAITING * config.serve.max_ids)
        self._duties = self._bar_duties()
        before_change, on_registry = self._duties.before_change, self._follow
        self.watch = StoreWatch(fresh, published, registry, self.state, before_change, on_registry)
        self.fetcher = self._candle_fetcher() if options.forecast is None else None
        self.forecasts = self._forecast_cache()
        self.sampler = PathSampler(self.context, self._worker)
        self.answers = ResponseCache(self.context.wall_clock, self.context.clock, state=self.state)
        self._upstream = self._price_upstream()
        self.prices = self._live_prices()
        self.refresher = self._candle_refresher() if options.refresh else None
        self.notices = self._notice_duty()
        self.live = LiveFigures(self.context, registry_stamp(store))
        self.health = Health(self)
        upstream = UpstreamFigures(credits_left.state, self._upstream)
        self.telemetry.samples += [self.health.samples, upstream.samples, self.live.samples]
        self.telemetry.slow_samples.append(upstream.slow_samples)
        if self.refresher is not None:
            self.telemetry.samples.append(partial(configured_coins, self.forecasts.ahead))

    def now_s(self) -> float:
        """Seconds since 1970, by the wall clock."""
        return self.context.wall_clock().timestamp()

    def drain(self) -> None:
        """From now on the server is being stopped: /ready is 503, and clients are asked to reconnect."""
        self.health.draining = True

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """While this lasts, everything runs; at its end, everything is closed."""
        await asyncio.to_thread(self.rights.look)
        self.prices.restore(await asyncio.to_thread(read_prices, self.config.store.path / KEPT_PRICES))
        async with AsyncExitStack() as stack:
            stack.callback(self.reports.close)
            if self.access_log is not None:
                self.access_log.start()
                stack.push_async_callback(asyncio.to_thread, self.access_log.close)
            if self._options.ask_prices is None:
                await stack.enter_async_context(self._upstream.opened())
            await stack.enter_async_context(self.forecasts.opened())
            if self.fetcher is not None:
                self.fetcher.start()
                stack.push_async_callback(self.fetcher.close)
            await self.watch.look()
            work = [self.watch.run(), self.health.pulse.run(), self._each_minute()]
            if self.refresher is not None:
                work += [self.refresher.run(), self.notices.run()]
            tasks = [asyncio.create_task(one) for one in work]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self.prices.close()
                await self._keep_prices()

    async def _each_minute(self) -> None:
        """Look for outcomes that came and whether the store can be written, and keep the prices for a process that may
        have to take over."""
        while True:
            try:
                await asyncio.to_thread(self.rights.look)
                await asyncio.to_thread(self.live.refresh)
                await self._keep_prices()
            except Exception:
                log.exception("a minute's work failed; it is done again in the next")
            await asyncio.sleep(LIVE_EVERY_S)

    async def _keep_prices(self) -> None:
        store = self.config.store.path
        # Where there is no store none is made for prices alone.
        if self.rights.refusal is None and store.is_dir() and (prices := self.prices.stored()):
            await asyncio.to_thread(write_prices, store / KEPT_PRICES, prices)

    def _follow(self) -> None:
        self.sides.follow(self._registry.ab_tests())
        self.strangers.follow(one.key for one in self._registry.listing(alias=PRODUCTION))

    def _bar_duties(self) -> BarDuties:
        coins, duties = self.config.data.coins, self._options.duties
        if self._options.forecast is not None:
            return BarDuties(coins, duties)
        recording = partial(record_bars, self._forecaster.on(self._behind), self._worker.submit)
        return BarDuties(coins, [*duties, recording], judge=partial(judge_versions, self._behind))

    def _candle_fetcher(self) -> CandleFetcher:
        return CandleFetcher(
            self._behind,
            breaker=lambda source: self.breakers.of(SOURCES[source], "bars"),
            on_change=self.watch.look,
            on_try=partial(self.telemetry.tried, "bars"),
            refusal=lambda: self.rights.refusal,
            strangers=self.strangers,
        )

    def _forecast_cache(self) -> ForecastCache:
        on_fallback = partial(self.telemetry.count, "fallback")
        forecast = self._options.forecast or Ladder(self._forecaster.forecast, on_step=on_fallback)

        def timed(request: Request) -> ForecastDocument:
            began = time.perf_counter()
            document = forecast(request)
            for one in document.forecasts:
                self.telemetry.forecast_made(one.model_used, time.perf_counter() - began)
            return document

        return ForecastCache(
            timed,
            self.context.wall_clock,
            self.context.clock,
            state=self.state,
            worker=self._worker,
            bring=self.fetcher.for_request if self.fetcher is not None else None,
            on_fallback=on_fallback,
        )

    def _candle_refresher(self) -> Refresher:
        requests = coin_requests(ForecastQuery(), self.config)
        return Refresher(
            config=self.config,
            state=self.state,
            leader=Leader(self.config.store.path),
            duties=self._duties,
            wall_clock=self.context.wall_clock,
            clock=self.context.clock,
            prepare=partial(self.forecasts.prepare, requests, timeout_s=self.config.serve.request_timeout_s),
            bring=self._bring_all(),
        )

    def _notice_duty(self) -> NoticeDuty:
        url = self.context.notify_url
        receiver = None if url is None else receiver_of(url, self.config.notify)
        return NoticeDuty(self.context, receiver, lambda: self._duties.leads, self.forecasts.ahead)

    def _bring_all(self) -> BringAll | None:
        request = Selection().resolved(self.config)
        comes = request.source == AUTO or is_fetched(request.source)
        if self.fetcher is None or not comes or not self.config.serve.refresh:
            return None
        return partial(self.fetcher.bring, request, Priority.REFRESH)

    def _price_upstream(self) -> PriceUpstream:
        breaker = self.breakers.of(COINGECKO, "prices")
        access = access_of(self.context, breaker=breaker, on_try=partial(self.telemetry.tried, "prices"))
        return PriceUpstream(partial(COINGECKO.connect, access))

    def _live_prices(self) -> LivePrices:
        serve, ask = self.config.serve, self._options.ask_prices
        return LivePrices(
            ask or self._upstream.ask,
            strangers=self.strangers,
            ask_for_others=ask or self._upstream.ask_for_others,
            fresh_s=serve.prices_fresh_s,
            keep_s=serve.prices_keep_s,
            wall_clock=self.context.wall_clock,
            count=self.telemetry.count,
        )
