"""Forecasts of a backtest as a table in long form, with what came."""

import numpy as np
import polars as pl

from cryptocast.arrays import Int64Array
from cryptocast.evaluation.scores import ScoreSheet
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import Forecast

TIME = pl.Datetime("us", "UTC")


def predictions_table(judgement: ScoreSheet, fold: Int64Array) -> pl.DataFrame:
    """One row for each quantile; docs/backtest.md says what the columns mean."""
    parts = [_long(judgement.rows, fold, model, forecast) for model, forecast in judgement.forecasts.items()]
    return pl.concat(parts).with_columns(
        pl.col("issued_at", "target_time").cast(TIME), pl.col("outcome").fill_nan(None)
    )


def _long(rows: Matrix, fold: Int64Array, model: str, forecast: Forecast) -> pl.DataFrame:
    n, h, q = forecast.values.shape
    outcomes = rows.price[:, None] * np.exp(rows.outcomes)
    return pl.DataFrame(
        {
            "coin": np.repeat(forecast.coin, h * q),
            "model": [model] * (n * h * q),
            "issued_at": np.repeat(rows.issued_at, h * q),
            "horizon": np.tile(np.repeat(forecast.horizons, q), n),
            "target_time": np.repeat(rows.label_end.reshape(-1), q),
            "price": np.repeat(rows.price, h * q),
            "level": np.tile(forecast.levels, n * h),
            "value": forecast.prices().reshape(-1),
            "outcome": np.repeat(outcomes.reshape(-1), q),
            "fold": np.repeat(fold, h * q),
        }
    )
