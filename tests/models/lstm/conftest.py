"""Small networks and the markets that they are fitted on."""

import msgspec
import numpy as np
import polars as pl
import pytest

from cryptocast.config import LSTMConfig
from cryptocast.features.grid import complete_grid
from cryptocast.features.matrix import Matrix, build_matrix
from cryptocast.models.base import FitRun, Forecast
from cryptocast.models.lstm import LSTMForecaster, LSTMLearner
from cryptocast.scoring.quantiles import LEVELS
from tests.conftest import DAY_US, MakeCandles
from tests.models.conftest import MakeMatrix

RUN = FitRun(threads=2)


TINY = LSTMConfig(epochs=2, members=2, hidden=8, samples=20, lookback=32)


QUICK = LSTMConfig(epochs=8, members=1, hidden=16, batch=128, learning_rate=0.01, lookback=24, dropout=0.2)


def fit_tiny(matrix: Matrix, settings: LSTMConfig = TINY, seed: int = 3, run: FitRun = RUN) -> LSTMForecaster:
    return LSTMLearner(settings).fit(matrix, stop=None, rounds=None, seed=seed, run=run)


def with_changes(settings: LSTMConfig, **changes: object) -> LSTMConfig:
    return msgspec.structs.replace(settings, **changes)


@pytest.fixture(scope="session")
def small(make_matrix: MakeMatrix) -> Matrix:
    made = make_matrix(("bitcoin", "ethereum"), 300)
    assert isinstance(made, Matrix)
    return made


@pytest.fixture(scope="session")
def model(small: Matrix) -> LSTMForecaster:
    return fit_tiny(small)


def crps_at(forecast: Forecast, returns: np.ndarray[tuple[int, int], np.dtype[np.float64]], column: int) -> float:
    known = np.isfinite(returns[:, column])
    error = returns[known, column, None] - forecast.values[known, column]
    return float(np.mean(np.maximum(LEVELS * error, (LEVELS - 1) * error)))


def market_of(returns: np.ndarray[tuple[int, int], np.dtype[np.float64]], make_candles: MakeCandles) -> Matrix:
    """A matrix of coins with these daily log returns (coins, bars); closes only."""
    coins = tuple(f"coin-{i}" for i in range(len(returns)))
    close = 100 * np.exp(np.cumsum(returns, axis=1)).ravel()
    frame = make_candles(coins, returns.shape[1], range_known=False)
    bars = {name: pl.Series(close) for name in ("open", "high", "low", "close")}
    table = complete_grid(frame.with_columns(**bars).lazy(), DAY_US).collect()
    return build_matrix(table, [], horizons=(1, 7), bar_us=DAY_US)


def parts_of(matrix: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """60 % of the time to learn from, 20 to stop on, 20 to test on."""
    first, last = int(matrix.issued_at.min()), int(matrix.issued_at.max())
    one, two = first + round((last - first) * 0.6), first + round((last - first) * 0.8)
    later = matrix.rows((matrix.issued_at > one) & (matrix.issued_at <= two))
    return matrix.known_at(one), later, matrix.rows(matrix.issued_at > two)
