"""What a model of the volatility learns from: standardised returns, and how much more variance there was than known."""

from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray
from cryptocast.features.matrix import Matrix
from cryptocast.features.variances import VARIANCE_FLOOR

# Rows with a label that a horizon needs at least, to learn from and in a block to stop by.
LEAST_ROWS: Final = 200
LEAST_STOP_ROWS: Final = 30

# The log of what the volatility is multiplied by is bounded: outside, the model is extrapolating.
CORRECTION_BOUND: Final = 1.5
# A log variance ratio further out than this says more about a bad print than about the days to come.
RATIO_BOUND: Final = 5.0


def standardised_returns(rows: Matrix) -> FloatArray:
    """(n, H) returns over each horizon divided by the volatility known at issue; NaN where not known."""
    return rows.returns / rows.volatility


def log_variance_ratio(rows: Matrix) -> FloatArray:
    """(n, H) log of the variance realised over each horizon to the one known at issue, bounded; NaN where not known.

    Without the bias of the log of a variance of few degrees of freedom: E[log(chi2_d / d)] = digamma(d/2) - log(d/2).
    """
    from scipy.special import digamma  # scipy costs more time than this module's other imports

    half = 0.5 * rows.freedom
    expected = np.log(rows.volatility**2 / rows.horizons)
    ratio = np.log(rows.variance + VARIANCE_FLOOR) - (digamma(half) - np.log(half)) - expected
    return np.asarray(np.clip(ratio, -RATIO_BOUND, RATIO_BOUND))


def independent_blocks(rows: Matrix) -> FloatArray:
    """(H,) how many labels of each horizon fit behind each other into the time that the rows cover."""
    usable = np.isfinite(rows.returns)
    times = [len(np.unique(rows.issued_at[usable[:, column]])) for column in range(len(rows.horizons))]
    return np.asarray(times, dtype=np.float64) / rows.horizons
