"""Several models' forecasts as one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cryptocast.models.base import Forecast

__all__ = ["Mix", "average"]


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
    first = forecasts[0]
    for other in forecasts[1:]:
        same = np.array_equal(first.issued_at, other.issued_at) and np.array_equal(first.coin, other.coin)
        if not (same and first.values.shape == other.values.shape):
            raise ValueError("forecasts of different rows or levels cannot be averaged")
    return replace(
        first,
        values=np.mean([forecast.values for forecast in forecasts], axis=0),
        volatility=np.mean([forecast.volatility for forecast in forecasts], axis=0),
        p_up=np.mean([forecast.p_up for forecast in forecasts], axis=0),
    )
