import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cryptocast.arrays import FloatArray
from cryptocast.scoring.pit import pit, pit_cells, pit_histogram, pit_uniformity
from cryptocast.scoring.quantiles import LEVELS

NORMAL = stats.norm.ppf(LEVELS)


def overlapping(rng: np.random.Generator, n: int, k: int) -> FloatArray:
    total = np.concatenate(([0.0], rng.standard_normal(n + k - 1).cumsum()))
    difference: FloatArray = (total[k:] - total[:-k]) / math.sqrt(k)
    return difference


def levels_of(actual: FloatArray, quantiles: FloatArray = NORMAL) -> tuple[FloatArray, FloatArray]:
    return pit_cells(actual, np.broadcast_to(quantiles, (actual.size, quantiles.size)), LEVELS)


def test_outcomes_are_placed_between_the_levels_that_enclose_them() -> None:
    values, levels = np.array([[1.0, 2.0, 4.0]] * 4), np.array([0.1, 0.5, 0.9])
    actual = np.array([0.0, 1.5, 3.0, 9.0])
    low, high = pit_cells(actual, values, levels)
    assert low.tolist() == [0.0, 0.1, 0.5, 0.9]
    assert high.tolist() == [0.1, 0.5, 0.9, 1.0]
    assert pit(actual, values, levels).tolist() == pytest.approx([0.05, 0.3, 0.7, 0.95])


def test_an_outcome_on_a_quantile_stands_for_all_that_it_touches() -> None:
    values, levels = np.array([[0.0, 0.0, 4.0]]), np.array([0.1, 0.5, 0.9])
    low, high = pit_cells(np.array([0.0]), values, levels)
    assert (low[0], high[0]) == (0.0, 0.9)
    low, high = pit_cells(np.array([4.0]), values, levels)
    assert (low[0], high[0]) == (0.5, 1.0)


def test_the_randomised_levels_of_a_calibrated_forecast_are_uniform_and_in_their_cell() -> None:
    rng = np.random.default_rng(1)
    actual = rng.standard_normal(4_000)
    values = np.broadcast_to(NORMAL, (actual.size, NORMAL.size))
    drawn = pit(actual, values, LEVELS, rng)
    low, high = levels_of(actual)
    assert ((low <= drawn) & (drawn <= high)).all()
    assert stats.kstest(drawn, "uniform").pvalue > 0.01
    # Inside, interpolation is close to the truth.
    inside = (low > 0) & (high < 1)
    truth = stats.norm.cdf(actual)
    assert np.abs(pit(actual, values, LEVELS) - truth)[inside].max() < 0.01


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(1, 20))
def test_the_histogram_is_a_distribution(actual: list[float], bins: int) -> None:
    shares = pit_histogram(*levels_of(np.array(actual)), bins)
    assert shares.sum() == pytest.approx(1.0)
    assert (shares >= 0.0).all()


def test_the_histogram_of_cells_that_each_hold_their_share_is_flat() -> None:
    edges = np.concatenate(([0.0], LEVELS, [1.0]))
    counts = np.round(np.diff(edges) * 1_000).astype(int)
    low, high = np.repeat(edges[:-1], counts), np.repeat(edges[1:], counts)
    np.testing.assert_allclose(pit_histogram(low, high, 10), 0.1)


@pytest.mark.parametrize("k", [1, 7])
def test_calibrated_overlapping_forecasts_are_rarely_rejected(k: int) -> None:
    rng = np.random.default_rng(10 + k)
    n, found = 400, []
    for _ in range(500):
        result = pit_uniformity(*levels_of(overlapping(rng, n, k)), np.arange(n), k=k)
        found.append([result.uniform.p, result.level_memory.p, result.spread_memory.p])
    shares = (np.array(found, dtype=np.float64) < 0.05).mean(axis=0)
    assert (shares < 0.095).all()
    assert (shares > 0.015).all()


@pytest.mark.parametrize(("scale", "shift", "bias", "spread"), [(0.7, 0.0, 0, 1), (1.5, 0.0, 0, -1), (1.0, -0.4, 1, 0)])
def test_wrong_widths_and_wrong_middles_are_found_and_named(scale: float, shift: float, bias: int, spread: int) -> None:
    rng, n = np.random.default_rng(20), 3_000
    result = pit_uniformity(*levels_of(overlapping(rng, n, 7), scale * NORMAL + shift), np.arange(n), k=7)
    assert result.uniform.p is not None
    assert result.uniform.p < 0.01
    assert (bias == 0) == (abs(result.bias) < 0.1)
    assert bias * result.bias >= 0
    assert (spread == 0) or spread * result.spread > 0.05


def test_forecasts_that_miss_changes_of_volatility_or_direction_have_memory() -> None:
    rng = np.random.default_rng(30)
    n = 1_200
    wild = np.repeat(rng.random(n // 60) < 0.5, 60)
    volatile = rng.standard_normal(n) * np.where(wild, 1.6, 0.5)
    result = pit_uniformity(*levels_of(volatile), np.arange(n), k=1)
    assert result.spread_memory.p is not None
    assert result.spread_memory.p < 0.01
    trending = 0.6 * np.repeat(rng.standard_normal(n // 20), 20) + 0.8 * rng.standard_normal(n)
    result = pit_uniformity(*levels_of(trending), np.arange(n), k=1)
    assert result.level_memory.p is not None
    assert result.level_memory.p < 0.01


def test_coins_that_move_as_one_are_no_more_evidence_than_one() -> None:
    low, high = levels_of(np.random.default_rng(40).standard_normal(200) + 0.1)
    one = pit_uniformity(low, high, np.arange(200), k=1)
    five = pit_uniformity(np.tile(low, 5), np.tile(high, 5), np.tile(np.arange(200), 5), k=1)
    assert five.uniform.p == pytest.approx(one.uniform.p)


def test_few_dates_are_tested_for_less_or_not_at_all() -> None:
    rng = np.random.default_rng(50)
    middling, few = (pit_uniformity(*levels_of(rng.standard_normal(n)), np.arange(n), k=1) for n in (25, 5))
    assert len(middling.uniform.means) == 2
    assert middling.uniform.p is not None
    assert few.uniform.p is None
    assert pit_uniformity(*levels_of(rng.standard_normal(2)), np.arange(2), k=3).level_memory.p is None


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        pit(np.zeros(2), np.zeros((2, 3)), LEVELS)
    with pytest.raises(ValueError, match="NaN"):
        pit(np.array([math.nan]), NORMAL[None, :], LEVELS)
    with pytest.raises(ValueError, match="1 or more"):
        pit_histogram(np.empty(0), np.empty(0), 10)
    with pytest.raises(ValueError, match="1 or more"):
        pit_uniformity(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64), k=1)
