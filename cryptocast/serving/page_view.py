"""What the page at `/` is made of: forecasts from the cache, the price before them from the store, and the ledger."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cryptocast.data.coins import shown
from cryptocast.errors import CryptocastError, UsageError
from cryptocast.market import Market
from cryptocast.registry import PRODUCTION
from cryptocast.serving.finished import finished
from cryptocast.serving.forecast_cache import Failure, FreshForecast
from cryptocast.serving.landing_page import SCRIPT, PageView, page
from cryptocast.serving.page_shell import HTML, page_headers
from cryptocast.serving.problems import ProblemError, ProblemKind, coin_error
from cryptocast.serving.query import ForecastQuery, PageQuery, coin_requests
from cryptocast.serving.responses import SECURITY_HEADERS
from cryptocast.serving.wiring import Server
from cryptocast.workflows.coin_pool import recent_closes
from cryptocast.workflows.context import Context
from cryptocast.workflows.lifecycle.track_record import track_record
from cryptocast.workflows.reports import CoinForecast

log = logging.getLogger(__name__)

T = TypeVar("T")

BARS: Final = 120  # before the forecast, as many as the widest chart shows
PAST: Final = 120  # forecasts
BASELINE: Final = "baseline"


async def landing_page(server: Server, request: Request, query: PageQuery) -> Response:
    """The page of one choice, as finished bytes while its forecasts hold."""
    config, state = server.config, server.state()
    usual = coin_requests(ForecastQuery(), config)
    coins = [one.selection.coins[0] for one in usual]
    coin, model = query.coin or coins[0], query.model or config.forecast.model
    if coin not in coins:
        detail = f"There is no page of {shown(coin)}. There is one of {', '.join(coins)}."
        raise ProblemError(ProblemKind.NOT_FOUND, detail)
    horizons = usual[0].horizons
    if query.horizon is not None and query.horizon not in horizons:
        raise UsageError(f"There is no page {query.horizon} bars ahead. Choose among {', '.join(map(str, horizons))}.")
    (chosen,) = coin_requests(ForecastQuery(ids=(coin,), model=model), config)
    *outcomes, outcome = await server.forecasts.of([*usual, chosen], timeout_s=config.serve.request_timeout_s)
    if isinstance(outcome, Failure) and isinstance(outcome.error, UsageError):
        raise outcome.error  # there is no such model
    forecasts = [one.forecast if isinstance(one, FreshForecast) else None for one in (*outcomes, outcome)]
    view = PageView(
        coins=[one for one in forecasts[:-1] if one is not None],
        errors=[
            coin_error(name, one.error)
            for name, one in zip(coins, outcomes, strict=True)
            if not isinstance(one, FreshForecast)
        ],
        forecast=forecasts[-1],
        model=model,
        horizon=query.horizon or min(horizons),
        has_login=server.keys.asks,
    )
    key = (coin, model, view.horizon, state, *(id(one) for one in forecasts))
    body = await server.pages.of(key, lambda: asyncio.to_thread(lambda: page(_with_history(server.context, view))))
    return await finished(server, request, body, [*outcomes, outcome], state=state, headers=PAGE_HEADERS)


def _with_history(context: Context, view: PageView) -> PageView:
    """With what has to be read: in a thread. What cannot be had is left out."""
    forecast = view.forecast
    if forecast is None:
        return view
    levels = [one.level for one in forecast.horizons[0].intervals]
    read_track = partial(track_record, context, forecast, levels=levels, horizons=[view.horizon], last=PAST)
    return replace(
        view,
        closes=_or(lambda: recent_closes(context, forecast, BARS), ()),
        track=_or(read_track, None),
        kinds=_or(lambda: _choices(context, forecast), ("auto", BASELINE)),
    )


def _choices(context: Context, forecast: CoinForecast) -> tuple[str, ...]:
    """The models that may be chosen: the best one, those in production, the one that needs no version."""
    market = Market(forecast.source, forecast.vs, forecast.granularity)  # type: ignore[arg-type] # checked before
    listing = context.registry(create=False).listing(
        alias=PRODUCTION, coin=forecast.coin, **msgspec.structs.asdict(market)
    )
    return ("auto", *dict.fromkeys(one.key.kind for one in listing), BASELINE)


def _or(read: Callable[[], T], other: T) -> T:
    try:
        return read()
    except CryptocastError as error:
        log.info("the page does without something: %s", error)
        return other


# Asked again each time, so that nobody reads on in a browser after a logout: a page that has not changed is a 304.
PAGE_HEADERS: Final = tuple(
    (name.lower().encode(), value.encode())
    for name, value in {
        "content-type": HTML,
        **SECURITY_HEADERS,
        **page_headers(SCRIPT),
        "cache-control": "private, no-cache",
    }.items()
)
