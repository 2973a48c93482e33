"""Building blocks for features of one's own that are Polars expressions: a coin's columns, and windows over them.

The catalogue itself is written in `formula`, whose functions have the same names. Expressions see prices and volumes
that are positive, finite or null: the builder nulls the rest in its working columns (and open, high and low of bars
that only saw a close), and puts the original candles back into its answer. An expression that stands twice is computed
twice: `over` shares nothing.
"""

from typing import Final

import polars as pl

from cryptocast.features.formula import DEVIATION_FLOOR, VARIANCE_FLOOR, enough

__all__ = [
    "BAR",
    "CLOSE",
    "DEVIATION_FLOOR",
    "HIGH",
    "LOW",
    "MARKET_CAP",
    "OPEN",
    "VARIANCE_FLOOR",
    "VOLUME",
    "correlation",
    "covariance",
    "enough",
    "known_with",
    "log_return",
    "log_variance",
    "mean",
    "spread",
]

OPEN: Final = pl.col("open")
HIGH: Final = pl.col("high")
LOW: Final = pl.col("low")
CLOSE: Final = pl.col("close")
VOLUME: Final = pl.col("volume")
MARKET_CAP: Final = pl.col("market_cap")
BAR: Final = pl.int_range(pl.len())  # the number of the bar, from 0, in whatever rows the expression is applied to


def mean(values: pl.Expr, window: int) -> pl.Expr:
    """Mean of the known values among the last `window` bars; null if fewer than `enough(window)` are known."""
    return values.rolling_mean(window, min_samples=enough(window))


def spread(values: pl.Expr, window: int) -> pl.Expr:
    """Standard deviation (of the population, ddof 0) of the last `window` bars, with the tolerance of `enough`."""
    return values.rolling_std(window, min_samples=enough(window), ddof=0)


def log_variance(variance: pl.Expr) -> pl.Expr:
    """Log of a variance per bar, not below that of a flat series, log 1e-8."""
    return variance.clip(lower_bound=VARIANCE_FLOOR).log()


def known_with(values: pl.Expr, other: pl.Expr) -> pl.Expr:
    """The values where the other column is known too, else null. Both finite."""
    return values + other * 0.0


def covariance(left: pl.Expr, right: pl.Expr, window: int) -> pl.Expr:
    """Covariance (ddof 0) over the bars of the window on which both are known.

    By the formula E[xy] - E[x] E[y]: meant for returns and the like, whose mean is small against their spread.
    """
    apart = mean(known_with(left, right), window) * mean(known_with(right, left), window)
    return mean(left * right, window) - apart


def correlation(left: pl.Expr, right: pl.Expr, window: int) -> pl.Expr:
    """Pearson correlation over the bars of the window on which both are known, between -1 and 1; flat series 0.

    Deviations below 1e-4 count as that, so that a series which hardly moves correlates with nothing.
    """
    sides = [
        spread(x, window).clip(lower_bound=DEVIATION_FLOOR) for x in (known_with(left, right), known_with(right, left))
    ]
    return (covariance(left, right, window) / (sides[0] * sides[1])).clip(-1.0, 1.0)


def log_return(bars: int) -> pl.Expr:
    """Log of the close over the close `bars` bars earlier. Both must be known; what lies between need not be."""
    return (CLOSE / CLOSE.shift(bars)).log()
