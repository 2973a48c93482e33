"""Sample paths of the coins that are forecast, and what they say: is a price touched, what does a position risk?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import numpy as np
import polars as pl

from cryptocast.choices import Granularity, TouchOn
from cryptocast.config import Config
from cryptocast.data.schema import BAR_US
from cryptocast.data.tables import as_pandas, check_table_path, write_table
from cryptocast.errors import UsageError
from cryptocast.models.base import Forecast
from cryptocast.models.recent_window import RECENT_BARS
from cryptocast.models.sample_paths import (
    Closes,
    SamplePaths,
    draw_paths,
    risks,
    shared_returns,
    touch_probabilities,
)
from cryptocast.scoring.quantiles import LEVELS, intervals_on_offer
from cryptocast.times import as_microseconds
from cryptocast.workflows.coin_pool import recent_closes
from cryptocast.workflows.context import Context
from cryptocast.workflows.forecast import Request, forecast
from cryptocast.workflows.reports import (
    CoinForecast,
    CoinPaths,
    ForecastDocument,
    HorizonForecast,
    HorizonRisk,
    PositionRisk,
    Touch,
)

USUAL_PATHS: Final = 1000
LEAST_PATHS: Final = 100  # below, one path in a hundred says nothing
MOST_PATHS: Final = 100_000
MOST_VALUES: Final = 10_000_000  # prices of all paths, bars and coins: half a gigabyte while they are drawn
RISK_LEVELS: Final = (95, 99)
OF_LEVELS: Final = intervals_on_offer(LEVELS)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathOrder:
    """What paths are drawn for. seed: None takes the setting. position: units of each named coin, in their order. out:
    a .csv or .parquet file for the paths."""

    request: Request = Request()
    paths: int = USUAL_PATHS
    seed: int | None = None
    touch: float | None = None
    touch_on: TouchOn = "high-low"
    position: tuple[float, ...] = ()
    out: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PathReport:
    """The forecasts with what their paths say, and the paths, whose coins are in the order of the forecasts."""

    document: ForecastDocument
    paths: SamplePaths

    def to_pandas(self) -> Any:
        """As `to_polars`. NotInstalledError without pandas."""
        return as_pandas(self.to_polars())

    def to_polars(self) -> pl.DataFrame:
        """A row for each coin, path and bar: the price then."""
        prices = self.paths.prices()
        count, bars, _ = prices.shape
        parts = [
            pl.DataFrame(
                {
                    "coin": np.full(count * bars, one.coin),
                    "path": np.repeat(np.arange(1, count + 1), bars),
                    "bar": np.tile(np.arange(1, bars + 1), count),
                    "target_time": np.tile(np.array(bar_times(one, bars), dtype="datetime64[us]"), count),
                    "price": prices[:, :, number].ravel(),
                }
            )
            for number, one in enumerate(self.document.forecasts)
        ]
        return pl.concat(parts).with_columns(pl.col("target_time").dt.replace_time_zone("UTC"))


def sample_paths(context: Context, order: PathOrder) -> PathReport:
    """Forecast, draw paths, and answer from them. Raises UsageError for an order that nobody can carry out."""
    check_order(order, len(order.request.selection.resolved(context.config).coins))
    document = forecast(context, with_every_bar(order.request, context.config))
    forecasts = document.forecasts
    if order.position and document.errors:
        raise UsageError(f"--position requires a forecast of each coin: {document.errors[0].error}")
    seed = context.config.train.seed if order.seed is None else order.seed
    paths = paths_of(context, forecasts, paths=order.paths, seed=seed)
    if order.touch is not None:
        question = Touch(price=order.touch, on=order.touch_on, paths=order.paths, seed=seed)
        forecasts = tuple(with_touch(one, paths, question) for one in forecasts)
    forecasts = tuple(only_for(one, order.request, context.config) for one in forecasts)
    document = msgspec.structs.replace(document, forecasts=forecasts)
    if order.position:
        document = msgspec.structs.replace(document, risk=_risk(forecasts, paths, order))
    report = PathReport(document, paths)
    if order.out is not None:
        write_table(report.to_polars(), order.out)
    return report


def check_order(order: PathOrder, coins: int) -> None:
    """UsageError, in the words of the command's options, for what makes no sense."""
    if order.out is not None:
        check_table_path(order.out)
    if not LEAST_PATHS <= order.paths <= MOST_PATHS:
        raise UsageError(f"--paths takes a number from {LEAST_PATHS:,} to {MOST_PATHS:,}.")
    if order.touch is not None and not (np.isfinite(order.touch) and order.touch > 0.0):
        raise UsageError("--touch takes a price above zero.")
    if order.touch is not None and coins != 1:
        raise UsageError(f"--touch takes a price of one coin; {coins} are named.")
    if order.position and len(order.position) != coins:
        raise UsageError(f"--position takes an amount of each coin: {coins}, not {len(order.position)}.")


