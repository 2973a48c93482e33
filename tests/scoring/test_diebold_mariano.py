import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.scoring.diebold_mariano import diebold_mariano

HERE = Path(__file__).resolve().parent


def rows(name: str) -> list[dict[str, float]]:
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def days(n: int) -> Int64Array:
    return np.arange(n, dtype=np.int64) * 86_400_000_000


def overlapping_errors(rng: np.random.Generator, n: int, k: int) -> FloatArray:
    """Errors of an optimal forecast k origins ahead: sums of the next k unit shocks."""
    total = np.concatenate(([0.0], rng.standard_normal(n + k - 1).cumsum()))
    difference: FloatArray = total[k:] - total[:-k]
    return difference


@pytest.mark.parametrize(
    "golden", rows("dm_golden_results.csv"), ids=lambda row: f"h{row['h']:.0f}-power{row['power']:.0f}"
)
def test_it_equals_the_test_of_the_r_package_forecast(golden: dict[str, float]) -> None:
    # Made by dm_golden.R beside this file with forecast::dm.test, version 8.20.
    errors = rows("dm_golden.csv")
    a, b = (np.abs([row[name] for row in errors]) ** golden["power"] for name in "ab")
    result = diebold_mariano(a, b, days(len(errors)), horizon=int(golden["h"]), step=1, as_published=True)
    assert result.statistic == pytest.approx(golden["statistic"], abs=1e-8)
    assert result.p_two_sided == pytest.approx(golden["p_two_sided"], abs=1e-8)
    assert result.p_better == pytest.approx(golden["p_better"], abs=1e-8)
    assert result.p_worse == pytest.approx(golden["p_worse"], abs=1e-8)
    assert (result.n, result.k, result.kernel, result.enough) == (160, golden["h"], "rectangular", True)


def test_a_small_case_comes_out_as_by_hand() -> None:
    # d = 1, 2, ..., 10, k = 1: mean 5.5, variance 8.25, HLN factor sqrt(9 / 10): 5.5 / sqrt(0.825) * 0.94868 = 5.7446.
    result = diebold_mariano(np.arange(1.0, 11.0), np.zeros(10), days(10), horizon=1, step=1)
    assert result.mean_difference == 5.5
    assert result.statistic == pytest.approx(5.744563, abs=1e-6)
    # A t test of the mean is the same thing without overlap, only that it divides by T - 1.
    assert result.statistic == pytest.approx(stats.ttest_1samp(np.arange(1.0, 11.0), 0.0).statistic)


@pytest.mark.parametrize(("horizon", "step"), [(1, 1), (7, 1), (30, 7)])
def test_it_equals_a_slow_loop_over_dates_coins_and_lags(horizon: int, step: int) -> None:
    rng = np.random.default_rng(horizon)
    n, k = 90, math.ceil(horizon / step)
    dates = np.repeat(days(n), 3)
    a = np.repeat(overlapping_errors(rng, n, k) ** 2, 3) + rng.random(3 * n)
    b = np.repeat(overlapping_errors(rng, n, k) ** 2, 3) + rng.random(3 * n)
    d = [np.mean([a[i] - b[i] for i in range(3 * n) if dates[i] == date]) for date in sorted(set(dates.tolist()))]
    mean = sum(d) / n
    variance = 0.0
    for lag in range(k):
        covariance = sum((d[t] - mean) * (d[t - lag] - mean) for t in range(lag, n)) / n
        variance += covariance if lag == 0 else 2 * covariance
    expected = mean / math.sqrt(variance / n) * math.sqrt((n + 1 - 2 * k + k * (k - 1) / n) / n)
    order = rng.permutation(3 * n)
    result = diebold_mariano(a[order], b[order], dates[order], horizon=horizon, step=step, as_published=True)
    assert result.statistic == pytest.approx(expected, rel=1e-9)
    assert result.p_two_sided == pytest.approx(2 * stats.t.sf(abs(expected), n - 1), rel=1e-9)
    assert result.p_better == pytest.approx(stats.t.cdf(expected, n - 1), rel=1e-9)
    assert (result.n, result.k) == (n, k)


