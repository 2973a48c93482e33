"""Forecasts of a backtest as a table."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cryptocast.data.sources.sample import load_sample
from cryptocast.workflows.backtesting.backtest import backtest
from cryptocast.workflows.backtesting.predictions import TIME
from cryptocast.workflows.backtesting.report_pages import RunFiles
from cryptocast.workflows.context import Selection
from tests.workflows.backtesting.small_runs import WALK, changed, context

COLUMNS: dict[str, Any] = {
    "coin": pl.String,
    "model": pl.String,
    "issued_at": TIME,
    "horizon": pl.Int64,
    "target_time": TIME,
    "price": pl.Float64,
    "level": pl.Float64,
    "value": pl.Float64,
    "outcome": pl.Float64,
    "fold": pl.Int64,
}


def test_predictions_are_in_long_form_with_prices_at_issue(tmp_path: Path) -> None:
    order = changed(WALK, files=RunFiles(predictions=tmp_path / "p.parquet"), selection=Selection(("bitcoin",)))
    report = backtest(context(tmp_path), order)
    table = pl.read_parquet(tmp_path / "p.parquet")
    assert dict(table.schema) == COLUMNS
    assert set(table["model"]) == {"baseline", "lightgbm", "mix", "rw_empirical", "rw_gaussian"}
    assert set(table["coin"]) == {"bitcoin"}
    closes = load_sample("bitcoin").frame.select("close_time", "close")
    median = table.filter((pl.col("model") == "baseline") & (pl.col("level") == 0.5) & (pl.col("horizon") == 1))
    joined = median.join(closes, left_on="issued_at", right_on="close_time")
    assert joined.height == median.height > 50
    np.testing.assert_allclose(joined["value"], joined["close"], rtol=1e-9)
    assert table["fold"].n_unique() == len(report.folds)
    assert table.select((pl.col("target_time") - pl.col("issued_at")) == pl.duration(days="horizon")).to_series().all()
    paid = table.join(closes, left_on="target_time", right_on="close_time", how="left")
    np.testing.assert_allclose(paid["outcome"], paid["close"], rtol=1e-9)
    known = table.join(closes, left_on="issued_at", right_on="close_time", how="left")
    np.testing.assert_allclose(known["price"], known["close"], rtol=1e-9)


def test_the_description_names_the_columns_in_their_order() -> None:
    text = (Path(__file__).parents[3] / "docs" / "backtest.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"## Predictions(.*?)\n## ", text, re.DOTALL)
    assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == list(COLUMNS)


def test_the_example_of_the_description_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[3] / "docs" / "backtest.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(example.splitlines()) <= 20
    monkeypatch.chdir(tmp_path)
    table = one_forecast([90.0, 100.0, 110.0], outcomes=[95.0, 120.0])
    table.write_parquet("predictions.parquet")
    scope: dict[str, Any] = {}
    exec(example, scope)  # noqa: S102 - our own page
    assert scope["held"].to_dicts() == [{"model": "baseline", "horizon": 1, "held_80": 0.5}]
    assert list(scope["frame"]["outcome"]) == [95.0, 120.0]
    assert "vega" in (tmp_path / "fan.html").read_text(encoding="utf-8")


def one_forecast(values: list[float], outcomes: list[float]) -> pl.DataFrame:
    """The 10, 50 and 90 % quantiles of the same forecast on each day, and what came."""
    rows = [
        {
            "coin": "bitcoin",
            "model": "baseline",
            "issued_at": datetime(2020, 1, 1 + day, tzinfo=UTC),
            "horizon": 1,
            "target_time": datetime(2020, 1, 2 + day, tzinfo=UTC),
            "price": 100.0,
            "level": level,
            "value": value,
            "outcome": outcome,
            "fold": 0,
        }
        for day, outcome in enumerate(outcomes)
        for level, value in zip((0.1, 0.5, 0.9), values, strict=True)
    ]
    return pl.DataFrame(rows, schema=pl.Schema(COLUMNS))
