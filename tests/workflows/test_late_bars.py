"""Forecasts from late bars: where they count from, how wide they are, and that they still cover."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from cryptocast.choices import Granularity
from cryptocast.data.age import age_of
from cryptocast.data.schema import BAR_US, SeriesKey
from cryptocast.data.sources.table import SOURCES
from cryptocast.features.builder import with_features
from cryptocast.features.matrix import build_matrix
from cryptocast.market import Market
from cryptocast.models.base import Forecast
from cryptocast.models.baseline import BaselineLearner
from cryptocast.scoring.quantiles import interval_columns
from cryptocast.workflows.late_bars import both_ends, ended_notice, from_late_bars, late_notice
from tests.conftest import simulated_candles

DAY = BAR_US["daily"]
HORIZONS = (1, 7, 30)
LAST = datetime(2026, 1, 2, tzinfo=UTC)


def noticed(passed: timedelta, *horizons: int, source: str, granularity: Granularity = "daily") -> str | None:
    key = SeriesKey(Market(source, "usd", granularity), "bitcoin")
    is_fetched = SOURCES[source].is_fetched
    age = age_of(LAST, LAST + passed, granularity, is_fetched=is_fetched, late_after=2, longest=30)
    assert ended_notice(key, age, horizons) is None or late_notice(key, age) is None
    return ended_notice(key, age, horizons) or late_notice(key, age)


@pytest.mark.parametrize("source", ["file", "sample", "coingecko", "bitstamp"])
def test_a_series_that_ended_says_when_and_that_its_target_dates_have_passed(source: str) -> None:
    assert noticed(timedelta(days=40, hours=5), 1, 30, source=source) == (
        f"the daily bars of bitcoin from {SOURCES[source].title} end 2026-01-02, 40 days ago: "
        "horizons count from there, and all target dates have passed."
    )


@pytest.mark.parametrize("source", ["coingecko", "bitstamp"])
def test_a_series_that_is_late_says_where_its_horizons_count_from(source: str) -> None:
    late = noticed(timedelta(days=5, hours=5), 1, 30, source=source)
    assert late is not None
    assert late.startswith("5 bars are missing since the last one known: horizons count from 2026-01-07 00:00 UTC")


@pytest.mark.parametrize(
    ("passed", "horizons", "words"),
    [
        (timedelta(days=7), (1, 7, 30), "7 days ago: horizons count from there, and target dates up to 7 d ahead have"),
        (timedelta(days=7), (8, 30), "7 days ago: horizons count from there."),
        (timedelta(days=7), (1,), "and all target dates have passed."),
    ],
)
def test_only_target_dates_that_have_passed_are_said_to_have(
    passed: timedelta, horizons: tuple[int, ...], words: str
) -> None:
    said = noticed(passed, *horizons, source="file")
    assert said is not None
    assert words in said


def test_hours_are_told_in_hours_until_there_are_two_days_of_them() -> None:
    said = [noticed(timedelta(hours=hours), 1, source="file", granularity="hourly") for hours in (3, 4, 48)]
    assert said[0] is None
    assert "end 2026-01-02 00:00, 4 hours ago" in (said[1] or "")
    assert "2 days ago" in (said[2] or "")


def baseline(horizons: tuple[int, ...], *, bars: int = 900, seed: int = 3) -> Forecast:
    """Of every origin from the 400th on, by the history of all."""
    table = with_features(simulated_candles(("bitcoin",), bars, seed=seed), features=(), bar_us=DAY)
    matrix = build_matrix(table, (), horizons=horizons, bar_us=DAY)
    return BaselineLearner().fit(matrix).predict(matrix.rows(matrix.position >= 400))


def narrower(made: Forecast, share: float) -> Forecast:
    """A model that is surer of itself than the baseline."""
    return replace(made, values=made.values * share, volatility=made.volatility * share)


def test_without_a_model_it_is_the_baseline_of_so_many_more_bars() -> None:
    whole = baseline(both_ends(HORIZONS, 5))
    made = from_late_bars(None, whole, HORIZONS, 5)

    assert made.horizons.tolist() == list(HORIZONS)
    for column, horizon in enumerate(HORIZONS):
        far = whole.horizons.tolist().index(horizon + 5)
        np.testing.assert_array_equal(made.values[:, column], whole.values[:, far])
        np.testing.assert_array_equal(made.volatility[:, column], whole.volatility[:, far])


@pytest.mark.parametrize("late", [3, 7, 12, 40])
def test_a_model_is_widened_as_the_baseline_is_until_the_bars_are_older_than_the_horizon(late: int) -> None:
    whole = baseline(both_ends(HORIZONS, late))
    near = replace(
        whole,
        horizons=np.array(HORIZONS),
        values=whole.values[:, np.isin(whole.horizons, HORIZONS)],
        volatility=whole.volatility[:, np.isin(whole.horizons, HORIZONS)],
        p_up=whole.p_up[:, np.isin(whole.horizons, HORIZONS)],
    )
    model = narrower(near, 0.8)
    made = from_late_bars(model, whole, HORIZONS, late)
    alone = from_late_bars(None, whole, HORIZONS, late)

    assert (np.diff(made.values, axis=-1) >= 0).all()
    assert (made.values[:, :, len(made.levels) // 2] == 0.0).all()
    for column, horizon in enumerate(HORIZONS):
        share = 1.0 if late >= horizon else 0.8
        np.testing.assert_allclose(made.values[:, column], share * alone.values[:, column], rtol=1e-12)
        assert (made.volatility[:, column] >= model.volatility[:, column]).all()


def test_intervals_never_get_narrower_because_bars_are_missing() -> None:
    whole = baseline((7, 10))
    calm = replace(whole, values=np.stack([whole.values[:, 0], whole.values[:, 0] * 0.5], axis=1))
    model = replace(
        whole,
        horizons=np.array([7]),
        values=whole.values[:, :1],
        volatility=whole.volatility[:, :1],
        p_up=whole.p_up[:, :1],
    )
    np.testing.assert_allclose(from_late_bars(model, calm, (7,), 3).values, model.values)


def covered(made: Forecast, outcome: np.ndarray, percent: int) -> float:
    low, high = interval_columns(made.levels, percent)
    return float(np.mean((made.values[:, 0, low] <= outcome) & (outcome <= made.values[:, 0, high])))


def test_on_a_market_that_is_known_the_rule_keeps_the_coverage_and_nothing_else_does() -> None:
    horizon, late = 14, 10
    hits: dict[str, list[float]] = {"as it is": [], "by the rule": []}
    for seed in range(6):
        candles = simulated_candles(("bitcoin",), 2500, seed=seed, changing_volatility=False)
        table = with_features(candles, features=(), bar_us=DAY)
        matrix = build_matrix(table, (), horizons=both_ends((horizon,), late), bar_us=DAY)
        rows = matrix.rows((matrix.position >= 400) & np.isfinite(matrix.returns).all(axis=1))
        whole = BaselineLearner().fit(matrix).predict(rows)
        model = replace(
            whole,
            horizons=np.array([horizon]),
            values=whole.values[:, :1],
            volatility=whole.volatility[:, :1],
            p_up=whole.p_up[:, :1],
        )
        outcome = rows.returns[:, 1]
        hits["as it is"].append(covered(model, outcome, 80))
        hits["by the rule"].append(covered(from_late_bars(model, whole, (horizon,), late), outcome, 80))
    assert np.mean(hits["as it is"]) < 0.70
    assert np.mean(hits["by the rule"]) == pytest.approx(0.80, abs=0.03)
