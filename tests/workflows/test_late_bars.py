"""Forecasts from late bars: where they count from, how wide they are, and that they still cover."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from cryptocast.data.candle_checks import candles_of
from cryptocast.data.schema import BAR_US, SeriesKey
from cryptocast.features.builder import with_features
from cryptocast.features.matrix import build_matrix
from cryptocast.market import Market
from cryptocast.models.base import Forecast
from cryptocast.models.baseline import BaselineLearner
from cryptocast.scoring.quantiles import interval_columns
from cryptocast.workflows.late_bars import bars_late, both_ends, from_late_bars
from cryptocast.workflows.market_data.resolve import CoinCandles
from tests.conftest import simulated_candles

DAY = BAR_US["daily"]
HORIZONS = (1, 7, 30)


def bars(late: timedelta, *, stale: bool = True) -> CoinCandles:
    frame = simulated_candles(("bitcoin",), 60)
    last = frame["close_time"][-1]
    candles = candles_of(frame, SeriesKey(Market("coingecko", "usd", "daily"), "bitcoin"), fetched_at=last)
    return CoinCandles(candles, now=last + late, stale=stale)


@pytest.mark.parametrize(
    ("late", "stale", "expected"),
    [
        (timedelta(hours=23), False, 0),
        (timedelta(days=2, hours=23), True, 0),
        (timedelta(days=3, minutes=1), True, 3),
        (timedelta(days=9, hours=12), True, 9),
        (timedelta(days=9), False, 0),  # bars whose clock stands are never late
    ],
)
def test_bars_are_late_once_more_than_two_should_have_closed(late: timedelta, stale: bool, expected: int) -> None:
    assert bars_late(bars(late, stale=stale), bar_us=DAY, stale_bars=2) == expected


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
