"""`baseline`: a random walk without drift, as wide as the coin's volatility and as fat-tailed as its past.

It needs no version and no pool: fitting takes milliseconds on the coin's own bars, so it is what serving falls back to.
It holds no number that was learned elsewhere, and so may be asked about any year.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.config import Config
from cryptocast.errors import ModelError
from cryptocast.features.matrix import Matrix
from cryptocast.models.artefacts import JsonForecaster, require_shape
from cryptocast.models.base import Forecast
from cryptocast.models.quantile_shape import LAST_PRICE, student_quantiles, symmetric_quantiles
from cryptocast.models.recent_window import recent
from cryptocast.scoring.quantiles import LEVELS

# The coin's own quantiles weigh as much as the prior shape once it has this many independent blocks of the horizon.
# With 30-day blocks a year has twelve: then four fifths of the shape are prior.
PRIOR_BLOCKS: Final = 40.0


@dataclass(frozen=True, slots=True)
class BaselineLearner:
    """No settings: a yardstick that can be tuned is none."""

    kind: ClassVar[str] = "baseline"
    calibrate: ClassVar[bool] = False

    def fit(self, train: Matrix, **_: object) -> "BaselineForecaster":
        """Each coin's symmetric quantiles of recent standardised returns, by horizon, shrunk to a Student t."""
        prior = student_quantiles()
        table = np.empty((len(train.panel.coins), len(train.horizons), len(LEVELS)))
        for coin in range(len(train.panel.coins)):
            own = slice(None) if len(train.panel.coins) == 1 else train.coin == coin
            issued = train.issued_at[own]
            returns, volatility = train.returns[own].T.copy(), _steady(train)[own].T.copy()
            for column, horizon in enumerate(train.horizons.tolist()):
                standardised = returns[column] / volatility[column]
                rows = np.flatnonzero(np.isfinite(standardised))
                rows = rows[recent(issued[rows], horizon=horizon, bar_us=train.bar_us)]
                table[coin, column] = _shrunk(standardised[rows], horizon, prior)
        return BaselineForecaster(coins=train.panel.coins, horizons=train.horizons, quantiles=table, steady=True)


class BaselineForecaster(JsonForecaster, frozen=True, kw_only=True):
    """Quantiles of standardised returns: coins (C,), horizons (H,), levels (q,), quantiles (C, H, q). Unknown coins get
    the prior. steady: of `Matrix.steady`; of earlier releases they are of the volatility known at issue."""

    coins: tuple[str, ...]
    horizons: Int64Array
    levels: FloatArray = LEVELS
    quantiles: FloatArray
    steady: bool = False
    kind: ClassVar[str] = "baseline"

    def __post_init__(self) -> None:
        require_shape(self.quantiles, len(self.coins), len(self.horizons), len(self.levels))

    def predict(self, rows: Matrix) -> Forecast:
        """The coin's volatility times its quantiles; the median is the last price."""
        columns = horizon_columns(rows.horizons, self.horizons, self.kind)
        prior = np.broadcast_to(student_quantiles(), (1, *self.quantiles.shape[1:]))
        table = np.concatenate([self.quantiles, prior])
        place = {coin: position for position, coin in enumerate(self.coins)}
        lookup = np.array([place.get(coin, len(self.coins)) for coin in rows.panel.coins])
        volatility = _steady(rows) if self.steady else rows.volatility
        return no_view_forecast(rows, volatility, table[lookup[rows.coin]][:, columns])


FORECASTER: Final = BaselineForecaster


def learner(config: Config) -> BaselineLearner:  # noqa: ARG001
    """It has no settings."""
    return BaselineLearner()


def no_view_forecast(rows: Matrix, volatility: FloatArray, shape: FloatArray) -> Forecast:
    """A forecast that is volatility (n, H) times a standard shape (n, H, q) around the last price."""
    return Forecast(
        coin=rows.coin_names,
        issued_at=rows.issued_at,
        price=rows.price,
        horizons=rows.horizons,
        levels=LEVELS,
        values=volatility[:, :, None] * shape,
        volatility=volatility,
        p_up=np.full(volatility.shape, LAST_PRICE),
    )


def horizon_columns(horizons: Int64Array, own: Int64Array, kind: str) -> Int64Array:
    """Where the asked horizons stand among the fitted ones. Raises ModelError that names the missing."""
    missing = sorted(set(horizons.tolist()) - set(own.tolist()))
    if missing:
        names = ", ".join(str(h) for h in own.tolist())
        raise ModelError(f"This {kind} was fitted for {names} bars ahead, not for {missing[0]}. Train with --horizons.")
    return np.searchsorted(own, horizons).astype(np.int64)


def _steady(rows: Matrix) -> FloatArray:
    if rows.steady is None:
        raise ValueError("these rows do not say how wide a baseline is")
    return rows.steady


def _shrunk(standardised: FloatArray, horizon: int, prior: FloatArray) -> FloatArray:
    blocks = len(standardised) / horizon
    if blocks == 0:
        return prior
    weight = blocks / (blocks + PRIOR_BLOCKS)
    return weight * symmetric_quantiles(standardised) + (1.0 - weight) * prior
