"""A forecast at horizons between those that a model was fitted for.

The total variance grows in time, so it is what is interpolated; the shape and the view on the direction only change
slowly. Between two fitted horizons the variance, the standardised quantiles, the median and the logit of `p_up` are
linear in h. Below the shortest one the variance is proportional to h and the shape that of the shortest. No interval is
narrower than that of a shorter horizon.
"""

from collections.abc import Sequence
from dataclasses import replace
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
    parts = [_at(forecast, neighbours(own, horizon), horizon) for horizon in horizons]
    return replace(
        forecast,
        horizons=np.asarray(horizons, dtype=np.int64),
        values=np.stack([values for values, _, _ in parts], axis=1),
        volatility=np.stack([volatility for _, volatility, _ in parts], axis=1),
        p_up=np.stack([p_up for _, _, p_up in parts], axis=1),
    )


def _at(forecast: Forecast, around: tuple[int, ...], horizon: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Values (n, q), volatility (n,) and p_up (n,) at one horizon."""
    columns = [int(np.flatnonzero(forecast.horizons == one)[0]) for one in around]
    if around == (horizon,):
        column = columns[0]
        return forecast.values[:, column], forecast.volatility[:, column], forecast.p_up[:, column]
    upper = _shape(forecast, columns[-1])
    # Before the first bar nothing has moved: no variance, no drift, no view, and the shape is that of the shortest.
    lower = _shape(forecast, columns[0]) if len(around) == 2 else (upper[0], *(np.zeros_like(x) for x in upper[1:]))
    start = around[0] if len(around) == 2 else 0
    share = (np.arange(start + 1, horizon + 1) - start) / (around[-1] - start)
    shapes = _between(lower[0], upper[0], share[:, None, None])
    median, variance, logit = (_between(low, high, share[-1]) for low, high in zip(lower[1:], upper[1:], strict=True))
    variances = _between(lower[2], upper[2], share[:, None])
    bands = np.concatenate([np.sqrt(lower[2])[None, :, None] * lower[0], np.sqrt(variances)[:, :, None] * shapes])
    widest = np.abs(bands).argmax(axis=0)  # never narrower than a bar before
    offsets = np.take_along_axis(bands, widest[None], axis=0)[0]
    return median[:, None] + offsets, np.sqrt(variance), 1.0 / (1.0 + np.exp(-logit))


def _between(low: FloatArray, high: FloatArray, share: FloatArray) -> FloatArray:
    return np.asarray((1.0 - share) * low + share * high)


def _shape(forecast: Forecast, column: int) -> _Shape:
    values, volatility = forecast.values[:, column], forecast.volatility[:, column]
    median = values[:, len(forecast.levels) // 2]
    spread = np.where(volatility > 0.0, volatility, 1.0)
    p_up = np.clip(forecast.p_up[:, column], SURE, 1.0 - SURE)
    return (values - median[:, None]) / spread[:, None], median, volatility**2, np.log(p_up / (1.0 - p_up))
