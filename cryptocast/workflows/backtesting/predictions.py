"""Forecasts of a backtest as a table, with what came: a row for each quantile, or a column."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.evaluation.scores import ScoreSheet
from cryptocast.features.matrix import Matrix
from cryptocast.models.base import Forecast
from cryptocast.models.tails import interval_ends
from cryptocast.workflows.long_form import CUTOFF, ID, TARGET, as_bars, interval_names
from cryptocast.workflows.long_form import TIME as BAR

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


def nixtla_table(judgement: ScoreSheet, intervals: Sequence[int]) -> pl.DataFrame:
    """One row for each coin, origin and horizon: unique_id, cutoff, ds, y, and for each model its median and the ends
    of its intervals, in percent. As the cross-validation of the Nixtla libraries gives it; all of it prices."""
    rows = judgement.rows
    n, h = rows.outcomes.shape
    columns: dict[str, object] = {
        ID: np.repeat(rows.coin_names, h),
        CUTOFF: np.repeat(rows.issued_at, h),
        BAR: rows.label_end.reshape(-1),
        TARGET: _flat(rows.price, rows.outcomes),
    }
    for model, forecast in judgement.forecasts.items():
        columns[model] = _flat(rows.price, forecast.values[:, :, forecast.values.shape[2] // 2])
        quantiles = forecast.values.reshape(n * h, -1)
        for level in intervals:
            ends = (_flat(rows.price, end.reshape(n, h)) for end in interval_ends(quantiles, level))
            columns |= dict(zip(interval_names(model, level), ends, strict=True))
    table = pl.DataFrame(columns).with_columns(pl.col(CUTOFF, BAR).cast(TIME), pl.col(TARGET).fill_nan(None))
    return as_bars(table, [CUTOFF, BAR], rows.bar_us).sort(ID, CUTOFF, BAR)


def _flat(price: FloatArray, returns: FloatArray) -> FloatArray:
    """Log returns (n, H) from prices (n,) as prices (n H,)."""
    return np.asarray((price[:, None] * np.exp(returns)).reshape(-1))
