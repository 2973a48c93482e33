"""What is learned from, against the formulas written out."""

import numpy as np
from scipy.special import digamma

from cryptocast.models.labels import independent_blocks, log_variance_ratio, standardised_returns
from tests.models.conftest import MakeMatrix


def test_labels_are_their_formulas_and_unknown_where_the_future_is(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(("bitcoin",), 200)
    row, column, horizon = 50, 1, 7
    freedom = float(matrix.freedom[row, column])
    expected = np.log(matrix.variance[row, column] + 1e-8) - np.log(matrix.volatility[row, column] ** 2 / horizon)
    expected -= digamma(freedom / 2) - np.log(freedom / 2)
    np.testing.assert_allclose(log_variance_ratio(matrix)[row, column], expected, rtol=1e-12)
    np.testing.assert_allclose(
        standardised_returns(matrix)[row, column], matrix.returns[row, column] / matrix.volatility[row, column]
    )
    known = matrix.known_at(int(matrix.issued_at[100]))
    assert np.isnan(log_variance_ratio(known)[101 - horizon + 1 :, column]).all()
    assert np.isnan(standardised_returns(known)[101 - horizon + 1 :, column]).all()


def test_a_wild_print_is_bounded(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(("bitcoin",), 100)
    matrix.variance[3] = 1e9
    matrix.variance[4] = 0.0
    assert np.abs(log_variance_ratio(matrix)[3:5]).max() <= 5.0


def test_independent_blocks_count_time_and_not_coins(make_matrix: MakeMatrix) -> None:
    one, two = make_matrix(("bitcoin",), 321), make_matrix(("bitcoin", "ethereum"), 321)
    np.testing.assert_allclose(independent_blocks(one), independent_blocks(two))
    assert independent_blocks(one)[0] == np.isfinite(one.returns[:, 0]).sum()
