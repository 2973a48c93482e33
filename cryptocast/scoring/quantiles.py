"""Scores of quantile forecasts: pinball loss, CRPS, intervals. Lower is better, 0 is perfect. NaN in, NaN out.

Sources: Koenker and Bassett, Econometrica 46 (1978); Gneiting and Raftery, JASA 102 (2007); Laio and Tamea, HESS 11
(2007).
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import numpy as np

from cryptocast.arrays import BoolArray, FloatArray
from cryptocast.scoring.shapes import require_levels, require_numbers, require_same_shape


def _levels() -> FloatArray:
    levels = np.array([0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975])
    levels.flags.writeable = False
    return levels


# The quantile levels of every forecast, read-only.
LEVELS: Final[FloatArray] = _levels()


def crps_weights(levels: FloatArray) -> FloatArray:
    """The share of probability that each level stands for: its cell, cut at the midpoints between neighbouring levels.

    levels (q,), increasing, inside (0, 1). Returns (q,), positive, summing to 1; the outer cells reach to 0 and 1.
    Raises ValueError for other levels.
    """
    require_levels(levels)
    edges = np.concatenate(([0.0], (levels[1:] + levels[:-1]) / 2.0, [1.0]))
    return np.diff(edges)


def pinball(actual: FloatArray, values: FloatArray, levels: FloatArray) -> FloatArray:
    """The quantile loss of each forecast at each level, in the unit of `actual`.

    actual (n,), values (n, q), levels (q,). Returns (n, q): (y - f) (level - 1{y < f}). NaN stays NaN, cell by cell.
    Raises ValueError if shapes disagree. Source: Koenker and Bassett, Econometrica 46 (1978).
    """
    require_levels(levels)
    if actual.ndim != 1 or values.shape != (actual.size, levels.size):
        raise ValueError(
            f"actual {actual.shape}, values {values.shape}, levels {levels.shape}: expected (n,), (n, q), (q,)"
        )
    error = actual[:, None] - values
    return error * (levels - (error < 0.0))


def crps(actual: FloatArray, values: FloatArray, levels: FloatArray) -> FloatArray:
    """The continuous ranked probability score of each forecast, from its quantiles, in the unit of `actual`.

    actual (n,), values (n, q), levels (q,). Returns (n,): 2 sum_i w_i pinball_i with `crps_weights`. The CRPS is
    twice the integral of the pinball loss over all levels; 13 levels give 0.5623 for a perfect N(0, 1) forecast,
    exact is 0.5642. A row with a NaN is NaN. Raises ValueError if shapes disagree. Source: Laio and Tamea, HESS 11
    (2007).
    """
    loss: FloatArray = 2.0 * (pinball(actual, values, levels) @ crps_weights(levels))
    return loss


def crps_relative(log_return: FloatArray, log_quantiles: FloatArray, levels: FloatArray) -> FloatArray:
    """The CRPS on prices divided by the price at issue: a share of that price, comparable between coins and years.

    log_return (n,) and log_quantiles (n, q) are log returns since the issue, levels (q,). Returns (n,). A row with a
    NaN is NaN. Raises ValueError if shapes disagree.
    """
    return crps(np.exp(log_return), np.exp(log_quantiles), levels)


def interval_score(actual: FloatArray, lower: FloatArray, upper: FloatArray, alpha: float) -> FloatArray:
    """The Winkler score of the interval with coverage 1 - alpha: its width, plus 2/alpha times what was missed by.

    actual, lower, upper (n,), one unit; alpha in (0, 1), so 0.05 for the 95 % interval. Returns (n,). NaN stays NaN.
    Raises ValueError if shapes disagree, alpha is outside (0, 1) or a lower end is above its upper end.
    Source: Gneiting and Raftery, JASA 102 (2007), eq. 43.
    """
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha is {alpha}, expected a share inside (0, 1)")
    _require_interval(actual, lower, upper)
    below, above = np.maximum(lower - actual, 0.0), np.maximum(actual - upper, 0.0)
    score: FloatArray = (upper - lower) + 2.0 / alpha * (below + above)
    return score


def interval_columns(levels: FloatArray, percent: int) -> tuple[int, int]:
    """The indices of the two levels that bound the central interval of that many percent.

    With LEVELS, 20, 40, 60, 80, 90 and 95 are on offer. Raises ValueError that names them for any other.
    """
    offered = _intervals(levels)
    if percent not in offered:
        raise ValueError(f"no {percent} % interval in these levels; on offer: {', '.join(map(str, offered))} %")
    return offered[percent]


def intervals_on_offer(levels: FloatArray) -> tuple[int, ...]:
    """The central intervals, in whole percent and increasing, that have both their ends among the levels (q,)."""
    return tuple(_intervals(levels))


def _intervals(levels: FloatArray) -> Mapping[int, tuple[int, int]]:
    if levels.ndim != 1:
        require_levels(levels)
    return _intervals_of(tuple(levels.tolist()))


@lru_cache(maxsize=16)  # every answer of a server asks anew, always for the same levels
def _intervals_of(usable: tuple[float, ...]) -> Mapping[int, tuple[int, int]]:
    levels = np.array(usable)
    require_levels(levels)
    percents = {}
    for percent in range(1, 100):
        ends = (100 - percent) / 200.0, (100 + percent) / 200.0
        lower, upper = (np.flatnonzero(np.isclose(levels, end, rtol=0.0, atol=1e-9)) for end in ends)
        if lower.size and upper.size:
            percents[percent] = (int(lower[0]), int(upper[0]))
    return percents


def covered(actual: FloatArray, lower: FloatArray, upper: FloatArray) -> BoolArray:
    """Whether each actual lies inside its interval, the ends included.

    actual, lower, upper (n,), one unit. Returns (n,). Raises ValueError if shapes disagree, a lower end is above its
    upper end, or there is a NaN: a missing outcome is neither a hit nor a miss.
    """
    _require_interval(actual, lower, upper)
    require_numbers(actual=actual, lower=lower, upper=upper)
    inside: BoolArray = (lower <= actual) & (actual <= upper)
    return inside


def mean_of_quantiles(values: FloatArray, levels: FloatArray) -> FloatArray:
    """The mean of the distribution that puts the probability of each level's cell (`crps_weights`) on its quantile.

    values (..., q), levels (q,). Returns (...), in the unit of `values`; the mean of a price is taken from quantiles
    of the price, not of its logarithm. Nothing is assumed beyond the outer quantiles, so heavy tails are cut there,
    the same way the CRPS is. NaN stays NaN. Raises ValueError if shapes disagree.
    """
    weights = crps_weights(levels)
    if values.ndim == 0 or values.shape[-1] != levels.size:
        raise ValueError(f"values is {values.shape}, expected (..., {levels.size}) as levels")
    mean: FloatArray = values @ weights
    return mean


def _require_interval(actual: FloatArray, lower: FloatArray, upper: FloatArray) -> None:
    require_same_shape(actual=actual, lower=lower, upper=upper)
    crossed = int((lower > upper).sum())
    if crossed:
        raise ValueError(f"{crossed} of {lower.size} intervals have their lower end above their upper end")
