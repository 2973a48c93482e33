"""The volatility member: a line through the day's, the week's and the month's variance."""

import dataclasses

import numpy as np
import pytest

from cryptocast.errors import DataError
from cryptocast.features.matrix import Matrix
from cryptocast.models.har import HARLearner
from cryptocast.models.labels import log_variance_ratio
from cryptocast.scoring.quantiles import LEVELS, crps
from tests.models.conftest import MakeMatrix


def test_the_slopes_are_those_of_ordinary_least_squares(matrix: Matrix) -> None:
    """Against numpy's, on regressors that are made bar by bar, without the shrinkage and the small penalty."""
    fitted = HARLearner().fit(matrix)
    label = log_variance_ratio(matrix)[:, 0]
    known = np.flatnonzero(np.isfinite(label))
    panel = matrix.panel
    lines = []
    for row in known.tolist():
        place, first = matrix.position[row], panel.start[matrix.coin[row]]
        means = [np.nanmean(panel.variance[max(first, place - bars + 1) : place + 1]) for bars in (1, 7, 30)]
        logs = [*np.log(np.array(means) + 1e-8), 2 * np.log(panel.volatility[place, 1])]
        lines.append([1.0, *(np.array(logs) - np.log(matrix.volatility[row, 0] ** 2))])
    expected, *_ = np.linalg.lstsq(np.array(lines), label[known], rcond=None)
    blocks = len(np.unique(matrix.issued_at[known]))
    told = np.array(lines) @ fitted.slopes[0] / (blocks / (blocks + 40.0))
    np.testing.assert_allclose(told, np.array(lines) @ expected, atol=0.05)


def test_its_volatility_is_that_of_the_returns(matrix: Matrix) -> None:
    made = HARLearner().fit(matrix).predict(matrix)
    for column in range(2):
        standardised = (matrix.returns / made.volatility)[:, column]
        assert np.nanstd(standardised) == pytest.approx(1.0, abs=0.1)


def test_it_is_no_worse_than_the_volatility_known_at_issue_out_of_sample(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(("bitcoin", "ethereum"), 1000)
    cut = int(matrix.issued_at[0]) + 600 * matrix.bar_us
    later = matrix.rows(matrix.issued_at > cut)
    made = HARLearner().fit(matrix.known_at(cut)).predict(later)
    known = np.isfinite(later.returns[:, 0])
    loss = crps(later.returns[known, 0], made.values[known, 0], LEVELS).mean()
    flat = later.volatility[:, 0, None] * made.values[:, 0] / made.volatility[:, 0, None]
    assert loss <= 1.01 * crps(later.returns[known, 0], flat[known], LEVELS).mean()


def test_too_few_labels_are_refused_with_the_number_needed(make_matrix: MakeMatrix) -> None:
    with pytest.raises(DataError, match="har needs 200 bars"):
        HARLearner().fit(make_matrix(("bitcoin",), 150))


def test_a_horizon_without_labels_keeps_the_volatility_known_at_issue(matrix: Matrix) -> None:
    hidden = matrix.variance.copy()
    hidden[:, 3] = np.nan
    model = HARLearner().fit(dataclasses.replace(matrix, variance=hidden))
    made = model.predict(matrix)
    np.testing.assert_allclose(made.volatility[:, 3], matrix.volatility[:, 3])
    assert not np.allclose(made.volatility[:, 0], matrix.volatility[:, 0])
