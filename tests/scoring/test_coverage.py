import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.scoring.coverage import after_shocks, coverage, coverage_by, terciles, wilson


def test_without_clusters_or_overlap_it_is_the_textbook_standard_error() -> None:
    hits = np.arange(100) % 5 != 0
    result = coverage(hits, np.arange(100), nominal=0.95, k=1)
    assert (result.share, result.n, result.dates, result.k) == (0.8, 100, 100, 1)
    assert result.se == pytest.approx(math.sqrt(0.8 * 0.2 / 99))
    assert result.z == pytest.approx((0.8 - 0.95) / result.se)


def test_with_clusters_it_is_the_sandwich_of_a_slow_loop() -> None:
    # Cluster-robust variance of a mean: G / (G - 1) times the squares of the clusters' residual sums, over n squared.
    rng = np.random.default_rng(1)
    dates = rng.integers(0, 30, 200)
    hits = rng.random(200) < 0.6 + 0.3 * (dates % 2)
    sums = [sum(hits[i] - hits.mean() for i in range(200) if dates[i] == date) for date in set(dates.tolist())]
    expected = math.sqrt(len(sums) / (len(sums) - 1) * sum(s * s for s in sums)) / 200
    assert coverage(hits, dates, nominal=0.8, k=1).se == pytest.approx(expected, rel=1e-9)


def test_coins_that_hit_and_miss_together_count_once() -> None:
    hits = np.random.default_rng(2).random(80) < 0.8
    one = coverage(hits, np.arange(80), nominal=0.8, k=3)
    twelve = coverage(np.tile(hits, 12), np.tile(np.arange(80), 12), nominal=0.8, k=3)
    assert twelve.se == pytest.approx(one.se)
    assert twelve.z == pytest.approx(one.z)
    assert (twelve.n, twelve.dates) == (960, 80)


def test_the_order_of_the_rows_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    hits, dates = rng.random(90) < 0.7, np.repeat(np.arange(45), 2)
    order = rng.permutation(90)
    shuffled = coverage(hits[order], dates[order], nominal=0.8, k=5)
    assert shuffled.se == pytest.approx(coverage(hits, dates, nominal=0.8, k=5).se)


def test_overlap_widens_the_standard_error_of_runs() -> None:
    hits = np.tile(np.repeat([True, True, True, False], 7), 10)
    assert (
        coverage(hits, np.arange(280), nominal=0.8, k=7).se > 1.5 * coverage(hits, np.arange(280), nominal=0.8, k=1).se
    )


def test_calibrated_overlapping_intervals_are_rarely_rejected() -> None:
    # Central 80 % intervals of 5-bar sums: a 2-sigma test should reject 5 %; ignoring the overlap, four times that.
    rng = np.random.default_rng(4)
    end = 1.2815515655446004 * math.sqrt(5)
    aware = ignorant = 0
    for _ in range(1_000):
        total = np.concatenate(([0.0], rng.standard_normal(304).cumsum()))
        hits = np.abs(total[5:] - total[:-5]) < end
        aware += abs(coverage(hits, np.arange(hits.size), nominal=0.8, k=5).z) > 2
        ignorant += abs(coverage(hits, np.arange(hits.size), nominal=0.8, k=1).z) > 2
    assert 0.03 < aware / 1_000 < 0.09
    assert ignorant / 1_000 > 0.2


@pytest.mark.parametrize(("nominal", "end"), [(0.8, 1.2815515655446004), (0.95, 1.959963984540054)])
@pytest.mark.parametrize(("k", "dates", "coins"), [(1, 30, 1), (7, 70, 1), (7, 140, 4), (30, 300, 1)])
def test_calibrated_intervals_are_rejected_no_more_often_than_p_says(
    nominal: float, end: float, k: int, dates: int, coins: int
) -> None:
    rng = np.random.default_rng(dates)
    rejected = 0
    for _ in range(400):
        shared, own = rng.standard_normal((dates + k - 1, 1)), rng.standard_normal((dates + k - 1, coins))
        total = np.concatenate((np.zeros((1, coins)), math.sqrt(0.5) * (shared + own).cumsum(axis=0)))
        hits = np.abs(total[k:] - total[:-k]) < end * math.sqrt(k)
        rejected += coverage(hits.ravel(), np.repeat(np.arange(dates), coins), nominal=nominal, k=k).p < 0.05
    assert rejected / 400 <= 0.075


def test_intervals_that_are_far_too_narrow_are_still_found() -> None:
    rng = np.random.default_rng(12)
    total = np.concatenate(([0.0], rng.standard_normal(426).cumsum()))
    hits = np.abs(total[7:] - total[:-7]) < 1.2815515655446004 * 0.6 * math.sqrt(7)
    assert coverage(hits, np.arange(hits.size), nominal=0.8, k=7).p < 0.01


