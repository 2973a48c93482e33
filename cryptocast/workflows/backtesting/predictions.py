"""Forecasts of a backtest as a table in long form."""

import numpy as np
import polars as pl

from cryptocast.arrays import Int64Array
from cryptocast.evaluation.scores import ScoreSheet
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import Forecast


def predictions_table(judgement: ScoreSheet, fold: Int64Array) -> pl.DataFrame:
    """One line for each quantile: coin, model, issued_at (close time of the last bar known), horizon, level, value
    (price), fold."""
    parts = [_long(judgement.rows, fold, model, forecast) for model, forecast in judgement.forecasts.items()]
    return pl.concat(parts).with_columns(pl.col("issued_at").cast(pl.Datetime("us", "UTC")))


def _long(rows: Matrix, fold: Int64Array, model: str, forecast: Forecast) -> pl.DataFrame:
    n, h, q = forecast.values.shape
    return pl.DataFrame(
        {
            "coin": np.repeat(forecast.coin, h * q),
            "model": [model] * (n * h * q),
            "issued_at": np.repeat(rows.issued_at, h * q),
            "horizon": np.tile(np.repeat(forecast.horizons, q), n),
            "level": np.tile(forecast.levels, n * h),
            "value": forecast.prices().reshape(-1),
            "fold": np.repeat(fold, h * q),
        }
    )
