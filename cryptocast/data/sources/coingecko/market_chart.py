"""CoinGecko's series made into candles. Pure: bytes in, bars out. Every quirk that is handled here has a test."""

import math
from datetime import datetime
from typing import Final, TypeAlias

import msgspec
import polars as pl

from cryptocast.choices import Granularity
from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA
from cryptocast.data.sources.upstream import History, decoded
from cryptocast.errors import UpstreamError
from cryptocast.times import DAY_US, as_microseconds

Point: TypeAlias = tuple[float, float | None]

FIRST_MS, LAST_MS = 1_230_768_000_000, 4_102_444_800_000  # 2009 and 2100
# How far from the hour a point may be and still stand for its close. Early ones say the price of an hour that was not
# over yet, so they are hardly allowed for; the upstream's own points come late, by seconds to minutes.
EARLY_MS: Final = 2 * 60_000
LATE_MS: Final = 15 * 60_000
SOME: Final = 10  # points that tell days from hours

CLOSE_ONLY: Final = "CoinGecko gives closes: open, high and low are real only where range_known is true"
ROLLING_VOLUME: Final = "hourly volume is a rolling sum of 24 hours"


class MarketChart(msgspec.Struct, frozen=True):
    """Three series of [milliseconds, value]; they may differ in length."""

    prices: list[Point]
    market_caps: list[Point] = []
    total_volumes: list[Point] = []


def market_chart(body: bytes, coin: str, granularity: Granularity, now: datetime, *, ends_now: bool = True) -> History:
    """Candles from a `/coins/{id}/market_chart` (or `/range`) answer.

    A stamp of 00:00 is the close of the day before, and so already our close time. Daily points off midnight are left
    out. Hourly points miss the hour by seconds to minutes: the one closest to the hour is its close. The last point of
    a series that `ends_now` is the price of this moment, not of a bar: left out unless it lies on the grid, also where
    an old answer from a cache makes it look like the close of an hour that is over by now. The arrays are joined by
    stamp. Bars whose price is null or zero are left out, with a note; zero or null volumes and market caps are unknown.
    Hourly volume is a rolling sum of 24 hours, not the hour's own: kept, with a note, for the features to leave alone.
    Only bars closed at `now`. Raises UpstreamError for a body that is no chart: it says nothing about the coin.
    """
    chart = decoded(body, MarketChart, "CoinGecko's market chart")
    for series in (chart.prices, chart.total_volumes, chart.market_caps):
        _check_points(series)
    bar_ms = BAR_US[granularity] // 1000
    points = _without_now(chart.prices, bar_ms) if ends_now else chart.prices
    prices = _on_grid(points, bar_ms, granularity)
    _check_step(points, len(prices), coin, granularity)
    volumes = _on_grid(chart.total_volumes, bar_ms, granularity)
    caps = _on_grid(chart.market_caps, bar_ms, granularity)
    last_ms = as_microseconds(now) // 1000
    times = sorted(at for at, value in prices.items() if value and at <= last_ms)
    closes = [prices[at] for at in times]
    unpriced = sum(not value for value in prices.values())
    frame = pl.DataFrame(
        {
            "coin": [coin] * len(times),
            "close_time": [at * 1000 for at in times],
            **dict.fromkeys(("open", "high", "low", "close"), closes),
            "volume": [volumes.get(at) or None for at in times],
            "market_cap": [caps.get(at) or None for at in times],
            "range_known": [False] * len(times),
        },
        schema={name: pl.Int64() if name == "close_time" else kind for name, kind in CANDLE_SCHEMA.items()},
    ).cast(CANDLE_SCHEMA)
    notes = [CLOSE_ONLY]
    notes += [ROLLING_VOLUME] if granularity == "hourly" else []
    notes += [f"{unpriced} bars without a price left out"] if unpriced else []
    return History(frame=frame, notes=tuple(notes))


def _without_now(points: list[Point], bar_ms: int) -> list[Point]:
    """The points without the last in time, unless that lies on the grid of the bars."""
    if not points:
        return points
    last = max(range(len(points)), key=lambda i: points[i][0])
    return points if points[last][0] % bar_ms == 0 else points[:last] + points[last + 1 :]


def _check_points(points: list[Point]) -> None:
    for stamp, value in points:
        if not FIRST_MS <= stamp < LAST_MS or (value is not None and (not math.isfinite(value) or value < 0)):
            raise UpstreamError(f"CoinGecko's answer holds the point [{stamp:.0f}, {value}]. Try again later.")


def _check_step(points: list[Point], bars: int, coin: str, granularity: Granularity) -> None:
    """UpstreamError if the answer has another step than was asked for: the rules follow the span, and may move."""
    off_grid = len(points) - bars
    if granularity == "daily" and off_grid > max(2, bars):
        raise UpstreamError(f"CoinGecko's {len(points)} points for {coin} are not daily: {off_grid} are off midnight.")
    if granularity == "hourly" and len(points) > SOME and all(stamp % (DAY_US // 1000) == 0 for stamp, _ in points):
        raise UpstreamError(f"CoinGecko's {len(points)} points for {coin} are days where hours were asked for.")


def _on_grid(points: list[Point], bar_ms: int, granularity: Granularity) -> dict[int, float | None]:
    """Close time in ms -> the value of the point closest to it; of two at the same distance the later in the answer."""
    early, late = (EARLY_MS, LATE_MS) if granularity == "hourly" else (0, 0)
    closest: dict[int, tuple[float, float | None]] = {}
    for stamp, value in points:
        at = math.floor(stamp / bar_ms + 0.5) * bar_ms
        away = abs(stamp - at)
        if -early <= stamp - at <= late and (at not in closest or away <= closest[at][0]):
            closest[at] = (away, value)
    return {at: value for at, (_, value) in closest.items()}
