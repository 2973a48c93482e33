"""Price: returns, momentum, where the close stands against its past, and the shape of recent returns.

Every function returns a formula for the rows of one coin on its time grid. Windows are counted in bars.
"""

import math

from cryptocast.features.formula import (
    CLOSE,
    DEVIATION_FLOOR,
    VARIANCE_FLOOR,
    Formula,
    correlation,
    enough,
    log_return,
    mean,
    skewness,
    spread,
)

__all__ = [
    "autocorrelation",
    "distance_to_high",
    "distance_to_low",
    "log_return",
    "max_return",
    "min_return",
    "momentum",
    "return_skewness",
    "trend_strength",
    "up_share",
    "zscore",
]


def momentum(bars: int, skip: int) -> Formula:
    """Log return from `bars` bars ago to `skip` bars ago: the trend without the latest, often reverting, stretch.

    Source: Jegadeesh and Titman, Journal of Finance 48 (1993), who skip the latest month.
    """
    return (CLOSE.shift(skip) / CLOSE.shift(bars)).log()


def trend_strength(bars: int) -> Formula:
    """Return over the window in units of its own noise: sum r / sqrt(sum r^2), between -sqrt(bars) and sqrt(bars).

    A t-statistic for zero drift when returns are independent. Flat series: 0.
    """
    returns = log_return(1)
    noise = mean(returns**2, bars).at_least(VARIANCE_FLOOR).sqrt()  # a sum of rounding may be negative
    return mean(returns, bars) / noise * math.sqrt(bars)


def zscore(bars: int) -> Formula:
    """Standard deviations between the log close and its mean over the window. Flat series: 0.

    Of logs, so that a fall by a factor of a million keeps its digits.
    """
    price = CLOSE.log()
    return (price - mean(price, bars)) / spread(price, bars).at_least(DEVIATION_FLOOR)


def distance_to_high(bars: int) -> Formula:
    """Log of the close over the highest close of the window, this bar included: 0 at a new high, else negative."""
    return (CLOSE / CLOSE.rolling_max(bars, enough(bars))).log()


def distance_to_low(bars: int) -> Formula:
    """Log of the close over the lowest close of the window, this bar included: 0 at a new low, else positive."""
    return (CLOSE / CLOSE.rolling_min(bars, enough(bars))).log()


def return_skewness(bars: int) -> Formula:
    """Skewness (third standardised moment, population form) of one-bar log returns. Flat series: 0."""
    return skewness(log_return(1), bars)


def max_return(bars: int) -> Formula:
    """Largest one-bar log return of the window. Source: Bali, Cakici and Whitelaw, JFE 99 (2011)."""
    return log_return(1).rolling_max(bars, enough(bars))


def min_return(bars: int) -> Formula:
    """Smallest one-bar log return of the window."""
    return log_return(1).rolling_min(bars, enough(bars))


def up_share(bars: int) -> Formula:
    """Mean sign of the one-bar moves: 1 when all bars rose, -1 when all fell; an unchanged close counts 0."""
    return mean(CLOSE.diff().sign(), bars)


def autocorrelation(bars: int) -> Formula:
    """Correlation of one-bar log returns with those of the bar before. Flat series: 0."""
    returns = log_return(1)
    return correlation(returns, returns.shift(1), bars)
