"""`har`: how wide the next bars will be, by least squares from the variance of the last day, week and month.

The heterogeneous autoregression of Corsi on the logarithm of the realised variance, from ranges where they are known,
pooled over coins: a closed form, and the yardstick that every predicted volatility is held against. All its regressors
are measured against the volatility known at issue, so the price level and a coin's own level of volatility drop out,
and a fit that learned nothing is as wide as that.

Source: Corsi, Journal of Financial Econometrics 7 (2009).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

import numpy as np
from msgspec import Meta

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.config import Config
from cryptocast.errors import DataError
from cryptocast.features.matrix import Matrix
from cryptocast.features.variances import VARIANCE_FLOOR
from cryptocast.models.artefacts import JsonForecaster, require_shape
from cryptocast.models.base import Forecast
from cryptocast.models.baseline import horizon_columns, no_view_forecast
from cryptocast.models.labels import (
    CORRECTION_BOUND,
    LEAST_ROWS,
    RATIO_BOUND,
    independent_blocks,
    log_variance_ratio,
)
from cryptocast.models.quantile_shape import student_quantiles, symmetric_quantiles
from cryptocast.scoring.quantiles import LEVELS
from cryptocast.times import DAY_US

KIND: Final = "har"
# Bars of the components: a day, a week, a month; on hours the first is the last hour.
DAILY: Final = (1, 7, 30)
HOURLY: Final = (1, 24, 24 * 7, 24 * 30)
# The penalty, in rows: next to none, it only settles the slopes of components that are the same.
RIDGE: Final = 10.0
# Half of the shrinkage is reached with this many independent blocks of the horizon.
SHRINKAGE_BLOCKS: Final = 40.0
# The pool's quantiles weigh as much as the prior shape with this many.
PRIOR_BLOCKS: Final = 40.0
# A standardised return further out than this does not widen the scale any more.
RETURN_BOUND: Final = 8.0
ROWS_AT_ONCE: Final = 8192


@dataclass(frozen=True, slots=True)
class HARLearner:
    """No settings."""

    kind: ClassVar[str] = KIND
    calibrate: ClassVar[bool] = True

    def fit(self, train: Matrix, **_: object) -> "HARForecaster":
        """One line for each horizon, on all rows of all coins whose label is known."""
        components = DAILY if train.bar_us >= DAY_US else HOURLY
        label, blocks = log_variance_ratio(train), independent_blocks(train)
        if np.isfinite(label).sum(axis=0).max(initial=0) < LEAST_ROWS:
            most = int(np.isfinite(label).sum(axis=0).max(initial=0))
            raise DataError(f"har needs {LEAST_ROWS} bars with a known variance ahead, there are {most}. Fetch more.")
        slopes = np.zeros((len(train.horizons), len(components) + 2))
        scale, shape = np.ones(len(train.horizons)), np.tile(student_quantiles(), (len(train.horizons), 1))
        regressors = _regressors(train, components)
        for column in range(len(train.horizons)):
            usable = np.isfinite(label[:, column])
            if usable.sum() < LEAST_ROWS:
                continue  # it keeps the volatility known at issue
            trust = blocks[column] / (blocks[column] + SHRINKAGE_BLOCKS)
            slopes[column] = trust * _least_squares(regressors[usable, column], label[usable, column])
            scale[column], shape[column] = _shape_of(train, regressors, slopes, column, blocks[column])
        return HARForecaster(train.horizons, components, slopes, scale, shape)


class HARForecaster(JsonForecaster, frozen=True):
    """slopes (H, 1 + K + 1) of the log variance ratio: constant, K components, long run; scale (H,) of the volatility;
    shape (H, q) in volatilities."""

    horizons: Int64Array
    components: tuple[Annotated[int, Meta(ge=1, le=100_000)], ...]
    slopes: FloatArray
    scale: FloatArray
    shape: FloatArray
    kind: ClassVar[str] = KIND

    def __post_init__(self) -> None:
        count = len(self.horizons)
        require_shape(self.slopes, count, len(self.components) + 2)
        require_shape(self.scale, count)
        require_shape(self.shape, count, len(LEVELS))

    def predict(self, rows: Matrix) -> Forecast:
        """Volatility known at issue, corrected, times the pool's symmetric shape."""
        columns = horizon_columns(rows.horizons, self.horizons, self.kind)
        corrected = _correction(_regressors(rows, self.components), self.slopes[columns])
        volatility = rows.volatility * np.exp(corrected) * self.scale[columns]
        shape = self.shape[columns]
        return no_view_forecast(rows, volatility, np.broadcast_to(shape, (len(rows), *shape.shape)))


