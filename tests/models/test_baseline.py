"""The yardstick: symmetric about the last price, as wide as the coin's own past, and the prior where there is none."""

import dataclasses

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.features.matrix import Matrix
from cryptocast.models.baseline import BaselineForecaster, BaselineLearner
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
    assert other.steady is not None
    np.testing.assert_allclose(made.values, other.steady[:, :, None] * student_quantiles(), rtol=1e-12)


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


def test_a_baseline_of_an_earlier_release_answers_from_the_volatility_known_at_issue(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(("bitcoin",), 400)
    now = BaselineLearner().fit(matrix)
    stored = msgspec.json.decode(now.save()["baseline.json"])
    assert stored.pop("steady") is True
    earlier = BaselineForecaster.load({"baseline.json": msgspec.json.encode(stored)})
    expected = matrix.volatility[:, :, None] * now.quantiles[0]
    rows = dataclasses.replace(matrix, steady=None)  # as that release saved them
    np.testing.assert_array_equal(earlier.predict(rows).values, expected)
    np.testing.assert_array_equal(earlier.predict(rows).volatility, matrix.volatility)
    with pytest.raises(ValueError, match="do not say"):
        now.predict(rows)


def test_a_month_ahead_is_stated_wider_for_a_coin_of_two_months_than_for_one_of_years(make_matrix: MakeMatrix) -> None:
    """Constant volatility: what is wider is the caution alone, and it is gone once the bars are many."""
    matrix = make_matrix(("bitcoin",), 700, changing_volatility=False)
    made = BaselineLearner().fit(matrix.rows(np.arange(0))).predict(matrix)
    share = made.volatility[:, -1] / (np.sqrt(30.0) * np.std(np.diff(matrix.panel.log_close)))
    assert share[40:100].mean() == pytest.approx(np.sqrt(1.0 + 1.5 * 30 / (90 + 30)), rel=0.12)
    assert share[500:].mean() == pytest.approx(np.sqrt(1.0 + 1.5 * 30 / (365 + 30)), rel=0.12)


@settings(max_examples=15, deadline=None)
@given(cut=st.integers(1, 370), seed=st.integers(0, 99))
def test_a_forecast_is_the_same_whatever_bars_come_after_it(make_matrix: MakeMatrix, cut: int, seed: int) -> None:
    calm, rng = make_matrix(("bitcoin",), 400), np.random.default_rng(seed)
    later, unknown = calm.issued_at > calm.issued_at[cut], calm.label_end > calm.issued_at[cut]
    assert calm.steady is not None
    wild = dataclasses.replace(
        calm,
        steady=np.where(later[:, None], rng.exponential(1.0, calm.steady.shape), calm.steady),
        returns=np.where(unknown, rng.normal(0.0, 5.0, calm.returns.shape), calm.returns),
    )
    one, other = (
        BaselineLearner().fit(rows.known_at(int(calm.issued_at[cut]))).predict(rows.rows(np.arange(cut + 1)))
        for rows in (calm, wild)
    )
    np.testing.assert_array_equal(one.values, other.values)
