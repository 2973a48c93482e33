"""`baseline`: a random walk without drift, as wide as the coin's volatility and as fat-tailed as its past.

It needs no version and no pool: fitting takes milliseconds on the coin's own bars, so it is what serving falls back to.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, Self

import msgspec
import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.config import Config
from cryptocast.errors import ModelError
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import Artefacts, FitRun, Forecast, Rounds
from cryptocast.models.quantile_shape import LAST_PRICE, student_quantiles, symmetric_quantiles
from cryptocast.models.recent_window import recent
from cryptocast.scoring.quantiles import LEVELS

__all__ = ["FORECASTER", "BaselineForecaster", "BaselineLearner", "learner", "no_view_forecast"]

FILE: Final = "baseline.json"
# The coin's own quantiles weigh as much as the prior shape once it has this many independent blocks of the horizon.
# With 30-day blocks a year has twelve: then four fifths of the shape are prior.
PRIOR_BLOCKS: Final = 40.0


class _SavedBaseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    coins: tuple[str, ...]
    horizons: tuple[int, ...]
    levels: tuple[float, ...]
    quantiles: tuple[tuple[tuple[float, ...], ...], ...]


@dataclass(frozen=True, slots=True)
class BaselineLearner:
    """No settings: a yardstick that can be tuned is none."""

    kind: ClassVar[str] = "baseline"
    calibrate: ClassVar[bool] = False

    def fit(
        self,
        train: Matrix,
        *,
        stop: Matrix | None = None,  # noqa: ARG002 - nothing is stopped early
        rounds: Rounds | None = None,  # noqa: ARG002
        seed: int = 0,  # noqa: ARG002
        run: FitRun | None = None,  # noqa: ARG002
    ) -> "BaselineForecaster":
        """Each coin's symmetric quantiles of recent standardised returns, by horizon, shrunk to a Student t."""
        prior = student_quantiles()
        table = np.empty((len(train.panel.coins), len(train.horizons), len(LEVELS)))
        for coin in range(len(train.panel.coins)):
            own = slice(None) if len(train.panel.coins) == 1 else train.coin == coin
            issued = train.issued_at[own]
            returns, volatility = train.returns[own].T.copy(), train.volatility[own].T.copy()
            for column, horizon in enumerate(train.horizons.tolist()):
                standardised = returns[column] / volatility[column]
                known = np.flatnonzero(np.isfinite(standardised))
                known = known[recent(issued[known], horizon=horizon, bar_us=train.bar_us)]
                table[coin, column] = _shrunk(standardised[known], horizon, prior)
        return BaselineForecaster(coins=train.panel.coins, horizons=train.horizons, quantiles=table)


@dataclass(frozen=True, slots=True, eq=False)
class BaselineForecaster:
    """Quantiles of standardised returns: coins (C,), horizons (H,), quantiles (C, H, q). Unknown coins get the
    prior."""

    coins: tuple[str, ...]
    horizons: Int64Array
    quantiles: FloatArray
    kind: ClassVar[str] = "baseline"
    rounds: Rounds = Rounds()

    def predict(self, rows: Matrix) -> Forecast:
        """Volatility known at issue times the coin's quantiles; the median is the last price."""
        columns = horizon_columns(rows.horizons, self.horizons, self.kind)
        prior = np.broadcast_to(student_quantiles(), (1, *self.quantiles.shape[1:]))
        table = np.concatenate([self.quantiles, prior])
        place = {coin: position for position, coin in enumerate(self.coins)}
        lookup = np.array([place.get(coin, len(self.coins)) for coin in rows.panel.coins])
        return no_view_forecast(rows, rows.volatility, table[lookup[rows.coin]][:, columns])

    def save(self) -> Artefacts:
        """One JSON file."""
        saved = _SavedBaseline(
            coins=self.coins,
            horizons=tuple(int(h) for h in self.horizons),
            levels=tuple(float(level) for level in LEVELS),
            quantiles=self.quantiles.tolist(),
        )
        return {FILE: msgspec.json.encode(saved)}

    @classmethod
    def load(cls, files: Artefacts) -> Self:
        """What `save` wrote. Raises ModelError otherwise."""
        try:
            saved = msgspec.json.decode(files[FILE], type=_SavedBaseline)
            quantiles = np.array(saved.quantiles, dtype=np.float64)
            quantiles = quantiles.reshape(len(saved.coins), len(saved.horizons), len(saved.levels))
        except (KeyError, ValueError) as error:
            raise ModelError(f"The saved baseline cannot be read: {error}. Fit it anew.") from error
        return cls(coins=saved.coins, horizons=np.array(saved.horizons, dtype=np.int64), quantiles=quantiles)


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


def horizon_columns(asked: Int64Array, fitted: Int64Array, kind: str) -> Int64Array:
    """Where the asked horizons stand among the fitted ones. Raises ModelError that names the missing."""
    missing = sorted(set(asked.tolist()) - set(fitted.tolist()))
    if missing:
        known = ", ".join(str(h) for h in fitted.tolist())
        raise ModelError(f"This {kind} was fitted for {known} bars ahead, not for {missing[0]}. Train with --horizons.")
    return np.searchsorted(fitted, asked).astype(np.int64)


def _shrunk(standardised: FloatArray, horizon: int, prior: FloatArray) -> FloatArray:
    blocks = len(standardised) / horizon
    if blocks == 0:
        return prior
    weight = blocks / (blocks + PRIOR_BLOCKS)
    return weight * symmetric_quantiles(standardised) + (1.0 - weight) * prior
