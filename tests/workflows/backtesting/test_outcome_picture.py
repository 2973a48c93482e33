"""Forecasts and what came of them, as a picture."""

from datetime import UTC, datetime

import polars as pl
import pytest

from cryptocast.errors import UsageError
from cryptocast.workflows.backtesting.backtest import run_backtest
from cryptocast.workflows.backtesting.outcome_picture import MOST_ORIGINS, outcome_picture
from cryptocast.workflows.backtesting.report_pages import BacktestRun
from tests.workflows.backtesting.small_runs import WALK, changed, context


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> BacktestRun:
    order = changed(WALK, models=("baseline",), step=1, start=datetime(2018, 1, 1, tzinfo=UTC))
    return run_backtest(context(tmp_path_factory.mktemp("drawn")), order)


def test_the_last_origins_are_drawn_with_the_price_that_came(run: BacktestRun) -> None:
    picture = outcome_picture(run)
    (chart,) = picture.charts
    assert picture.title == "bitcoin: forecasts of baseline, 1 d ahead, and what came"
    rows = next(rows for rows in chart.plot.rows.values() if "lower95" in rows[0])
    assert len(rows) == MOST_ORIGINS < (run.outcome.judgement.rows.coin_names == "bitcoin").sum()
    came = run.predictions("nixtla").filter(pl.col("ds") == pl.col("cutoff").dt.offset_by("1d"), unique_id="bitcoin")[
        "y"
    ]
    assert [row["price"] for row in rows] == pytest.approx(came.tail(MOST_ORIGINS).to_list())


def test_a_diamond_is_drawn_for_each_price_outside_of_the_widest_band(run: BacktestRun) -> None:
    (chart,) = outcome_picture(run, coin="ethereum", horizon=7).charts
    rows = next(rows for rows in chart.plot.rows.values() if "lower95" in rows[0])
    outside = [row for row in rows if not row["lower95"] <= row["price"] <= row["upper95"]]
    assert outside
    assert outside in list(chart.plot.rows.values())


def test_what_was_not_forecast_cannot_be_drawn(run: BacktestRun) -> None:
    with pytest.raises(UsageError, match=r"no horizon 3. Choose among 1, 7"):
        outcome_picture(run, horizon=3)
    with pytest.raises(UsageError, match=r"no model 'mix'. Choose among baseline"):
        outcome_picture(run, model="mix")
