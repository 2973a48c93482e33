"""Forecasts from bars that are late: where the horizons count from, and how much wider the intervals are.

A forecast for h bars from now that rests on a bar of k bars ago is one for h + k bars. A model was fitted for certain
horizons, so its quantiles are widened as the coin's own baseline widens from h to h + k bars. Measured on twelve coins
(`benchmarks/late.py`): 10 bars late, the 80 % interval of lightgbm's 14 bars covers 65 % as it is, 78 % with the root
of (h + k) / h, 80 % with this rule, and 79 % when nothing is late. From k = h on the model is not asked: the baseline
answers.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np

from cryptocast.arrays import FloatArray
from cryptocast.models.base import Forecast
from cryptocast.workflows.market_data.resolve import CoinCandles


def bars_late(bars: CoinCandles, *, bar_us: int, stale_bars: int) -> int:
    """How many bars should have closed since the last one known; 0 while they are not more than `stale_bars`."""
    passed = (bars.now - bars.candles.provenance.last) // timedelta(microseconds=bar_us)
    return passed if bars.stale and passed > stale_bars else 0


def both_ends(horizons: Sequence[int], late: int) -> tuple[int, ...]:
    """The horizons that `from_late_bars` wants of the baseline."""
    return tuple(sorted({bars for horizon in horizons for bars in (horizon, horizon + late)}))


def from_late_bars(forecast: Forecast | None, baseline: Forecast, horizons: Sequence[int], late: int) -> Forecast:
    """One row for these horizons, each counted from the bar that should be there, `late` bars after the last known.

    forecast: what a model says of the horizons as counted from the last bar known, None: no model answers. baseline: of
    the horizons of `both_ends`. Quantiles are log returns from the last price known.
    """
    values, volatility, p_up = [], [], []
    for horizon in horizons:
        near, far = (int(np.flatnonzero(baseline.horizons == bars)[0]) for bars in (horizon, horizon + late))
        if forecast is None or late >= horizon:
            values.append(baseline.values[:, far])
            volatility.append(baseline.volatility[:, far])
            p_up.append(baseline.p_up[:, far])
            continue
        column = int(np.flatnonzero(forecast.horizons == horizon)[0])
        wider = _ratio(baseline.values[:, far], baseline.values[:, near])
        values.append(np.sort(forecast.values[:, column] * wider, axis=-1))
        volatility.append(
            forecast.volatility[:, column] * _ratio(baseline.volatility[:, far], baseline.volatility[:, near])
        )
        p_up.append(forecast.p_up[:, column])
    return replace(
        baseline,
        horizons=np.asarray(horizons, dtype=np.int64),
        values=np.stack(values, axis=1),
        volatility=np.stack(volatility, axis=1),
        p_up=np.stack(p_up, axis=1),
    )


def _ratio(far: FloatArray, near: FloatArray) -> FloatArray:
    """How much wider one is; 1 where the other is nothing, as at the median. Never narrower."""
    some = near != 0.0
    return np.maximum(1.0, np.where(some, far / np.where(some, near, 1.0), 1.0))
