import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.features.targets import future_mean, future_return, one_bar_freedom, one_bar_variance

NAN = math.nan


def test_a_return_looks_so_many_bars_ahead_and_never_over_a_gap() -> None:
    close = np.array([1.0, 2.0, NAN, 8.0])
    np.testing.assert_allclose(future_return(close, 1), [math.log(2), NAN, NAN, NAN])
    np.testing.assert_allclose(future_return(close, 3), [math.log(8), NAN, NAN, NAN])


@given(st.integers(1, 9))
def test_the_last_bars_have_no_label(horizon: int) -> None:
    close = np.exp(np.arange(9.0))
    returns = future_return(close, horizon)
    assert np.isnan(returns[-horizon:]).all()
    np.testing.assert_allclose(returns[:-horizon], horizon)


def test_a_bar_with_a_range_has_garman_and_klass_variance_and_one_without_its_squared_return() -> None:
    opened, high, low, close = (np.array(values) for values in ([1.0, 1.0], [1.0, 1.2], [1.0, 0.9], [1.0, 1.1]))
    variance = one_bar_variance(opened, high, low, close, np.array([False, True]))
    expected = 0.5 * math.log(1.2 / 0.9) ** 2 - (2 * math.log(2) - 1) * math.log(1.1) ** 2
    np.testing.assert_allclose(variance, [NAN, expected])
    close_only = one_bar_variance(opened, high, low, close, np.array([False, False]))
    np.testing.assert_allclose(close_only, [NAN, math.log(1.1) ** 2])
    np.testing.assert_allclose(one_bar_freedom(variance, np.array([False, True])), [NAN, 7.4])


def test_a_mean_ahead_needs_three_quarters_of_its_bars() -> None:
    values = np.array([9.0, 1.0, 2.0, 3.0, NAN, NAN])
    assert future_mean(values, 4)[0] == pytest.approx(2.0)  # 1, 2, 3 of four
    assert math.isnan(future_mean(values, 4)[1])  # 2, 3 of four
