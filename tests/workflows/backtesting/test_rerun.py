"""A recorded run comes out as it did, or says why it cannot."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from cryptocast.config import DataConfig, TrainConfig
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.sample import load_sample
from cryptocast.data.store import CandleStore
from cryptocast.errors import DataError
from cryptocast.market import Market
from cryptocast.workflows.backtesting.backtest import BacktestOrder, backtest
from cryptocast.workflows.backtesting.rerun import rerun
from cryptocast.workflows.context import Selection
from cryptocast.workflows.reports import BacktestReport
from tests.workflows.backtesting.small_runs import NOW, context, numbers


def test_a_run_is_repeated_bit_for_bit(whole: tuple[Path, BacktestReport]) -> None:
    folder, report = whole
    again = rerun(context(folder), folder / "data" / "runs" / report.run)
    assert again.same
    assert (again.exit_code, again.differs) == (0, ())
    names = ("baseline", "lightgbm", "mix", "rw_empirical", "rw_gaussian")
    assert {model.model: model.largest_difference for model in again.models} == dict.fromkeys(names, 0.0)
    assert numbers(again.now) == numbers(report)


def test_a_run_is_repeated_with_its_own_settings_and_on_its_own_bars(tmp_path: Path) -> None:
    frame = load_sample("bitcoin").frame
    store = CandleStore(tmp_path / "data", lock_timeout_s=5.0)
    key = SeriesKey(Market("file", "usd", "daily"), "bitcoin")
    store.write(key, frame.head(1_500), fetched_at=NOW, replace=True)
    order = BacktestOrder(Selection(("bitcoin",), "file"), walk_forward=True, models=("baseline",), horizons=(1,))
    one = DataConfig(coins=("bitcoin",), source="file")
    report = backtest(context(tmp_path, data=one), order)
    store.write(key, frame, fetched_at=NOW, replace=True)
    other = context(tmp_path, data=one, train=TrainConfig(blocks=3, seed=11, min_train_bars=300))
    assert rerun(other, tmp_path / "data" / "runs" / report.run / "manifest.json").same
    store.write(
        key, frame.with_columns(pl.col("close") * 1.0001), fetched_at=datetime(2026, 1, 2, tzinfo=UTC), replace=True
    )
    later = rerun(other, tmp_path / "data" / "runs" / report.run)
    assert later.same, "the store still knows the bars of then"


def test_what_is_no_run_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no run at"):
        rerun(context(tmp_path), tmp_path / "nothing")
    (tmp_path / "manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="is no manifest of a run"):
        rerun(context(tmp_path), tmp_path)