def rejections(
    rng: np.random.Generator, n: int, k: int, replications: int, *, as_published: bool = False
) -> FloatArray:
    """The one-sided p of "better" for equal forecasts."""
    found = np.empty(replications)
    for replication in range(replications):
        a, b = overlapping_errors(rng, n, k) ** 2, overlapping_errors(rng, n, k) ** 2
        result = diebold_mariano(a, b, days(n), horizon=k, step=1, as_published=as_published)
        assert result.p_better is not None
        found[replication] = result.p_better
    return found


@pytest.mark.slow
@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("k", [1, 7, 24])
def test_its_size_on_overlapping_errors_is_five_percent(k: int, as_published: bool) -> None:
    p = rejections(np.random.default_rng(100 + k), 1_000, k, 5_000, as_published=as_published)
    assert 0.03 < (p < 0.05).mean() < 0.07
    assert 0.03 < (np.minimum(p, 1 - p) < 0.025).mean() < 0.07


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 7, 30])
def test_its_size_holds_with_as_few_origins_as_it_accepts(k: int) -> None:
    # As published it rejects 7 % at k = 7 and 30, and 2.5 % where 1 % is nominal.
    p = rejections(np.random.default_rng(200 + k), 10 * k, k, 5_000)
    assert 0.03 < (p < 0.05).mean() < 0.065
    assert (p < 0.01).mean() < 0.02


def test_its_size_is_about_right_in_a_quick_look() -> None:
    p = rejections(np.random.default_rng(300), 70, 7, 600)
    assert 0.02 < (p < 0.05).mean() < 0.09


def test_few_origins_make_the_p_value_more_careful_and_many_do_not() -> None:
    rng = np.random.default_rng(14)
    for n, close in ((70, False), (5_000, True)):
        d = overlapping_errors(rng, n, 7) - 0.5
        ours, published = (
            diebold_mariano(d, np.zeros(n), days(n), horizon=7, step=1, as_published=as_published)
            for as_published in (False, True)
        )
        assert ours.statistic == published.statistic
        assert (ours.degrees, published.degrees) == (n / 7 - 1, n - 1)
        assert ours.p_two_sided is not None
        assert published.p_two_sided is not None
        assert ours.p_two_sided > published.p_two_sided
        assert (ours.p_two_sided < published.p_two_sided + 0.001) == close


def test_it_would_reject_far_too_often_if_overlap_were_ignored() -> None:
    rng = np.random.default_rng(5)
    n, rejected = 400, 0
    for _ in range(300):
        a, b = overlapping_errors(rng, n, 7) ** 2, overlapping_errors(rng, n, 7) ** 2
        p = diebold_mariano(a, b, days(n), horizon=1, step=1).p_two_sided
        assert p is not None
        rejected += p < 0.05
    assert rejected / 300 > 0.2


def test_many_coins_that_move_as_one_are_no_more_evidence_than_one() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.random(50), rng.random(50)
    one = diebold_mariano(a, b, days(50), horizon=1, step=1)
    ten = diebold_mariano(np.tile(a, 10), np.tile(b, 10), np.tile(days(50), 10), horizon=1, step=1)
    assert ten.n == one.n == 50
    assert ten.p_two_sided == pytest.approx(one.p_two_sided)


def test_it_finds_a_real_difference_and_its_direction() -> None:
    rng = np.random.default_rng(7)
    errors = rng.standard_normal(500)
    good, bad = errors**2, (errors + 0.5 * rng.standard_normal(500)) ** 2
    result = diebold_mariano(good, bad, days(500), horizon=1, step=1)
    assert result.mean_difference < 0
    assert result.p_better is not None
    assert result.p_worse is not None
    assert result.p_better < 1e-4
    assert result.p_worse > 0.999


def test_swapping_the_forecasts_swaps_the_answer() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.random(80), rng.random(80)
    forward = diebold_mariano(a, b, days(80), horizon=7, step=1)
    backward = diebold_mariano(b, a, days(80), horizon=7, step=1)
    assert forward.statistic is not None
    assert backward.statistic == pytest.approx(-forward.statistic)
    assert backward.p_better == pytest.approx(forward.p_worse)
    assert backward.p_two_sided == pytest.approx(forward.p_two_sided)


