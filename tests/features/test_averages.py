"""Means over windows of arrays, against loops that say the same."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.features.averages import shift, window_mean

values = st.lists(st.one_of(st.floats(-1e3, 1e3), st.just(math.nan)), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(x=values, window=st.integers(1, 70), strict=st.booleans())
def test_a_window_equals_its_loop(x: list[float], window: int, strict: bool) -> None:
    least = window if strict else (window + 1) // 2
    rows = [np.array(x[max(0, row - window + 1) : row + 1]) for row in range(len(x))]
    known = [row[~np.isnan(row)] for row in rows]
    expected = [row.mean() if len(row) >= least else math.nan for row in known]
    np.testing.assert_allclose(window_mean(np.array(x), window, least), expected, rtol=1e-9, atol=1e-9)


def test_a_window_forgets_a_price_that_was_a_billion_times_higher() -> None:
    calm = np.random.default_rng(1).lognormal(0, 0.02, 200)
    fallen = np.concatenate([np.full(50, 1e9), calm])
    assert (window_mean(fallen, 30, 30)[-100:] == window_mean(calm, 30, 30)[-100:]).all()
    assert (window_mean(np.concatenate([[1e9], np.zeros(50)]), 30, 30)[31:] == 0.0).all()


def test_a_shift_beyond_the_start_knows_nothing() -> None:
    assert np.array_equal(shift(np.array([1.0, 2.0, 3.0]), 1), [math.nan, 1.0, 2.0], equal_nan=True)
    assert np.isnan(shift(np.array([1.0, 2.0]), 5)).all()
