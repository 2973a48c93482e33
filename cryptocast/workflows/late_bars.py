"""Forecasts from bars that are late or have ended: how wide the intervals are, and what must be said (see `data.age`).

Where a series has ended, horizons count from its last bar and the model answers as it is. Otherwise a forecast for h
bars from now that rests on a bar of k bars ago is one for h + k bars. A model was fitted for certain horizons, so its
quantiles are widened as the coin's own baseline widens from h to h + k bars. Measured on twelve coins
(`benchmarks/late.py`): 10 bars late, the 80 % interval of lightgbm's 14 bars covers 65 % as it is, 78 % with the root
of (h + k) / h, 80 % with this rule, and 79 % when nothing is late. From k = h on the model is not asked: the baseline
answers.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray
from cryptocast.data.age import Age
from cryptocast.data.schema import BAR_US, SeriesKey
from cryptocast.data.sources.table import SOURCES
from cryptocast.models.base import Forecast
from cryptocast.number_format import ahead, count, when

HOUR: Final = timedelta(hours=1)


def ended_notice(key: SeriesKey, age: Age, horizons: Sequence[int]) -> str | None:
    """When a series ended, and which target dates of a forecast for these horizons have passed; None where it has not,
    or not for long."""
    if not age.has_ended or not age.stale:
        return None
    end, hours = when(age.last, midnight=key.granularity == "daily"), (age.now - age.last) // HOUR
    passed = count(hours // 24, "day") if hours >= 48 else count(hours, "hour")
    return (
        f"the {key.granularity} bars of {key.coin} from {SOURCES[key.source].title} end {end}, {passed} ago: horizons "
        f"count from there{_passed_dates(key, age, horizons)}."
    )


def _passed_dates(key: SeriesKey, age: Age, horizons: Sequence[int]) -> str:
    passed = [horizon for horizon in horizons if not age.is_ahead(horizon, key.granularity)]
    if len(passed) == len(horizons):
        return ", and all target dates have passed"
    return f", and target dates up to {ahead(max(passed), key.granularity)} ahead have passed" if passed else ""


def late_notice(key: SeriesKey, age: Age) -> str | None:
    """From where the horizons of a series count that is late; None for one that is not."""
    if not age.late:
        return None
    due = age.last + age.late * timedelta(microseconds=BAR_US[key.granularity])
    return (
        f"{age.late} bars are missing since the last one known: horizons count from {due:%Y-%m-%d %H:%M} UTC, and "
        "intervals are as much wider as those bars make them."
    )


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
