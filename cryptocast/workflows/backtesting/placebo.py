"""The same candles in another order: a market in which nothing can be known of the next bar, beyond its block."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from cryptocast.arrays import FloatArray, Int64Array


def shuffled(
    frames: Mapping[str, pl.DataFrame], *, bar_us: int, block_bars: int, rng: np.random.Generator
) -> dict[str, pl.DataFrame]:
    """The candles of each coin with their bars reordered, in blocks of so many bars of the calendar.

    One order for all coins, so that what moves together still does. Each bar keeps its shape (open, high and low
    against the close before it, its return and its volume); the times stay, gaps included. The first bar stays.
    """
    # Coins that begin later have fewer bars to share: what stands before they do is shuffled by itself.
    starts = np.unique([int(frame["close_time"].to_physical()[0]) + bar_us for frame in frames.values()])
    last = max(int(frame["close_time"].to_physical()[-1]) for frame in frames.values())
    ranks = [rng.permutation((last - start) // (bar_us * block_bars) + 1) for start in starts.tolist()]
    return {
        coin: _reordered(frame, _order(frame, starts, bar_us * block_bars, ranks)) for coin, frame in frames.items()
    }


def _order(frame: pl.DataFrame, starts: Int64Array, block_us: int, ranks: Sequence[Int64Array]) -> Int64Array:
    """(n - 1,) which of the bars behind the first comes at each place."""
    stamps = frame["close_time"].to_physical().to_numpy()[1:]
    era = np.searchsorted(starts, stamps, side="right") - 1
    block = (stamps - starts[era]) // block_us
    rank = np.array([ranks[at][number] for at, number in zip(era.tolist(), block.tolist(), strict=True)])
    return np.lexsort((np.arange(len(stamps)), rank, era)).astype(np.int64) + 1


def _reordered(frame: pl.DataFrame, order: Int64Array) -> pl.DataFrame:
    close = frame["close"].to_numpy()
    steps = np.concatenate([[0.0], np.log(close[order] / close[order - 1])])
    path = close[0] * np.exp(np.cumsum(steps))
    columns: dict[str, FloatArray] = {"close": path}
    for name in ("open", "high", "low"):
        values = frame[name].to_numpy()
        columns[name] = np.concatenate([values[:1], path[:-1] * values[order] / close[order - 1]])
    at = pl.Series(np.concatenate([[0], order]))
    carried = [frame[name].gather(at) for name in ("volume", "range_known")]
    cap = (frame["market_cap"] / frame["close"]).gather(at) * pl.Series(path)
    return frame.with_columns(
        *(pl.Series(name, values) for name, values in columns.items()), *carried, cap.alias("market_cap")
    )
