"""The app: what is asked comes in as a query string, goes to `Answers` or `LivePrices`, and comes back as JSON."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

import cryptocast
from cryptocast.config import Config
from cryptocast.data.cached_store import AnnouncedCandles, KeptCandles
from cryptocast.data.coins import shown
from cryptocast.data.sources.coingecko.refusals import CreditsKept
from cryptocast.data.sources.coingecko.simple_price import Quote
from cryptocast.data.sources.coingecko.source import COINGECKO, connect, credits_of
from cryptocast.data.sources.sample.source import SAMPLE
from cryptocast.data.sources.table import rule_of
from cryptocast.errors import CryptocastError
from cryptocast.market import Market
from cryptocast.net import Batcher, Breaker, BreakerMetrics, Breakers, Parts, Priority
from cryptocast.registry import PRODUCTION, KeptRegistry, Registry, RegistryWatch
from cryptocast.serving.ab_routing import Sides
from cryptocast.serving.access import Keys
from cryptocast.serving.candle_fetcher import BarKeeper, Fetched
from cryptocast.serving.clients import CLIENT, client_of
from cryptocast.serving.compression import preferred
from cryptocast.serving.error_reporting import Reports
from cryptocast.serving.fallback import Ladder
from cryptocast.serving.forecast_cache import Answered, Answers, Failed, MakeForecast
from cryptocast.serving.front import Front, allowed_methods
from cryptocast.serving.gauges import LIVE_EVERY_S, LiveFigures, UpstreamFigures
from cryptocast.serving.health import COMPONENTS, Health, Pulse, StoreRights
from cryptocast.serving.landing_page import PAGE_POLICY, page
from cryptocast.serving.ledger_duty import judge_versions, record_bars, served_series
from cryptocast.serving.models import production_models
from cryptocast.serving.openapi import PATHS, POSTED, Switched, openapi
from cryptocast.serving.prices import Ask, LivePrices, read_prices, write_prices
from cryptocast.serving.problems import (
    INTERNAL,
    INTERNAL_ERROR,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    RETRY_AFTER_S,
    ProblemError,
    coin_error,
    problem_of,
    problem_response,
)
from cryptocast.serving.query import (
    ForecastQuery,
    coin_requests,
    parse_breaker_query,
    parse_forecast_query,
    parse_price_query,
    preferred_wait_s,
)
from cryptocast.serving.refresher import Duty, Leader, Refresher
from cryptocast.serving.response_cache import FinishedAnswers
from cryptocast.serving.responses import respond
from cryptocast.serving.store_watch import Stamp, StoreWatch, registry_stamp
from cryptocast.serving.strangers import Strangers, not_one
from cryptocast.serving.telemetry import Telemetry
from cryptocast.serving.terms import Term, shortest
from cryptocast.workflows.context import Context
from cryptocast.workflows.forecast import ForecastMaker
from cryptocast.workflows.forecast import Request as ForecastRequest
from cryptocast.workflows.market_data.connect import access_of
from cryptocast.workflows.reports import CoinError, ForecastDocument

__all__ = ["Service", "create_app"]

log = logging.getLogger(__name__)

# Requests of the greatest size that may wait for the one thread that computes.
FULL_REQUESTS_WAITING: Final = 4
KEPT_PRICES: Final = Path("cache") / "serving" / "prices.json"
ALIVE: Final = b'{"status":"pass"}'
HEALTH_TYPE: Final = "application/health+json"
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PRICES: Final = f"{COINGECKO.name} prices"  # what the names of their breakers begin with
METRICS_FRESH_S: Final = 1.0  # a scrape takes milliseconds; many scrapers take no more of them than one
SERVED: Final = ", ".join(path for path in PATHS if path != "/")


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """A ForecastDocument whose forecasts are JSON already."""

    schema: str = ForecastDocument(forecasts=()).schema
    forecasts: tuple[msgspec.Raw, ...]
    errors: tuple[CoinError, ...]


@dataclass(slots=True)
class Service:
    """All that lives as long as the server. `draining` turns /ready to 503 and asks clients to reconnect."""

    context: Context
    answers: Answers
    finished: FinishedAnswers
    telemetry: Telemetry
    health: Health
    reports: Reports
    keeper: BarKeeper | None
    refresher: Refresher | None
    price_breakers: Breakers
    upstream_figures: UpstreamFigures
    live_figures: LiveFigures
    watch: StoreWatch
    sides: Sides
    strangers: Strangers
    all_breakers: Callable[[], Mapping[str, Breaker]]
    rights: StoreRights
    asking: Ask | None = None
    asking_for_others: Ask | None = None
    keys: Keys = field(default_factory=lambda: Keys(None))
    prices: LivePrices | None = None
    has_token: bool = False
    _metrics: tuple[float, bytes] = (0.0, b"")
    _metrics_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def config(self) -> Config:
        """The settings."""
        return self.context.config

    @property
    def draining(self) -> bool:
        """Whether the server is being stopped."""
        return self.health.draining

    def breakers(self) -> Mapping[str, Breaker]:
        """Every breaker that has been asked so far, by its name."""
        return self.all_breakers()

    def drain(self) -> None:
        """From now on the server is being stopped."""
        self.health.draining = True

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """While this lasts, everything runs; at its end, everything is closed."""
        upstream = None
        if self.asking is None:
            on_try = partial(self.telemetry.tried, "prices")
            upstream = connect(access_of(self.context, breakers=self.price_breakers, on_try=on_try))
            live, others = upstream.live(), upstream.live(priority=Priority.STRANGER)
            self.upstream_figures.pool = upstream.pool_metrics
            self.upstream_figures.batches = lambda: (live.calls + others.calls, live.asked + others.asked)
            self.asking, self.asking_for_others = _asking(live), _asking(others)
        serve = self.config.serve
        self.prices = LivePrices(
            self.asking,
            strangers=self.strangers,
            ask_for_others=self.asking_for_others,
            fresh_s=serve.prices_fresh_s,
            keep_s=serve.prices_keep_s,
            wall_clock=self.context.wall_clock,
            count=self._price_event,
        )
        kept_at = self.config.store.path / KEPT_PRICES
        await asyncio.to_thread(self.rights.look)
        self.prices.restore(await asyncio.to_thread(read_prices, kept_at))
        if self.keeper is not None:
            self.keeper.start()
        async with self.answers.opened():
            await self.watch.look()
            tasks = [asyncio.create_task(self.watch.run())]
            tasks += [asyncio.create_task(self.health.pulse.run()), asyncio.create_task(self._each_minute(kept_at))]
            if self.refresher is not None:
                self.telemetry.samples.append(self.refresher.samples)
                tasks.append(asyncio.create_task(self.refresher.run()))
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await self.prices.close()
                await self._keep_prices(kept_at)
                if self.keeper is not None:
                    await self.keeper.close()
        if upstream is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(upstream.aclose(), 2.0)
        self.reports.close()

    async def _each_minute(self, kept_at: Path) -> None:
        """Look for outcomes that came and whether the store can be written, and keep the prices for a process that may
        have to take over."""
        while True:
            try:
                await asyncio.to_thread(self.rights.look)
                await asyncio.to_thread(self.live_figures.refresh)
                await self._keep_prices(kept_at)
            except Exception:
                log.exception("a minute's work failed; it is done again in the next")
            await asyncio.sleep(LIVE_EVERY_S)

    async def _keep_prices(self, path: Path) -> None:
        # Where there is no store none is made for prices alone.
        writable = self.rights.refusal is None and self.config.store.path.is_dir()
        if self.prices is not None and writable and (prices := self.prices.kept()):
            await asyncio.to_thread(write_prices, path, prices)

    def _price_event(self, what: str) -> None:
        if what == "upstream_error":
            self.telemetry.count("upstream_error", "prices")
        else:
            self.telemetry.count("price_cache", what)

    # --- endpoints

    async def forecasts(self, request: Request) -> Response:
        """`GET /forecasts`: a ForecastDocument, if there is at least one coin to answer for."""
        query = parse_forecast_query(request.scope["query_string"], max_ids=self.config.serve.max_ids)
        asked = coin_requests(query, self.config, challenged=self.sides.challenged(request.scope))
        CLIENT.set(client_of(request.scope, self.keys))
        stamp, generation = self.answers.stamp(), self.finished.generation
        outcomes = await self.answers.of(asked, timeout_s=self._patience_s(request), stamp=stamp)
        made = tuple(outcome.body for outcome in outcomes if isinstance(outcome, Answered))
        failures = [
            (one.selection.coins[0], outcome.error)
            for one, outcome in zip(asked, outcomes, strict=True)
            if isinstance(outcome, Failed)
        ]
        if not made:
            return problem_response(*not_one(failures))
        errors = tuple(coin_error(coin, error) for coin, error in failures)
        body = msgspec.json.encode(Finished(forecasts=made, errors=errors))
        # Bars that came meanwhile have made this answer an old one: it is given, and not kept for the next to ask.
        term = shortest(one.term for one in outcomes)
        kept = all(self.answers.holds(one) for one in outcomes) and generation == self.finished.generation
        # What is refused to one client is not what the next one is told.
        kept = kept and not any(isinstance(error, CreditsKept) for _, error in failures)
        return self._finish(request, body, term=term, stamp=stamp, keep=kept)

    def _patience_s(self, request: Request) -> float:
        """How long the client waits: as long as the settings let it, or less where it says so."""
        longest = self.config.serve.request_timeout_s
        return min(longest, preferred_wait_s(request.headers.get("prefer", "")) or longest)

    def _finish(self, request: Request, body: bytes, *, term: Term, stamp: Hashable, keep: bool) -> Response:
        headers = dict(request.scope["headers"])
        encoding = preferred(headers.get(b"accept-encoding", b""))
        answer = self.finished.finish(
            self.sides.question(request.scope), encoding, body, term=term, stamp=stamp, keep=keep
        )
        known = headers.get(b"if-none-match")
        is_known = known is not None and answer.matches(known)
        response = Response(b"" if is_known or request.method == "HEAD" else answer.body, 304 if is_known else 200)
        response.raw_headers = [
            header
            for header in (*answer.headers, *self.finished.age_headers(answer))
            if not (is_known and header[0] in (b"content-length", b"content-type"))
        ]
        return response

    async def live(self, request: Request) -> Response:
        """`GET /prices`: what coins cost now."""
        query = parse_price_query(request.scope["query_string"], max_ids=self.config.serve.max_ids)
        coins, vs = query.ids or self.config.data.coins, query.vs or self.config.data.vs
        if self.prices is None:
            raise ProblemError(INTERNAL_ERROR, INTERNAL)
        client = client_of(request.scope, self.keys)
        found, failures = await self.prices.get(coins, vs, timeout_s=self._patience_s(request), client=client)
        if not found.prices:
            return problem_response(*not_one(failures))
        oldest = min(row.fetched_at for row in found.prices)
        age = max(0, int((self.context.wall_clock() - oldest).total_seconds()))
        left = max(0, int(self.config.serve.prices_fresh_s) - age)
        headers = {"Age": str(age)}
        body = msgspec.json.encode(found)
        return respond(body, cache=f"private, max-age={left}", headers=headers, request=request)

    async def models(self, request: Request) -> Response:
        """`GET /models`: the versions in production."""
        found = await asyncio.to_thread(production_models, self.context)
        return respond(msgspec.json.encode(found), request=request)

    async def alive(self, _: Request) -> Response:
        """`GET /health`: the process is alive. Looks at nothing else."""
        return respond(ALIVE, media_type=HEALTH_TYPE)

    async def ready(self, _: Request) -> Response:
        """`GET /ready`: 503 until the first forecast is made, and while the server is being stopped."""
        ready = self.health.ready()
        failed = ready.status == "fail"
        headers = {"Retry-After": str(RETRY_AFTER_S)} if failed else {}
        # Whoever needs no token hears no more than the status.
        told = msgspec.structs.replace(ready, output=None) if self.has_token else ready
        body = msgspec.json.encode(told)
        return respond(body, status=503 if failed else 200, media_type=HEALTH_TYPE, headers=headers)

    async def detailed(self, request: Request) -> Response:
        """`GET /health/detailed`: every component."""
        return respond(msgspec.json.encode(self.health.detail()), media_type=HEALTH_TYPE, request=request)

    async def trends(self, request: Request) -> Response:
        """`GET /health/trends`: the last hour and the last day."""
        return respond(msgspec.json.encode(self.health.trends()), media_type=HEALTH_TYPE, request=request)

    async def component(self, request: Request) -> Response:
        """`GET /health/components/{name}`: one component."""
        name = request.path_params["name"]
        if name not in COMPONENTS:
            detail = f"There is no component {shown(name)}. There are {', '.join(COMPONENTS)}."
            raise ProblemError(NOT_FOUND, detail)
        return respond(msgspec.json.encode(self.health.component(name)), media_type=HEALTH_TYPE)

    async def switch_breaker(self, request: Request) -> Response:
        """`POST /admin/breakers`: hold a breaker open or closed, or let it decide again. Only with an admin's token."""
        order = parse_breaker_query(request.scope["query_string"])
        found = self.breakers().get(order.name)
        if found is None:
            known = ", ".join(sorted(self.breakers())) or "none yet: a breaker is made with the first call"
            raise ProblemError(NOT_FOUND, f"There is no breaker {shown(order.name)}. There are: {known}.")
        {"open": found.force_open, "closed": found.force_closed, "auto": found.reset}[order.state]()
        log.warning("breaker %s is set to %s by hand", order.name, order.state)
        return respond(msgspec.json.encode(Switched(breaker=order.name, state=str(found.state))))

    async def metrics(self, request: Request) -> Response:
        """`GET /metrics`: rendered in a thread, once a second at most."""
        async with self._metrics_lock:
            at, body = self._metrics
            if time.monotonic() - at > METRICS_FRESH_S or not body:
                body = await asyncio.to_thread(self.telemetry.render, self.telemetry.look())
                self._metrics = (time.monotonic(), body)
        return respond(body, media_type=METRICS_TYPE, request=request)

    async def description(self, request: Request) -> Response:
        """`GET /openapi.json`."""
        serve = self.config.serve
        text = openapi(version=cryptocast.__version__, max_ids=serve.max_ids, has_token=self.has_token)
        return respond(text, request=request)

    async def page(self, request: Request) -> Response:
        """`GET /`: the configured coins as fan charts."""
        asked = coin_requests(ForecastQuery(), self.config)
        outcomes = await self.answers.of(asked, timeout_s=self.config.serve.request_timeout_s)
        made = [outcome.made for outcome in outcomes if isinstance(outcome, Answered)]
        headers = {"Content-Security-Policy": PAGE_POLICY}
        detail = self.health.detail()
        body = page(made, self.health.ready(detail), detail, self.health.trends().hour)
        return respond(body, media_type="text/html; charset=utf-8", headers=headers, request=request)

    def routes(self) -> list[Route]:
        """Every path."""
        handlers: Mapping[str, Any] = {
            "/forecasts": self.forecasts,
            "/prices": self.live,
            "/models": self.models,
            "/health": self.alive,
            "/ready": self.ready,
            "/health/detailed": self.detailed,
            "/health/trends": self.trends,
            "/health/components/{name}": self.component,
            "/metrics": self.metrics,
            "/openapi.json": self.description,
            "/admin/breakers": self.switch_breaker,
            "/": self.page,
        }
        return [Route(path, handlers[path], methods=["POST"] if path in POSTED else ["GET"]) for path in PATHS]


