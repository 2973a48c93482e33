"""Backtests with their folder: an interrupted one goes on, a repeated one says whether it is the same."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from cryptocast.config import BacktestConfig, Config, DataConfig, LightGBMConfig, StoreConfig, TrainConfig
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.sample import load_sample
from cryptocast.data.store import CandleStore
from cryptocast.errors import DataError, UsageError
from cryptocast.market import Market
from cryptocast.workflows.backtesting.backtest import BacktestOrder, backtest
from cryptocast.workflows.backtesting.rerun import rerun
from cryptocast.workflows.context import Context, NoProgress, Selection
from cryptocast.workflows.engines import Engine
from cryptocast.workflows.reports import BacktestReport

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WALK = BacktestOrder(
    walk_forward=True,
    horizons=(1, 7),
    start=datetime(2017, 6, 1, tzinfo=UTC),
    end=datetime(2019, 2, 1, tzinfo=UTC),
    refit_every=182,
)


class StopsAfter(NoProgress):
    """A progress that interrupts the work behind its nth refit, as Ctrl-C would."""

    def __init__(self, refits: int) -> None:
        self._left = refits

    def step(self, note: str) -> None:
        if note.startswith("refit"):
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt


def context(folder: Path, progress: Any = None, **sections: Any) -> Context:
    config = Config(
        store=StoreConfig(path=folder / "data"),
        data=DataConfig(coins=("bitcoin", "ethereum"), source="sample"),
        train=TrainConfig(blocks=2, threads=1, audit=False),
        lightgbm=LightGBMConfig(rounds=8, early_stopping_rounds=4, min_data_in_leaf=40),
        backtest=BacktestConfig(models=("baseline", "lightgbm", "mix")),
    )
    config = msgspec.structs.replace(config, **sections)
    return Context(config=config, wall_clock=lambda: NOW, who="test", progress=progress or NoProgress())


def numbers(report: BacktestReport) -> BacktestReport:
    """The report without what may differ: how long it took, what was said about kept work, the count of trials."""
    return msgspec.structs.replace(report, seconds=0.0, notes=(), trading=None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BacktestReport]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, backtest(context(folder), WALK)


def test_the_mix_is_walked_beside_its_members_and_scored(whole: tuple[Path, BacktestReport]) -> None:
    _, report = whole
    pooled = {row.model: row for row in report.rows if row.coin is None}
    assert set(pooled) == {"baseline", "lightgbm", "mix"}
    for score in pooled["mix"].scores:
        assert score.crps["mix"] <= 1.02 * max(score.crps["baseline"], score.crps["lightgbm"])


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


def test_a_damaged_block_is_made_again(whole: tuple[Path, BacktestReport], tmp_path: Path) -> None:
    _, expected = whole
    backtest(context(tmp_path), WALK)
    block = next((tmp_path / "data" / "runs").glob("*/blocks/fold-0001.parquet"))
    block.write_bytes(block.read_bytes()[:-50])
    assert numbers(backtest(context(tmp_path), WALK)) == numbers(expected)


def test_another_question_takes_nothing_from_this_one(whole: tuple[Path, BacktestReport]) -> None:
    folder, report = whole
    other = backtest(context(folder, train=TrainConfig(blocks=2, threads=1, audit=False, seed=8)), WALK)
    assert other.run != report.run
    assert other.notes == ()
    threads = context(folder, train=TrainConfig(blocks=2, threads=2, audit=False))
    assert backtest(threads, WALK).run == report.run


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


def test_a_rolling_window_learns_from_that_many_bars(tmp_path: Path) -> None:
    order = changed(WALK, models=("baseline",), window=400)
    report = backtest(context(tmp_path, data=DataConfig(coins=("bitcoin",), source="sample")), order)
    assert report.window_bars == 400
    assert {fold.train_rows for fold in report.folds} == {399}, "all but the last label"


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


def test_processes_of_this_machine_give_the_same_numbers(whole: tuple[Path, BacktestReport], tmp_path: Path) -> None:
    _, expected = whole
    order = changed(WALK, engine=Engine(jobs=2))
    assert numbers(backtest(context(tmp_path), order)) == numbers(expected)


@pytest.fixture
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed", reason="needs the extra cryptocast[dask]")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as found:
        yield found


def test_a_cluster_gives_the_same_numbers_though_one_of_its_workers_is_killed(
    whole: tuple[Path, BacktestReport], tmp_path: Path, cluster: Any
) -> None:
    _, expected = whole
    killed: list[int] = []

    class Kills(NoProgress):
        def step(self, note: str) -> None:
            if note.startswith("refit") and not killed:
                killed.append(next(iter(cluster.workers.values())).pid)
                os.kill(killed[0], signal.SIGKILL)

    order = changed(WALK, engine=Engine("dask", address=cluster.scheduler_address))
    assert numbers(backtest(context(tmp_path, Kills()), order)) == numbers(expected)
    assert len(killed) == 1


def test_an_engine_that_cannot_be_reached_says_what_to_start() -> None:
    with pytest.raises(UsageError, match="add --engine dask"):
        Engine("local", address="tcp://127.0.0.1:1")


def changed(order: BacktestOrder, **changes: Any) -> BacktestOrder:
    """`dataclasses.replace`, typed loosely for the tests."""
    from dataclasses import replace

    return replace(order, **changes)
