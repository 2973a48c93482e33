import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cryptocast.scoring.sharpe_tests import (
    BarStatistics,
    bar_statistics,
    best_by_luck,
    deflated_sharpe,
    probabilistic_sharpe,
)

# Bailey and Lopez de Prado (2014), section "A numerical example".
PUBLISHED = BarStatistics(sharpe=2.5 / math.sqrt(250), n=1_250, skewness=-3.0, kurtosis=10.0)


def test_the_deflated_sharpe_ratio_has_its_published_value() -> None:
    assert deflated_sharpe(PUBLISHED, trials=100, variance=0.5 / 250) == pytest.approx(0.9004, abs=5e-5)
    # The same with excess kurtosis by mistake: 0.9018.
    assert best_by_luck(100, 0.5 / 250) == pytest.approx(0.1132, abs=5e-5)


def test_a_gaussian_series_has_the_error_of_lo() -> None:
    statistics = BarStatistics(sharpe=0.1, n=401, skewness=0.0, kurtosis=3.0)
    expected = stats.norm.cdf(0.1 * 20 / math.sqrt(1 + 0.1**2 / 2))
    assert probabilistic_sharpe(statistics) == pytest.approx(expected)


def test_the_moments_are_those_of_scipy() -> None:
    returns = np.random.default_rng(1).standard_t(4, 500)
    found = bar_statistics(returns)
    assert found is not None
    assert found.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1))
    assert found.skewness == pytest.approx(stats.skew(returns))
    assert found.kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False))
    assert found.n == 500


def test_the_best_of_many_noisy_records_is_what_luck_predicts() -> None:
    rng = np.random.default_rng(2)
    best = (rng.standard_normal((2_000, 200)) * 0.3).max(axis=1).mean()
    assert best_by_luck(200, 0.09) == pytest.approx(best, rel=0.02)


@given(st.floats(1, 1e6), st.floats(1, 1e6), st.floats(0, 1))
def test_more_trials_never_lower_the_bar(one: float, other: float, variance: float) -> None:
    few, many = sorted((one, other))
    assert 0.0 <= best_by_luck(few, variance) <= best_by_luck(many, variance)


def test_one_trial_is_not_deflated() -> None:
    assert deflated_sharpe(PUBLISHED, trials=1, variance=0.5) == probabilistic_sharpe(PUBLISHED)


def test_what_is_undefined_is_none() -> None:
    assert bar_statistics(np.ones(10)) is None
    assert bar_statistics(np.array([0.1])) is None
    assert probabilistic_sharpe(BarStatistics(1.0, 1, 0.0, 3.0)) is None
    assert probabilistic_sharpe(BarStatistics(1.0, 10, 2.0, 5.0)) is None


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="trials"):
        best_by_luck(0.5, 1.0)
    with pytest.raises(ValueError, match="trials"):
        best_by_luck(5, -1.0)
    with pytest.raises(ValueError, match="finite"):
        bar_statistics(np.array([0.1, math.nan]))
