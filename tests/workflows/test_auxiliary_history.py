"""`[train] history`: a short history is helped by the sample, which is told, and which nothing else sees."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from cryptocast.config import Config, DataConfig, ForecastConfig, LightGBMConfig, StoreConfig, TrainConfig
from cryptocast.data.schema import SeriesKey
from cryptocast.market import Market
from cryptocast.workflows.auxiliary_history import help_for
from cryptocast.workflows.backtesting.backtest import BacktestOrder, backtest
from cryptocast.workflows.backtesting.rerun import rerun
from cryptocast.workflows.coin_pool import gather
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.feature_sets import feature_set
from cryptocast.workflows.market_data.resolve import open_store
from cryptocast.workflows.training.train import Order, train
from tests.conftest import MakeCandles

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def context(folder: Path, make_candles: MakeCandles, *, helped: bool, source: str = "file") -> Context:
    config = Config(
        store=StoreConfig(path=folder / "data"),
        data=DataConfig(coins=("bitcoin",), source=source),
        train=TrainConfig(pretrained="none", blocks=2, threads=1, audit=False, history=("sample",) if helped else ()),
        lightgbm=LightGBMConfig(rounds=8, next_bar_rounds=8, min_data_in_leaf=40),
        forecast=ForecastConfig(daily_horizons=(1, 7)),
    )
    # Simulated bars that begin in 2021, behind the end of the sample, and one coin that is in it too.
    frame = make_candles(coins=("bitcoin",), bars=420).with_columns(pl.col("close_time") + timedelta(days=400))
    last = frame["close_time"].max()
    assert isinstance(last, datetime)
    open_store(config).write(SeriesKey(Market("file", "usd", "daily"), "bitcoin"), frame, fetched_at=last)
    return Context(config=config, wall_clock=lambda: NOW, who="test")


def test_a_training_says_what_helped_it_and_names_it_in_the_manifest(tmp_path: Path, make_candles: MakeCandles) -> None:
    order = Order(model="lightgbm", selection=Selection(("bitcoin",)))
    plain = train(context(tmp_path / "plain", make_candles, helped=False), order)
    used = context(tmp_path / "helped", make_candles, helped=True)
    report = train(used, order)
    (told,) = [note for note in report.notes if note.startswith("models also learn from")]
    for series in ("sample:bitcoin (1,864 bars to 2020-01-17, hash ", "sample:ethereum (", "sample:litecoin ("):
        assert series in told
    assert not any("sample:" in note for note in plain.notes)
    (version,) = used.registry().versions(coin="bitcoin")
    assert told in version.manifest.notes
    assert version.manifest.settings["train.history"] == "sample"
    assert [row.coin for row in version.manifest.coins] == ["bitcoin"]
    assert [(used_row.coin, used_row.rows) for used_row in report.data] == [("bitcoin", 420)]
    scores = {name: next(m for m in r.models if m.kind == "lightgbm") for name, r in (("a", plain), ("b", report))}
    assert scores["a"].hold_out.start == scores["b"].hold_out.start
    assert [s.n for s in scores["a"].hold_out.horizons] == [s.n for s in scores["b"].hold_out.horizons]
    assert scores["a"].hold_out != scores["b"].hold_out


def test_a_backtest_is_helped_alike_and_repeats(tmp_path: Path, make_candles: MakeCandles) -> None:
    used = context(tmp_path, make_candles, helped=True)
    walk = BacktestOrder(walk_forward=True, models=("baseline", "lightgbm"), refit_every=91)
    report = backtest(used, walk)
    assert any("sample:bitcoin" in note for note in report.notes)
    assert rerun(used, Path(report.run)).same
    other = backtest(context(tmp_path, make_candles, helped=False), walk)
    assert other.run != report.run


@pytest.mark.parametrize("source", ["sample", "simulated"])
def test_simulated_bars_and_the_sample_itself_are_not_helped(
    tmp_path: Path, make_candles: MakeCandles, source: str
) -> None:
    used = context(tmp_path, make_candles, helped=True, source=source)
    (pool,) = gather(used, Selection().resolved(used.config), pool=())
    found = help_for(used, pool, feature_set(used.config), (1, 7))
    assert (found.rows, found.notes) == (None, ())
