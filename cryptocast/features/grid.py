"""The time grid: one row for every bar that a coin should have, so that a shift by one row is a step of one bar."""

from itertools import pairwise

import numpy as np
import polars as pl

from cryptocast.arrays import Int64Array
from cryptocast.errors import DataError

KEYS = ("coin", "close_time")


def complete_grid(candles: pl.LazyFrame, bar_us: int) -> pl.LazyFrame:
    """Per coin one row for every bar from its first to its last close time, sorted by (coin, close_time).

    candles: at least `coin` and `close_time`, in any order. bar_us: microseconds in a bar. Missing bars become rows
    with null in every other column (`range_known` too); nothing is filled. Collecting raises DataError where rows
    repeat or lie off the coin's grid (its first close time plus whole bars): shifting such rows would measure wrong
    spans.
    """
    if bar_us < 1:
        raise ValueError(f"bar_us is {bar_us}, expected at least 1 microsecond")
    stamps = pl.col("close_time")
    since_first = (stamps - stamps.min()).dt.total_microseconds()
    spans = (
        candles.group_by("coin")
        .agg(
            first=stamps.min(),
            last=stamps.max(),
            off_grid=(since_first % bar_us != 0).sum(),
            repeated=pl.len() - stamps.n_unique(),
            unstamped=stamps.null_count(),
        )
        .sort("coin")
        .map_batches(lambda spans: _checked(spans, bar_us))
    )
    grid = spans.select("coin", close_time=pl.datetime_ranges("first", "last", interval=f"{bar_us}us"))
    return grid.explode("close_time").join(candles, on=list(KEYS), how="left", maintain_order="left")


def on_grid(candles: pl.DataFrame, bar_us: int) -> pl.DataFrame:
    """As `complete_grid`, at once; candles that are on their complete grid already are handed back as they are."""
    return candles if _is_on_grid(candles, bar_us) else complete_grid(candles.lazy(), bar_us).collect()


def starts(coin: pl.Series) -> Int64Array:
    """(C + 1,): where each coin's rows begin, and the end. coin: sorted or at least in one piece for each coin."""
    if coin.n_unique() == 1:  # as the server's candles mostly are: a tenth of the time
        return np.array([0, len(coin)], dtype=np.int64)
    number = coin.rle_id().to_numpy()
    edges = np.flatnonzero(np.diff(number)) + 1
    return np.concatenate([[0], edges, [len(number)]]).astype(np.int64)


def microseconds(close_time: pl.Series) -> Int64Array:
    """Close times, none of them null, as microseconds UTC."""
    return close_time.to_numpy().view(np.int64)  # Polars' own to_physical takes a hundred times as long


def _is_on_grid(candles: pl.DataFrame, bar_us: int) -> bool:
    if bar_us < 1 or not candles.height or candles["close_time"].null_count() or candles["coin"].null_count():
        return False
    start = starts(candles["coin"])
    names = [candles["coin"][first] for first in start[:-1].tolist()]
    if any(name >= following for name, following in pairwise(names)):
        return False
    steps = np.diff(microseconds(candles["close_time"]))
    steps[start[1:-1] - 1] = bar_us  # from one coin to the next
    return bool((steps == bar_us).all())


def _checked(spans: pl.DataFrame, bar_us: int) -> pl.DataFrame:
    for problem in ("off_grid", "repeated", "unstamped"):
        bad = spans.filter(pl.col(problem) > 0)
        if bad.height:
            coin, count = bad.select("coin", problem).row(0)
            words = {
                "off_grid": f"off its grid of {bar_us / 1e6:g} s",
                "repeated": "twice",
                "unstamped": "without a time",
            }
            raise DataError(
                f"{coin} has {count} candles {words[problem]}, {bad.height} coins in all. "
                f"See cryptocast data verify; import the file again."
            )
    return spans
