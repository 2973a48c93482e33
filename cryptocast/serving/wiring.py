"""What the server is made of, and how long each part lives.

Each part is given what it needs when it is made, in the order below: the state that answers rest on, the leader's
duties, the watch that hears of changes and has the duties done, the fetcher of candles, and the caches before it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from cryptocast.config import Config
from cryptocast.data.cached_store import CachedCandles, PublishedCandles
from cryptocast.data.sources.coingecko.source import COINGECKO, connect, credits_of
from cryptocast.data.sources.table import SOURCES, rule_of
from cryptocast.market import Market
from cryptocast.net import Priority
from cryptocast.registry import PRODUCTION, KeptRegistry, Registry, RegistryWatch, registry_stamp
from cryptocast.serving.ab_routing import Sides
from cryptocast.serving.access import Keys
from cryptocast.serving.candle_fetcher import CandleFetcher
from cryptocast.serving.endpoints import Service
from cryptocast.serving.error_reporting import Reports
from cryptocast.serving.forecast_cache import ForecastCache
from cryptocast.serving.gauges import LIVE_EVERY_S, LiveFigures, UpstreamFigures, configured_coins
from cryptocast.serving.health import Health, ServerBreakers, StoreRights
from cryptocast.serving.paths import Endpoint, Paths
from cryptocast.serving.price_upstream import PriceUpstream
from cryptocast.serving.prices import Ask, LivePrices, read_prices, write_prices
from cryptocast.serving.query import ForecastQuery, coin_requests
from cryptocast.serving.response_cache import ResponseCache
from cryptocast.serving.strangers import Strangers
from cryptocast.serving.telemetry import Telemetry
from cryptocast.serving.trends import Pulse
from cryptocast.serving.worker import Worker
from cryptocast.workflows.context import Context
from cryptocast.workflows.forecast import Forecaster, Request
from cryptocast.workflows.ladder import Ladder, MakeForecast
from cryptocast.workflows.lifecycle.bar_duties import BarDuties, Duty, Leader, judge_versions, record_bars
from cryptocast.workflows.lifecycle.refresher import BringAll, Refresher
from cryptocast.workflows.market_data.bring import Fetched
from cryptocast.workflows.market_data.connect import access_of
from cryptocast.workflows.market_data.store_watch import ServedState, Stamp, StoreWatch
from cryptocast.workflows.reports import ForecastDocument

__all__ = ["Background", "Options", "wired"]

log = logging.getLogger(__name__)

# Requests of the greatest size that may wait for the one thread that computes.
FULL_REQUESTS_WAITING: Final = 4
KEPT_PRICES: Final = Path("cache") / "serving" / "prices.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `create_app` may be given in place of the usual: see there."""

    forecast: MakeForecast | None = None
    stamp: Stamp | None = None
    ask_prices: Ask | None = None  # for coins of all kinds
    refresh: bool = True
    duties: Sequence[Duty] = ()


@dataclass(frozen=True, slots=True)
class Ground:
    """What everything else is made on. behind: the context of what works with bars before they are announced."""

    context: Context
    behind: Context
    state: ServedState
    telemetry: Telemetry
    rights: StoreRights
    sides: Sides
    strangers: Strangers
    forecaster: Forecaster
    breakers: ServerBreakers
    worker: Worker

    @property
    def config(self) -> Config:
        """The settings."""
        return self.context.config


@dataclass(slots=True, kw_only=True)
class Background:
    """What runs beside the requests, as long as the server lives. fetcher, refresher, price_upstream: None where the
    server does without."""

    service: Service
    watch: StoreWatch
    fetcher: CandleFetcher | None
    refresher: Refresher | None
    price_upstream: PriceUpstream | None
    strangers: Strangers
    live: LiveFigures
    rights: StoreRights

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """While this lasts, everything runs; at its end, everything is closed."""
        service = self.service
        await asyncio.to_thread(self.rights.look)
        service.prices.restore(await asyncio.to_thread(read_prices, self._prices_file))
        async with AsyncExitStack() as stack:
            stack.callback(service.reports.close)
            if self.price_upstream is not None:
                await stack.enter_async_context(self.price_upstream.opened())
            if self.fetcher is not None:
                self.fetcher.start()
            await stack.enter_async_context(service.forecasts.opened())
            await self.watch.look()
            work = [self.watch.run(), service.health.pulse.run(), self._each_minute()]
            if self.refresher is not None:
                work.append(self.refresher.run())
            tasks = [asyncio.create_task(one) for one in work]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await service.prices.close()
                await self._keep_prices()
                if self.fetcher is not None:
                    await self.fetcher.close()

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
        # Where there is no store none is made for prices alone.
        is_writable = self.rights.refusal is None and self.service.config.store.path.is_dir()
        if is_writable and (prices := self.service.prices.kept()):
            await asyncio.to_thread(write_prices, self._prices_file, prices)

    @property
    def _prices_file(self) -> Path:
        return self.service.config.store.path / KEPT_PRICES


