"""A user's own features, from the settings to the forecast: audited before they are fitted on, the same when served."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from cryptocast.config import Config, DataConfig, FeaturesConfig, LightGBMConfig, StoreConfig, TrainConfig, load_config
from cryptocast.errors import ConfigError, ModelError
from cryptocast.features.catalogue import FEATURES
from cryptocast.market import Market
from cryptocast.workflows.backtesting.backtest import BacktestOrder, backtest
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.features import catalogue, latest_features
from cryptocast.workflows.forecast import Request, forecast
from cryptocast.workflows.reports import CoinForecast
from cryptocast.workflows.training.train import Order, train

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BITCOIN = Selection(("bitcoin",))
HEAD = 'import polars as pl\nfrom cryptocast.features import Feature\n\nCLOSE = pl.col("close")\nFEATURES = (\n'
GOOD = '    Feature("my_gap", "price", (CLOSE / CLOSE.shift(5)).log(), 5, 5, source="mine", unit="log"),\n'
DULL = '    Feature("my_twin", "price", 2 * (CLOSE / CLOSE.shift(7)).log(), 7, 7, source="mine", unit="log"),\n'
LEAK = (
    '    Feature("my_centre", "price", CLOSE / CLOSE.rolling_mean(5, center=True), 4, 4, source="mine", unit="log"),\n'
)
SLOW = """    Feature(
        "my_slow", "price", CLOSE / CLOSE.rolling_mean(1000, min_samples=900).shift(-1), 898, 999, "mine", "ratio"
    ),
"""


def written(folder: Path, *lines: str) -> None:
    (folder / "mine.py").write_text(HEAD + "".join(lines) + ")\n", encoding="utf-8")


def context(folder: Path, *, file: str = "mine.py", audit: bool = True) -> Context:
    config = Config(
        store=StoreConfig(path=folder / "data"),
        data=DataConfig(coins=("bitcoin",), source="sample"),
        features=FeaturesConfig(file=str(folder / file) if file else ""),
        train=TrainConfig(blocks=2, threads=1, audit=audit),
        lightgbm=LightGBMConfig(rounds=8, next_bar_rounds=8, min_data_in_leaf=40),
    )
    return Context(config=config, wall_clock=lambda: NOW, who="test")


def forecast_of(used: Context, version: str | None = None) -> CoinForecast:
    (made,) = forecast(used, Request(BITCOIN, horizons=(1,), version=version)).forecasts
    return made


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a version that was fitted on the catalogue and a file of two features."""
    folder = tmp_path_factory.mktemp("own")
    written(folder, GOOD, DULL)
    report = train(context(folder), Order(BITCOIN, model="lightgbm", horizons=(1,)))
    assert not report.notes
    return folder


def test_a_file_is_found_from_the_settings_and_its_features_are_listed_and_computed(tmp_path: Path) -> None:
    written(tmp_path, GOOD)
    (tmp_path / "config.toml").write_text('[features]\nfile = "mine.py"\n', encoding="utf-8")
    config = load_config(tmp_path / "config.toml", environ={})
    assert config.features.file == str(tmp_path / "mine.py")
    assert [facts.name for facts in catalogue(config).features][-1] == "my_gap"
    assert catalogue(config).families["price"] == catalogue(Config()).families["price"] + 1
    (row,) = latest_features(context(tmp_path), BITCOIN).rows
    assert row.values["my_gap"] is not None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for call in (lambda: catalogue(context(tmp_path).config), lambda: train(context(tmp_path), Order(BITCOIN))):
        with pytest.raises(ConfigError, match=r"no feature file .*mine\.py"):
            call()


def test_a_leaking_file_is_refused_by_train_with_the_feature_the_row_and_both_values(tmp_path: Path) -> None:
    written(tmp_path, GOOD, LEAK)
    with pytest.raises(ModelError) as caught:
        train(context(tmp_path), Order(BITCOIN, model="lightgbm", horizons=(1,)))
    said = str(caught.value)
    assert said.startswith(
        f"The feature my_centre of {tmp_path / 'mine.py'}, line 7, looks into the future: for bitcoin"
    )
    assert "it is 0.9" in said or "it is 1.0" in said
    assert "with all candles and undefined without the later ones" in said
    assert "my_gap" not in said
    assert context(tmp_path).registry(create=False).versions() == ()


