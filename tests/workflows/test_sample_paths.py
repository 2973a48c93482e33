"""Paths of forecasts that were made: what they are drawn from, and what is said of them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cryptocast.errors import UsageError
from cryptocast.models.sample_paths import touch_probabilities
from cryptocast.serving.encoding import encode
from cryptocast.workflows.context import Selection
from cryptocast.workflows.forecast import Request, forecast
from cryptocast.workflows.reports import PositionRisk, Touch
from cryptocast.workflows.sample_paths import PathOrder, distribution, only_for, sample_paths, with_every_bar
from tests.workflows.backtesting.small_runs import context

BITCOIN = Request(Selection(("bitcoin",)), "baseline", (5, 20), (80,))
BOTH = Request(Selection(("bitcoin", "ethereum")), "baseline", (5, 20), (80,))


def test_the_forecast_beside_the_paths_is_the_one_without_them(tmp_path: Path) -> None:
    own = context(tmp_path)
    report = sample_paths(own, PathOrder(request=BOTH, paths=100))
    # exp() differs in the last bit by length, and an answer has 8 digits.
    assert encode(report.document) == encode(forecast(own, BOTH))
    assert report.paths.log_returns.shape == (100, 20, 2)


def test_at_its_horizons_the_paths_are_the_forecasts_intervals(tmp_path: Path) -> None:
    report = sample_paths(context(tmp_path), PathOrder(request=BOTH, paths=4000))
    prices = report.paths.prices()
    for number, one in enumerate(report.document.forecasts):
        for row in one.horizons:
            found = np.quantile(prices[:, row.horizon - 1, number], [0.1, 0.5, 0.9])
            (interval,) = row.intervals
            assert found == pytest.approx([interval.lower, row.median, interval.upper], rel=1e-3)


def test_between_its_horizons_those_of_the_settings_are_used_too() -> None:
    own = context(Path())
    assert with_every_bar(BITCOIN, own.config).horizons == (1, 5, 7, 14, 20)
    assert with_every_bar(Request(), own.config).horizons == (1, 7, 14, 30)


def test_the_distribution_of_a_forecast_gives_its_prices_back(tmp_path: Path) -> None:
    own = context(tmp_path)
    (one,) = forecast(own, with_every_bar(BITCOIN, own.config)).forecasts
    prices = distribution(one).prices()[0]
    assert prices[:, 6] == pytest.approx([row.median for row in one.horizons])
    assert prices[:, 0] == pytest.approx([row.intervals[-1].lower for row in one.horizons])
    assert prices[:, -1] == pytest.approx([row.intervals[-1].upper for row in one.horizons])
    shown = only_for(one, BITCOIN, own.config)
    assert [(row.horizon, len(row.intervals)) for row in shown.horizons] == [(5, 1), (20, 1)]


def test_a_touch_is_said_at_each_horizon_with_its_question(tmp_path: Path) -> None:
    order = PathOrder(request=BITCOIN, touch=9500.0, paths=500, seed=3, touch_on="close")
    report = sample_paths(context(tmp_path), order)
    (one,) = report.document.forecasts
    assert one.touch == Touch(price=9500.0, on="close", paths=500, seed=3)
    expected = touch_probabilities(report.paths, 0, 9500.0, "close")
    assert [row.touch for row in one.horizons] == [expected[4], expected[19]]


def test_the_table_has_every_price_at_its_time(tmp_path: Path) -> None:
    report = sample_paths(context(tmp_path), PathOrder(request=BOTH, paths=100))
    table, prices = report.to_polars(), report.paths.prices()
    assert table.height == 2 * 100 * 20
    row = table.filter((pl.col("coin") == "ethereum") & (pl.col("path") == 17) & (pl.col("bar") == 5))
    assert row["price"].item() == prices[16, 4, 1]
    assert row["target_time"].item() == report.document.forecasts[1].horizons[0].target_time


def test_a_hedge_loses_less_than_its_parts(tmp_path: Path) -> None:
    own = context(tmp_path)

    def shortfall(*amounts: float) -> float:
        report = sample_paths(own, PathOrder(request=BOTH, position=amounts))
        assert isinstance(report.document.risk, PositionRisk)
        assert all(one.expected_shortfall >= one.value_at_risk for one in report.document.risk.horizons)
        return report.document.risk.horizons[0].expected_shortfall

    together, hedged = shortfall(1.0, 50.0), shortfall(1.0, -50.0)
    alone = shortfall(1.0, 0.0) + shortfall(0.0, 50.0)
    assert hedged < 0.7 * together
    assert together < alone


def test_an_order_that_is_too_large_is_refused_before_it_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="20,000,000 prices of paths, bars and coins: at most 10,000,000"):
        sample_paths(
            context(tmp_path), PathOrder(request=Request(BITCOIN.selection, "baseline", (200,)), paths=100_000)
        )
