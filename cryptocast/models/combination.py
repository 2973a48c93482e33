"""Several models' forecasts as one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cryptocast.arrays import FloatArray
from cryptocast.models.base import Forecast


@dataclass(frozen=True, slots=True)
class Mix:
    """The equally weighted mean of these models' quantiles: it has nothing to learn, and is hard to beat.

    Source: Lichtendahl, Grushka-Cockayne and Winkler, Management Science 59 (2013), on averaging quantiles.
    """

    members: tuple[str, ...]


def average(forecasts: Sequence[Forecast]) -> Forecast:
    """Level by level the mean of the quantiles, and of volatility and probability of a rise.

    All of the same rows, horizons and levels; raises ValueError otherwise.
    """
    _require_same_rows(forecasts)
    return replace(
        forecasts[0],
        values=np.mean([forecast.values for forecast in forecasts], axis=0),
        volatility=np.mean([forecast.volatility for forecast in forecasts], axis=0),
        p_up=np.mean([forecast.p_up for forecast in forecasts], axis=0),
    )


def combine(forecasts: Sequence[Forecast], weights: FloatArray) -> Forecast:
    """Level by level the weighted mean of the quantiles, and of volatility and probability of a rise.

    weights (n, H, M): not negative, summing to 1 over the M forecasts. All forecasts of the same rows, horizons and
    levels; raises ValueError otherwise.
    """
    _require_same_rows(forecasts)
    expected = (*forecasts[0].volatility.shape, len(forecasts))
    if weights.shape != expected or (weights < 0).any() or not np.allclose(weights.sum(axis=-1), 1.0):
        raise ValueError(f"weights {weights.shape}, expected {expected}, not negative and summing to 1")
    shares = [weights[:, :, place] for place in range(len(forecasts))]
    return replace(
        forecasts[0],
        values=np.sum([w[:, :, None] * f.values for w, f in zip(shares, forecasts, strict=True)], axis=0),
        volatility=np.sum([w * f.volatility for w, f in zip(shares, forecasts, strict=True)], axis=0),
        # From 0.5, so that members without a view make exactly none together.
        p_up=0.5 + np.sum([w * (f.p_up - 0.5) for w, f in zip(shares, forecasts, strict=True)], axis=0),
    )


def _require_same_rows(forecasts: Sequence[Forecast]) -> None:
    first = forecasts[0]
    for other in forecasts[1:]:
        same = np.array_equal(first.issued_at, other.issued_at) and np.array_equal(first.coin, other.coin)
        if not (same and first.values.shape == other.values.shape):
            raise ValueError("forecasts of different rows or levels cannot be averaged")
