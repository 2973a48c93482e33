"""A walk goes on where it stopped, on the bars that its window allows."""

from pathlib import Path

import pytest

from cryptocast.config import DataConfig
from cryptocast.workflows.backtesting.backtest import backtest
from cryptocast.workflows.reports import BacktestReport
from tests.workflows.backtesting.small_runs import WALK, StopsAfter, changed, context, numbers


def test_an_interrupted_walk_goes_on_and_gives_what_one_run_gives(
    whole: tuple[Path, BacktestReport], tmp_path: Path
) -> None:
    _, expected = whole
    with pytest.raises(KeyboardInterrupt):
        backtest(context(tmp_path, StopsAfter(2)), WALK)
    (blocks,) = (tmp_path / "data" / "runs").glob("*/blocks")
    kept = {path: path.stat().st_mtime_ns for path in blocks.glob("fold-*.parquet")}
    assert 2 <= len(kept) < len(expected.folds)
    again = backtest(context(tmp_path), WALK)
    assert numbers(again) == numbers(expected)
    assert again.notes == (f"{len(kept)} refits were kept by an earlier run of this question, and are not made again",)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_rolling_window_learns_from_that_many_bars(tmp_path: Path) -> None:
    order = changed(WALK, models=("baseline",), window=400)
    report = backtest(context(tmp_path, data=DataConfig(coins=("bitcoin",), source="sample")), order)
    assert report.window_bars == 400
    assert {fold.train_rows for fold in report.folds} == {399}, "all but the last label"
