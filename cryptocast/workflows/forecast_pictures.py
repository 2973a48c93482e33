"""A forecast as a picture: the closes before it, and its intervals as bands that open like a fan."""

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.choices import Granularity
from cryptocast.data.schema import BAR_US
from cryptocast.errors import CryptocastError
from cryptocast.number_format import ahead, price, when
from cryptocast.times import as_microseconds
from cryptocast.workflows.coin_pool import recent_closes
from cryptocast.workflows.context import Context
from cryptocast.workflows.fan_edges import edge_path, interval_edges
from cryptocast.workflows.reports import CoinForecast, ForecastDocument

if TYPE_CHECKING:
    from cryptocast.evaluation.report import ForecastFan, Picture

log = logging.getLogger(__name__)

Closes: TypeAlias = Sequence[tuple[datetime, float]]
MOST_POINTS: Final = 120  # along the edge of a band


def history_bars(longest_horizon: int) -> int:
    """How many closes are drawn before a forecast of so many bars."""
    return max(20, 2 * longest_horizon)


def closes_before(context: Context, forecast: CoinForecast) -> Closes:
    """The closes that a picture shows; none if their candles went away meanwhile."""
    try:
        return recent_closes(context, forecast, history_bars(_last(forecast)))
    except CryptocastError as error:
        log.info("no closes for the picture: %s", error)
        return ()


def forecast_picture(forecasts: Sequence[tuple[CoinForecast, Closes]]) -> "Picture":
    """A chart for each coin, at least one. NotInstalledError where nothing can be drawn."""
    from cryptocast.workflows.picture_files import check_drawing

    check_drawing()
    # Loads the drawing libraries, and behind them all of `evaluation`: nothing for who only wants the closes.
    from cryptocast.evaluation.report import Chart, Picture, charts

    fans = [(one, fan_of(one, closes)) for one, closes in forecasts]
    drawn = [Chart(charts.outlook(fan), _title(one), _words(one)) for one, fan in fans]
    coins = ", ".join(forecast.coin for forecast, _ in forecasts)
    levels = ", ".join(f"{level} %" for level in charts.central_bands(fans[0][1].levels))
    about = f"Bands: {levels} intervals. Blue line: the median. Dark line: closes. Times are UTC. Not advice."
    return Picture(f"Forecast of {coins}", [about], drawn)


def pictured(context: Context, document: ForecastDocument) -> list[tuple[CoinForecast, Closes]]:
    """The forecasts of a document, each with the closes before it."""
    return [(forecast, closes_before(context, forecast)) for forecast in document.forecasts]


def fan_of(forecast: CoinForecast, closes: Closes) -> "ForecastFan":
    """What is drawn: one origin, and the quantiles at each bar ahead, between the horizons as a random walk's."""
    from cryptocast.evaluation.report import ForecastFan

    bar_us, last = BAR_US[cast("Granularity", forecast.granularity)], _last(forecast)
    past = closes or [(forecast.as_of, forecast.price)]
    bars = np.unique(np.linspace(1, last, min(last, MOST_POINTS)).round()).astype(np.int64)
    columns = dict(sorted(_columns(forecast, bars.tolist())))
    # Horizons count from the bar that should be there, which may be later than the last one known.
    due = _microseconds([forecast.horizons[-1].target_time])[0] - (last - bars) * bar_us
    return ForecastFan(
        coin=forecast.coin,
        model=forecast.model_used,
        closed_at=_microseconds([at for at, _ in past]),
        close=np.array([close for _, close in past]),
        issued_at=_microseconds([forecast.as_of]),
        due_at=due[None, :],
        levels=np.array(list(columns)),
        prices=np.stack(list(columns.values()), axis=1)[None],
        outcome=np.full((1, len(bars)), np.nan),
    )


def _columns(forecast: CoinForecast, bars: Sequence[int]) -> Iterator[tuple[float, FloatArray]]:
    """Each quantile level, with its prices (bars,)."""
    medians = {horizon.horizon: horizon.median for horizon in forecast.horizons}
    yield 0.5, np.array(edge_path(forecast.price, medians, bars))
    for level in _levels(forecast):
        for side in (False, True):
            ends = interval_edges(forecast, level, upper=side)
            share = (100 + level if side else 100 - level) / 200
            yield share, np.array(edge_path(forecast.price, ends, bars))


def _levels(forecast: CoinForecast) -> list[int]:
    return sorted({one.level for horizon in forecast.horizons for one in horizon.intervals}, reverse=True)


def _last(forecast: CoinForecast) -> int:
    return max(horizon.horizon for horizon in forecast.horizons)


def _microseconds(moments: Sequence[datetime]) -> Int64Array:
    return np.array([as_microseconds(moment) for moment in moments], dtype=np.int64)


def _title(forecast: CoinForecast) -> str:
    version = "" if forecast.version is None else f", version {forecast.version}"
    at = when(forecast.as_of, midnight=forecast.granularity == "daily")
    return f"{forecast.coin}: {price(forecast.price, forecast.vs)} at {at}, forecast by {forecast.model_used}{version}"


def _words(forecast: CoinForecast) -> str:
    """What a screen reader says of the chart."""
    horizon = forecast.horizons[-1]
    ends = [f"{one.level} % between {one.lower:,.6g} and {one.upper:,.6g}" for one in horizon.intervals]
    reach = ahead(horizon.horizon, forecast.granularity)
    return f"{forecast.coin} in {reach}: median {horizon.median:,.6g} {forecast.vs.upper()}; {'; '.join(ends)}."