def with_every_bar(request: Request, config: Config) -> Request:
    """The request at the horizons between which paths are drawn, with every interval: the next bar, its own horizons,
    and before its longest those of the settings."""
    usual = config.horizons(request.selection.resolved(config).granularity)
    own = request.horizons or usual
    horizons = {1, *own, *(horizon for horizon in usual if horizon < max(own))}
    levels = {*OF_LEVELS, *(request.intervals or config.forecast.intervals)}
    return replace(request, horizons=tuple(sorted(horizons)), intervals=tuple(sorted(levels)))


def only_for(one: CoinForecast, request: Request, config: Config) -> CoinForecast:
    """The forecast at the horizons and with the intervals of the request, where `with_every_bar` was forecast."""
    horizons = request.horizons or config.horizons(request.selection.resolved(config).granularity)
    levels = request.intervals or config.forecast.intervals
    rows = tuple(
        msgspec.structs.replace(row, intervals=tuple(i for i in row.intervals if i.level in levels))
        for row in one.horizons
        if row.horizon in horizons
    )
    return msgspec.structs.replace(one, horizons=rows)


def paths_of(context: Context, forecasts: Sequence[CoinForecast], *, paths: int, seed: int) -> SamplePaths:
    """Paths over the bars up to the longest horizon of forecasts with every interval, all at the same horizons.

    Raises UsageError where that is too much, DataError where the coins' candles are no longer there or are too few.
    """
    values = paths * len(forecasts) * forecasts[0].horizons[-1].horizon
    if values > MOST_VALUES:
        raise UsageError(f"{values:,} prices of paths, bars and coins: at most {MOST_VALUES:,} are drawn at once.")
    closes = [_closes(context, one) for one in forecasts]
    returns = shared_returns(closes, _bar_us(forecasts[0]))
    return draw_paths([distribution(one) for one in forecasts], returns, paths=paths, seed=seed)


def _closes(context: Context, one: CoinForecast) -> Closes:
    rows = recent_closes(context, one, RECENT_BARS + 1)
    return np.array([as_microseconds(at) for at, _ in rows]), np.array([close for _, close in rows])


def _bar_us(one: CoinForecast) -> int:
    return BAR_US[cast("Granularity", one.granularity)]


def distribution(one: CoinForecast) -> Forecast:
    """A forecast with every interval as arrays again."""
    prices = np.array([list(_quantiles(row)) for row in one.horizons])
    return Forecast(
        coin=np.array([one.coin]),
        issued_at=np.array([as_microseconds(one.as_of)]),
        price=np.array([one.price]),
        horizons=np.array([row.horizon for row in one.horizons]),
        levels=LEVELS,
        values=np.log(prices / one.price)[None],
        volatility=np.array([[row.volatility for row in one.horizons]]),
        p_up=np.array([[row.p_up for row in one.horizons]]),
    )


def _quantiles(row: HorizonForecast) -> Iterator[float]:
    own = [interval for interval in row.intervals if interval.level in OF_LEVELS]
    yield from (interval.lower for interval in reversed(own))
    yield row.median
    yield from (interval.upper for interval in own)


def with_touch(one: CoinForecast, paths: SamplePaths, touch: Touch) -> CoinForecast:
    """The forecast with the probability, at each horizon, that the price of the question is touched by then."""
    probabilities = touch_probabilities(paths, paths.coins.index(one.coin), touch.price, touch.on)
    rows = (msgspec.structs.replace(row, touch=float(probabilities[row.horizon - 1])) for row in one.horizons)
    return msgspec.structs.replace(one, touch=touch, horizons=tuple(rows))


def coin_paths(forecasts: Sequence[CoinForecast], paths: SamplePaths) -> Iterator[CoinPaths]:
    """The paths of each coin as a document; they are in the order of the forecasts."""
    prices = paths.prices()
    for number, one in enumerate(forecasts):
        yield CoinPaths(
            coin=one.coin,
            source=one.source,
            model_used=one.model_used,
            version=one.version,
            as_of=one.as_of,
            stale=one.stale,
            price=one.price,
            target_times=tuple(at.replace(tzinfo=UTC) for at in bar_times(one, prices.shape[1])),
            prices=tuple(map(tuple, prices[:, :, number].tolist())),
        )


def bar_times(one: CoinForecast, bars: int) -> list[datetime]:
    """When each of the bars ahead closes, UTC, without a zone, as NumPy has it."""
    bar, first = timedelta(microseconds=_bar_us(one)), one.horizons[0]
    start = first.target_time.replace(tzinfo=None) - first.horizon * bar
    return [start + number * bar for number in range(1, bars + 1)]


def _risk(forecasts: Sequence[CoinForecast], paths: SamplePaths, order: PathOrder) -> PositionRisk:
    amounts = np.array(order.position)
    rows = [
        HorizonRisk(
            horizon=row.horizon,
            level=round(100 * one.level),
            value_at_risk=one.value_at_risk,
            expected_shortfall=one.expected_shortfall,
        )
        for row in forecasts[0].horizons
        for one in risks(paths, amounts, row.horizon, [level / 100 for level in RISK_LEVELS])
    ]
    return PositionRisk(
        vs=forecasts[0].vs,
        value=float(amounts @ paths.price),
        amounts=dict(zip(paths.coins, order.position, strict=True)),
        paths=order.paths,
        horizons=tuple(rows),
    )