@pytest.mark.parametrize(("n", "horizon", "step"), [(9, 1, 1), (69, 7, 1), (49, 30, 7), (0, 1, 1), (3, 5, 1)])
def test_below_ten_origins_per_overlap_there_is_no_p_value(n: int, horizon: int, step: int) -> None:
    loss = np.random.default_rng(n).random(n)
    result = diebold_mariano(loss, loss + 1.0 + loss**2, days(n), horizon=horizon, step=step)
    assert not result.enough
    assert (result.statistic, result.p_two_sided, result.p_better, result.p_worse) == (None, None, None, None)
    assert result.n == n
    assert math.isnan(result.mean_difference) if n == 0 else result.mean_difference < 0


def test_ten_origins_per_overlap_are_enough() -> None:
    rng = np.random.default_rng(9)
    assert diebold_mariano(rng.random(70), rng.random(70), days(70), horizon=7, step=1).enough


def test_equal_losses_are_no_difference() -> None:
    loss = np.random.default_rng(10).random(40)
    result = diebold_mariano(loss, loss.copy(), days(40), horizon=1, step=1)
    assert (result.statistic, result.p_two_sided, result.p_better, result.p_worse) == (0.0, 1.0, 1.0, 1.0)


def test_the_rounding_of_equal_losses_is_no_difference_either() -> None:
    loss = np.random.default_rng(11).random(40)
    assert diebold_mariano(loss * (1 + 3e-16), loss, days(40), horizon=1, step=1).p_two_sided == 1.0


def test_a_difference_that_never_varies_cannot_be_weighed() -> None:
    loss = np.random.default_rng(12).random(40)
    result = diebold_mariano(loss + 0.1, loss, days(40), horizon=1, step=1)
    assert (result.enough, result.kernel, result.statistic, result.p_two_sided) == (True, "none", None, None)
    assert result.mean_difference == pytest.approx(0.1)


def test_a_missing_loss_drops_its_pair_on_both_sides() -> None:
    rng = np.random.default_rng(13)
    a, b, dates = rng.random(60), rng.random(60), np.repeat(days(30), 2)
    known = np.ones(60, dtype=np.bool_)
    known[[3, 10, 11]] = False  # one coin of a date, and both coins of another
    expected = diebold_mariano(a[known], b[known], dates[known], horizon=1, step=1)
    a[3], b[10], a[11] = math.nan, math.nan, math.nan
    result = diebold_mariano(a, b, dates, horizon=1, step=1)
    assert dataclasses.asdict(result) == dataclasses.asdict(expected)
    assert result.n == 29


def test_an_alternating_difference_is_tested_with_the_bartlett_kernel() -> None:
    d = np.tile([1.0, -0.5], 50)
    result = diebold_mariano(d + 1.0, np.ones(100), days(100), horizon=2, step=1)
    assert result.kernel == "bartlett"
    # Bartlett, lags 1 to 4 (see test_dates.py): 0.75 squared times 0.2; HLN factor for T = 100, k = 2.
    expected = 0.25 / math.sqrt(0.75**2 * 0.2 / 100) * math.sqrt((101 - 4 + 0.02) / 100)
    assert result.statistic == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("horizon", "step"), [(0, 1), (1, 0)])
def test_horizons_and_steps_below_one_bar_are_refused(horizon: int, step: int) -> None:
    with pytest.raises(ValueError, match="bars"):
        diebold_mariano(np.zeros(10), np.zeros(10), days(10), horizon=horizon, step=step)


def test_losses_of_different_lengths_and_infinite_losses_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        diebold_mariano(np.zeros(10), np.zeros(9), days(10), horizon=1, step=1)
    with pytest.raises(ValueError, match="infinite"):
        diebold_mariano(np.full(10, math.inf), np.zeros(10), days(10), horizon=1, step=1)
