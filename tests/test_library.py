"""The calls of a notebook."""

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from utilsforecast.evaluation import evaluate
from utilsforecast.losses import coverage, mae, quantile_loss

import cryptocast as cc
from cryptocast.config import TrainConfig
from cryptocast.errors import NotInstalledError, UsageError
from cryptocast.evaluation.report import Picture
from cryptocast.library import BacktestResult, ForecastResult, backtest, forecast
from cryptocast.workflows.backtesting.backtest import BacktestOrder
from cryptocast.workflows.context import NoProgress, Selection
from cryptocast.workflows.forecast import Request
from cryptocast.workflows.reports import CoinError, ForecastDocument
from tests.cli.test_fan import forecast_of
from tests.workflows.backtesting.small_runs import context

ORDER = BacktestOrder(
    Selection(("bitcoin", "ethereum")),
    walk_forward=True,
    models=("baseline",),
    horizons=(1, 7),
    start=datetime(2019, 6, 1, tzinfo=UTC),
)
FORECAST = ForecastResult(
    ForecastDocument(forecasts=(forecast_of(8710.15),), errors=(CoinError(coin="<b>", error="no & none"),)),
    {"bitcoin": [(datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=day), 8700.0) for day in range(2)]},
)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> BacktestResult:
    return backtest(context(tmp_path_factory.mktemp("library")), ORDER)


def test_predictions_in_both_layouts_are_the_same_numbers(result: BacktestResult) -> None:
    plain, long = result.to_polars(), result.to_polars("nixtla")
    names = [f"{model}{part}" for model in ("baseline", "rw_empirical", "rw_gaussian") for part in PARTS]
    assert long.columns == ["unique_id", "cutoff", "ds", "y", *names]
    assert plain["level"].n_unique() * 3 * len(long) == len(plain)
    assert (long["ds"].dtype, long["cutoff"].dtype) == (pl.Datetime("us"), pl.Datetime("us"))
    one = plain.filter(pl.col("model") == "rw_empirical").sort("coin", "issued_at", "target_time", "level")
    day = timedelta(days=1)
    for level, part in ((0.1, "-lo-80"), (0.5, ""), (0.9, "-hi-80"), (0.975, "-hi-95")):
        column = one.filter(pl.col("level").sub(level).abs() < 1e-9)
        np.testing.assert_allclose(long[f"rw_empirical{part}"], column["value"], rtol=1e-12)
    assert long["y"].equals(column["outcome"], null_equal=True)
    assert (long["ds"] == column["target_time"].dt.replace_time_zone(None) - day).all()
    assert (long["cutoff"] == column["issued_at"].dt.replace_time_zone(None) - day).all()


PARTS = ("", "-lo-80", "-hi-80", "-lo-95", "-hi-95")


def test_the_metrics_of_utilsforecast_run_on_predictions_in_polars_and_in_pandas(result: BacktestResult) -> None:
    quantiles = result.to_polars().filter(pl.col("model") == "baseline")
    wide = quantiles.pivot("level", index=["coin", "issued_at", "horizon", "outcome"], values="value")
    inside = wide["outcome"].is_between(wide["0.1"], wide["0.9"]).mean()
    for frame in (result.to_polars("nixtla"), result.to_pandas("nixtla")):
        losses = evaluate(frame, metrics=[mae, coverage], models=["baseline"], level=[80])  # a row for each origin
        held = pl.DataFrame(losses).filter(pl.col("metric") == "coverage_level80")["baseline"].mean()
        assert held == pytest.approx(inside, abs=1e-12)
        pinball = quantile_loss(frame, models={"baseline": "baseline-lo-80"}, q=0.1)
        assert float(pinball["baseline"][0]) > 0.0
    assert isinstance(result.to_pandas(), pd.DataFrame)
    assert isinstance(result.to_pandas("nixtla")["ds"].iloc[0], pd.Timestamp)


