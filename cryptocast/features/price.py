"""Price: returns, momentum, where the close stands against its past, and the shape of recent returns.

Every function returns an expression for the rows of one coin on its time grid. Windows are counted in bars.
"""

import math

import polars as pl

from cryptocast.features.expressions import (
    CLOSE,
    DEVIATION_FLOOR,
    VARIANCE_FLOOR,
    correlation,
    enough,
    log_return,
    mean,
    shared,
    spread,
    squared_return,
    variation,
)


def momentum(bars: int, skip: int) -> pl.Expr:
    """Log return from `bars` bars ago to `skip` bars ago: the trend without the latest, often reverting, stretch.

    Source: Jegadeesh and Titman, Journal of Finance 48 (1993), who skip the latest month.
    """
    return (CLOSE.shift(skip) / CLOSE.shift(bars)).log()


def trend_strength(bars: int) -> pl.Expr:
    """Return over the window in units of its own noise: sum r / sqrt(sum r^2), between -sqrt(bars) and sqrt(bars).

    A t-statistic for zero drift when returns are independent. Flat series: 0.
    """
    noise = mean(squared_return(), bars).clip(lower_bound=VARIANCE_FLOOR).sqrt()
    return mean(log_return(1), bars) / noise * math.sqrt(bars)


def zscore(bars: int) -> pl.Expr:
    """Standard deviations between the log close and its mean over the window. Flat series: 0.

    Of logs, so that a fall by a factor of a million keeps its digits.
    """
    price = log_close()
    return (price - mean(price, bars)) / spread(price, bars).clip(lower_bound=DEVIATION_FLOOR)


def distance_to_high(bars: int) -> pl.Expr:
    """Log of the close over the highest close of the window, this bar included: 0 at a new high, else negative."""
    return (CLOSE / CLOSE.rolling_max(bars, min_samples=enough(bars))).log()


def distance_to_low(bars: int) -> pl.Expr:
    """Log of the close over the lowest close of the window, this bar included: 0 at a new low, else positive."""
    return (CLOSE / CLOSE.rolling_min(bars, min_samples=enough(bars))).log()


def return_skewness(bars: int) -> pl.Expr:
    """Skewness (third standardised moment, population form) of one-bar log returns. Flat series: 0."""
    first, second, third = (mean(moment, bars) for moment in (log_return(1), squared_return(), cubed_return()))
    deviation = variation(log_return(1), bars)
    shape = (third - 3.0 * first * second + 2.0 * first**3) / deviation**3
    return pl.when(deviation < DEVIATION_FLOOR).then(0.0).otherwise(shape)


def max_return(bars: int) -> pl.Expr:
    """Largest one-bar log return of the window. Source: Bali, Cakici and Whitelaw, JFE 99 (2011)."""
    return log_return(1).rolling_max(bars, min_samples=enough(bars))


def min_return(bars: int) -> pl.Expr:
    """Smallest one-bar log return of the window."""
    return log_return(1).rolling_min(bars, min_samples=enough(bars))


def up_share(bars: int) -> pl.Expr:
    """Mean sign of the one-bar moves: 1 when all bars rose, -1 when all fell; an unchanged close counts 0."""
    return mean(side(), bars)


def autocorrelation(bars: int) -> pl.Expr:
    """Correlation of one-bar log returns with those of the bar before. Flat series: 0."""
    return correlation(log_return(1), return_before(), bars)


@shared
def log_close() -> pl.Expr:
    """Log of the close."""
    return CLOSE.log()


@shared
def return_before() -> pl.Expr:
    """The one-bar log return of the bar before."""
    return log_return(1).shift(1)


@shared
def cubed_return() -> pl.Expr:
    """Cube of the one-bar log return."""
    return squared_return() * log_return(1)


@shared
def side() -> pl.Expr:
    """Sign of the one-bar move: 1 up, -1 down, 0 unchanged."""
    return CLOSE.diff().sign()