def wired(
    context: Context, endpoints: Mapping[str, Endpoint], *, keys: Keys, reports: Reports, options: Options
) -> Background:
    """Every part, connected; nothing runs yet."""
    config = context.config
    fresh = CachedCandles(config.store.path, lock_timeout_s=config.store.lock_timeout_s)
    shown = PublishedCandles(config.store.path, fresh, lock_timeout_s=config.store.lock_timeout_s)
    registry = RegistryWatch(config.store.path, config.gate)
    cached = KeptRegistry.over(config.store.path, gate=config.gate, stamp=registry)
    context = replace(context, candles=shown, kept_registry=cached)
    ground = _ground(context, replace(context, candles=fresh), ServedState(options.stamp or registry))
    leader, duties = Leader(config.store.path), _duties(ground, options)
    watch = StoreWatch(
        fresh,
        shown,
        registry,
        ground.state,
        before_change=duties.before_change,
        on_registry=partial(_follow, cached, ground.sides, ground.strangers),
    )
    fetcher = _fetcher(ground, watch) if options.forecast is None else None
    forecasts = _forecast_cache(ground, fetcher, options)
    refresher = _refresher(ground, forecasts, fetcher, leader, duties) if options.refresh else None
    upstream = _price_upstream(ground)
    ask = options.ask_prices
    live = LiveFigures(context, registry_stamp(config.store.path))
    prices = _prices(ground, ask or upstream.ask, ask or upstream.ask_for_others)
    service = _service(ground, Paths(endpoints), keys, reports, forecasts, prices, live, refresher)
    telemetry, upstream_figures = ground.telemetry, UpstreamFigures(ground.strangers.budget.state, upstream)
    telemetry.samples += [service.health.samples, upstream_figures.samples, live.samples]
    telemetry.slow_samples.append(upstream_figures.slow_samples)
    if refresher is not None:
        telemetry.samples.append(partial(configured_coins, forecasts.answered_by))
    return Background(
        service=service,
        watch=watch,
        fetcher=fetcher,
        refresher=refresher,
        price_upstream=upstream if ask is None else None,
        strangers=ground.strangers,
        live=live,
        rights=ground.rights,
    )


def _service(
    ground: Ground,
    paths: Paths,
    keys: Keys,
    reports: Reports,
    forecasts: ForecastCache,
    prices: LivePrices,
    live: LiveFigures,
    refresher: Refresher | None,
) -> Service:
    context = ground.context
    answers = ResponseCache(wall_clock=context.wall_clock, clock=context.clock, state=ground.state)
    health = Health(
        telemetry=ground.telemetry,
        pulse=Pulse(ground.telemetry, lambda: len(ground.breakers.open())),
        breakers=ground.breakers,
        forecasts=forecasts,
        answers=answers,
        live=live,
        rights=ground.rights,
        refresher=refresher,
        affected=paths.resting_on,
        wall_clock=context.wall_clock,
    )
    return Service(
        context=context,
        paths=paths,
        keys=keys,
        state=ground.state,
        forecasts=forecasts,
        answers=answers,
        prices=prices,
        sides=ground.sides,
        health=health,
        telemetry=ground.telemetry,
        reports=reports,
    )