def test_facts_that_are_not_as_declared_are_refused_too(tmp_path: Path) -> None:
    written(
        tmp_path, GOOD.replace("CLOSE.shift(5)", "CLOSE.rolling_mean(90, min_samples=5)").replace(", 5, 5,", ", 4, 4,")
    )
    with pytest.raises(ModelError, match=r"my_gap .* remembers more than it declares"):
        train(context(tmp_path), Order(BITCOIN, model="lightgbm", horizons=(1,)))


def test_a_long_feature_is_audited_on_as_many_bars_as_it_needs(tmp_path: Path) -> None:
    written(tmp_path, SLOW)
    with pytest.raises(ModelError, match=r"my_slow .* looks into the future"):
        train(context(tmp_path), Order(BITCOIN, model="lightgbm", horizons=(1,)))


def test_a_waived_audit_is_said(tmp_path: Path) -> None:
    written(tmp_path, LEAK)
    report = train(context(tmp_path, audit=False), Order(BITCOIN, model="lightgbm", horizons=(1,)))
    assert any("Nobody has looked whether my_centre" in note for note in report.notes)


def test_the_manifest_names_what_was_fitted_on_and_what_was_dropped(fitted: Path) -> None:
    manifest = context(fitted).registry().get("bitcoin/lightgbm:1", Market("sample", "usd", "daily")).manifest
    assert "my_gap" in manifest.features
    assert manifest.dropped["my_twin"].startswith("ret_7 again")
    assert manifest.dropped["btc_ret_1"].startswith("ret_1 again")  # bitcoin is alone here
    assert set(manifest.features) | set(manifest.dropped) == {*(f.name for f in FEATURES), "my_gap", "my_twin"}
    assert manifest.settings["features.max_correlation"] == 0.999
    assert "features.file" not in manifest.settings


def test_the_version_answers_with_the_file_and_the_catalogue_alone_does_not_do(fitted: Path) -> None:
    assert forecast_of(context(fitted)).model_used == "lightgbm"
    made = forecast_of(context(fitted, file=""))
    assert made.model_used == "baseline"
    assert made.fallback_reason is not None
    assert made.fallback_reason.code == "features"
    assert made.fallback_reason.detail is not None
    assert "on my_gap, my_twin beside the catalogue, and [features] file names no file" in made.fallback_reason.detail
    with pytest.raises(ModelError, match="names no file now"):
        forecast_of(context(fitted, file=""), version="bitcoin/lightgbm:1")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((GOOD.replace("shift(5)", "shift(4)"), DULL), "has changed since; put it back"),
        (("    1 / 0,\n",), "line 6: ZeroDivisionError"),
        ((), "is empty"),
    ],
)
def test_a_changed_or_broken_file_makes_the_baseline_answer_and_say_why(
    fitted: Path, tmp_path: Path, lines: tuple[str, ...], words: str
) -> None:
    written(tmp_path, *lines)
    used = context(fitted)
    other = msgspec.structs.replace(used.config, features=FeaturesConfig(file=str(tmp_path / "mine.py")))
    made = forecast_of(Context(config=other, wall_clock=lambda: NOW))
    assert made.model_used == "baseline"
    assert made.fallback_reason is not None
    assert words in (made.fallback_reason.detail or "")


def test_a_version_of_the_catalogue_alone_goes_on_whatever_file_is_named(tmp_path: Path) -> None:
    train(context(tmp_path, file=""), Order(BITCOIN, model="lightgbm", horizons=(1,)))
    before = forecast_of(context(tmp_path, file=""))
    written(tmp_path, GOOD)
    assert forecast_of(context(tmp_path)) == before
    assert before.model_used == "lightgbm"


def test_a_backtest_uses_them(tmp_path: Path) -> None:
    written(tmp_path, "    1 / 0,\n")
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        backtest(context(tmp_path), BacktestOrder(BITCOIN, models=("lightgbm",), horizons=(1,)))