def test_a_long_frame_that_goes_in_and_forecasts_that_come_out_have_one_calendar(tmp_path: Path) -> None:
    bars = cc.load_sample("bitcoin").frame.tail(400)
    frame = pd.DataFrame(
        {
            "unique_id": "bitcoin",
            "ds": (bars["close_time"].dt.replace_time_zone(None) - timedelta(days=1)).to_numpy(),
            "y": bars["close"].to_numpy(),
        }
    )
    used = context(tmp_path)
    (row,) = cc.fetch(used, cc.FetchOrder(frame=frame)).coins
    assert (row.rows, row.source) == (400, "file")
    request = Request(Selection(("bitcoin",), source="file"), horizons=(1, 2, 3), intervals=(80,))
    ahead = forecast(used, request).to_pandas("nixtla")
    assert list(ahead.columns) == ["unique_id", "ds", "auto", "auto-lo-80", "auto-hi-80"]
    last = frame["ds"].iloc[-1]
    # By the wall clock of the test the bars are years old: the horizons count from the bar that should be there.
    assert (ahead["ds"].diff().dropna() == pd.Timedelta(days=1)).all()
    assert ahead["ds"].iloc[0] > last


def test_every_coin_of_the_store_can_be_named_and_forecast_with_progress(tmp_path: Path) -> None:
    used, steps = context(tmp_path), list[cc.ProgressStep]()
    bars = cc.load_sample("bitcoin").frame.tail(300).select(unique_id="coin", ds="close_time", y="close")
    cc.fetch(used, cc.FetchOrder(frame=bars))
    chosen = Selection(source="file")
    assert cc.every_coin(used, chosen) == ("bitcoin",)
    order = cc.AllOrder(Request(chosen, horizons=(1, 7)), tmp_path / "all", engine=cc.Engine())
    report = cc.forecast_all(used, order, progress=steps.append)
    assert (report.coins, report.errors) == (1, ())
    assert pl.read_parquet(tmp_path / "all" / "*.parquet")["horizon"].to_list() == [1, 7]
    assert [(step.task, step.done, step.total) for step in steps][-1] == ("forecasts", 1, 1)
    with pytest.raises(UsageError, match="is there already"):
        cc.pretrain(used, cc.PretrainOrder(chosen, _taken(tmp_path / "model.zip")))


def _taken(path: Path) -> Path:
    path.touch()
    return path


def test_a_forecast_is_a_table_a_picture_and_a_view(tmp_path: Path) -> None:
    assert FORECAST.to_polars()["horizon"].to_list() == [1, 7, 30]
    assert FORECAST.to_pandas()["coin"].tolist() == ["bitcoin"] * 3
    picture = FORECAST.plot(str(tmp_path / "fan.svg"))
    assert (tmp_path / "fan.svg").read_text() == picture.svg()
    assert repr(FORECAST) == "<forecast of bitcoin>"
    view = FORECAST._repr_html_()
    assert view.count("<tr>") == 4
    assert "8,710" in view
    assert "<svg" in view
    assert "&lt;b&gt;: no &amp; none" in view
    with pytest.raises(UsageError, match=r"\.png"):
        FORECAST.plot(tmp_path / "fan.gif")
    assert "no &amp; none" in ForecastResult(ForecastDocument(forecasts=(), errors=FORECAST.errors), {})._repr_html_()


def test_a_backtest_draws_what_came_and_names_the_choices_of_what_it_has_not(result: BacktestResult) -> None:
    picture = result.plot(coin="ethereum", horizon=7, model="rw_empirical")
    assert isinstance(picture, Picture)
    assert picture.title == "ethereum: forecasts of rw_empirical, 7 d ahead, and what came"
    assert repr(result) == f"<walk-forward {result.report.run} of bitcoin, ethereum>"
    view = result._repr_html_()
    assert f"<b>Walk-forward {result.report.run}</b>" in view
    assert "bitcoin: forecasts of baseline, 1 d ahead" in view
    choices: dict[str, Any] = {"coin": "dogecoin", "horizon": 3, "model": "mix"}
    for name, value in choices.items():
        with pytest.raises(UsageError, match=f"no {name} {value!r}. Choose among"):
            result.plot(**{name: value})


def test_without_pandas_a_plain_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NotInstalledError, match="pip install pandas"):
        FORECAST.to_pandas()


