import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cryptocast.arrays import FloatArray
from cryptocast.scoring.points import directional_accuracy, mae, mape, mase, r2, rmse, smape

ACTUAL = np.array([100.0, 110.0, 120.0, 90.0])
PREDICTED = np.array([100.0, 100.0, 126.0, 99.0])
# By hand: errors 0, 10, -6, -9.


def test_the_scores_come_out_as_by_hand() -> None:
    assert mae(ACTUAL, PREDICTED) == pytest.approx(25 / 4)
    assert rmse(ACTUAL, PREDICTED) == pytest.approx(math.sqrt(217 / 4))
    assert mape(ACTUAL, PREDICTED) == pytest.approx((10 / 110 + 6 / 120 + 9 / 90) / 4)
    assert smape(ACTUAL, PREDICTED) == pytest.approx((20 / 210 + 12 / 246 + 18 / 189) / 4)
    assert r2(ACTUAL, PREDICTED) == pytest.approx(1 - 217 / 500)


def test_mase_compares_with_the_naive_forecast_of_the_same_horizon() -> None:
    # Naive errors two bars ahead on 1, 3, 2, 7: |2 - 1| and |7 - 3|, mean 2.5.
    train = np.array([1.0, 3.0, 2.0, 7.0])
    assert mase(ACTUAL, PREDICTED, train, lag=2) == pytest.approx(6.25 / 2.5)


def test_mase_does_not_compare_across_a_gap() -> None:
    assert mase(ACTUAL, PREDICTED, np.array([1.0, math.nan, 3.0, 5.0]), lag=1) == pytest.approx(6.25 / 2.0)


@given(hnp.arrays(np.float64, st.integers(2, 20), elements=st.floats(1.0, 1e6)))
def test_a_perfect_forecast_has_no_error(actual: FloatArray) -> None:
    assert (mae(actual, actual), rmse(actual, actual), mape(actual, actual), smape(actual, actual)) == (0, 0, 0, 0)
    assert r2(actual, actual) == (1.0 if actual.min() < actual.max() else None)


@given(
    hnp.arrays(np.float64, 10, elements=st.floats(1.0, 1e6)), hnp.arrays(np.float64, 10, elements=st.floats(1.0, 1e6))
)
def test_the_scores_keep_their_order_and_bounds(actual: FloatArray, predicted: FloatArray) -> None:
    absolute, squared, symmetric = mae(actual, predicted), rmse(actual, predicted), smape(actual, predicted)
    assert absolute is not None
    assert squared is not None
    assert symmetric is not None
    assert absolute <= squared * (1 + 1e-12)
    assert 0.0 <= symmetric <= 2.0
    assert symmetric == pytest.approx(smape(predicted, actual), rel=1e-12)


def test_the_mean_of_the_actuals_has_an_r2_of_zero() -> None:
    assert r2(ACTUAL, np.full(4, ACTUAL.mean())) == pytest.approx(0.0)


def test_pairs_with_a_missing_side_are_left_out() -> None:
    actual = np.append(ACTUAL, [math.nan, 5.0])
    predicted = np.append(PREDICTED, [5.0, math.nan])
    assert mae(actual, predicted) == mae(ACTUAL, PREDICTED)
    assert r2(actual, predicted) == r2(ACTUAL, PREDICTED)


def test_what_is_undefined_is_none_and_never_infinite() -> None:
    none = np.array([])
    assert [f(none, none) for f in (mae, rmse, mape, smape, r2)] == [None] * 5
    assert mape(np.array([0.0, 1.0]), np.array([1.0, 1.0])) is None
    assert r2(np.full(9, 0.1), np.arange(9.0)) is None
    assert mase(ACTUAL, PREDICTED, np.ones(5), lag=1) is None
    assert mase(ACTUAL, PREDICTED, np.ones(2), lag=7) is None


def test_two_zeros_are_a_perfect_pair_for_smape() -> None:
    assert smape(np.array([0.0, 1.0]), np.array([0.0, -1.0])) == 1.0


def test_shapes_that_disagree_are_refused() -> None:
    for score in (mae, rmse, mape, smape, r2):
        with pytest.raises(ValueError, match="one shape"):
            score(np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="lag 0"):
        mase(ACTUAL, PREDICTED, ACTUAL, lag=0)


def test_direction_is_judged_only_where_there_is_a_view_and_a_move() -> None:
    p_up = np.array([0.6, 0.4, 0.5, 0.7, 0.3, math.nan, 0.6])
    log_return = np.array([0.1, 0.1, 0.1, 0.0, -0.2, 0.1, math.nan])
    result = directional_accuracy(p_up, log_return, np.arange(7), k=1)
    # Views: rows 0, 1, 3, 4; row 3 did not move; right: rows 0 and 4.
    assert (result.total, result.views, result.decisive) == (5, 4, 3)
    assert result.share == pytest.approx(2 / 3)
    assert result.lower < 2 / 3 < result.upper


def test_without_views_nothing_is_claimed() -> None:
    result = directional_accuracy(np.full(4, 0.5), np.ones(4), np.arange(4), k=1)
    assert (result.share, result.lower, result.upper, result.decisive, result.total) == (None, 0.0, 1.0, 0, 4)


def test_the_interval_counts_independent_dates_only() -> None:
    rng = np.random.default_rng(1)
    p_up, log_return = np.tile(rng.random(70), 5), np.tile(rng.standard_normal(70), 5)
    dates = np.tile(np.arange(70), 5)
    one = directional_accuracy(p_up[:70], log_return[:70], dates[:70], k=1)
    five = directional_accuracy(p_up, log_return, dates, k=1)
    assert (five.lower, five.upper) == pytest.approx((one.lower, one.upper))
    overlapping = directional_accuracy(p_up, log_return, dates, k=7)
    assert overlapping.effective == pytest.approx(10.0)
    assert overlapping.upper - overlapping.lower > five.upper - five.lower


@pytest.mark.parametrize(("p", "k"), [(1.1, 1), (-0.1, 1), (0.6, 0)])
def test_impossible_probabilities_and_overlaps_are_refused(p: float, k: int) -> None:
    with pytest.raises(ValueError, match="p_up must"):
        directional_accuracy(np.array([p]), np.ones(1), np.arange(1), k=k)
