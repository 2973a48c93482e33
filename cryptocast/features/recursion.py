"""Recursive smoothing as TA-Lib does it: seeded with a simple mean, on one segment of consecutive bars."""

import math

import polars as pl

from cryptocast.features.bars import BAR

__all__ = ["DECAYED", "exponential", "seeded", "settled", "wilder"]

DECAYED = 1e-8


def seeded(values: pl.Expr, start: int, seed: pl.Expr, alpha: float) -> pl.Expr:
    """y = seed in row `start`, y = y + alpha (x - y) from then on, null before.

    For the rows of one segment without gaps: `values` must be known in every row behind `start`. Catalogue features
    built on this have scope "segment", so that the builder restarts them behind every gap.
    """
    started = pl.when(start < BAR).then(values).when(start == BAR).then(seed)
    return started.ewm_mean(alpha=alpha, adjust=False, ignore_nulls=True)


def exponential(values: pl.Expr, bars: int, *, lead: int = 0) -> pl.Expr:
    """Exponential moving average, alpha 2 / (bars + 1), seeded with the mean of the first `bars` values. TA-Lib.

    lead: rows of the segment before the first value.
    """
    return seeded(values, lead + bars - 1, values.rolling_mean(bars), 2.0 / (bars + 1))


def wilder(values: pl.Expr, bars: int, *, lead: int = 0) -> pl.Expr:
    """Wilder's running average, alpha 1 / bars, seeded with the mean of the first `bars` values.

    lead: rows of the segment before the first value.
    Source: J. Welles Wilder, New Concepts in Technical Trading Systems (1978).
    """
    return seeded(values, lead + bars - 1, values.rolling_mean(bars), 1.0 / bars)


def settled(alpha: float, *, gain: float = 1.0) -> int:
    """Bars until a first-order recursion has forgotten its start: gain (1 - alpha)^bars is 1e-8.

    `gain` is how large the start's error may be against what the feature shows: 1 for an average, 100 for a small
    difference of two large averages. RMA14 gives 249, EMA200 1,842.
    """
    return round(math.log(DECAYED / gain) / math.log(1.0 - alpha))
