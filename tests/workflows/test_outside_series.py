"""An outside series from a file to the forecast: joined by when it was known, audited, the same when served."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from msgspec.structs import replace

from cryptocast.choices import Granularity
from cryptocast.config import (
    Config,
    DataConfig,
    FeaturesConfig,
    LightGBMConfig,
    SeriesConfig,
    SimulatedConfig,
    StoreConfig,
    TrainConfig,
)
from cryptocast.data.sources.sample import load_sample
from cryptocast.errors import ConfigError, DataError, ModelError
from cryptocast.features.builder import required_history
from cryptocast.market import Market
from cryptocast.workflows.backtesting.backtest import BacktestOrder, backtest
from cryptocast.workflows.backtesting.rerun import rerun
from cryptocast.workflows.coin_pool import feature_table, gather, last_rows
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.feature_sets import feature_set
from cryptocast.workflows.features import audit_features
from cryptocast.workflows.forecast import Request, forecast
from cryptocast.workflows.lifecycle.compare import compare
from cryptocast.workflows.reports import CoinForecast
from cryptocast.workflows.training.train import Order, train

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BITCOIN = Selection(("bitcoin",))
LINE = '    Feature("my_mood", "market", pl.col("mood").log().rolling_mean(3), 2, 2, source="mine", unit="log"),\n'
CLOSES = load_sample("bitcoin").frame
DAYS = CLOSES["close_time"] - timedelta(days=1)
DAILY = SeriesConfig(file="mood.csv", known_after="1d")


def written(folder: Path, values: np.ndarray, line: str = LINE, times: pl.Series = DAYS) -> None:
    head = "import polars as pl\nfrom cryptocast.features import Feature\n\nFEATURES = (\n"
    (folder / "mine.py").write_text(f"{head}{line})\n", encoding="utf-8")
    pl.DataFrame({"time": times, "value": values}).write_csv(folder / "mood.csv")


def context(folder: Path, section: SeriesConfig | None = DAILY, granularity: Granularity = "daily") -> Context:
    series = {}
    if section is not None:
        series["mood"] = replace(section, file=str(folder / section.file)) if section.file else section
    config = Config(
        store=StoreConfig(path=folder / "data"),
        data=DataConfig(
            coins=("bitcoin", "ethereum"),
            source="sample" if granularity == "daily" else "simulated",
            granularity=granularity,
        ),
        simulated=SimulatedConfig(bars=900, start=datetime(2016, 1, 1, tzinfo=UTC).date()),
        features=FeaturesConfig(file=str(folder / "mine.py")),
        series=series,
        train=TrainConfig(blocks=2, threads=1),
        lightgbm=LightGBMConfig(rounds=8, next_bar_rounds=8, min_data_in_leaf=40),
    )
    return Context(config=config, wall_clock=lambda: NOW, who="test")


def moods() -> np.ndarray:
    return np.exp(np.cumsum(np.random.default_rng(3).normal(0.0, 0.05, len(DAYS))))


def forecast_of(used: Context, **settings: object) -> CoinForecast:
    (made,) = forecast(used, Request(BITCOIN, horizons=(1,), **settings)).forecasts  # type: ignore[arg-type]
    return made


def trained(folder: Path, section: SeriesConfig = DAILY) -> None:
    train(context(folder, section), Order(BITCOIN, model="lightgbm", horizons=(1,)))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mood")
    written(folder, moods())
    trained(folder)
    return folder


def test_a_version_learns_from_it_and_answers_without_a_network(fitted: Path) -> None:
    manifest = context(fitted).registry().get("bitcoin/lightgbm:1", Market("sample", "usd", "daily")).manifest
    assert "my_mood" in manifest.features
    assert manifest.series
    data = manifest.series["mood"]
    assert (data.source, data.rows) == ("file, known 1d after its time", len(DAYS))
    made = forecast_of(context(fitted))
    assert (made.model_used, made.notices[1:]) == ("lightgbm", ())  # the first: that the sample has ended


def test_a_backtest_walks_on_it(fitted: Path) -> None:
    order = BacktestOrder(BITCOIN, models=("lightgbm",), horizons=(1,), step=200, refit_every=800)
    report = backtest(context(fitted), order)
    assert {"lightgbm"} <= set(report.rows[0].scores[0].crps)
    path = fitted / "data" / "runs" / report.run
    assert rerun(context(fitted), path).same
    before = (fitted / "mood.csv").read_bytes()
    written(fitted, moods() * 2)
    try:
        assert backtest(context(fitted), order).run != report.run
        with pytest.raises(DataError, match="cannot be repeated: the values of mood are not those of then"):
            rerun(context(fitted), path)
    finally:
        (fitted / "mood.csv").write_bytes(before)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (None, r"with \[series\.mood\] \(file, known 1d after its time\), which is missing now; put it back"),
        (
            replace(DAILY, known_after="2d"),
            r"with \[series\.mood\] \(file, known 1d after its time\), which is file, known 2d after its time now",
        ),
        (replace(DAILY, file="none.csv"), r"none\.csv cannot be read"),
    ],
    ids=["missing", "other clock", "no file"],
)
def test_without_the_section_of_then_the_baseline_answers_and_says_why(
    fitted: Path, section: SeriesConfig | None, words: str
) -> None:
    made = forecast_of(context(fitted, section))
    assert made.model_used == "baseline"
    assert made.fallback_reason is not None
    assert made.fallback_reason.detail is not None
    assert re.search(words, made.fallback_reason.detail), made.fallback_reason.detail


def test_another_clock_is_another_set_of_features(fitted: Path) -> None:
    digests = {
        feature_set(context(fitted, section).config).digest
        for section in (DAILY, replace(DAILY, known_after="2d"), SeriesConfig(source="deribit"))
    }
    assert len(digests) == 3


def test_values_that_end_too_early_are_used_and_said(tmp_path: Path) -> None:
    written(tmp_path, moods())
    trained(tmp_path)
    written(tmp_path, moods()[:-10], times=DAYS.head(-10))
    made = forecast_of(context(tmp_path))
    assert made.model_used == "lightgbm"
    assert made.notices[1:] == ("the newest value of mood came at 2020-01-07 00:00 UTC",)


@pytest.mark.parametrize("known_after", ["0h", "1d"])
def test_a_series_that_is_dated_but_known_later_is_refused_by_the_audit(tmp_path: Path, known_after: str) -> None:
    # The close of the day, dated by its beginning: honest if it is known a day later, and a leak if at once.
    written(tmp_path, CLOSES["close"].to_numpy())
    used = context(tmp_path, replace(DAILY, known_after=known_after))
    report = audit_features(used, BITCOIN)
    assert report.passed == (known_after == "1d")
    if known_after == "0h":
        assert report.leaks == ("mood",)
        with pytest.raises(ModelError, match=r"\[series\.mood\] seems to be known later than known_after says: its"):
            trained(tmp_path, replace(DAILY, known_after="0h"))
        assert used.registry(create=False).versions() == ()


def test_a_formula_that_looks_ahead_in_the_series_is_refused(tmp_path: Path) -> None:
    written(tmp_path, moods(), LINE.replace(".log()", ".shift(-1)"))
    with pytest.raises(ModelError, match=r"my_mood .* looks into the future"):
        trained(tmp_path)


def test_a_series_that_does_not_say_when_it_was_known_is_refused_before_anything_is_fitted(tmp_path: Path) -> None:
    written(tmp_path, moods())
    with pytest.raises(ConfigError, match=r"\[series\.mood\] does not say when"):
        trained(tmp_path, SeriesConfig(file="mood.csv"))


def test_a_name_that_candles_or_the_catalogue_have_is_refused(tmp_path: Path) -> None:
    written(tmp_path, moods())
    config = context(tmp_path).config
    for name, words in (("close", "a column of the candles"), ("ret_1", "in the catalogue")):
        with pytest.raises(ConfigError, match=rf"\[series\.{name}\]: the name is taken: it is {words}"):
            feature_set(replace(config, series={**config.series, name: DAILY}))
    with pytest.raises(ConfigError, match=r"reads 'mood', which candles do not have; .*\[series\.NAME\] adds one"):
        feature_set(replace(config, series={}))


@pytest.mark.parametrize("granularity", ["daily", "hourly"])
def test_the_rows_of_serving_are_those_of_training(tmp_path: Path, granularity: Granularity) -> None:
    written(tmp_path, moods(), LINE.replace("rolling_mean(3), 2, 2", "rolling_mean(30), 29, 29"))
    used = context(tmp_path, granularity=granularity)
    (pool,) = gather(used, BITCOIN.resolved(used.config), pool=("ethereum",))
    features = tuple(f for f in feature_set(used.config).features if f.name == "my_mood")
    table = feature_table(pool, features)
    assert table["my_mood"].drop_nulls().n_unique() > 30
    assert table.filter(pl.col("coin") == "ethereum")["mood"].drop_nulls().is_in(moods().tolist()).all()
    served = last_rows(pool, (1,), features, tail=required_history(features) + 30, rows=5)
    for coin in (0, 1):
        whole = table.filter(pl.col("coin") == pool.coins[coin]).tail(5)["my_mood"].to_numpy()
        assert served.features[served.coin == served.panel.coins.index(pool.coins[coin]), 0] == pytest.approx(whole)


def test_versions_are_compared_by_their_series_too(fitted: Path) -> None:
    used = context(fitted, replace(DAILY, known_after="2d"))
    train(used, Order(BITCOIN, model="lightgbm", horizons=(1,)))
    registry, market = used.registry(), Market("sample", "usd", "daily")
    one, other = (registry.get(f"bitcoin/lightgbm:{number}", market) for number in (1, 2))
    found = compare(registry, used.config.store.path, used.config.gate, one, other)
    (row,) = [one for one in found.differences if one.what == "series mood"]
    assert str(row.a).startswith("file, known 1d after its time, 1,864 values, ")
    assert str(row.b).startswith("file, known 2d after its time, 1,863 values, ")