FORECASTER: Final = HARForecaster


def learner(config: Config) -> HARLearner:  # noqa: ARG001
    """It has no settings."""
    return HARLearner()


def _regressors(rows: Matrix, components: tuple[int, ...]) -> FloatArray:
    """(n, H, 1 + K + 1): one, the logs of the mean variance over the last bars, and of the long run, each against the
    variance known at issue.

    A component none of whose bars is known says nothing: zero, the volatility known at issue.
    """
    at_issue = np.log(rows.volatility**2 / rows.horizons)
    logs = [_log_mean(rows, bars) for bars in components]
    logs.append(2.0 * np.log(rows.panel.volatility[rows.position, -1]))
    out = np.ones((len(rows), len(rows.horizons), len(logs) + 1))
    for place, log in enumerate(logs, start=1):
        ratio = np.clip(log[:, None] - at_issue, -RATIO_BOUND, RATIO_BOUND)
        out[:, :, place] = np.where(np.isfinite(ratio), ratio, 0.0)
    return out


def _log_mean(rows: Matrix, bars: int) -> FloatArray:
    """(n,) log of the mean variance of the last bars of the row's own coin that have one; NaN where none has."""
    mean, first = np.full(len(rows), np.nan), rows.begin
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        part = slice(begin, begin + ROWS_AT_ONCE)
        place = rows.position[part, None] + np.arange(1 - bars, 1)
        own = place >= first[part, None]
        variance = rows.panel.variance[np.maximum(place, 0)]
        there = own & np.isfinite(variance)
        count = there.sum(axis=1)
        # Window by window, not as a difference of running sums: each row must stand for itself to the last bit.
        total = np.where(there, variance, 0.0).sum(axis=1)
        mean[part] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return np.asarray(np.log(np.maximum(mean, 0.0) + VARIANCE_FLOOR))


def _least_squares(regressors: FloatArray, label: FloatArray) -> FloatArray:
    """Slopes (K,) with a small penalty on all but the constant."""
    penalty = RIDGE * np.eye(regressors.shape[1])
    penalty[0, 0] = 0.0
    return np.asarray(np.linalg.solve(regressors.T @ regressors + penalty, regressors.T @ label))


def _correction(regressors: FloatArray, slopes: FloatArray) -> FloatArray:
    """(n, H) log of what the volatility is multiplied by; row by row, so that each row stands for itself."""
    correction = 0.5 * (regressors * slopes).sum(axis=-1)
    return np.asarray(np.clip(correction, -CORRECTION_BOUND, CORRECTION_BOUND))


def _shape_of(
    train: Matrix, regressors: FloatArray, slopes: FloatArray, column: int, blocks: float
) -> tuple[float, FloatArray]:
    """What the volatility must be multiplied by to be that of the returns, and their quantiles (q,) in it."""
    corrected = np.exp(_correction(regressors[:, column], slopes[column]))
    standardised = train.returns[:, column] / (train.volatility[:, column] * corrected)
    standardised = standardised[np.isfinite(standardised)]
    if len(standardised) < LEAST_ROWS:
        return 1.0, student_quantiles()
    weight = blocks / (blocks + PRIOR_BLOCKS)
    scale = float(np.sqrt(np.mean(np.clip(standardised, -RETURN_BOUND, RETURN_BOUND) ** 2)))
    scale = scale**weight if scale > 0 else 1.0
    return scale, weight * symmetric_quantiles(standardised / scale) + (1.0 - weight) * student_quantiles()