def _ground(context: Context, behind: Context, state: ServedState) -> Ground:
    config, telemetry, forecaster = context.config, Telemetry(), Forecaster(context)
    budget = credits_of(config, context.wall_clock)
    return Ground(
        context=context,
        behind=behind,
        state=state,
        telemetry=telemetry,
        rights=StoreRights(config.store.path),
        sides=Sides(),
        strangers=Strangers(config, budget, on_refusal=partial(telemetry.count, "stranger_refused")),
        forecaster=forecaster,
        breakers=ServerBreakers(forecaster.breakers),
        worker=Worker(max_waiting=FULL_REQUESTS_WAITING * config.serve.max_ids),
    )


def _duties(ground: Ground, options: Options) -> BarDuties:
    coins = ground.config.data.coins
    if options.forecast is not None:
        return BarDuties(coins, options.duties)
    recording = partial(record_bars, ground.forecaster.on(ground.behind), ground.worker.submit)
    return BarDuties(coins, [*options.duties, recording], judge=partial(judge_versions, ground.behind))


def _fetcher(ground: Ground, watch: StoreWatch) -> CandleFetcher:
    return CandleFetcher(
        ground.behind,
        breaker=lambda source: ground.breakers.of(SOURCES[source], "bars"),
        on_change=watch.look,
        on_try=partial(ground.telemetry.tried, "bars"),
        refusal=lambda: ground.rights.refusal,
        strangers=ground.strangers,
    )


def _forecast_cache(ground: Ground, fetcher: CandleFetcher | None, options: Options) -> ForecastCache:
    telemetry = ground.telemetry
    on_fallback = partial(telemetry.count, "fallback")
    return ForecastCache(
        _timed(options.forecast or Ladder(ground.forecaster.forecast, on_step=on_fallback), telemetry),
        state=ground.state,
        worker=ground.worker,
        wall_clock=ground.context.wall_clock,
        clock=ground.context.clock,
        bring=fetcher.for_request if fetcher is not None else None,
        on_fallback=on_fallback,
    )


def _timed(forecast: MakeForecast, telemetry: Telemetry) -> MakeForecast:
    """The forecast, its time told to the metrics by the model that made it."""

    def timed(request: Request) -> ForecastDocument:
        began = time.perf_counter()
        document = forecast(request)
        for one in document.forecasts:
            telemetry.forecast_made(one.model_used, time.perf_counter() - began)
        return document

    return timed


def _refresher(
    ground: Ground, forecasts: ForecastCache, fetcher: CandleFetcher | None, leader: Leader, duties: BarDuties
) -> Refresher:
    config = ground.config
    requests = coin_requests(ForecastQuery(), config)
    return Refresher(
        config=config,
        state=ground.state,
        prepare=partial(forecasts.prepare, requests, timeout_s=config.serve.request_timeout_s),
        bring=_bring_all(config, fetcher) if fetcher is not None and config.serve.refresh else None,
        leader=leader,
        duties=duties,
        wall_clock=ground.context.wall_clock,
        clock=ground.context.clock,
    )


def _bring_all(config: Config, fetcher: CandleFetcher) -> BringAll | None:
    source = rule_of(config.data.source).fetched
    if source is None:
        return None
    market = Market(source.name, config.data.vs, config.data.granularity)

    async def bring(coins: Sequence[str], priority: Priority) -> Fetched:
        return await fetcher.bring(coins, market, priority)

    return bring


def _price_upstream(ground: Ground) -> PriceUpstream:
    breaker = ground.breakers.of(COINGECKO, "prices")
    access = access_of(ground.context, breaker=breaker, on_try=partial(ground.telemetry.tried, "prices"))
    return PriceUpstream(partial(connect, access))


def _prices(ground: Ground, ask: Ask, ask_for_others: Ask) -> LivePrices:
    serve, telemetry = ground.config.serve, ground.telemetry

    def count(what: str) -> None:
        telemetry.count(*(("upstream_error", "prices") if what == "upstream_error" else ("price_cache", what)))

    return LivePrices(
        ask,
        strangers=ground.strangers,
        ask_for_others=ask_for_others,
        fresh_s=serve.prices_fresh_s,
        keep_s=serve.prices_keep_s,
        wall_clock=ground.context.wall_clock,
        count=count,
    )


def _follow(registry: Registry, sides: Sides, strangers: Strangers) -> None:
    sides.follow(registry.ab_tests())
    strangers.follow(one.key for one in registry.listing(alias=PRODUCTION))
