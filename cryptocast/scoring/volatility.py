"""Scores of predicted volatilities. Lower is better; both rank forecasts as the true variance would."""

import numpy as np

from cryptocast.arrays import FloatArray
from cryptocast.scoring.shapes import require_same_shape

__all__ = ["log_variance_error", "qlike"]


def qlike(realised: FloatArray, volatility: FloatArray) -> FloatArray:
    """The quasi-likelihood loss of each predicted volatility: log(v^2) + realised / v^2.

    realised (n,): a variance, or a squared return, of the same stretch of time as the volatility (n,); not negative.
    An unbiased stand-in for the true variance, however noisy, leaves the ranking of forecasts as it is. NaN stays NaN.
    Raises ValueError if shapes disagree, for a negative variance or a volatility that is not positive. Source: Patton,
    Journal of Econometrics 160 (2011).
    """
    _require(realised, volatility)
    variance = volatility**2
    loss: FloatArray = np.log(variance) + realised / variance
    return loss


def log_variance_error(realised: FloatArray, volatility: FloatArray) -> FloatArray:
    """The squared error of the log of each predicted variance: (log v^2 - log realised)^2; infinite for realised 0.

    Arguments and errors as of `qlike`. Fair only where the log of the realised variance is hardly biased: sums of many
    squared returns, or of ranges. NaN stays NaN.
    """
    _require(realised, volatility)
    with np.errstate(divide="ignore"):
        loss: FloatArray = (np.log(volatility**2) - np.log(realised)) ** 2
    return loss


def _require(realised: FloatArray, volatility: FloatArray) -> None:
    require_same_shape(realised=realised, volatility=volatility)
    if (realised < 0.0).any() or (volatility <= 0.0).any():
        raise ValueError("a realised variance is negative, or a volatility is not positive")
