"""Pools of candles made in the test."""

import polars as pl

from cryptocast.choices import Granularity
from cryptocast.data.age import Age
from cryptocast.data.candle_checks import candles_of
from cryptocast.data.schema import SeriesKey
from cryptocast.market import Market
from cryptocast.workflows.coin_pool import CoinPool
from cryptocast.workflows.market_data.resolve import CoinCandles

PRICES = ("open", "high", "low", "close")


def bars_of(frame: pl.DataFrame, granularity: Granularity = "daily") -> CoinCandles:
    """One coin's candles, as if they were of a file."""
    key, last = SeriesKey(Market("file", "usd", granularity), frame["coin"][0]), frame["close_time"][-1]
    return CoinCandles(candles_of(frame, key, fetched_at=last), Age(last, last, has_ended=True, stale=False, late=0))


def pool_of_frames(frame: pl.DataFrame, granularity: Granularity = "daily") -> CoinPool:
    """All coins of a frame, all named."""
    bars = {str(own["coin"][0]): bars_of(own, granularity) for own in frame.partition_by("coin", maintain_order=True)}
    return CoinPool(Market("file", "usd", granularity), tuple(bars), bars, ())


def spoiled(frame: pl.DataFrame, coin: str, bars: slice, factor: float, *, close_only: bool = False) -> pl.DataFrame:
    """With the prices of some bars of a coin, or their closes alone, multiplied."""
    number = pl.int_range(pl.len()).over("coin")
    stop = frame.height if bars.stop is None else bars.stop
    here = (pl.col("coin") == coin) & (number >= bars.start) & (number < stop)
    names = ("close",) if close_only else PRICES
    return frame.with_columns(pl.when(here).then(pl.col(name) * factor).otherwise(name).alias(name) for name in names)
