"""Several models' forecasts as one."""

import dataclasses

import numpy as np
import pytest

from cryptocast.features.matrix import Matrix
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.combination import average, combine


def test_combining_with_equal_weights_is_the_average(matrix: Matrix) -> None:
    made = BaselineLearner().fit(matrix).predict(matrix)
    other = dataclasses.replace(made, values=2.0 * made.values)
    weights = np.full((*made.volatility.shape, 2), 0.5)
    np.testing.assert_allclose(combine([made, other], weights).values, average([made, other]).values, rtol=1e-12)
    with pytest.raises(ValueError, match="summing to 1"):
        combine([made, other], weights * 0.9)


def test_forecasts_of_other_rows_are_not_combined(matrix: Matrix) -> None:
    made = BaselineLearner().fit(matrix).predict(matrix)
    fewer = made.rows(np.arange(10))
    with pytest.raises(ValueError, match="different rows"):
        average([made, fewer])
    with pytest.raises(ValueError, match="different rows"):
        combine([made, fewer], np.full((*made.volatility.shape, 2), 0.5))


def test_members_without_a_view_have_none_together_to_the_last_bit(matrix: Matrix) -> None:
    made = BaselineLearner().fit(matrix).predict(matrix)
    weights = np.broadcast_to([0.1, 0.2, 0.7], (*made.volatility.shape, 3))
    assert (combine([made, made, made], weights).p_up == 0.5).all()
