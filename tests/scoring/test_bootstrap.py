import math
import warnings

import numpy as np
import pytest
from arch.bootstrap import StationaryBootstrap
from arch.bootstrap import optimal_block_length as arch_block_length

from cryptocast.arrays import FloatArray
from cryptocast.scoring.bootstrap import (
    bootstrap_sharpe,
    bootstrap_sharpe_difference,
    optimal_block_length,
    stationary_indices,
    stationary_indices_from,
)
from cryptocast.scoring.returns import sharpe


def autoregression(rng: np.random.Generator, n: int, memory: float) -> FloatArray:
    x = rng.standard_normal(n)
    for t in range(1, n):
        x[t] += memory * x[t - 1]
    return x


def test_the_same_random_numbers_give_the_rows_of_arch() -> None:
    ours = np.random.default_rng(5)
    resampler = StationaryBootstrap(7, np.arange(100), seed=np.random.default_rng(5))
    for _ in range(20):
        starts = ours.integers(0, 100, 100)
        row = stationary_indices_from(starts, ours.random(100), 7.0)
        np.testing.assert_array_equal(row, resampler.update_indices())


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.95, -0.6])
@pytest.mark.parametrize("n", [20, 200, 3_000])
def test_the_block_length_equals_that_of_arch(n: int, memory: float) -> None:
    x = autoregression(np.random.default_rng(n), n, memory)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = arch_block_length(x).iloc[0]
    ours = optimal_block_length(x)
    assert ours == pytest.approx((max(1.0, expected["stationary"]), max(1.0, expected["circular"])), rel=1e-10)


def test_a_constant_series_needs_no_blocks() -> None:
    assert optimal_block_length(np.ones(30)) == (1.0, 1.0)


def test_stationary_blocks_have_the_mean_length_and_every_bar_the_same_chance() -> None:
    rows = stationary_indices(50, 5.0, 4_000, np.random.default_rng(1))
    continued = ((np.diff(rows, axis=1) - 1) % 50 == 0).mean()
    assert continued == pytest.approx(0.8 + 0.2 / 50, abs=0.005)
    assert np.bincount(rows.ravel(), minlength=50) / rows.size == pytest.approx(0.02, abs=0.001)
    alone = stationary_indices(50, 1.0, 200, np.random.default_rng(1))
    assert ((np.diff(alone, axis=1) - 1) % 50 == 0).mean() == pytest.approx(0.02, abs=0.01)


@pytest.mark.slow
def test_the_interval_of_a_sharpe_ratio_covers_the_truth_under_clustered_volatility() -> None:
    rng = np.random.default_rng(3)
    inside = differs = 0
    for _ in range(400):
        level = 0.15 * autoregression(rng, 500, 0.95)
        a, b = np.exp(level) * rng.standard_normal(500), np.exp(level) * rng.standard_normal(500)
        rows = stationary_indices(500, 10.0, 400, rng)
        result = bootstrap_sharpe(a, rows, 365)
        assert result.lower is not None
        assert result.upper is not None
        inside += result.lower <= 0.0 <= result.upper
        difference = bootstrap_sharpe_difference(a, b, rows, 365)
        assert difference.p is not None
        differs += difference.p < 0.05
    assert 0.91 < inside / 400 < 0.98
    assert 0.02 < differs / 400 < 0.09


def test_a_sharpe_ratio_is_resampled_as_a_slow_loop_does() -> None:
    rng = np.random.default_rng(4)
    a, b = 0.01 * rng.standard_normal((2, 120)) + 0.001
    rows = stationary_indices(120, 6.0, 99, rng)
    drawn = np.array([sharpe(a[row], 365) for row in rows], dtype=np.float64)
    against = drawn - np.array([sharpe(b[row], 365) for row in rows], dtype=np.float64)
    result, difference = bootstrap_sharpe(a, rows, 365), bootstrap_sharpe_difference(a, b, rows, 365)
    for found, replicates, estimate in (
        (result, drawn, sharpe(a, 365)),
        (difference, against, (sharpe(a, 365) or 0) - (sharpe(b, 365) or 0)),
    ):
        assert estimate is not None
        stray = np.abs(replicates - estimate)
        assert found.estimate == pytest.approx(estimate)
        assert found.se == pytest.approx(replicates.std(ddof=1))
        assert found.upper == pytest.approx(estimate + np.quantile(stray, 0.95))
        assert found.p == pytest.approx((1 + (stray >= abs(estimate)).sum()) / 100)


def test_a_strategy_and_itself_do_not_differ() -> None:
    rng = np.random.default_rng(6)
    returns = rng.standard_normal(60)
    result = bootstrap_sharpe_difference(returns, returns, stationary_indices(60, 4.0, 200, rng), 365)
    assert (result.estimate, result.se, result.lower, result.upper, result.p) == (0.0, 0.0, 0.0, 0.0, 1.0)


def test_what_never_varies_has_no_ratio_and_counts_as_zero_in_a_difference() -> None:
    rng = np.random.default_rng(7)
    rows, returns = stationary_indices(60, 4.0, 200, rng), rng.standard_normal(60)
    assert bootstrap_sharpe(np.zeros(60), rows, 365).lower is None
    assert bootstrap_sharpe_difference(np.zeros(60), np.ones(60), rows, 365).estimate is None
    assert bootstrap_sharpe_difference(returns, np.zeros(60), rows, 365) == bootstrap_sharpe(returns, rows, 365)


def test_resamples_that_never_vary_are_left_out() -> None:
    returns = np.zeros(6)
    returns[0] = 0.1
    result = bootstrap_sharpe(returns, stationary_indices(6, 1.0, 500, np.random.default_rng(8)), 365)
    assert result.se is not None
    assert math.isfinite(result.se)


def test_impossible_arguments_are_refused() -> None:
    rng = np.random.default_rng(9)
    for n, block, draws in ((0, 1, 1), (5, 0, 1), (5, 1, 0)):
        with pytest.raises(ValueError, match="1 or more"):
            stationary_indices(n, block, draws, rng)
    with pytest.raises(ValueError, match="finite"):
        bootstrap_sharpe(np.array([math.nan, 1.0]), np.zeros((2, 2), dtype=np.int64), 365)
    with pytest.raises(ValueError, match="alpha"):
        bootstrap_sharpe(np.ones(2), np.zeros((2, 2), dtype=np.int64), 365, alpha=0.0)
    with pytest.raises(ValueError, match="16"):
        optimal_block_length(np.ones(9))
