"""Matrices for the models: simulated bars with a handful of cheap features."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from cryptocast.features.grid import complete_grid
from cryptocast.features.matrix import Matrix, build_matrix
from tests.conftest import MakeCandles

DAY_US = 86_400_000_000
HORIZONS = (1, 7, 14, 30)

MakeMatrix = Callable[..., Matrix]


def _features() -> list[pl.Expr]:
    squared = (pl.col("close") / pl.col("close").shift(1)).log() ** 2
    means = [squared.rolling_mean(w, min_samples=2).log().over("coin").alias(f"log_var_{w}") for w in (5, 20, 60)]
    spread = (pl.col("high") / pl.col("low")).log().over("coin").alias("log_range")
    return [*means, spread]


@pytest.fixture(scope="session")
def make_matrix(make_candles: MakeCandles) -> MakeMatrix:
    """Simulated candles as a matrix, with a few volatility features."""

    def make(coins: tuple[str, ...] = ("bitcoin", "ethereum"), bars: int = 700, **options: object) -> Matrix:
        horizons = options.pop("horizons", HORIZONS)
        table = complete_grid(make_candles(coins, bars, **options).lazy(), DAY_US).with_columns(_features()).collect()
        names = [name for name in table.columns if name.startswith("log_")]
        assert isinstance(horizons, tuple)
        return build_matrix(table, names, horizons=horizons, bar_us=DAY_US)

    return make


@pytest.fixture(scope="session")
def matrix(make_matrix: MakeMatrix) -> Matrix:
    """Two coins, 700 bars."""
    made = make_matrix()
    assert isinstance(made, Matrix)
    assert np.isfinite(made.price).all()
    return made
