"""The yardstick: symmetric about the last price, as wide as the coin's own past, and the prior where there is none."""

import dataclasses

import numpy as np

from cryptocast.features.matrix import Matrix
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.quantile_shape import student_quantiles
from tests.models.conftest import MakeMatrix


def test_quantiles_mirror_each_other_around_the_last_price(matrix: Matrix) -> None:
    made = BaselineLearner().fit(matrix).predict(matrix)
    np.testing.assert_allclose(made.values, -made.values[:, :, ::-1], atol=1e-15)
    assert (made.p_up == 0.5).all()


def test_a_coin_that_it_was_not_fitted_on_has_the_prior_shape(make_matrix: MakeMatrix) -> None:
    model = BaselineLearner().fit(make_matrix(("bitcoin",), 400))
    other = make_matrix(("ethereum",), 400)
    made = model.predict(other)
    np.testing.assert_allclose(made.values, other.volatility[:, :, None] * student_quantiles(), rtol=1e-12)


def test_each_coin_is_fitted_on_its_own_returns(make_matrix: MakeMatrix) -> None:
    both = make_matrix(("bitcoin", "ethereum"), 400)
    wild = dataclasses.replace(both, returns=np.where((both.coin == 1)[:, None], 3.0 * both.returns, both.returns))
    one, other = BaselineLearner().fit(both), BaselineLearner().fit(wild)
    np.testing.assert_array_equal(one.quantiles[0], other.quantiles[0])
    assert (other.quantiles[1, 0, -1] > 1.5 * one.quantiles[1, 0, -1]).all()


def test_few_blocks_of_a_long_horizon_stay_near_the_prior(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(("bitcoin",), 400)
    calm = dataclasses.replace(matrix, returns=0.1 * matrix.returns)
    quantiles = BaselineLearner().fit(calm).quantiles[0]
    share = quantiles[:, -1] / student_quantiles()[-1]
    assert share[0] < 0.4
    assert (np.diff(share) > 0).all(), "the longer the horizon, the fewer its blocks"
