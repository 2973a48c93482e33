"""Forecasts of a backtest as a table."""

from pathlib import Path

import numpy as np
import polars as pl

from cryptocast.data.sources.sample import load_sample
from cryptocast.workflows.backtesting.backtest import backtest
from cryptocast.workflows.context import Selection
from tests.workflows.backtesting.small_runs import WALK, changed, context


def test_predictions_are_in_long_form_with_prices_at_issue(tmp_path: Path) -> None:
    order = changed(WALK, predictions=tmp_path / "p.parquet", selection=Selection(("bitcoin",)))
    report = backtest(context(tmp_path), order)
    table = pl.read_parquet(tmp_path / "p.parquet")
    assert table.columns == ["coin", "model", "issued_at", "horizon", "level", "value", "fold"]
    assert set(table["model"]) == {"baseline", "lightgbm", "mix", "rw_empirical", "rw_gaussian"}
    assert set(table["coin"]) == {"bitcoin"}
    closes = load_sample("bitcoin").frame.select("close_time", "close")
    median = table.filter((pl.col("model") == "baseline") & (pl.col("level") == 0.5) & (pl.col("horizon") == 1))
    joined = median.join(closes, left_on="issued_at", right_on="close_time")
    assert joined.height == median.height > 50
    np.testing.assert_allclose(joined["value"], joined["close"], rtol=1e-9)
    assert table["fold"].n_unique() == len(report.folds)
