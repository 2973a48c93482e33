"""The endpoints: what is asked comes in as a query string, goes to the caches, and comes back as JSON.

A new one is a handler and its line in `PATHS`, which says all that the rest of the server has to know of it.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cryptocast.data.coins import shown
from cryptocast.data.sources.coingecko.refusals import CreditsKept
from cryptocast.errors import CryptocastError
from cryptocast.serving.access import CLIENT
from cryptocast.serving.docs_page import docs_page
from cryptocast.serving.encoding import encode
from cryptocast.serving.finished import finished
from cryptocast.serving.forecast_cache import Failure, FreshForecast, Outcome
from cryptocast.serving.health import COMPONENTS, Component, Detail, Readiness, TrendReport
from cryptocast.serving.login import login, logout
from cryptocast.serving.openapi import openapi
from cryptocast.serving.page_shell import HTML, page_headers
from cryptocast.serving.page_view import landing_page
from cryptocast.serving.path_sampler import paths_within_reason
from cryptocast.serving.paths import Endpoint
from cryptocast.serving.problems import LATER, ProblemError, ProblemKind, coin_error, not_one
from cryptocast.serving.query import (
    BreakerQuery,
    CandleQuery,
    ForecastQuery,
    PageQuery,
    PathsQuery,
    PriceQuery,
    TrackQuery,
    by_ids,
    coin_requests,
    preferred_wait_s,
)
from cryptocast.serving.responses import respond
from cryptocast.serving.wiring import Server
from cryptocast.workflows.context import Selection
from cryptocast.workflows.forecast import Request as Question
from cryptocast.workflows.lifecycle.production_models import ModelDocument, production_models
from cryptocast.workflows.lifecycle.track_record import TrackDocument, track_record
from cryptocast.workflows.market_data.candle_history import CandleHistory, CandlesDocument, candle_histories
from cryptocast.workflows.market_data.live_prices import PriceDocument
from cryptocast.workflows.reports import CoinError, ForecastDocument, PathsDocument, Touch
from cryptocast.workflows.sample_paths import LEAST_PATHS, USUAL_PATHS, with_every_bar

log = logging.getLogger(__name__)

HEALTH: Final = "application/health+json"
USUAL_LAST: Final = 365
MOST_CANDLES: Final = 50_000  # of all coins of an answer
MOST_PAST: Final = 20_000  # forecasts of all coins and horizons of an answer
METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"


class EncodedForecasts(msgspec.Struct, frozen=True, kw_only=True):
    """A ForecastDocument whose forecasts are JSON already."""

    schema: str = ForecastDocument(forecasts=()).schema
    forecasts: tuple[msgspec.Raw, ...]
    errors: tuple[CoinError, ...]
    names: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


class EncodedPaths(msgspec.Struct, frozen=True, kw_only=True):
    """A PathsDocument whose coins are JSON already."""

    schema: str = "cryptocast.paths/1"
    vs: str
    granularity: str
    paths: int
    seed: int
    coins: msgspec.Raw
    errors: tuple[CoinError, ...]
    names: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


class SwitchedBreaker(msgspec.Struct, frozen=True, kw_only=True):
    """What a breaker does from now on: forced_open, forced_closed, or closed if it decides by itself again."""

    breaker: str
    state: str


async def forecasts(server: Server, request: Request, query: ForecastQuery) -> Response:
    """The forecast of each coin: the intervals of its price at each horizon, what they rest on, and what the evidence
    says. Coins that cannot be answered for stand in `errors`; it is a problem where none can."""
    query, names = by_ids(query, server.find_coin)
    requests = coin_requests(query, server.config, challenged=server.sides.challenged(request.scope))
    CLIENT.set(server.keys.client_of(request.scope))
    state = server.state()
    touch, timeout_s = _touch(server, query, requests), _patience_s(server, request)
    if touch is None:
        outcomes = await server.forecasts.of(requests, timeout_s=timeout_s)
    else:
        outcomes = await _touched(server, requests, touch, timeout_s=timeout_s)
    bodies = tuple(outcome.body for outcome in outcomes if isinstance(outcome, FreshForecast))
    failures = _failures(requests, outcomes)
    if not bodies:
        raise not_one(failures)
    errors = tuple(coin_error(*failure) for failure in failures)
    document = EncodedForecasts(forecasts=bodies, errors=errors, names=names or msgspec.UNSET)
    # What is refused to one client is not what the next one is told.
    may_keep = not any(isinstance(error, CreditsKept) for _, error in failures)
    body = msgspec.json.encode(document)
    return await finished(server, request, body, outcomes, state=state, may_keep=may_keep)


async def _touched(server: Server, requests: Sequence[Question], touch: Touch, *, timeout_s: float) -> list[Outcome]:
    """The forecasts with the probability that the price of the question is touched."""
    questions = [with_every_bar(one, server.config) for one in requests]
    outcomes = await server.forecasts.of(questions, timeout_s=timeout_s)
    return [
        await server.sampler.touched(outcome, one, touch, timeout_s=timeout_s)
        if isinstance(outcome, FreshForecast)
        else outcome
        for one, outcome in zip(requests, outcomes, strict=True)
    ]


def _touch(server: Server, query: ForecastQuery, requests: Sequence[Question]) -> Touch | None:
    if query.touch is None:
        return None
    paths = paths_within_reason(USUAL_PATHS, len(requests) * max(requests[0].horizons))
    seed = server.config.train.seed
    return Touch(price=query.touch, on=query.touch_on or "high-low", paths=max(paths, LEAST_PATHS), seed=seed)


async def sample_paths(server: Server, request: Request, query: PathsQuery) -> Response:
    """Sample paths of the coins, on which they move together, over the bars up to the longest horizon. Coins that
    cannot be answered for stand in `errors`; it is a problem where none can."""
    query, names = by_ids(query, server.find_coin)
    challenged = server.sides.challenged(request.scope)
    requests = [
        with_every_bar(one, server.config)
        for one in coin_requests(query.of_forecasts, server.config, challenged=challenged)
    ]
    paths = paths_within_reason(query.paths or LEAST_PATHS, len(requests) * max(requests[0].horizons))
    CLIENT.set(server.keys.client_of(request.scope))
    state, timeout_s = server.state(), _patience_s(server, request)
    outcomes = await server.forecasts.of(requests, timeout_s=timeout_s)
    fresh = [one for one in outcomes if isinstance(one, FreshForecast)]
    failures = _failures(requests, outcomes)
    if not fresh:
        raise not_one(failures)
    seed = server.config.train.seed if query.seed is None else query.seed
    coins = await server.sampler.paths([one.forecast for one in fresh], paths=paths, seed=seed, timeout_s=timeout_s)
    document = EncodedPaths(
        vs=fresh[0].forecast.vs,
        granularity=fresh[0].forecast.granularity,
        paths=paths,
        seed=seed,
        coins=msgspec.Raw(coins),
        errors=tuple(coin_error(*failure) for failure in failures),
        names=names or msgspec.UNSET,
    )
    may_keep = not any(isinstance(error, CreditsKept) for _, error in failures)
    return await finished(server, request, msgspec.json.encode(document), outcomes, state=state, may_keep=may_keep)


def _failures(requests: Sequence[Question], outcomes: Sequence[Outcome]) -> list[tuple[str, CryptocastError]]:
    """The coins that cannot be answered for, each with why."""
    pairs = zip(requests, outcomes, strict=True)
    return [(one.selection.coins[0], outcome.error) for one, outcome in pairs if isinstance(outcome, Failure)]


async def prices(server: Server, request: Request, query: PriceQuery) -> Response:
    """What coins cost now, each with when it was fetched. Coins without a price stand in `errors`."""
    query, names = by_ids(query, server.find_coin)
    coins, vs = query.ids or server.config.data.coins, query.vs or server.config.data.vs
    client = server.keys.client_of(request.scope)
    document, failures = await server.prices.get(coins, vs, timeout_s=_patience_s(server, request), client=client)
    if not document.prices:
        raise not_one(failures)
    oldest = min(row.fetched_at for row in document.prices)
    age = max(0, int((server.context.wall_clock() - oldest).total_seconds()))
    left = max(0, int(server.config.serve.prices_fresh_s) - age)
    body = msgspec.json.encode(msgspec.structs.replace(document, names=names or msgspec.UNSET))
    return respond(body, cache=f"private, max-age={left}", headers={"Age": str(age)}, request=request)


async def track(server: Server, request: Request, query: TrackQuery) -> Response:
    """What the models that answer now have forecast live at each horizon, beside the price that came, and how often
    their intervals held. From the ledger, which a server fills with every bar."""
    query, names = by_ids(query, server.find_coin)
    requests = coin_requests(query.of_forecasts, server.config)
    CLIENT.set(server.keys.client_of(request.scope))
    state = server.state()
    outcomes = await server.forecasts.of(requests, timeout_s=_patience_s(server, request))
    failures = _failures(requests, outcomes)
    forecasts_now = [one.forecast for one in outcomes if isinstance(one, FreshForecast)]
    if not forecasts_now:
        raise not_one(failures)
    levels, horizons = requests[0].intervals, requests[0].horizons
    last = min(query.last or USUAL_LAST, MOST_PAST // (len(forecasts_now) * len(horizons)) or 1)
    read = partial(track_record, server.context, levels=levels, horizons=horizons, last=last)
    errors = tuple(coin_error(*failure) for failure in failures)

    def document() -> bytes:
        tracks = tuple(read(one) for one in forecasts_now)
        return encode(TrackDocument(tracks=tracks, errors=errors, names=names or msgspec.UNSET))

    body = await asyncio.to_thread(document)
    may_keep = not any(isinstance(error, CreditsKept) for _, error in failures)
    return await finished(server, request, body, outcomes, state=state, may_keep=may_keep)


async def candles(server: Server, request: Request, query: CandleQuery) -> Response:
    """The bars that the store has, oldest first. Nothing is fetched."""
    query, names = by_ids(query, server.find_coin)
    config = server.config
    selection = Selection(query.ids or tuple(dict.fromkeys(config.data.coins)), None, query.vs, query.granularity)
    wanted = selection.resolved(config)
    last = min(query.last or USUAL_LAST, MOST_CANDLES // len(wanted.coins))
    histories = await asyncio.to_thread(candle_histories, server.context, wanted, last)
    series = tuple(one for one in histories.values() if isinstance(one, CandleHistory))
    failures = [(coin, one) for coin, one in histories.items() if isinstance(one, CryptocastError)]
    if not series:
        raise not_one(failures)
    errors = tuple(coin_error(*failure) for failure in failures)
    document = CandlesDocument(series=series, errors=errors, names=names or msgspec.UNSET)
    # In a thread: megabytes take longer than anybody else's answer should have to wait.
    return await asyncio.to_thread(lambda: respond(msgspec.json.encode(document), request=request))


async def models(server: Server, _request: Request, _: None) -> ModelDocument:
    """The versions in production."""
    return await asyncio.to_thread(production_models, server.context)


async def alive(_server: Server, _request: Request, _: None) -> bytes:
    """The process is alive. Looks at nothing else."""
    return b'{"status":"pass"}'


async def ready(server: Server, _request: Request, _: None) -> Response | Readiness:
    """503 until the first forecast is made, and while the server is being stopped."""
    readiness = server.health.ready()
    if server.keys.asks:  # whoever needs no token hears no more than the status
        readiness = Readiness(status=readiness.status)
    if readiness.status != "fail":
        return readiness
    return respond(msgspec.json.encode(readiness), status=503, media_type=HEALTH, headers=LATER)


async def detailed(server: Server, _request: Request, _: None) -> Detail:
    """Every component."""
    return server.health.detail()


async def trends(server: Server, _request: Request, _: None) -> TrendReport:
    """The last hour and the last day."""
    return server.health.trends()


async def component(server: Server, request: Request, _: None) -> Component:
    """One component."""
    name = request.path_params["name"]
    if name not in COMPONENTS:
        detail = f"There is no component {shown(name)}. There are {', '.join(COMPONENTS)}."
        raise ProblemError(ProblemKind.NOT_FOUND, detail)
    return server.health.component(name)


async def metrics(server: Server, _request: Request, _: None) -> bytes:
    """For Prometheus."""
    return await server.telemetry.scrape()


async def description(server: Server, _request: Request, _: None) -> bytes:
    """All of this as OpenAPI."""
    return openapi(server.paths, max_ids=server.config.serve.max_ids, has_token=server.keys.asks)


async def docs(server: Server, request: Request, _: None) -> Response:
    """The description for people."""
    body = docs_page(server.paths, max_ids=server.config.serve.max_ids, has_token=server.keys.asks)
    return respond(body, media_type=HTML, cache="private, no-cache", headers=page_headers(), request=request)


async def switch_breaker(server: Server, _: Request, query: BreakerQuery) -> SwitchedBreaker:
    """Hold a breaker open or closed, or let it decide again."""
    breakers = server.breakers.all()
    breaker = breakers.get(query.name)
    if breaker is None:
        detail = f"There is no breaker {shown(query.name)}. There are: {', '.join(sorted(breakers))}."
        raise ProblemError(ProblemKind.NOT_FOUND, detail)
    {"open": breaker.force_open, "closed": breaker.force_closed, "auto": breaker.reset}[query.state]()
    log.warning("breaker %s is set to %s by hand", query.name, query.state)
    return SwitchedBreaker(breaker=query.name, state=str(breaker.state))


def _patience_s(server: Server, request: Request) -> float:
    """How long the client waits: as long as the settings let it, or less where it says so."""
    longest = server.config.serve.request_timeout_s
    return min(longest, preferred_wait_s(request.headers.get("prefer", "")) or longest)


MODEL_PARTS: Final = ("models", "store", "refresher")
PATHS: Final[Mapping[str, Endpoint]] = {
    "/forecasts": Endpoint(
        "Forecasts of coins",
        forecasts,
        ForecastDocument,
        query=ForecastQuery,
        is_cached=True,
        rests_on=("breakers", "cache", *MODEL_PARTS),
        tag="forecasts",
    ),
    "/paths": Endpoint(
        "Sample paths of coins that move together",
        sample_paths,
        PathsDocument,
        query=PathsQuery,
        is_cached=True,
        rests_on=("breakers", "cache", *MODEL_PARTS),
        tag="forecasts",
    ),
    "/prices": Endpoint(
        "Live prices of coins", prices, PriceDocument, query=PriceQuery, rests_on=("upstream", "breakers"), tag="prices"
    ),
    "/track": Endpoint(
        "Past forecasts of coins and what came of them",
        track,
        TrackDocument,
        query=TrackQuery,
        is_cached=True,
        rests_on=("breakers", "cache", *MODEL_PARTS),
        tag="forecasts",
    ),
    "/candles": Endpoint(
        "Candles of coins", candles, CandlesDocument, query=CandleQuery, rests_on=("store",), tag="prices"
    ),
    "/models": Endpoint("The versions in production", models, ModelDocument),
    "/health": Endpoint("Whether the process is alive", alive, Readiness, HEALTH, access="open", is_prompt=True),
    "/ready": Endpoint(
        "Whether to send requests here", ready, Readiness, HEALTH, access="open", is_prompt=True, not_ready=True
    ),
    "/health/detailed": Endpoint("Every component", detailed, Detail, HEALTH, is_prompt=True),
    "/health/trends": Endpoint("The last hour and the last day", trends, TrendReport, HEALTH, is_prompt=True),
    "/health/components/{name}": Endpoint("One component", component, Component, HEALTH, is_prompt=True),
    "/metrics": Endpoint("Metrics for Prometheus", metrics, media_type=METRICS, is_prompt=True),
    "/openapi.json": Endpoint("This description", description),
    "/admin/breakers": Endpoint(
        "Hold a breaker open or closed",
        switch_breaker,
        SwitchedBreaker,
        query=BreakerQuery,
        access="admin",
        methods=("POST",),
        is_prompt=True,
        tag="admin",
    ),
    "/docs": Endpoint("This description, for people", docs, media_type=HTML),
    # Prompt, because anybody may send a form, and as slowly as they like: they shall not fill the places of the others.
    "/login": Endpoint(
        "The form for a token", login, media_type=HTML, access="open", methods=("GET", "POST"), is_prompt=True
    ),
    "/logout": Endpoint(
        "The end of a login", logout, media_type=HTML, access="open", methods=("POST",), is_prompt=True
    ),
    "/": Endpoint(
        "The forecasts as a page",
        landing_page,
        media_type=HTML,
        query=PageQuery,
        is_cached=True,
        rests_on=("breakers", "cache", *MODEL_PARTS, "event_loop", "resources"),
    ),
}
