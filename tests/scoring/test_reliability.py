import math

import numpy as np
import pytest
from scipy import stats

from cryptocast.scoring.quantiles import LEVELS
from cryptocast.scoring.reliability import interval_reliability, level_reliability, reliability


def test_a_small_case_comes_out_as_by_hand() -> None:
    probability = np.array([0.2, 0.2, 0.2, 0.2, 0.7, 0.7])
    outcome = np.array([False, False, False, True, True, False])
    result = reliability(probability, outcome, np.arange(6), k=1)
    assert [one.stated for one in result.bins] == pytest.approx([0.2, 0.7])
    assert [(one.observed, one.n) for one in result.bins] == [(0.25, 4), (0.5, 2)]
    assert result.brier == pytest.approx((3 * 0.04 + 0.64 + 0.09 + 0.49) / 6)
    assert result.brier_skill == pytest.approx(1 - (3 * 0.04 + 0.64 + 0.09 + 0.49) / 6 / 0.25)
    assert result.miscalibration == pytest.approx((4 * 0.05 + 2 * 0.2) / 6)
    assert result.resolution == pytest.approx((4 * (0.25 - 1 / 3) ** 2 + 2 * (0.5 - 1 / 3) ** 2) / 6)


def test_the_brier_score_is_reliability_less_resolution_plus_uncertainty() -> None:
    # Murphy (1973), exact where all forecasts of a bin are equal.
    rng = np.random.default_rng(1)
    probability = rng.choice([0.05, 0.35, 0.55, 0.95], 500)
    outcome = rng.random(500) < probability**2
    result = reliability(probability, outcome, np.arange(500), k=1)
    wrong = sum(one.n * (one.stated - one.observed) ** 2 for one in result.bins) / 500
    share = outcome.mean()
    assert result.resolution is not None
    assert result.brier == pytest.approx(wrong - result.resolution + share * (1 - share))


def test_true_probabilities_are_rarely_rejected_and_boasts_are_found() -> None:
    rng = np.random.default_rng(2)
    honest, boast = list[bool](), list[bool]()
    for _ in range(300):
        probability = 0.5 + 0.2 * (rng.random(300) - 0.5)
        outcome = rng.random(300) < probability
        for stated, found in ((probability, honest), (0.5 + 8 * (probability - 0.5), boast)):
            test = reliability(np.clip(stated, 0, 1), outcome, np.arange(300), k=1).test
            assert test is not None
            assert test.p is not None
            found.append(test.p < 0.05)
    assert 0.015 < np.mean(honest) < 0.09
    assert np.mean(boast) > 0.95


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


def test_no_view_throughout_has_no_skill_and_no_test_of_slope() -> None:
    rng = np.random.default_rng(3)
    result = reliability(np.full(200, 0.5), rng.random(200) < 0.5, np.arange(200), k=1)
    assert (result.brier_skill, result.brier) == (0.0, 0.25)
    assert result.test is not None
    assert len(result.test.means) == 1


def test_nothing_is_none() -> None:
    empty = reliability(np.empty(0), np.empty(0, dtype=np.bool_), np.empty(0, dtype=np.int64), k=1)
    assert (empty.bins, empty.brier, empty.miscalibration, empty.test) == ((), None, None, None)
    assert reliability(np.array([0.5]), np.array([True]), np.array([1]), k=1).test is None


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_what_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"outside|NaN"):
        reliability(np.array([p]), np.array([True]), np.array([1]), k=1)


def test_outcomes_must_be_true_or_false() -> None:
    with pytest.raises(ValueError, match="expected bool"):
        reliability(np.array([0.5]), np.array([1.0]), np.array([1]), k=1)


def test_intervals_and_levels_of_a_calibrated_forecast_hold() -> None:
    rng = np.random.default_rng(4)
    actual = rng.standard_normal(3_000)
    values = np.broadcast_to(stats.norm.ppf(LEVELS), (3_000, LEVELS.size))
    intervals = interval_reliability(actual, values, LEVELS, np.arange(3_000), k=1)
    assert list(intervals) == [20, 40, 60, 80, 90, 95]
    assert all(abs(one.z) < 3.5 for one in intervals.values())
    levels = level_reliability(actual, values, LEVELS, np.arange(3_000), k=1)
    assert [one.share for one in levels] == pytest.approx(LEVELS.tolist(), abs=0.03)
    assert all(abs(one.z) < 3.5 for one in levels)
    with pytest.raises(ValueError, match="expected"):
        level_reliability(actual, values[:, :3], LEVELS, np.arange(3_000), k=1)