def test_hits_that_never_vary_have_the_standard_error_of_the_nominal_share() -> None:
    result = coverage(np.ones(60, dtype=np.bool_), np.repeat(np.arange(30), 2), nominal=0.95, k=3)
    assert result.share == 1.0
    assert result.se == pytest.approx(math.sqrt(0.95 * 0.05 / 10))


def test_misses_that_cancel_within_each_date_do_not_make_it_certain() -> None:
    hits = np.tile([True, False], 20)
    result = coverage(hits, np.repeat(np.arange(20), 2), nominal=0.8, k=1)
    assert result.se == pytest.approx(math.sqrt(0.8 * 0.2 / 20))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10)), min_size=1, max_size=40), st.integers(1, 12))
def test_the_standard_error_is_always_positive_and_finite(rows: list[tuple[bool, int]], k: int) -> None:
    hits = np.array([hit for hit, _ in rows])
    result = coverage(hits, np.array([date for _, date in rows], dtype=np.int64), nominal=0.9, k=k)
    assert 0.0 < result.se < math.inf
    assert math.isfinite(result.z)


@pytest.mark.parametrize(
    ("hits", "nominal", "k"), [([], 0.8, 1), ([True], 80.0, 1), ([True], 0.8, 0), ([True, False], 0.8, 1)]
)
def test_impossible_arguments_are_refused(hits: list[bool], nominal: float, k: int) -> None:
    with pytest.raises(ValueError, match=r"expected|must"):
        coverage(np.array(hits, dtype=np.bool_), np.zeros(min(1, len(hits)), dtype=np.int64), nominal=nominal, k=k)


def test_hits_that_are_not_booleans_are_refused() -> None:
    with pytest.raises(ValueError, match="expected bool"):
        coverage(np.array([1.0, math.nan]), np.arange(2), nominal=0.8, k=1)


def test_the_wilson_interval_has_its_published_values() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@given(st.integers(0, 200), st.integers(0, 200), st.floats(0.001, 0.5))
def test_the_wilson_interval_holds_the_share_and_stays_inside_zero_and_one(
    hits: int, misses: int, alpha: float
) -> None:
    low, high = wilson(hits, hits + misses, alpha)
    assert 0.0 <= low <= high <= 1.0
    if hits + misses:
        assert low <= hits / (hits + misses) <= high
    mirrored = wilson(misses, hits + misses, alpha)
    assert mirrored == pytest.approx((1.0 - high, 1.0 - low), abs=1e-12)


def test_of_nothing_nothing_is_known() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "n", "alpha"), [(3, 2, 0.05), (-1, 2, 0.05), (1, 2, 0.0), (math.nan, 2, 0.05)])
def test_shares_that_cannot_be_are_refused(successes: float, n: float, alpha: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        wilson(successes, n, alpha)


def test_each_group_has_its_own_coverage() -> None:
    rng = np.random.default_rng(11)
    hits, dates = rng.random(90) < 0.7, np.repeat(np.arange(45), 2)
    coins = np.tile(np.array(["bitcoin", "ethereum"]), 45)
    groups = coverage_by(hits, dates, coins, nominal=0.8, k=3)
    assert list(groups) == ["bitcoin", "ethereum"]
    assert groups["ethereum"] == coverage(hits[1::2], dates[1::2], nominal=0.8, k=3)
    with pytest.raises(ValueError, match="one shape"):
        coverage_by(hits, dates, coins[:3], nominal=0.8, k=3)


def test_terciles_are_thirds_of_each_group_and_nan_has_none() -> None:
    assert terciles(np.array([5.0, 1.0, 3.0, 2.0, 6.0, 4.0])).tolist() == [2, 0, 1, 0, 2, 1]
    values, groups = np.array([1.0, 2.0, 3.0, 10.0, 20.0, 30.0, math.nan]), np.array([0, 0, 0, 1, 1, 1, 1])
    assert terciles(values, groups).tolist() == [0, 1, 2, 0, 1, 2, -1]
    assert terciles(np.array([7.0, 7.0])).tolist() == [0, 0]
    assert terciles(np.empty(0)).tolist() == []


def test_a_shock_is_remembered_for_as_many_bars_as_said() -> None:
    log_return, volatility = np.zeros(8), np.full(8, 0.01)
    log_return[2], log_return[4], volatility[5] = -0.05, math.nan, math.nan
    assert after_shocks(log_return, volatility, threshold=4.0, bars=3).tolist() == [
        False,
        False,
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    assert not after_shocks(log_return, volatility, threshold=6.0, bars=3).any()
    with pytest.raises(ValueError, match="more than 0"):
        after_shocks(log_return, volatility, threshold=0.0)
