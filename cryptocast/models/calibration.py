"""Conformal calibration: how far the quantiles must move, in units of volatility, to have been right out of fold."""

from dataclasses import replace
from typing import Final

import msgspec
import numpy as np

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.errors import ModelError
from cryptocast.models.artefacts import require_shape
from cryptocast.models.base import Forecast
from cryptocast.models.recent_window import recent
from cryptocast.times import DAY_US

# With this many independent blocks of out-of-fold forecasts the offsets count half: the extreme quantiles of a handful
# of blocks are those of one lucky or unlucky month. With ten, the 80 % interval of 30 days stayed a tenth too narrow.
PRIOR_BLOCKS: Final = 2.0
# Between these levels the width of a forecast says most about its volatility, and least about its tails.
VOLATILITY_LEVELS: Final = (0.1, 0.9)


class Calibration(msgspec.Struct, frozen=True, eq=False, forbid_unknown_fields=True):
    """offsets (H, q), in volatilities, to be added to the quantiles; blocks (H,): independent blocks behind them."""

    horizons: Int64Array
    levels: FloatArray
    offsets: FloatArray
    blocks: FloatArray

    def __post_init__(self) -> None:
        require_shape(self.offsets, len(self.horizons), len(self.levels))
        require_shape(self.blocks, len(self.horizons))

    def apply(self, forecast: Forecast) -> Forecast:
        """The calibrated forecast. Quantiles that would cross are sorted, which never raises the pinball loss.

        The predicted volatility becomes wider or narrower as the 80 % interval does, so that both say the same.
        Source of the sorting: Chernozhukov, Fernandez-Val and Galichon, Econometrica 78 (2010).
        """
        columns = np.searchsorted(self.horizons, forecast.horizons)
        if not np.array_equal(self.horizons[np.minimum(columns, len(self.horizons) - 1)], forecast.horizons):
            raise ModelError(f"Calibrated for {self.horizons.tolist()} bars, asked for {forecast.horizons.tolist()}.")
        values = forecast.values + forecast.volatility[:, :, None] * self.offsets[columns]
        values = np.sort(values, axis=-1)
        return replace(forecast, values=values, volatility=forecast.volatility * _wider(forecast, values))


def _wider(before: Forecast, values: FloatArray) -> FloatArray:
    """(n, H): the width of the 80 % interval as a multiple of the one before; 1 where either has none."""
    lower, upper = (int(np.argmin(np.abs(before.levels - level))) for level in VOLATILITY_LEVELS)
    old = before.values[:, :, upper] - before.values[:, :, lower]
    new = values[:, :, upper] - values[:, :, lower]
    some = (old > 0) & (new > 0)
    return np.where(some, new / np.where(some, old, 1.0), 1.0)


def counting(issued_at: Int64Array, *, horizon: int, bar_us: int) -> BoolArray:
    """Which of the forecasts issued at these times (n,) calibrate: of days all, of shorter bars the recent ones.

    On daily bars the quantiles of all history were the best of what was tried.
    """
    is_daily = bar_us >= DAY_US
    everything = np.ones(len(issued_at), dtype=np.bool_)
    return everything if is_daily else recent(issued_at, horizon=horizon, bar_us=bar_us)


def fit_calibration(forecast: Forecast, returns: FloatArray, *, bar_us: int) -> Calibration:
    """Learn the offsets from out-of-fold forecasts (n) and what followed, returns (n, H), NaN where not known.

    The score of level p is (return - quantile p) / volatility; its own p quantile is the offset. Scores of level 1 - p,
    mirrored, are pooled with it: no drift enters through the calibration, and each tail learns from both. The rank is
    that of split conformal prediction, p (m + 1). The fewer independent blocks of time there were, the less of the
    offsets is used. Sources: Romano, Patterson and Candes, NeurIPS 32 (2019); for normalised scores Lei et al., JASA
    113 (2018).
    """
    offsets = np.zeros((len(forecast.horizons), len(forecast.levels)))
    blocks = np.zeros(len(forecast.horizons))
    for column, horizon in enumerate(forecast.horizons.tolist()):
        usable = np.isfinite(returns[:, column]) & (forecast.volatility[:, column] > 0)
        if not usable.any():
            continue
        usable[usable] = counting(forecast.issued_at[usable], horizon=horizon, bar_us=bar_us)
        blocks[column] = len(np.unique(forecast.issued_at[usable])) / horizon
        scores = returns[usable, column, None] - forecast.values[usable, column]
        scores /= forecast.volatility[usable, column, None]
        weight = blocks[column] / (blocks[column] + PRIOR_BLOCKS)
        offsets[column] = weight * _symmetric_offsets(scores, forecast.levels)
    return Calibration(forecast.horizons, forecast.levels, offsets, blocks)


def _symmetric_offsets(scores: FloatArray, levels: FloatArray) -> FloatArray:
    """(q,) the p quantile of the scores (m, q) of level p and the mirrored ones of level 1 - p."""
    mirrored = scores[:, ::-1]
    pooled = (np.concatenate([scores[:, i], -mirrored[:, i]]) for i in range(len(levels)))
    return np.array([np.quantile(one, level, method="weibull") for one, level in zip(pooled, levels, strict=True)])
