import math

import numpy as np
import pytest
from scipy import stats

from cryptocast.scoring.quantiles import LEVELS
from cryptocast.scoring.reliability import level_reliability, reliability


def test_a_small_case_comes_out_as_by_hand() -> None:
    probability = np.array([0.2, 0.2, 0.2, 0.2, 0.7, 0.7])
    outcome = np.array([False, False, False, True, True, False])
    result = reliability(probability, outcome, np.arange(6), k=1)
    assert [one.stated for one in result.bins] == pytest.approx([0.2, 0.7])
    assert [(one.observed, one.n) for one in result.bins] == [(0.25, 4), (0.5, 2)]
    assert result.brier == pytest.approx((3 * 0.04 + 0.64 + 0.09 + 0.49) / 6)


def test_overlap_and_coins_that_rise_together_widen_the_interval_of_a_bin() -> None:
    probability, outcome = np.full(90, 0.6), np.arange(90) % 2 == 0
    alone = reliability(probability, outcome, np.arange(90), k=1).bins[0]
    overlap = reliability(probability, outcome, np.arange(90), k=9).bins[0]
    together = reliability(probability, outcome, np.repeat(np.arange(10), 9), k=1).bins[0]
    assert alone.upper - alone.lower < overlap.upper - overlap.lower
    assert (overlap.lower, overlap.upper) == (together.lower, together.upper)


def test_edges_belong_to_a_bin() -> None:
    result = reliability(np.array([0.0, 0.1, 1.0]), np.array([False, True, True]), np.arange(3), k=1)
    assert [one.n for one in result.bins] == [1, 1, 1]


def test_nothing_is_none() -> None:
    empty = reliability(np.empty(0), np.empty(0, dtype=np.bool_), np.empty(0, dtype=np.int64), k=1)
    assert (empty.bins, empty.brier) == ((), None)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_what_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"outside|NaN"):
        reliability(np.array([p]), np.array([True]), np.array([1]), k=1)


def test_outcomes_must_be_true_or_false() -> None:
    with pytest.raises(ValueError, match="expected bool"):
        reliability(np.array([0.5]), np.array([1.0]), np.array([1]), k=1)


def test_the_levels_of_a_calibrated_forecast_hold() -> None:
    rng = np.random.default_rng(4)
    actual = rng.standard_normal(3_000)
    values = np.broadcast_to(stats.norm.ppf(LEVELS), (3_000, LEVELS.size))
    levels = level_reliability(actual, values, LEVELS, np.arange(3_000), k=1)
    assert [one.share for one in levels] == pytest.approx(LEVELS.tolist(), abs=0.03)
    assert all(abs(one.z) < 3.5 for one in levels)
    with pytest.raises(ValueError, match="expected"):
        level_reliability(actual, values[:, :3], LEVELS, np.arange(3_000), k=1)
