"""A forecast at horizons between those that a model was fitted for.

The total variance grows in time, so it is what is interpolated; the shape and the view on the direction only change
slowly. Between two fitted horizons the variance, the standardised quantiles, the median and the logit of `p_up` are
linear in h. Below the shortest one the variance is proportional to h and the shape that of the shortest. No interval is
narrower than that of a shorter horizon.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final, TypeAlias

import numpy as np

from cryptocast.arrays import FloatArray
from cryptocast.models.base import Forecast

SURE: Final = 1e-9  # p_up is kept so far away from 0 and 1, where its logit is infinite

# Standardised quantiles (n, q) around a median (n,), with their variance (n,) and the logit of p_up (n,).
_Shape: TypeAlias = tuple[FloatArray, FloatArray, FloatArray, FloatArray]


def neighbours(own: Sequence[int], horizon: int) -> tuple[int, ...]:
    """The fitted horizons that `horizon` lies between: itself alone if it is one of them, the shortest alone below it.

    fitted: increasing. Raises ValueError beyond the longest.
    """
    if horizon < 1 or horizon > own[-1]:
        raise ValueError(f"{horizon} bars is not within 1 to {own[-1]}")
    above = int(np.searchsorted(own, horizon))
    if own[above] == horizon or above == 0:
        return (own[above],)
    return own[above - 1], own[above]


def at_horizons(forecast: Forecast, horizons: Sequence[int]) -> Forecast:
    """The forecast at increasing horizons: as it is where it has them, else interpolated.

    Raises ValueError for a horizon beyond its longest.
    """
    own = forecast.horizons.tolist()
    if list(horizons) == own:
        return forecast
    between = groupby(horizons, key=lambda horizon: (neighbours(own, horizon), horizon in own))
    parts = [_at(forecast, around, list(group), is_own=is_own) for (around, is_own), group in between]
    values, volatility, p_up = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    return replace(
        forecast,
        horizons=np.asarray(horizons, dtype=np.int64),
        values=values,
        volatility=volatility,
        p_up=p_up,
    )


def _at(
    forecast: Forecast, around: tuple[int, ...], horizons: Sequence[int], *, is_own: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Values (n, k, q), volatility (n, k) and p_up (n, k) at k horizons with the same neighbours."""
    columns = [int(np.flatnonzero(forecast.horizons == one)[0]) for one in around]
    if is_own:
        return forecast.values[:, columns], forecast.volatility[:, columns], forecast.p_up[:, columns]
    upper = _shape(forecast, columns[-1])
    # Before the first bar nothing has moved: no variance, no drift, no view, and the shape is that of the shortest.
    lower = _shape(forecast, columns[0]) if len(around) == 2 else (upper[0], *(np.zeros_like(x) for x in upper[1:]))
    start = around[0] if len(around) == 2 else 0
    share = (np.arange(start, horizons[-1] + 1) - start) / (around[-1] - start)
    shapes = _between(lower[0], upper[0], share[None, :, None])
    median, variance, logit = (_between(low, high, share) for low, high in zip(lower[1:], upper[1:], strict=True))
    bands = np.sqrt(variance)[:, :, None] * shapes
    # Never narrower than a bar before. A level is on the same side of the median at every bar.
    offsets = np.copysign(np.maximum.accumulate(np.abs(bands), axis=1), forecast.levels - 0.5)
    at = np.asarray(horizons) - start
    return (median[:, :, None] + offsets)[:, at], np.sqrt(variance)[:, at], (1.0 / (1.0 + np.exp(-logit)))[:, at]


def _between(low: FloatArray, high: FloatArray, share: FloatArray) -> FloatArray:
    """Of low and high (n, ...), a share of the way, for shares that broadcast against (n, k, ...)."""
    return np.asarray((1.0 - share) * low[:, None] + share * high[:, None])


def _shape(forecast: Forecast, column: int) -> _Shape:
    values, volatility = forecast.values[:, column], forecast.volatility[:, column]
    median = values[:, len(forecast.levels) // 2]
    spread = np.where(volatility > 0.0, volatility, 1.0)
    p_up = np.clip(forecast.p_up[:, column], SURE, 1.0 - SURE)
    return (values - median[:, None]) / spread[:, None], median, volatility**2, np.log(p_up / (1.0 - p_up))
