"""The distribution between the quantiles and beyond them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri, stdtrit

from cryptocast.models.tails import EVERY_INTERVAL, STUDENT, interval_ends, quantile_function
from cryptocast.scoring.quantiles import LEVELS

increasing = st.lists(st.floats(0.0, 0.2), min_size=len(LEVELS), max_size=len(LEVELS)).map(np.cumsum)


@given(increasing, st.floats(-1.0, 1.0))
def test_at_the_levels_it_is_the_forecast_and_it_never_falls(steps: np.ndarray, start: float) -> None:
    values = start + steps
    assert np.allclose(quantile_function(values[None], LEVELS)[0], values, rtol=0.0, atol=1e-12)
    fine = np.sort(np.concatenate([np.linspace(0.0001, 0.9999, 999), LEVELS]))
    assert (np.diff(quantile_function(values[None], fine)[0]) >= -1e-12).all()


@pytest.mark.parametrize("freedom", [3.0, 5.0, 9.0, 30.0])
def test_the_tail_of_a_student_t_is_recovered(freedom: float) -> None:
    beyond = np.array([0.001, 0.005, 0.01, 0.15, 0.99, 0.995, 0.999])
    found = quantile_function(0.1 + 2.0 * stdtrit(freedom, LEVELS), beyond)
    assert found == pytest.approx(0.1 + 2.0 * stdtrit(freedom, beyond), rel=0.03)


def test_the_tail_of_a_normal_is_nearly_a_normal_one() -> None:
    beyond = np.array([0.005, 0.01, 0.99, 0.995])
    assert quantile_function(ndtri(LEVELS), beyond) == pytest.approx(ndtri(beyond), rel=0.025)


def test_the_quantiles_that_are_written_down_are_those_of_scipy() -> None:
    table = np.array(STUDENT)
    assert table[:, 1:] == pytest.approx(stdtrit(table[:, :1], np.array([[0.9, 0.975, 0.99, 0.995]])), rel=1e-10)


def test_a_price_that_never_moves_has_no_tail() -> None:
    assert (quantile_function(np.zeros((2, 13)), np.array([0.001, 0.5, 0.999])) == 0.0).all()


@given(increasing, st.floats(-1.0, 1.0), st.sampled_from(EVERY_INTERVAL))
def test_an_interval_ends_where_the_distribution_has_its_levels(steps: np.ndarray, start: float, percent: int) -> None:
    values = (start + steps)[None]
    lower, upper = interval_ends(values, percent)
    ends = quantile_function(values, np.array([0.5 - percent / 200, 0.5 + percent / 200]))[0]
    assert np.allclose([lower[0], upper[0]], ends, rtol=0.0, atol=1e-9)


def test_an_interval_that_nobody_offers_is_refused() -> None:
    with pytest.raises(ValueError, match="no 97 % interval"):
        interval_ends(np.zeros((1, 13)), 97)