class Served(Starlette):
    """Starlette behind the Front, which answers most requests before Starlette's own layers cost them anything."""

    front: Front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any ASGI app."""
        if scope["type"] == "http":
            await self.front(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(
    context: Context,
    *,
    forecast: MakeForecast | None = None,
    token: str | None = None,
    admin_token: str | None = None,
    stamp: Stamp | None = None,
    ask_prices: Ask | None = None,
    refresh: bool | None = None,
    duties: Sequence[Duty] = (),
    reports: Reports | None = None,
) -> Starlette:
    """The ASGI app; `app.state.service` is its Service. Nothing runs until its lifespan has begun.

    forecast: makes the document of one coin, in one thread; by default a ForecastMaker, which keeps what it has loaded,
    on the ladder. token: asked for by everything but /health and /ready; several are separated by commas.
    admin_token: the same for those who may switch breakers. stamp: changes when the registry does, asked with every
    request; by default what the store's watch saw last. ask_prices: quotes by coin; by default the upstream's.
    refresh: run the refresher; by default where `forecast` is not given. duties: work of the
    leader after each refresh.
    """
    service = _service(
        context,
        forecast,
        stamp,
        refresh=forecast is None if refresh is None else refresh,
        duties=duties,
        reports=reports or Reports(None, environment="", release=""),
    )
    service.asking, service.has_token = ask_prices, token is not None
    service.keys = Keys(token, admin_token)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with service.opened():
            yield

    app = Served(routes=service.routes(), exception_handlers=HANDLERS, lifespan=lifespan)
    app.front = Front(
        partial(Starlette.__call__, app),
        serve=context.config.serve,
        telemetry=service.telemetry,
        finished=service.finished,
        question=service.sides.question,
        routes=route_label,
        keys=service.keys,
        is_draining=lambda: service.draining,
        reports=service.reports,
    )
    app.state.service = service
    app.router.redirect_slashes = False  # it would build an address out of the client's Host header
    return app


def route_label(path: str) -> str:
    """The path as a label of a metric: one of those that are served, or the same word for all others."""
    if path in PATHS:
        return path
    return "/health/components/{name}" if path.removeprefix("/health/components/") in COMPONENTS else "_OTHER"


def _service(
    context: Context,
    forecast: MakeForecast | None,
    given_stamp: Stamp | None,
    *,
    refresh: bool,
    duties: Sequence[Duty],
    reports: Reports,
) -> Service:
    config, telemetry = context.config, Telemetry()
    fresh = KeptCandles(config.store.path, lock_timeout_s=config.store.lock_timeout_s)
    shown = AnnouncedCandles(config.store.path, fresh, lock_timeout_s=config.store.lock_timeout_s)
    registry = RegistryWatch(config.store.path, config.gate)
    stamp = given_stamp or registry
    kept = KeptRegistry.over(config.store.path, gate=config.gate, stamp=registry)
    context = replace(context, candles=shown, kept_registry=kept)
    behind = replace(context, candles=fresh)  # what works with bars before they are announced
    rights = StoreRights(config.store.path)
    finished = FinishedAnswers(wall_clock=context.wall_clock, clock=context.clock, stamp=stamp)
    forecaster = ForecastMaker(context)

    def changed(coin: str) -> None:
        answers.candles_changed(coin)
        finished.clear()
        if refresher is not None:
            refresher.compute_soon()

    watch = StoreWatch(fresh, shown, registry, series=lambda: served_series(answers, config), on_change=changed)
    sides = Sides()
    budget = credits_of(config, context.wall_clock)
    strangers = Strangers(config, budget, on_refusal=partial(telemetry.count, "stranger_refused"))

    watch.on_registry = partial(_follow, kept, sides, strangers)
    ladder = None
    keeper = None
    if forecast is None:
        ladder = Ladder(forecaster.forecast, on_step=lambda step: telemetry.count("fallback", step))
        keeper = BarKeeper(
            behind,
            on_change=watch.look,
            on_try=partial(telemetry.tried, "bars"),
            refusal=lambda: rights.refusal,
            strangers=strangers,
        )
        duties = [*duties, lambda coins: record_bars(answers, forecaster.on(behind), coins)]
    answers = Answers(
        _timed(forecast or ladder or forecaster.forecast, telemetry),
        stamp=stamp,
        wall_clock=context.wall_clock,
        clock=context.clock,
        max_waiting=FULL_REQUESTS_WAITING * config.serve.max_ids,
        bring=keeper.for_request if keeper is not None else None,
        on_fallback=lambda step: telemetry.count("fallback", step),
    )
    price_breakers = Breakers(lambda name: Breaker(f"{PRICES} {name}"))
    refresher = _refresher(context, answers, keeper, duties) if refresh else None
    if refresher is not None:
        watch.before_change = refresher.before_change
        if forecast is None:
            refresher.judge = partial(judge_versions, behind)

    def all_breakers() -> Mapping[str, Breaker]:
        groups = {PRICES: price_breakers}
        if keeper is not None:
            groups |= keeper.breakers
        if ladder is not None:
            groups["model"] = forecaster.breakers
        return {f"{name} {end}": one for name, group in groups.items() for end, one in group.all().items()}

    def breakers() -> Mapping[str, BreakerMetrics]:
        return {name: one.metrics() for name, one in all_breakers().items()}

    upstream_figures = UpstreamFigures(budget.state)
    live_figures = LiveFigures(context, registry_stamp(config.store.path))
    pulse = Pulse(telemetry, lambda: sum(one.state in ("open", "forced_open") for one in breakers().values()))
    health = Health(
        telemetry=telemetry,
        pulse=pulse,
        version=cryptocast.__version__,
        breakers=breakers,
        cache=lambda: _cache_values(answers, finished),
        models=lambda: _model_values(answers),
        store=lambda: {**_store_values(answers, context.wall_clock()), "write_refusal": rights.refusal},
        refresher=lambda: _refresher_values(refresher),
        degraded=live_figures.degraded,
        has_answered=lambda: answers.has_answered,
        wall_clock=context.wall_clock,
    )
    telemetry.samples += [health.samples, upstream_figures.samples, live_figures.samples]
    telemetry.slow_samples.append(upstream_figures.slow_samples)
    return Service(
        context,
        answers,
        finished,
        telemetry,
        health,
        reports,
        keeper,
        refresher,
        price_breakers,
        upstream_figures,
        live_figures,
        watch,
        sides,
        strangers,
        all_breakers,
        rights,
    )


def _follow(registry: Registry, sides: Sides, strangers: Strangers) -> None:
    sides.follow(registry.ab_tests())
    strangers.follow(one.key for one in registry.listing(alias=PRODUCTION))


def _asking(live: Batcher[str, Quote]) -> Ask:
    async def ask(vs: str, coins: Sequence[str], timeout_s: float) -> Parts[Quote]:
        return await live.get(vs, coins, deadline_s=timeout_s)

    return ask


def _timed(forecast: MakeForecast, telemetry: Telemetry) -> MakeForecast:
    """The forecast, its time told to the metrics by the model that made it."""

    def made(request: ForecastRequest) -> ForecastDocument:
        began = time.perf_counter()
        document = forecast(request)
        for one in document.forecasts:
            telemetry.forecast_made(one.model_used, time.perf_counter() - began)
        return document

    return made


def _refresher(context: Context, answers: Answers, keeper: BarKeeper | None, duties: Sequence[Duty]) -> Refresher:
    config = context.config
    source = rule_of(config.data.source).fetched
    fetches = keeper is not None and config.serve.refresh and source is not None

    async def bring(coins: Sequence[str], priority: Any) -> Fetched:
        assert keeper is not None and source is not None  # noqa: S101, PT018 - for the type checker
        return await keeper.bring(coins, Market(source.name, config.data.vs, config.data.granularity), priority)

    return Refresher(
        config=config,
        answers=answers,
        requests=coin_requests(ForecastQuery(), config),
        bring=bring if fetches else None,
        leader=Leader(config.store.path),
        wall_clock=context.wall_clock,
        clock=context.clock,
        duties=duties,
    )


def _cache_values(answers: Answers, finished: FinishedAnswers) -> dict[str, Any]:
    return {
        "forecasts": len(answers),
        "answers": len(finished),
        "answer_bytes": finished.bytes,
        "hits": finished.hits,
        "misses": finished.misses,
        "evicted": finished.evicted,
        "computed": answers.computed,
    }


def _model_values(answers: Answers) -> dict[str, Any]:
    newest = answers.newest()
    return {
        "forecasts": len(newest),
        "baseline": sum(made.model_used == "baseline" for made in newest),
        "fallbacks": sum(made.fallback_reason is not None for made in newest),
    }


def _store_values(answers: Answers, now: datetime) -> dict[str, Any]:
    newest = answers.newest()
    oldest = max((now - made.as_of for made in newest), default=timedelta(0))
    return {
        "stale": sum(made.stale for made in newest),
        "on_sample": sum(made.source == SAMPLE.name for made in newest),
        "oldest_bar_age_s": int(oldest.total_seconds()),
    }


def _refresher_values(refresher: Refresher | None) -> dict[str, Any]:
    if refresher is None:
        return {"runs": False, "last_error": None}
    last = refresher.last_fetch
    return {
        "runs": True,
        "leads": refresher.leads,
        "lock_refusal": refresher.leader.refusal,
        "rounds": refresher.rounds,
        "failures": refresher.failures,
        "last_fetch": None if last is None else last.isoformat(),
        "last_error": refresher.last_error,
    }


async def _problem(_: Request, error: Exception) -> Response:
    if not isinstance(error, ProblemError):
        raise error
    return problem_response(error.problem)


async def _ours(_: Request, error: Exception) -> Response:
    if not isinstance(error, CryptocastError):
        raise error
    return problem_response(problem_of(error))


async def _routing(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        allowed = allowed_methods(request.url.path)
        detail = f"{shown(request.url.path)} answers {allowed}, not {shown(request.method)}."
        return problem_response(ProblemError(METHOD_NOT_ALLOWED, detail).problem, {"Allow": allowed})
    detail = f"There is nothing at {shown(request.url.path)}. Served: {SERVED}."
    return problem_response(ProblemError(NOT_FOUND, detail).problem, error.headers)


async def _internal(_request: Request, _error: Exception) -> Response:
    return problem_response(ProblemError(INTERNAL_ERROR, INTERNAL).problem)


HANDLERS: Final[Mapping[Any, Any]] = {
    ProblemError: _problem,
    HTTPException: _routing,
    CryptocastError: _ours,
    Exception: _internal,
}
