"""What a model learns to forecast: returns over the next bars and the variance that was realised on the way.

These expressions look forward on purpose and are the only ones in the project that do. They expect the rows of one coin
on its complete time grid, so that h rows ahead is h bars ahead and a gap gives null, never a longer return.
"""

import math

import polars as pl

__all__ = ["future_return", "future_variance", "future_variance_freedom", "variance_proxy"]

# Degrees of freedom of one bar's variance proxy: a squared return has 1; the range estimator below is 7.4 times as
# efficient (Garman and Klass, Journal of Business 53 (1980), table 1).
RETURN_FREEDOM = 1.0
RANGE_FREEDOM = 7.4
# The least share of a label's bars that must have a variance.
COMPLETE = 0.75


def future_return(horizon: int) -> pl.Expr:
    """Log return from this close to the one `horizon` bars later; null where either close is missing."""
    return (pl.col("close").shift(-horizon) / pl.col("close")).log()


def variance_proxy() -> pl.Expr:
    """One bar's variance: Garman-Klass where the range is known, else the squared close-to-close return.

    0.5 ln(H/L)^2 - (2 ln 2 - 1) ln(C/O)^2 (Garman and Klass 1980, equation 20). Never negative: the range covers the
    body. Null where the bar is missing, or the bar before it for a close-only bar.
    """
    log_range = (pl.col("high") / pl.col("low")).log()
    body = (pl.col("close") / pl.col("open")).log()
    garman_klass = 0.5 * log_range**2 - (2 * math.log(2) - 1) * body**2
    squared_return = (pl.col("close") / pl.col("close").shift(1)).log() ** 2
    return pl.when(pl.col("range_known")).then(garman_klass).otherwise(squared_return)


def future_variance(horizon: int) -> pl.Expr:
    """Mean one-bar variance over the next `horizon` bars; null if fewer than three quarters of them have one."""
    return _mean_ahead(variance_proxy(), horizon)


def future_variance_freedom(horizon: int) -> pl.Expr:
    """Degrees of freedom of `future_variance`: how many independent squared returns it is worth."""
    freedom = pl.when(pl.col("range_known")).then(RANGE_FREEDOM).otherwise(RETURN_FREEDOM)
    known = pl.when(variance_proxy().is_not_null()).then(freedom)
    return _mean_ahead(known, horizon) * horizon


def _mean_ahead(expr: pl.Expr, horizon: int) -> pl.Expr:
    least = max(1, math.ceil(COMPLETE * horizon))
    return expr.rolling_mean(horizon, min_samples=least).shift(-horizon)