def test_a_call_takes_a_function_that_hears_of_each_step_with_the_time_left(tmp_path: Path) -> None:
    steps: list[cc.ProgressStep] = []
    backtest(context(tmp_path), ORDER, progress=steps.append)
    walk = [step for step in steps if step.task == "walking forward"]
    assert [step.done for step in walk] == list(range(walk[0].total + 1))
    assert walk[0].seconds_left is None
    assert all(step.seconds_left is not None and step.seconds_left >= 0.0 for step in walk[1:])
    assert walk[-1].seconds_left == 0.0
    assert re.match(r"calibration \d{4}-", walk[1].note)
    assert re.match(r"refit \d{4}-", walk[-1].note)


def test_every_phase_ends_with_as_many_steps_as_it_began_with_and_kept_refits_are_none(tmp_path: Path) -> None:
    used, steps = context(tmp_path, train=TrainConfig(blocks=2, threads=1)), list[cc.ProgressStep]()
    bitcoin = Selection(("bitcoin",))
    cc.train(used, cc.Order(bitcoin, model="lightgbm", horizons=(1, 7)), progress=steps.append)
    cc.backtest(used, BacktestOrder(bitcoin, models=("baseline", "lightgbm"), horizons=(1, 7)), progress=steps.append)
    counts = [(step.task, step.total) for step in steps if step.done == 0 and not step.note]
    ends = [(step.task, step.done) for step in steps if step.done == step.total and step.seconds_left == 0.0]
    assert counts == [("features", 1), ("audit", 9), ("training lightgbm", 4), *TAIL]
    assert list(dict.fromkeys(ends)) == list(dict.fromkeys(counts))
    assert {step.note for step in steps if step.task == "training lightgbm"} >= {"lightgbm, 7 bars ahead", "lightgbm"}
    backtest(used, ORDER)
    steps.clear()
    backtest(used, ORDER, progress=steps.append)
    assert [(step.done, step.total) for step in steps if step.task == "walking forward"] == [(0, 0)]


TAIL = [("features", 1), ("fitting lightgbm", 4), ("scoring", 2)]


def test_a_call_takes_an_object_with_begin_step_and_end(tmp_path: Path) -> None:
    class Tasks(NoProgress):
        def __init__(self) -> None:
            self.tasks: list[str] = []

        def begin(self, task: str, total: int) -> None:
            self.tasks.append(task)

    one, other = Tasks(), Tasks()
    used = context(tmp_path, one)
    backtest(used, ORDER)
    backtest(used, ORDER, progress=other)
    assert one.tasks == other.tasks
    assert "walking forward" in one.tasks


def test_importing_the_package_loads_no_library_of_frames_or_charts() -> None:
    code = "import sys, cryptocast; print(sorted({'polars', 'altair', 'pandas', 'numpy'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert shown.stdout.strip() == "[]", shown.stderr


LIBRARY = (Path(__file__).resolve().parents[1] / "docs" / "library.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", LIBRARY, re.DOTALL)


def test_twenty_lines_of_the_description_get_predictions_with_outcomes_into_both_frames_and_draw_them(
    tmp_path: Path,
) -> None:
    script, metrics = BLOCKS[0], BLOCKS[1]
    assert len(script.splitlines()) <= 20
    shown = subprocess.run(
        [sys.executable, "-c", script + metrics], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert shown.returncode == 0, shown.stderr
    assert "'outcome'" in shown.stdout
    assert "auto-lo-80" in shown.stdout
    assert "coverage_level80" in shown.stdout
    assert (tmp_path / "past.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "fan.html").read_text().startswith("<!doctype html>")


def test_the_columns_of_the_description_are_those_of_the_tables(result: BacktestResult) -> None:
    plain, nixtla = (
        set(re.findall(r"`([\w-]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", part, re.MULTILINE))))
        for part in LIBRARY.partition("## Layouts")[2].split("`nixtla` is the long form")
    )
    assert plain <= set(FORECAST.to_polars().columns)
    assert {"coin", "lower_80", "p_up"} <= plain
    columns = {name.replace("MODEL", "baseline") for name in nixtla}
    assert {"unique_id", "baseline-lo-80"} <= columns <= set(result.to_polars("nixtla").columns)
