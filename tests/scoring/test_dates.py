import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cryptocast.arrays import FloatArray
from cryptocast.scoring.dates import long_run_variance, mean_by_date, overlapping_origins

moderate = st.floats(-1e3, 1e3)


@given(st.lists(st.tuples(st.integers(-5, 5), st.one_of(moderate, st.just(math.nan))), max_size=30))
def test_the_mean_by_date_is_the_mean_of_what_is_known_on_it(rows: list[tuple[int, float]]) -> None:
    known: dict[int, list[float]] = {}
    for date, value in rows:
        if not math.isnan(value):
            known.setdefault(date, []).append(value)
    values = np.array([value for _, value in rows], dtype=np.float64)
    dates, means, counts = mean_by_date(values, np.array([date for date, _ in rows], dtype=np.int64))
    assert dates.tolist() == sorted(known)
    assert counts.tolist() == [len(known[date]) for date in sorted(known)]
    np.testing.assert_allclose(means, [np.mean(known[date]) for date in sorted(known)], atol=1e-9)


def test_values_without_a_date_each_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        mean_by_date(np.zeros(3), np.zeros(2, dtype=np.int64))


@pytest.mark.parametrize(
    ("horizon", "step", "k"), [(1, 1, 1), (7, 1, 7), (7, 7, 1), (8, 7, 2), (30, 7, 5), (1, 7, 1), (168, 24, 7)]
)
def test_overlap_is_counted_in_origins(horizon: int, step: int, k: int) -> None:
    assert overlapping_origins(horizon, step) == k


@pytest.mark.parametrize(("horizon", "step"), [(0, 1), (1, 0), (-1, 1)])
def test_bars_below_one_are_refused(horizon: int, step: int) -> None:
    with pytest.raises(ValueError, match="bars"):
        overlapping_origins(horizon, step)


def slow_variance(x: FloatArray, k: int) -> tuple[float, str]:
    def covariance(lag: int) -> float:
        return sum(float((x[t] - x.mean()) * (x[t - lag] - x.mean())) for t in range(lag, len(x))) / len(x)

    rectangular = covariance(0) + 2 * sum(covariance(lag) for lag in range(1, k))
    if rectangular > 0:
        return rectangular, "rectangular"
    return covariance(0) + 2 * sum((1 - lag / (2 * k + 1)) * covariance(lag) for lag in range(1, 2 * k + 1)), "bartlett"


@pytest.mark.parametrize("k", [1, 2, 7, 40])
def test_the_long_run_variance_is_its_formula(k: int) -> None:
    x = np.convolve(np.random.default_rng(k).standard_normal(66), np.ones(7))
    variance, kernel = long_run_variance(x, k)
    slow, slow_kernel = slow_variance(x, k)
    assert variance == pytest.approx(slow, rel=1e-10)
    assert kernel == slow_kernel


def test_an_alternating_series_falls_back_to_the_bartlett_kernel() -> None:
    # Autocovariances of +1, -1, ... with T = 100: 1, -0.99, 0.98, ... Rectangular, lag 1: 1 - 1.98 < 0.
    # Bartlett, lags 1 to 4 with weights 0.8, 0.6, 0.4, 0.2: 1 + 2 (-0.792 + 0.588 - 0.388 + 0.192) = 0.2.
    x = np.tile([1.0, -1.0], 50)
    variance, kernel = long_run_variance(x, 2)
    assert kernel == "bartlett"
    assert variance == pytest.approx(0.2)
    assert long_run_variance(x, 1) == (1.0, "rectangular")


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=moderate), st.integers(1, 50))
def test_the_long_run_variance_is_not_negative(x: FloatArray, k: int) -> None:
    variance, _ = long_run_variance(x, k)
    assert variance >= -1e-9 * float(x @ x)


def test_it_recovers_the_long_run_variance_of_overlapping_sums() -> None:
    # A sum of 7 unit shocks has the long-run variance 7 * 7: each shock moves 7 neighbours.
    x = np.convolve(np.random.default_rng(3).standard_normal(200_000), np.ones(7), mode="valid")
    assert long_run_variance(x, 7)[0] == pytest.approx(49.0, rel=0.05)
    assert long_run_variance(x, 1)[0] == pytest.approx(7.0, rel=0.05)


@pytest.mark.parametrize(("x", "k"), [([], 1), ([1.0, math.nan], 1), ([1.0], 0)])
def test_what_has_no_variance_is_refused(x: list[float], k: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        long_run_variance(np.array(x, dtype=np.float64), k)
